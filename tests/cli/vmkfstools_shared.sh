#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Clones of host files on filesystems whose files can share blocks (XFS, btrfs): what is
# data is shared, not copied, holes and zeros take no room as ever. And on tmpfs, where
# the kernel copies it in its page cache.

. "$(dirname "$0")/../lib/tap.sh"
need qemu-img losetup
[ "$(id -u)" = 0 ] || skip_all "mounts filesystems: root alone may"

# filesystem NAME: mounted at $mnt; false if this machine has none
filesystem() {
	mnt=$T/$1
	mkdir -p "$mnt"
	case $1 in
	tmpfs) mount -t tmpfs none "$mnt" 2>/dev/null ;;
	*)
		command -v "mkfs.$1" >/dev/null &&
			truncate -s 700M "$T/$1.img" &&
			"mkfs.$1" -q "$T/$1.img" >"$T/made" 2>&1 &&
			mount -o loop "$T/$1.img" "$mnt" 2>/dev/null
		;;
	esac || return 1
	at_exit umount -l "$mnt"
}

used_mib() {
	sync -f "$mnt"
	df --output=used -BM "$mnt" | sed -n '2s/[ M]//gp'
}

# Data, zeros that are written, a hole, data of which grains begin with zeros, and an end
# that is no whole grain.
make_raw() {
	head -c 100M /dev/urandom >"$raw"
	head -c 8M /dev/zero >>"$raw"
	truncate -s 160M "$raw"
	for at in 1925 1942 2059; do # in 64 KiB
		head -c 20000 /dev/urandom |
			dd of="$raw" bs=20000 iflag=fullblock oflag=seek_bytes \
				seek=$((at * 65536 + 40000)) conv=notrunc status=none
	done
	head -c 3000 /dev/urandom >>"$raw"
}

for fs in xfs btrfs tmpfs; do
	filesystem $fs || { diag "no $fs here"; continue; }
	raw=$mnt/a.raw
	make_raw
	# What no image can have is a part of a sector; it is zeros behind the end.
	cp --sparse=always "$raw" "$T/whole.raw"
	truncate -s %512 "$T/whole.raw"
	for kind in monolithicSparse monolithicFlat twoGbMaxExtentSparse; do
		before=$(used_mib)
		ok "$fs: raw -> $kind" vmkfstools -i "$raw" -d $kind "$mnt/$kind.vmdk"
		took=$(($(used_mib) - before))
		ok "$fs: qemu-img reads the same" \
			qemu-img compare -q "$T/whole.raw" "$mnt/$kind.vmdk"
		ok "$fs: qemu-img check" qemu-img check -q "$mnt/$kind.vmdk"
		[ $fs = tmpfs ] || ok "$fs: $took MiB of its own" test $took -lt 30
		ok "$fs: no more than its data" test $took -lt 130
	done
	ok "$fs: flat -> sparse" vmkfstools -i "$mnt/monolithicFlat.vmdk" \
		-d monolithicSparse "$mnt/b.vmdk"
	ok "$fs: the same" qemu-img compare -q "$T/whole.raw" "$mnt/b.vmdk"

	# The source is its own: what is written to it later is not in the clone.
	dd if=/dev/zero of="$raw" bs=1M count=4 conv=notrunc status=none
	ok "$fs: a clone is not its source" \
		qemu-img compare -q "$T/whole.raw" "$mnt/monolithicSparse.vmdk"
	rm -f "$mnt"/*.vmdk
	if [ $fs = tmpfs ]; then
		mount -o remount,size=200m "$mnt"
		run vmkfstools -i "$raw" -d monolithicSparse "$mnt/f.vmdk"
		ok "no room: it fails" test "$rc" != 0
		like "$out" "No space left" "and says so"
		ok "nothing of it is left" test -z "$(find "$mnt" -name '*f.vmdk*')"
	fi
	umount "$mnt"
done
