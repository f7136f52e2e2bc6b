# SPDX-License-Identifier: Apache-2.0
#
# Virtual disks of the hosted kinds. Random 4 KiB with 32 under way on a sparse disk
# beside a raw file of the same bytes; the same into an empty one, and into an empty
# seSparse delta on a volume, beside qcow2 (qemu-img bench in long steps, its own direct
# I/O); and conversions of what does not compress, beside qemu-img: as it is by default,
# with a sync behind it, and with -t writeback, where it has, as we have, all on the disk
# when it returns. The same bytes by dd, past the page cache, and synced, are what can be
# had: the line "at-most", and how much of it ours is, "of-that". And the same in memory,
# where no disk is waited for and cp is what can be had.

vdisk_size_mib=512
vdisk_step=$((40503 * 4096)) # visits a grain after the other, far apart

# vdisk_turn NAME TYPE FILE KIND: one turn of data_bench.
vdisk_turn()
{
	local got

	sync "${3%%:*}"
	got=$(timeout $((seconds_each + 60)) "$bench_bin/data_bench" "$2" "$3" "$4" \
		4096 32 $((seconds_each / 2 + 1)) 2>>"$work/log")
	[[ $got =~ iops=([0-9.]+) ]]
	sample "vdisk.$1.$4" "${BASH_REMATCH[1]:-0}"
}

# vdisk_empty_ours, vdisk_empty_qcow2: first writes, I/Os per second.
vdisk_empty_ours()
{
	rm -f "$work/empty.vmdk"
	"$bin/vmkfstools" -c 8g "$work/empty.vmdk" >>"$work/log" 2>&1
	vdisk_turn empty disk "$work/empty.vmdk" randwrite
}

# A snapshot's, on a volume.
vdisk_empty_sesparse()
{
	local image=$work/empty.img

	rm -f "$image"
	truncate -s 16G "$image" && "$bin/mkfs.vmfs" -q "$image" 2>>"$work/log" &&
		"$bin/vmkfstools" -c 8g -d thin "$image:/base.vmdk" >>"$work/log" 2>&1 &&
		"$bench_bin/../rigs/snapshot" "$image" /base.vmdk /child.vmdk sesparse \
			>>"$work/log" 2>&1
	vdisk_turn sesparse disk "$image:/child.vmdk" randwrite
	rm -f "$image"
}

vdisk_empty_qcow2()
{
	local count=8000 got

	rm -f "$work/empty.qcow2"
	qemu-img create -q -f qcow2 "$work/empty.qcow2" 8g
	got=$(qemu-img bench -c $count -d 32 -s 4096 -S $vdisk_step -t none -w \
		-f qcow2 "$work/empty.qcow2" 2>>"$work/log")
	[[ $got =~ completed\ in\ ([0-9.]+) ]]
	sample vdisk.qcow2.empty \
		"$(awk "BEGIN { print $count / ${BASH_REMATCH[1]:-1e9} }")"
}

# What does not compress.
vdisk_raw()
{
	openssl enc -aes-128-ctr -pass pass:x -pbkdf2 -nosalt </dev/zero 2>/dev/null |
		dd of="$work/raw.img" bs=1M count=$vdisk_size_mib iflag=fullblock \
			oflag=direct status=none
}

vdisk_place=$work

# vdisk_convert NAME COMMAND...: MiB a second until it is on the disk.
vdisk_convert()
{
	local name=$1 then

	shift
	rm -f "$vdisk_place/out.vmdk"
	cat "$vdisk_place/raw.img" >/dev/null
	then=$(date +%s%N)
	"$@" >>"$work/log" 2>&1 && sync "$vdisk_place/out.vmdk"
	sample "vdisk.$name" "$(awk "BEGIN {
		print $vdisk_size_mib * 1e9 / ($(date +%s%N) - $then) }")"
}

