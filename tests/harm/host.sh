#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What people and machines do to a host: VMs that cannot be started, wrong and repeated
# commands, a vmkernel that is killed or told to end with its VM running. One line each
# and nothing harmed; never two writers.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmkernel vim-cmd qemu-system-x86_64

make_guest
lun=$T/lun
truncate -s 1G "$lun"
ok "a volume with a VM" eval 'mkfs.vmfs -q -L vms "$lun" && install_vm "$lun" vm1'

# ---- .vmx files that cannot be run ----

# bad NAME SED-SCRIPT: vm1/NAME.vmx, made of vm1.vmx.
bad() {
	sed "$2" "$T/vm1.vmx" >"$T/$1.vmx"
	vmkfstools --put "$T/$1.vmx" "$lun:/vm1/$1.vmx"
}
bad disk 's/"vm1.vmdk"/"other.vmdk"/'
bad descriptor 's/"vm1.vmdk"/"vm1-flat.vmdk"/'
bad outside 's,"vm1.vmdk","../../etc/passwd",'
bad elsewhere 's,"vm1.vmdk","/vmfs/volumes/none/vm1.vmdk",'
bad controller 's/"pvscsi"/"megasas"/'
bad memory 's/"256"/"lots"/'
bad syntax 's/^memSize = .*/memSize = "256/'
head -c 4096 /dev/urandom >"$T/noise.vmx"
vmkfstools --put "$T/noise.vmx" "$lun:/vm1/noise.vmx"

ok "host A starts" host A "$lun"
ok "host B starts" host B "$lun"

# cannot NAME REGEX: it is refused when it is registered or when it is powered on.
cannot() {
	local id
	run vim A solo/registervm "[vms] vm1/$1.vmx"
	if [ "$rc" = 0 ]; then
		id=$(tr -dc 0-9 <<<"$out")
		run vim A vmsvc/power.on "$id"
		out=$(grep -v '^Powering on VM:$' <<<"$out")
		is "$(vim A vmsvc/power.getstate "$id" | tail -n 1)" "Powered off" \
			"$1.vmx: it is not on"
		vim A vmsvc/unregister "$id" >/dev/null
	else
		pass "$1.vmx is not registered"
	fi
	is "$rc $(wc -l <<<"$out")" "1 1" "$1.vmx is refused in one line"
	like "$out" "$2" "it names what is wrong"
}
cannot disk "other.vmdk.*(No such file|no such disk)"
cannot descriptor "vm1-flat.vmdk.*not a VMDK descriptor"
cannot outside "etc/passwd"
cannot elsewhere "/vmfs/volumes/none/vm1.vmdk"
cannot controller "megasas"
cannot memory "lots"
cannot syntax "vm1/syntax.vmx: line 6 "
cannot noise "vm1/noise.vmx"
cannot missing "vm1/missing.vmx: No such file"
ok "no QEMU runs after all that" has_no_qemu A
run vmkfstools -i "$lun:/vm1/vm1.vmdk" -d thin "$lun:/copy.vmdk"
is "$rc" 0 "and no lock is left on the disk"

# ---- commands ----

a=$(register A vm1) b=$(register B vm1)
refused "a second vmkernel on one state directory" \
	"$T/A: another vmkernel uses this state directory" \
	vmkernel -d "$T/A" --device "$lun"
ok "A runs the VM" vim A vmsvc/power.on "$a"
ok "the guest counts" wait_for 60 counted A "$a" 2
run vim A vmsvc/power.on "$a"
is "$rc" 1 "power.on twice is refused"
like "$out" "VM $a .*vm1/vm1.vmx\): is powered on already" "with a line"
refused "a running VM is not unregistered" "VM $a is not powered off" \
	vim A vmsvc/unregister "$a"
for command in power.on power.off power.getstate unregister; do
	run vim A vmsvc/$command 77
	is "$rc" 1 "$command of an unknown id is refused"
	like "$out" "77: no VM with this id" "which it names"
done
refused "its volume is not made anew" "refusing, it contains VMFS" mkfs.vmfs "$lun"
refused "not by force either" "refusing: host [AB] \(.* has the volume mounted" \
	mkfs.vmfs -f "$lun"
