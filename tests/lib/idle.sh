# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A guest that does nothing, for tests of what is done to it from outside.

# idle_guest SIZE: $T/idle.raw, a disk of that size that boots into hlt; jmp back, and
# $T/idle.vmx, a VM with it as idle.vmdk.
idle_guest() {
	head -c "$1" /dev/zero >"$T/idle.raw"
	printf '\xf4\xeb\xfd' | dd of="$T/idle.raw" conv=notrunc status=none
	printf '\x55\xaa' | dd of="$T/idle.raw" bs=1 seek=510 conv=notrunc status=none
	cat >"$T/idle.vmx" <<'END'
displayName = "idle"
memSize = "16"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "idle.vmdk"
END
}

# The rest is of a host that has its files in $T/a, and the VM in /idle of $T/lun.

# Copies /idle, and compares its disk NAME with the raw file MODEL.
same() { # NAME MODEL
	rm -rf "$T/copy" && mkdir "$T/copy" || return 1
	local f
	for f in $("$BIN/vmkfstools" --dir "$T/lun:/idle" | grep 'vmdk$'); do
		"$BIN/vmkfstools" --get "$T/lun:/idle/$f" "$T/copy/$f" || return 1
	done
	qemu-img compare -f vmdk -F raw "$T/copy/$1" "$2"
}
# Writes PATTERN at MiB 1 into the disk of the running VM, and into the model.
scribble() { # PATTERN
	local sock="$T/a/vms/1/disk0.sock" name
	name=$(tr '\0' '\n' <"/proc/$(sed -n 's/.*QEMU is process //p' \
		"$T/a/vms/1/vmware.log" | tail -n 1)/cmdline" |
		grep -o 'disk0-[0-9a-f]*' | head -n 1)
	qemu-io -f raw -c "write -P $1 1M 64k" -c flush \
		"nbd+unix:///$name?socket=$sock" >/dev/null &&
		qemu-io -f raw -c "write -P $1 1M 64k" "$T/idle.raw" >/dev/null
}
