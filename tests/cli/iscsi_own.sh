#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The scripted target (tests/target): is it right as long as nobody tells it to be wrong?
# Our own initiator says so, and, where Debian's libiscsi-bin is installed, another: its
# test suites (FULL=1: all; three of their cases want what is not wanted); and QEMU's.

. "$(dirname "$0")/../lib/tap.sh"
kind=own
take_ports
. "$ROOT/tests/lib/live.sh"
reserve=${BIN%/bin}/tests/unit/iscsi_reserve

if [ -n "${FULL:-}" ]; then
	live "our initiator works with it"
	live "R2T for all, small pieces, one command at a time" OWN_OPTIONS="-w 1 \
		-k InitialR2T=Yes -k ImmediateData=No -k MaxRecvDataSegmentLength=512 \
		-k MaxBurstLength=4096 -k FirstBurstLength=512 -k MaxOutstandingR2T=1"
	live "a LUN of 4096-byte blocks" OWN_BLOCK_SIZE=4096
fi
live "a target that proves itself, with digests" OWN_CHAP=alice%alicesecret12 \
	OWN_MUTUAL=disk%disksecret1234 OWN_DIGESTS=1 ISCSI_KIND=mutual

mkdir "$T/state"
export OWN_STATE=$T/state
live_up "it is up" || exit 1
if [ -n "${FULL:-}" ]; then
	ok "its reservations fence" env ISCSI_URL="$url" "$reserve"
fi

# Suites of libiscsi 1.19 (each in a process of its own: a skipped case spoils the next).
suites="SCSI.CompareAndWrite SCSI.Inquiry SCSI.PrinReadKeys SCSI.ProutPreempt
	SCSI.ReadCapacity16 SCSI.Unmap SCSI.WriteSame16 iSCSI.iSCSIResiduals
	iSCSI.iSCSITMF"
# What they get wrong: WRITE SAME (10) with UNMAP of data that are not zeros need not make
# zeros; a copy beyond the end has a sense code of its own; a wrong DataSN may end the
# session.
spoiled="SCSI.WriteSame10.UnmapUntilEnd SCSI.ExtendedCopy.ValidSegDescr
	iSCSI.iSCSIdatasn.iSCSIDataSnInvalid"

suite() { # NAME
	local log=$T/$1.log failed
	timeout 120 iscsi-test-cu -d -t "$1" "$url" >"$log" 2>&1
	if ! grep -q 'asserts' "$log"; then
		fail "libiscsi: $1 ends"
		diag "$(tail -n 5 "$log")"
		return
	fi
	failed=$(awk '/^ *Test: /{ name = $2 } /FAILED *$/ { print name }' "$log" |
		while read -r name; do
			[[ $spoiled == *"$1.$name"* ]] || echo "$name"
		done)
	is "$failed" "" "libiscsi: $1"
}

if command -v iscsi-test-cu >/dev/null; then
	[ -z "${FULL:-}" ] || suites=$(iscsi-test-cu -l 2>/dev/null |
		grep -E '^(SCSI|iSCSI)\.[A-Za-z0-9]+$' | sort -u)
	for name in $suites; do suite "$name"; done
	like "$(iscsi-ls "iscsi://127.0.0.1:$port")" \
		"Target:iqn.* Portal:127.0.0.1:$port,1" "libiscsi finds the target"
else
	skip 1 "package libiscsi-bin is not installed"
fi
"$rig" do "$T" "$port" stats-reset # some of the suites break it on purpose
# QEMU's own driver over libiscsi (package qemu-block-extra).
out=$(qemu-io -f raw -c "write -P 0xab 1M 3M" -c "read -P 0xab 1M 3M" \
	-c "discard 1M 1M" -c "read -P 0 1M 1M" -c "write -z 2M 1M" -c "read -P 0 2M 1M" \
	-c "read -P 0xab 3M 1M" -c flush "$url" 2>&1)
case $out in
*"Unknown protocol"* | *"not found"*) skip 1 "no qemu-io with an iSCSI driver" ;;
*) is "$(grep -c "^read .* bytes at offset" <<<"$out") $(grep -c failed <<<"$out")" \
	"4 0" "QEMU reads what it wrote, and zeros where it unmapped and zeroed" ;;
esac
like "$("$rig" do "$T" "$port" stat violations)" '^0$' "nothing broke the protocol"
"$rig" down "$T" "$port"
ok "the rig leaves nothing behind" [ ! -e "$T/own-$port" ]