vdisk_conversions()
{
	local kind round

	for kind in monolithicSparse streamOptimized; do
		for ((round = 0; round < rounds; round++)); do
			vdisk_convert "ours.$kind" "$bin/vmkfstools" -i "$work/raw.img" \
				-d $kind "$work/out.vmdk"
			vdisk_convert "qemu.$kind" qemu-img convert -f raw -O vmdk \
				-o subformat=$kind "$work/raw.img" "$work/out.vmdk"
			vdisk_convert "durable.$kind" qemu-img convert -t writeback \
				-f raw -O vmdk -o subformat=$kind "$work/raw.img" \
				"$work/out.vmdk"
			vdisk_convert "dd.$kind" dd if="$work/raw.img" bs=4M \
				of="$work/out.vmdk" oflag=direct conv=fsync status=none
		done
		line "vdisk-to-$kind" speed vdisk.ours.$kind vdisk.qemu.$kind ">=5" MiB/s
		line "vdisk-to-$kind-writeback" speed vdisk.ours.$kind \
			vdisk.durable.$kind ">=5" MiB/s
		line "vdisk-to-$kind-at-most" speed vdisk.dd.$kind vdisk.qemu.$kind \
			bound MiB/s
	done
	line vdisk-to-monolithicSparse-of-that speed vdisk.ours.monolithicSparse \
		vdisk.dd.monolithicSparse ">=0.9" MiB/s
}

# What bounds it is one copy of each page, by one processor: a file has one writer.
vdisk_in_memory()
{
	local to kind=monolithicSparse round from

	vdisk_place=$(mktemp -d /dev/shm/openvmfs-bench.XXXXXX) || return 1
	from=$vdisk_place/raw.img to=$vdisk_place/out.vmdk
	cp "$work/raw.img" "$from" || { rm -rf "$vdisk_place"; return 1; }
	for ((round = 0; round < rounds; round++)); do
		vdisk_convert ours.memory "$bin/vmkfstools" -i "$from" -d $kind "$to"
		vdisk_convert qemu.memory qemu-img convert -f raw -O vmdk \
			-o subformat=$kind "$from" "$to"
		vdisk_convert cp.memory cp "$from" "$to"
	done
	rm -rf "$vdisk_place"
	vdisk_place=$work
	line vdisk-in-memory-to-$kind speed vdisk.ours.memory vdisk.qemu.memory ">=5" \
		MiB/s
	line vdisk-in-memory-to-$kind-at-most speed vdisk.cp.memory vdisk.qemu.memory \
		bound MiB/s
	line vdisk-in-memory-to-$kind-of-that speed vdisk.ours.memory vdisk.cp.memory \
		">=0.9" MiB/s
}

bench_vdisk()
{
	local kind round

	[ -n "$(command -v qemu-img)" ] || { missing vdisk "no qemu-img"; return; }
	vdisk_raw
	"$bin/vmkfstools" -i "$work/raw.img" -d monolithicSparse "$work/disk.vmdk" \
		>"$work/log" 2>&1 || { missing vdisk "$(tail -n 1 "$work/log")"; return; }
	for kind in randread randwrite; do
		for ((round = 0; round < rounds; round++)); do
			vdisk_turn sparse disk "$work/disk.vmdk" $kind
			vdisk_turn raw raw "$work/raw.img" $kind
		done
		line "vdisk-sparse-$kind-4k-qd32" speed vdisk.sparse.$kind \
			vdisk.raw.$kind ">=0.75" IOPS
	done
	for ((round = 0; round < rounds; round++)); do
		vdisk_empty_ours
		vdisk_empty_sesparse
		vdisk_empty_qcow2
	done
	line vdisk-sparse-empty-4k-qd32 speed vdisk.empty.randwrite vdisk.qcow2.empty \
		">=2.5" IOPS
	line vdisk-sesparse-empty-4k-qd32 speed vdisk.sesparse.randwrite \
		vdisk.qcow2.empty ">=2.5" IOPS
	vdisk_raw # the writes above would have left what does compress
	vdisk_conversions
	vdisk_in_memory || missing vdisk-in-memory "no room in /dev/shm"
	rm -f "$work/raw.img" "$work"/*.vmdk "$work/empty.qcow2"
}
