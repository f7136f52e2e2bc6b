#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Snapshots by vim-cmd: made, listed, gone back to and removed while the VM is off; a VM
# runs on a chain, and what it writes goes to the leaf; QEMU's tools read the chain.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"

idle_vm 4M

ok "a snapshot is made" vim vmsvc/snapshot.create 1 first "a |quoted\" text"
out=$(vim vmsvc/snapshot.get 1)
like "$out" "Snapshot Name        : first" "it is listed"
like "$out" 'a [|]quoted" text' "with its text"
ok "QEMU reads the chain" same idle-000001.vmdk "$T/idle.raw"
cp "$T/idle.raw" "$T/first.raw"
ok "the VM runs on it" vim vmsvc/power.on 1
refused "its parent is locked" "held by host a" \
	vmkfstools -U "$T/lun:/idle/idle.vmdk"
ok "it writes" scribble 0x41
ok "it is powered off" vim vmsvc/power.off 1
ok "QEMU finds it in the chain" same idle-000001.vmdk "$T/idle.raw"
ok "a second" vim vmsvc/snapshot.create 1 second
like "$(vim vmsvc/snapshot.get 1)" "--[|]-CHILD" "under the first"
ok "back to the first" vim vmsvc/snapshot.revert 1 1
ok "the disk is as it was" same idle-000003.vmdk "$T/first.raw"
ok "back to the second" vim vmsvc/snapshot.revert 1 2
refused "one that is not there" "no snapshot with id 7" vim vmsvc/snapshot.remove 1 7
ok "the first is removed" vim vmsvc/snapshot.remove 1 1
ok "all are removed" vim vmsvc/snapshot.removeall 1
ok "the base has everything" same idle.vmdk "$T/idle.raw"
is "$("$BIN/vmkfstools" --dir "$T/lun:/idle" | grep -c 'idle-0')" 0 "no delta is left"
ok "the VM runs on its base" vim vmsvc/power.on 1
ok "and is powered off" vim vmsvc/power.off 1
idle_end
exit 0
