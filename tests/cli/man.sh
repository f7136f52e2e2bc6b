#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Each program has a manual page with the sections that a reader looks for, and refuses an
# unknown option in so many lines that one still sees why.

. "$(dirname "$0")/../lib/tap.sh"

programs=$(cd "$BIN" 2>/dev/null && ls)
[ -n "$programs" ] || skip_all "no programs in $BIN"
for p in $programs; do
	page=$(ls "$ROOT"/docs/man/"$p".[1-8] 2>/dev/null)
	ok "$p has a manual page" test -n "$page"
	[ -n "$page" ] || continue
	for section in NAME SYNOPSIS DESCRIPTION "EXIT STATUS" "SEE ALSO"; do
		[ "$p" != vmx ] || [ "$section" = NAME ] || continue # not for use by hand
		ok "$p($section)" grep -q "^\.SH \"\?$section\"\?$" "$page"
	done
	run timeout 60 "$BIN/$p" --no-such-option </dev/null
	ok "$p refuses an unknown option (exit $rc)" test "$rc" -gt 0 -a "$rc" -lt 124
	ok "$p says why in at most 25 lines" test -n "$out" -a "$(wc -l <<<"$out")" -le 25
done
