#!/usr/bin/env bash
# How long the engine takes to start on many volumes and what memory that costs: makes volumes of sparse .dat files and
# real indexes on disk, starts the engine on them, and prints the time until it is ready and its memory. It prints which
# targets these meet; it fails only when it can not run.
set -euo pipefail
# shellcheck source=benches/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage="usage: benches/start.sh [--volumes N] [--needles N] [--rounds N]
  --volumes N  how many volumes (100)
  --needles N  how many needles in each (100000)
  --rounds N   how often the engine is started (5)
Their files are made below TMPDIR (/tmp), some 17 bytes a needle, and removed at the end."
volumes=100 needles=100000 rounds=5
options "$usage" "$@"

cd "$ROOT"
config/setup.sh --bench
cargo build --release --locked --bin rdma-engine
stack_prepare

# Needles of 1,000 bytes, as they would be written one after the other: ids mostly ascend, and every fiftieth is out of
# turn. The headers of the first and last, which the engine looks at, are there; the data is a hole.
python3 -c '
import random, struct, sys
dir, volumes, needles = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SIZE, RECORD = 1000, 1032
for vid in range(1, volumes + 1):
    random.seed(vid)
    ids = list(range(1, needles + 1))
    for at in range(0, needles, 50):
        other = random.randrange(needles)
        ids[at], ids[other] = ids[other], ids[at]
    entries = bytearray()
    with open(f"{dir}/{vid}.dat", "wb") as dat:
        dat.write(bytes([3, 0, 0, 0, 0, 0, 0, 0]))
        for number, id in enumerate(ids):
            offset = 8 + number * RECORD
            entries += struct.pack(">QIBi", id << 8 | vid & 0xff, offset // 8, 0, SIZE)
            if number < 8 or number >= needles - 8:
                dat.seek(offset)
                dat.write(struct.pack(">IQi", 0, id << 8 | vid & 0xff, SIZE))
        dat.truncate(8 + needles * RECORD)
    with open(f"{dir}/{vid}.idx", "wb") as idx:
        idx.write(entries)
    with open(f"{dir}/{vid}.vif", "w") as vif:
        vif.write("{\"version\":3,\"bytesOffset\":5}")
' "$STACK_DIR/volumes" "$volumes" "$needles"

# kib PID KEY: a line of /proc/PID/status, in KiB.
kib() { sed -n "s/^$2:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$1/status"; }

# The pool is shared memory, and counted apart: it is what --buffer-size says.
for ((round = 0; round < rounds; round++)); do
    [ "$round" != 0 ] || sync
    METRICS=127.0.0.1:$(free_ports 1)
    rm -f "$STACK_DIR/engine.log" # the last one's says that it was ready
    began=$EPOCHREALTIME
    run engine "$ENGINE" server --device none --hugepages never --buffer-size 16MiB --ipc-socket "$SOCKET" \
        --volumes "$STACK_DIR/volumes" --metrics-listen "$METRICS"
    pid=${STACK_PIDS[-1]}
    until grep -qs 'ready' "$STACK_DIR/engine.log"; do
        kill -0 "$pid" || { cat "$STACK_DIR/engine.log" >&2; exit 1; }
        sleep 0.01
    done
    ended=$EPOCHREALTIME
    wait_ready "http://$METRICS/readyz" "$pid" "$STACK_DIR/engine.log"
    found=$(sed -n 's/.*needles=\([0-9]*\).*/\1/p' "$STACK_DIR/engine.log")
    echo "$began $ended $(kib "$pid" VmRSS) $(kib "$pid" VmHWM) $(kib "$pid" RssShmem) $found"
    kill "$pid"
    wait "$pid" || true
    unset 'STACK_PIDS[-1]'
done | python3 -c '
import statistics, sys
volumes, needles = int(sys.argv[1]), int(sys.argv[2])
rows = [[float(word) for word in line.split()] for line in sys.stdin]
assert all(row[5] == volumes * needles for row in rows), rows
seconds = [ended - began for began, ended, *_ in rows]
mib = lambda column: max(row[column] for row in rows) / 1024
print(f"\n== started {len(rows)} times on {volumes} volumes with {needles} needles each")
print(f"seconds to ready   {statistics.median(seconds):7.2f} ({min(seconds):.2f} to {max(seconds):.2f})")
print(f"resident memory    {mib(2):7.1f} MiB, of which the pool and other shared memory {mib(4):.1f} MiB")
print(f"  at its peak      {mib(3):7.1f} MiB")
if volumes * needles == 10_000_000:
    met = lambda good: "met" if good else "MISSED"
    print(f"targets: under 10 s: {met(max(seconds) < 10)}; under 300 MiB at the peak: {met(mib(3) < 300)}")
' "$volumes" "$needles"
