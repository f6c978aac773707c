#!/usr/bin/env bash
# What telling costs: reads a second of an engine that is scraped every second beside one in which counting and timing
# are compiled to nothing, turn by turn in one run; and how long /metrics takes with 10,000 sessions open. The engines
# have one CPU and the load has another, so that neither takes the other's time. Where a process' memory comes to lie
# makes it some per cent faster or slower for as long as it runs, so both are started many times. It prints figures and which
# targets they meet; it fails only when it can not run.
set -euo pipefail
# shellcheck source=benches/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage="usage: benches/metrics.sh [--starts N] [--rounds N] [--reads N]
  --starts N  how often both engines are started (40)
  --rounds N  how often each of them then has its turn (10)
  --reads N   reads in a turn, which is short so that both meet the same of what else the machine does (10000)"
starts=40 rounds=10 reads=10000
options "$usage" "$@"

cd "$ROOT"
config/setup.sh
programs=$TARGET/metrics
mkdir -p "$programs"
cargo build --release --locked --bin rdma-engine --features noop-metrics
cp "$TARGET/release/rdma-engine" "$programs/without"
cargo build --release --locked --bin rdma-engine
cp "$TARGET/release/rdma-engine" "$programs/with"
stack_prepare
start_weed
needle=$(python3 -c '
import json, os, sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
place = json.load(opener.open(sys.argv[1] + "/dir/assign"))
request = urllib.request.Request("http://" + place["url"] + "/" + place["fid"], data=os.urandom(4096),
    headers={"Content-Type": "application/octet-stream"}, method="PUT")
opener.open(request).close()
print(place["fid"])' "$MASTER")

cpus=$(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)))')
load_cpu=${cpus%% *} engine_cpu=${cpus##* }
# engine NAME: one of the two, on a socket of its name; PORT is that of its endpoints.
engine() {
    PORT=$(free_ports 1)
    run "$1" taskset -c "$engine_cpu" "$programs/$1" server --device none --workers 1 --max-sessions 11000 --volumes "$STACK_DIR/volumes" \
        --ipc-socket "$STACK_DIR/$1.sock" --metrics-listen "127.0.0.1:$PORT" --buffer-size 256MiB
    wait_ready "http://127.0.0.1:$PORT/readyz" "$STARTED" "$STACK_DIR/$1.log"
}

# stop_engine: the one that was started last.
stop_engine() {
    stop_process "${STACK_PIDS[-1]}"
    unset 'STACK_PIDS[-1]'
}

for ((start = 0; start < starts; start++)); do
    engine without
    engine with
    python3 - "$programs/with" "$STACK_DIR" "$needle" "$PORT" "$rounds" "$reads" "$load_cpu" <<'PYTHON'
import json, os, subprocess, sys, urllib.request

program, folder, fid, port, rounds, reads, cpu = sys.argv[1:]
os.sched_setaffinity(0, {int(cpu)})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
unscraped = 0.5


def scrape():
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        answer.read()


def turn(name):
    """Reads a second. The engine with metrics is scraped once in each second of its turns."""
    global unscraped
    bench = [program, "bench", fid, "-c", "2", "-d", "16", "-n", reads, "--json", "--ipc-socket", f"{folder}/{name}.sock"]
    with subprocess.Popen(bench, stdout=subprocess.PIPE) as running:
        if name == "with" and unscraped >= 1:
            unscraped -= 1
            scrape()
        report = json.loads(running.stdout.read())
    if name == "with":
        unscraped += report["seconds"]
    return report["reads_per_second"]


for name in ("with", "without"):  # the caches are warm
    turn(name)
pairs = []
for number in range(int(rounds)):
    order = ("with", "without") if number % 2 == 0 else ("without", "with")
    pairs.append({name: turn(name) for name in order})
with open(f"{folder}/pairs", "a") as file:
    print(json.dumps(pairs), file=file)
PYTHON
    [ $((start + 1)) = "$starts" ] || { stop_engine; stop_engine; }
done

python3 - "$STACK_DIR" "$needle" "$PORT" <<'PYTHON'
import json, socket, statistics, struct, sys, time, urllib.request

folder, fid, port = sys.argv[1:]
starts = [json.loads(line) for line in open(f"{folder}/pairs")]
for name in ("with", "without"):
    values = [pair[name] for pairs in starts for pair in pairs]
    print(f"{name:8} metrics  {statistics.median(values):10,.0f} reads/s  ({min(values):,.0f} to {max(values):,.0f})")
ratios = [statistics.median(pair["with"] / pair["without"] for pair in pairs) for pairs in starts]
ratio, error = statistics.mean(ratios), 0
if len(ratios) > 1:
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
verdict = "met" if ratio >= 0.98 else "NOT met"
print(f"with / without   {ratio:10.3f} +/- {error:.3f}, mean of {len(ratios)} starts' medians "
    f"(median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}); target 0.98: {verdict}")
costs = [statistics.median(1e9 / pair["with"] - 1e9 / pair["without"] for pair in pairs) for pairs in starts]
print(f"a read takes     {statistics.median(costs):10.0f} ns longer, on a worker that is driven as hard as it goes")

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def text(value):
    value = value.encode()
    return bytes([0xA0 | len(value)]) + value


def start_read(volume, needle, cookie):
    """A frame, in MessagePack."""
    fields = {"volume_id": volume, "needle_id": needle, "cookie": cookie, "offset": 0, "size": 0, "remote_addr": 0,
        "remote_key": 0, "timeout_secs": 300}
    data = bytes([0x80 | len(fields)])
    for name, value in fields.items():
        data += text(name) + b"\xcf" + struct.pack(">Q", value)
    payload = b"\x82" + text("type") + text("StartRead") + text("data") + data
    return struct.pack("<I", len(payload)) + payload


def scrape():
    begun = time.monotonic()
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        length = len(answer.read())
    return time.monotonic() - begun, length


volume, rest = fid.split(",")
request = start_read(int(volume), int(rest[:-8], 16), int(rest[-8:], 16))
client = socket.socket(socket.AF_UNIX)
client.connect(f"{folder}/with.sock")
stream = client.makefile("rb")
for _ in range(100):
    client.sendall(request * 100)
    for _ in range(100):
        (length,) = struct.unpack("<I", stream.read(4))
        assert b"StartReadResponse" in stream.read(length), "a read failed"
with opener.open(f"http://127.0.0.1:{port}/sessions", timeout=60) as answer:
    sessions = len(json.load(answer)["sessions"])
time.sleep(1.1)  # older than a second, so that the largest are looked for among all
looks = [scrape() for _ in range(31)]
times = sorted(seconds * 1000 for seconds, _ in looks)
verdict = "met" if times[-1] < 50 else "NOT met"
print(f"/metrics of {looks[-1][1]:,} B with {sessions:,} sessions: median {statistics.median(times):.1f} ms, "
    f"longest of {len(times)} {times[-1]:.1f} ms; target 50 ms: {verdict}")
PYTHON
