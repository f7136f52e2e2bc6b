# SPDX-License-Identifier: Apache-2.0
#
# mkfs.vmfs on a sparse file of 10 TiB: time until it has returned and all is on disk, and
# what it wrote; beside mkfs.ext4 with its lazy defaults.

mkfs_turn() # NAME COMMAND...: the file is the last argument
{
	local name=$1 began image=$work/mkfs.img

	shift
	rm -f "$image"
	truncate -s 10T "$image"
	began=$(now_ms)
	# What a shell's children wrote is in its own account when they have ended.
	bash -c '"$@" && cat /proc/self/io' - "$@" "$image" >"$work/log" 2>&1 || return 1
	sync "$image"
	sample "mkfs.$name.s" "$(($(now_ms) - began))e-3"
	sample "mkfs.$name.mb" \
		"$(awk '$1 == "write_bytes:" { print $2 / 1e6 }' "$work/log")"
}

bench_mkfs()
{
	local round

	for ((round = 0; round < rounds; round++)); do
		mkfs_turn ours "$bin/mkfs.vmfs" -L bench ||
			{ missing mkfs "$(tail -n 1 "$work/log")"; return; }
		mkfs_turn ext4 mkfs.ext4 -q -F -E nodiscard ||
			{ missing mkfs "$(tail -n 1 "$work/log")"; return; }
	done
	line mkfs-10TiB-time-vs-ext4 time mkfs.ours.s mkfs.ext4.s "<=0.3" s
	line mkfs-10TiB-written-vs-ext4 time mkfs.ours.mb mkfs.ext4.mb "<=100" MB
	rm -f "$work/mkfs.img"
}
