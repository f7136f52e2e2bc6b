#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A VM stands still between two hosts, all of it sent, and something dies: the vmkernel of
# the source, of the target or of both, or the vmx of one, some milliseconds after the
# source's vmx has said that all is sent, or when the locks are handed over. The VM has
# many disks: their locks take a while. Dead vmkernels come back, and DEATHS (1) times die
# once more while they look at what they find (tests/rigs/mortal.c). The VM runs on
# exactly one host then, and was not booted anew; except when the vmx died that had been
# told to run it, or that had not said yet that all is sent: it ends, that is said, and it
# is started again. What it had said it had written is on its disk.
#
# With FULL=1 there are more rounds, at 3 * PASSES (4) other moments, too.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
. "$ROOT/tests/lib/places.sh"
. "$ROOT/tests/lib/pound.sh"
. "$ROOT/tests/lib/where.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
mortal=$BIN/../tests/rigs/vmkernel
[ -x "$mortal" ] || skip_all "$mortal is not built"
CODE=pound "$ROOT/tests/guest/bootsector.sh" "$T/guest.raw" "" 2>"$T/why" ||
	skip_all "no guest: $(tail -n 1 "$T/why")"
lun=$T/lun
take_ports

start() { # HOST
	host "$1" "$lun" -c "$T/$1.conf" >"$T/said" 2>&1
}

# One that dies at one of its first steps with the VM; if it does none, soon.
dies_again() { # HOST
	local pid
	DIES_AT=$((RANDOM % 30 + 1)) timeout -k 5 150 "$mortal" -d "$T/$1" \
		--host-name "$1" --device "$lun" -c "$T/$1.conf" >"$T/said" 2>&1
	pid=$(pid_of "$1")
	wait_for 1 is_dead "$pid"
	kill -9 "$pid" 2>/dev/null
	wait_for 20 is_dead "$pid"
}
is_dead() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:	Z' "/proc/$1/status"; }

comes_back() { # HOST
	local i
	for ((i = 0; i < ${DEATHS:-1}; i++)); do
		dies_again "$1"
	done
	start "$1" || fault "host $1 does not start"
}

config() {
	local c i
	printf '%s\n' 'displayName = "vm1"' 'memSize = "16"' \
		'serial0.present = "TRUE"' 'serial0.fileType = "file"' \
		'serial0.fileName = "serial0.txt"'
	for c in 0 1; do
		echo "sata$c.present = \"TRUE\""
		for i in 0 1 2 3 4 5; do
			printf '%s\n' "sata$c:$i.present = \"TRUE\"" \
				"sata$c:$i.fileName = \"disk$c$i.vmdk\""
		done
	done
}

truncate -s 1G "$lun"
config >"$T/vm1.vmx"
make_disks() {
	local c i
	vmkfstools -i "$T/guest.raw" -d thin "$lun:/vm1/disk00.vmdk" || return
	for c in 0 1; do
		for i in 0 1 2 3 4 5; do
			[ $c$i = 00 ] || vmkfstools -c 1m -d thin \
				"$lun:/vm1/disk$c$i.vmdk" || return
		done
	done
}
ok "a volume with a VM of 12 disks" eval 'mkfs.vmfs -q -L vms "$lun" && make_disks &&
	vmkfstools --put "$T/vm1.vmx" "$lun:/vm1/vm1.vmx"'
for h in a b; do
	printf '%s\n' "accel = tcg" "vmx = $BIN/vmx" \
		"vmotion_address = 127.0.0.1:$((port += 1))" \
		>"$T/$h.conf"
	ok "host $h" start $h
done
register a vm1 >/dev/null
ok "it runs" vim a vmsvc/power.on 1
from=a
to=b
file=$(console a 1)
ok "and writes" wait_for 60 eval '[ -n "$(said BEAT "$file")" ]'

faults=0 rounds=0
declare -A outcome
fault() { # WHAT
	faults=$((faults + 1))
	diag "round $rounds ($victims at $delay): $1"
	diag "$(tail -n 6 "$T"/?/vmkernel.log)"
}

kill_victims() {
	local v
	for v in $victims; do
		case $v in
		source) kill -9 "$source_pid" ;;
		target) kill -9 "$target_pid" ;;
		source-vmx) kill -9 "$source_vmx" ;;
		target-vmx) kill -9 $(vmx_of $to) ;;
		esac
	done 2>/dev/null
}

