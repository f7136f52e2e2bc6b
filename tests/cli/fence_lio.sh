#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two members on the Linux kernel's target in a QEMU guest, with reservation keys: one is
# killed, one is stopped while a write of it lies at the target, where it takes 25 s.
# tests/unit/fence_live.c says what is shown; the take-over times are printed.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes two minutes (FULL=1)"
live=${BIN%/bin}/tests/unit/fence_live
rig=$ROOT/tests/rigs/lio.sh
port=$((13390 + $$ % 40))
[ -x "$live" ] || skip_all "$live is not built"

at_exit "$rig" down "$T" "$port"
truncate -s 4G "$T/disk"
run mkfs.vmfs -q -L fence "$T/disk"
is "$rc" 0 "a volume is made"
sector=$(FENCE_IMAGE=$T/disk "$live")
url=$(LIO_SLOW=$sector:2048:25000 "$rig" up "$T" "$port" "$T/disk" 2>"$T/why")
case $? in
0) pass "the target is up" ;;
77) skip_all "$(cat "$T/why")" ;;
*) fail "the target is up"; diag "$(cat "$T/why")"; exit 1 ;;
esac

story() { # CASE NAME [VARIABLE=VALUE...]: and what it measured
	FENCE_CASE=$1 FENCE_URL=$url FENCE_DELAY_S=25 \
		timeout 180 env "${@:3}" "$live" >"$T/said" 2>&1
	is $? 0 "$2"
	diag "$(grep -v '^1\.\.\|^ok\|^# ok' "$T/said" | sed 's/^# //')"
}

story kill "a killed host is taken over"
story kill "with the fast profile" FENCE_FAST=1
story stop "a stopped host is fenced; what the target had accepted lands before"

# A volume whose hosts have all gone, and left their keys, can be made anew.
run mkfs.vmfs -q -f -L again "$url"
is "$rc" 0 "mkfs ends the reservation of hosts that are gone"
"$rig" down "$T" "$port"
ok "the rig leaves nothing behind" [ ! -e "$T/lio-$port" ]
