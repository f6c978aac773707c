# shellcheck shell=bash
# shellcheck disable=SC2034,SC2119,SC2120 # much of this is for those who source it, and arguments are optional
# Sourced after env.sh: starts a real SeaweedFS and an engine beside it in a folder of their own, waits until
# each is ready, and stops them by their own process ids.
#
#   STACK_DIR    their folder, made by stack_prepare; everything they write is in it
#   MASTER       http://HOST:PORT of SeaweedFS's master
#   SOCKET       the engine's socket
#   METRICS      HOST:PORT of the engine's endpoints
#   CLUSTER      the master as weed's own programs want it, HOST:PORT.GRPCPORT
#   VOLUME       http://HOST:PORT of its volume server
#   FILER        HOST:PORT.GRPCPORT of the filer, where start_weed was told to start one
#   PEER         HOST:PORT of the target
#   SIDECAR      HOST:PORT of the sidecar that was started last
#   STARTED      the process id of what was started last
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
    STARTED=$!
    STACK_PIDS+=("$STARTED")
}

# start_weed [ARGUMENT…]: with further arguments of weed server; -filer among them starts a filer, too.
start_weed() {
    local master master_grpc volume volume_grpc filer filer_grpc
    read -r master master_grpc volume volume_grpc filer filer_grpc <<<"$(free_ports 6)"
    MASTER=http://127.0.0.1:$master CLUSTER=127.0.0.1:$master.$master_grpc VOLUME=http://127.0.0.1:$volume
    run weed weed server -dir="$STACK_DIR/volumes" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false \
        -volume.max=100 -volume.preStopSeconds=0 \
        -master.port="$master" -master.port.grpc="$master_grpc" -volume.port="$volume" -volume.port.grpc="$volume_grpc" \
        -filer.port="$filer" -filer.port.grpc="$filer_grpc" "$@"
    wait_ready "$MASTER/dir/assign" "$STARTED" "$STACK_DIR/weed.log"
    case " $* " in *" -filer "*)
        FILER=127.0.0.1:$filer.$filer_grpc
        wait_ready "http://127.0.0.1:$filer/" "$STARTED" "$STACK_DIR/weed.log" ;;
    esac
}

# start_engine [NAME ARGUMENT…]: one that serves the volumes, or with other arguments and a socket of its own.
start_engine() {
    local name=${1:-engine}
    if [ $# -gt 0 ]; then shift; else set -- --volumes "$STACK_DIR/volumes"; fi
    SOCKET=$STACK_DIR/$name.sock METRICS=127.0.0.1:$(free_ports 1)
    run "$name" "$ENGINE" server --device none --ipc-socket "$SOCKET" --metrics-listen "$METRICS" "$@"
    wait_ready "http://$METRICS/readyz" "$STARTED" "$STACK_DIR/$name.log"
}

# start_target [ARGUMENT…]: one that serves the volumes.
start_target() {
    local port metrics
    read -r port metrics <<<"$(free_ports 2)"
    PEER=127.0.0.1:$port METRICS=127.0.0.1:$metrics
    run target "$ENGINE" target --device none --volumes "$STACK_DIR/volumes" --listen "$PEER" --metrics-listen "$METRICS" "$@"
    wait_ready "http://$METRICS/readyz" "$STARTED" "$STACK_DIR/target.log"
}

# start_sidecar NAME ARGUMENT…: a sidecar serve with these arguments.
start_sidecar() {
    local name=$1
    shift
    SIDECAR=127.0.0.1:$(free_ports 1)
    run "$name" "$TARGET/sidecar/sidecar" serve --listen "$SIDECAR" "$@"
    wait_ready "http://$SIDECAR/health" "$STARTED" "$STACK_DIR/$name.log"
}

# attend SECONDS COMMAND…: runs it to its end, or for at most so long. A signal to the script need not wait for it.
attend() {
    local limit=$1 status=0
    shift
    timeout --kill-after=20 "$limit" "$@" &
    STACK_PIDS+=("$!")
    wait "$!" || status=$?
    unset 'STACK_PIDS[-1]'
    return $status
}

# stop_process PID: ends a child, and after half a minute by force.
stop_process() {
    local tries=0
    kill "$1" 2>/dev/null || true
    # One that has ended has no executable, even before it is waited for.
    while [ -e "/proc/$1/exe" ]; do
        if [ $((tries += 1)) = 300 ]; then
            echo "process $1 did not end within 30 s: killing it" >&2
            kill -KILL "$1" 2>/dev/null || true
        fi
        sleep 0.1
    done
    wait "$1" 2>/dev/null || true
}

# stack_stop: ends what runs, the last started first, takes away what is still mounted, and removes the folder.
stack_stop() {
    local i mount
    for ((i = ${#STACK_PIDS[@]} - 1; i >= 0; i--)); do stop_process "${STACK_PIDS[i]}"; done
    STACK_PIDS=()
    [ -n "${STACK_DIR-}" ] || return 0
    while read -r mount; do fusermount3 -uz "$mount" || true; done < <(
        awk -v below="$STACK_DIR/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo)
    rm -rf --one-file-system "$STACK_DIR"
}