await_line() { # FILE LINES-BEFORE TEXT
	local line
	while read -r line; do
		[[ $line != *"$3"* ]] || break
	done < <(exec timeout 30 tail -n +$(($2 + 1)) -f "$1")
	kill $! 2>/dev/null # tail would not see that nobody reads
}

# $delay ms after all of it is sent, or when all of its locks are handed over.
await_moment() { # VMX-LOG LINES VMKERNEL-LOG LINES
	if [ "$delay" = given ]; then
		await_line "$3" "$4" "it stands still"
		return
	fi
	await_line "$1" "$2" "all of the VM is sent"
	[ "$delay" = 0 ] || sleep "$(printf '0.%03d' "$delay")"
}

boot_again() { # it ended: that was said, and it starts
	local id last=$1
	id=$(number_on $to)
	vim $to vmsvc/power.on "$id" >"$T/said" 2>&1 || fault "$(cat "$T/said")"
	file=$(console $to "$id")
	wait_for 60 eval '[ "$(boots)" -gt "$booted" ]' || fault "it does not boot"
	! is_behind "$(said UP "$file")" "$last" || fault "it had said $last"
}

# How often it was booted so far.
boots() {
	cat "$T"/?/vms/*/serial0.txt | tr -d '\r' | grep -c "^UP "
}

# Since the round began.
says() { # HOST LINES TEXT
	tail -n +$(($2 + 1)) "$T/$1/vmkernel.log" | grep -q -F "$3"
}

# What ran it died, or was told to; or what ran it before all was known to be sent.
has_to_end() {
	case $victims in
	target-vmx) says $to "$to_said" "it may have run here, and has ended" ||
		says $to "$to_said" "): runs here" ;;
	source-vmx) says $from "$from_said" "lost: its vmx process died" ;;
	*) false ;;
	esac
}

hop() {
	local id log n on last old mover what v booted from_said to_said
	rounds=$((rounds + 1))
	id=$(number_on $from)
	log=$T/$from/vms/$id/vmware.log
	n=$(lines "$log")
	from_said=$(lines "$T/$from/vmkernel.log")
	to_said=$(lines "$T/$to/vmkernel.log")
	booted=$(boots)
	wait_for 30 has_no_qemu $to || fault "host $to still has a QEMU"
	source_pid=$(pid_of $from) target_pid=$(pid_of $to) source_vmx=$(vmx_of $from)
	vim $from vmsvc/migrate "$id" $to >"$T/migrate" 2>&1 &
	mover=$!
	await_moment "$log" "$n" "$T/$from/vmkernel.log" "$from_said"
	kill_victims
	wait $mover
	old=$file
	for v in $victims; do
		case $v in
		source) comes_back $from ;;
		target) comes_back $to ;;
		esac
	done
	on=$(settle)
	last=$(said BEAT "$old")
	what=$([ "$on" = $to ] && echo moved || echo kept)
	case $on in
	"a b")
		fault "it runs on both"
		return 1 ;;
	"")
		what=ended
		has_to_end || fault "it is off on both hosts"
		boot_again "$last"
		on=$(settle)
		[ -n "$on" ] || return 1 ;;
	*)
		file=$(console "$on" "$(number_on "$on")")
		[ "$(boots)" = "$booted" ] || fault "it was booted anew" ;;
	esac
	n=$(lines "$file")
	wait_for 60 writes_on "$file" "$n" || fault "it does not write"
	! grep -q FAILED "$file" || fault "the guest says that it failed"
	what="${victims// /+} $what"
	outcome[$what]=$((${outcome[$what]:-0} + 1))
	diag "$what at $delay, $SECONDS s"
	[ "$on" = $from ] || { to=$from; from=$on; }
}

all=("source target" target source target-vmx source-vmx)
[ -z "${VICTIMS:-}" ] || all=("$VICTIMS")
delays=given
[ -z "${FULL:-}" ] || delays=$(for ((i = 0; i < 3 * ${PASSES:-4}; i++)); do
	echo $((i * 60 / (3 * ${PASSES:-4}))) given; done)
for victims in "${all[@]}"; do
	for delay in ${DELAYS:-$delays}; do
		hop || break 2
	done
done
for what in "${!outcome[@]}"; do
	diag "$what: ${outcome[$what]}"
done
is "$faults" 0 "$rounds times it ran on one host afterwards, or said why not"
vim $from vmsvc/power.off "$(number_on $from)" >"$T/said" 2>&1
for h in a b; do
	ok "host $h ends" host_ends $h
done
whole "$lun" "the volume"
