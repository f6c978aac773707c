# shellcheck shell=bash
# Sourced after env.sh: a virtual machine with a real RDMA stack (the kernel's Soft-RoCE), put together from
# programs of this host and the kernel that setup.sh --vm brought, and gone when its command has ended.
#
#   MACHINE_DIR   its folder, made by machine_prepare: MACHINE_DIR/root is what is in the machine, the rest what
#                 came out of it: output (the command's), status (its exit status), console, qemu (QEMU's messages)

MACHINE_DIR='' MACHINE_PID=''

# machine_add FILE PATH: a file of the host as PATH of the machine, with the shared libraries it is linked to.
machine_add() {
    local library
    install -D "$1" "$MACHINE_DIR/root$2"
    # "libc.so.6 => /lib/… (0x…)", or the loader's path alone; ldd fails at what is not a dynamic program.
    { ldd "$1" 2>/dev/null || true; } | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' | while read -r library; do
        [ -e "$MACHINE_DIR/root$library" ] || install -D "$library" "$MACHINE_DIR/root$library"
    done
}

machine_prepare() {
    local program provider
    MACHINE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/rdma-engine-vm.XXXXXX")
    mkdir -p "$MACHINE_DIR/root"/{bin,usr/lib,usr/lib64,modules,etc/libibverbs.d}
    ln -s usr/lib usr/lib64 "$MACHINE_DIR/root/" # as Debian has them: a library is found by either path
    install "$ROOT/tests/vm/init" "$MACHINE_DIR/root/init"
    cp "$TARGET"/vm/linux/*.ko "$MACHINE_DIR/root/modules/"
    for program in busybox ip rdma ib_read_lat ib_read_bw; do
        machine_add "$(PATH=$PATH:/usr/sbin:/sbin command -v $program)" /bin/$program
    done
    # The verbs library loads it by its name.
    provider=$(find /usr/lib/*/libibverbs -name 'librxe-rdmav*.so')
    machine_add "$provider" "$provider"
    echo 'driver rxe' >"$MACHINE_DIR/root/etc/libibverbs.d/rxe.driver"
    echo 'root:x:0:0::/tmp:/bin/sh' >"$MACHINE_DIR/root/etc/passwd"
    echo '127.0.0.1 localhost' >"$MACHINE_DIR/root/etc/hosts"
}

# machine_run SECONDS COMMAND…: boots the machine, runs the command in it and passes on what it writes. Its exit
# status; or 125, and why, when the machine ended without one.
machine_run() {
    local limit=$1 ended=0 reader
    # Emulated, so that it is the same machine everywhere: /dev/kvm often is there and does not work. A plain CPU
    # with what the engine's checksums use: AVX and all else of "max" makes verbs take twice as long. Its clock is
    # the CPU's counter (tsc=reliable, which Linux doubts here): 0.1 us a look; the chipset's takes 2.
    local qemu=(qemu-system-x86_64 -accel "tcg,thread=multi" -smp 2 -m 3072
        -cpu "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+pclmulqdq,+rdrand"
        -nodefaults -display none -no-reboot -kernel "$TARGET/vm/linux/vmlinuz" -initrd "$MACHINE_DIR/initramfs"
        -append "console=ttyS0 loglevel=5 panic=-1 oops=panic tsc=reliable"
        -serial "file:$MACHINE_DIR/console" -serial "file:$MACHINE_DIR/output" -serial "file:$MACHINE_DIR/status")
    shift
    echo "exec ${*@Q}" >"$MACHINE_DIR/root/command"
    (cd "$MACHINE_DIR/root" && find . | busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$MACHINE_DIR/initramfs"
    : >"$MACHINE_DIR/output"
    # In the background, as a signal to this script is to end it at once.
    timeout -k 10 "$limit" "${qemu[@]}" </dev/null >"$MACHINE_DIR/qemu" 2>&1 &
    MACHINE_PID=$!
    tail -f -s 0.1 -c +1 --pid=$MACHINE_PID "$MACHINE_DIR/output" &
    reader=$!
    wait $MACHINE_PID || ended=$?
    MACHINE_PID=''
    wait $reader
    if [[ $(cat "$MACHINE_DIR/status" 2>/dev/null) =~ ^[0-9]+$ ]]; then return "${BASH_REMATCH[0]}"; fi
    if [ $ended = 124 ] || [ $ended = 137 ]; then
        printf '\nThe virtual machine was stopped: its command had not ended after %d s.' "$limit"
    else
        printf '\nThe virtual machine ended before its command (QEMU with status %d).' $ended
    fi
    printf ' The end of its console:\n'
    cat "$MACHINE_DIR/qemu" "$MACHINE_DIR/console" 2>/dev/null | tr -d '\r' | tail -n 40
    return 125
}

machine_stop() {
    if [ -n "$MACHINE_PID" ]; then
        kill "$MACHINE_PID" 2>/dev/null || true
        wait "$MACHINE_PID" 2>/dev/null || true
    fi
    [ -z "$MACHINE_DIR" ] || rm -rf "$MACHINE_DIR"
}
