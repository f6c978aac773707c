#!/usr/bin/env bash
# Draws each dashboard from its JSON, with the data of a running Prometheus, to OUTDIR/NAME.png: 1600 pixels wide, laid
# out as Grafana does. Wants chromium (config/setup.sh --pictures).
set -euo pipefail
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/../config/env.sh"
cd "$ROOT"

usage="usage: grafana/pictures.sh PROMETHEUS_URL OUTDIR [--from SECONDS] [--to SECONDS]
  --from, --to   the time shown, seconds since 1970; without them up to now, from the first scrape or as the
                 dashboard says, whichever is later"
die() { printf 'pictures: %s\n' "$*" >&2; exit 1; }
[ $# -ge 2 ] || { echo "$usage" >&2; exit 2; }
prometheus=$1 out=$2
shift 2
times=("$@")
chromium=$(command -v chromium) || die "no chromium here: config/setup.sh --pictures installs it"

work=$(mktemp -d "${TMPDIR:-/tmp}/rdma-pictures.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
for dashboard in grafana/dashboards/*.json; do
    name=$(basename "$dashboard" .json)
    height=$(python3 grafana/render/page.py "$prometheus" "$dashboard" "$work/$name.html" "${times[@]}")
    "$chromium" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --user-data-dir="$work/profile" --hide-scrollbars \
        --force-device-scale-factor=1 --window-size="1600,$height" --enable-logging=stderr \
        --screenshot="$work/$name.png" "file://$work/$name.html" 2>"$work/log" >"$work/out" ||
        die "chromium could not draw $name: $(tail -n 5 "$work/log")"
    # What the page's scripts could not do is on its console.
    ! grep CONSOLE "$work/log" >&2 || die "$name is not drawn whole: see above"
    # A palette is enough for charts, and a third of the size.
    pngquant --force --strip --speed 1 --nofs --output "$out/$name.png" 128 "$work/$name.png"
    printf '%s: %d x %d pixels, %d KiB\n' "$out/$name.png" 1600 "$height" "$(($(stat -c %s "$out/$name.png") / 1024))"
done
