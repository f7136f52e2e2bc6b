# SPDX-License-Identifier: Apache-2.0
#
# What a guest sees of a snapshot: the longest time in which none of the 32 requests of a
# client of the running VM's disk ends while one is made, and 200 ms after it, beside as
# long a time without one (a busy machine has gaps of its own), and how long vmkernel held
# I/O for it. The first round's snapshot is made on the disk itself, each other one on the
# one before. The same client of a plain file, which waits for all its requests and for
# one FLUSH, shows what the storage needs for that (the line "device").
#
# The volume's device is a file that is written whole: where one grows, its filesystem
# commits what has grown with each FLUSH, which is seen as gaps of up to half a second,
# with and without a snapshot.

gap_size_mib=256

gap_vim()
{
	"$bin/vim-cmd" -s "$work/host/vmkernel.sock" "$@" >"$work/log" 2>&1
}

# gap_turn NAME KIND COMMAND...: COMMAND runs while the client does.
gap_turn()
{
	local name=$1 kind=$2

	shift 2
	"$bench_bin/gap_bench" "$work/host/vms/1/disk0.sock" "$gap_export" "$kind" \
		"$@" >"$work/gap.out" 2>>"$work/log" || return 1
	sample "$name.$kind" "$(tail -n 1 "$work/gap.out" | cut -d' ' -f1)"
}

# What the log says of the last one, ms.
gap_held()
{
	sed -n 's/.*I.O was held for \([0-9]*\) us.*/\1e-3/p' \
		"$work/host/vmkernel.log" | tail -n 1
}

bench_gap()
{
	local image=$work/gap.img kind round

	command -v qemu-system-x86_64 >/dev/null ||
		{ missing gap "qemu-system-x86_64 is not here"; return; }
	# The idle guest of the tests, and a second disk for the client alone.
	T=$work
	. "$top/tests/lib/idle.sh"
	idle_guest ${gap_size_mib}M
	dd if=/dev/zero of="$work/plain.img" bs=1M count=$gap_size_mib oflag=direct \
		status=none
	dd if=/dev/zero of="$image" bs=1M count=$((gap_size_mib * (2 * rounds + 4))) \
		oflag=direct status=none &&
		"$bin/mkfs.vmfs" -L bench "$image" >"$work/log" 2>&1 &&
		"$bin/vmkfstools" -i "$work/idle.raw" -d eagerzeroedthick \
			"$image:/idle/idle.vmdk" >"$work/log" 2>&1 &&
		"$bin/vmkfstools" --put "$work/idle.vmx" "$image:/idle/idle.vmx" \
			>"$work/log" 2>&1 &&
		"$bin/vmkernel" -d "$work/host" --device "$image" >"$work/log" 2>&1 &&
		children+=("$(cat "$work/host/vmkernel.pid")") &&
		gap_vim solo/registervm "[bench] idle/idle.vmx" &&
		gap_vim vmsvc/power.on 1 ||
		{ missing gap "$(tail -n 1 "$work/log")"; return; }
	gap_export=$(grep -o 'disk0-[0-9a-f]*' "$work/host/vms/1/vmware.log" | tail -n 1)
	for kind in write read; do
		for ((round = 0; round < rounds; round++)); do
			sync "$image" "$work/plain.img"
			gap_turn quiet $kind sleep 0.05 &&
				gap_turn snapshot $kind "$bin/vim-cmd" \
					-s "$work/host/vmkernel.sock" \
					vmsvc/snapshot.create 1 "$kind$round" ||
				{ missing gap "$(tail -n 1 "$work/log")"; return; }
			sample held.$kind "$(gap_held)"
			sample device.$kind "$("$bench_bin/gap_bench" raw \
				"$work/plain.img" "$kind" | cut -d' ' -f1)"
		done
		line "gap-snapshot-rand$kind" time snapshot.$kind quiet.$kind "<=10" ms
		line "gap-held-rand$kind" time held.$kind - "<=10" ms
		line "gap-device-rand$kind" time device.$kind - bound ms
	done
	gap_vim vmsvc/power.off 1
	kill -9 "$(cat "$work/host/vmkernel.pid")"
}
