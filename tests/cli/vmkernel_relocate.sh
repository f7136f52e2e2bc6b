#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The files of a VM that writes without a pause move to and fro between two datastores of
# its host. It never stops, and what it said it had written is found when it is started
# from where it is then. KILLS times (2; FULL=1: 25) vmkernel is killed somewhere on the
# way, or the whole host, or it is cancelled: the VM is on exactly one side, whole, and
# nothing of it on the other. At last it goes to another datastore and another host.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
. "$ROOT/tests/lib/places.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
CODE=pound "$ROOT/tests/guest/bootsector.sh" "$T/guest.raw" "" 2>"$T/why" ||
	skip_all "no guest: $(tail -n 1 "$T/why")"
kills=${KILLS:-${FULL:+25}}
kills=${kills:-2}
# So large that copying it takes a while.
truncate -s 96M "$T/guest.raw"
dd if=/dev/urandom of="$T/guest.raw" bs=1M seek=4 count=64 conv=notrunc status=none

start() {
	host a "$T/lun1" --device "$T/lun2" --device "$T/lun3" -c "$T/conf" \
		>"$T/said" 2>&1
}

where_is() { # the datastore of the VM, as the host says
	vim a vmsvc/getallvms | sed -n 's/.*\[\([a-z]*\)\] vm1\/vm1\.vmx.*/\1/p'
}

other() { # DATASTORE
	[ "$1" = vms ] && echo more || echo vms
}

lun_of() { # DATASTORE
	[ "$1" = vms ] && echo "$T/lun1" || echo "$T/lun2"
}

# The number that it said last.
said() { # WORD
	tr -d '\r' <"$(console a 1)" 2>/dev/null |
		sed -n "s/^$1 \([0-9a-f]\{4\}\)$/\1/p" | tail -n 1
}

lines() {
	wc -l <"$(console a 1)" 2>/dev/null || echo 0
}

writes_on() { # LINES
	[ "$(lines)" -gt "$1" ]
}

