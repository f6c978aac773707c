# shellcheck shell=bash
# Sourced by the benches: where things are, their options, and the stack they measure, which is stopped when they end.
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/../config/env.sh"
# shellcheck source=config/stack.sh
source "$ROOT/config/stack.sh"
STACK_DIR="" # one of the environment's would be removed at the end
trap stack_stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# options USAGE ARGUMENT…: for each --NAME VALUE that the usage has in brackets, the variable NAME is VALUE.
options() {
    local usage=$1
    shift
    while [ $# -gt 0 ]; do
        [[ $# -ge 2 && $1 =~ ^--[a-z]+$ && $usage == *"[$1 "* ]] || { echo "$usage" >&2; exit 2; }
        printf -v "${1#--}" %s "$2"
        shift 2
    done
}
