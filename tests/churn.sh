#!/usr/bin/env bash
# Reads through engines while needles are stored, overwritten and deleted, and volumes compacted, in a real SeaweedFS:
# no byte may be wrong, nothing older than a second, nothing left behind. One engine reads the volume server's
# own directory, another one from a target over TCP. Everything is in a temporary folder, and gone afterwards.
set -euo pipefail
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/../config/env.sh"
# shellcheck source=config/stack.sh
source "$ROOT/config/stack.sh"
cd "$ROOT"
exec </dev/null
seconds=${1:-60}
[[ $# -le 1 && $seconds =~ ^[1-9][0-9]*$ ]] || {
    echo "usage: tests/churn.sh [SECONDS] (60 unless given; ENGINE_BIN may name an engine that is built already)" >&2
    exit 2
}

config/setup.sh
[ -n "${ENGINE_BIN-}" ] || cargo build --release --locked
go build -C tests/sidecar -o "$TARGET/sidecar/" ./cmd/...

trap stack_stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
stack_prepare
# SeaweedFS waits up to half a minute before it compacts a volume that ids were given out for: so many at a time.
start_weed -master.volumeSizeLimitMB=64 -master.maxParallelVacuumPerServer=20
processes=()
start_engine local --buffer-size 256MiB --volumes "$STACK_DIR/volumes"
processes+=(-process "engine on its host,$STARTED,$METRICS,$SOCKET")
start_target --buffer-size 256MiB
processes+=(-process "target,$STARTED,$METRICS")
start_engine remote --buffer-size 256MiB --peer "$PEER"
processes+=(-process "engine over TCP,$STARTED,$METRICS,$SOCKET")
attend $((seconds + 180)) \
    "$TARGET/sidecar/churn" -for "${seconds}s" -master "$MASTER" -volumes "$STACK_DIR/volumes" "${processes[@]}"
