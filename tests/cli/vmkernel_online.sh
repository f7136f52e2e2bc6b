#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Snapshots of a VM that runs: made while its disk is written, kept when vmkernel is
# killed and takes the VM back, and found by QEMU's tools to hold what was written before
# each.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"

idle_vm 4M '# mine' 'odd.key = "kept"' 'ctkEnabled = "TRUE"' \
	'scsi0:0.ctkEnabled = "TRUE"'
ok "it runs" vim vmsvc/power.on 1

ok "it writes" scribble 0x41
cp "$T/idle.raw" "$T/one.raw"
ok "a snapshot is made while it runs" vim vmsvc/snapshot.create 1 one "while it runs"
like "$(vmx)" 'scsi0:0.fileName = "idle-000001.vmdk"' "the .vmx file names the child"
like "$(vmx)" '# mine' "and keeps its comment"
like "$(vmx)" 'odd.key = "kept"' "and the keys that nobody knows"
like "$(cat "$T/a/vmkernel.log")" "disk 0: I/O was held for" "the log says for how long"
ok "it goes on writing" scribble 0x42
ok "vmkernel is killed" kill -9 "$(cat "$T/a/vmkernel.pid")"
ok "another takes its place" host
ok "and the VM back" wait_for 30 is_on
ok "which writes to the child" scribble 0x43
cp "$T/idle.raw" "$T/two.raw"
run vim vmsvc/snapshot.create 1 two "" 0 1
is "$rc" 0 "a second snapshot"
like "$out" "QUIESCE is ignored" "without a guest agent"
id=$(vmkfstools --changeId "$T/lun:/idle/idle-000001.vmdk")
like "$id" "/[0-9]" "its disk has a change id while the VM runs"
ok "it writes again" scribble 0x44
cp "$T/idle.raw" "$T/three.raw"
ok "a third snapshot" vim vmsvc/snapshot.create 1 three
is "$(vmkfstools --queryChangedAreas "$id" "$T/lun:/idle/idle-000002.vmdk")" \
	"1048576 65536" "knows what was written since the second"
ok "it writes for the last time" scribble 0x45
ok "it is powered off" vim vmsvc/power.off 1
ok "the leaf has all of it" same idle-000003.vmdk "$T/idle.raw"
ok "the third snapshot's disk what was there" same idle-000002.vmdk "$T/three.raw"
ok "the first snapshot's disk what was there" same idle.vmdk "$T/one.raw"
ok "and the second's" same idle-000001.vmdk "$T/two.raw"
ok "back to the first" vim vmsvc/snapshot.revert 1 1
ok "the VM runs on it" vim vmsvc/power.on 1
ok "and goes back once more" vim vmsvc/snapshot.revert 1 1
like "$(vim vmsvc/power.getstate 1)" "Powered off" "which ends it: one without its memory"
ok "all are removed" vim vmsvc/snapshot.removeall 1
ok "the disk is as it was at the first" same idle.vmdk "$T/one.raw"
idle_end
exit 0
