#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A VM that writes without a pause moves to and fro between two hosts, HOPS times (50). In
# four of five moves something dies at a random moment of it: the vmkernel or the vmx of
# the source or of the target. It never runs on both; what it said it had written is found
# when it is started again; where nothing died, it arrives and was not booted anew.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
. "$ROOT/tests/lib/places.sh"
. "$ROOT/tests/lib/pound.sh"
. "$ROOT/tests/lib/where.sh"
[ -n "${FULL:-}" ] || skip_all "real processes that are killed in real time (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
CODE=pound "$ROOT/tests/guest/bootsector.sh" "$T/guest.raw" "" 2>"$T/why" ||
	skip_all "no guest: $(tail -n 1 "$T/why")"

hops=${HOPS:-50}
lun=$T/lun
take_ports

start() { # HOST
	host "$1" "$lun" -c "$T/$1.conf" >"$T/said" 2>&1
}

printf '%s\n' 'displayName = "vm1"' 'memSize = "16"' 'sata0.present = "TRUE"' \
	'sata0:0.present = "TRUE"' 'sata0:0.fileName = "vm1.vmdk"' \
	'serial0.present = "TRUE"' 'serial0.fileType = "file"' \
	'serial0.fileName = "serial0.txt"' >"$T/vm1.vmx"
truncate -s 1G "$lun"
ok "a volume with a VM" eval 'mkfs.vmfs -q -L vms "$lun" &&
	vmkfstools -i "$T/guest.raw" -d thin "$lun:/vm1/vm1.vmdk" &&
	vmkfstools --put "$T/vm1.vmx" "$lun:/vm1/vm1.vmx"'
for h in a b; do
	printf '%s\n' "accel = tcg" "vmotion_address = 127.0.0.1:$((port += 1))" \
		"vmotion_limit = ${LIMIT:-8m}" >"$T/$h.conf"
	ok "host $h" start $h
done
register a vm1 >/dev/null
ok "it runs" vim a vmsvc/power.on 1
from=a
to=b
console=$(console a 1)
ok "and writes" wait_for 60 eval '[ -n "$(said BEAT "$console")" ]'

declare -A outcome
faults=0
fault() { # WHAT
	faults=$((faults + 1))
	diag "hop $hop ($victim after $delay ms): $1"
}

kill_victim() {
	case $victim in
	source) kill -9 "$(pid_of $from)" ;;
	target) kill -9 "$(pid_of $to)" ;;
	source-vmx) kill -9 $(vmx_of $from) ;;
	target-vmx) kill -9 $(vmx_of $to) ;;
	esac 2>/dev/null
}

power_on_somewhere() {
	local h id
	for h in $from $to; do
		id=$(number_on $h)
		[ -n "$id" ] || continue
		vim $h vmsvc/power.on "$id" >"$T/said" 2>&1 && return 0
	done
	diag "$(tail -n 1 "$T/said")"
	return 1
}

for ((hop = 1; hop <= hops; hop++)); do
	victims=(nobody source target source-vmx target-vmx)
	victim=${victims[hop % 5]}
	delay=$((RANDOM % 2500))
	id=$(number_on $from)
	vim $from vmsvc/migrate "$id" "$to" >"$T/migrate" 2>&1 &
	mover=$!
	if [ $victim != nobody ]; then
		sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
		kill_victim
	fi
	wait $mover
	status=$?
	last=$(said BEAT "$console")
	case $victim in
	source) start $from || fault "host $from does not start" ;;
	target) start $to || fault "host $to does not start" ;;
	esac
	on=$(settle)
	what=restarted
	if [ "$on" = "a b" ]; then
		fault "it runs on both"
		break
	elif [ -z "$on" ]; then
		power_on_somewhere || fault "it cannot be started again"
		on=$(settle)
		[ -n "$on" ] || break
		new=$(console "$on" "$(number_on "$on")")
		wait_for 60 eval '[ -n "$(said UP "$new")" ]' || fault "it does not boot"
		! is_behind "$(said UP "$new")" "$last" ||
			fault "$last was said, $(said UP "$new") is on the disk"
	else
		new=$(console "$on" "$(number_on "$on")")
		what=$([ "$on" = $to ] && echo moved || echo kept)
		[ $what:$victim != kept:nobody ] || fault "$(tail -n 1 "$T/migrate")"
	fi
	n=$(lines "$new")
	wait_for 60 writes_on "$new" "$n" || fault "it does not write any more on $on"
	! grep -q FAILED "$new" || fault "the guest says that it failed"
	outcome[$victim-$what]=$((${outcome[$victim-$what]:-0} + 1))
	[ $victim != nobody ] || [ $status = 0 ] || fault "exit $status"
	console=$new
	if [ "$on" != $from ]; then
		to=$from
		from=$on
	fi
done
for o in "${!outcome[@]}"; do
	diag "$o: ${outcome[$o]}"
done
is "$faults" 0 "$hops moves, and nothing was lost or ran twice"
is "$((hop - 1))" "$hops" "all of them"
vim $from vmsvc/power.off "$(number_on $from)" >"$T/said" 2>&1
for h in a b; do
	ok "host $h ends" host_ends $h
done
whole "$lun" "the volume"
