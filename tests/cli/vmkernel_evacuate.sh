#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host that enters maintenance mode: its VMs go to the other host while they run; with
# no host to go to it is left again when the time is over, and they stay; or they are
# suspended, if that was asked for.
#
# With FULL=1 three VMs that write without a pause are then sent to and fro, EVACUATIONS
# times (20), by maintenance mode alone, while the vmkernel of the source, of the target
# or of both is killed at a random moment of it and started again: each VM arrives, runs
# on one host, was not booted anew, and what it had said it had written is on its disk.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
. "$ROOT/tests/lib/places.sh"
. "$ROOT/tests/lib/pound.sh"
. "$ROOT/tests/lib/where.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
CODE=beat "$ROOT/tests/guest/bootsector.sh" "$T/guest.raw" "" 2>"$T/why" ||
	skip_all "no guest: $(tail -n 1 "$T/why")"
lun=$T/lun
take_ports

beats_on() { # HOST VM
	grep -q BEAT "$(console "$1" "$(number_on "$1" "$2")")" 2>/dev/null
}

is_in() { # HOST true|false
	vim "$1" hostsvc/hostsummary | grep -q "inMaintenanceMode = $2,"
}

make_vm() { # VM, with the disk $T/guest.raw
	printf '%s\n' "displayName = \"$1\"" 'memSize = "16"' 'sata0.present = "TRUE"' \
		'sata0:0.present = "TRUE"' "sata0:0.fileName = \"$1.vmdk\"" \
		'serial0.present = "TRUE"' 'serial0.fileType = "file"' \
		'serial0.fileName = "serial0.txt"' >"$T/$1.vmx"
	vmkfstools -i "$T/guest.raw" -d thin "$lun:/$1/$1.vmdk" &&
		vmkfstools --put "$T/$1.vmx" "$lun:/$1/$1.vmx"
}

truncate -s 1G "$lun"
mkfs.vmfs -q -L vms "$lun"
for vm in vm1 vm2; do
	ok "$vm" make_vm $vm
done
for h in a b; do
	printf '%s\n' "accel = tcg" "vmotion_address = 127.0.0.1:$((port += 1))" \
		>"$T/$h.conf"
	ok "host $h" host "$h" "$lun" -c "$T/$h.conf"
done
for vm in vm1 vm2; do
	ok "$vm runs" vim a vmsvc/power.on "$(register a $vm)"
done
refused "a time is a number" "soon: not a number of seconds$" \
	vim a hostsvc/maintenance_mode_enter soon
refused "a way is a word" "fly: not vmotion, shutdown, suspend or none$" \
	vim a hostsvc/maintenance_mode_enter 10 fly
ok "host a enters maintenance mode" vim a hostsvc/maintenance_mode_enter
ok "and is in it" is_in a true
for vm in vm1 vm2; do
	ok "$vm is on host b" is_on b $vm
	ok "and runs" wait_for 60 beats_on b $vm
	is "$(number_on a $vm)" "" "it is not registered on host a any more"
done
enters_b() { vim b hostsvc/maintenance_mode_enter 5; }
refused "from host b they cannot go anywhere" \
	"VMs are still on after that time: [0-9 ]+$" enters_b
ok "so it is not in maintenance mode" is_in b false
ok "and they run on" eval 'is_on b vm1 && is_on b vm2'
like "$(cat "$T/b/vmkernel.log")" "host a: the host is in maintenance mode$" \
	"host a was asked, and said no"
ok "one is powered off" vim b vmsvc/power.off "$(number_on b vm2)"
ok "the other is suspended for it" vim b hostsvc/maintenance_mode_enter 60 suspend
ok "host b is in maintenance mode" is_in b true
ok "and its VM suspended" is_state b "$(number_on b vm1)" Suspended
for h in a b; do
	ok "host $h leaves it" vim $h hostsvc/maintenance_mode_exit
done
ok "the VM is resumed" vim b vmsvc/power.on "$(number_on b vm1)"
ok "and moves when host b enters, which dies on the way" eval \
	'vim b hostsvc/maintenance_mode_enter >"$T/said" 2>&1 & sleep 0.3
	kill -9 "$(pid_of b)"; wait'
