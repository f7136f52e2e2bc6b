#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fsck.vmfs tells how far it is: lines for a program, a bar on a terminal, and neither
# where nobody asked.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs script

truncate -s 8G "$T/ds"
mkfs.vmfs -q "$T/ds"

run fsck.vmfs -n -C 5 "$T/ds" 5>"$T/lines"
is "$rc" 0 "a check with -C 5"
is "$(grep -cvE '^[0-4] [0-9]+ [0-9]+$' "$T/lines")" 0 "says pass, done, all"
is "$(cut -d ' ' -f 1 "$T/lines" | uniq | tr '\n' ' ')" "0 1 2 3 4 " \
	"of each pass, in their order"
is "$(awk '$2 > $3' "$T/lines")" "" "never more than all"

script -qec "fsck.vmfs -n -C 0 $T/ds" /dev/null >"$T/bar" </dev/null
is "$?" 0 "a check with -C 0 on a terminal"
like "$(tr '\r' '\n' <"$T/bar")" 'pass 0 of 4 \| +\|' "shows a bar"
like "$(tr '\r' '\n' <"$T/bar" | tail -n 2)" ': clean' "and takes it away in the end"

fsck.vmfs -n "$T/ds" >"$T/out" 2>"$T/err"
is "$(wc -l <"$T/out") $(wc -c <"$T/err")" "1 0" "a program sees no bar"
run fsck.vmfs -n -C 5 "$T/ds" 5>&-
is "$rc" 0 "who tells nobody goes on"
run fsck.vmfs -n -C x "$T/ds"
is "$rc" 16 "and a descriptor is a number"
