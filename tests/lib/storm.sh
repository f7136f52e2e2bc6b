# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# One storm as one TAP test. Source it after tap.sh.

# storm TRANSPORT SECONDS: what a storm that failed has left is kept.
storm() {
	local seconds=${STORM_SECONDS:-$2} kept=${TMPDIR:-/tmp}/storm.failed.$$
	need mkfs.vmfs fsck.vmfs perl
	STORM_SECONDS=$seconds "$ROOT/tests/storm/storm.sh" "$1" "$T/storm" >"$T/told"
	rc=$?
	[ $rc != 77 ] || skip_all "$(tail -n 1 "$T/told")"
	diag "$(cat "$T/told")"
	[ $rc = 0 ] || cp -r --sparse=always "$T/storm" "$kept"
	is $rc 0 "a storm of $seconds s breaks no rule"
}
