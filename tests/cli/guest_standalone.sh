#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The test guests do what the tests rely on, on a plain raw file without any of our code:
# the boot sector copies its sector; the Linux guest counts, and after its QEMU was killed
# it goes on from at least the last number it had shown.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "the demos boot the same guest (FULL=1)"
need qemu-system-x86_64 gcc ld

# boot DISK CONSOLE: in the background; its pid in $qemu.
boot()
{
	qemu-system-x86_64 -machine pc-q35-7.2 -accel tcg,thread=multi -smp 1,maxcpus=2 \
		-m 262136K -nodefaults -no-user-config -display none -no-reboot \
		-serial "file:$2" -device virtio-blk-pci,drive=d,bootindex=0 \
		-blockdev "driver=raw,node-name=d,file.driver=file,file.filename=$1" \
		</dev/null >"$T/qemu" 2>&1 &
	qemu=$!
	at_exit kill -9 $qemu
}

kill_guest()
{
	kill -9 $qemu
	wait $qemu 2>/dev/null
}

# The last number that a console shows with WORD.
shown()
{
	sed -n "s/^$1 \([0-9]*\)[^0-9].*/\1/p" "$2" | tail -n 1
}

counted()
{
	local n

	n=$(shown COUNT "$1")
	[ "${n:-0}" -ge "$2" ]
}

ok "builds the boot sector disk" \
	"$ROOT/tests/guest/bootsector.sh" "$T/b.raw" "first light"
boot "$T/b.raw" "$T/b.con"
ok "the boot sector powers off" wait_for 20 eval "! kill -0 $qemu"
like "$(cat "$T/b.con")" "^first light" "it shows what it read"
like "$(cat "$T/b.con")" "^SAME" "what it wrote reads back the same"
ok "sector 2 of the file is sector 1" cmp -n 512 -i 512:1024 "$T/b.raw" "$T/b.raw"

"$ROOT/tests/guest/build.sh" "$T/g.raw" 2>"$T/err"
rc=$?
if [ $rc = 77 ]; then
	skip 4 "$(cat "$T/err")"
	exit 0
fi
is $rc 0 "builds the Linux guest"
boot "$T/g.raw" "$T/1.con"
ok "the guest counts" wait_for 60 counted "$T/1.con" 3
kill_guest
first=$(shown COUNT "$T/1.con")
boot "$T/g.raw" "$T/2.con"
ok "it boots again after a kill" wait_for 60 counted "$T/2.con" "$first"
last=$(shown LAST "$T/2.con")
diag "shown before the kill: $first, found after it: $last"
ok "nothing that was shown is lost" test "$last" -ge "$first"
kill_guest
exit 0
