#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfsctl and vmkfstools -B against real targets: LIO in a guest, with COMPARE AND WRITE
# and persistent reservations, and tgtd, which has neither. Part of make check-full.
. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes minutes: make check-full"
need vmfsctl mkfs.vmfs vmkfstools vdisk-nbd fsck.vmfs
rig=$ROOT/tests/rigs
take_ports

at_exit "$rig/lio.sh" down "$T" "$port"
truncate -s 1G "$T/lio"
url=$("$rig/lio.sh" up "$T" "$port" "$T/lio" 2>"$T/why")
[ $? != 77 ] || skip_all "$(cat "$T/why")"
ok "a volume on LIO" mkfs.vmfs -q -L lio "$url"

run vmfsctl atstest "$url"
is "$rc" 0 "LIO: atstest passes"
like "$out" ": COMPARE AND WRITE by 4 sessions: 800 increments .* shows 800, .* 0 lost$" \
	"no increment is lost"
run vmfsctl fencetest "$url"
is "$rc" 0 "LIO: fencetest finds it fit"
like "$out" "keys: registered, reserved with type 7" "it has type 7"
like "$out" "write refused: session without a key: E" "a stranger is refused"
like "$out" "write refused: fenced session: E" "and who was fenced"
like "$out" "preempt: done after .* in flight: " "the barrier of the preemption was tried"
like "$out" "reinstatement: done after .* in flight: nothing appeared" \
	"and reinstatement is one"

# ---- a host dies, and nobody asks for what it held ----

ok "a disk is made" vmkfstools -c 20m "$url:/vm/d.vmdk"
vdisk-nbd "$url:/vm/d.vmdk" --socket "$T/nbd" >"$T/vmkernel" 2>&1 &
user=$!
at_exit kill -9 $user
ok "a host uses it" wait_for 20 test -S "$T/nbd"
run vmfsctl keys "$url"
like "$out" "^564d[0-9a-f]{12} slot [0-9]+, generation .* iqn.*, holds .*type 7" \
	"its sessions are listed with its key"
refused "its keys are not released" "1 hosts have a slot: without the reservation" \
	vmfsctl release-reservation "$url"
run vmkfstools -D "$url:/vm/d.vmdk"
like "$out" "^held exclusively by host .*: alive, heartbeat [0-9.]+ s ago$" \
	"-D has seen its heartbeat move"
run vmkfstools -B -y "$url"
is "$rc" 1 "-B breaks no living host"
like "$out" "alive, its heartbeat moved .* ago: not broken$" "and says why"
kill -9 $user
wait $user 2>/dev/null
run vmkfstools -D "$url:/vm/d.vmdk"
like "$out" "^held exclusively by host .*: silent, no heartbeat in [0-9.]+ s; " \
	"-D: a killed one is silent"
start=$SECONDS
run vmkfstools -B -y "$url"
is "$rc" 0 "-B breaks the dead one"
like "$out" "dead, its heartbeat did not move for [0-9.]+ s: its locks are broken$" \
	"after it has watched it ($((SECONDS - start)) s)"
ok "for as long as that takes" test $((SECONDS - start)) -ge 12
run vmfsctl release-reservation "$url"
like "$out" "released$" "then the keys can go"
"$rig/lio.sh" down "$T" "$port"
ok "the volume is clean" fsck.vmfs -n "$T/lio"

# ---- tgtd ----

at_exit "$rig/tgt.sh" down "$T" "$port"
truncate -s 1G "$T/tgt"
url=$("$rig/tgt.sh" up "$T" "$port" "$T/tgt" 2>"$T/why")
if [ $? = 77 ]; then
	skip 4 "$(cat "$T/why")"
	exit 0
fi
url=${url##*$'\n'}
ok "a volume on tgtd" mkfs.vmfs -q -L tgt "$url"
run vmfsctl atstest -c 50 "$url"
like "$out" ": RESERVE, read, write, RELEASE by 4 sessions: 200 increments .* 0 lost$" \
	"tgtd: by RESERVE brackets"
is "$rc" 0 "none is lost"
ok "the volume is clean" fsck.vmfs -n "$url"
