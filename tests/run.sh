#!/usr/bin/env bash
# Everything that has to pass, in one command: formatting, lints, the Rust and the Go tests, and the whole thing
# against a real SeaweedFS. A step that fails does not keep the others from running; the last line counts them.
set -euo pipefail
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/../config/env.sh"
cd "$ROOT"
exec </dev/null
unset ENGINE_BIN # what is tested is what is built here
trap 'exit 130' INT # a Ctrl-C is meant for all steps, not for the one it meets
passed=0 failed=()

# step NAME COMMAND…: runs it, says how long it took, and counts it.
step() {
    local name=$1 start=$SECONDS status
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    set +e
    (set -e; "$@")
    status=$?
    set -e
    if [ $status = 0 ]; then
        passed=$((passed + 1))
        printf -- '-- %s passed in %d s\n' "$name" $((SECONDS - start))
    else
        failed+=("$name")
        printf -- '-- %s FAILED with status %d after %d s\n' "$name" $status $((SECONDS - start))
    fi
}

# go_format: names the files gofmt would change.
go_format() {
    local files
    files=$(gofmt -l tests/sidecar tests/grafana)
    [ -z "$files" ] || { printf 'not formatted by gofmt:\n%s\n' "$files"; return 1; }
}

# alert_rules: whether every rule is sound, and every alert fires when it should and only then.
alert_rules() {
    promtool check config config/prometheus.yml
    promtool check rules --lint=all config/rules/*.yml
    promtool test rules config/rules/tests/*.yml
}

# A few huge pages, so that a pool on them is tested too.
step "set up" config/setup.sh --tests --hugepages 16
step "scripts" shellcheck -x config/*.sh tests/*.sh tests/vm/*.sh tests/vm/init benches/*.sh grafana/*.sh .ci/run
step "Rust formatting" cargo fmt --check
step "clippy" cargo clippy --locked --all-targets -- -D warnings
step "Rust tests" cargo test --locked --no-fail-fast
step "release build" cargo build --locked --release
if [ -e tests/soak.rs ]; then step "soak" cargo test --locked --release --test soak; fi
step "Go formatting" go_format
step "Go vet" go vet -C tests/sidecar ./...
step "Go tests" env ENGINE_BIN="$TARGET/release/rdma-engine" go test -C tests/sidecar -count=1 ./...
step "dashboards" go test -C tests/grafana -count=1 ./...
step "alerts" alert_rules
step "end to end" config/quickstart.sh
step "weed mount" tests/mount.sh
step "churn" tests/churn.sh 60
step "observation" tests/observe.sh
step "virtual machine" tests/vm/run.sh

if [ ${#failed[@]} -gt 0 ]; then
    printf '\nfailed after %d s:\n' "$SECONDS"
    printf '  %s\n' "${failed[@]}"
fi
printf '\n%d passed, %d failed\n' "$passed" ${#failed[@]}
[ ${#failed[@]} = 0 ]
