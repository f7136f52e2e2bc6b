#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfs-fuse -o vdisks: each virtual disk, whatever it is put together of, is one raw file
# beside its descriptor, which other programs take for a disk; written where the mount may
# write, under the disk's lock, and never if others were made on it.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs vmkfstools fsck.vmfs qemu-img
snapshot=$BIN/../tests/rigs/snapshot
[ -x "$snapshot" ] || skip_all "$snapshot is not built"
mnt=$T/mnt other=$T/other lun=$T/lun
mount_folder "$mnt"
mount_folder "$other"
truncate -s 3G "$lun"
mkfs.vmfs -q -L vdisks "$lun" 2>"$T/log" || skip_all "$(cat "$T/log")"

serve() { # FOLDER OPTIONS: in the foreground, so that its words are seen
	vmfs-fuse -f -o "$2" "$lun" "$1" >"$1.log" 2>&1 &
	at_exit kill "$!"
	wait_for 20 mounted "$1"
}
same() { # FILE MODEL: the same bytes, in the same places
	cmp "$1" "$2" && qemu-img compare -q -f raw -F raw "$1" "$2"
}

# A disk with a partition, and in it what can be found again; its end is no whole grain.
truncate -s $((40 << 20 | 512 * 3)) "$T/disk"
echo "start=2048, size=65536, type=83" | sfdisk -q "$T/disk" >/dev/null 2>&1
head -c 1M /dev/urandom >"$T/data"
dd if="$T/data" of="$T/disk" bs=1M seek=1 conv=notrunc status=none
dd if="$T/data" of="$T/disk" bs=512 seek=81000 conv=notrunc count=99 status=none
size=$(stat -c %s "$T/disk")
ok "a folder" vmkfstools --mkdir "$lun:/a"
for kind in thin zeroedthick monolithicSparse monolithicFlat twoGbMaxExtentSparse \
	streamOptimized; do
	ok "a disk: $kind" vmkfstools -i "$T/disk" -d "$kind" "$lun:/a/$kind.vmdk"
done
ok "a disk on another" "$snapshot" "$lun" /a/thin.vmdk /a/child.vmdk vmfssparse

# ---- all are shown

split_disk() { # FOLDER: three extents; one of zeros, one in the middle of its file
	head -c 10M "$T/disk" >"$1/split-f001.vmdk"
	{
		head -c 1024 "$T/data"
		tail -c +$(((12 << 20) + 1)) "$T/disk"
	} >"$1/split-f002.vmdk"
	cat >"$1/split.vmdk" <<-END
		# Disk DescriptorFile
		version=1
		CID=12345678
		parentCID=ffffffff
		createType="custom"
		RW 20480 FLAT "split-f001.vmdk" 0
		RW 4096 ZERO
		RW $((size / 512 - 24576)) FLAT "split-f002.vmdk" 2
	END
}
ok "it is mounted read-write" serve "$mnt" rw,vdisks
split_disk "$mnt/a"
is "$(cd "$mnt/a" && echo *.raw)" "child.raw monolithicFlat.raw monolithicSparse.raw$(:
	) split.raw streamOptimized.raw thin.raw twoGbMaxExtentSparse.raw$(:
	) zeroedthick.raw" \
	"each disk is listed, and what it is made of is not"
for disk in "$mnt"/a/*.raw; do
	is "$(stat -c '%s %F' "$disk")" "$size regular file" "${disk##*/} is a disk"
	ok "with its bytes" same "$disk" "$T/disk"
done
is "$(qemu-img map -f raw --output=json "$mnt/a/child.raw" | grep -c '"data": true')" 2 \
	"holes are told from data"
ok "it is copied with them" cp "$mnt/a/streamOptimized.raw" "$T/copy"
ok "the same" same "$T/copy" "$T/disk"
ok "in no more room" test "$(stat -c %b "$T/copy")" -lt 8192
ok "what is not there is not shown" test ! -e "$mnt/a/none.raw"

