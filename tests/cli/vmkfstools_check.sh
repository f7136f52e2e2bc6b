#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmkfstools -x: what is wrong with a disk is found, by kind; what can be repaired is, and
# then nothing is found and the contents are what they were; the rest is left as it is.

. "$(dirname "$0")/../lib/tap.sh"

need qemu-img qemu-io

# The first 4 MiB have data in all of 64 grains.
raw=$T/a.raw
head -c 4M /dev/urandom >"$raw"
truncate -s 40M "$raw"
vmkfstools -i "$raw" -d monolithicSparse "$T/good.vmdk"

# number FILE OFFSET: the le32 there; put FILE OFFSET N: writes one
number() {
	od -An -tu4 -j "$2" -N 4 "$1" | tr -d ' '
}
put() {
	printf "\\x$(printf %02x $(($3 & 255)))\\x$(printf %02x $(($3 >> 8 & 255)))\\x$(
		printf %02x $(($3 >> 16 & 255)))\\x$(printf %02x $(($3 >> 24 & 255)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
rgd=$(($(number "$T/good.vmdk" 48) * 512))
gd=$(($(number "$T/good.vmdk" 56) * 512))
gt=$(($(number "$T/good.vmdk" $gd) * 512))	# table 0 of each
rgt=$(($(number "$T/good.vmdk" $rgd) * 512))
d=$T/d.vmdk

# harmed WHAT FINDING: is found, repaired, and found no more; the contents are whole.
harmed() {
	run vmkfstools -x check "$d"
	is "$rc" 4 "$1: is found"
	like "$out" "$2" "$1: is said"
	run vmkfstools -x repair "$d"
	is "$rc" 1 "$1: is repaired"
	like "$out" "successfully repaired" "$1: and said"
	run vmkfstools -x check "$d"
	is "$rc $out" "0 Disk is error free" "$1: is error free then"
	ok "$1: qemu-img check" qemu-img check -q "$d"
	ok "$1: holds what it held" qemu-img compare -q "${3:-$raw}" "$d"
	cp "$T/good.vmdk" "$d"
}

cp "$T/good.vmdk" "$d"
run vmkfstools -x check "$d"
is "$rc $out" "0 Disk is error free" "a whole one"
put "$d" $((gt + 20)) 0
harmed "an entry that is gone" "grain 5 is at 0 and, in the second table"
put "$d" $((rgt + 20)) 0
harmed "a second entry that is gone" "grain 5 is at [0-9]* and, in the second table, at 0"
put "$d" $((gt + 20)) 4000000000
harmed "an entry outside of the file" "grain 5 is at 4000000000, outside"
put "$d" $gd 4000000000
harmed "a table outside of the file" "table 0 is at 4000000000, outside"
put "$d" $rgd 0
harmed "a second table that is gone" "second table 0 is at 0, outside"
head -c 3M /dev/urandom >>"$d"
run vmkfstools -v -x check "$d"
is "$rc" 0 "sectors that nobody has harm nobody"
like "$out" "6144 sectors are nobody's" "but are told of"
ok "and given back" vmkfstools -x repair "$d"
ok "at the end of the file" cmp "$T/good.vmdk" "$d"

# Two grains on one place: each has the bytes of that place then, and one of its own.
place=$(number "$d" $((gt + 20)))
put "$d" $((gt + 24)) "$place"
put "$d" $((rgt + 24)) "$place"
cp "$raw" "$T/two.raw"
dd if="$raw" of="$T/two.raw" bs=64k skip=5 seek=6 count=1 conv=notrunc status=none
harmed "two grains on one place" "grains 5 and 6 lie on one place" "$T/two.raw"

# Both tables are wrong: the grain is lost, and said to be.
put "$d" $((gt + 20)) 4000000000
put "$d" $((rgt + 20)) 4000000000
cp "$raw" "$T/lost.raw"
dd if=/dev/zero of="$T/lost.raw" bs=64k seek=5 count=1 conv=notrunc status=none
harmed "an entry that is wrong twice" "grain 5 .* its contents are lost" "$T/lost.raw"

# Flat: a hole stands for what is missing.
vmkfstools -i "$raw" -d monolithicFlat "$T/f.vmdk"
truncate -s 30M "$T/f-flat.vmdk"
d=$T/f.vmdk
run vmkfstools -x check "$d"
is "$rc" 4 "a flat file that is too short: is found"
ok "and repaired" test "$(vmkfstools -x repair "$d" 2>"$T/err"; echo $?)" = "Disk was \
successfully repaired.
1"
ok "holds what it held" qemu-img compare -q "$raw" "$d"

# What cannot be repaired.
rm "$T/f-flat.vmdk"
run vmkfstools -x repair "$d"
is "$rc" 4 "an extent that is missing"
like "$out" "f-flat.vmdk is missing" "is said"
vmkfstools -i "$raw" -d streamOptimized "$T/s.vmdk"
run vmkfstools -x check "$T/s.vmdk"
is "$rc $out" "0 Disk is error free" "a stream"
head -c 64k /dev/zero | dd of="$T/s.vmdk" bs=64k seek=20 conv=notrunc status=none
run vmkfstools -x repair "$T/s.vmdk"
is "$rc" 4 "a stream with a hole in it"
run vmkfstools -x check "$T/none.vmdk"
is "$rc" 8 "a disk that is not there"
run vmkfstools -x mend "$T/d.vmdk"
is "$rc" 8 "neither check nor repair"
