#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two members on Debian's tgt, which has neither COMPARE AND WRITE nor keys that last:
# RESERVE(6) brackets and timed mode. tests/unit/fence_live.c says what is shown; the
# take-over time is printed.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes a minute (FULL=1)"
live=${BIN%/bin}/tests/unit/fence_live
rig=$ROOT/tests/rigs/tgt.sh
port=$((13430 + $$ % 40))
[ -x "$live" ] || skip_all "$live is not built"

at_exit "$rig" down "$T" "$port"
truncate -s 4G "$T/disk"
run mkfs.vmfs -q -L fence "$T/disk"
is "$rc" 0 "a volume is made"
FENCE_IMAGE=$T/disk "$live" >/dev/null
url=$("$rig" up "$T" "$port" "$T/disk" 2>"$T/why")
case $? in
0) pass "the target is up" ;;
77) skip_all "$(cat "$T/why")" ;;
*) fail "the target is up"; diag "$(cat "$T/why")"; exit 1 ;;
esac

FENCE_CASE=kill FENCE_URL=$url timeout 180 "$live" >"$T/said" 2>&1
is $? 0 "a killed host is taken over"
diag "$(grep -v '^1\.\.\|^ok\|^# ok' "$T/said" | sed 's/^# //')"
like "$(cat "$T/said")" "each lock reserves the whole LUN" "the price is told at mount"

"$rig" down "$T" "$port"
ok "the rig leaves nothing behind" [ ! -e "$T/tgt-$port" ]
