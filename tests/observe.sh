#!/usr/bin/env bash
# What operators are shown, checked against what really happened: a real Prometheus with this repository's
# configuration and rules scrapes two engines and a target under mixed load with trouble on purpose; then what it has is
# compared with what the load driver counted itself, and every expression of every dashboard, rule and alert is run.
set -euo pipefail
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/../config/env.sh"
cd "$ROOT"

usage="usage: tests/observe.sh [--seconds N] [--keep] [--pictures DIR]
  --seconds N     how long the load lasts, from 60 on (120)
  --keep          leave Prometheus and the daemons running, and say where
  --pictures DIR  draw every dashboard into DIR before they are stopped"
options=() tools=(--tests)
while [ $# -gt 0 ]; do
    case $1 in
        --keep) options+=(-keep) ;;
        --seconds) [[ ${2-} =~ ^[0-9]+$ ]] || { echo "$usage" >&2; exit 2; }; options+=(-lasts "$2s"); shift ;;
        --pictures) [ -n "${2-}" ] || { echo "$usage" >&2; exit 2; }; options+=(-pictures "$2") tools+=(--pictures); shift ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift
done

config/setup.sh "${tools[@]}"
if [ -z "${ENGINE_BIN-}" ]; then
    cargo build --release --locked
    export ENGINE_BIN=$TARGET/release/rdma-engine
fi
go build -C tests/sidecar -o "$TARGET/sidecar/" ./cmd/observe
exec "$TARGET/sidecar/observe" ${options[@]+"${options[@]}"} </dev/null