ok "host b starts again" host b "$lun" -c "$T/b.conf"
ok "and goes on with what it was about" wait_for 90 is_in b true
ok "the VM runs on host a" wait_for 30 is_on a vm1 ||
	diag "$(grep -h -e vMotion -e "VM [0-9]" "$T/a/vmkernel.log" "$T/b/vmkernel.log")"
ok "it ends there" vim a vmsvc/power.off "$(number_on a vm1)"

# ---- vmkernels that die amid it ----

faults=0
fault() { # WHAT
	faults=$((faults + 1))
	diag "round $round ($victims after $delay ms): $1"
	diag "$(tail -n 4 "$T"/?/vmkernel.log)"
}

arrived() { # VM, on host $to, whence it came: it runs there alone, and writes
	local file n
	is_on $to "$1" || { fault "$1 does not run on host $to"; return; }
	! is_on $from "$1" || fault "$1 runs on host $from, too"
	file=$(console $to "$(number_on $to "$1")")
	n=$(lines "$file")
	wait_for 60 writes_on "$file" "$n" || fault "$1 does not write"
	! grep -q FAILED "$file" || fault "$1 says that it failed"
}

# How often all VMs were booted so far.
boots() {
	cat "$T"/?/vms/*/serial0.txt | tr -d '\r' | grep -c "^UP "
}

is_to_leave() { # what becomes of an order that a death may have come before
	vim $from hostsvc/maintenance_mode_enter >"$T/enter" 2>&1
	wait_for 120 is_in $from true
}

evacuate_once() {
	local h booted
	booted=$(boots)
	vim $from hostsvc/maintenance_mode_enter >"$T/enter" 2>&1 &
	sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
	for h in $victims; do
		kill -9 "$(pid_of $h)"
	done
	wait $!
	for h in $victims; do
		host $h "$lun" -c "$T/$h.conf" >"$T/said" 2>&1 ||
			fault "host $h does not start"
	done
	is_to_leave || fault "host $from is not in maintenance mode: $(cat "$T/enter")"
	for vm in $vms; do
		arrived $vm
	done
	[ "$(boots)" = "$booted" ] || fault "somebody was booted anew"
	vim $from hostsvc/maintenance_mode_exit >"$T/said" 2>&1 ||
		fault "$(cat "$T/said")"
}

if [ -n "${FULL:-}" ]; then
	ok "host b takes VMs again" vim b hostsvc/maintenance_mode_exit
	CODE=pound "$ROOT/tests/guest/bootsector.sh" "$T/guest.raw" "" 2>"$T/why"
	vms="vm3 vm4 vm5" from=a to=b
	for vm in $vms; do
		ok "$vm" make_vm $vm
		ok "runs" vim a vmsvc/power.on "$(register a $vm)"
		ok "and writes" wait_for 60 writes_on \
			"$(console a "$(number_on a $vm)")" 3
	done
	for ((round = 1; round <= ${EVACUATIONS:-20}; round++)); do
		orders=("" "$from" "$to" "$from $to")
		victims=${orders[round % 4]}
		delay=$((RANDOM % 3000))
		evacuate_once
		to=$from
		from=$([ $from = a ] && echo b || echo a)
	done
	is "$faults" 0 "$((round - 1)) times all arrived, and nothing ran twice"
	for vm in $vms; do
		id=$(number_on $from $vm)
		file=$(console $from "$id")
		ok "$vm is powered off" vim $from vmsvc/power.off "$id"
		last=$(said BEAT "$file")
		ok "and on" vim $from vmsvc/power.on "$id"
		ok "it boots" wait_for 60 eval '[ -n "$(said UP "$file")" ]'
		ok "$last was said, and $(said UP "$file") is on the disk" \
			eval '! is_behind "$(said UP "$file")" "$last"'
		ok "it ends" vim $from vmsvc/power.off "$id"
	done
fi
for h in a b; do
	ok "host $h ends" host_ends $h
done
whole "$lun" "the volume"