# The later of two numbers of 16 bits, in hex, is not the first.
is_behind() { # FOUND TOLD
	[ $(((16#$1 - 16#$2) & 0xffff)) -ge 32768 ]
}

is_on() {
	is_state a 1 "Powered on"
}

# The VM's folder on a volume, as a tool sees it: is there a .vmx file, or any disk?
has_vm() { # DATASTORE
	vmkfstools --get "$(lun_of "$1"):/vm1/vm1.vmx" "$T/got" 2>/dev/null
}
has_disk() { # DATASTORE
	vmkfstools --get "$(lun_of "$1"):/vm1/vm1.vmdk" "$T/got" 2>/dev/null
}

relocate() {
	vim a vmsvc/relocate 1 "$@"
}

# Off and on again: nothing of what was said is lost.
restart() {
	local last
	last=$(said BEAT)
	vim a vmsvc/power.off 1 >"$T/said" 2>&1 || return 1
	rm -f "$(console a 1)"
	vim a vmsvc/power.on 1 >"$T/said" 2>&1 || return 1
	wait_for 60 eval '[ -n "$(said BEAT)" ]' || return 1
	! is_behind "$(said UP)" "$last"
}

printf '%s\n' 'displayName = "vm1"' 'memSize = "16"' 'sata0.present = "TRUE"' \
	'sata0:0.present = "TRUE"' \
	'sata0:0.fileName = "/vmfs/volumes/vms/vm1/vm1.vmdk"' \
	'some.key = "is kept"' \
	'serial0.present = "TRUE"' 'serial0.fileType = "file"' \
	'serial0.fileName = "serial0.txt"' >"$T/vm1.vmx"
echo "text" >"$T/notes.txt"
take_ports
printf '%s\n' "accel = tcg" "vmotion_address = 127.0.0.1:$((port + 1))" >"$T/conf"
printf '%s\n' "accel = tcg" "vmotion_address = 127.0.0.1:$((port + 2))" >"$T/conf2"
truncate -s 1G "$T/lun1" "$T/lun2" "$T/lun3"
ok "three volumes, and a VM on one" eval 'mkfs.vmfs -q -L vms "$T/lun1" &&
	mkfs.vmfs -q -L more "$T/lun2" && mkfs.vmfs -q -L full "$T/lun3" &&
	vmkfstools -i "$T/guest.raw" -d thin "$T/lun1:/vm1/vm1.vmdk" &&
	vmkfstools --put "$T/notes.txt" "$T/lun1:/vm1/notes.txt" &&
	vmkfstools --put "$T/vm1.vmx" "$T/lun1:/vm1/vm1.vmx"'
ok "a host" start
register a vm1 >/dev/null
refused "one that is off is not moved" "is not powered on$" relocate more
ok "it runs" vim a vmsvc/power.on 1
ok "and writes" wait_for 60 eval '[ -n "$(said BEAT)" ]'
refused "a datastore that there is not" "none: no such datastore" relocate none
refused "its own" "is on that datastore already$" relocate vms
refused "a host that takes no VMs there" "no host b takes VMs on datastore more$" \
	relocate more b
refused "this host itself" "is on host a already$" relocate more a
is "$(where_is)" vms "nothing was moved for them"
ok "nor copied" eval '! has_disk more'
refused "it is not on its way" "is not on its way" vim a vmsvc/migrate.cancel 1

n=$(lines)
ok "it moves" relocate more
is "$(where_is)" more "it is there"
ok "it runs on" is_on
ok "and writes on" wait_for 60 writes_on "$((n + 2))"
like "$(cat "$T/a/vmkernel.log")" \
	"moved from datastore vms to more in [0-9]+ ms; its I/O was held for [0-9]+ ms$" \
	"the log tells how long it took"
ok "the old folder has no .vmx file" eval '! has_vm vms'
ok "and no disk" eval '! has_disk vms'
ok "the new one has" has_vm more
like "$(cat "$T/got")" '^some.key = "is kept"$' "with all keys"
like "$(cat "$T/got")" '^sata0:0.fileName = "vm1.vmdk"$' "and its disk beside it"
ok "its other files came, too" vmkfstools --get "$T/lun2:/vm1/notes.txt" "$T/got"
ok "started from there it finds what it wrote" restart
vim a vmsvc/snapshot.create 1 one >"$T/said" 2>&1
refused "one with snapshots stays" "has snapshots: they are removed before" relocate vms
ok "its snapshot goes" vim a vmsvc/snapshot.removeall 1

ok "it moves back" relocate vms
ok "and finds what it wrote" restart
vmkfstools -c 1M "$T/lun3:/vm1/other.vmdk"
refused "a folder in the way is not touched" "\[full\] vm1: Directory not empty$" \
	relocate full
ok "what lies there is still there" vmkfstools --get "$T/lun3:/vm1/other.vmdk" "$T/got"

# ---- on the way ----

faults=0
fault() {
	faults=$((faults + 1))
	diag "round $round ($what after $delay ms): $1"
}
declare -A outcome
for ((round = 1; round <= kills; round++)); do
	from=$(where_is)
	to=$(other "$from")
	case $((round % 4)) in
	1 | 3) what=vmkernel ;;
	2) what=cancel ;;
	0) what=host ;;
	esac
	delay=$((RANDOM % 1500))
	relocate "$to" >"$T/moved" 2>&1 &
	mover=$!
	sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
	case $what in
	vmkernel) kill -9 "$(pid_of a)" ;;
	host) harm_kill_host a ;;
	cancel) vim a vmsvc/migrate.cancel 1 >"$T/said" 2>&1 ;;
	esac
	wait $mover
	moved=$?
	last=$(said BEAT)
	[ $what = cancel ] || start || fault "vmkernel does not start"
	on=$(where_is)
	case $what in
	host)
		rm -f "$(console a 1)"
		vim a vmsvc/power.on 1 >"$T/said" 2>&1 || fault "$(tail -n 1 "$T/said")"
		wait_for 60 eval '[ -n "$(said UP)" ]'
		! is_behind "$(said UP)" "$last" ||
			fault "$last was said, $(said UP) is on the disk"
		;;
	*) wait_for 60 is_on || fault "it ended: $(tail -n 1 "$T/a/vmkernel.log")" ;;
	esac
	n=$(lines)
	wait_for 60 writes_on "$((n + 1))" || fault "it does not write any more"
	has_vm "$on" || fault "[$on] has no .vmx file"
	! has_vm "$(other "$on")" || fault "[$(other "$on")] has a .vmx file, too"
	! has_disk "$(other "$on")" || fault "[$(other "$on")] has a disk left"
	[ ! -e "$T/a/vms/1.move" ] || fault "the note is still there"
	[ "$moved" != 0 ] || [ "$on" = "$to" ] || fault "it said that it was moved"
	restart || fault "it lost something: $(said UP)"
	result=$([ "$on" = "$to" ] && echo moved || echo kept)
	outcome[$what-$result]=$((${outcome[$what-$result]:-0} + 1))
done
for o in "${!outcome[@]}"; do
	diag "$o: ${outcome[$o]}"
done
is "$faults" 0 "$kills moves that were cut off: always on one side, nothing lost"

# ---- and to another host ----

to=$(other "$(where_is)")
ok "a second host" host b "$T/lun1" --device "$T/lun2" -c "$T/conf2"
ok "which takes VMs on both datastores" wait_for 60 eval \
	'takes_vms b "$T/lun1" && takes_vms b "$T/lun2"'
ok "to the other datastore, and to the other host" relocate "$to" b
is "$(vim b vmsvc/getallvms | grep -c "\[$to\] vm1/vm1.vmx")" 1 "it is registered there"
diag "$(grep vMotion "$T/b/vmkernel.log")"
ok "and here no more" wait_for 10 eval '[ -z "$(where_is)" ]'
ok "it runs there" is_state b 1 "Powered on"
ok "and writes on" wait_for 60 grep -q BEAT "$(console b 1)"
ok "it is powered off" vim b vmsvc/power.off 1
for h in a b; do
	ok "host $h ends" host_ends $h
done
whole "$T/lun1" "the first volume"
whole "$T/lun2" "the second"
