#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A vmkernel is killed while a VM with two disks runs, and so is the next one, while it
# takes the VM back, and the one after that: before each step that it does, from its first
# look at the note of the locks on (tests/rigs/mortal.c), STEPS (24) of them, one death
# after the other. The VM is kept: by the next one that lives, with the same QEMU, and its
# guest writes on. But when another has had a disk or all of the VM in one of these
# moments, it is refused, also when the next one dies.
#
# With FULL=1 it dies at them in the other order and at 100 moments at random, too, and
# others come behind every step.

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
printf "%s\n" "accel = tcg" "vmx = $BIN/vmx" >"$T/conf"
for h in a b; do
	at_exit harm_kill_host $h
done
start() { host a "$lun" -c "$T/conf"; }
kill_host() {
	local pid
	pid=$(pid_of a)
	kill -9 "$pid" 2>/dev/null
	wait_for 20 is_gone "$pid"
}
is_gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:	Z' "/proc/$1/status"; }

# To N: one that is killed before its N-th step, or stopped; $T/steps: what it did.
goes_to() {
	: >"$T/steps"
	DIES_AT=$1 DIES_LOG=$T/steps timeout -k 5 150 "$mortal" -d "$T/a" --host-name a \
		--device "$lun" -c "$T/conf" >"$T/said" 2>&1
}
stops_at() { # N
	STOPS=1 goes_to "$1" &
	wait_for 60 grep -q "^dies" "$T/steps"
}
dies_at() { # N
	goes_to "$1"
	wait_for 60 grep -q "^dies" "$T/steps" && wait_for 20 is_gone "$(pid_of a)" ||
		{ tail -n 1 "$T/steps" "$T/said"; false; }
}
each_dies() { # N...
	local n
	for n; do
		dies_at "$n" || return 1
		kill -0 "$qemu" 2>/dev/null || {
			echo "no QEMU is left behind step $n: $(cat "$T/steps")"
			return 1
		}
	done
}
survives() { # NAME N...
	local before
	ok "$1: $(($# - 1)) deaths in a row" each_dies "${@:2}"
	ok "one that lives" start
	ok "takes it back" wait_for 30 is_state a 1 "Powered on"
	ok "its QEMU is the same" kill -0 "$qemu"
	before=$(lines "$file")
	ok "and the guest writes on" wait_for 60 writes_on "$file" "$before"
	is "$(grep -c "^UP " "$file")" "$booted" "it has not booted anew"
	is "$(grep -c FAILED "$file")" 0 "nor seen an error"
	kill_host
}
runs() { # it is powered on, anew
	ok "$1" vim a vmsvc/power.on 1
	file=$(console a 1)
	ok "the guest writes" wait_for 60 eval '[ -n "$(said BEAT "$file")" ]'
	booted=$(grep -c "^UP " "$file")
	qemu=$(sed -n 's/.*QEMU is process //p' "$T/a/vms/1/vmware.log" | tail -n 1)
}

# ---- it is kept ----
cat >"$T/vm1.vmx" <<'END'
displayName = "vm1"
memSize = "16"
serial0.present = "TRUE"
serial0.fileType = "file"
serial0.fileName = "serial0.txt"
sata0.present = "TRUE"
sata0:0.present = "TRUE"
sata0:0.fileName = "one.vmdk"
sata0:1.present = "TRUE"
sata0:1.fileName = "two.vmdk"
END
truncate -s 1G "$lun"
ok "a volume with a VM of two disks" eval 'mkfs.vmfs -q -L vms "$lun" &&
	vmkfstools -i "$T/guest.raw" -d thin "$lun:/vm1/one.vmdk" &&
	vmkfstools -c 1m -d thin "$lun:/vm1/two.vmdk" &&
	vmkfstools --put "$T/vm1.vmx" "$lun:/vm1/vm1.vmx"'
ok "a host" start
is "$(register a vm1)" 1 "has it"
runs "it runs"
kill_host

steps=${STEPS:-24}
# What one does that is not killed on the way.
dies_at 60
cp "$T/steps" "$T/steps.all"
diag "$(head -n $((steps + 6)) "$T/steps")"
survives "all steps" $(seq 1 "$steps")
[ -z "${FULL:-}" ] ||
	survives "all steps, the last ones first" $(seq "$steps" -1 1)
[ -z "${FULL:-}" ] ||
	survives "at random" $(for ((i = 0; i < 100; i++)); do
		echo $((RANDOM % steps + 1)); done)

# ---- another has had one of its files ----
zeroes() { vmkfstools -w "$lun:/vm1/two.vmdk"; }
runs_there() { # the whole of it, on another host, which dies with it
	host b "$lun" -c "$T/conf" || return
	[ -n "$(number_on b)" ] || register b vm1
	vim b vmsvc/power.on "$(number_on b)" && harm_kill_host b && wait_for 20 gone b
}
is_refused() { # NAME
	ok "$1: it is not taken back" wait_for 10 is_gone "$qemu"
	ok "it is off" wait_for 20 is_state a 1 "Powered off"
	ok "which is said" log_says a "somebody else had it while no vmkernel|exclusive"
	: >"$T/a/vmkernel.log"
	runs "it is powered on anew"
}
refused() { # NAME COMMAND N...: what another does behind a death at N
	local n
	for n in "${@:3}"; do
		kill_host
		ok "one dies at $n" dies_at "$n"
		ok "$1" "$2"
		dies_at 1 # and the next, at the latest when it has refused
		ok "the host is back" start
		is_refused "$1 behind step $n"
	done
}

ok "it is back" start
ok "and has the VM" wait_for 30 is_state a 1 "Powered on"
some=$(seq 1 $([ -n "${FULL:-}" ] && echo 1 || echo 4) 18)
# shellcheck disable=SC2086
refused "a disk is zeroed by others" zeroes $some
refused "another host runs it, and dies" runs_there 2 8

# Between the look and the taking: one that stands still there, and goes on.
noted=$(sed -n 's/^\([0-9]*\) unlink 1.locks.next$/\1/p' "$T/steps.all" | head -n 1)
kill_host
ok "one has noted what it will take" stops_at "$noted"
ok "another takes a disk before it does" zeroes
kill -CONT "$(pid_of a)"
is_refused "as soon as it has taken it"

ok "it is powered off" vim a vmsvc/power.off 1
ok "the host ends" host_ends a
whole "$lun" "the volume"
