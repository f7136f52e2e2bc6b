#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# libguestfs on disks of a mounted datastore, by their descriptors: it boots its appliance
# with them, finds the filesystems in them, and reads what they were made of.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "an appliance boots (FULL=1)"
need mkfs.vmfs vmkfstools vmfs-fuse guestfish fusermount3
[ -r "$(echo /boot/vmlinuz-* | cut -d' ' -f1)" ] || skip_all "no kernel in /boot"

export LIBGUESTFS_BACKEND=direct LIBGUESTFS_CACHEDIR=$T
# KVM may be there and not run an ordinary guest.
export LIBGUESTFS_BACKEND_SETTINGS=force_tcg
"$ROOT/tests/guest/build.sh" "$T/guest.raw" >"$T/err" 2>&1 || skip_all "no guest"
sum=$(md5sum <"$T/guest.raw" | cut -d' ' -f1)
truncate -s 2G "$T/lun"
mkdir "$T/mnt"
ok "makes the volume" mkfs.vmfs -q -L vms "$T/lun"
disks=()
for kind in thin eagerzeroedthick monolithicSparse streamOptimized; do
	ok "a disk: $kind" vmkfstools -i "$T/guest.raw" -d $kind "$T/lun:/vm/$kind.vmdk"
	disks+=(-a "$T/mnt/vm/$kind.vmdk")
done
at_exit fusermount3 -uz "$T/mnt"
ok "mounts it, only to be read" vmfs-fuse "$T/lun" "$T/mnt"
run timeout 1800 guestfish --ro "${disks[@]}" run : list-filesystems : \
	checksum-device md5 /dev/sda : checksum-device md5 /dev/sdb : \
	checksum-device md5 /dev/sdc : checksum-device md5 /dev/sdd
is "$rc" 0 "guestfish opens them all"
is "$(grep -c ': ext4$' <<<"$out")" 4 "a filesystem in each"
is "$(grep -c "^$sum\$" <<<"$out")" 4 "each has what it was made of"
exit 0
