#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The processor that a guest is shown: a cluster's baseline, less what its .vmx file takes
# away; it is what CPUID says inside; and a VM stays where it is shown another one.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
CODE=cpuid "$ROOT/tests/guest/bootsector.sh" "$T/guest.raw" "" 2>"$T/why" ||
	skip_all "no guest: $(tail -n 1 "$T/why")"
take_ports
lun=$T/lun

cpu() { # HOST ID: what the guest says
	tr -d '\r' <"$(console "$1" "$2")" 2>/dev/null |
		sed -n 's/^CPU \([A-Za-z]* [0-9a-f]\{8\} [0-9a-f]\{8\}\)$/\1/p' |
		tail -n 1
}
has() { # FEATURE-BIT-OF-ECX CPU
	[ $((16#${2##* } >> $1 & 1)) = 1 ]
}
restart() { # runs vm1 on a anew
	vim a vmsvc/power.off 1 >"$T/said" 2>&1
	rm -f "$(console a 1)"
	vim a vmsvc/power.on 1 >"$T/said" 2>&1 && wait_for 60 eval '[ -n "$(cpu a 1)" ]'
}
config() { # HOST PORT BASELINE
	printf '%s\n' "accel = tcg" "vmotion_address = 127.0.0.1:$2" \
		${3:+"cpu_baseline = $3"} >"$T/$1.conf"
}
vmx() { # MORE...: of vm1
	printf '%s\n' 'displayName = "vm1"' 'memSize = "16"' 'sata0.present = "TRUE"' \
		'sata0:0.present = "TRUE"' 'sata0:0.fileName = "vm1.vmdk"' \
		'serial0.present = "TRUE"' 'serial0.fileType = "file"' \
		'serial0.fileName = "serial0.txt"' "$@" >"$T/vm1.vmx"
}

truncate -s 1G "$lun"
vmx
ok "a volume with a VM" eval 'mkfs.vmfs -q -L vms "$lun" &&
	vmkfstools -i "$T/guest.raw" -d thin "$lun:/vm1/vm1.vmdk" &&
	vmkfstools --put "$T/vm1.vmx" "$lun:/vm1/vm1.vmx"'
config a $port intel-pentium
refused "a baseline that is none" \
	"cpu_baseline = intel-pentium: not an EVC mode that is known" \
	vmkernel -c "$T/a.conf" -d "$T/a" --check-config
config a $port
config b $((port + 1)) intel-westmere
ok "host a, without a baseline" host a "$lun" -c "$T/a.conf"
ok "host b, with one" host b "$lun" -c "$T/b.conf"
register a vm1 >/dev/null
ok "the VM runs" restart
plain=$(cpu a 1)
diag "without a baseline: $plain"
ok "its guest has SSE 4.2" has 20 "$plain"
ok "b takes VMs" wait_for 60 takes_vms b "$lun"
refused "it does not go where it would be shown another processor" \
	"its processor is qemu64.* there, and would be Westmere here: cpu_baseline" \
	vim a vmsvc/migrate 1 b
ok "it runs on" is_state a 1 "Powered on"

kill "$(pid_of a)"
wait_for 60 gone a
config a $port intel-westmere
ok "host a, with the same baseline" host a "$lun" -c "$T/a.conf"
ok "the VM runs" restart
with=$(cpu a 1)
diag "intel-westmere: $with"
like "$with" "^GenuineIntel 000206c1 " "its guest sees a Westmere"
ok "with AES" has 25 "$with"
ok "it goes to b" vim a vmsvc/migrate 1 b
id=$(vim b vmsvc/getallvms | awk '$2 == "vm1" { print $1 }')
ok "a has it no more" wait_for 30 eval '! vim a vmsvc/getallvms | grep -q "vm1"'
ok "which takes VMs, too" wait_for 60 takes_vms a "$lun"
ok "and back" vim b vmsvc/migrate "$id" a
id=$(vim a vmsvc/getallvms | awk '$2 == "vm1" { print $1 }')
ok "it is powered off" vim a vmsvc/power.off "$id"
vmx 'featMask.vm.cpuid.AES = "Val:0"' 'featMask.vm.cpuid.SSE42 = "Max:0"' \
	'featMask.vm.cpuid.AVX = "Val:1"'
kill "$(pid_of a)" "$(pid_of b)"
for h in a b; do
	ok "host $h ends" wait_for 60 gone $h
done
ok "its file takes features away" \
	vmkfstools --put "$T/vm1.vmx" "$lun:/vm1/new.vmx"
ok "(another VM of the same disk)" host a "$lun" -c "$T/a.conf"
two=$(vim a solo/registervm "[vms] vm1/new.vmx")
ok "it runs" vim a vmsvc/power.on "$two"
ok "and tells" wait_for 60 eval '[ -n "$(cpu a "$two")" ]'
masked=$(cpu a "$two")
diag "less AES and SSE 4.2: $masked"
ok "its guest has no AES" eval '! has 25 "$masked"'
ok "nor SSE 4.2" eval '! has 20 "$masked"'
ok "nor AVX, which no Westmere has" eval '! has 28 "$masked"'
ok "but SSE 4.1" has 19 "$masked"
ok "it is powered off" vim a vmsvc/power.off "$two"
ok "host a ends" host_ends a
whole "$lun" "the volume"
