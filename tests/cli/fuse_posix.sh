#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A mount is what POSIX and Linux say of a filesystem: tests/mount/mount_posix.c (names,
# kinds, permissions, times), mount_data.c (lengths, blocks, memory, copies),
# mount_edges.c (locks between processes, offsets, places in folders) and mount_calls.c
# (single calls, and who may make them; a read-only mount); and the same as the filesystem
# that this runs on: mount_twin.c. On VMFS-5 and on VMFS-6, there without FULL not the
# first.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs fsck.vmfs
need_root
points=$BIN/../tests/mount
[ -x "$points/mount_posix" ] || skip_all "$points/mount_posix is not built"
mnt=$T/mnt lun=$T/lun
mount_folder "$mnt"
chmod 711 "$T"
seeds="1 2" calls=400
[ -z "${FULL:-}" ] || seeds=$(seq 20) calls=2000

for version in 5 6; do
	rm -f "$lun"
	truncate -s 3G "$lun"
	mkfs.vmfs -q -V "$version" -L posix "$lun" 2>"$T/log" ||
		skip_all "$(cat "$T/log")"
	ok "VMFS-$version is mounted" vmfs-fuse -o rw,allow_other "$lun" "$mnt"
	mkdir "$mnt/posix" "$mnt/data" "$mnt/calls" "$mnt/edges"
	[ "$version${FULL:-}" = 6 ] ||
		ok "names, kinds, permissions, times" "$points/mount_posix" "$mnt/posix"
	ok "lengths, blocks, memory, copies" "$points/mount_data" "$mnt/data"
	ok "locks, offsets, places" "$points/mount_edges" "$mnt/edges"
	ok "single calls, and who may make them" "$points/mount_calls" "$mnt/calls"
	for seed in ${SEEDS:-$seeds}; do
		mkdir "$mnt/twin$seed" "$T/twin$version-$seed"
		ok "calls by chance, seed $seed" "$points/mount_twin" "$mnt/twin$seed" \
			"$T/twin$version-$seed" "$seed" "$calls"
	done
	ok "it unmounts" unmount "$mnt"
	ok "read-only" vmfs-fuse -o ro "$lun" "$mnt"
	ok "nothing is changed" "$points/mount_calls" "$mnt/calls" read-only
	ok "it unmounts" unmount "$mnt"
	clean "$lun" "VMFS-$version"
done
