#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two members on the Linux kernel's target in a QEMU guest, with reservation keys: one is
# killed, one is stopped while a write of it lies at the target, where it takes 25 s. The
# same on a volume of two extents, and with LUN resets as the barrier.
# tests/unit/fence_live.c says what is shown; the take-over times are printed.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes seven minutes (FULL=1)"
. "$ROOT/tests/lib/fence.sh"
take_ports

fence_volume
LIO_SLOW=$sector:2048:25000 fence_up lio "$port"
export FENCE_DELAY_S=25
story kill "a killed host is taken over"
story kill "with the fast profile" FENCE_FAST=1
story stop "a stopped host is fenced; what the target had accepted lands before"

# A volume whose hosts have all gone, and left their keys, can be made anew.
run mkfs.vmfs -q -f -L again "$url"
is "$rc" 0 "mkfs ends the reservation of hosts that are gone"
fence_down lio "$port"

# The same without reservations: nothing but time fences. The volume that was made on the
# target would be a copy in a file (LOCKING.md 5.3), so there is another.
rm -f "$T/disk"
fence_volume
LIO_PR=0 fence_up lio "$port"
story kill "without reservations a killed host is taken over"
like "$(cat "$T/said")" "COMPARE AND WRITE, fenced by time" "and it is said how"
fence_down lio "$port"

# Two portals: hosts that reach the target through different ones are of one cluster.
LIO_PORTALS=2 fence_up lio "$port"
other=${url/:$port/:$((port + 1))}
story kill "a host on another portal is taken over" FENCE_URL2="$other"
story stop "and fenced" FENCE_URL2="$other" FENCE_DELAY_S=1
fence_down lio "$port"

# Two extents: who is fenced is fenced on both, reinstated or reset.
rm -f "$T/disk"
fence_volume "$T/disk2"
LIO_SLOW=$sector:2048:25000 fence_up lio "$port" "$T/disk2"
url=$url,${url%/0}/1
story kill "a killed host is taken over on two extents"
story stop "a stopped one is"
story kill "and by resets, where no session can be named" FENCE_RESET=1
story stop "a write that the target had accepted ends at the reset" FENCE_RESET=1
fence_down lio "$port"
ok "the volume is sound" fsck.vmfs -n "$T/disk" "$T/disk2"
