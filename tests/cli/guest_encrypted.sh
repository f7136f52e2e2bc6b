#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A VM on an encrypted disk: a host that has the key (disk_key_file) runs it, one that has
# not refuses it by name, and what the guest writes is not on the storage.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmkfstools vmkernel vim-cmd qemu-system-x86_64 gcc ld
. "$ROOT/tests/lib/host.sh"
chmod 755 "$T"

vim() { vim-cmd -s "$VMKERNEL_SOCKET" "$@"; }
is_off() { vim vmsvc/power.getstate "$id" | grep -q "Powered off"; }

secret="nobody else reads this"
cat >"$T/a.vmx" <<-END
	virtualHW.version = "21"
	displayName = "secret"
	memSize = "32"
	scsi0.present = "TRUE"
	scsi0.virtualDev = "pvscsi"
	scsi0:0.fileName = "a.vmdk"
	serial0.present = "TRUE"
	serial0.fileType = "file"
	serial0.fileName = "console"
END
(umask 077 && head -c 32 /dev/urandom >"$T/key")
truncate -s 1G "$T/lun"
ok "makes the volume" mkfs.vmfs -q -L vms "$T/lun"
ok "makes the guest" "$ROOT/tests/guest/bootsector.sh" "$T/boot.raw" "$secret"
ok "imports it, encrypted" vmkfstools -i "$T/boot.raw" -d thin --key-rounds 1000 \
	--key-file "$T/key" "$T/lun:/v/a.vmdk"
ok "puts the .vmx beside it" vmkfstools --put "$T/a.vmx" "$T/lun:/v/a.vmx"

at_exit host_down
ok "a host without the key" host_up --device "$T/lun"
id=$(vim solo/registervm "[vms] v/a.vmx" | tr -dc 0-9)
refused "refuses the VM by its disk" "a.vmdk: is encrypted: its key is needed" \
	vim vmsvc/power.on "$id"
ok "ends" host_down

printf 'disk_key_file = %s\ndevice = %s\n' "$T/key" "$T/lun" >"$T/conf"
ok "a host with the key" vmkernel -c "$T/conf" -d "$T/state"
ok "powers it on" vim vmsvc/power.on "$id"
console=$T/state/vms/$id/console
ok "it reads and writes its disk" wait_for 20 grep -q "^SAME" "$console"
like "$(cat "$console")" "^$secret" "it shows what the disk holds"
ok "it powers itself off" wait_for 20 is_off
ok "the host ends" host_down
ok "nothing of that is on the storage" eval '! grep -q "$secret" "$T/lun"'
ok "with the key it is there" vmkfstools -i "$T/lun:/v/a.vmdk" --source-key-file \
	"$T/key" --plain -d monolithicFlat "$T/b.vmdk"
ok "what the guest has copied" cmp -n 512 -i 512:1024 "$T/b-flat.vmdk" "$T/b-flat.vmdk"
