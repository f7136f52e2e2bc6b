#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU does not migrate an NVMe controller, and says so before it has begun: suspending a
# VM with one, and a snapshot with its memory, are refused with its words; the VM runs on,
# and can be used as before.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"

in_time() { timeout 60 "$BIN/vim-cmd" -s "$T/a/vmkernel.sock" "$@"; }
idle_vm 4M 'nvme0.present = "TRUE"' 'nvme0:0.present = "TRUE"' \
	'nvme0:0.fileName = "second.vmdk"'
ok "a disk for the NVMe controller" vmkfstools -c 4m "$T/lun:/idle/second.vmdk"
ok "the VM runs" vim vmsvc/power.on 1
for try in first second; do
	refused "it is not suspended, $try" "non-migratable device.*nvme" \
		in_time vmsvc/power.suspend 1
	ok "it runs on" is_on
done
refused "nor has it a snapshot with memory" "non-migratable device.*nvme" \
	in_time vmsvc/snapshot.create 1 one "" 1 0
ok "it runs on" is_on
is "$("$BIN/vmkfstools" --dir "$T/lun:/idle" | grep -cE 'vmss|vmsn|vmem|-0000')" 0 \
	"nothing is left of them"
ok "a snapshot without it is made" vim vmsvc/snapshot.create 1 two
ok "it runs on" is_on
ok "it is powered off" vim vmsvc/power.off 1
ok "and on" vim vmsvc/power.on 1
ok "and off" vim vmsvc/power.off 1
idle_end
exit 0
