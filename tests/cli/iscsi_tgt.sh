#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The initiator against Debian's tgt: with good and with tgtd's own parameters (R2T for
# all, pieces of 8 KiB), and on 4096-byte blocks. tests/unit/iscsi_live.c says what is
# shown.

. "$(dirname "$0")/../lib/tap.sh"
kind=tgt
take_ports
. "$ROOT/tests/lib/live.sh"

live "a tuned target" TGT_TUNED=1
live "a target with its own defaults" TGT_TUNED=0
live "a LUN of 4096-byte blocks" TGT_BLOCK_SIZE=4096
live "a target that demands CHAP" \
	TGT_CHAP=alice%alicesecret12 ISCSI_KIND=chap
live "a target that proves itself, with digests" TGT_CHAP=alice%alicesecret12 \
	TGT_MUTUAL=disk%disksecret1234 TGT_DIGESTS=1 ISCSI_KIND=mutual

# What it does by itself; a LUN of more than one UNMAP may take back.
truncate -s 6G "$T/big"
url=$("$rig" up "$T" "$port" "$T/big" 2>"$T/why")
ok "it zeroes and takes back by itself" env ISCSI_KIND=tgt ISCSI_URL="$url" \
	"${BIN%/bin}/tests/unit/iscsi_offload"
[ -z "${FULL:-}" ] || ok "its reservations of every type let through whom they say" \
	env ISCSI_URL="$url" "${BIN%/bin}/tests/unit/iscsi_prtypes"
"$rig" down "$T" "$port"
ok "the rig leaves nothing behind" [ ! -e "$T/tgt-$port" ]
