# SPDX-License-Identifier: Apache-2.0
#
# Acquire and release of one on-disk lock on a volume in a file, beside the floor: reading
# and writing the sector twice with O_DIRECT (lock_bench.c measures both, in turns).

bench_lock()
{
	local image=$work/lock.img what ms

	[ -x "$bench_bin/lock_bench" ] ||
		{ missing lock "lock_bench is not built"; return; }
	truncate -s 4G "$image"
	"$bin/mkfs.vmfs" -L bench "$image" >"$work/log" 2>&1 &&
		"$bench_bin/lock_bench" "$image" "$rounds" >"$work/lock" 2>"$work/log" ||
		{ missing lock "$(tail -n 1 "$work/log")"; return; }
	while read -r what ms; do
		sample "lock.$what" "$ms"
	done <"$work/lock"
	line lock-acquire-release-p50-vs-floor time lock.ours lock.floor "<=0.3" ms
	rm -f "$image"
}
