#!/usr/bin/env bash
# The engine beside what it stands beside, in one run: a ping beside bare Unix-socket echo servers, reads beside
# SeaweedFS's HTTP, the same Go program as the client of all. For the latency rows everything is pinned to one CPU,
# for the throughput rows to two. It prints figures and which targets they meet; it fails only when it can not run.
set -euo pipefail
# shellcheck source=benches/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage="usage: benches/compare.sh [--rounds N] [--turn DURATION] [--json FILE]
  --rounds N       how often each side has its turn (9)
  --turn DURATION  how long a turn lasts, as in 300ms or 1s (300ms)
  --json FILE      write the figures there too"
rounds=9 turn=300ms json=""
options "$usage" "$@"
[ -z "$json" ] || json=$(realpath -m "$json")

cd "$ROOT"
config/setup.sh
cargo build --release --locked --example echo --bin rdma-engine
go build -C tests/sidecar -o "$TARGET/sidecar/" ./cmd/compare

results=$(mktemp -d)
trap 'stack_stop; rm -rf "$results"' EXIT

# rows KIND CPUS: SeaweedFS, the engine and compare, fresh and all on the same CPUs.
rows() {
    stack_prepare
    # Pinning this shell pins what it starts.
    taskset -pc "$2" $$ >/dev/null
    start_weed
    start_engine
    printf '\n== %s, everything on CPU %s; the engine has a pool of %s\n' "$1" "$2" \
        "$("$ENGINE" capabilities --ipc-socket "$SOCKET" | sed -n 's/^pool *//p')"
    "$TARGET/sidecar/compare" -rows "$1" -master "$MASTER" -engine "$SOCKET" -echo "$TARGET/release/examples/echo" \
        -rounds "$rounds" -turn "$turn" -json "$results/$1.json"
    stack_stop
}

echo
echo "machine   $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, Linux $(uname -r)"
echo "          $(sed -n 's/^MemTotal: *//p' /proc/meminfo) of memory, $(sed -n 's/^HugePages_Free: *//p' /proc/meminfo) huge pages free"
echo "versions  $("$ENGINE" --version), weed $(weed version 2>/dev/null | head -n 1 | cut -d ' ' -f 2-), $(go version | cut -d ' ' -f 3), $(rustc --version | cut -d ' ' -f 1,2)"
rows latency 0
rows throughput 0,1
if [ -n "$json" ]; then
    printf '{"latency": %s, "throughput": %s}\n' "$(<"$results/latency.json")" "$(<"$results/throughput.json")" >"$json"
    echo "figures in $json"
fi
