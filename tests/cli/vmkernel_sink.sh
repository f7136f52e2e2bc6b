#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Snapshots of a VM that runs are removed while its disk is written: one in the middle,
# and all of them. It goes on after vmkernel was killed at it, and QEMU's tools find in
# the one disk that is left what was written, before, meanwhile and after.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "FULL=1 runs this"
. "$(dirname "$0")/../lib/idle_host.sh"

# Commands for qemu-io: writes all over the disk, some flushes.
storm() { # SEED
	RANDOM=$1
	local i
	for ((i = 0; i < 400; i++)); do
		echo "write -P $((RANDOM % 255 + 1)) $((RANDOM % 16000 * 4))k" \
			"$((RANDOM % 12 * 4 + 4))k"
		((i % 40)) || echo flush
	done
}

idle_vm 64M 'ctkEnabled = "TRUE"' 'scsi0:0.ctkEnabled = "TRUE"'
ok "it runs" vim vmsvc/power.on 1

# Who copied the disk of a snapshot is told what changed since, when that is gone.
ok "a snapshot" vim vmsvc/snapshot.create 1 zero
id=$(vmkfstools --changeId "$T/lun:/idle/idle.vmdk")
like "$id" "/[0-9]" "its disk has a change id"
ok "it writes" scribble 0x40
ok "another snapshot" vim vmsvc/snapshot.create 1 more
ok "both are removed while it runs" vim vmsvc/snapshot.removeall 1
ok "it is powered off" vim vmsvc/power.off 1
is "$(vmkfstools --queryChangedAreas "$id" "$T/lun:/idle/idle.vmdk")" "1048576 65536" \
	"the disk knows what was written since"
ok "it runs again" vim vmsvc/power.on 1

ok "it writes" scribble 0x41
ok "a snapshot" vim vmsvc/snapshot.create 1 one
ok "it writes" scribble 0x42
ok "a second" vim vmsvc/snapshot.create 1 two
ok "it writes" scribble 0x43
ok "a third" vim vmsvc/snapshot.create 1 three
ok "it writes" scribble 0x44
ok "the second is removed while it runs" vim vmsvc/snapshot.remove 1 4
like "$(vmx)" 'scsi0:0.fileName = "idle-000003.vmdk"' "it writes the same disk"
ok "it goes on" scribble 0x45
ok "the last is removed" vim vmsvc/snapshot.remove 1 5
like "$(vmx)" 'scsi0:0.fileName = "idle-000001.vmdk"' "it writes the one under it"
ok "it goes on" scribble 0x46
is "$(vim vmsvc/snapshot.get 1 | grep -c 'Snapshot Id')" 1 "one snapshot is left"

# The guest writes all the time.
ok "a snapshot" vim vmsvc/snapshot.create 1 four
storm 7 >"$T/storm"
name=$(grep -o 'disk0-[0-9a-f]*' "$T/a/vms/1/vmware.log" | tail -n 1)
qemu-io -f raw "nbd+unix:///$name?socket=$T/a/vms/1/disk0.sock" <"$T/storm" \
	>"$T/stormed" 2>&1 &
storming=$!
ok "all are removed meanwhile" vim vmsvc/snapshot.removeall 1
wait "$storming"
is $? 0 "it ends well"
unlike "$(cat "$T/stormed")" "failed|rror" "and was told of no error"
ok "the model has it too" qemu-io -f raw "$T/idle.raw" <"$T/storm"
like "$(vmx)" 'scsi0:0.fileName = "idle.vmdk"' "it writes the disk that it had"

# vmkernel dies at any moment of a removal: the next one takes the VM back, and goes on.
for i in 1 2 3; do
	ok "a snapshot ($i)" vim vmsvc/snapshot.create 1 "x$i"
	ok "it writes" scribble 0x5$i
	vim vmsvc/snapshot.removeall 1 >"$T/removing" 2>&1 &
	removing=$!
	sleep 0.0$((i * 2))
	kill -9 "$(cat "$T/a/vmkernel.pid")"
	wait "$removing"
	ok "another takes its place" host
	ok "and the VM back" wait_for 30 is_on
	ok "it goes on" scribble 0x6$i
done
ok "all are removed" vim vmsvc/snapshot.removeall 1
like "$(vmx)" 'scsi0:0.fileName = "idle.vmdk"' "it writes the disk that it had"
is "$(vim vmsvc/snapshot.get 1 | grep -c 'Snapshot Id')" 0 "no snapshot is left"
ok "it writes for the last time" scribble 0x7f
ok "it is powered off" vim vmsvc/power.off 1
ok "the disk has all of it" same idle.vmdk "$T/idle.raw"
ok "and is sound" vmkfstools -x check "$T/lun:/idle/idle.vmdk"
like "$(vmkfstools --changeId "$T/lun:/idle/idle.vmdk")" "/[0-9]" "it has a change id"
idle_end
exit 0
