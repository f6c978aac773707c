# shellcheck shell=bash
# Sourced after env.sh: starts a real SeaweedFS and an engine beside it in a folder of their own, waits until
# each is ready, and stops them by their own process ids.
#
#   STACK_DIR    their folder, made by stack_prepare; everything they write is in it
#   MASTER       http://HOST:PORT of SeaweedFS's master
#   SOCKET       the engine's socket
#   METRICS      HOST:PORT of the engine's endpoints
#   STACK_PIDS   what is running, the last started last
#   ENGINE       the engine's program: ENGINE_BIN, or the one cargo builds

ENGINE=${ENGINE_BIN:-$TARGET/release/rdma-engine}
STACK_PIDS=()

# free_ports N: N free TCP ports of the loopback address, below those the kernel hands to clients.
free_ports() {
    python3 -c '
import random, socket, sys
held = []
while len(held) < int(sys.argv[1]):
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randrange(10000, 32000)))
    except OSError:
        continue
    held.append(s)
print(*(s.getsockname()[1] for s in held))' "$1"
}

# wait_ready URL PID LOG: until URL answers 200; an error when the process ends first or takes over a minute.
wait_ready() {
    python3 -c '
import os, sys, time, urllib.request
url, pid, log = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
deadline = time.monotonic() + 60
def gone():
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
while True:
    why = f"process {pid} has ended" if gone() else "no answer for a minute" if time.monotonic() > deadline else ""
    if why:
        tail = open(log, errors="replace").read()[-2000:]
        sys.exit(f"{url} is not ready: {why}; the end of its log:\n{tail}")
    try:
        opener.open(url, timeout=5).close()
        break
    except OSError:
        time.sleep(0.05)' "$@"
}

stack_prepare() {
    STACK_DIR=$(mktemp -d "${TMPDIR:-/tmp}/rdma-engine.XXXXXX")
    mkdir "$STACK_DIR/volumes"
    SOCKET=$STACK_DIR/engine.sock
}

# run NAME COMMAND…: in the background, in a session of its own (a Ctrl-C is for this script, which stops it
# in order), its output in STACK_DIR/NAME.log.
run() {
    local name=$1
    shift
    setsid "$@" >"$STACK_DIR/$name.log" 2>&1 </dev/null &
    STACK_PIDS+=($!)
}

start_weed() {
    local master master_grpc volume volume_grpc
    read -r master master_grpc volume volume_grpc <<<"$(free_ports 4)"
    MASTER=http://127.0.0.1:$master
    run weed weed server -dir="$STACK_DIR/volumes" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false \
        -volume.max=100 -volume.preStopSeconds=0 \
        -master.port="$master" -master.port.grpc="$master_grpc" -volume.port="$volume" -volume.port.grpc="$volume_grpc"
    wait_ready "$MASTER/dir/assign" $! "$STACK_DIR/weed.log"
}

start_engine() {
    METRICS=127.0.0.1:$(free_ports 1)
    run engine "$ENGINE" server --device none --ipc-socket "$SOCKET" --volumes "$STACK_DIR/volumes" \
        --metrics-listen "$METRICS"
    wait_ready "http://$METRICS/readyz" $! "$STACK_DIR/engine.log"
}

# stack_stop: ends what runs, the last started first, and removes the folder.
stack_stop() {
    local i
    for ((i = ${#STACK_PIDS[@]} - 1; i >= 0; i--)); do
        kill "${STACK_PIDS[i]}" 2>/dev/null || true
        wait "${STACK_PIDS[i]}" 2>/dev/null || true
    done
    STACK_PIDS=()
    [ -z "${STACK_DIR-}" ] || rm -rf "$STACK_DIR"
}
