# SPDX-License-Identifier: Apache-2.0
#
# mkfs.vmfs on sparse files: time until it has returned and all is on disk, and what it
# wrote. At 10 TiB beside other makers of filesystems (a file of ext4 may not be larger
# than 16), then ours at 48 and 64 TiB, of several extents, both versions, beside what
# the format asks for: the headers of all clusters, PE tables and heartbeats. And there
# beside the others, too, where an XFS in a file can be mounted (root, loop devices): on
# that one file may be so large. All lie there then, ours in extents as ever.

mkfs_place=$work
mkfs_extent=12800 # GiB

mkfs_turn() # NAME TIB COMMAND...: the devices are the last arguments
{
	local name=$1 tib=$2 began left image size images=()

	shift 2
	rm -f "$mkfs_place"/mkfs.img.*
	for ((left = tib * 1024; left > 0; left -= mkfs_extent)); do
		image=$mkfs_place/mkfs.img.$left
		size=$((left < mkfs_extent ? left : mkfs_extent))
		truncate -s $((size * 1024 + 17))M "$image"
		images+=("$image")
	done
	began=$(now_ms)
	# What a shell's children wrote is in its own account when they have ended.
	bash -c '"$@" && cat /proc/self/io' - "$@" "${images[@]}" >"$work/log" 2>&1 ||
		return 1
	sync "${images[@]}"
	sample "mkfs.$name.s" "$(($(now_ms) - began))e-3"
	sample "mkfs.$name.mb" \
		"$(awk '$1 == "write_bytes:" { print $2 / 1e6 }' "$work/log")"
}

# MB that VMFS-5 of so many TiB asks for: 1 KiB for each cluster of 200 blocks, 128 bytes
# for each PE, 1 MiB of heartbeats, and 5198 clusters of the other resource files.
mkfs_demand5() # TIB
{
	awk -v t="$1" 'BEGIN {
		blocks = t * 2 ^ 20 / 200 * 1024
		print (blocks + t * 4096 * 128 + 2 ^ 20 + 5198 * 1024) / 1e6
	}'
}

# VMFS-6: 8 KiB for each 512 blocks, and for 16 of those; 4 MiB of heartbeats.
mkfs_demand6() # TIB
{
	awk -v t="$1" 'BEGIN { print (t * 2048 * 8192 * 17 / 16 + 2 ^ 22) / 1e6 }'
}

# mkfs_other NAME.SIZE TIB: one of them, on one device.
mkfs_other()
{
	case $1 in
	ext4.*) mkfs_turn "$1" "$2" mkfs.ext4 -q -F -E nodiscard ;;
	xfs.*) mkfs_turn "$1" "$2" mkfs.xfs -q -f -K ;;
	# Its log counts blocks in 32 bits, if nothing is said.
	ocfs2.*) mkfs_turn "$1" "$2" mkfs.ocfs2 -q -x -F -T vmstore -J block64 ;;
	esac || missing "mkfs-${1%.*}" "$(tail -n 1 "$work/log")"
}

mkfs_large_rounds()
{
	local round tib

	for ((round = 0; round < rounds; round++)); do
		for tib in 48 64; do
			mkfs_extent=12800
			mkfs_turn "large5.$tib" $tib "$bin/mkfs.vmfs" -V 5 -L bench &&
				mkfs_turn "large6.$tib" $tib \
					"$bin/mkfs.vmfs" -V 6 -L bench ||
				missing mkfs "$(tail -n 1 "$work/log")"
			mkfs_extent=$((tib * 1024))
			mkfs_other xfs.$tib $tib
			mkfs_other ocfs2.$tib $tib
		done
	done
	mkfs_extent=12800
}

mkfs_large_lines() # VERSION TIB PEER
{
	line "mkfs-$1-$2TiB-time-vs-$3" time \
		"mkfs.large$1.$2.s" "mkfs.$3.$2.s" bound s
	line "mkfs-$1-$2TiB-written-vs-$3" time \
		"mkfs.large$1.$2.mb" "mkfs.$3.$2.mb" bound MB
}

mkfs_large()
{
	local tib peer v

	mkfs_place=$work/mount
	mkdir "$mkfs_place"
	truncate -s 24G "$work/xfs.img"
	if mkfs.xfs -q -K "$work/xfs.img" 2>/dev/null &&
		mount -o loop "$work/xfs.img" "$mkfs_place" 2>/dev/null
	then
		mkfs_large_rounds
		rm -f "$mkfs_place"/mkfs.img.*
		umount "$mkfs_place"
		for tib in 48 64; do
			for peer in xfs ocfs2; do
				[ -e "$work/samples.mkfs.$peer.$tib.s" ] || continue
				for v in 5 6; do
					mkfs_large_lines $v $tib "$peer"
				done
			done
		done
	else
		echo "# no XFS can be mounted: mkfs of 48 and 64 TiB without peers"
	fi
	mkfs_place=$work
	rm -f "$work/xfs.img"
}

bench_mkfs()
{
	local round tib v peer

	for ((round = 0; round < rounds; round++)); do
		for tib in 10 48 64; do
			for v in 5 6; do
				mkfs_turn "v$v.$tib" $tib \
					"$bin/mkfs.vmfs" -V $v -L bench ||
					{
						missing mkfs "$(tail -n 1 "$work/log")"
						return
					}
				sample "mkfs.demand$v.$tib.mb" "$(mkfs_demand$v $tib)"
			done
		done
		for peer in ext4 xfs ocfs2; do
			mkfs_other $peer.10 10
		done
	done
	for tib in 10 48 64; do
		for v in 5 6; do
			line "mkfs-$v-${tib}TiB-written-vs-format" time \
				"mkfs.v$v.$tib.mb" "mkfs.demand$v.$tib.mb" ">=0.909" MB
		done
	done
	line mkfs-5-48TiB-time time mkfs.v5.48.s - "<=1" s
	for peer in ext4 xfs ocfs2; do
		[ -e "$work/samples.mkfs.$peer.10.s" ] || continue
		line "mkfs-5-10TiB-time-vs-$peer" time mkfs.v5.10.s "mkfs.$peer.10.s" \
			"<=0.3" s
		line "mkfs-6-10TiB-time-vs-$peer" time mkfs.v6.10.s "mkfs.$peer.10.s" \
			"<=2" s
		line "mkfs-5-10TiB-written-vs-$peer" time mkfs.v5.10.mb \
			"mkfs.$peer.10.mb" "<=100" MB
	done
	rm -f "$work"/mkfs.img.*
	mkfs_large
}
