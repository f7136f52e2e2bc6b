#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Virtual disks of the hosted kinds: made, converted between all kinds, on a volume and on
# the host; and others read what we write, and we what they write (qemu-img, vmdkinfo).

. "$(dirname "$0")/../lib/tap.sh"

need qemu-img
kinds="monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat
	streamOptimized"

# Data, zeros that are written, holes, and an end that is no whole grain.
raw=$T/a.raw
head -c 3M /dev/urandom >"$raw"
head -c 2M /dev/zero >>"$raw"
seq 1 200000 >>"$raw"
truncate -s 40M "$raw"
head -c 100000 /dev/urandom | dd of="$raw" bs=512 seek=81900 conv=notrunc status=none
truncate -s %512 "$raw"

for kind in $kinds; do
	ok "raw -> $kind" vmkfstools -i "$raw" -d "$kind" "$T/$kind.vmdk"
	ok "$kind: qemu-img check" qemu-img check -q "$T/$kind.vmdk"
	ok "$kind: qemu-img reads the same" qemu-img compare -q "$raw" "$T/$kind.vmdk"
	run qemu-img info "$T/$kind.vmdk"
	like "$out" "create type: $kind" "$kind: qemu-img sees that kind"
	[ "$kind" = monolithicFlat ] || [ "$kind" = twoGbMaxExtentFlat ] || [ -z "$(
		command -v vmdkinfo)" ] || {
		run vmdkinfo "$T/$kind.vmdk"
		like "$out" "Media size:.*\($(stat -c %s "$raw") bytes\)" \
			"$kind: vmdkinfo sees the size"
	}
	qemu-img convert -f raw -O vmdk -o "subformat=$kind" "$raw" "$T/q-$kind.vmdk"
	ok "$kind of qemu-img -> raw bytes" vmkfstools -i "$T/q-$kind.vmdk" \
		-d monolithicFlat "$T/back.vmdk"
	ok "$kind: the same bytes" cmp "$raw" "$T/back-flat.vmdk"
	ok "it is deleted" vmkfstools -U "$T/back.vmdk"
done
ok "holes and zeros take no room" \
	test "$(stat -c %s "$T/monolithicSparse.vmdk")" -lt 5300000

# From each to each, and the last is compared.
last=$T/monolithicSparse.vmdk
n=0
for kind in streamOptimized twoGbMaxExtentSparse monolithicSparse twoGbMaxExtentFlat \
	streamOptimized monolithicFlat monolithicSparse; do
	n=$((n + 1))
	ok "-> $kind" vmkfstools -i "$last" -d "$kind" "$T/c$n.vmdk"
	last=$T/c$n.vmdk
done
ok "after all of them: the same" qemu-img compare -q "$raw" "$last"

# On a volume.
truncate -s 700M "$T/lun"
ok "a volume" mkfs.vmfs -q "$T/lun"
ok "host stream -> thin" vmkfstools -i "$T/streamOptimized.vmdk" -d thin \
	"$T/lun:/d.vmdk"
ok "thin -> sparse on the volume" vmkfstools -i "$T/lun:/d.vmdk" -d monosparse \
	"$T/lun:/s.vmdk"
ok "sparse on the volume -> host" vmkfstools -i "$T/lun:/s.vmdk" "$T/v.vmdk"
ok "the same" qemu-img compare -q "$raw" "$T/v.vmdk"

# What is refused.
refused "an existing one" "v.vmdk: exists already" vmkfstools -c 1m "$T/v.vmdk"
refused "an empty stream" "made of another one" \
	vmkfstools -c 1m -d streamOptimized "$T/n.vmdk"
refused "a volume's kind on the host" "thin is a format of disks on a volume" \
	vmkfstools -c 1m -d thin "$T/n.vmdk"
refused "too large" "a monolithicSparse disk has at most" \
	vmkfstools -c 3t -d monolithicSparse "$T/n.vmdk"
head -c 2000000 "$T/streamOptimized.vmdk" >"$T/cut.vmdk"
refused "a stream that was cut" "has no footer" vmkfstools -i "$T/cut.vmdk" "$T/n.vmdk"
ok "nothing was left" test -z "$(find "$T" -name 'n*.vmdk*' -o -name '.*~')"

# What others write into it is read, and it is renamed and deleted as one.
if [ -n "$(command -v qemu-io)" ]; then
	ok "qemu-io writes" qemu-io -c "write -P 7 1M 64k" "$T/monolithicSparse.vmdk"
	run vmkfstools -i "$T/monolithicSparse.vmdk" -d monolithicFlat "$T/w.vmdk"
	wrote=$(od -An -tx1 -j 1048576 -N 1 "$T/w-flat.vmdk")
	is "$wrote" " 07" "what it wrote is read"
fi
ok "a disk is renamed" vmkfstools -E "$T/v.vmdk" "$T/x.vmdk"
ok "and deleted" vmkfstools -U "$T/x.vmdk"
ok "its file is gone" test ! -e "$T/x.vmdk"

