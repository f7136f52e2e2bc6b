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
refused "the first extent alone is no volume any more" \
	"extent 2 of 2, with PEs 3 to 9, is missing" vmkfstools -P "$a"
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

# Longer: only if there is room.
refused "no room" "b: no room for another PE: its 2147483648 bytes hold 7" \
	vmkfstools -G "$b" "$a,$b"
refused "no extent of it" "$c: is no extent of volume grow" vmkfstools -G "$c" "$a,$b"
truncate -s 3G "$a"
run vmkfstools -G "$a" "$a,$b"
is "$rc:$out" "0:$a,$b: 2 GiB more, 4.5 GiB in 2 extents" "-G makes the first longer"
run fsck.vmfs -n "$a" "$b"
like "$rc:$out" "^0:.*: clean\$" "it is clean"
truncate -s 200G "$b"
run vmkfstools -G "$b" "$a,$b"
is "$rc:$out" "0:$a,$b: 198 GiB more, 202.5 GiB in 2 extents" "and the last"
run fsck.vmfs -n "$a" "$b"
is "$rc" 0 "and it is clean"
# The disk has nearly all of what was there before: these lie behind it.
head -c 250000000 /dev/zero | tr '\0' 'g' >"$T/big"
for i in 1 2 3; do vmkfstools --put "$T/big" "$a,$b:/big$i"; done
for i in 1 2 3; do
	vmkfstools --get "$b,$a:/big$i" "$T/back"
	ok "file $i on both ends" cmp "$T/big" "$T/back"
	run vmfs-rescue copy -e "$a" "$b" "/big$i" "$T/rescued$i"
	is "$rc" 0 "vmfs-rescue finds it"
	ok "and has it whole" cmp "$T/big" "$T/rescued$i"
done
run fsck.vmfs -n "$a" "$b"
is "$rc" 0 "and it is clean"
rm -f "$T/big" "$T/back" "$T"/rescued?
run vmkfstools -G "$b"
is "$rc" 1 "-G needs two names"

# ---- VMFS-6 ----

six=$T/six more=$T/more
truncate -s 2G "$six"
truncate -s 3G "$more"
mkfs.vmfs -q -V 6 -L six "$six"
seq 200000 >"$T/seq"
vmkfstools --put "$T/seq" "$six:/seq"
truncate -s 60G "$six"
run vmkfstools -G "$six" "$six"
is "$rc:$out" "0:$six: 58 GiB more, 59.7 GiB in 1 extent" "-G makes one of VMFS-6 longer"
run fsck.vmfs -n "$six"
like "$rc:$out" "^0:.*: clean$" "it is clean"
if command -v debugvmfs6 >/dev/null; then
	debugvmfs6 "$six" cat /seq | sed 1d >"$T/theirs" # a line with the version
	ok "vmfs6-tools read it" cmp "$T/seq" "$T/theirs"
else
	skip 1 "no vmfs6-tools"
fi
run vmkfstools -Z "$more" "$six"
is "$rc:$out" "0:$six: 2.7 GiB more, 62.5 GiB in 2 extents" "-Z adds an extent"
truncate -s 8G "$more"
run vmkfstools -G "$more" "$six,$more"
is "$rc" 0 "which becomes longer, too"
run vmkfstools -c 66G -d zeroedthick "$six,$more:/disk.vmdk"
is "$rc" 0 "a disk that needs all of it"
run fsck.vmfs -n "$more" "$six"
like "$rc:$out" "^0:.*: clean$" "it is clean"
vmkfstools --get "$six,$more:/seq" "$T/back"
ok "what was there is there" cmp "$T/seq" "$T/back"
refused "no room" "more: no room for another PE: its 8589934592 bytes hold 31" \
	vmkfstools -G "$more" "$six,$more"

# Behind 18.8 TiB the blocks of .fbb.sf stand in a block of .pb2.sf.
if [ -n "${FULL:-}" ]; then
	rm -f "$six" "$more"
	truncate -s 15T "$six"
	truncate -s 4T "$more"
	mkfs.vmfs -q -V 6 "$six"
	ok "to 18.9 TiB" vmkfstools -Z "$more" "$six"
	truncate -s 5T "$more"
	ok "and 19.9 TiB" vmkfstools -G "$more" "$six,$more"
	run fsck.vmfs -n "$six" "$more"
	like "$rc:$out" "^0:.*20971008 blocks: clean$" "it is clean"
else
	skip 3 "FULL is not set"
fi

# Behind 49.98 TiB so does VMFS-5; up to all that a volume can have.
if [ -n "${FULL:-}" ]; then
	heads=$T/x1,$T/x2,$T/x3
	truncate -s 15T "$T/x1" "$T/x2" "$T/x3"
	truncate -s 4800G "$T/x4"
	mkfs.vmfs -q "$T/x1" "$T/x2" "$T/x3" "$T/x4"
	truncate -s 10T "$T/x4"
	ok "VMFS-5 to 55 TiB" vmkfstools -G "$T/x4" "$heads,$T/x4"
	truncate -s 9113G "$T/x5"
	ok "and 63.9 TiB" vmkfstools -Z "$T/x5" "$heads,$T/x4"
	run fsck.vmfs -n "$T/x1" "$T/x2" "$T/x3" "$T/x4" "$T/x5"
	like "$rc:$out" "^0:.*67[0-9]* blocks: clean$" "it is clean"
	all=$heads,$T/x4,$T/x5
	ok "a disk on it" vmkfstools -c 1G -d zeroedthick "$all:/d.vmdk"
	run vmfs-dump -e "$T/x2" -e "$T/x3" -e "$T/x4" -e "$T/x5" "$T/x1" fd /.fbb.sf
	like "$out" "0x[0-9a-f]* \\(PB2 [0-9]*/0\\)" "vmfs-dump shows the pointers"
	rm -f "$T"/x?
else
	skip 5 "FULL is not set"
fi

# One that another system made: without the mark of mkfs.
truncate -s 0 "$six"
truncate -s 2G "$six"
mkfs.vmfs -q -V 6 "$six"
mark=$(((17 << 20) + 0x200e00))
dd if=/dev/zero of="$six" bs=512 seek=$((mark / 512)) count=1 conv=notrunc status=none
truncate -s 4G "$six"
run vmkfstools --force-vmfs6 -G "$six" "$six"
is "$rc" 1 "another system's volume is not made longer"
like "$out" "cannot grow: another system made this VMFS-6 volume" "and it is said why"

like "$(vmkfstools --help)" "--spanfs EXTENT HEAD" "--help knows -Z"
like "$(vmkfstools --help)" "--growfs DEVICE HEAD" "--help knows -G"
