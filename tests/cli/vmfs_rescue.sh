#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfs-rescue, the whole story on real volumes of both versions: files are removed and
# brought back, blocks given away are told; a disk without partition table; destroyed
# headers; bad sectors. The device is never written: strace sees it opened for reading
# alone, and no write has touched its time.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmfs-rescue vmfs-dump sfdisk
log_magic=VJH1
bad=$BIN/../tests/rigs/vmfs-rescue

written() { # when an image was last
	stat -c '%y %z' "$1"
}

# unharmed IMAGE TIME NAME
unharmed() {
	is "$(written "$1")" "$2" "$3: the device is as it was"
}

# zap IMAGE MIB: a MiB of zeros.
zap() {
	dd if=/dev/zero of="$1" bs=1M seek="$2" count=1 conv=notrunc status=none
}

# was_log COPY MIB: this block of it holds a log of ours, whatever the file had there.
was_log() {
	[ "$(dd if="$1" bs=512 skip=$(($2 * 2048 + 1)) count=1 status=none |
		head -c 4)" = "$log_magic" ]
}

# same ORIGINAL COPY [OFF LEN]: equal, but for blocks that were a member's log since the
# removal and are free again: nothing tells of that (vmfs-rescue(8)), and where a tool
# puts its log is chance.
same() {
	local off=${3:-0} len=${4:-$(stat -c %s "$1")} at piece
	cmp -s -i "$off" -n "$len" "$1" "$2" && return
	for ((at = off; at < off + len; at += piece)); do
		piece=$(((at / 1048576 + 1) * 1048576 - at))
		((at + piece <= off + len)) || piece=$((off + len - at))
		cmp -s -i $at -n $piece "$1" "$2" || was_log "$2" $((at / 1048576)) ||
			return 1
	done
	[ "$(stat -c %s "$1")" = "$(stat -c %s "$2")" ]
}

# own_is_right MAP ORIGINAL COPY: what the map calls finished is right, all else zeros.
own_is_right() {
	local pos len status
	while read -r pos len status; do
		case $status in
		+) same "$2" "$3" "$((pos))" "$((len))" || return 1 ;;
		*) cmp -s -i 0:"$((pos))" -n "$((len))" /dev/zero "$3" || return 1 ;;
		esac
	done < <(grep -v '^#' "$1" | tail -n +2)
}

tree=$T/tree
mkdir -p "$tree/vm"
head -c 500 /dev/urandom >"$tree/vm/tiny"
head -c 5000 /dev/urandom >"$tree/vm/sub"
head -c 700000 /dev/urandom >"$tree/vm/small"
truncate -s 300M "$tree/vm/big"
for at in 0 100 280 299; do
	head -c 100000 /dev/urandom |
		dd of="$tree/vm/big" bs=1M seek=$at conv=notrunc status=none
done

# fill IMAGE: the tree goes in.
fill() {
	local name
	vmkfstools --mkdir "$1:/vm" || return 1
	for name in tiny sub small big; do
		vmkfstools --put "$tree/vm/$name" "$1:/vm/$name" >/dev/null || return 1
	done
}

# hit IMAGE PATH: device offset of the first block of a file or, with a form of .sf, of
# its header.
hit() {
	local block
	block=$(vmfs-dump "$1" fd "$2" | sed -n 's/.*\[  0\] .*FB \([0-9]*\).*/\1/p')
	echo $(((17 << 20) + (block << 20)))
}

