# SPDX-License-Identifier: Apache-2.0
#
# mkfs.vmfs on sparse files: time until it has returned and all is on disk, and what it
# wrote. At 10 TiB beside other makers of filesystems (a file of this filesystem may not
# be larger), then ours at 48 and 64 TiB, of several extents, both versions, beside what
# the format asks for: the headers of all clusters, PE tables and heartbeats.

mkfs_turn() # NAME TIB COMMAND...: the devices are the last arguments
{
	local name=$1 tib=$2 began left image images=()

	shift 2
	rm -f "$work"/mkfs.img.*
	for ((left = tib * 1024; left > 0; left -= 12800)); do
		image=$work/mkfs.img.$left
		truncate -s $(((left < 12800 ? left : 12800) * 1024 + 17))M "$image"
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
		mkfs_turn ext4 10 mkfs.ext4 -q -F -E nodiscard ||
			missing mkfs-ext4 "$(tail -n 1 "$work/log")"
		mkfs_turn xfs 10 mkfs.xfs -q -f -K ||
			missing mkfs-xfs "$(tail -n 1 "$work/log")"
		mkfs_turn ocfs2 10 mkfs.ocfs2 -q -x -F -T vmstore ||
			missing mkfs-ocfs2 "$(tail -n 1 "$work/log")"
	done
	for tib in 10 48 64; do
		for v in 5 6; do
			line "mkfs-$v-${tib}TiB-written-vs-format" time \
				"mkfs.v$v.$tib.mb" "mkfs.demand$v.$tib.mb" ">=0.909" MB
		done
	done
	line mkfs-5-48TiB-time time mkfs.v5.48.s - "<=1" s
	for peer in ext4 xfs ocfs2; do
		[ -e "$work/samples.mkfs.$peer.s" ] || continue
		line "mkfs-5-10TiB-time-vs-$peer" time mkfs.v5.10.s "mkfs.$peer.s" \
			"<=0.3" s
		line "mkfs-6-10TiB-time-vs-$peer" time mkfs.v6.10.s "mkfs.$peer.s" \
			"<=2" s
		line "mkfs-5-10TiB-written-vs-$peer" time mkfs.v5.10.mb "mkfs.$peer.mb" \
			"<=100" MB
	done
	rm -f "$work"/mkfs.img.*
}
