# SPDX-License-Identifier: Apache-2.0
#
# The NBD front end: a flat VMDK on a volume in a file, beside nbdkit's file plugin and
# qemu-nbd on a raw file of the same size on the same disk; fio's nbd engine drives all.

nbd_size_mib=1024

# fio_nbd NAME SOCKET rw-KIND: one turn.
fio_nbd()
{
	local iops

	iops=$(fio --name=turn --ioengine=nbd --uri="nbd+unix:///?socket=$2" --rw="$3" \
		--bs=4k --iodepth=32 --norandommap --randrepeat=0 \
		--size=${nbd_size_mib}m --runtime="$seconds_each" --time_based \
		--output-format=terse 2>/dev/null |
		awk -F';' '/^3;/ { print $8 + $49 }')
	[ -n "$iops" ] && sample "$1.$3" "$iops"
}

bench_nbd()
{
	local image=$work/lun.img raw=$work/raw.img kind round name

	for name in fio nbdkit qemu-nbd; do
		command -v $name >/dev/null ||
			{ missing nbd "$name is not here"; return; }
	done
	truncate -s $((nbd_size_mib * 2))M "$image"
	# Both are written full with the same bytes: reads of what was only zeroed never
	# reach the disk, and first writes to it pay for the filesystem below.
	openssl enc -aes-128-ctr -pass pass:x -pbkdf2 -nosalt </dev/zero 2>/dev/null |
		dd of="$raw" bs=1M count=$nbd_size_mib iflag=fullblock oflag=direct \
			status=none
	"$bin/mkfs.vmfs" -L bench "$image" >"$work/log" 2>&1 &&
		"$bin/vmkfstools" -i "$raw" -d eagerzeroedthick \
			"$image:/disk.vmdk" >"$work/log" 2>&1 ||
		{ missing nbd "$(tail -n 1 "$work/log")"; return; }
	# The import read the raw file through the page cache; out of it again, so that
	# all read the disk.
	dd if="$raw" iflag=nocache count=0 status=none

	serve "$bin/vmkernel" --nbd-export "$image:/disk.vmdk" --socket "$work/ours"
	serve nbdkit -f -U "$work/nbdkit" file "$raw" cache=none
	serve qemu-nbd -k "$work/qemu" -t -f raw --cache=none --aio=native "$raw"
	for name in ours nbdkit qemu; do
		wait_for 20 test -S "$work/$name" ||
			{ missing nbd "$name: $(tail -n 1 "$work/server.log")"; return; }
	done
	for kind in randread randwrite; do
		for ((round = 0; round < rounds; round++)); do
			for name in ours nbdkit qemu; do
				fio_nbd $name "$work/$name" $kind
			done
		done
		for name in nbdkit qemu; do
			line "nbd-$kind-4k-qd32-vs-$name" speed \
				ours.$kind $name.$kind ">=1.3" IOPS
		done
	done
	kill "${children[@]}" 2>/dev/null
	wait "${children[@]}" 2>/dev/null
	children=()
	rm -f "$image" "$raw"
}
