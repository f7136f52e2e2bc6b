# SPDX-License-Identifier: Apache-2.0
#
# A check of 200 virtual machines: each a folder with a disk of 1 GiB, all of its blocks
# allocated, and 40 small files, on 1 TiB; beside the checks of other filesystems that
# hold the same. What runs in the CPU alone does not depend on who else uses the machine.
# Then a volume of 64 TiB and 100,000 files.

fsck_mount=$work/fsck.at

# fsck_peer NAME FSTYPE MKFS...: makes it, fills it through a mount of this kernel. 2: it
# stays empty, for this kernel cannot mount it.
fsck_peer()
{
	local name=$1 type=$2 image=$work/fsck.$1 rc

	shift 2
	command -v "$1" >/dev/null || {
		missing "fsck-vs-$name" "$1 is not there"
		return 1
	}
	truncate -s 1T "$image" && "$@" "$image" </dev/null >"$work/log" 2>&1 || {
		missing "fsck-vs-$name" "$(tail -n 1 "$work/log")"
		return 1
	}
	mkdir -p "$fsck_mount"
	mount -t "$type" -o loop "$image" "$fsck_mount" 2>"$work/log" || {
		rc=1
		grep -qw "$type" /proc/filesystems || rc=2
		[ $rc = 2 ] || missing "fsck-vs-$name" "$(tail -n 1 "$work/log")"
		return $rc
	}
	"$bench_bin/fsck_bench" posix 200 40 "$fsck_mount" 2>"$work/log"
	rc=$?
	umount "$fsck_mount"
	[ $rc = 0 ] || { missing "fsck-vs-$name" "$(tail -n 1 "$work/log")"; return 1; }
}

# fsck_turn NAME COMMAND...: what it took.
fsck_turn()
{
	local name=$1 seconds cpu mib

	shift
	sync
	read -r seconds cpu mib < <("$bench_bin/fsck_bench" run "$@" 2>"$work/log")
	sample "fsck.$name.s" "$seconds"
	sample "fsck.$name.cpu" "$cpu"
	sample "fsck.$name.mib" "$mib"
}

fsck_machines()
{
	local round v name
	local -A check=()

	for v in 5 6; do
		truncate -s 1T "$work/fsck.v$v"
		"$bin/mkfs.vmfs" -q -V $v "$work/fsck.v$v" &&
			"$bench_bin/fsck_bench" vmfs 200 40 "$work/fsck.v$v" \
				2>"$work/log" ||
			{ missing "fsck-$v" "$(tail -n 1 "$work/log")"; return; }
	done
	fsck_peer ext4 ext4 mkfs.ext4 -q -F && check[ext4]="e2fsck -fn"
	fsck_peer xfs xfs mkfs.xfs -q -f && check[xfs]="xfs_repair -n -f"
	# Without its module (debugfs.ocfs2 makes no files) an empty one is measured: what
	# it takes is the least that one with files does.
	fsck_peer ocfs2 ocfs2 mkfs.ocfs2 -q -x -F -M local
	case $? in
	0) check[ocfs2]="fsck.ocfs2 -fn" ;;
	2) mv "$work/fsck.ocfs2" "$work/fsck.ocfs2-empty" &&
		check[ocfs2-empty]="fsck.ocfs2 -fn" ;;
	esac
	for ((round = 0; round < rounds; round++)); do
		for v in 5 6; do
			fsck_turn "v$v" "$bin/fsck.vmfs" -n "$work/fsck.v$v"
		done
		for name in "${!check[@]}"; do
			# shellcheck disable=SC2086
			fsck_turn "$name" ${check[$name]} "$work/fsck.$name"
		done
	done
	for v in 5 6; do
		line "fsck-$v-200-machines-time" time "fsck.v$v.s" - "<=0.5" s
		line "fsck-$v-200-machines-cpu" time "fsck.v$v.cpu" - "<=0.5" s
		line "fsck-$v-200-machines-memory" time "fsck.v$v.mib" - "<=64" MiB
		for name in "${!check[@]}"; do
			line "fsck-$v-time-vs-$name" time "fsck.v$v.s" "fsck.$name.s" \
				"<=0.5" s
			line "fsck-$v-memory-vs-$name" time "fsck.v$v.mib" \
				"fsck.$name.mib" "<=64" MiB
		done
	done
	rmdir "$fsck_mount" 2>/dev/null
	rm -f "$work"/fsck.*
}

# Made in memory, where that takes a minute; the copies are read from the disk. A file of
# the disk's filesystem may not be as large: five extents.
fsck_large()
{
	local i round images=() memory

	memory=$(mktemp -d /dev/shm/openvmfs-bench.XXXXXX) || return 1
	for i in 1 2 3 4 5; do
		truncate -s 13107G "$memory/large.$i"
		images+=("$memory/large.$i")
	done
	"$bin/mkfs.vmfs" -q "${images[@]}" &&
		"$bench_bin/fsck_bench" vmfs 1000 99 "${images[@]}" >"$work/log" 2>&1 &&
		cp --sparse=always "${images[@]}" "$work"
	round=$?
	rm -rf "$memory"
	[ $round = 0 ] || return 1
	for ((round = 0; round < rounds; round++)); do
		fsck_turn large "$bin/fsck.vmfs" -n "$work"/large.?
	done
	line fsck-64TiB-100000-files-time time fsck.large.s - "<=60" s
	line fsck-64TiB-100000-files-memory time fsck.large.mib - "<=256" MiB
	rm -f "$work"/large.?
}

bench_fsck()
{
	fsck_machines
	fsck_large || missing fsck-64TiB-100000-files "$(tail -n 1 "$work/log")"
}
