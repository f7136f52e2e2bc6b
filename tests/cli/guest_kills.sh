#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Linux guest whose four writers read back what they write, with KILLS (20) deaths of
# the process that serves its disk: of vmkernel, with the disk on NBD; and of vhost-serve,
# which is vmkernel's vhost-user-blk for any client. The guest sees no error, reads what
# it wrote, and what it told is on the disk. (QEMU may run stale code with vhost-user and
# TCG, which vmkernel refuses; this guest runs none that came from the disk.)

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
[ -n "${FULL:-}" ] || skip_all "two guests and 40 kills (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64 mcopy python3
serve=$BIN/../tests/rigs/vhost-serve
[ -x "$serve" ] || skip_all "$serve is not built"
export GUEST_INIT=writer.sh
make_guest

kills=${KILLS:-20}
passes() { # CONSOLE: how many were told of
	tr -d '\r' 2>/dev/null <"$1" | grep -c '^WROTE [0-3] [0-9]*$'
}
has_passes() { [ "$(passes "$1")" -ge "$2" ]; }
each_has_one() { [ "$(grep -a -o '^WROTE [0-3]' "$1" | sort -u | wc -l)" = 4 ]; }
has_failed() { grep -a 'GUEST-FAILED\|I/O error\|Kernel panic' "$1"; }
nap() { sleep "$((RANDOM % 2)).$((RANDOM % 10))"; }

# survives NAME CONSOLE KILL START: the deaths, each while it writes.
survives() {
	local before
	for ((i = 1; i <= kills; i++)); do
		$3
		nap
		$4 || return 1
		before=$(passes "$2")
		wait_for 120 has_passes "$2" $((before + 2)) || {
			echo "$1, kill $i: it writes no more, $before passes"
			return 1
		}
		! has_failed "$2" || return 1
		nap
	done
}

# ---- NBD ----
lun=$T/lun
truncate -s 1G "$lun"
echo "accel = tcg" >"$T/conf"
start_host() { host a "$lun" -c "$T/conf"; }
kill_host() { kill -9 "$(pid_of a)"; }
ok "a volume with the VM" eval 'mkfs.vmfs -q -L vms "$lun" && install_vm "$lun" vm1'
ok "a host" start_host
is "$(register a vm1)" 1 "has it"
ok "it runs" vim a vmsvc/power.on 1
disk=$(console a 1)
ok "all four write" wait_for 240 each_has_one "$disk"
qemu=$(sed -n 's/.*QEMU is process //p' "$T/a/vms/1/vmware.log" | tail -n 1)
ok "vmkernel is killed $kills times, and it writes on" \
	survives NBD "$disk" kill_host start_host
ok "it is one and the same QEMU" kill -0 "$qemu"
ok "it is powered off" vim a vmsvc/power.off 1
cp "$disk" "$T/console"
ok "the host ends" host_ends a
ok "its disk is read" vmkfstools --get "$lun:/vm1/vm1-flat.vmdk" "$T/got.raw"
run "$ROOT/tests/guest/written.py" "$T/got.raw" "$T/console"
is "$rc" 0 "what it told is there: $(tail -n 1 <<<"$out")"
whole "$lun" "the volume"

# ---- vhost-user ----
start_serve() {
	"$serve" "$T/disk.sock" "$T/guest.raw" >>"$T/server.log" 2>&1 &
	echo $! >"$T/server.pid"
	wait_for 20 test -S "$T/disk.sock"
}
kill_serve() {
	kill -9 "$(cat "$T/server.pid")"
	rm -f "$T/disk.sock"
}
at_exit eval 'kill -9 $(cat "$T/server.pid") $qemu'
mcopy -n -i "$T/guest.raw@@1M" ::linux.efi ::initramfs "$T/"
append="console=ttyS0 quiet panic=-1 no_timer_check init_on_alloc=1"
ok "vhost-serve" start_serve
rm -f "$T/serial"
qemu-system-x86_64 -nodefaults -no-user-config -display none \
	-machine q35,memory-backend=ram0 -m 262136K -accel tcg,thread=multi -smp 2 \
	-object memory-backend-memfd,id=ram0,size=262136K,share=on \
	-chardev "socket,id=c0,path=$T/disk.sock,reconnect=1" \
	-device vhost-user-blk-pci,chardev=c0,num-queues=2 \
	-serial "file:$T/serial" -kernel "$T/linux.efi" -initrd "$T/initramfs" \
	-append "$append" 2>>"$T/qemu.log" &
qemu=$!
ok "all four write" wait_for 240 each_has_one "$T/serial"
ok "vhost-serve is killed $kills times, and it writes on" \
	survives vhost-user "$T/serial" kill_serve start_serve
{ kill -9 "$qemu" && wait "$qemu"; } 2>/dev/null
kill_serve
run "$ROOT/tests/guest/written.py" "$T/guest.raw" "$T/serial"
is "$rc" 0 "what it told is there: $(tail -n 1 <<<"$out")"
