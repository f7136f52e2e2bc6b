# SPDX-License-Identifier: Apache-2.0
#
# A disk on a chain of deltas: random reads of 4 KiB with 32 under way, of a disk each 4
# KiB of which lies in another layer by chance, 32 and 255 deep beside 1 deep; and what
# the map takes, in MiB for each TiB of the disk.

chain_size_mib=64

chain_turn() # DEPTH
{
	local got

	got=$(timeout $((seconds_each + 60)) "$bench_bin/data_bench" disk \
		"$work/lun.img:/c$1.vmdk" randread 4096 32 "$seconds_each" 2>>"$work/log")
	[[ $got =~ iops=([0-9.]+) ]]
	sample "chain.$1" "${BASH_REMATCH[1]:-0}"
}

bench_chain()
{
	local depth round got

	truncate -s 8G "$work/lun.img"
	"$bin/mkfs.vmfs" -L bench "$work/lun.img" >"$work/log" 2>&1
	for depth in 1 32 255; do
		got=$("$bench_bin/chain_bench" "$work/lun.img" $chain_size_mib $depth \
			"${CHAIN_KIND:-vmfssparse}" 2>>"$work/log") ||
			{ missing chain "$(tail -n 1 "$work/log")"; return; }
		[[ $got =~ map_bytes=([0-9]+) ]] && sample "chain.$depth.map" \
			"$((BASH_REMATCH[1] / chain_size_mib))"
	done
	for ((round = 0; round < rounds; round++)); do
		for depth in 1 32 255; do
			chain_turn $depth
		done
	done
	line chain-32-randread-4k-qd32 speed chain.32 chain.1 ">=0.90" IOPS
	line chain-255-randread-4k-qd32 speed chain.255 chain.1 ">=0.80" IOPS
	line chain-255-map time chain.255.map - "<=8192" "MiB a TiB, scattered in 4 KiB"
	rm -f "$work/lun.img"
}
