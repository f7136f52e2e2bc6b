# SPDX-License-Identifier: Apache-2.0
#
# A flat disk on a volume, on a device that has all of its room (a file written whole).
# Random 4 KiB with 32 under way beside the raw file of the same bytes, and what 99 of
# 100 took; first writes into an empty thin disk: 64 KiB in order beside the raw file,
# 4 KiB far from one another (each takes and zeroes a block, none is written twice) beside
# qcow2 on the host, and beside a raw file of which each MiB is zeroed before its write
# (what the device itself needs for that); and a raw file into a thin disk, beside cp and
# sync. What is scattered has a volume of its own: its zeros leave places in that file
# that the host's filesystem changes again at the next write; the raw file has none.

thin_size_mib=1024
thin_step=$((40503 * 4096))

# thin_turn NAME TYPE PLACE KIND SIZE DEPTH
thin_turn()
{
	local got

	sync "$work/raw.img" "$work/lun.img" "$work/far.img"
	got=$(timeout $((seconds_each + 60)) "$bench_bin/data_bench" "$2" "$3" "$4" \
		"$5" "$6" $((seconds_each / 2 + 1)) 2>>"$work/log")
	[[ $got =~ iops=([0-9.]+).*p99_ms=([0-9.]+) ]]
	sample "thin.$1" "${BASH_REMATCH[1]:-0}"
	sample "thin.$1.p99" "${BASH_REMATCH[2]:-0}"
}

# thin_empty NAME IMAGE KIND SIZE DEPTH: into a new disk
thin_empty()
{
	local disk=$work/$2:/new.vmdk

	"$bin/vmkfstools" -c 3g -d thin "$disk" >>"$work/log" 2>&1
	thin_turn "$1" disk "$disk" "$3" "$4" "$5"
	"$bin/vmkfstools" -U "$disk" >>"$work/log" 2>&1
}

# thin_volume IMAGE MIB: a new volume in a file that is written whole
thin_volume()
{
	dd if=/dev/zero of="$work/$1" bs=1M count="$2" oflag=direct status=none
	"$bin/mkfs.vmfs" -L bench "$work/$1" >"$work/log" 2>&1
}

thin_qcow2()
{
	local count=2000 got

	rm -f "$work/empty.qcow2"
	qemu-img create -q -f qcow2 "$work/empty.qcow2" 8g
	got=$(qemu-img bench -c $count -d 32 -s 4096 -S $thin_step -t none -w \
		-f qcow2 "$work/empty.qcow2" 2>>"$work/log")
	[[ $got =~ completed\ in\ ([0-9.]+) ]]
	sample thin.qcow2 "$(awk "BEGIN { print $count / ${BASH_REMATCH[1]:-1e9} }")"
}

thin_copy() # NAME COMMAND...
{
	local name=$1 then

	shift
	cat "$work/raw.img" >/dev/null
	then=$(date +%s%N)
	"$@" >>"$work/log" 2>&1 && sync "$work/lun.img"
	sample "thin.$name" "$(awk "BEGIN {
		print $thin_size_mib * 1e9 / ($(date +%s%N) - $then) }")"
}

thin_cp()
{
	cp --reflink=never --sparse=never "$work/raw.img" "$work/copy.img" &&
		sync "$work/copy.img"
}

thin_round()
{
	local kind

	for kind in randread randwrite; do
		thin_turn "flat.$kind" disk "$work/lun.img:/d.vmdk" $kind 4096 32
		thin_turn "raw.$kind" raw "$work/raw.img" $kind 4096 32
	done
	thin_empty first64k lun.img write 65536 4
	thin_turn raw64k raw "$work/raw.img" write 65536 4
	thin_empty first4k far.img scatter 4096 32
	thin_turn zeroed raw "$work/zeroed.img" zeroed 4096 32
	thin_qcow2
	thin_copy ours "$bin/vmkfstools" -i "$work/raw.img" -d thin \
		"$work/lun.img:/c.vmdk"
	"$bin/vmkfstools" -U "$work/lun.img:/c.vmdk" >>"$work/log" 2>&1
	rm -f "$work/copy.img"
	thin_copy cp thin_cp
	rm -f "$work/copy.img"
}

bench_thin()
{
	local kind round

	[ -n "$(command -v qemu-img)" ] || { missing thin "no qemu-img"; return; }
	openssl enc -aes-128-ctr -pass pass:x -pbkdf2 -nosalt </dev/zero 2>/dev/null |
		dd of="$work/raw.img" bs=1M count=$thin_size_mib iflag=fullblock \
			oflag=direct status=none
	dd if=/dev/zero of="$work/zeroed.img" bs=1M count=3072 oflag=direct status=none
	thin_volume far.img $((thin_size_mib * 4)) &&
		thin_volume lun.img $((thin_size_mib * 5)) &&
		"$bin/vmkfstools" -i "$work/raw.img" -d eagerzeroedthick \
			"$work/lun.img:/d.vmdk" >"$work/log" 2>&1 ||
		{ missing thin "$(tail -n 1 "$work/log")"; return; }
	for ((round = 0; round < rounds; round++)); do
		thin_round
	done
	for kind in randread randwrite; do
		line "flat-$kind-4k-qd32" speed thin.flat.$kind thin.raw.$kind ">=0.9" \
			IOPS
		line "flat-$kind-4k-qd32-p99" time thin.flat.$kind.p99 \
			thin.raw.$kind.p99 bound ms
	done
	line thin-first-64k-write speed thin.first64k thin.raw64k ">=0.9" IOPS
	line thin-first-4k-randwrite speed thin.first4k thin.qcow2 ">=1" IOPS
	line thin-first-4k-randwrite-p99 time thin.first4k.p99 thin.raw.randwrite.p99 \
		bound ms
	line thin-first-4k-beside-zeroing speed thin.first4k thin.zeroed bound IOPS
	line thin-first-4k-p99-beside-zeroing time thin.first4k.p99 thin.zeroed.p99 \
		bound ms
	line raw-to-thin speed thin.ours thin.cp ">=0.9" MiB/s
	rm -f "$work/lun.img" "$work/far.img" "$work/raw.img" "$work/zeroed.img" \
		"$work/empty.qcow2"
}