for V in 5 6; do
	v=$T/v$V
	truncate -s 2100M "$v"
	mkfs.vmfs -q -V "$V" -L "label$V" "$v"
	ok "VMFS-$V: a volume is filled" fill "$v"
	cp --sparse=always "$v" "$T/full"

	# ---- removed ----

	vmkfstools -i "$tree/vm/big" -d thin "$v:/vm/disk.vmdk" >/dev/null
	vmkfstools -i "$tree/vm/big" -d eagerzeroedthick "$v:/vm/thick.vmdk" >/dev/null
	vmkfstools --get "$v:/vm/disk.vmdk" "$T/disk.vmdk" >/dev/null
	for name in small tiny sub big; do
		vmkfstools --rm "$v:/vm/$name"
	done
	vmkfstools -U "$v:/vm/disk.vmdk"
	vmkfstools -U "$v:/vm/thick.vmdk"
	run fsck.vmfs -n "$v"
	is "$rc" 0 "VMFS-$V: fsck finds nothing"
	before=$(written "$v")
	run vmfs-rescue -q list "$v"
	is "$rc" 0 "VMFS-$V: removed files are listed"
	for name in tiny sub small big disk.vmdk disk-flat.vmdk; do
		like "$out" "^fd:.* /vm/$name: all its own\$" "VMFS-$V: $name"
	done
	fd=$(sed -n 's|^\(fd:[^ ]*\) .* /vm/big: .*|\1|p' <<<"$out")
	mkdir "$T/out"
	for name in tiny sub small big; do
		run vmfs-rescue undelete "$v" "/vm/$name" "$T/out/$name"
		is "$rc" 0 "VMFS-$V: $name comes back"
		ok "VMFS-$V: $name is what it was" same "$tree/vm/$name" "$T/out/$name"
	done
	run vmfs-rescue recover "$v" "$fd" "$T/out/by-fd"
	ok "VMFS-$V: by its FD" same "$tree/vm/big" "$T/out/by-fd"
	run vmfs-rescue undelete "$v" -a "$T/out/all"
	is "$rc" 0 "VMFS-$V: all at once"
	for name in tiny sub small big; do
		ok "VMFS-$V: $name" same "$tree/vm/$name" "$T/out/all/vm/$name.fd-"*
	done
	run vmfs-rescue undelete "$v" /vm/disk-flat.vmdk "$T/out/disk-flat.vmdk"
	ok "VMFS-$V: a virtual disk" same "$tree/vm/big" "$T/out/disk-flat.vmdk"
	ok "VMFS-$V: with its holes" test "$(du -k "$T/out/big" | cut -f1)" -lt 8192
	ok "VMFS-$V: no map is left" test ! -e "$T/out/big.map"
	run vmfs-rescue -q vmdk -t lsilogic "$T/out/disk-flat.vmdk" "$T/out/disk.vmdk"
	is "$rc" 0 "VMFS-$V: a descriptor is made"
	is "$(grep -E '^(RW|ddb.geo|ddb.thin|ddb.adap)' "$T/out/disk.vmdk")" \
		"$(grep -E '^(RW|ddb.geo|ddb.thin|ddb.adap)' "$T/disk.vmdk")" \
		"VMFS-$V: as the first was"
	if command -v strace >/dev/null; then
		strace -f -o "$T/trace" -e trace=openat,open \
			vmfs-rescue list "$v" >/dev/null 2>&1
		is "$(grep -F "\"$v\"" "$T/trace" | grep -vc O_RDONLY)" 0 \
			"VMFS-$V: opened for reading alone"
		is "$(grep -cF "\"$v\"" "$T/trace")" 1 "VMFS-$V: once"
	else
		skip 2 "no strace"
	fi
	unharmed "$v" "$before" "VMFS-$V"

	# ---- given away ----

	# A new file that leaves less free than the removed one has blocks.
	free=$(vmfs-dump "$v" resources |
		sed -n 's/^\.fbb\.sf: .* \([0-9]*\) free.*/\1/p')
	vmkfstools -c $((free - 80))m -d zeroedthick "$v:/new.vmdk" >/dev/null
	run vmfs-rescue undelete "$v" /vm/thick-flat.vmdk "$T/out/part"
	is "$rc" 2 "VMFS-$V: a file whose blocks were given away is not whole"
	like "$out" "bytes are missing, [1-9][0-9]* of them given" "VMFS-$V: it says so"
	ok "VMFS-$V: the map is right" \
		own_is_right "$T/out/part.map" "$tree/vm/big" "$T/out/part"
	like "$(<"$T/out/part.map")" '^0x[0-9A-F]+  0x[0-9A-F]+  -$' \
		"VMFS-$V: it has gaps"
	run vmfs-rescue -q list "$v"
	like "$out" "/vm/thick-flat.vmdk: own .*, given away " "VMFS-$V: the list says so"
	vmkfstools -U "$v:/new.vmdk"
	rm -f "$T/out/part" "$T/out/part.map"
	run vmfs-rescue undelete "$v" /vm/thick-flat.vmdk "$T/out/part"
	is "$rc" 2 "VMFS-$V: nor when the other is gone as well"
	run vmfs-rescue -q list "$v"
	like "$out" "/new-flat.vmdk: all its own\$" "VMFS-$V: it had them last"
	vmkfstools --put "$tree/vm/small" "$v:/secret" >/dev/null
	vmkfstools --rm --scrub "$v:/secret" >/dev/null
	run vmfs-rescue undelete "$v" /secret "$T/out/secret"
	ok "VMFS-$V: what was scrubbed is zeros" cmp -n 700000 /dev/zero "$T/out/secret"

	# ---- headers ----

	v=$T/full
	before=$(written "$v")
	run vmfs-rescue -q copy "$v" -a "$T/all"
	is "$rc" 0 "VMFS-$V: all is copied out"
	ok "VMFS-$V: it is all there" diff -r "$tree" "$T/all"
	run vmfs-rescue copy "$v" -a "$T/all"
	like "$out" "^vmfs-rescue: 0 files copied.* 4 there already" "VMFS-$V: once"
	rm -r "$T/all"
	unharmed "$v" "$before" "VMFS-$V"
	headers=
	for file in /.fbb.sf /.fdc.sf /.sbc.sf /.pbc.sf /.pb2.sf; do
		headers+=" $(hit "$v" "$file")"
	done
	for at in $headers; do
		dd if=/dev/zero of="$v" bs=512 seek=$((at / 512)) count=1 conv=notrunc \
			status=none
	done
	run vmfs-rescue copy "$v" -a "$T/all"
	is "$rc" 0 "VMFS-$V: without headers of resource files"
	like "$out" "\.fdc\.sf: .*: its geometry is guessed" "VMFS-$V: which is said"
	ok "VMFS-$V: it is all there" diff -r "$tree" "$T/all"
	rm -r "$T/all"
	zap "$v" 1
	zap "$v" 19
	run vmfs-rescue copy "$v" -a "$T/all"
	is "$rc" 0 "VMFS-$V: without LVM header and FS descriptor either"
	like "$out" "FS descriptor: .*: taken for VMFS-$V with" "VMFS-$V: which is said"
	ok "VMFS-$V: it is all there" diff -r "$tree" "$T/all"
	rm -r "$T/all" "$T/out"
