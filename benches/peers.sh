#!/usr/bin/env bash
# Reads from a target over TCP on this host's loopback, beside iperf3 on as many connections, turn by turn in one run.
# An engine has one connection to a target for each of its workers. It prints figures and which targets they meet; it
# fails only when it can not run.
set -euo pipefail
# shellcheck source=benches/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage="usage: benches/peers.sh [--rounds N] [--seconds N]
  --rounds N   how often each side has its turn (7)
  --seconds N  how long a turn lasts (2)"
rounds=7 seconds=2
options "$usage" "$@"

cd "$ROOT"
config/setup.sh --bench
cargo build --release --locked --bin rdma-engine
stack_prepare
start_weed

# store: sixteen needles of 4 MiB; prints their file ids.
store() {
    python3 -c '
import json, os, sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(16):
    place = json.load(opener.open(sys.argv[1] + "/dir/assign"))
    url = "http://" + place["url"] + "/" + place["fid"]
    headers = {"Content-Type": "application/octet-stream"}
    opener.open(urllib.request.Request(url, data=os.urandom(4 << 20), headers=headers, method="PUT")).close()
    print(place["fid"])' "$MASTER"
}
mapfile -t needles < <(store)

read -r listen target_metrics iperf <<<"$(free_ports 3)"
run target "$ENGINE" target --device none --volumes "$STACK_DIR/volumes" --listen "127.0.0.1:$listen" \
    --metrics-listen "127.0.0.1:$target_metrics" --buffer-size 256MiB
wait_ready "http://127.0.0.1:$target_metrics/readyz" $! "$STACK_DIR/target.log"
run iperf iperf3 -s -B 127.0.0.1 -p "$iperf"

# engine WORKERS: an engine that has connected to the target.
engine() {
    METRICS=127.0.0.1:$(free_ports 1)
    run "engine-$1" "$ENGINE" server --device none --workers "$1" --peer "127.0.0.1:$listen" --ipc-socket "$SOCKET" \
        --metrics-listen "$METRICS" --buffer-size 256MiB
    wait_ready "http://$METRICS/readyz" $! "$STACK_DIR/engine-$1.log"
    "$ENGINE" read --ipc-socket "$SOCKET" --timeout 10 "${needles[0]}" -o /dev/null >/dev/null
}

# ours CONNECTIONS: bytes a second of 4 MiB reads, four under way on each connection to the target.
ours() {
    "$ENGINE" bench --json --ipc-socket "$SOCKET" -c "$1" -d 4 -t "$seconds" "${needles[@]}" |
        python3 -c 'import json, sys; report = json.load(sys.stdin); assert report["reads"] and not report["errors"], report; print(report["gigabytes_per_second"] * 1e9)'
}

# theirs CONNECTIONS [-Z]: bytes a second received by iperf3; with -Z it sends with sendfile.
theirs() {
    iperf3 -c 127.0.0.1 -p "$iperf" -t "$seconds" -P "$1" -J "${@:2}" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"] / 8)'
}

echo
echo "machine   $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, Linux $(uname -r), TCP with $(cat /proc/sys/net/ipv4/tcp_congestion_control)"
echo "versions  $("$ENGINE" --version), $(iperf3 --version | head -n 1 | cut -d ' ' -f 1,2)"
for connections in 1 2; do
    engine "$connections"
    for ((round = 0; round < rounds; round++)); do
        printf '%s %s %s\n' "$(ours "$connections")" "$(theirs "$connections")" "$(theirs "$connections" -Z)"
    done | python3 -c '
import statistics, sys
rows = [[float(word) for word in line.split()] for line in sys.stdin]
ours, theirs, sendfile = map(list, zip(*rows))
gb = lambda values: f"{statistics.median(values) / 1e9:6.2f} GB/s ({min(values) / 1e9:.2f} to {max(values) / 1e9:.2f})"
print(f"\n== {sys.argv[1]} connection(s), 4 MiB reads, medians of {len(rows)} rounds")
print("rdma-engine over tcp   ", gb(ours))
print("iperf3                 ", gb(theirs))
print("iperf3 -Z (sendfile)   ", gb(sendfile))
for name, other in ("iperf3", theirs), ("iperf3 -Z", sendfile):
    ratio = statistics.median(a / b for a, b in zip(ours, other))
    verdict = "met" if ratio >= 0.8 else "MISSED"
    print(f"ratio to {name:<10} {ratio:5.2f}   target 0.80: {verdict}")' "$connections"
    kill "${STACK_PIDS[-1]}"
    wait "${STACK_PIDS[-1]}" || true
    unset 'STACK_PIDS[-1]'
done
