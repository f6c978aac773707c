# shellcheck shell=bash
# Sourced by this repository's scripts: where things are, and the tools setup.sh brought first on PATH.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=$(cd "$ROOT" && realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$TARGET
TOOLS=$TARGET/tools
export PATH=$TOOLS/bin:$PATH
