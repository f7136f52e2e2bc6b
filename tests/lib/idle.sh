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
