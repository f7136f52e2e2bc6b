# SPDX-License-Identifier: Apache-2.0
#
# Sixteen disks of VMs on one device, with shares from 500 to 4000, each with 32 reads of
# 4 KiB at a time: by how many per cent the one that is furthest off misses its part; and
# what all of them get beside one client of the same device with no shares.

sched_size_mib=1024

sched_value() { grep -o "$1[0-9.]*" "$work/sched.out" | cut -d= -f2; }

bench_sched()
{
	local raw=$work/raw.img round

	openssl enc -aes-128-ctr -pass pass:x -pbkdf2 -nosalt </dev/zero 2>/dev/null |
		dd of="$raw" bs=1M count=$sched_size_mib iflag=fullblock oflag=direct \
			status=none
	for ((round = 0; round < rounds; round++)); do
		"$bench_bin/sched_bench" "$raw" "$seconds_each" >"$work/sched.out" &&
			sample sched.worst "$(sched_value worst_percent=)" &&
			sample sched.all "$(sched_value iops=)" &&
			"$bench_bin/bdev_bench" "$raw" read 32 "$seconds_each" \
				>"$work/sched.out" &&
			sample sched.one "$(sched_value iops=)" ||
			{ missing sched "a client failed"; return; }
	done
	line sched-16-disks-off-their-shares time sched.worst - "<=5" "% on ours"
	line sched-16-disks-vs-one-client speed sched.all sched.one bound IOPS
	rm -f "$raw"
}
