#!/usr/bin/env bash
# What telling costs: reads a second of an engine that is scraped every second beside one in which counting and timing
# are compiled to nothing, turn by turn in one run; and how long /metrics takes with 10,000 sessions open. It prints
# figures and which targets they meet; it fails only when it can not run.
set -euo pipefail
# shellcheck source=benches/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage="usage: benches/metrics.sh [--rounds N] [--seconds N]
  --rounds N   how often each side has its turn (15)
  --seconds N  how long a turn lasts (3)"
rounds=15 seconds=3
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

read -r with without <<<"$(free_ports 2)"
# engine NAME PORT: one of the two, on a socket of its name.
engine() {
    run "$1" "$programs/$1" server --device none --workers 1 --max-sessions 11000 --volumes "$STACK_DIR/volumes" \
        --ipc-socket "$STACK_DIR/$1.sock" --metrics-listen "127.0.0.1:$2" --buffer-size 256MiB
    wait_ready "http://127.0.0.1:$2/readyz" $! "$STACK_DIR/$1.log"
}
engine with "$with"
engine without "$without"

python3 - "$programs/with" "$STACK_DIR" "$needle" "$with" "$rounds" "$seconds" <<'PYTHON'
import json, socket, statistics, struct, subprocess, sys, threading, time, urllib.request

program, folder, fid, port, rounds, seconds = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def scrape():
    begun = time.monotonic()
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        length = len(answer.read())
    return time.monotonic() - begun, length


def turn(name):
    """Reads a second; the engine with metrics is scraped every second meanwhile."""
    over = threading.Event()

    def scraping():
        while not over.is_set():
            scrape()
            over.wait(1)

    scraper = threading.Thread(target=scraping)
    if name == "with":
        scraper.start()
    bench = [program, "bench", fid, "-c", "2", "-d", "16", "-t", seconds, "--json", "--ipc-socket", f"{folder}/{name}.sock"]
    report = json.loads(subprocess.run(bench, check=True, capture_output=True).stdout)
    over.set()
    if name == "with":
        scraper.join()
    return report["reads_per_second"]


for name in ("with", "without"):  # the caches are warm
    turn(name)
figures = {"with": [], "without": []}
for round in range(int(rounds)):
    for name in ("with", "without") if round % 2 == 0 else ("without", "with"):
        figures[name].append(turn(name))
ratios = [a / b for a, b in zip(figures["with"], figures["without"])]
for name, values in figures.items():
    low, high = min(values), max(values)
    print(f"{name:8} metrics  {statistics.median(values):10,.0f} reads/s  ({low:,.0f} to {high:,.0f})")
ratio = statistics.median(ratios)
spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
verdict = "met" if ratio >= 0.98 else "NOT met"
print(f"with / without   {ratio:10.3f} median of {len(ratios)} pairs ({spread}); target 0.98: {verdict}")
cost = statistics.median(1e6 / a - 1e6 / b for a, b in zip(figures["with"], figures["without"]))
print(f"a read takes     {cost:10.2f} us longer, on the one worker that is driven as hard as it goes")


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
