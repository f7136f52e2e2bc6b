#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The limits of the format, as vmkfstools meets them: one line says what ran out, what
# was begun is taken back, and there is room again once something is removed.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmkfstools

lun=$T/lun
truncate -s 300M "$lun"
ok "a volume of one PE" mkfs.vmfs -q -L ds "$lun"
names() {
	vmkfstools --dir "$lun:/" | grep -v '^\.'
}

# ---- sizes and names ----

refused "a disk larger than a file can be" \
	"64 TiB wanted, but a file has at most 64449 GiB" \
	vmkfstools -c 64t -d thin "$lun:/large.vmdk"
is "$(names)" "" "leaves nothing"
run vmkfstools -c 62t -d thin "$lun:/large.vmdk"
is "$rc" 0 "a disk of 62 TiB"
run vmkfstools -U "$lun:/large.vmdk"
is "$rc" 0 "and it is removed"
long=$(printf 'n%.0s' {1..123})
refused "a name of 128 bytes" "a name of 128 bytes, at most 127" \
	vmkfstools -c 1m -d thin "$lun:/$long.vmdk"
is "$(names)" "" "leaves nothing"

# ---- resources ----

# A thin disk with data behind 256 MiB needs a pointer block; there is one.
truncate -s 300M "$T/raw"
echo data | dd of="$T/raw" bs=1M seek=290 conv=notrunc status=none
run vmkfstools -i "$T/raw" -d thin "$lun:/first.vmdk"
is "$rc" 0 "the one pointer block is used"
before=$(names)
refused "pointer blocks" "ds: no pointer blocks left \(1 in all\)" \
	vmkfstools -i "$T/raw" -d thin "$lun:/second.vmdk"
is "$(names)" "$before" "leaves nothing"
run vmkfstools -U "$lun:/first.vmdk"
run vmkfstools -i "$T/raw" -d thin "$lun:/second.vmdk"
is "$rc" 0 "there is one again"
run vmkfstools -U "$lun:/second.vmdk"

# Of 64 descriptors 8 are the format's own, and a disk has two.
for i in {1..28}; do
	vmkfstools -c 1m -d thin "$lun:/d$i.vmdk" || break
done >/dev/null 2>&1
is "$i" 28 "28 disks"
before=$(names)
refused "file descriptors" "ds: no file descriptors left \(64 in all\)" \
	vmkfstools -c 1m -d thin "$lun:/more.vmdk"
is "$(names)" "$before" "leaves nothing"
refused "for a directory too" "ds: no file descriptors left" \
	vmkfstools --mkdir "$lun:/dir"
run vmkfstools -U "$lun:/d7.vmdk"
run vmkfstools -c 1m -d thin "$lun:/more.vmdk"
is "$rc" 0 "there is room again"

head -c 256M /dev/zero | tr '\0' x >"$T/full"
run vmkfstools -U "$lun:/more.vmdk"
before=$(names)
refused "file blocks" "ds: no file blocks left \(256 in all\)" \
	vmkfstools --put "$T/full" "$lun:/full"
is "$(names)" "$before" "leaves nothing"
rm "$T/full"
run fsck.vmfs -n "$lun"
is "$rc" 0 "fsck finds nothing"

# ---- extents ----

[ -n "${FULL:-}" ] || { skip 5 "32 extents, one after the other: FULL=1"; exit 0; }
pieces=$T/p1
truncate -s 2200M "$T/p1"
truncate -s 300M "$T"/p{2..33}
mkfs.vmfs -q -L span "$pieces"
for i in {2..32}; do
	vmkfstools -Z "$T/p$i" "$pieces" >/dev/null || break
	pieces+=,$T/p$i
done
is "$i:$(vmkfstools -P "$pieces" | grep -c "$T/p")" 32:32 "a volume grows to 32 extents"
refused "a 33rd extent" "has 32 extents, no more are possible" \
	vmkfstools -Z "$T/p33" "$pieces"
run vmkfstools -P "$pieces"
is "$rc" 0 "and the volume is as it was"
run vmkfstools -c 9G -d zeroedthick "$pieces:/disk.vmdk"
is "$rc" 0 "a disk over all of them"
IFS=, read -ra names <<<"$pieces"
run fsck.vmfs -n "${names[@]}"
is "$rc" 0 "which fsck finds clean"
