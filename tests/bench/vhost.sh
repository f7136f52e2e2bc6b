# SPDX-License-Identifier: Apache-2.0
#
# The vhost-user front end: a flat VMDK on a volume in a file, driven by a client without
# a guest through a ring in shared memory, beside a raw file of the same size and bytes on
# the same disk, driven through the same kernel's AIO by one task with nothing between
# (data_bench raw, what fio's engine does), which sleeps while the disk is at work. The
# processor time is the server's alone (all its tasks, user and system): the client's is
# what a guest would need for any disk, and is told by itself. The peer's is all that it
# takes. An interrupt is counted to whom it interrupts, in either. Beside them bdev_bench,
# whose task waits awake: what that brings and costs. What can be had with a client and a
# server that tell each other of their requests is said by qemu-storage-daemon's server,
# on the raw file.

vhost_size_mib=1024
vhost_turns=3 # short ones for each long one
declare -A vhost_pid

# vhost_value NAME=: of what a program printed last.
vhost_value() { grep -o "$1[0-9.]*" "$work/vhost.out" | cut -d= -f2; }

# vhost_turn WHO KIND
vhost_turn()
{
	local before=0 count seconds=$(((seconds_each + vhost_turns - 1) / vhost_turns))

	sync "$work/raw.img" "$work/lun.img"
	if [ "$1" = disk ]; then
		"$bench_bin/data_bench" raw "$work/raw.img" "rand$2" 4096 32 "$seconds" \
			>"$work/vhost.out" || return 1
		sample "disk.$2.cpu" "$(vhost_value cpu_us_per_io=)"
	elif [ "$1" = awake ]; then
		"$bench_bin/bdev_bench" "$work/raw.img" "$2" 32 "$seconds" \
			>"$work/vhost.out" || return 1
		sample "awake.$2.cpu" "$(vhost_value cpu_us_per_io=)"
	else
		before=$(cpu_us "${vhost_pid[$1]}")
		"$bench_bin/vhost_bench" "$work/vhost-$1" "$2" 32 "$seconds" \
			>"$work/vhost.out" || return 1
		count=$(vhost_value count=)
		before=$(($(cpu_us "${vhost_pid[$1]}") - before))
		sample "$1.$2.cpu" "$(awk "BEGIN { print $before / $count }")"
		sample "$1-client.$2.cpu" "$(vhost_value cpu_us_per_io=)"
	fi
	sample "$1.$2" "$(vhost_value iops=)"
}

bench_vhost()
{
	local image=$work/lun.img raw=$work/raw.img kind round name
	local -a order=(ours daemon disk awake)
	local direct=cache.direct=on,aio=native how=writable=on,num-queues=1,iothread=io
	local address=addr.type=unix,addr.path=$work/vhost-daemon

	. "$here/nbd.sh" # cpu_us, make_twins
	command -v qemu-storage-daemon >/dev/null ||
		{ missing vhost "qemu-storage-daemon is not here"; return; }
	make_twins "$image" "$raw" $vhost_size_mib ||
		{ missing vhost "$(tail -n 1 "$work/log")"; return; }
	serve "$bench_bin/../rigs/vhost-serve" "$work/vhost-ours" "$image" /disk.vmdk
	vhost_pid[ours]=$server
	wait_for 20 test -S "$work/vhost-ours" ||
		{ missing vhost "$(tail -n 1 "$work/server.log")"; return; }
	serve qemu-storage-daemon --object iothread,id=io \
		--blockdev "driver=file,node-name=raw,filename=$raw,locking=off,$direct" \
		--export "type=vhost-user-blk,id=e,node-name=raw,$address,$how"
	vhost_pid[daemon]=$server
	wait_for 20 test -S "$work/vhost-daemon" ||
		{ missing vhost "$(tail -n 1 "$work/server.log")"; return; }
	for kind in read write; do
		for ((round = 0; round < rounds * vhost_turns; round++)); do
			for name in "${order[@]}"; do
				vhost_turn $name $kind ||
					{ missing vhost "a client failed"; return; }
			done
			order=("${order[@]:1}" "${order[0]}")
		done
		line "vhost-rand$kind-4k-qd32-vs-disk" speed ours.$kind disk.$kind \
			">=0.95" IOPS
		line "vhost-rand$kind-4k-qd32-cpu" time ours.$kind.cpu disk.$kind.cpu \
			">=0.952" us
		line "vhost-rand$kind-4k-qd32-vs-awake" speed ours.$kind awake.$kind \
			bound IOPS
		line "vhost-rand$kind-4k-qd32-cpu-vs-awake" time ours.$kind.cpu \
			awake.$kind.cpu bound us
		line "vhost-rand$kind-4k-qd32-vs-qemu" speed ours.$kind daemon.$kind \
			bound IOPS
		line "vhost-rand$kind-4k-qd32-cpu-vs-qemu" time ours.$kind.cpu \
			daemon.$kind.cpu bound us
		line "vhost-rand$kind-4k-qd32-client" time ours-client.$kind.cpu - \
			bound us
	done
	kill "${children[@]}" 2>/dev/null
	wait "${children[@]}" 2>/dev/null
	children=()
	rm -f "$image" "$raw"
}
