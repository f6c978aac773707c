#!/usr/bin/env bash
# Files read through an unmodified `weed mount`, a sidecar and an engine are those that were stored, and most of them
# came through the engine: one that reads the volume server's own directory, and one that reads from a target over TCP.
# Then the files that the mount itself asks for wrong. Everything is in a temporary folder, and gone afterwards.
set -euo pipefail
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/../config/env.sh"
# shellcheck source=config/stack.sh
source "$ROOT/config/stack.sh"
cd "$ROOT"
exec </dev/null
[ $# = 0 ] || { echo "usage: tests/mount.sh (ENGINE_BIN may name an engine that is built already)" >&2; exit 2; }

config/setup.sh --tests
[ -n "${ENGINE_BIN-}" ] || cargo build --release --locked
go build -C tests/sidecar -o "$TARGET/sidecar/" ./cmd/...

trap stack_stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
stack_prepare
start_weed -filer
read -r http grpc <<<"$(free_ports 2)"
mkdir "$STACK_DIR/filer"
run encrypting weed filer -master="$CLUSTER" -ip=127.0.0.1 -ip.bind=127.0.0.1 -port="$http" -port.grpc="$grpc" \
    -defaultStoreDir="$STACK_DIR/filer" -encryptVolumeData
wait_ready "http://127.0.0.1:$http/" "$STARTED" "$STACK_DIR/encrypting.log"

sides=()
start_engine local --buffer-size 256MiB --volumes "$STACK_DIR/volumes"
metrics=$METRICS
start_sidecar local-sidecar --engine "$SOCKET"
sides+=(-side "engine on its host,$SIDECAR,$metrics")
start_target --buffer-size 256MiB
start_engine remote --buffer-size 256MiB --peer "$PEER"
metrics=$METRICS
start_sidecar remote-sidecar --engine "$SOCKET"
sides+=(-side "engine and target over TCP,$SIDECAR,$metrics")
start_sidecar http-sidecar --http-only "$VOLUME"

mkdir "$STACK_DIR/mounts"
# Go's signals to its own threads would reach reads in the kernel, which has the mount give them up: it answers EIO.
attend 900 env GODEBUG=asyncpreemptoff=1 "$TARGET/sidecar/mountcheck" -master "$MASTER" -filer "$FILER" \
    -encrypting-filer "127.0.0.1:$http.$grpc" -work "$STACK_DIR/mounts" "${sides[@]}" -http-only "$SIDECAR"
