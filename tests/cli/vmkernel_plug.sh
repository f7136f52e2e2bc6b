#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Disks come to a VM that runs and go from it, by QEMU's own account and the .vmx file's;
# through a vmkernel that is killed, also while a disk is on its way; through suspending;
# and to a VM that is off. What cannot be is said in a line, and changes nothing.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"

keys() { vmx | grep -c "^$1\\." || :; }
add() { vim vmsvc/device.diskaddexisting 1 "$@"; }
gone() { vim vmsvc/device.diskremove 1 "$@"; }
refused() { # REGEX WORD...: in a line, and the .vmx file stays
	local regex=$1 before
	shift
	before=$(vmx)
	run "$@"
	is "$rc" 1 "refused: $regex"
	like "$out" "$regex" "and that is said"
	is "$(vmx)" "$before" "the .vmx file stays"
}
log() { cat "$T/a/vms/1/vmware.log"; }
comes() { # or has come
	run add "$@"
	[ "$rc" = 0 ] || [[ $out == *" is $1 already"* ]]
}
goes() { # or has gone
	run gone "$@"
	[ "$rc" = 0 ] || [[ $out == *"has no such disk"* ]]
}
qemu() { # SIGNAL
	kill "$1" "$(log | sed -n 's/.*QEMU is process //p' | tail -n 1)"
}
is_asked() { # COUNT: so often vmx has asked QEMU for something about disks
	[ "$(log | grep -c 'QEMU is asked')" = "$1" ]
}
# In the middle of it vmkernel is killed; another takes the VM back, disk and all.
cut_amidst() { # WHAT COMMAND...
	local what=$1 asked
	shift
	asked=$(log | grep -c 'QEMU is asked')
	ok "$what: QEMU stands still" qemu -STOP
	"$@" >"$T/out" 2>&1 &
	ok "$what: it is asked" wait_for 30 is_asked $((asked + 1))
	ok "$what: vmkernel is killed" kill -9 "$(cat "$T/a/vmkernel.pid")"
	wait $!
	ok "$what: another comes" host
	ok "$what: takes the VM back" wait_for 30 is_on
	refused "is busy" add more.vmdk 0 7
	ok "$what: QEMU goes on" qemu -CONT
}

idle_vm 4M 'scsi1.present = "TRUE"' 'ide0:0.present = "FALSE"'
ok "makes another disk" vmkfstools -c 1m "$T/lun:/idle/more.vmdk"
ok "it runs" vim vmsvc/power.on 1
run vim vmsvc/device.diskadd 1 2048 0 1 store
is "$rc:$out" "0:idle_1.vmdk" "a new disk comes to it"
like "$(vmx)" 'scsi0:1.fileName = "idle_1.vmdk"' "the .vmx file has it"
like "$(log)" "disk 1, scsi0-1, comes" "QEMU has it"
ok "and another, that is there" add more.vmdk 1 2
like "$(log)" "disk 2, scsi1-2, comes" "QEMU has it, on a controller without disks"
run vmkfstools -X 2m "$T/lun:/idle/more.vmdk"
is "$rc" 1 "it is locked"
ok "what comes is written" qemu-io -f raw -c "write -P 7 0 64k" -c flush \
	"nbd+unix:///disk2-$(log | grep -o 'export=disk0-[0-9a-f]*' | tail -n 1 |
		sed 's/.*-//')?socket=$T/a/vms/1/disk2.sock"
refused "scsi0:1 is idle_1.vmdk already" add more.vmdk 0 1
refused "more.vmdk: .*held|more.vmdk: .*locked|this host itself" add more.vmdk 0 3
refused "no controller for sata0:1" add more.vmdk 0 1 sata
refused "ide0:1: the VM was powered on without this controller" \
	vim vmsvc/device.diskadd 1 2048 0 1 store ide
