# SPDX-License-Identifier: Apache-2.0
#
# The initiator beside libiscsi (its own iscsi-perf) on the same LUN of tgt: random reads
# of 4 KiB one at a time and 32 at once, reads of 1 MiB one behind the other. tgt has one
# network thread: where it is the limit both are as fast.

iscsi_port=$((13870 + $$ % 40))

# iscsi_turn NAME OURS-ARGUMENTS -- PEER-ARGUMENTS: one turn of each.
iscsi_turn()
{
	local name=$1 out iops cpu
	local -a ours=("${@:2}") peer

	peer=("${ours[@]:3}")
	ours=("${ours[@]:0:3}")
	out=$("$bench_bin/bdev_bench" "$iscsi_url" read "${ours[0]}" "$seconds_each" \
		${ours[1]#4096} 2>/dev/null)
	sample "ours.$name" "$(echo "$out" | sed 's/iops=\([0-9.]*\).*/\1/')"
	sample "ours-cpu.$name" "${out#*cpu_us_per_io=}"
	TIMEFORMAT='%U %S'
	{ time iscsi-perf "${peer[@]}" -t "$seconds_each" "$iscsi_url" >"$work/perf"; } \
		2>"$work/time"
	iops=$(tr '\r' '\n' <"$work/perf" | sed -n 's/^iops average \([0-9]*\).*/\1/p')
	cpu=$(awk -v n=$((${iops:-0} * seconds_each)) 'NF == 2 && n { t = $1 + $2 }
		END { print n ? t * 1e6 / n : 0 }' "$work/time")
	sample "perf.$name" "${iops:-0}"
	sample "perf-cpu.$name" "$cpu"
}

bench_iscsi()
{
	local name round

	for name in tgtd iscsi-perf; do
		command -v $name >/dev/null ||
			{ missing iscsi "$name is not here"; return; }
	done
	mkdir -p "$work/tgt"
	truncate -s 512M "$work/lun.img"
	iscsi_url=$(TGT_TUNED=1 "$top/tests/rigs/tgt.sh" up "$work/tgt" $iscsi_port \
		"$work/lun.img" 2>"$work/log") ||
		{ missing iscsi "$(tail -n 1 "$work/log")"; return; }
	for ((round = 0; round < rounds; round++)); do
		iscsi_turn randread-4k-qd1 1 4096 -- -m 1 -b 8 -r
		iscsi_turn randread-4k-qd32 32 4096 -- -m 32 -b 8 -r
		iscsi_turn read-1m-qd4 4 1048576 -- -m 4 -b 2048
	done
	"$top/tests/rigs/tgt.sh" down "$work/tgt" $iscsi_port
	for name in randread-4k-qd1 randread-4k-qd32 read-1m-qd4; do
		line "iscsi-$name" speed "ours.$name" "perf.$name" ">=1.0" IOPS
	done
	line iscsi-cpu-4k-qd32 time ours-cpu.randread-4k-qd32 perf-cpu.randread-4k-qd32 \
		">=1.43" us
	rm -f "$work/lun.img"
}
