# SPDX-License-Identifier: Apache-2.0
#
# The data path of libvmfs: a file on a volume in a file, beside a raw file of the same
# size and bytes on the same disk. One program does both (data_bench.c), so what differs
# is what lies between it and the kernel. Random 4 KiB with 32 under way, and 1 MiB in
# order with 4: I/Os per second, and of the small ones the processor time of each.

data_size_mib=1024
data_turns=3 # short ones for each long one

# data_turn NAME PLACE KIND SIZE DEPTH: one turn. One that failed has done nothing.
data_turn()
{
	local seconds=$(((seconds_each + data_turns - 1) / data_turns)) got

	sync "$work/raw.img" "$work/lun.img"
	got=$(timeout $((seconds + 60)) "$bench_bin/data_bench" "$1" "$2" "$3" "$4" "$5" \
		$seconds 2>>"$work/log")
	[[ $got =~ iops=([0-9.]+)\ cpu_us_per_io=([0-9.]+) ]]
	sample "data.$1.$3" "${BASH_REMATCH[1]:-0}"
	sample "data.$1.$3.cpu" "${BASH_REMATCH[2]:-0}"
}

# data_pair KIND SIZE DEPTH: all turns of one kind; each round begins with the other.
data_pair()
{
	local round

	for ((round = 0; round < rounds * data_turns; round++)); do
		((round % 2)) || data_turn vmfs "$work/lun.img:/disk-flat.vmdk" "$@"
		data_turn raw "$work/raw.img" "$@"
		((round % 2)) && data_turn vmfs "$work/lun.img:/disk-flat.vmdk" "$@"
	done
}

bench_data()
{
	local kind

	truncate -s $((data_size_mib * 2))M "$work/lun.img"
	openssl enc -aes-128-ctr -pass pass:x -pbkdf2 -nosalt </dev/zero 2>/dev/null |
		dd of="$work/raw.img" bs=1M count=$data_size_mib iflag=fullblock \
			oflag=direct status=none
	"$bin/mkfs.vmfs" -L bench "$work/lun.img" >"$work/log" 2>&1 &&
		"$bin/vmkfstools" -i "$work/raw.img" -d eagerzeroedthick \
			"$work/lun.img:/disk.vmdk" >"$work/log" 2>&1 ||
		{ missing data "$(tail -n 1 "$work/log")"; return; }
	dd if="$work/raw.img" iflag=nocache count=0 status=none
	for kind in randread randwrite; do
		data_pair $kind 4096 32
		line "data-$kind-4k-qd32" speed data.vmfs.$kind data.raw.$kind ">=0.95" \
			IOPS
		line "data-$kind-4k-qd32-cpu" time data.vmfs.$kind.cpu \
			data.raw.$kind.cpu ">=0.95" us
	done
	for kind in read write; do
		data_pair $kind 1048576 4
		line "data-$kind-1m" speed data.vmfs.$kind data.raw.$kind ">=0.95" MiB/s
	done
	rm -f "$work/lun.img" "$work/raw.img"
}
