#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Linux guest is booted by UEFI firmware, and counts its boots in a variable of it: that
# survives power cycles, and goes along when the VM is moved while it runs, and when
# another host takes it because its own has died. DISK names the controller (sata, nvme).

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
[ -n "${FULL:-}" ] || skip_all "a guest boots three times (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
[ -f /usr/share/OVMF/OVMF_VARS_4M.fd ] || skip_all "no OVMF (package ovmf)"
make_guest
take_ports

lun=$T/lun
vmx=$T/vm1.vmx
has_booted() { [ "$(told "$1" 1 NVRAM)" = "$2" ]; }
config() { # HOST PORT
	printf '%s\n' "accel = tcg" "vmotion_address = 127.0.0.1:$2" >"$T/$1.conf"
}

truncate -s 3G "$lun"
sed "/^scsi0.virtualDev/d; s/^scsi0/${DISK:-sata}0/" "$ROOT/tests/guest/vm1.vmx" >"$vmx"
echo 'firmware = "efi"' >>"$vmx"
ok "a volume with a VM that has UEFI firmware" eval 'mkfs.vmfs -q -L vms "$lun" &&
	vmkfstools -i "$T/guest.raw" -d thin "$lun:/vm1/vm1.vmdk" &&
	vmkfstools --put "$vmx" "$lun:/vm1/vm1.vmx"'
config a "$port"
config b $((port + 1))
ok "host a" host a "$lun" -c "$T/a.conf"
ok "host b" host b "$lun" -c "$T/b.conf"
is "$(register a vm1)" 1 "a has the VM"
ok "it is powered on" vim a vmsvc/power.on 1
ok "it boots, for the first time" wait_for 300 has_booted a 1
ok "and counts" wait_for 120 counted a 1 2
run cat "$T/a/vms/1/vmware.log"
is "$(grep -c "OVMF reads none" <<<"$out")" 0 "from a disk that OVMF reads"
ok "it is powered off" vim a vmsvc/power.off 1
rm -f "$(console a 1)"
ok "and on" vim a vmsvc/power.on 1
ok "it boots for the second time" wait_for 300 has_booted a 2
ok "and counts" wait_for 120 eval 'counted a 1 $(($(told a 1 LAST) + 2))'
ok "it is suspended" vim a vmsvc/power.suspend 1
ok "and goes on" vim a vmsvc/power.on 1
ok "where it was" goes_on a 1 120
ok "b takes VMs" wait_for 60 takes_vms b "$lun"
ok "it is moved to b" vim a vmsvc/migrate 1 b
at=$(told a 1 COUNT)
ok "where it counts on" wait_for 120 counted b 1 $((at + 2))
is "$(told b 1 LAST)" 0 "and was not booted anew"
last=$(told b 1 COUNT)
harm_kill_host b
ok "b dies, and the VM" wait_for 30 gone b
ok "a, which had it, has it again" register a vm1
rm -f "$(console a 1)"
id=$(vim a vmsvc/getallvms | awk '$2 == "vm1" { print $1 }')
ok "a takes it" vim a vmsvc/power.on "$id"
ok "it boots for the third time" \
	wait_for 300 eval '[ "$(told a "$id" NVRAM)" = 3 ]'
ok "and counts on" wait_for 120 counted a "$id" $((last + 2))
ok "what it told is on its disk" test "$(told a "$id" LAST)" -ge "$last"
is "$(cat "$T"/[ab]/vms/*/serial0.txt | grep -c GUEST-FAILED)" 0 "it misses nothing"
ok "it ends" vim a vmsvc/power.off "$id"
ok "the host ends" host_ends a
whole "$lun" "the volume"
