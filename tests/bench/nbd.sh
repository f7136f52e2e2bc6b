# SPDX-License-Identifier: Apache-2.0
#
# The NBD front end: a flat VMDK on a volume in a file, beside nbdkit's file plugin and
# qemu-nbd on a raw file of the same size on the same disk; fio's nbd engine drives all.
#
# Ours and qemu-nbd read and write the disk directly. nbdkit's file plugin has no direct
# I/O: its reads go to the disk because it drops what it has read (cache=none), its writes
# are acknowledged from the page cache. What a turn leaves there is written out before the
# next begins, so that nobody pays for another. Many short turns, because other work on
# the machine comes and goes; each round begins with another server.

nbd_size_mib=1024
nbd_turns=3 # short ones for each long one

# fio_nbd NAME SOCKET rw-KIND: one turn. One that failed has done nothing.
fio_nbd()
{
	local iops seconds=$(((seconds_each + nbd_turns - 1) / nbd_turns))

	sync "$work/raw.img" "$work/lun.img"
	iops=$(fio --name=turn --ioengine=nbd --uri="nbd+unix:///?socket=$2" --rw="$3" \
		--bs=4k --iodepth=32 --norandommap --randrepeat=0 \
		--size=${nbd_size_mib}m --runtime=$seconds --time_based \
		--output-format=terse 2>/dev/null |
		awk -F';' '/^3;/ { print $8 + $49 }')
	sample "$1.$3" "${iops:-0}"
}

bench_nbd()
{
	local image=$work/lun.img raw=$work/raw.img kind round name
	local -a order=(ours nbdkit qemu)

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

	serve "$bin/vdisk-nbd" "$image:/disk.vmdk" --socket "$work/ours"
	serve nbdkit -f -U "$work/nbdkit" file "$raw" cache=none
	serve qemu-nbd -k "$work/qemu" -t -f raw --cache=none --aio=native "$raw"
	for name in ours nbdkit qemu; do
		wait_for 20 test -S "$work/$name" ||
			{ missing nbd "$name: $(tail -n 1 "$work/server.log")"; return; }
	done
	for kind in randread randwrite; do
		for ((round = 0; round < rounds * nbd_turns; round++)); do
			for name in "${order[@]}"; do
				fio_nbd $name "$work/$name" $kind
			done
			order=("${order[@]:1}" "${order[0]}")
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
