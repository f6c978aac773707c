#!/usr/bin/env bash
# Builds the engine and shows it at work: starts a real SeaweedFS and the engine beside it, stores files, reads
# them back through a Go sidecar, compares every byte, prints what reading costs, and stops everything.
set -euo pipefail
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
# shellcheck source=config/stack.sh
source "$ROOT/config/stack.sh"
cd "$ROOT"

usage="usage: config/quickstart.sh [--keep]
  --keep   leave SeaweedFS and the engine running, and say what to try"
keep=false
case ${1-} in
    --keep) keep=true; shift ;;
esac
[ $# = 0 ] || { echo "$usage" >&2; exit 2; }

step() { printf '\n== %s\n' "$*"; }

step "set up"
config/setup.sh
step "build the engine and the Go commands"
cargo build --release --locked
go build -C tests/sidecar -o "$TARGET/sidecar/" ./cmd/...
export PATH=$TARGET/sidecar:$PATH

trap stack_stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
stack_prepare
step "start SeaweedFS and the engine, in $STACK_DIR"
start_weed
start_engine
"$ENGINE" ping --ipc-socket "$SOCKET"

step "store files, read them back, compare"
quickstart -master "$MASTER" -engine "$SOCKET" -save "$STACK_DIR"
fid=$(<"$STACK_DIR/text.fid")
sidecar cat --engine "$SOCKET" "$fid" | cmp - "$STACK_DIR/text"
"$ENGINE" read --ipc-socket "$SOCKET" "$fid" -o - | cmp - "$STACK_DIR/text"
printf '\n"sidecar cat %s" and "rdma-engine read" give that file as it was stored.\n' "$fid"

if ! $keep; then
    step "stop"
    stack_stop
    echo "Everything was identical, and nothing is left running."
    exit 0
fi
# For whoever stops them later; a process that has ended has no executable, even before it is waited for.
cat >"$STACK_DIR/stop" <<END
#!/bin/sh
kill ${STACK_PIDS[*]}
for pid in ${STACK_PIDS[*]}; do while [ -e /proc/\$pid/exe ]; do sleep 0.1; done; done
rm -r $STACK_DIR
END
chmod +x "$STACK_DIR/stop"
trap - EXIT
cat <<END

== still running: try
  $TARGET/sidecar/sidecar cat --engine $SOCKET $fid | head -n 3
  $ENGINE read --ipc-socket $SOCKET $fid -o /tmp/needle
  $ENGINE bench --ipc-socket $SOCKET -c 4 $(<"$STACK_DIR/small.fid")
  $ENGINE capabilities --ipc-socket $SOCKET
  http://$METRICS/metrics      the engine's metrics
  $MASTER/dir/assign   a place for a file of your own: curl -F file=@FILE http://URL/FID
  $STACK_DIR/weed.log and engine.log
To stop it and remove what it stored:
  $STACK_DIR/stop
END
