# SPDX-License-Identifier: Apache-2.0
#
# The initiator beside libiscsi (tests/bench/iscsi_peer.c: its event loop, its calls, the
# same loop around it as ours) on the same LUN in turns: random reads of 4 KiB one at a
# time and 32 at once, 1 MiB one behind the other, both ways. Of tgt, which has one
# network thread: where it is the limit both are as fast; and of our own target without a
# disk.
# Calls to the kernel are counted by strace, in turns of their own.

# shellcheck source=/dev/null
. "$top/tests/lib/places.sh"
take_ports
iscsi_port=$port

# iscsi_turn NAME URL OP DEPTH [BYTES]: turns of each, called NAME. Three short ones, and
# who goes first changes: what else the machine does is the same for both.
iscsi_turn()
{
	local name=$1 turn who out
	local -a order=(bdev_bench iscsi_peer)
	local -a how=("$2" "$3" "$4" $(((seconds_each + 2) / 3)) "${@:5}")

	for turn in 1 2 3; do
		for who in "${order[@]}"; do
			out=$("$bench_bin/$who" "${how[@]}" 2>"$work/log")
			[[ $out == iops=* ]] || continue
			sample "$who.$name" "$(sed 's/iops=\([0-9.]*\).*/\1/' <<<"$out")"
			sample "$who-cpu.$name" "${out#*cpu_us_per_io=}"
		done
		order=("${order[1]}" "${order[0]}")
	done
}

# iscsi_calls URL OP DEPTH: calls to the kernel per I/O.
iscsi_calls()
{
	local who out

	for who in bdev_bench iscsi_peer; do
		out=$(strace -f -c -o "$work/calls" "$bench_bin/$who" "$@" \
			"$seconds_each" 2>"$work/log")
		sample "$who.calls" "$(awk -v out="${out#iops=}" -v s="$seconds_each" '
			$NF == "total" { print $4 / (out * s) }' "$work/calls")"
	done
}

iscsi_turns() # URL PREFIX
{
	iscsi_turn "$2-randread-4k-qd1" "$1" read 1
	iscsi_turn "$2-randread-4k-qd32" "$1" read 32
	iscsi_turn "$2-read-1m-qd4" "$1" read 4 1048576
	iscsi_turn "$2-write-1m-qd4" "$1" write 4 1048576
}

iscsi_lines() # PREFIX GOAL-AT-QD32
{
	local name goal

	for name in randread-4k-qd1 randread-4k-qd32 read-1m-qd4 write-1m-qd4; do
		goal=">=1.0"
		[ $name != randread-4k-qd32 ] || goal=$2
		line "$1-$name" speed "bdev_bench.$1-$name" "iscsi_peer.$1-$name" \
			"$goal" IOPS
	done
	line "$1-cpu-4k-qd32" time "bdev_bench-cpu.$1-randread-4k-qd32" \
		"iscsi_peer-cpu.$1-randread-4k-qd32" ">=1.43" us
}

bench_iscsi()
{
	local round tgt own

	[ -x "$bench_bin/iscsi_peer" ] ||
		{ missing iscsi "no libiscsi-dev: iscsi_peer is not built"; return; }
	mkdir -p "$work/tgt"
	truncate -s 512M "$work/lun.img"
	tgt=$(TGT_TUNED=1 "$top/tests/rigs/tgt.sh" up "$work/tgt" $iscsi_port \
		"$work/lun.img" 2>"$work/log") ||
		{ missing iscsi "$(tail -n 1 "$work/log")"; return; }
	own=$(BIN=$bin "$top/tests/rigs/own.sh" up "$work/tgt" $((iscsi_port + 1)) \
		null:64G 2>"$work/log") || missing iscsi-null "$(tail -n 1 "$work/log")"
	for ((round = 0; round < rounds; round++)); do
		iscsi_turns "$tgt" iscsi
		[ -z "$own" ] || iscsi_turns "$own" iscsi-null
		iscsi_calls "$tgt" read 32
	done
	"$top/tests/rigs/tgt.sh" down "$work/tgt" $iscsi_port
	BIN=$bin "$top/tests/rigs/own.sh" down "$work/tgt" $((iscsi_port + 1))
	iscsi_lines iscsi ">=1.0"
	[ -z "$own" ] || iscsi_lines iscsi-null ">=1.5"
	line iscsi-calls-4k-qd32 time bdev_bench.calls iscsi_peer.calls "<=1" calls
	rm -f "$work/lun.img"
}
