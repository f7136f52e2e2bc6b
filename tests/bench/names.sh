# SPDX-License-Identifier: Apache-2.0
#
# 4,000 small files made, looked at, renamed and removed by one process, without fsync,
# through our FUSE mount and through fuse2fs on ext4, each on a file of its own; and the
# mount of a volume of 100,000 files that is not in memory.

names_mount=$work/names.at

names_turn() # NAME COMMAND...: mounts, works, unmounts
{
	local name=$1 what number rc

	shift
	mkdir -p "$names_mount" && "$@" "$names_mount" >"$work/log" 2>&1 || return 1
	"$bench_bin/names_bench" "$names_mount" 4000 >"$work/names" 2>"$work/log"
	rc=$?
	fusermount3 -u "$names_mount" || return 1
	[ $rc = 0 ] || return 1
	while read -r what number; do
		sample "names.$name.$what" "$number"
	done <"$work/names"
	# All four together: 4 operations in the time of each.
	sample "names.$name.all" \
		"$(awk '{ s += 1 / $2 } END { print 4 / s }' "$work/names")"
}

names_compare()
{
	local round turns=$(((rounds + 1) / 2)) what image=$work/names.img
	local peer=$work/names.ext4

	for ((round = 0; round < turns; round++)); do
		rm -f "$image" "$peer"
		truncate -s 64G "$image" "$peer"
		"$bin/mkfs.vmfs" -q "$image" && mkfs.ext4 -q -F "$peer" &&
			names_turn ours "$bin/vmfs-fuse" -o rw "$image" &&
			names_turn ext4 fuse2fs -o fakeroot "$peer" ||
			{ missing names "$(tail -n 1 "$work/log")"; return; }
	done
	for what in create stat rename unlink all; do
		line "names-$what-vs-fuse2fs" speed "names.ours.$what" \
			"names.ext4.$what" ">=1" "files/s"
	done
	rm -f "$image" "$peer"
}

# Made in memory, where that takes a minute; the copy is read from the disk.
names_mount_large()
{
	local memory image=$work/large.img round began

	memory=$(mktemp /dev/shm/openvmfs-bench.XXXXXX) || return 1
	truncate -s 1T "$memory"
	"$bin/mkfs.vmfs" -q "$memory" &&
		"$bench_bin/create_bench" "$memory" 1 100000 >"$work/log" 2>&1 &&
		cp --sparse=always "$memory" "$image" && sync "$image"
	round=$?
	rm -f "$memory"
	[ $round = 0 ] || return 1
	for ((round = 0; round < rounds; round++)); do
		dd if="$image" iflag=nocache count=0 status=none
		began=$(now_ms)
		"$bin/vmfs-fuse" -o rw "$image" "$names_mount" >"$work/log" 2>&1 ||
			return 1
		sample names.mount "$(($(now_ms) - began))e-3"
		fusermount3 -u "$names_mount"
	done
	rm -f "$image"
	line mount-of-100000-files time names.mount - "<=0.3" s
}

bench_names()
{
	[ -w /dev/fuse ] || { missing names "no /dev/fuse"; return; }
	names_compare
	names_mount_large || missing mount-of-100000-files "$(tail -n 1 "$work/log")"
}
