#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Disks come to a Linux guest that counts on its own, and go: it finds each, on pvscsi and
# on LSI's chip, writes and reads it, and misses no number; behind a vmkernel that is
# killed as well.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "a guest boots twice (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
. "$ROOT/tests/lib/host.sh"
chmod 755 "$T"

vim() { vim-cmd -s "$VMKERNEL_SOCKET" "$@"; }
console() { echo "$T/state/vms/$id/serial0.txt"; }
shown() { tr -d '\r' <"$(console)" | sed -n "s/^$1 \(.*\)/\1/p" | tail -n 1; }
has_passed() { local n; n=$(shown COUNT) && [ "${n:-0}" -gt "$1" ]; }
has_disks() { [ "$(shown DISKS)" = "$1" ]; }
is_on() { vim vmsvc/power.getstate "$id" | grep -q "Powered on"; }

"$ROOT/tests/guest/build.sh" "$T/guest.raw" >"$T/err" 2>&1 || skip_all "no guest"
truncate -s 3G "$T/lun"
ok "makes the volume" mkfs.vmfs -q -L vms "$T/lun"
ok "a disk" vmkfstools -i "$T/guest.raw" -d thin "$T/lun:/vm1/vm1.vmdk"
ok "another" vmkfstools -c 8m -d thin "$T/lun:/vm1/more.vmdk"
at_exit eval 'kill -9 $(sed -n "s/.*QEMU is process //p" "$T"/state/vms/*/vmware.log)'
at_exit host_down
printf 'accel = tcg\ndevice = %s\n' "$T/lun" >"$T/conf"
for kind in ${KINDS:-pvscsi lsilogic}; do
	sed "s/pvscsi/$kind/" "$ROOT/tests/guest/vm1.vmx" >"$T/vmx"
	ok "$kind: a VM" vmkfstools --put "$T/vmx" "$T/lun:/vm1/$kind.vmx"
	ok "the host starts" vmkernel -c "$T/conf" -d "$T/state"
	id=$(vim solo/registervm "[vms] vm1/$kind.vmx" | tr -dc 0-9)
	ok "it is powered on" vim vmsvc/power.on "$id"
	ok "it has one disk" wait_for 300 has_disks "sda"
	ok "another comes" vim vmsvc/device.diskaddexisting "$id" more.vmdk 0 1
	ok "the guest has it, and uses it" wait_for 60 has_disks "sda sdb"
	kill -9 "$(cat "$T/state/vmkernel.pid")"
	ok "another vmkernel takes its place" vmkernel -c "$T/conf" -d "$T/state"
	ok "and the VM back" wait_for 60 is_on
	ok "the third comes" vim vmsvc/device.diskadd "$id" 4096 0 3 vms
	ok "the guest has all three" wait_for 60 has_disks "sda sdb sdc"
	ok "the second goes" vim vmsvc/device.diskremove "$id" 0 1 n
	at=$(shown COUNT)
	ok "the guest counts on" wait_for 60 has_passed "$at"
	ok "the third goes, with its files" vim vmsvc/device.diskremove "$id" 0 3 y
	at=$(shown COUNT)
	ok "the guest counts on" wait_for 60 has_passed "$at"
	is "$(grep -c GUEST-FAILED "$(console)")" 0 "nothing is missing"
	ok "it ends" vim vmsvc/power.off "$id"
	ok "the host ends" host_down
	like "$(vmkfstools --get "$T/lun:/vm1/more-flat.vmdk" /dev/stdout |
		dd bs=512 skip=8 count=1 status=none | tr -d '\0')" "I am sdb" \
		"$kind: it was written"
done
ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$T/lun"
