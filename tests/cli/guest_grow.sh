#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A disk grows under a Linux guest that counts on it: the guest sees the new size, writes
# and reads its new end, and misses no number; on a controller that the guest has to ask
# (SCSI) and on one that tells it (virtio). vmkernel is killed behind it, and it grows
# once more. Disks that cannot grow so are refused in a sentence.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "two guests boot twice (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
. "$ROOT/tests/lib/host.sh"
chmod 755 "$T"

vim() { vim-cmd -s "$VMKERNEL_SOCKET" "$@"; }
console() { echo "$T/state/vms/$id/serial0.txt"; }
shown() { tr -d '\r' <"$(console)" | sed -n "s/^$1 \([0-9]*\).*/\1/p" | tail -n 1; }
has_passed() { local n; n=$(shown COUNT) && [ "${n:-0}" -gt "$1" ]; }
has_size() { [ "$(shown SIZE)" = "$1" ]; }
is_on() { vim vmsvc/power.getstate "$id" | grep -q "Powered on"; }
grow() { vim vmsvc/device.diskextend "$id" "$1" 0 0; } # KIB

"$ROOT/tests/guest/build.sh" "$T/guest.raw" >"$T/err" 2>&1 || skip_all "no guest"
truncate -s 3G "$T/lun"
ok "makes the volume" mkfs.vmfs -q -L vms "$T/lun"
for kind in scsi virtio; do
	ok "a disk: $kind" vmkfstools -i "$T/guest.raw" -d thin "$T/lun:/$kind/vm1.vmdk"
	cp "$ROOT/tests/guest/vm1.vmx" "$T/vmx"
	[ $kind = scsi ] || sed -i 's/pvscsi/virtio-blk/' "$T/vmx"
	ok "a VM on it" vmkfstools --put "$T/vmx" "$T/lun:/$kind/vm.vmx"
done
at_exit eval 'kill -9 $(sed -n "s/.*QEMU is process //p" "$T"/state/vms/*/vmware.log)'
at_exit host_down
printf 'accel = tcg\ndevice = %s\n' "$T/lun" >"$T/conf"
ok "the host starts" vmkernel -c "$T/conf" -d "$T/state"
for kind in scsi virtio; do
	id=$(vim solo/registervm "[vms] $kind/vm.vmx" | tr -dc 0-9)
	run grow 1048576
	like "$out" "is off: its disks grow by vmkfstools -X" "$kind: off, it says how"
	ok "it is powered on" vim vmsvc/power.on "$id"
	ok "it counts" wait_for 300 has_passed 1
	ok "its disk grows to 1 GiB" grow 1048576
	ok "the guest has it, and uses its end" wait_for 120 has_size 2097152
	run grow 524288
	is "$rc" 1 "it is not made smaller"
	like "$out" "is not made smaller" "and that is said"
	run vim vmsvc/device.diskextend "$id" 2097152 3 7
	like "$out" "scsi3:7: has no such disk" "a disk that is not there"
	kill -9 "$(cat "$T/state/vmkernel.pid")"
	ok "another vmkernel takes its place" vmkernel -c "$T/conf" -d "$T/state"
	ok "and the VM back" wait_for 60 is_on
	ok "its disk grows once more" grow 1572864
	ok "the guest has that, too" wait_for 120 has_size 3145728
	at=$(shown COUNT)
	ok "it counts on" wait_for 120 has_passed "$at"
	ok "a snapshot" vim vmsvc/snapshot.create "$id" one
	run grow 2097152
	like "$out" "is a snapshot" "one with a snapshot is refused"
	ok "is removed" vim vmsvc/snapshot.removeall "$id"
	at=$(shown COUNT)
	ok "it is powered off" vim vmsvc/power.off "$id"
	rm -f "$(console)"
	ok "it is powered on again" vim vmsvc/power.on "$id"
	ok "it counts on" wait_for 300 has_passed "$at"
	is "$(grep -c GUEST-FAILED "$(console)")" 0 "nothing is missing"
	ok "it has its size" wait_for 60 has_size 3145728
	ok "it ends" vim vmsvc/power.off "$id"
done
ok "the host ends" host_down
for kind in scsi virtio; do
	ok "the disk is sound" vmkfstools -x check "$T/lun:/$kind/vm1.vmdk"
done
ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$T/lun"
