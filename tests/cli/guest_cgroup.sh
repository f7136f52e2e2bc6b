#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Control groups of version 2, as vmkernel uses them, on a Linux that has given all
# controllers to them (a guest, as this machine's may have version 1): weights, a limit of
# processors, memory that is kept and memory that is held up but not killed; folders of a
# host that was killed go, and those of a host that lives come back.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "a guest boots (FULL=1)"
need qemu-system-x86_64 busybox cpio modprobe
try=$BIN/../tests/rigs/cgroup-try
[ -x "$try" ] || skip_all "$try is not built"
kernel=$(ls /boot/vmlinuz-*-amd64 2>/dev/null | sort -V | tail -n 1)
[ -n "$kernel" ] || skip_all "no kernel image in /boot (package linux-image-amd64)"

PROGRAMS=$try "$ROOT/tests/rigs/initramfs.sh" "$T/initramfs" \
	"$ROOT/tests/rigs/cgroup_init.sh" "${kernel#/boot/vmlinuz-}" >"$T/err" 2>&1 ||
	skip_all "no initramfs: $(tail -n 1 "$T/err")"
ok "the guest has run" timeout 500 qemu-system-x86_64 -accel tcg -m 256 -nodefaults \
	-display none -no-reboot -serial "file:$T/console" -kernel "$kernel" \
	-initrd "$T/initramfs" -append "console=ttyS0 quiet panic=-1 no_timer_check \
	nokaslr mitigations=off cgroup_no_v1=all"
said() { tr -d '\r' <"$T/console" | sed -n "s/^CG $1 *//p" | head -n 1; }
diag "$(tr -d '\r' <"$T/console" | grep '^CG ')"
ok "to its end" grep -q "^CG end" "$T/console"
like "$(said controllers)" "cpu .*memory" "it has both controllers in version 2"
is "$(said version)" 2 "which is used"
is "$(said dead)" gone "what a dead host has left is removed"
is "$(said swept)" gone "what another has, too, if it is empty"
is "$(said enter-1)" ok "it is made again for its first VM"
is "$(said used)" there "and then stays"
for i in 1 2 3 4; do
	is "$(said set-$i)" ok "VM $i is given what it is to have"
done
is "$(said vm-1:cpu.weight):$(said vm-2:cpu.weight)" 100:400 "weights"
ratio=$(($(said "vm-2:cpu.statusage_usec") * 100 / $(said "vm-1:cpu.statusage_usec")))
ok "four times the share gets more than twice: $ratio %" test $ratio -gt 200
is "$(said vm-3:cpu.max)" "20000 100000" "a limit of processors"
ok "which holds" test "$(said "vm-3:cpu.statusage_usec")" -lt 1600000
is "$(said vm-3:memory.min)" 8388608 "memory that is kept"
is "$(said vm-4:memory.high)" 16777216 "a limit of memory"
ok "which is met" test "$(said "vm-4:memory.eventshigh")" -gt 0
is "$(said "vm-4:memory.eventsoom_kill")" 0 "and kills nobody"
is "$(grep -c '^CG died' "$T/console")" 0 "all have lived to the end"
is "$(said left)" gone "nothing is left"
exit 0
