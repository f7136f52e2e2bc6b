#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What mkfs.vmfs makes: volumes of many sizes that our fsck and independent readers
# accept; what it costs; what it prints.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs blkid

image=$T/image
for size in 286261248 300M 1G 4G 100G 127G 128G 1T 15T; do
	rm -f "$image"
	truncate -s "$size" "$image"
	run mkfs.vmfs -L "of $size" "$image"
	is "$rc" 0 "mkfs of $size"
	like "$out" "^$image: VMFS-5\.81 volume [0-9a-f-]{35}, label 'of $size', " \
		"and it says so"
	run fsck.vmfs -n "$image"
	is "$rc" 0 "fsck of $size is clean"
	run blkid -p -o export "$image"
	like "$out" '^TYPE=VMFS_volume_member$' "libblkid knows $size"
done

# Several extents, in any order to fsck; the first holds less than all metadata.
truncate -s 286261248 "$T/a"
truncate -s 100G "$T/b"
truncate -s 2G "$T/c"
run mkfs.vmfs -L several "$T/a" "$T/b" "$T/c"
is "$rc" 0 "mkfs of three extents"
like "$out" "^$T/a: VMFS-5\.81 volume [0-9a-f-]{35}, label 'several', 101\.7 GiB" \
	"and it says their sum"
run fsck.vmfs -n "$T/c" "$T/a" "$T/b"
is "$rc" 0 "fsck of three extents is clean"
run fsck.vmfs -n "$T/a" "$T/c"
like "$rc:$out" "^8:.* missing" "fsck misses one"
refused "a later extent, even with -f" "b: refusing: it is a later extent of volume" \
	mkfs.vmfs -f "$T/b"
run mkfs.vmfs -q -f "$T/c" "$T/b" "$T/a"
is "$rc:$out" 0: "-f makes one of all of them in another order"
run fsck.vmfs -n "$T/c" "$T/a" "$T/b"
is "$rc" 0 "and it is clean"
rm "$T/a" "$T/b" "$T/c"

# 64 TiB: .fbb.sf has pointer blocks.
pieces=()
for i in {1..32}; do
	truncate -s $((2 * 1024 * 1024 + 17))M "$T/p$i"
	pieces+=("$T/p$i")
done
run mkfs.vmfs -L most "${pieces[@]}"
is "$rc" 0 "mkfs of 64 TiB in 32 extents"
run fsck.vmfs -n "${pieces[@]}"
is "$rc" 0 "fsck of 64 TiB is clean"
truncate -s +256M "$T/p32"
refused "more than 64 TiB" "p32: .* a volume holds at most 64 TiB" \
	mkfs.vmfs -f "${pieces[@]}"
rm "${pieces[@]}"

# 10 TiB, sparse: quick, and little is written. Generous to a machine that does more.
rm -f "$image"
truncate -s 10T "$image"
start=$(date +%s%N)
run mkfs.vmfs -q -L big "$image"
ms=$((($(date +%s%N) - start) / 1000000))
is "$rc:$out" 0: "mkfs -q of 10 TiB says nothing"
diag "mkfs of 10 TiB took $ms ms"
calls=io_submit,pwrite64,pwritev,pwritev2,write
written=$(strace -f -e trace=$calls "$BIN/mkfs.vmfs" -f -q "$image" 2>&1 |
	grep -oE 'aio_nbytes=[0-9]+|\) = [0-9]+$' | grep -oE '[0-9]+' |
	awk '{ n += $1 } END { print int(n / 1000000) }')
if [ -n "$written" ] && [ "$written" -gt 0 ]; then
	ok "mkfs of 10 TiB wrote $written MB" test "$written" -lt 100
else
	skip 1 "strace cannot count what is written"
fi

# -n prints the layout and leaves the device alone.
rm -f "$image"
truncate -s 10G "$image"
run mkfs.vmfs -n "$image"
is "$rc" 0 "mkfs -n"
like "$out" '^\.fdc\.sf +4,7-25 +20840448 +9984 \(32, 312, 5\)$' "-n prints .fdc.sf"
like "$out" '^\.sbc\.sf +29-107 +82182144 ' "-n prints .sbc.sf"
is "$(du -k "$image" | cut -f1)" 0 "-n writes nothing"

# The same twice: other UUIDs.
mkfs.vmfs -q "$image"
first=$(blkid -p -o value -s UUID "$image")
mkfs.vmfs -q -f "$image"
second=$(blkid -p -o value -s UUID "$image")
ok "each volume has UUIDs of its own" test -n "$first" -a "$first" != "$second"

# Inside the VMFS partition of a disk.
if command -v sfdisk >/dev/null; then
	rm -f "$image"
	truncate -s 2G "$image"
	sfdisk -q "$image" <<-EOF
		label: gpt
		start=2048, size=2000000, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
		start=2002944, size=2000000, type=AA31E02A-400F-11DB-9590-000C2911D1B8
	EOF
	run mkfs.vmfs -L part "$image"
	is "$rc" 0 "mkfs in a partition"
	dd if="$image" of="$T/part" bs=512 skip=2002944 count=2000000 conv=sparse \
		status=none
	run fsck.vmfs -n "$T/part"
	is "$rc" 0 "the partition is a volume"
	run fsck.vmfs -n "$image"
	is "$rc" 0 "fsck finds the partition"
	is "$(sfdisk -d "$image" | grep -c start=)" 2 "the partition table is still there"
else
	skip 4 "no sfdisk"
fi