# ---- written, by bytes and by sectors

put() { # FILE BYTE-OFFSET LENGTH: into the model, too
	local to
	for to in "$1" "$T/model"; do
		dd if="$T/data" of="$to" bs="$3" count=1 seek="$2" oflag=seek_bytes \
			conv=notrunc status=none || return
	done
}
change() { # FILE
	local to
	cp "$T/disk" "$T/model" && put "$1" 0 512 && put "$1" 1000 3 &&
		put "$1" 70001 200000 && put "$1" 30000128 65536 &&
		put "$1" $((size - 7)) 7 || return
	for to in "$1" "$T/model"; do
		fallocate -p -o 1500000 -l 333333 "$to" &&
			fallocate -z -o 20000001 -l 100000 "$to" || return
	done
	sync "$1" && cmp "$1" "$T/model"
}
for kind in zeroedthick monolithicSparse twoGbMaxExtentSparse child; do
	ok "$kind is written" change "$mnt/a/$kind.raw"
done
overwrite() { # FILE [DD-ARGUMENT...]
	dd if=/dev/zero of="$1" count=1 conv=notrunc "${@:2}"
}
raw=$mnt/a/zeroedthick.raw
ok "a stream is not" fails "Read-only" overwrite "$mnt/a/streamOptimized.raw"
ok "what another was made on is not" fails "not permitted" overwrite "$mnt/a/thin.raw"
like "$(cat "$mnt.log")" "thin.vmdk: is the parent of child.vmdk" "and the log says why"
ok "nor behind the end" fails "No space" overwrite "$raw" seek=$((size / 512))
ok "none gets longer" fails "not permitted" truncate -s +1 "$raw"
ok "or shorter" fails "not permitted" dd if=/dev/zero of="$raw" count=1
ok "or is removed" fails "not permitted" rm -f "$raw"
ok "or moved" fails "not permitted" mv "$raw" "$mnt/a/u"
ok "or gets another name" fails "not permitted" chmod 777 "$raw"
ok "its length is what it was" test "$(stat -c %s "$raw")" = "$size"

# ---- under its lock

ok "a second mount" serve "$other" rw,vdisks
exec 7<>"$raw"
run vmkfstools -D "$lun:/a/zeroedthick-flat.vmdk"
like "$out" "held exclusively" "it is written under its lock"
ok "reads it" same "$other/a/zeroedthick.raw" "$T/model"
ok "and is told that it is in use" fails "busy" overwrite "$other/a/zeroedthick.raw"
like "$(cat "$other.log")" "busy: held by" "by whom, in its log"
exec 7>&-
ok "then it writes" wait_for 60 overwrite "$other/a/zeroedthick.raw" seek=1
dd if=/dev/zero of="$T/model" count=1 seek=1 conv=notrunc status=none
echo real >"$mnt/a/split2.raw"
cp "$mnt/a/split.vmdk" "$mnt/a/split2.vmdk"
is "$(cat "$mnt/a/split2.raw" "$other/a/split2.raw" | tr '\n' ' ')" "real real " \
	"a file of that name comes first"
ok "the second unmounts" unmount "$other"

# Many names: they are read in pieces, and none is left out or comes twice.
mkdir "$mnt/many"
for i in $(seq 150); do
	: >"$mnt/many/a long name that makes a piece of the list full $i"
done
cp "$mnt"/a/split-f00?.vmdk "$mnt/many/"
for i in $(seq 20); do
	cp "$mnt/a/split.vmdk" "$mnt/many/disk $i.vmdk"
done
is "$(ls "$mnt/many" | wc -l)" $((150 + 2 + 2 * 20)) "a long list is whole"
is "$(ls "$mnt/many" | sort | uniq -d)" "" "and nothing is twice in it"

# ---- as what others take it for

