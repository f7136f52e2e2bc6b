#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vhost-user-blk with QEMU as the front end. Firmware and a boot sector under KVM, where
# there is one. Then a real Linux guest: under TCG, which vmkernel refuses (QEMU may run
# stale code there), but whose driver and rings are real all the same; it counts with
# fsync while the server is killed and started again.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes minutes (FULL=1)"
need qemu-system-x86_64 gcc mcopy
export MTOOLS_SKIP_CHECK=1
serve=$BIN/../tests/rigs/vhost-serve
[ -x "$serve" ] || skip_all "$serve is not built"

start_server() { # FILE
	"$serve" "$T/disk.sock" "$1" 2>>"$T/server.log" &
	server=$!
	wait_for 20 test -S "$T/disk.sock" || {
		ok "the server starts: $(tail -n 1 "$T/server.log")" false
		exit 1
	}
}
kill_server() {
	kill -9 "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	rm -f "$T/disk.sock"
}
start_qemu() { # MIB ARGUMENT...
	local mib=$1

	shift
	qemu-system-x86_64 -nodefaults -no-user-config -display none \
		-machine q35,memory-backend=ram0 -m "$mib" \
		-object "memory-backend-memfd,id=ram0,size=${mib},share=on" \
		-chardev "socket,id=c0,path=$T/disk.sock,reconnect=1" \
		-device vhost-user-blk-pci,chardev=c0,num-queues=2 \
		-serial "file:$T/serial" "$@" 2>>"$T/qemu.log" &
	qemu=$!
}
says() { grep -aq "$1" "$T/serial" 2>/dev/null; }
count() { grep -a '^COUNT' "$T/serial" | tail -n 1 | tr -dc 0-9; }
# Whatever is waited for, a QEMU that has ended will not bring it.
sees() { says "$1" || has_ended; }
counts_on() { [ "$(count)" -ge $((before + 3)) ]; }
has_ended() { ! kill -0 "$qemu" 2>/dev/null; }
at_exit eval 'kill -9 $server $qemu'

# ---- firmware and a boot sector, under KVM ----
if [ -w /dev/kvm ]; then
	ok "a boot sector is made" "$ROOT/tests/guest/bootsector.sh" "$T/boot.raw" \
		"read by the firmware"
	start_server "$T/boot.raw"
	start_qemu 64M -boot c -accel kvm -cpu qemu64
	ok "it is read, written and read back under KVM" wait_for 120 says SAME
	ok "and powers off" wait_for 60 has_ended
	kill_server
	is "$(dd if="$T/boot.raw" bs=512 skip=2 count=1 status=none | tr -d '\r\n\0')" \
		"read by the firmware" "what it wrote is on the disk"
else
	diag "no /dev/kvm here"
fi

# ---- Linux ----
"$ROOT/tests/guest/build.sh" "$T/guest.raw" || { diag "no Linux guest"; exit; }
mcopy -n -i "$T/guest.raw@@1M" ::linux.efi ::initramfs "$T/" || exit 1
append="console=ttyS0 quiet panic=-1 no_timer_check init_on_alloc=1"
start_server "$T/guest.raw"
: >"$T/serial"
start_qemu 262136K -accel tcg,thread=multi -smp 2 -kernel "$T/linux.efi" \
	-initrd "$T/initramfs" -append "$append"
ok "Linux finds the disk and counts" wait_for 240 sees "^COUNT 3"
has_ended && diag "$(tail -n 1 "$T/qemu.log")"
for i in 1 2 3 4 5; do
	before=$(count)
	kill_server
	start_server "$T/guest.raw"
	ok "kill $i: it counts on" wait_for 120 counts_on
done
last=$(count)
{ kill -9 "$qemu" && wait "$qemu"; } 2>/dev/null
kill_server
ok "no error reached the guest" eval '! says "GUEST-FAILED\|I/O error\|EXT4-fs error"'
: >"$T/serial"
start_server "$T/guest.raw"
start_qemu 262136K -accel tcg,thread=multi -smp 2 -kernel "$T/linux.efi" \
	-initrd "$T/initramfs" -append "$append"
ok "and what it has shown is on the disk" wait_for 240 sees "^LAST"
found=$(grep -a '^LAST' "$T/serial" | awk '{ print $2 }')
ok "($last of $found)" [ "${found:-0}" -ge "$last" ]