# A clone that is killed (a limit on files' sizes does it) and asked for again goes on.
long=$T/long.raw
make_long()
{
	local at

	truncate -s 5G "$long"
	for at in "$@"; do
		head -c 24M /dev/urandom |
			dd of="$long" bs=1M seek="$at" conv=notrunc status=none
	done
}
make_long 1 2100 3200 3300 4900
# cut_off KIND KIB: killed when one of its files becomes longer than so many KiB
cut_off()
{
	{
		(ulimit -c 0 -f "$2"; exec vmkfstools -i "$long" -d "$1" "$T/long.vmdk")
	} >/dev/null 2>&1
	is $? 153 "$1: killed by SIGXFSZ"
	ok "$1: no disk under its name" test ! -e "$T/long.vmdk"
	done_bytes=$(sed -n 's/^done //p' "$T/.long.vmdk.clone~")
}
cut_off twoGbMaxExtentSparse 66000
ok "some of the second extent is done" test "$done_bytes" -gt 3000000000
was=$(stat -c %i.%y "$T/long-s001.vmdk")
second=$(stat -c %i "$T/long-s002.vmdk")
ok "it goes on" vmkfstools -i "$long" -d twoGbMaxExtentSparse "$T/long.vmdk"
is "$(stat -c %i.%y "$T/long-s001.vmdk")" "$was" "the first extent is not written again"
is "$(stat -c %i "$T/long-s002.vmdk")" "$second" "the second is gone on with"
ok "it is whole" qemu-img compare -q "$long" "$T/long.vmdk"
ok "the note is gone" test ! -e "$T/.long.vmdk.clone~"
ok "deleted" vmkfstools -U "$T/long.vmdk"

cut_off monolithicSparse 66000
ok "some is done" test "$done_bytes" -gt 2000000000
was=$(stat -c %i "$T/.long.vmdk.part~")
ok "it goes on" vmkfstools -i "$long" -d monolithicSparse "$T/long.vmdk"
is "$(stat -c %i "$T/long.vmdk")" "$was" "in the same file"
ok "it is whole" qemu-img compare -q "$long" "$T/long.vmdk"
ok "nothing is left beside it" test -z "$(find "$T" -name '.long*~')"
ok "deleted" vmkfstools -U "$T/long.vmdk"

# What it has of tables is not believed if it is no log of grains; nor another source.
cut_off monolithicSparse 66000
dd if=/dev/urandom of="$T/.long.vmdk.part~" bs=512 seek=30 count=100 conv=notrunc \
	status=none
ok "tables of junk: begins anew" vmkfstools -i "$long" -d monolithicSparse \
	"$T/long.vmdk"
ok "it is whole" qemu-img compare -q "$long" "$T/long.vmdk"
ok "deleted" vmkfstools -U "$T/long.vmdk"
cut_off twoGbMaxExtentSparse 66000
head -c 1M /dev/urandom | dd of="$long" bs=1M seek=2 conv=notrunc status=none
ok "another source: begins anew" vmkfstools -i "$long" -d twoGbMaxExtentSparse \
	"$T/long.vmdk"
ok "it is whole" qemu-img compare -q "$long" "$T/long.vmdk"
ok "deleted" vmkfstools -U "$T/long.vmdk"

# The source changes, and what is made of it anew is cut off, too, in its first extent:
# what is left behind that is of the old one. So with a source that is shorter.
for size in 5G 3G; do
	cut_off twoGbMaxExtentSparse 66000
	ok "some of the second extent is done" test "$done_bytes" -gt 3000000000
	ok "which is there" test -e "$T/long-s002.vmdk"
	head -c 1M /dev/urandom | dd of="$long" bs=1M seek=3 conv=notrunc status=none
	truncate -s $size "$long"
	cut_off twoGbMaxExtentSparse 20000
	is "$done_bytes" 0 "again, in the first extent"
	ok "$size: begins anew, twice cut off" vmkfstools -i "$long" \
		-d twoGbMaxExtentSparse "$T/long.vmdk"
	ok "it is whole" qemu-img compare -q "$long" "$T/long.vmdk"
	ok "deleted" vmkfstools -U "$T/long.vmdk"
	ok "nothing is left" test -z "$(find "$T" -name 'long-*' -o -name '.long*')"
done
make_long 3200 3300 4900

# One that is made otherwise leaves nothing of it; a file of others is not taken.
cut_off monolithicSparse 66000
ok "another kind" vmkfstools -i "$long" -d streamOptimized "$T/long.vmdk"
ok "nothing is left beside it" test -z "$(find "$T" -name '.long*~')"
ok "deleted" vmkfstools -U "$T/long.vmdk"
echo mine >"$T/long-s002.vmdk"
refused "a file of others" "exists without its descriptor" \
	vmkfstools -i "$long" -d twoGbMaxExtentSparse "$T/long.vmdk"
is "$(cat "$T/long-s002.vmdk")" mine "it is as it was"