done

# ---- no partition table ----

disk=$T/disk
truncate -s 2800M "$disk"
sfdisk -q "$disk" <<-END
	label: gpt
	start=2048, size=4300800, type=AA31E02A-400F-11DB-9590-000C2911D1B8
END
mkfs.vmfs -q -V 6 -L first "$disk"
ok "a partition is filled" fill "$disk"
vmkfstools --rm "$disk:/vm/tiny"
truncate -s 300M "$T/second"
mkfs.vmfs -q -L second "$T/second"
odd=$(((2400 << 20) + 77 * 512))
dd if="$T/second" of="$disk" bs=1M seek=$odd oflag=seek_bytes conv=sparse,notrunc \
	status=none
zap "$disk" 0
zap "$disk" 2799
before=$(written "$disk")
run vmfs-rescue find "$disk"
is "$rc" 0 "volumes are found"
like "$out" "^offset 1048576 \(sector 2048\): LVM 6, .* 2 GiB$" "the first"
like "$out" "^offset $odd \(sector [0-9]*\): LVM 5" "the other, where nobody looks"
like "$out" "VMFS-6.82 'first', UUID [0-9a-f-]{35}, blocks of 1024 KiB" "what it is"
like "$out" "VMFS-5.81 'second'" "what the other is"
like "$out" "PEs 0 to 7 of 8, 1 extent" "its extent"
next=$(sed -n 's/^  next: //p' <<<"$out" | head -n 1)
is "$next" "vmfs-rescue list $disk@1048576" "the next command"
run $next -q
like "$out" "/vm/tiny: all its own" "can be run"
run vmfs-rescue -q copy "$disk@1048576" -a "$T/all"
ok "and all of it copied out" diff -r -x tiny "$tree" "$T/all"
rm -r "$T/all"
unharmed "$disk" "$before" "find"
zap "$disk" 2 # the LVM header of the first
run vmfs-rescue find "$disk"
like "$out" "^offset 1048576 .*: no LVM header, an FS descriptor" \
	"without LVM header, by its FS descriptor"
truncate -s 64M "$T/blank"
run vmfs-rescue find "$T/blank"
is "$rc" 2 "nothing is found where nothing is"

# ---- bad sectors ----

v=$T/bad
truncate -s 1G "$v"
mkfs.vmfs -q "$v"
fill "$v"
before=$(written "$v")
if [ -x "$bad" ]; then
	at=$(hit "$v" /vm/small)
	BAD_SECTORS=$((at + 4096)):1024 run "$bad" copy "$v" /vm/small "$T/small"
	is "$rc" 2 "a file with bad sectors is not whole"
	like "$out" "/small: 1024 of 700000 bytes are missing, 0 of them" "two of them"
	like "$(<"$T/small.map")" "^0x00001000  0x00000400  -\$" "the map names them"
	ok "all else is there" own_is_right "$T/small.map" "$tree/vm/small" "$T/small"
	run vmfs-rescue copy "$v" /vm/small "$T/small"
	is "$rc" 0 "the same again, when they can be read"
	ok "and it is whole" cmp "$tree/vm/small" "$T/small"
	ok "the map is gone" test ! -e "$T/small.map"
	refused "a file that is there is not written over" "File exists, without a map" \
		vmfs-rescue copy "$v" /vm/small "$T/small"
	# The root's FD, and so all its names.
	where=$((0x420000 + (17 << 20)))
	BAD_SECTORS=$where:2048 run "$bad" copy "$v" -a "$T/all"
	is "$rc" 0 "without the root's FD"
	ok "what it named is there" diff -r "$tree/vm" "$T/all/lost+found/"fd-*
	rm -r "$T/all"
