#!/usr/bin/env bash
# Runs the checks that need an RDMA device, in a virtual machine that has one: Linux' Soft-RoCE, under QEMU.
# Needs no RDMA on this host and leaves nothing on it. The checks are one program, tests/vm/checks; its lines
# of tab-separated fields become the table at the end:
#   CHECK   NAME  pass|fail  DETAIL
#   FIGURE  NAME  VALUE  UNIT  LIMIT     (a figure that must keep its limit is also a check)
# It finds rdma-engine, sidecar, ib_read_lat and ib_read_bw on its PATH, SeaweedFS's volumes in /data/volumes, the
# files stored in them in /data/files, and which needle is which file in /data/files/manifest.tsv (see volumes.py).
set -euo pipefail
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../config/env.sh"
# shellcheck source=config/stack.sh
source "$ROOT/config/stack.sh"
# shellcheck source=tests/vm/machine.sh
source "$ROOT/tests/vm/machine.sh"

usage="usage: tests/vm/run.sh [--limit SECONDS] [[--files DIR] --run PROGRAM [ARG…]]
  --limit SECONDS   stop the machine when it is still running then (default 1500)
  --run PROGRAM     run this program of the host instead of the checks, and exit with its status
  --files DIR       a folder to copy into the machine as /data
With ACCEPT_NO_VM=1, a host that can not run the machine is no failure."
limit=1500 files='' program=()
while [ $# -gt 1 ]; do
    case $1 in
        --limit) limit=$2; shift 2 ;;
        --files) files=$2; shift 2 ;;
        --run) program=("${@:2}"); set -- ;;
        *) break ;;
    esac
done
if [ $# -gt 0 ] || [[ ! $limit =~ ^[1-9][0-9]*$ ]] ||
    { [ -n "$files" ] && { [ ! -d "$files" ] || [ ${#program[@]} = 0 ]; }; }; then
    echo "$usage" >&2
    exit 2
fi

# run_program: --run.
run_program() {
    local path
    path=$(command -v "${program[0]}") || { echo "run.sh: no program ${program[0]}" >&2; return 127; }
    machine_add "$path" "/usr/local/bin/${path##*/}"
    if [ -n "$files" ]; then cp -RL "$files" "$MACHINE_DIR/root/data"; fi
    machine_run "$limit" "/usr/local/bin/${path##*/}" "${program[@]:1}"
}

# test_program NAME: builds an integration test and prints where it is.
test_program() {
    cargo test --release --locked --test "$1" --no-run --message-format=json |
        python3 -c '
import json, sys
built = [json.loads(line).get("executable") for line in sys.stdin]
print([path for path in built if path and "/" + sys.argv[1] + "-" in path][-1])' "$1"
}

build() {
    cargo build --release --locked --bin rdma-engine --example vm-checks
    CGO_ENABLED=0 go build -C tests/sidecar -o "$TARGET/vm/sidecar" ./cmd/sidecar
    machine_add "$TARGET/release/rdma-engine" /usr/local/bin/rdma-engine
    machine_add "$TARGET/release/examples/vm-checks" /usr/local/bin/vm-checks
    machine_add "$TARGET/vm/sidecar" /usr/local/bin/sidecar
    machine_add "$(test_program peer_leases)" /usr/local/bin/peer-leases
}

# volumes: a real SeaweedFS writes them, and has ended before they are copied.
volumes() {
    mkdir -p "$MACHINE_DIR/root/data/files"
    stack_prepare
    start_weed
    python3 tests/vm/volumes.py "$MASTER" "$MACHINE_DIR/root/data/files"
    kill "${STACK_PIDS[@]}"
    wait "${STACK_PIDS[@]}" || true
    STACK_PIDS=()
    mkdir "$MACHINE_DIR/root/data/volumes"
    cp "$STACK_DIR"/volumes/*.{dat,idx} "$MACHINE_DIR/root/data/volumes/"
}

# table STATUS: the figures and checks in the machine's output; fails unless there are checks and all passed.
table() {
    awk -F '\t' -v status="$1" -v up="$(sed -n 's/.*init: up after \([0-9.]*\) s.*/\1/p' "$MACHINE_DIR/console")" '
        BEGIN { if (up != "") figures = sprintf("  %-48s %12s %s\n", "the machine is up after", up, "s") }
        $1 == "FIGURE" { figures = figures sprintf("  %-48s %12s %-8s %s\n", $2, $3, $4, $5) }
        $1 == "CHECK" {
            if ($3 == "pass") passed++; else failed++
            checks = checks sprintf("  %-4s  %-48s %s\n", $3 == "pass" ? "pass" : "FAIL", $2, $4)
        }
        END {
            printf "\nFigures, on an emulated CPU:\n%s\nChecks:\n%s\n%d passed, %d failed", figures, checks, passed, failed
            if (status != 0) printf "; the program ended with status %d", status
            print ""
            exit !(passed && !failed && status == 0)
        }' "$MACHINE_DIR/output"
}

trap 'machine_stop; stack_stop' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if ! "$ROOT/config/setup.sh" --vm >&2; then
    echo "run.sh: this host can not run the virtual machine, see above: nothing that needs an RDMA device was tested" >&2
    [ "${ACCEPT_NO_VM-}" = 1 ] || { echo "run.sh: ACCEPT_NO_VM=1 makes that no failure" >&2; exit 1; }
    exit 0
fi
machine_prepare
if [ ${#program[@]} -gt 0 ]; then run_program; exit; fi
cd "$ROOT"
build
volumes
status=0
machine_run "$limit" /usr/local/bin/vm-checks || status=$?
table $status