loop_checks() { # FILE [LOSETUP-OPTION...]
	if [ "$(id -u)" != 0 ] ||
		! loop=$(losetup -fP --show "${@:2}" "$1" 2>/dev/null); then
		skip 3 "no loop device"
		return
	fi
	at_exit losetup -d "$loop"
	part=/sys/block/${loop#/dev/}/${loop#/dev/}p1
	if zcat -f /proc/config.gz "/boot/config-$(uname -r)" 2>/dev/null |
		grep -q CONFIG_MSDOS_PARTITION=y; then
		is "$(cat "$part/start" "$part/size" | tr '\n' ' ')" "2048 65536 " \
			"a loop device has its partition"
	else
		skip 1 "a kernel without such partitions"
	fi
	ok "with what is in it" cmp -n 400000 -i $((1 << 20)):0 "$loop" "$T/data"
	ok "it is written" dd if="$T/data" of="$loop" bs=64k seek=300 conv=fsync \
		status=none
	losetup -d "$loop"
	free() {
		! losetup "$loop"
	}
	wait_for 20 free
}
loop_checks "$mnt/a/monolithicFlat.raw"
loop_checks "$mnt/a/child.raw" --direct-io=on
is "$(cmp -n 1048576 -i 19660800:0 "$mnt/a/child.raw" "$T/data"; echo $?)" 0 \
	"what went there by loop is there"
# In the appliance of libguestfs, without KVM, which may be there and not run it.
guest_fish() {
	LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg \
		run guestfish --format=raw "$@"
}
if [ -n "${FULL:-}" ] && [ -n "$(command -v guestfish)" ]; then
	guest_fish -a "$mnt/a/child.raw" run : part-disk /dev/sda mbr : \
		list-partitions : mkfs ext4 /dev/sda1 : \
		mount /dev/sda1 / : write /file "by its own filesystem"
	is "$rc $out" "0 /dev/sda1" "guestfish makes a filesystem on it, and a file"
	ok "a mount that only looks" serve "$other" vdisks
	guest_fish --ro -a "$other/a/child.raw" -m /dev/sda1 cat /file
	is "$rc $out" "0 by its own filesystem" "and finds it there"
	ok "it unmounts" unmount "$other"
else
	skip 4 "guestfish: with FULL=1, where it is installed (libguestfs-tools)"
fi
ok "the mount ends" unmount "$mnt"

# ---- read-only, with a chain of three, and by others

ok "a disk on the child" "$snapshot" "$lun" /a/child.vmdk /a/grandchild.vmdk sesparse
ok "it is mounted again" serve "$mnt" rw,vdisks
ok "the grandchild is the child" same "$mnt/a/grandchild.raw" "$mnt/a/child.raw"
ok "until it is written" dd if="$T/data" of="$mnt/a/grandchild.raw" bs=4096 count=1 \
	seek=1953 conv=notrunc status=none
# The grandchild's lock on it is given back behind the end of dd: busy until then.
before=$(sha256sum <"$mnt/a/child.raw")
ok "the child is not then" wait_for 60 fails "not permitted" overwrite "$mnt/a/child.raw"
is "$(sha256sum <"$mnt/a/child.raw")" "$before" "nor was it before"
ok "it unmounts with a disk open" bash -c "exec 8<'$mnt/a/grandchild.raw'
	fusermount3 -u -z '$mnt'" && wait_for 20 gone "$mnt"
ok "it is mounted read-only" serve "$mnt" vdisks
ok "what was written is there" cmp "$mnt/a/zeroedthick.raw" "$T/model"
ok "in those that are alike" same "$mnt/a/monolithicSparse.raw" \
	"$mnt/a/twoGbMaxExtentSparse.raw"
ok "in the grandchild" cmp -n 4096 -i $((1953 * 4096)):0 "$mnt/a/grandchild.raw" "$T/data"
ok "and in what they stand on there is nothing of it" same "$mnt/a/thin.raw" "$T/disk"
ok "nothing is written" fails "Read-only" overwrite "$mnt/a/child.raw"
ok "it unmounts read-only" unmount "$mnt"
clean "$lun" "after all"
