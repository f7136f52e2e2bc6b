#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Linux guest counts, with a number in its memory and each number on its disk. It goes
# back to snapshots with its memory, and counts on from there without a boot. Whatever
# moment vmkernel dies at while the VM is being suspended, it runs on, or is suspended.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "a guest boots, and vmkernel is killed (FULL=1)"
. "$ROOT/tests/lib/sleeper.sh"

before=$(shown)
ok "a snapshot with its memory" vim vmsvc/snapshot.create 1 first "" 1
first=$(shown)
ok "the memory is beside it" has vm1-Snapshot1.vmsn
like "$(vim vmsvc/snapshot.get 1)" "State *: powered on" "the list says so"
ok "it runs on" wait_for 60 has_passed $((first + 2))
ok "another" vim vmsvc/snapshot.create 1 second "" 1
ok "and on" wait_for 60 has_passed $((first + 5))
ok "it goes back while it runs" vim vmsvc/snapshot.revert 1 1
empty
is "$(state)" "Powered on" "and runs"
ok "it counts on from there" wait_for 60 has_passed "$first"
is "$(grep -c "GUEST" "$(console)")" 0 "without a boot"
ok "within what it had counted" test "$(shown)" -lt $((first + 60))
ok "it is off" vim vmsvc/power.off 1
ok "back, and not on" vim vmsvc/snapshot.revert 1 1 1
is "$(state)" Suspended "it waits there"
empty
ok "it is powered on" vim vmsvc/power.on 1
ok "it goes on from the snapshot" wait_for 60 has_passed "$before"
next=$(tr -d '\r' <"$(console)" | sed -n 's/^COUNT //p' | head -n 1)
ok "at $next, with the number after $before to $first" \
	test "$next" -gt "$before" -a "$next" -le $((first + 1))
ok "the memory of the snapshot stays" has vm1-Snapshot1.vmsn
ok "vmkernel is killed" kill -9 "$(cat "$T/a/vmkernel.pid")"
ok "another takes its place" host a
ok "and the VM back" wait_for 60 is_state "Powered on"
ok "which counts" wait_for 120 has_passed $((first + 3))
ok "all snapshots go" vim vmsvc/snapshot.removeall 1
ok "and their memory" eval '! has vmsn'
ok "it counts" wait_for 60 has_passed $(($(shown) + 1))
is "$(grep -c "GUEST" "$(console)")" 0 "all the while"

# ---- vmkernel dies in the middle ----
for seconds in 0.1 0.4 0.8 1.2 2; do
	at=$(shown)
	vim vmsvc/power.suspend 1 >/dev/null 2>&1 &
	sleep $seconds
	ok "vmkernel is killed while it suspends" kill -9 "$(cat "$T/a/vmkernel.pid")"
	wait $!
	ok "another takes its place" host a
	ok "the VM runs or is suspended" wait_for 60 \
		eval 'is_state "Powered on" || is_state Suspended'
	diag "after $seconds s: $(state)"
	is_state "Powered on" || ok "it is resumed" vim vmsvc/power.on 1
	ok "it counts on" wait_for 120 has_passed "$((at + 1))"
done
is "$(grep -c "GUEST" "$(console)")" 0 "it has never booted"
ok "it is powered off" vim vmsvc/power.off 1

# ---- what is refused ----
key | sed '/^scsi0:0.mode/d; $a scsi0:0.mode = "independent-persistent"' >"$T/own.vmx"
vmkfstools --rm "$T/lun:/vm1/vm1.vmx"
vmkfstools --put "$T/own.vmx" "$T/lun:/vm1/vm1.vmx"
ok "its disk is in no snapshot" vim vmsvc/power.on 1
refused "so its memory is not, either" "independent disk" \
	vim vmsvc/snapshot.create 1 third "" 1
ok "it is powered off" vim vmsvc/power.off 1
ends a
exit 0