refused "its disk is not deleted" "vm1/vm1.vmdk: held by host A \(" \
	vmkfstools -U "$lun:/vm1/vm1.vmdk"
ok "through all of that it counts on" goes_on A "$a" 20

# ---- vmkernel is killed, its VM lives: it finds it again ----

kill -KILL "$(pid_of A)"
wait_for 5 eval "! kill -0 $(pid_of A)"
shown=$(told A "$a" COUNT)
sleep 3
ok "vmkernel is killed: the guest waits for its disk" \
	test "$(told A "$a" COUNT)" -le $((shown + 1))
unlike "$(has_no_qemu A && echo gone)" gone "and lives"
ok "vmkernel starts again" host A "$lun"
ok "the guest goes on" goes_on A "$a" 20
ok "and the VM is on" is_state A "$a" "Powered on"
ok "and heeds it" vim A vmsvc/power.off "$a"
ok "QEMU ends" wait_for 20 has_no_qemu A
counted=$(told A "$a" COUNT)
ok "the VM is powered on again" vim A vmsvc/power.on "$a"
ok "and counts" wait_for 60 counted A "$a" $((counted + 2))

# ---- the same, but another host was faster ----

kill -KILL "$(pid_of A)"
shown=$(told A "$a" COUNT)
ok "killed again, B takes the VM" vim B vmsvc/power.on "$b"
unlike "$(has_no_qemu A && echo gone)" gone "while A's QEMU still lives"
ok "the guest counts on B" wait_for 60 counted B "$b" $((shown + 1))
ok "from at least the last that A showed" test "$(told B "$b" LAST)" -ge "$shown"
ok "vmkernel starts again" host A "$lun"
ok "finds that it has lost the VM, and ends its QEMU" wait_for 20 has_no_qemu A
ok "whose log says who has it" log_says A 'vm1/vm1.vmx: held by host B \('
ok "it is off on A" wait_for 10 is_state A "$a" "Powered off"
ok "B's guest never stopped" goes_on B "$b" 20

# ---- the end ----

kill -TERM "$(pid_of B)"
ok "SIGTERM ends B with its VM" wait_for 30 gone B
ok "and B's log says so" log_says B 'vm1/vm1.vmx\): the host shuts down'
ok "and gives back the lock: A runs the VM" vim A vmsvc/power.on "$a"
ok "which counts" wait_for 60 counted A "$a" $((shown + 2))
harm_kill_host A
ok "host A dies with its VM" wait_for 10 gone A
refused "mkfs.vmfs sees that there was a volume" "contains VMFS" mkfs.vmfs "$lun"
whole_after_replay() {
	run vmkfstools -c 1m "$lun:/probe.vmdk" # who comes next recovers
	is "$rc" 0 "the next host recovers"
	whole "$lun" "after it all"
}
whole_after_replay
ok "a dead volume may go by force" mkfs.vmfs -q -f "$lun"

# ---- without QEMU ----

ok "(a volume anew)" eval 'mkfs.vmfs -q -f -L vms "$lun" && install_vm "$lun" vm1'
printf 'qemu = qemu-not-there\n' >"$T/conf"
ok "a host without QEMU starts" host C "$lun" -c "$T/conf"
c=$(register C vm1)
run vim C vmsvc/power.on "$c"
is "$rc" 1 "it refuses to power on"
like "$out" "qemu-not-there" "and names the program"
ok "the VM is off" is_state C "$c" "Powered off"
kill -TERM "$(pid_of C)"
ok "it ends" wait_for 30 gone C
at_exit harm_kill_host D
ok "a host with an empty PATH starts" env PATH="$T" "$BIN/vmkernel" -d "$T/D" \
	--host-name D --device "$lun"
d=$(register D vm1)
run vim D vmsvc/power.on "$d"
is "$rc" 1 "it refuses to power on"
like "$out" "qemu-system-x86_64" "and names the program"
kill -TERM "$(pid_of D)"
ok "it ends" wait_for 30 gone D
whole "$lun" "after that"
