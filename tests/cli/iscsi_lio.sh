#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The initiator against the Linux kernel's target in a QEMU guest, which has COMPARE AND
# WRITE and persistent reservations. tests/unit/iscsi_live.c, iscsi_reserve.c and
# iscsi_offload.c say what is shown.

. "$(dirname "$0")/../lib/tap.sh"
live=${BIN%/bin}/tests/unit/iscsi_live
reserve=${BIN%/bin}/tests/unit/iscsi_reserve
rig=$ROOT/tests/rigs/lio.sh
take_ports
[ -n "${FULL:-}" ] || skip_all "the demo on LIO logs in, locks and fails over (FULL=1)"
[ -x "$live" ] || skip_all "$live is not built"

at_exit "$rig" down "$T" "$port"
truncate -s 128M "$T/disk" "$T/disk2"
url=$("$rig" up "$T" "$port" "$T/disk" "$T/disk2" 2>"$T/why")
case $? in
0) pass "the target is up" ;;
77) skip_all "$(cat "$T/why")" ;;
*) fail "the target is up"; diag "$(cat "$T/why")"; exit 1 ;;
esac
ok "it zeroes and copies by itself" env ISCSI_KIND=lio ISCSI_URL="$url" \
	ISCSI_URL2="${url%/0}/1" "${BIN%/bin}/tests/unit/iscsi_offload"
ok "the initiator works with it" env ISCSI_KIND=lio ISCSI_URL="$url" \
	ISCSI_HANG="$rig hang $T $port" ISCSI_THAW="$rig thaw $T $port" \
	ISCSI_DOWN="$rig down $T $port" \
	ISCSI_UP="$rig up $T $port $T/disk $T/disk2 >/dev/null" "$live"
ok "its reservations fence" env ISCSI_URL="$url" "$reserve"
ok "its reservations of every type let through whom they say" \
	env ISCSI_URL="$url" "${BIN%/bin}/tests/unit/iscsi_prtypes"

"$rig" down "$T" "$port"
# CHAP there is SHA3-256, and digests the kernel's.
export LIO_CHAP=alice%alicesecret12 LIO_MUTUAL=disk%disksecret1234
url=$("$rig" up "$T" "$port" "$T/disk" 2>"$T/why")
is $? 0 "a target that proves itself is up"
diag "$(cat "$T/why")"
ok "it does, with digests" env ISCSI_KIND=mutual ISCSI_URL="$url" "$live"
"$rig" down "$T" "$port"
ok "the rig leaves nothing behind" [ ! -e "$T/lio-$port" ]
