#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Four hosts at work on one file image, killed and stopped at random: nothing is lost,
# nobody is in twice, fsck.vmfs finds nothing. tests/storm/storm_host.c says what each
# host must find when it gets a lock, tests/storm/storm_check.pl what the history must be.
. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs perl

plan 1
seconds=60
[ -z "${FULL:-}" ] || seconds=300
STORM_SECONDS=${STORM_SECONDS:-$seconds} "$ROOT/tests/storm/storm.sh" file "$T/storm" \
	>"$T/told"
rc=$?
diag "$(cat "$T/told")"
[ $rc != 77 ] || skip_all "$(tail -n 1 "$T/told")"
# What a storm that failed has left is kept.
[ $rc = 0 ] || cp -r --sparse=always "$T/storm" "${TMPDIR:-/tmp}/storm.failed.$$"
is $rc 0 "a storm of ${STORM_SECONDS:-$seconds} s breaks no rule"
