# SPDX-License-Identifier: Apache-2.0
#
# The NBD front end: a flat VMDK on a volume in a file, beside nbdkit's file plugin,
# qemu-nbd and qemu-storage-daemon on a raw file of the same size on the same disk; fio's
# nbd engine drives all.
#
# Ours and QEMU's two read and write the disk directly, all three through the kernel's
# AIO (--cache=none --aio=native). nbdkit's file plugin has no direct I/O: its reads go to
# the disk because it drops what it has read (cache=none), its writes are acknowledged
# from the page cache. What a turn leaves there is written out before the next begins, so
# that nobody pays for another. Many short turns, because other work on the machine comes
# and goes; each round begins with another server. Beside much of it `chrt -f 5 make
# bench ONLY=nbd` comes close to an idle machine.
#
# Two lines say what no server can be better than: the disk itself with as many requests
# at a time (fio, libaio), and the client on a server that does nothing (nbdkit null). One
# says what a request costs: the server's processor time, which other work on the machine
# disturbs less than the rate.

nbd_size_mib=1024
nbd_turns=3 # short ones for each long one
declare -A nbd_pid

# cpu_us PID: processor time of all its tasks so far.
cpu_us()
{
	cat "/proc/$1/task/"*/schedstat 2>/dev/null |
		awk '{ ns += $1 } END { printf "%d", ns / 1000 }'
}

# fio_turn NAME rw-KIND OPTION...: one turn. One that failed has done nothing.
fio_turn()
{
	local iops ios=0 before=0 name=$1 kind=$2 pid=${nbd_pid[$1]-}
	local seconds=$(((seconds_each + nbd_turns - 1) / nbd_turns))

	shift 2
	[ -z "$pid" ] || before=$(cpu_us "$pid")
	sync "$work/raw.img" "$work/lun.img"
	read -r iops ios < <(fio --name=turn "$@" --rw="$kind" --bs=4k --iodepth=32 \
		--norandommap --randrepeat=0 --size=${nbd_size_mib}m \
		--runtime=$seconds --time_based \
		--output-format=terse 2>/dev/null |
		awk -F';' '/^3;/ { print $8 + $49, ($6 + $47) / 4 }')
	sample "$name.$kind" "${iops:-0}"
	[ -z "$pid" ] || [ "${ios:-0}" = 0 ] || sample "$name.$kind.cpu" \
		"$(awk "BEGIN { print ($(cpu_us "$pid") - $before) / $ios }")"
}

# nbd_turn NAME rw-KIND: of a server; none is the disk itself, without one.
nbd_turn()
{
	if [ "$1" = disk ]; then
		fio_turn "$@" --ioengine=libaio --direct=1 --filename="$work/raw.img"
	else
		fio_turn "$@" --ioengine=nbd --uri="nbd+unix:///?socket=$work/$1"
	fi
}

# make_twins IMAGE RAW MIB: a volume with /disk.vmdk, and a raw file like it. Both are
# written full with the same bytes: reads of what was only zeroed never reach the disk,
# and first writes to it pay for the filesystem below.
make_twins()
{
	truncate -s $(($3 * 2))M "$1"
	openssl enc -aes-128-ctr -pass pass:x -pbkdf2 -nosalt </dev/zero 2>/dev/null |
		dd of="$2" bs=1M count="$3" iflag=fullblock oflag=direct status=none
	"$bin/mkfs.vmfs" -L bench "$1" >"$work/log" 2>&1 &&
		"$bin/vmkfstools" -i "$2" -d eagerzeroedthick \
			"$1:/disk.vmdk" >"$work/log" 2>&1 || return 1
	# The import read the raw file through the page cache; out of it again, so that
	# all read the disk.
	dd if="$2" iflag=nocache count=0 status=none
}

bench_nbd()
{
	local image=$work/lun.img raw=$work/raw.img kind round name
	local direct=cache.direct=on,aio=native
	local -a order=(ours nbdkit qemu daemon disk idle)

	for name in fio nbdkit qemu-nbd qemu-storage-daemon; do
		command -v $name >/dev/null ||
			{ missing nbd "$name is not here"; return; }
	done
	make_twins "$image" "$raw" $nbd_size_mib ||
		{ missing nbd "$(tail -n 1 "$work/log")"; return; }

	serve "$bin/vdisk-nbd" "$image:/disk.vmdk" --socket "$work/ours"
	nbd_pid[ours]=$server
	serve nbdkit -f -U "$work/nbdkit" file "$raw" cache=none
	serve qemu-nbd -k "$work/qemu" -t -f raw --cache=none --aio=native "$raw"
	nbd_pid[qemu]=$server
	# Both of QEMU's have the file, one at a time works: so without its locks.
	serve qemu-storage-daemon \
		--blockdev "driver=file,node-name=raw,filename=$raw,locking=off,$direct" \
		--nbd-server "addr.type=unix,addr.path=$work/daemon" \
		--export type=nbd,id=raw,node-name=raw,name=,writable=on
	nbd_pid[daemon]=$server
	serve nbdkit -f -U "$work/idle" null ${nbd_size_mib}M
	for name in ours nbdkit qemu daemon idle; do
		wait_for 20 test -S "$work/$name" ||
			{ missing nbd "$name: $(tail -n 1 "$work/server.log")"; return; }
	done
	for kind in randread randwrite; do
		for ((round = 0; round < rounds * nbd_turns; round++)); do
			for name in "${order[@]}"; do
				nbd_turn $name $kind
			done
			order=("${order[@]:1}" "${order[0]}")
		done
		for name in nbdkit qemu daemon; do
			line "nbd-$kind-4k-qd32-vs-$name" speed \
				ours.$kind $name.$kind ">=1.3" IOPS
		done
		line "nbd-$kind-4k-qd32-disk-vs-qemu" speed \
			disk.$kind qemu.$kind bound IOPS
		line "nbd-$kind-4k-qd32-idle-vs-qemu" speed \
			idle.$kind qemu.$kind bound IOPS
		line "nbd-$kind-4k-qd32-cpu-vs-qemu" time \
			ours.$kind.cpu qemu.$kind.cpu bound us
	done
	kill "${children[@]}" 2>/dev/null
	wait "${children[@]}" 2>/dev/null
	children=()
	rm -f "$image" "$raw"
}
