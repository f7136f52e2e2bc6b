#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Hosts with HA that are killed, stopped, cut off and isolated at random under VMs that
# append checksummed records (tests/storm/chaos.sh): no record is lost, no VM runs twice,
# all are up at the end. CHAOS_SECONDS (300), CHAOS_SEED.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "real hosts that go wrong in real time (FULL=1)"
need_root

chmod 755 "$T" # each VM's user runs a QEMU of the folder's own
"$ROOT/tests/storm/chaos.sh" "$T/chaos" >"$T/said" 2>&1
rc=$?
[ $rc != 77 ] || skip_all "$(tail -n 1 "$T/said")"
diag "$(cat "$T/said")"
[ $rc = 0 ] || {
	diag "$(tail -n 40 "$T/chaos/events")"
	diag "$(tail -n 5 "$T"/chaos/?/vmkernel.log)"
}
is $rc 0 "nothing that was told is lost, no VM ran twice, all are up"