refused "other.vmdk" add other.vmdk 0 3
refused "may not contain" add ../idle/more.vmdk 0 3
refused "a disk has a file, or a size" vim vmsvc/device.diskadd 1 0 0 3 store
refused "own datastore" vim vmsvc/device.diskadd 1 2048 0 3 elsewhere
refused "not y or n" gone 0 1 maybe
refused "scsi0:9: has no such disk" gone 0 9 n
refused "this host itself" add more.vmdk 0 15
is "$(vmkfstools --dir "$T/lun:/idle" | grep -c _2.vmdk)" 0 "no disk was left behind"

ok "vmkernel is killed" kill -9 "$(cat "$T/a/vmkernel.pid")"
ok "another takes its place" host
ok "and the VM back, with all its disks" wait_for 30 is_on
ok "it is suspended" vim vmsvc/power.suspend 1
refused "is suspended" gone 1 2 n
ok "and goes on" vim vmsvc/power.on 1
like "$(vim vmsvc/power.getstate 1)" "Powered on" "with them"

ok "a snapshot" vim vmsvc/snapshot.create 1 one
refused "has snapshots, which need the files" gone 0 1 y
ok "is removed" vim vmsvc/snapshot.removeall 1
ok "the new disk goes, with its files" gone 0 1 y
is "$(keys scsi0:1)" 0 "the .vmx file has it no more"
is "$(vmkfstools --dir "$T/lun:/idle" | grep -c idle_1)" 0 "and its files are gone"
ok "the other goes" gone 1 2 n
ok "and is free" vmkfstools -x check "$T/lun:/idle/more.vmdk"
ok "another comes to its place" add more.vmdk 1 2
ok "and goes" gone 1 2 n

cut_amidst "coming" add more.vmdk 0 2
ok "it has come" wait_for 30 comes more.vmdk 0 2
is "$(keys scsi0:2)" 3 "the .vmx file has it"
cut_amidst "going" gone 0 2 n
is "$(keys scsi0:2)" 3 "the .vmx file has it still"
ok "it comes again" wait_for 30 add more.vmdk 0 2
ok "and goes" gone 0 2 n
is "$(keys scsi0:2)" 0 "from the .vmx file, too"

# Killed at any moment: the VM lives, and asking again ends what was begun.
for n in 1 2 3 ${FULL:+4 5 6 7 8}; do
	vim vmsvc/device.diskaddexisting 1 more.vmdk 0 2 >"$T/out" 2>&1 &
	sleep "0.0$((n * 9 % 10))$n"
	kill -9 "$(cat "$T/a/vmkernel.pid")"
	wait $!
	ok "$n: another vmkernel" host
	ok "$n: takes the VM back" wait_for 30 is_on
	ok "$n: the disk comes, or has come" wait_for 30 comes more.vmdk 0 2
	is "$(keys scsi0:2)" 3 "$n: the .vmx file has it"
	vim vmsvc/device.diskremove 1 0 2 n >"$T/out" 2>&1 &
	sleep "0.0$((n * 7 % 10))$n"
	kill -9 "$(cat "$T/a/vmkernel.pid")"
	wait $!
	ok "$n: another vmkernel" host
	ok "$n: takes the VM back" wait_for 30 is_on
	[ "$(keys scsi0:2)" = 0 ] || ok "$n: the disk goes" wait_for 30 goes 0 2 n
	is "$(keys scsi0:2)" 0 "$n: the .vmx file has it no more"
done

ok "it is powered off" vim vmsvc/power.off 1
ok "off, a disk comes" add more.vmdk 0 2
is "$(keys scsi0:2)" 3 "into the .vmx file"
run vim vmsvc/device.diskadd 1 2048 0 3 store
is "$rc:$out" "0:idle_1.vmdk" "and a new one"
ok "it runs with them" vim vmsvc/power.on 1
ok "which go, while it runs" gone 0 2 n
ok "and with their files" gone 0 3 y
ok "it is powered off" vim vmsvc/power.off 1
idle_end
