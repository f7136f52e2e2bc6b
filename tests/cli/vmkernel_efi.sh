#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The flash of a VM with UEFI firmware: made beside its .vmx file, locked and served as
# its disks are, through a vmkernel that is killed and through suspending; a file of
# another kind that has its name stays; and it goes with the VM.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"
vars=/usr/share/OVMF/OVMF_VARS_4M.fd
[ -f $vars ] || skip_all "no $vars (package ovmf)"

files() { "$BIN/vmkfstools" --dir "$T/lun:/idle"; }
get() { "$BIN/vmkfstools" --get "$T/lun:/idle/$1" "$T/got"; }
qemu_args() { tr '\0' '\n' <"/proc/$(sed -n 's/.*QEMU is process //p' \
	"$T/a/vms/1/vmware.log" | tail -n 1)/cmdline"; }
# A byte of the flash that the firmware does not use.
write_flash() { # PATTERN
	local name
	name=$(qemu_args | sed -n 's/.*node-name=nvram.*export=\(disk1-[^,]*\).*/\1/p')
	qemu-io -f raw -c "write -P $1 512k 512" -c flush \
		"nbd+unix:///$name?socket=$T/a/vms/1/disk1.sock" >/dev/null
}
has_byte() { # PATTERN: the file has it
	get "$2" && [ "$(od -An -tx1 -j 524288 -N 2 "$T/got" | tr -d ' ')" = "$1$1" ]
}

idle_vm 4M 'firmware = "efi"'
printf 'efi_vars = /nonexistent.fd\n' >>"$T/conf"
ok "the host ends" kill -TERM "$(cat "$T/a/vmkernel.pid")"
ok "it has gone" wait_for 30 is_gone
ok "a host without OVMF" host
run vim vmsvc/power.on 1
is "$rc" 1 "does not run it"
like "$out" 'firmware = "efi" needs OVMF on this host: /nonexistent.fd: No such file' \
	"and says what it needs"
is "$(files | grep -c nvram)" 0 "and has made nothing"
ok "the host ends" kill -TERM "$(cat "$T/a/vmkernel.pid")"
ok "it has gone" wait_for 30 is_gone
echo "accel = tcg" >"$T/conf"
ok "a host that has it" host
ok "runs it" vim vmsvc/power.on 1
like "$(qemu_args)" "pflash0=efi,pflash1=nvram" "from a flash"
like "$(qemu_args)" "filename=.*/OVMF_CODE_4M.fd,read-only=on" "and the firmware"
like "$(cat "$T/a/vms/1/vmware.log")" "OVMF reads none behind SCSI controllers" \
	"its log tells that the firmware will not find its disk"
ok "the flash has a file" get idle.nvram
is "$(stat -c %s "$T/got")" "$(stat -c %s $vars)" "of its size"
run vmkfstools --put "$T/idle.vmx" "$T/lun:/idle/idle.nvram"
is "$rc" 1 "which is locked"
ok "it is written" write_flash 0x5a
ok "vmkernel is killed" kill -9 "$(cat "$T/a/vmkernel.pid")"
ok "another takes its place" host
ok "and the VM back" wait_for 30 is_on
ok "it is suspended" vim vmsvc/power.suspend 1
ok "and goes on" vim vmsvc/power.on 1
ok "its flash is written" write_flash 0x5b
ok "it is powered off" vim vmsvc/power.off 1
ok "what was written is kept" has_byte 5b idle.nvram
ok "it runs again" vim vmsvc/power.on 1
ok "a snapshot with its memory" vim vmsvc/snapshot.create 1 one "" 1 0
ok "its flash is written" write_flash 0x5c
ok "back to the snapshot" vim vmsvc/snapshot.revert 1 1
ok "which runs" wait_for 30 is_on
ok "all are removed" vim vmsvc/snapshot.removeall 1
ok "it is powered off" vim vmsvc/power.off 1
ok "its flash is as it was at the snapshot" has_byte 5b idle.nvram

printf 'MRVN of another kind' >"$T/foreign"
ok "a file of another kind" vmkfstools --put "$T/foreign" "$T/lun:/idle/old.nvram"
ok "its .vmx file" "$BIN/vmkfstools" --get "$T/lun:/idle/idle.vmx" "$T/vmx2"
echo 'nvram = "old.nvram"' >>"$T/vmx2"
ok "that the .vmx file names" vmkfstools --put "$T/vmx2" "$T/lun:/idle/idle.vmx"
ok "it runs" vim vmsvc/power.on 1
ok "from a flash beside it" get old.nvram.efi
ok "it ends" vim vmsvc/power.off 1
ok "the other" get old.nvram
ok "stays as it is" cmp "$T/got" "$T/foreign"
ok "it is removed" vim vmsvc/destroy 1
run vmkfstools --dir "$T/lun:/"
is "$(grep -c idle <<<"$out")" 0 "with all of its files"
idle_end
