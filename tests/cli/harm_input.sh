#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What is not a whole VMFS volume: every program refuses it with one line that names it,
# leaves it as it was, and leaves nothing of its own behind.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmfs-dump vmfs-fuse vmkfstools vmkernel

mkdir "$T/mnt" "$T/dir"
: >"$T/empty"
truncate -s 20M "$T/zeros"
mkfifo "$T/fifo"
head -c 1M /dev/urandom >"$T/noise"
truncate -s 400M "$T/whole" "$T/b"
head -c 5M /dev/urandom >"$T/raw"
mkfs.vmfs -q -L whole "$T/whole" && vmkfstools -i "$T/raw" -d thin "$T/whole:/a.vmdk" ||
	fail "no volume to begin with"
cp --sparse=always "$T/whole" "$T/cut"
truncate -s 200M "$T/cut"
cp --sparse=always "$T/whole" "$T/stub"
truncate -s 17M "$T/stub"
before=$(cd "$T" && sha256sum whole cut stub noise empty)

# limited COMMAND...: nothing may hang.
limited() { timeout -k 5 120 "$@"; }

# each NAME DEVICE REGEX: DEVICE is refused by all that read a volume.
each() {
	local name=$1 device=$2 regex=$3
	refused "fsck.vmfs: $name" "$regex" limited fsck.vmfs -n "$device"
	refused "vmfs-dump: $name" "$regex" limited vmfs-dump "$device" fs
	refused "vmfs-fuse: $name" "$regex" limited vmfs-fuse -o ro "$device" "$T/mnt"
	refused "vmkfstools -P: $name" "$regex" limited vmkfstools -P "$device"
	refused "vmkfstools -c: $name" "$regex" limited vmkfstools -c 1m "$device:/x.vmdk"
	refused "vmkfstools -i: $name" "$regex" \
		limited vmkfstools -i "$T/raw" "$device:/x.vmdk"
	refused "vmkernel: $name" "$regex" \
		limited vmkernel -d "$T/host" --device "$device"
}

each "missing" "$T/none" "$T/none: No such file"
each "empty" "$T/empty" "$T/empty"
each "a directory" "$T/dir" "$T/dir"
each "a FIFO" "$T/fifo" "$T/fifo"
each "zeros" "$T/zeros" "$T/zeros"
each "noise" "$T/noise" "$T/noise"

# Cut short: fsck.vmfs and vmfs-dump are there to look at it; the others refuse it.
for cut in cut stub; do
	run fsck.vmfs -n "$T/$cut"
	is "$rc" 4 "fsck.vmfs: $cut short"
	like "$out" "$T/$cut: made for 419430400 bytes, only [0-9]* are there" \
		"and its bytes are named"
	run vmfs-dump "$T/$cut" heartbeats
	[ $cut = cut ] || refused "vmfs-dump: $cut short" "$T/$cut" \
		vmfs-dump "$T/$cut" heartbeats
	refused "vmfs-fuse: $cut short" "$T/$cut" \
		limited vmfs-fuse -o ro "$T/$cut" "$T/mnt"
	refused "vmkfstools -P: $cut short" "$T/$cut" limited vmkfstools -P "$T/$cut"
	refused "vmkfstools -i: $cut short" "$T/$cut" \
		limited vmkfstools -i "$T/raw" "$T/$cut:/x.vmdk"
	refused "vmkernel: $cut short" "$T/$cut" \
		limited vmkernel -d "$T/host" --device "$T/$cut"
done

# One of two extents.
handmade=$BIN/../tests/unit/handmade_volume
if [ -x "$handmade" ] && : >"$T/one" && : >"$T/two" && "$handmade" "$T/one" "$T/two"; then
	for extent in one two; do
		each "only extent $extent" "$T/$extent" "$T/$extent|missing"
	done
else
	skip 14 "handmade_volume is not built"
fi

# mkfs.vmfs: what no volume can be made of (more: mkfs_refuse.sh).
for what in none dir fifo empty; do
	refused "mkfs.vmfs: $what" "$T/$what" limited mkfs.vmfs -f "$T/$what"
done

# A file that only lets itself be read. Root may write it all the same, so its filesystem
# must say it.
if [ "$(id -u)" = 0 ] && mkdir "$T/ro" && mount --bind "$T" "$T/ro" 2>/dev/null &&
	mount -o remount,bind,ro "$T/ro" 2>/dev/null; then
	at_exit umount -l "$T/ro"
	ok "read-only: fsck.vmfs -n reads it" limited fsck.vmfs -n "$T/ro/whole"
	ok "read-only: vmkfstools -P reads it" limited vmkfstools -P "$T/ro/whole"
	ok "read-only: vmfs-fuse mounts it" limited vmfs-fuse -o ro "$T/ro/whole" "$T/mnt"
	fusermount3 -u "$T/mnt"
	refused "read-only: mkfs.vmfs" "$T/ro/b: Read-only" limited mkfs.vmfs "$T/ro/b"
	refused "read-only: vmkfstools -c" "$T/ro/whole: Read-only" \
		limited vmkfstools -c 1m "$T/ro/whole:/x.vmdk"
	refused "read-only: vmkernel" "$T/ro/whole: Read-only" \
		limited vmkernel -d "$T/host" --device "$T/ro/whole"
else
	skip 6 "no read-only bind mount"
fi

# ---- nothing is harmed ----

ok "the zeros are zeros" cmp -n 20971520 "$T/zeros" /dev/zero
is "$(cd "$T" && sha256sum whole cut stub noise empty)" "$before" \
	"every device is as it was"
is "$(grep -c " $T/mnt " /proc/mounts)" 0 "nothing is mounted"
is "$(pgrep -f -- "-d $T/host" | wc -l)" 0 "no vmkernel runs"
