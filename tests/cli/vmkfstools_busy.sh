#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A disk that somebody uses: refused as long as he lives, taken over when he is dead. The
# user is a vdisk-nbd that serves the disk.
. "$(dirname "$0")/../lib/tap.sh"
need vmkfstools mkfs.vmfs vdisk-nbd fsck.vmfs qemu-io

LUN=$T/lun SOCKET=$T/nbd.sock
URL="nbd+unix:///?socket=$SOCKET"
HELD='vm/d.vmdk: held by host [^ ]+ \([0-9a-f-]{35}\), .*, heartbeat [0-9.]+ s ago$'
truncate -s 1G "$LUN"
mkfs.vmfs -L busy "$LUN" >/dev/null || { echo "Bail out! mkfs.vmfs"; exit 1; }
head -c 20M /dev/urandom >"$T/a.raw"
ok "a disk is made" vmkfstools -i "$T/a.raw" -d thin "$LUN:/vm/d.vmdk"

vdisk-nbd "$LUN:/vm/d.vmdk" --socket "$SOCKET" >"$T/vmkernel" 2>&1 &
user=$!
at_exit kill -9 $user
ok "and used" wait_for 10 test -S "$SOCKET"

run vmkfstools -D "$LUN:/vm/d.vmdk"
like "$out" "mode 1, owner [0-9a-f-]{35}" "-D: the extent is locked, exclusively"
like "$out" "^held exclusively by host .*, MAC [0-9a-f:]{17}\), .*: alive, its process" \
	"and by whom"
run vmkfstools -B -y "$LUN"
is "$rc" 1 "-B breaks no living host"
like "$out" "^slot [0-9]+: host .*: alive, its process exists: not broken$" "and says so"
run vmkfstools -P -v "$LUN"
like "$out" "^Heartbeats: 1$" "-P -v: one host lives on the volume"
refused "it cannot be deleted" "$HELD" vmkfstools -U "$LUN:/vm/d.vmdk"
refused "nor renamed" "$HELD" vmkfstools -E "$LUN:/vm/d.vmdk" "$LUN:/vm/e.vmdk"
refused "nor cloned" "$HELD" vmkfstools -i "$LUN:/vm/d.vmdk" "$LUN:/vm/e.vmdk"
is "$(vmkfstools --dir "$LUN:/vm" | sort | tr '\n' ' ')" "d-flat.vmdk d.vmdk " \
	"nothing has changed"
ok "others make disks beside it" vmkfstools -c 10m -d thin "$LUN:/vm/other.vmdk"

ok "its user writes" qemu-io -f raw -c "write -P 7 1M 64k" -c flush "$URL"
kill -9 $user
wait $user 2>/dev/null
run vmkfstools -D "$LUN:/vm/d.vmdk"
like "$out" "^held exclusively by host .*: dead, its process is gone" \
	"-D: its holder is dead"
like "$out" " mtime [0-9]+ nHld 0 nOvf 0\]$" "the record as ESXi writes it"
dd if=/dev/zero bs=64k count=1 status=none | tr '\0' '\7' |
	dd of="$T/a.raw" bs=64k seek=16 conv=notrunc status=none
ok "when he is dead the disk is free" \
	vmkfstools -i "$LUN:/vm/d.vmdk" -d thin "$LUN:/vm/e.vmdk"
ok "and comes out" vmkfstools --get "$LUN:/vm/e-flat.vmdk" "$T/b.raw"
ok "with what was flushed" cmp "$T/a.raw" "$T/b.raw"
ok "it can be deleted" vmkfstools -U "$LUN:/vm/d.vmdk"

# An import that is killed: no disk under the name, and what is left is named.
# A host that dies and whose locks nobody asks for.
vdisk-nbd "$LUN:/vm/e.vmdk" --socket "$SOCKET.2" >"$T/vmkernel" 2>&1 &
user=$!
at_exit kill -9 $user
ok "another host uses a disk" wait_for 10 test -S "$SOCKET.2"
kill -9 $user
wait $user 2>/dev/null
run vmkfstools -B "$LUN" </dev/null
is "$rc" 1 "-B asks, and nobody answers"
like "$out" "^0\) Yes$" "what it asks"
run vmkfstools -B "$LUN" <<<1
is "$rc" 1 "-B: the answer is no"
like "$(vmkfstools -D "$LUN:/vm/e.vmdk")" "mode 1, owner" "the lock is still there"
run vmkfstools -B "$LUN" <<<0
is "$rc" 0 "-B: the answer is yes"
like "$out" "slot [0-9]+: host .*: dead, its process is gone: its locks are broken$" \
	"what it saw and did"
run vmkfstools -D "$LUN:/vm/e.vmdk"
like "$out" "^held exclusively by host .*: gone: the lock is free for the taking$" \
	"its lock is stale, not edited"
run vmkfstools -B -y "$LUN"
like "$out" "^No other host has a heartbeat slot" "there is nothing more to break"

head -c 640M /dev/zero | tr '\0' 'k' >"$T/big.raw"
vmkfstools -i "$T/big.raw" -d thin "$LUN:/new/k.vmdk" &
user=$!
wait_for 10 vmkfstools --dir "$LUN:/new"
if kill -9 $user 2>/dev/null && ! wait $user 2>/dev/null; then
	is "$(vmkfstools --dir "$LUN:/new" | grep '\.vmdk$' | grep -v flat)" "" \
		"a killed import leaves no disk"
	run vmkfstools -i "$T/a.raw" -d thin "$LUN:/new/k.vmdk"
	is "$rc" 0 "another import under its name begins anew"
	is "$(vmkfstools --dir "$LUN:/new" | sort | tr '\n' ' ')" \
		"k-flat.vmdk k.vmdk " "and leaves nothing of the first"
	run vmkfstools -i "$LUN:/new/k.vmdk" -d monolithicFlat "$T/k.vmdk"
	ok "which is not in it" cmp "$T/a.raw" "$T/k-flat.vmdk"
else
	skip 4 "the import was faster than the signal"
fi
ok "the volume is clean" fsck.vmfs -n "$LUN"
