#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host loses its LUN under a running VM. For some seconds, or for longer while nobody
# else wants the VM: it waits and goes on. If another host takes the VM over meanwhile,
# the first finds that when the LUN is back, and stops its own; nothing that the guest was
# told is stable is lost. The LUN of host A goes through a relay, so that it can fail for
# A alone.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmkernel vim-cmd qemu-system-x86_64 tgtd tgtadm perl

take_ports
TARGET=$port RELAY=$((port + 1))
relay() { "$ROOT/tests/rigs/relay.sh" "$1" "$T" $RELAY "${@:2}"; }

make_guest
truncate -s 1G "$T/lun"
tgt up $TARGET "$T/lun"
ok "a volume with a VM" eval 'mkfs.vmfs -q -L vms "$URL" && install_vm "$URL" vm1'
at_exit relay down
ok "a relay for host A" relay up $TARGET
ok "host A starts" host A "${URL/:$TARGET/:$RELAY}"
ok "host B starts" host B "$URL"
a=$(register A vm1) b=$(register B vm1)
ok "A runs the VM" vim A vmsvc/power.on "$a"
ok "the guest counts" wait_for 60 counted A "$a" 3

# ---- short: it is ridden through ----

relay hang
sleep 7
shown=$(told A "$a" COUNT)
relay thaw
ok "7 s without an answer: the guest goes on" goes_on A "$a" 20
relay down
sleep 3
ok "(the relay is back)" relay up $TARGET
ok "3 s without a target: the guest goes on" goes_on A "$a" 20
ok "(it had come to $shown)" test "$(told A "$a" COUNT)" -gt "$shown"
ok "the VM is on" is_state A "$a" "Powered on"
unlike "$(cat "$(console A "$a")")" "GUEST-FAILED|I/O error" "the guest saw no error"
unlike "$(cat "$T/A/vmkernel.log")" "lost by this host|I/O error" "nor did the host"

# ---- long, and nobody wants it: the lease is reclaimed ----

relay hang
sleep 20
ok "A says that I/O waits" log_says A 'lost access to it: .* I/O waits until it is back$'
shown=$(told A "$a" COUNT)
relay thaw
ok "20 s without an answer: the guest goes on" goes_on A "$a" 20
ok "and so does A" log_says A 'access is back after [0-9]+ s; I/O goes on$'
unlike "$(cat "$(console A "$a")")" "GUEST-FAILED|I/O error" "the guest saw no error"
unlike "$(cat "$T/A/vmkernel.log")" "lost by this host|I/O error" "nor did the host"

# ---- long: another host takes the VM ----

relay hang
start=$SECONDS
vim B vmsvc/power.on "$b" >"$T/on" 2>&1 &
on=$!
sleep 5
shown=$(told A "$a" COUNT)
wait $on
rc=$?
took=$((SECONDS - start))
# A's slot stands still for 24 s at least before anybody takes what is his.
if [ $rc = 0 ]; then
	pass "B gets the VM"
	ok "not before A's dead time is over ($took s)" test $took -ge 20
else
	ok "B, refused while A was alive, asks again" vim B vmsvc/power.on "$b"
	ok "and has waited ($((SECONDS - start)) s)" test $((SECONDS - start)) -ge 20
fi
ok "the guest counts on B" wait_for 60 counted B "$b" $((shown + 1))
last=$(told B "$b" LAST)
ok "from at least the last that A showed ($shown, found $last)" test "$last" -ge "$shown"

# ---- the LUN is back ----

attached_again() { [ "$(grep -c "datastore vms .* attached" "$T/A/vmkernel.log")" = 2 ]; }
ok "A's guest has waited: it shows nothing more" test "$(told A "$a" COUNT)" = "$shown"
relay thaw
ok "A finds that it has lost the VM, and ends its QEMU" wait_for 20 has_no_qemu A
lines=$(grep -E 'lease on datastore vms was lost: its VMs are stopped' \
	"$T/A/vmkernel.log" | wc -l)
is "$lines" 1 "A's log says so in one line"
ok "A knows that it is off" wait_for 10 is_state A "$a" "Powered off"
ok "A attaches it again" wait_for 60 attached_again
run vim A vmsvc/power.on "$a"
is "$rc" 1 "and is a host like any other: B has the VM"
like "$out" "held by host B \(" "and it is told so"
ok "which never stopped counting there" goes_on B "$b" 20
kill -TERM "$(pid_of A)" "$(pid_of B)"
ok "A ends" wait_for 30 gone A
ok "B ends" wait_for 30 gone B
tgt down $TARGET
whole "$T/lun" "after it all"
