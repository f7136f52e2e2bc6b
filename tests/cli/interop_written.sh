#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What our tools write, independent readers read: virtual disks of every format and size
# class, put on a volume by vmkfstools, seen by Debian's vmfs-fuse and debugvmfs.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/disks.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmfs-fuse debugvmfs fusermount3
[ -w /dev/fuse ] || skip_all "no /dev/fuse"
theirs=/usr/sbin/vmfs-fuse
[ -x "$theirs" ] || theirs=/usr/bin/vmfs-fuse
[ -x "$theirs" ] || skip_all "no vmfs-fuse of vmfs-tools"

ds=$T/ds
truncate -s 4G "$ds"
mkfs.vmfs -q -L written "$ds"
put_disks "$ds"

run fsck.vmfs -n "$ds"
is "$rc" 0 "fsck finds nothing"
run debugvmfs "$ds" check_vol_bitmaps
like "$out" '^Total errors: 0$' "debugvmfs finds nothing"
run debugvmfs "$ds" df
free=$(sed -n 's/^Free blocks *: *//p' <<<"$out")
like "$(vmfs-dump "$ds" resources)" "^\.fbb\.sf: [0-9]* resources, $free free" "df agrees"

mkdir "$T/ours" "$T/theirs"
at_exit fusermount3 -q -u -z "$T/ours"
at_exit fusermount3 -q -u -z "$T/theirs"
ok "we mount it" vmfs-fuse "$ds" "$T/ours"
ok "they mount it" "$theirs" "$ds" "$T/theirs"
is "$(ls -A "$T/ours")" "$(ls -A "$T/theirs")" "the same names"
ok "gone is gone" test ! -e "$T/theirs/gone.vmdk" -a ! -e "$T/theirs/gone-flat.vmdk"
for format in thin zeroedthick eagerzeroedthick; do
	ok "$format: theirs has what was put in" \
		cmp "$T/raw" "$T/theirs/$format-flat.vmdk"
	ok "$format: ours too" cmp "$T/raw" "$T/ours/$format-flat.vmdk"
	ok "$format: the same descriptor" \
		cmp "$T/ours/$format.vmdk" "$T/theirs/$format.vmdk"
done
fusermount3 -u "$T/ours"
fusermount3 -u "$T/theirs"
