#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# virt-v2v reads a .vmx file that we have written to: after the VM was given a disk, its
# shares were set and a snapshot taken, it finds the VM as it is.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"
need virt-v2v
export LIBGUESTFS_BACKEND=direct

source_of() { # what virt-v2v finds, of a copy of the folder
	local f
	rm -rf "$T/copy" && mkdir "$T/copy" || return
	for f in $("$BIN/vmkfstools" --dir "$T/lun:/idle" | grep -E 'vmdk$|vmx$'); do
		"$BIN/vmkfstools" --get "$T/lun:/idle/$f" "$T/copy/$f" || return
	done
	timeout 120 virt-v2v -i vmx --print-source "$T/copy/idle.vmx"
}
disks() { sed -n '/^disks:/,/^removable/p' <<<"$out" | grep -c '\[scsi\]'; }

idle_vm 4M 'numvcpus = "2"' 'ethernet0.present = "TRUE"' \
	'ethernet0.virtualDev = "vmxnet3"' \
	'uuid.bios = "56 4d 12 34 56 78 9a bc-de f0 12 34 56 78 9a bc"' \
	'annotation = "a |22name|22"'
run source_of
is "$rc" 0 "virt-v2v reads the .vmx file as it came"
is "$(disks)" 1 "one disk"
ok "it runs" vim vmsvc/power.on 1
ok "another disk" vmkfstools -c 2m "$T/lun:/idle/more.vmdk"
ok "is added" vim vmsvc/device.diskaddexisting 1 more.vmdk 0 1
ok "it gets its shares" esxcli -s "$T/a/vmkernel.sock" vm disk set -w 1 -d scsi0:1 \
	--shares high
ok "a snapshot" vim vmsvc/snapshot.create 1 one
ok "it is powered off" vim vmsvc/power.off 1
like "$(vmx)" '^scsi0:1.fileName = "more-000001.vmdk"' "its .vmx file is another"
run source_of
is "$rc" 0 "virt-v2v reads it"
is "$(disks)" 2 "two disks"
like "$out" "source name: idle$" "the VM's name"
like "$out" "memory: 16777216 " "its memory"
like "$out" "nr vCPUs: 2$" "its processors"
like "$out" '\[vmxnet3\]$' "and its network card"
