#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# VMFS-6 written by our tools: virtual disks, files of every size at which their form
# changes, names, directories, what is removed and moved. fsck finds nothing, we read all
# of it back, and so do Debian's vmfs6-tools. What another system made is refused.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/disks.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmfs-fuse fusermount3
[ -w /dev/fuse ] || skip_all "no /dev/fuse"

ds=$T/ds
truncate -s 6G "$ds"
vmkfstools -C vmfs6 -S six "$ds" >/dev/null

# ---- disks ----

put_disks "$ds"
run fsck.vmfs -n "$ds"
is "$rc" 0 "fsck finds nothing"

# ---- files ----

tree=$T/tree
mkdir -p "$tree/one/two/three/four/five" "$tree/many"
for size in 0 1 3583 3584 3585 8193 65535 65536 65537 1048575 1048576 1048577 3000000; do
	head -c "$size" /dev/urandom >"$tree/size$size"
done
truncate -s 700M "$tree/sparse"
for at in 0 319 320 321 699; do
	head -c 4096 /dev/urandom |
		dd of="$tree/sparse" bs=1M seek=$at conv=notrunc status=none
done
for i in $(seq 300); do echo "$i" >"$tree/many/file $i"; done
echo deep >"$tree/one/two/three/four/five/deep"
echo umlaut >"$tree/Größe – 容量"
echo long >"$tree/$(printf 'n%.0s' $(seq 127))"
ln -s one/two "$tree/link"

mkdir "$T/m" "$T/theirs"
at_exit fusermount3 -q -u -z "$T/m"
at_exit fusermount3 -q -u -z "$T/theirs"
gone() { ! pgrep -f "vmfs-fuse .*$T/m\$" >/dev/null; }
unmount() { # a member leaves the volume after the mount has gone
	fusermount3 -u "$T/m"
	wait_for 30 gone || diag "vmfs-fuse has not left"
}
ok "it is mounted read-write" vmfs-fuse -o rw "$ds" "$T/m"
ok "a tree goes in" cp -r --sparse=always "$tree" "$T/m/tree"
ok "some of it is moved" mv "$T/m/tree/many/file 7" "$T/m/tree/one/seven"
ok "some of it goes" rm -r "$T/m/tree/many/file 8" "$T/m/tree/size8193"
mv "$tree/many/file 7" "$tree/one/seven"
rm -r "$tree/many/file 8" "$tree/size8193"
ok "a file is cut" truncate -s 4000 "$T/m/tree/size65537"
truncate -s 4000 "$tree/size65537"
ok "we have it all" diff -r --no-dereference "$tree" "$T/m/tree"
unmount
run fsck.vmfs -n "$ds"
is "$rc" 0 "fsck finds nothing"
like "$out" ": clean\$" "it is clean"

ok "we mount it again" vmfs-fuse "$ds" "$T/m"
ok "it is all there" diff -r --no-dereference "$tree" "$T/m/tree"
for format in thin zeroedthick eagerzeroedthick; do
	ok "$format is what was put in" cmp "$T/raw" "$T/m/$format-flat.vmdk"
done
if command -v vmfs6-fuse >/dev/null; then
	ok "they mount it" vmfs6-fuse "$ds" "$T/theirs"
	is "$(cd "$T/theirs/tree" && find . | sort)" "$(cd "$tree" && find . | sort)" \
		"the same names"
	different=
	while read -r file; do
		cmp -s "$tree/$file" "$T/theirs/tree/$file" || different+=" $file"
	done < <(cd "$tree" && find . -type f)
	is "$different" "" "every file is the same to them"
	for format in thin zeroedthick eagerzeroedthick; do
		ok "$format too" cmp "$T/raw" "$T/theirs/$format-flat.vmdk"
	done
	fusermount3 -u "$T/theirs"
else
	skip 6 "no vmfs6-tools"
fi
unmount

# ---- what another system made ----

# The mark of mkfs, behind the FS descriptor of the volume, which begins at 17 MiB.
mark=$(((17 << 20) + 0x200e00))
dd if=/dev/zero of="$ds" bs=512 seek=$((mark / 512)) count=1 conv=notrunc status=none
run vmkfstools --mkdir "$ds:/dir"
is "$rc" 1 "it is not written"
like "$out" "force-vmfs6" "the option is named"
run vmkfstools --force-vmfs6 --mkdir "$ds:/dir"
is "$rc" 0 "unless forced"
run vmkfstools --rm "$ds:/dir"
is "$rc" 1 "each time"
run vmkfstools --dir "$ds:/tree"
is "$rc" 0 "it is read"
ok "vmfs-fuse does not write it" bash -c "! vmfs-fuse -o rw '$ds' '$T/m' 2>/dev/null"
ok "unless forced" vmfs-fuse -o rw,force-vmfs6 "$ds" "$T/m"
ok "then it does" rmdir "$T/m/dir"
unmount
run fsck.vmfs -n "$ds"
is "$rc" 0 "fsck finds nothing"
