#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmkernel is stopped (SIGSTOP) for longer than hosts wait for one another, and goes on.
# On a file nobody gets its VM, because a stopped process is no dead one. On a LUN its
# guard resets its connections and kills it, another host takes the VM over, and whoever
# starts the first one again finds that.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmkernel vim-cmd qemu-system-x86_64 tgtd tgtadm

take_ports
PORT=$port
stop_s=32 # more than T_dead, 24 s, and the 6 s of a target's residue
[ -z "${FULL:-}" ] || stop_s=60

# Or a zombie, where nobody collects what has lost its parent.
gone_pid() { ! grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" 2>/dev/null; }

make_guest
truncate -s 1G "$T/file" "$T/lun"
tgt up $PORT "$T/lun"
ok "a volume with a VM on a file" \
	eval 'mkfs.vmfs -q -L vms "$T/file" && install_vm "$T/file" vm1'
ok "and one on a LUN" eval 'mkfs.vmfs -q -L vms "$URL" && install_vm "$URL" vm1'
# F and G are hosts on the file, A and B on the LUN.
for name in F G; do ok "host $name starts" host $name "$T/file"; done
for name in A B; do ok "host $name starts" host $name "$URL"; done
for name in F G A B; do
	is "$(register $name vm1)" 1 "$name knows the VM"
done
for name in F A; do
	ok "$name runs it" vim $name vmsvc/power.on 1
	ok "its guest counts" wait_for 60 counted $name 1 3
done

pid_a=$(pid_of A)
kill -STOP "$(pid_of F)" "$pid_a"
start=$SECONDS
shown_f=$(told F 1 COUNT) shown_a=$(told A 1 COUNT)
vim G vmsvc/power.on 1 >"$T/on.G" 2>&1 &
on_g=$!
vim B vmsvc/power.on 1 >"$T/on.B" 2>&1
is "$?" 0 "LUN: B takes the VM of stopped A"
ok "not before A's dead time ($((SECONDS - start)) s)" test $((SECONDS - start)) -ge 20
ok "LUN: the guest counts on B" wait_for 60 counted B 1 $((shown_a + 2))
last=$(told B 1 LAST)
ok "from at least the last that A showed ($shown_a, found $last)" \
	test "$last" -ge "$shown_a"
ok "and A's guest shows nothing more" test "$(told A 1 COUNT)" -le $((shown_a + 1))
[ $((SECONDS - start)) -ge $stop_s ] || sleep $((stop_s - SECONDS + start))
ok "file: G has not got the VM of stopped F" is_state G 1 "Powered off"
ok "LUN: the guard has killed A" gone_pid "$pid_a"
kill -CONT "$(pid_of F)"

# ---- awake again ----

ok "file: the guest goes on" goes_on F 1 20
ok "without a gap (it had come to $shown_f)" test "$(told F 1 COUNT)" -gt "$shown_f"
wait $on_g
is "$?" 1 "file: G is refused in the end"
like "$(cat "$T/on.G")" "vm1/vm1.vmx: held by host F \(" "and told who has it"
unlike "$(cat "$T/F/vmkernel.log")" "lost" "F lost nothing"

ok "LUN: A's log says why" log_says A \
	'^guard: a lease is over and the process does not answer: killed$'
unlike "$(has_no_qemu A && echo gone)" gone "LUN: A's QEMU still lives"
ok "LUN: A is started again" host A "$URL"
ok "LUN: finds that it has lost the VM, and ends its QEMU" wait_for 20 has_no_qemu A
ok "LUN: whose log says who has it" log_says A 'vm1/vm1.vmx: held by host B \('
ok "LUN: the guest goes on on B" goes_on B 1 20
unlike "$(cat "$(console F 1)" "$(console A 1)" "$(console B 1)")" "GUEST-FAILED" \
	"no guest found its disk changed under it"

for name in F G A B; do
	kill -TERM "$(pid_of $name)"
done
for name in F G A B; do
	ok "$name ends" wait_for 30 gone $name
done
# What B's guest wrote is what is there: a gap would show at the next boot.
ok "host A starts anew" host A "$URL"
counted_b=$(told B 1 COUNT)
ok "and runs the VM" vim A vmsvc/power.on 1
ok "its guest finds a file without a gap" wait_for 60 counted A 1 $((counted_b + 1))
ok "and all that B showed" test "$(told A 1 LAST)" -ge "$counted_b"
kill -TERM "$(pid_of A)"
ok "A ends" wait_for 30 gone A
tgt down $PORT
whole "$T/file" "the file after it all"
whole "$T/lun" "the LUN after it all"
