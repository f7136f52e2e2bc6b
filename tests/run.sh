#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh TEST [ARG...]: what prove runs each test by. cmocka 1.1 says "not ok 3 # SKIP
# name" of a test that was skipped, which prove counts as failed; TAP wants "ok 3 - name #
# SKIP". prove shows nothing of what a test says, so what failed goes to stderr too, with
# the few lines before it and the remarks behind it, and to the file $FAILED (prove.sh).
# The exit code is the test's.
#
# With ASIDE=1 what runs in virtual time has only the processor that nobody else wants:
# real hosts beside it, whose leases and guests need theirs in time, wait for nothing.
set -o pipefail
aside=
case $1 in
*/tests/sim/* | */tests/crash/*)
	# Each seed is a process with new memory: large pages save a fifth of the time.
	export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
	[ -z "${ASIDE:-}" ] || ! chrt --idle 0 true 2>/dev/null || aside="chrt --idle 0"
	;;
esac
# shellcheck disable=SC2086
$aside "$@" 2>&1 | awk -v name="$1" -v keep=8 -v show=20 '
	function tell(line) {
		print name ": " line >"/dev/stderr"
		if (ENVIRON["FAILED"]) print name ": " line >>ENVIRON["FAILED"]
	}
	/^not ok [0-9]* # SKIP / {
		sub(/^not /, "")
		sub(/ # SKIP /, " - ")
		$0 = $0 " # SKIP"
	}
	{
		print
		fflush()
	}
	/^ *not ok / && !/# SKIP/ {
		for (i = seen > keep ? seen - keep : 0; i < seen; i++)
			tell(before[i % keep])
		tell($0)
		seen = 0
		left = show
		next
	}
	/^ *ok / { seen = left = 0; next }
	left > 0 { tell($0); left--; next }
	{ before[seen++ % keep] = $0 }'
