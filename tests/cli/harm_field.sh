#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The tests in tests/harm, side by side, as subtests: they wait for dead hosts most of
# their time. Each may be run alone; those with FULL=1 boot a dozen guests more.

. "$(dirname "$0")/../lib/tap.sh"
tests="import stopped${FULL:+ outage host}"

start=$SECONDS
for t in $tests; do
	TMPDIR=$T "$ROOT/tests/harm/$t.sh" >"$T/$t.tap" 2>&1 &
	eval "pid_$t=$!"
	at_exit kill $!
done
for t in $tests; do
	pid=pid_$t
	wait "${!pid}"
	rc=$?
	diag "$t: $((SECONDS - start)) s"
	sed 's/^/    /' "$T/$t.tap"
	if [ $rc = 0 ] && grep -q "^1\.\.0 # SKIP" "$T/$t.tap"; then
		skip 1 "$t: $(sed -n 's/^1\.\.0 # SKIP //p' "$T/$t.tap")"
	elif ! is $rc 0 "$t"; then
		diag "$(grep -A5 -v '^ok ' "$T/$t.tap" | grep -v '^ok ')"
	fi
done
