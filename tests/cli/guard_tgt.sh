#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host and its guard on a LUN behind tgt, in the fast profile: one of the two is killed,
# or the host is stopped, and the other does what LOCKING.md 6.4 says. Members with
# another profile stay out.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmkernel vim-cmd tgtd tgtadm

take_ports
PORT=$port
guard_of() { pgrep -P "$1" -x guard; } # PID of vmkernel
is_dead() { [[ $(ps -o stat= -p "$1") != [A-Y]* ]]; } # PID
connections() { ss -Htn state established "( dport = :$PORT )" | wc -l; }
has_no_connections() { [ "$(connections)" = 0 ]; }

truncate -s 1G "$T/lun"
tgt up $PORT "$T/lun"
ok "a volume" mkfs.vmfs -q -L vms "$URL"
printf 'lease_profile = fast\n' >"$T/fast"

# ---- the guard dies ----

ok "host A starts" host A "$URL" -c "$T/fast"
pid=$(pid_of A) guard=$(guard_of "$pid")
ok "it has a guard" test -n "$guard"
ok "and sessions" test "$(connections)" -ge 2
kill -KILL "$guard"
ok "killed: A says so" wait_for 10 log_says A 'guard process \(pid [0-9]+\) has died'
ok "and gives the volume up" wait_for 10 log_says A \
	'lost by this host \(slot [0-9]+\): the guard process of this host has died'
kill -TERM "$pid"
ok "A ends" wait_for 30 gone A

# ---- the host dies ----

ok "host A starts again" host A "$URL" -c "$T/fast"
pid=$(pid_of A) guard=$(guard_of "$pid")
kill -KILL "$pid"
ok "A killed: its guard ends" wait_for 10 is_dead "$guard"
ok "no connection is left" wait_for 10 has_no_connections

# ---- the host is stopped ----

ok "host B starts, whose slot is another" host B "$URL" -c "$T/fast"
pid=$(pid_of B) guard=$(guard_of "$pid")
ok "B works" vmkfstools --dir "$URL:/"
kill -STOP "$pid"
start=$SECONDS
ok "stopped: B is killed" wait_for 20 is_dead "$pid"
took=$((SECONDS - start))
ok "not before its lease was over ($took s)" test $took -ge 2
ok "by its guard, which says so" log_says B \
	'^guard: a lease is over and the process does not answer: killed$'
ok "and ends" wait_for 10 is_dead "$guard"
ok "no connection is left" wait_for 10 has_no_connections

# ---- profiles ----

ok "host A starts" host A "$URL" -c "$T/fast"
run host B "$URL"
is "$rc" 1 "a host of the normal profile is refused beside it"
like "$out" "keeps a lease of 5000 ms, this host would keep 16000 ms" "and told why"
ok "vmkfstools follows the members" vmkfstools --mkdir "$URL:/made"
kill -TERM "$(pid_of A)"
ok "A ends" wait_for 30 gone A
run fsck.vmfs -n "$URL"
ok "the volume is whole ($rc)" test "$rc" -le 1
tgt down $PORT