else
	skip 10 "no $bad"
fi
cp --sparse=always "$v" "$T/short"
truncate -s $((($(hit "$v" /vm/small) + 350000) / 512 * 512)) "$T/short"
run vmfs-rescue copy "$T/short" -a "$T/all"
is "$rc" 2 "an image that ends early"
like "$out" "/small: [1-9][0-9]* of 700000 bytes are missing" "is told"
ok "what there is of a file is there" \
	own_is_right "$T/all/vm/small.map" "$tree/vm/small" "$T/all/vm/small"
unharmed "$v" "$before" "bad sectors"

# ---- more than one transaction ----

big=$T/huge
truncate -s 400G "$big"
mkfs.vmfs -q "$big"
vmkfstools -c 300g -d zeroedthick "$big:/huge.vmdk" >/dev/null
vmkfstools -U "$big:/huge.vmdk"
run vmfs-rescue -q list "$big"
like "$out" " 322122547200 .* /huge-flat.vmdk: all its own\$" \
	"300 GiB, removed in steps, with all that pointed to them"
run fsck.vmfs -n "$big"
is "$rc" 0 "fsck finds nothing"

# ---- other volumes ----

three=$BIN/../tests/unit/handmade3_volume
if [ -x "$three" ]; then
	touch "$T/three"
	"$three" 3 2 "$T/three"
	run vmfs-rescue find "$T/three"
	like "$out" "VMFS-3\.[0-9]*" "VMFS-3 is found"
	run vmfs-rescue copy "$T/three" -a "$T/all3"
	is "$(grep -c warning <<<"$out")" 1 "and copied out but for what has no bytes"
	zap "$T/three" 1
	zap "$T/three" 19
	run vmfs-rescue copy "$T/three" -a "$T/all3guess"
	like "$out" "taken for VMFS-3 with blocks of 2048 KiB" "without headers too"
	is "$(cd "$T/all3guess" && du -a --apparent-size | sort -k 2)" \
		"$(cd "$T/all3" && du -a --apparent-size | sort -k 2)" "the same"
else
	skip 4 "no $three"
fi
truncate -s 300M "$T/e1"
truncate -s 1G "$T/e2"
mkfs.vmfs -q "$T/e1" "$T/e2"
vmkfstools -i "$tree/vm/big" -d zeroedthick "$T/e1,$T/e2:/d.vmdk" >/dev/null
vmkfstools -U "$T/e1,$T/e2:/d.vmdk"
run vmfs-rescue undelete -e "$T/e2" "$T/e1" /d-flat.vmdk "$T/d"
ok "a volume of two extents" cmp "$T/d" "$tree/vm/big"
run vmfs-rescue undelete "$T/e1" /d-flat.vmdk "$T/d1"
is "$rc" 2 "without the second, not whole"
ok "what there is is right" own_is_right "$T/d1.map" "$tree/vm/big" "$T/d1"

# ---- refused ----

before=$(written "$v")
for where in copy undelete; do
	refused "$where onto the device" "lies on .*, which is to be rescued" \
		vmfs-rescue "$where" "$v" /vm/small "$v"
done
refused "a map onto the device" "lies on " \
	vmfs-rescue copy -m "$v" "$v" /vm/small "$T/other"
if [ -w /dev/fuse ] && command -v fusermount3 >/dev/null; then
	mkdir "$T/m"
	at_exit fusermount3 -q -u -z "$T/m"
	vmfs-fuse "$v" "$T/m"
	refused "into a mount of it" "lies on " \
		vmfs-rescue copy "$v" /vm/small "$T/m/new"
	fusermount3 -u "$T/m"
else
	skip 1 "no /dev/fuse"
fi
unharmed "$v" "$before" "all that"
refused "a file that is not there" "/vm/none: no such file" \
	vmfs-rescue copy "$v" /vm/none "$T/none"
refused "one that was not removed" "/vm/small: no removed file" \
	vmfs-rescue undelete "$v" /vm/small "$T/none"
refused "what is no volume" "blank: FS descriptor: .*nowhere" \
	bash -c "vmfs-rescue -q list '$T/blank' 2>&1 | grep -v warning; exit 1"
refused "an offset past the end" "no sector of" vmfs-rescue list "$v@99999999999999"
refused "no adapter" "scsi9: not an adapter" \
	vmfs-rescue vmdk -t scsi9 "$v" /vm/small "$T/none"
for args in "" "frob x" "list" "copy $v /x" "list -r z $v"; do
	run vmfs-rescue $args
	is "$rc" 16 "wrong usage: '$args'"
done
