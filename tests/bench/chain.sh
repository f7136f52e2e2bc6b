# SPDX-License-Identifier: Apache-2.0
#
# A disk on a chain of deltas: random reads of 4 KiB with 32 under way, of a disk each 4
# KiB of which lies in another layer by chance, 32 and 255 deep beside 1 deep. And the
# memory that a disk of 1 TiB takes, 255 deep and scattered in 4 KiB, read all over: by
# how much the process that has it open grows.

chain_size_mib=64

chain_turn() # DEPTH
{
	local got

	got=$(timeout $((seconds_each + 60)) "$bench_bin/data_bench" disk \
		"$work/lun.img:/c$1.vmdk" randread 4096 32 "$seconds_each" 2>>"$work/log")
	[[ $got =~ iops=([0-9.]+) ]]
	sample "chain.$1" "${BASH_REMATCH[1]:-0}"
}

chain_memory() # DEPTH
{
	local got

	rm -f "$work/lun.img"
	truncate -s 20G "$work/lun.img"
	"$bin/mkfs.vmfs" -L bench "$work/lun.img" >"$work/log" 2>&1
	"$bench_bin/chain_bench" "$work/lun.img" scattered "$1" "$chain_kind" \
		2>>"$work/log" || return 1
	got=$("$bench_bin/chain_bench" "$work/lun.img" memory "$1" "$chain_kind" \
		2>>"$work/log") && [[ $got =~ ^bytes=([0-9]+) ]] || return 1
	sample "chain.$1.memory" "$((BASH_REMATCH[1] / 1048576))"
}

bench_chain()
{
	local depth round chain_kind=${CHAIN_KIND:-vmfssparse}

	truncate -s 8G "$work/lun.img"
	"$bin/mkfs.vmfs" -L bench "$work/lun.img" >"$work/log" 2>&1
	for depth in 1 32 255; do
		"$bench_bin/chain_bench" "$work/lun.img" $chain_size_mib $depth \
			"$chain_kind" 2>>"$work/log" ||
			{ missing chain "$(tail -n 1 "$work/log")"; return; }
	done
	for ((round = 0; round < rounds; round++)); do
		for depth in 1 32 255; do
			chain_turn $depth
		done
	done
	line chain-32-randread-4k-qd32 speed chain.32 chain.1 ">=0.90" IOPS
	line chain-255-randread-4k-qd32 speed chain.255 chain.1 ">=0.80" IOPS
	if chain_memory 255; then
		line chain-255-memory time chain.255.memory - "<=64" \
			"MiB, a disk of 1 TiB"
	else
		missing chain-255-memory "$(tail -n 1 "$work/log")"
	fi
	rm -f "$work/lun.img"
}
