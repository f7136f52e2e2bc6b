#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fsck.vmfs on a LUN of a real target: it checks, repairs and undoes through iscsi:// as
# it does on a file, bit for bit, and keeps away from a volume that a host uses. On tgtd;
# with FULL=1 on LIO, too, which has COMPARE AND WRITE.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vdisk-nbd
FREE_COUNT=$((0x1710000 + 0x208)) # FBB cluster 0
SLOT_STATE=$((0x1400000 + 5 * 512))
lun=$T/lun bad=$T/bad undo=$T/undo

# poke OFFSET BYTES: printf's escapes at a byte of the LUN, whose target is down.
poke() {
	printf "$2" | dd of="$lun" bs=1 seek=$(($1)) conv=notrunc status=none
}

up() { # the target, in $url; skips the script where it cannot be
	url=$("$rig" up "$T" "$port" "$lun" 2>"$T/why")
	[ $? != 77 ] || skip_all "$(cat "$T/why")"
}

down() {
	"$rig" down "$T" "$port"
}

repair() { # NAME: wrecks the volume, repairs it, undoes that, repairs it again
	poke $FREE_COUNT '\x07'
	poke $SLOT_STATE '\x09'
	cp --sparse=always "$lun" "$bad"
	up
	run fsck.vmfs -n "$url"
	is "$rc:$(grep -cE '^[A-Z_]+: ' <<<"$out")" 4:2 "$1: both wrecks are found"
	run fsck.vmfs -y -z "$undo" "$url"
	is "$rc" 1 "$1: -y repairs them"
	run fsck.vmfs -n "$url"
	is "$rc" 0 "$1: then it is clean"
	run fsck.vmfs --undo "$undo" "$url"
	is "$rc" 0 "$1: --undo"
	down
	ok "$1: puts it back, bit for bit" cmp "$lun" "$bad"
	up
	run fsck.vmfs -p -z "$undo.p" "$url"
	is "$rc" 5 "$1: -p repairs the count alone"
	run fsck.vmfs -y -z "$undo.y" "$url"
	is "$rc" 1 "$1: -y the rest"
	rm -f "$undo"*
}

used() { # NAME: a host has the repaired volume
	run vmkfstools -c 1m "$url:/disk.vmdk"
	is "$rc" 0 "$1: hosts use it again"
	vdisk-nbd "$url:/disk.vmdk" --socket "$T/nbd" >"$T/vmkernel" 2>&1 &
	local host=$!
	at_exit kill -9 $host
	ok "$1: one is there" wait_for 30 test -S "$T/nbd"
	run fsck.vmfs -y -z "$undo" "$url"
	is "$rc" 8 "$1: nothing is repaired beside it"
	like "$out" "refusing" "$1: it says so"
	run fsck.vmfs -n --online "$url"
	is "$rc" 0 "$1: --online may look"
	kill $host
	wait $host 2>/dev/null
	run fsck.vmfs -n "$url"
	is "$rc" 0 "$1: it is clean"
	rm -f "$T/nbd" "$undo"
}

on() { # KIND
	rig=$ROOT/tests/rigs/$1.sh
	at_exit "$rig" down "$T" "$port"
	rm -f "$lun"
	truncate -s 1G "$lun"
	mkfs.vmfs -q -L one "$lun"
	repair "$1"
	used "$1"
	down
}

take_ports
on tgt
[ -z "${FULL:-}" ] || on lio
