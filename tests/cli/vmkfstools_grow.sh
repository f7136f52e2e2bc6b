#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmkfstools -Z and -G: a volume gets another extent, and a longer one; what is refused,
# each with one line.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmkfstools fsck.vmfs

a=$T/a b=$T/b c=$T/c
truncate -s 1G "$a"
truncate -s 2G "$b"
truncate -s 1G "$c"
mkfs.vmfs -q -L grow "$a"

run vmkfstools -Z "$b" "$a"
is "$rc:$out" "0:$a: 1.7 GiB more, 2.5 GiB in 2 extents" "-Z adds an extent"
run fsck.vmfs -n "$b" "$a"
is "$rc" 0 "it is clean"
refused "the first extent alone is no volume any more" "is missing \(1 of 2 given\)" \
	vmkfstools -P "$a"
run vmkfstools -c 2G -d eagerzeroedthick "$a,$b:/disk.vmdk"
is "$rc" 0 "a disk that needs both extents"
run fsck.vmfs -n "$a" "$b"
is "$rc" 0 "and it is clean"

refused "an extent of the volume" "b: is an extent of this volume already" \
	vmkfstools -Z "$b" "$a,$b"
refused "the volume itself" "a: is an extent of this volume already" \
	vmkfstools -Z "$a" "$a,$b"
mkfs.vmfs -q "$c"
refused "another volume's device, even with -f" "c: is an extent of another volume" \
	vmkfstools -f -Z "$c" "$a,$b"
refused "an extent of another volume given for ours" "c: belongs to another volume" \
	vmkfstools -P "$a,$c"
truncate -s 0 "$c"
truncate -s 100M "$c"
refused "too small a device" "c: 104857600 bytes are too small" \
	vmkfstools -Z "$c" "$a,$b"
refused "a device that is not there" "none: No such file" \
	vmkfstools -Z "$T/none" "$a,$b"
if command -v mkfs.ext4 >/dev/null; then
	truncate -s 1G "$c"
	mkfs.ext4 -q "$c"
	refused "a device with something on it" "refusing, it contains ext4" \
		vmkfstools -Z "$c" "$a,$b"
else
	skip 1 "no mkfs.ext4"
fi

# Longer: only the last one can be, and only if there is room.
refused "no room" "b: no room for another PE: its 2147483648 bytes hold 7" \
	vmkfstools -G "$b" "$a,$b"
truncate -s 3G "$a"
refused "the first of two" "-G $a: only the last extent can grow: $b" \
	vmkfstools -G "$a" "$a,$b"
truncate -s 200G "$b"
run vmkfstools -G "$b" "$a,$b"
is "$rc:$out" "0:$a,$b: 198 GiB more, 200.5 GiB in 2 extents" "-G makes the last longer"
run fsck.vmfs -n "$a" "$b"
is "$rc" 0 "and it is clean"
run vmkfstools -G "$b"
is "$rc" 1 "-G needs two names"
like "$(vmkfstools --help)" "--spanfs EXTENT HEAD" "--help knows -Z"
like "$(vmkfstools --help)" "--growfs DEVICE HEAD" "--help knows -G"
