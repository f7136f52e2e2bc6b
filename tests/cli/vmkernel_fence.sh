#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a host does with its VMs when it has lost a datastore's lease: on_fence = kill,
# freeze or eio. The slot of each host is cleared on the disk, as by another host that has
# taken it over (LOCKING.md 7.2, B7).

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd qemu-system-x86_64 perl
CODE=reader "$ROOT/tests/guest/bootsector.sh" "$T/guest.raw" "" 2>"$T/why" ||
	skip_all "no guest: $(tail -n 1 "$T/why")"

# clear_slot IMAGE: the only slot in use becomes free, one generation on.
clear_slot() {
	perl -e '
		open(my $f, "+<", $ARGV[0]) or die; binmode $f;
		for (my $at = 0; $at < 64 << 20; $at += 512) {
			sysseek($f, $at, 0); sysread($f, my $slot, 512) == 512 or die;
			next if substr($slot, 0, 4) ne "\x02\xef\xcd\xab";
			substr($slot, 0, 1) = "\x01";
			substr($slot, 12, 1) = chr(ord(substr($slot, 12, 1)) + 1);
			substr($slot, 0x1c, 20) = "\0" x 20;
			substr($slot, 0x64) = "\0" x (512 - 0x64);
			sysseek($f, $at, 0); syswrite($f, $slot); exit 0;
		}
		exit 1' "$1"
}

shown() { # HOST: bytes on the guest's console
	stat -c %s "$T/$1/vms/1/serial0.txt" 2>/dev/null || echo 0
}
shows_more() { [ "$(shown "$1")" -ge "$2" ]; }
ends_with_errors() { [[ $(tail -c 5 "$T/$1/vms/1/serial0.txt") == EEEEE ]]; }
attached_again() {
	[ "$(grep -c "datastore vms .* attached" "$T/$1/vmkernel.log")" = 2 ]
}

printf '%s\n' 'displayName = "reader"' 'memSize = "16"' 'sata0.present = "TRUE"' \
	'sata0:0.present = "TRUE"' 'sata0:0.fileName = "vm1.vmdk"' \
	'serial0.present = "TRUE"' \
	'serial0.fileType = "file"' 'serial0.fileName = "serial0.txt"' >"$T/vm1.vmx"

for how in kill freeze eio; do
	truncate -s 1G "$T/$how.lun"
	printf '%s\n' "accel = tcg" "lease_profile = fast" "on_fence = $how" \
		>"$T/$how.conf"
	ok "$how: a volume with a VM" eval 'mkfs.vmfs -q -L vms "$T/$how.lun" &&
		vmkfstools -i "$T/guest.raw" -d thin "$T/$how.lun:/vm1/vm1.vmdk" &&
		vmkfstools --put "$T/vm1.vmx" "$T/$how.lun:/vm1/vm1.vmx"'
	ok "$how: a host" host "$how" "$T/$how.lun" -c "$T/$how.conf"
	register "$how" vm1 >/dev/null
	ok "$how: it runs the VM" vim "$how" vmsvc/power.on 1
done
for how in kill freeze eio; do
	ok "$how: its guest reads" wait_for 30 shows_more "$how" 5
	ok "$how: the host is fenced" clear_slot "$T/$how.lun"
done

lost="the lease on datastore vms was lost:"
ok "kill: it is told" wait_for 20 log_says kill "$lost its VMs are stopped$"
ok "kill: QEMU has ended" wait_for 20 has_no_qemu kill
ok "kill: the VM is off" wait_for 10 is_state kill 1 "Powered off"
ok "kill: the datastore is attached again" wait_for 30 attached_again kill
kill -TERM "$(pid_of kill)"

ok "freeze: it is told" wait_for 20 log_says freeze "$lost its VMs are frozen$"
ok "freeze: and when it is done" wait_for 10 log_says freeze "was lost: the VM is frozen$"
frozen=$(shown freeze)
unlike "$(cat "$T/freeze/vms/1/serial0.txt")" "E" "freeze: the guest has seen no error"
ok "freeze: the VM is on" is_state freeze 1 "Powered on"
refused "freeze: it cannot be reset" "does not run" vim freeze vmsvc/power.reset 1

ok "eio: it is told" wait_for 20 log_says eio "$lost the disks of its VMs fail$"
ok "eio: the guest sees errors, and goes on" wait_for 20 ends_with_errors eio
seen=$(shown eio)
ok "eio: and on" wait_for 20 shows_more eio $((seen + 5))
is "$(shown freeze)" "$frozen" "freeze: meanwhile the frozen one did nothing"
for how in freeze eio; do
	ok "$how: it can be powered off" vim "$how" vmsvc/power.off 1
	ok "$how: then the datastore is attached again" wait_for 30 attached_again "$how"
	ok "$how: and the VM powered on" vim "$how" vmsvc/power.on 1
	kill -TERM "$(pid_of "$how")"
done
echo "on_fence = perhaps" >"$T/conf"
refused "another word" "on_fence = perhaps: not kill, freeze or eio" \
	vmkernel -c "$T/conf" -d "$T/none"
