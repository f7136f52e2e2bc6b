#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Space comes back: -y to the storage under a volume, a guest's discard to the volume; and
# what is deleted stays readable underneath unless it was scrubbed.
. "$(dirname "$0")/../lib/tap.sh"
need vmkfstools mkfs.vmfs fsck.vmfs

LUN=$T/lun
truncate -s 2G "$LUN"
mkfs.vmfs -L space "$LUN" >/dev/null || { echo "Bail out! mkfs.vmfs"; exit 1; }

taken() { echo $(($(stat -c %b "$LUN") / 2048)); } # MiB that the LUN takes here
marked() { LC_ALL=C grep -azc "$1" "$LUN"; }

# A disk full of one line, so that it can be found underneath.
full_of() { yes "$1" | head -c 32M >"$T/$1.raw"; }
full_of marker-kept
full_of marker-scrubbed

ok "a disk is imported" \
	vmkfstools -i "$T/marker-kept.raw" -d thin "$LUN:/kept.vmdk"
before=$(taken)
ok "and deleted" vmkfstools -U "$LUN:/kept.vmdk"
ok "its bytes still stand on the storage" [ "$(marked marker-kept)" -gt 0 ]
ok "which still has the space" [ "$(taken)" -ge $((before - 1)) ]

ok "another is imported beside one that stays" \
	vmkfstools -i "$T/marker-scrubbed.raw" -d zeroedthick "$LUN:/scrubbed.vmdk"
vmkfstools --put "$T/marker-scrubbed.raw" "$LUN:/plain"
seq 300000 >"$T/seq"
vmkfstools --put "$T/seq" "$LUN:/stays"
ok "it is scrubbed and deleted" vmkfstools -U --scrub "$LUN:/scrubbed.vmdk"
ok "a plain file too" vmkfstools --rm --scrub "$LUN:/plain"
is "$(marked marker-scrubbed)" 0 "nothing of them is left on the storage"

before=$(taken)
run vmkfstools -y --rate 0 "$LUN"
is "$rc" 0 "-y gives back what is free"
like "$out" "of free blocks given back to the storage" "and says how much"
ok "the LUN takes less" [ "$(taken)" -lt $((before - 30)) ]
is "$(marked marker-kept)" 0 "the deleted disk's bytes are gone now"
ok "the file that stays is whole" vmkfstools --get "$LUN:/stays" "$T/stays"
ok "byte for byte" cmp "$T/seq" "$T/stays"
ok "fsck finds nothing" fsck.vmfs -n "$LUN"
ok "the long name does the same" vmkfstools --reclaimBlocks "$LUN"

# ---- the same on VMFS-6 ----

SIX=$T/six
truncate -s 2G "$SIX"
mkfs.vmfs -q -V 6 -L space6 "$SIX"
vmkfstools --put "$T/seq" "$SIX:/stays"
vmkfstools -i "$T/marker-kept.raw" -d thin "$SIX:/kept.vmdk"
vmkfstools -i "$T/marker-scrubbed.raw" -d zeroedthick "$SIX:/scrubbed.vmdk"
vmkfstools -U "$SIX:/kept.vmdk"
ok "VMFS-6: a disk is scrubbed and deleted" vmkfstools -U --scrub "$SIX:/scrubbed.vmdk"
is "$(LC_ALL=C grep -azc marker-scrubbed "$SIX")" 0 "nothing of it is left"
ok "of one that was only deleted, all is" \
	[ "$(LC_ALL=C grep -azc marker-kept "$SIX")" -gt 0 ]
before=$(stat -c %b "$SIX")
run vmkfstools -y --rate 0 "$SIX"
is "$rc" 0 "VMFS-6: -y gives back what is free"
ok "the LUN takes less" [ "$(stat -c %b "$SIX")" -lt $((before - 30 * 2048)) ]
is "$(LC_ALL=C grep -azc marker-kept "$SIX")" 0 "it is gone now"
vmkfstools --get "$SIX:/stays" "$T/stays6"
ok "the file that stays is whole" cmp "$T/seq" "$T/stays6"
ok "fsck finds nothing" fsck.vmfs -n "$SIX"
rm "$SIX"

refused "a rate that is none is refused" "not a size" vmkfstools -y --rate fast "$LUN"
refused "--scrub alone has no meaning" "does not go with this action" \
	vmkfstools -P --scrub "$LUN"

# ---- a guest's discard and zeroing of a thin disk, through NBD ----

if command -v qemu-io >/dev/null; then
	blocks() {
		vmkfstools -D "$LUN:/guest.vmdk" |
			sed -n 's/^len .* nb \([0-9]*\) .*/\1/p' | tail -1
	}
	vmkfstools -i "$T/marker-kept.raw" -d thin "$LUN:/guest.vmdk"
	is "$(blocks)" 32 "a thin disk of 32 blocks"
	vdisk-nbd "$LUN:/guest.vmdk" --socket "$T/nbd" >"$T/log" 2>&1 &
	server=$!
	for ((i = 0; i < 200; i++)); do
		[ -S "$T/nbd" ] && break
		sleep 0.05
	done
	ok "a guest discards 16 MiB, writes zeroes to 4 and reads the rest" \
		qemu-io -f raw -d unmap "nbd+unix:///?socket=$T/nbd" \
		-c "discard 8M 16M" -c "read -P 0 8M 16M" -c "write -z 28M 4M" \
		-c "read -P 0 28M 4M" -c flush
	kill $server
	wait $server 2>/dev/null
	is "$(blocks)" 16 "the 16 blocks of the discard are free"
	vmkfstools --get "$LUN:/guest-flat.vmdk" "$T/back"
	cp "$T/marker-kept.raw" "$T/should"
	dd if=/dev/zero of="$T/should" bs=1M count=16 seek=8 conv=notrunc status=none
	dd if=/dev/zero of="$T/should" bs=1M count=4 seek=28 conv=notrunc status=none
	ok "and the disk holds what it should" cmp "$T/back" "$T/should"
	before=$(taken)
	vmkfstools -y "$LUN" >/dev/null
	ok "the discard comes down to the storage" [ "$(taken)" -le $((before - 15)) ]
	ok "fsck finds nothing" fsck.vmfs -n "$LUN"
else
	skip 6 "qemu-io is not there"
fi
