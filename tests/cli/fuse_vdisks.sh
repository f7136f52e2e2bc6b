#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfs-fuse -o vdisks: a virtual disk is one raw file beside its descriptor, which other
# programs take for a disk; written where the mount may write, under the disk's lock.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs vmkfstools fsck.vmfs
mnt=$T/mnt lun=$T/lun
mount_folder "$mnt"
truncate -s 3G "$lun"
mkfs.vmfs -q -L vdisks "$lun" 2>"$T/log" || skip_all "$(cat "$T/log")"

# A disk with a partition, and in it what can be found again.
truncate -s 40M "$T/disk"
echo "start=2048, size=65536, type=83" | sfdisk -q "$T/disk" >/dev/null 2>&1
head -c 1M /dev/urandom >"$T/data"
dd if="$T/data" of="$T/disk" bs=1M seek=1 conv=notrunc status=none
ok "a folder" vmkfstools --mkdir "$lun:/a"
ok "a thin disk" vmkfstools -i "$T/disk" -d thin "$lun:/a/d.vmdk"
ok "a thick one" vmkfstools -c 20m -d zeroedthick "$lun:/a/t.vmdk"

ok "it is mounted read-only" vmfs-fuse -o vdisks "$lun" "$mnt"
is "$(ls "$mnt/a" | tr '\n' ' ')" \
	"d-flat.vmdk d.raw d.vmdk t-flat.vmdk t.raw t.vmdk " "disks are listed"
is "$(ls -l "$mnt/a" | grep -c raw)" 2 "with what they are"
is "$(stat -c '%s %F' "$mnt/a/d.raw")" "41943040 regular file" "as long as the disk"
ok "the same bytes" cmp "$mnt/a/d.raw" "$T/disk"
ok "holes stay" test "$(stat -c %b "$mnt/a/d.raw")" -lt $((20 << 11))
ok "what is no disk is not shown" test ! -e "$mnt/a/d-flat.raw"
ok "nor what is not there" test ! -e "$mnt/a/none.raw"
if command -v qemu-img >/dev/null; then
	ok "qemu-img takes it" qemu-img compare -q -f raw -F raw "$mnt/a/d.raw" "$T/disk"
else
	skip 1 "no qemu-img"
fi
ok "nothing is written" fails "Read-only" dd if=/dev/zero of="$mnt/a/d.raw" count=1 \
	conv=notrunc
ok "it unmounts" unmount "$mnt"

# Many names: they are read in pieces, and none is left out or comes twice.
ok "it is mounted read-write" vmfs-fuse -o rw,vdisks "$lun" "$mnt"
mkdir "$mnt/many"
for i in $(seq 150); do
	: >"$mnt/many/a long name that makes a piece of the list full $i"
done
cp "$mnt/a/t.vmdk" "$mnt/a/t-flat.vmdk" "$mnt/many/"
for i in $(seq 20); do
	cp "$mnt/a/t.vmdk" "$mnt/many/disk $i.vmdk"
done
is "$(ls "$mnt/many" | wc -l)" $((150 + 2 * 21 + 1)) "a long list is whole"
is "$(ls "$mnt/many" | sort | uniq -d)" "" "and nothing is twice in it"
dd if="$T/data" of="$mnt/a/t.raw" bs=64k seek=3 conv=notrunc,fsync status=none
ok "a disk is written" cmp -n 1048576 -i 196608:0 "$mnt/a/t-flat.vmdk" "$T/data"
exec 7<>"$mnt/a/t.raw"
run vmkfstools -D "$lun:/a/t-flat.vmdk"
like "$out" "held exclusively" "under its lock"
exec 7>&-
ok "a name of the view is not removed" fails "not permitted" rm -f "$mnt/a/t.raw"
ok "nor moved" fails "not permitted" mv "$mnt/a/t.raw" "$mnt/a/u"
echo real >"$mnt/a/x.raw"
cp "$mnt/a/t.vmdk" "$mnt/a/x.vmdk"
is "$(cat "$mnt/a/x.raw")" real "a file of that name comes first"
is "$(ls "$mnt/a" | grep -c x.raw)" 1 "and is listed once"
if [ "$(id -u)" = 0 ] && loop=$(losetup -fP --show "$mnt/a/d.raw" 2>/dev/null); then
	at_exit losetup -d "$loop"
	part=/sys/block/${loop#/dev/}/${loop#/dev/}p1
	if zcat -f /proc/config.gz "/boot/config-$(uname -r)" 2>/dev/null |
		grep -q CONFIG_MSDOS_PARTITION=y; then
		is "$(cat "$part/start" "$part/size" | tr '\n' ' ')" "2048 65536 " \
			"a loop device has its partition"
	else
		skip 1 "a kernel without such partitions"
	fi
	ok "with what is in it" cmp -n 1048576 -i 1048576:0 "$loop" "$T/data"
	losetup -d "$loop"
	free() {
		! losetup "$loop"
	}
	wait_for 20 free
else
	skip 2 "no loop device"
fi
ok "it unmounts" unmount "$mnt"
clean "$lun" "after all"
