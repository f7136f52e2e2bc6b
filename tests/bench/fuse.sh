# SPDX-License-Identifier: Apache-2.0
#
# Files through a mount. Direct: reads beside libfuse's own example of a filesystem that
# passes everything on (passthrough_ll, built from what libfuse3-dev ships), writes beside
# the plain file. Cold, through the kernel's cache: beside Debian's vmfs-fuse on the same
# VMFS-5 volume. And the memory of a mount that does nothing. Names are in names.sh.

fuse_at=$work/fuse.at
fuse_examples=/usr/share/doc/libfuse3-dev/examples

# fuse_fio NAME FILE ARG...: samples its MiB/s.
fuse_fio()
{
	local name=$1 file=$2 speed

	shift 2
	speed=$(fio --name=x --filename="$file" --size=512m --time_based \
		--runtime="$seconds_each" --group_reporting --minimal "$@" \
		2>"$work/log" | awk -F';' '{ print ($7 + $48) / 1024 }')
	[ -n "$speed" ] || return 1
	sample "fuse.$name" "$speed"
}

# fuse_reads NAME FILE ARG...: the three kinds of reads.
fuse_reads()
{
	local name=$1 file=$2

	shift 2
	fuse_fio "$name.4k-qd1" "$file" --rw=randread --bs=4k --iodepth=1 "$@" &&
		fuse_fio "$name.4k-qd32" "$file" --rw=randread --bs=4k \
			--iodepth=32 "$@" &&
		fuse_fio "$name.1m-qd8" "$file" --rw=read --bs=1m --iodepth=8 "$@"
}

fuse_writes() # NAME FILE
{
	fuse_fio "$1.4k-qd32-write" "$2" --rw=randwrite --bs=4k --iodepth=32 \
		--direct=1 --ioengine=libaio &&
		fuse_fio "$1.1m-qd8-write" "$2" --rw=write --bs=1m --iodepth=8 \
			--direct=1 --ioengine=libaio
}

# fuse_mounted FUNCTION ARGS... -- COMMAND...: COMMAND mounts; then the function.
fuse_mounted()
{
	local what=() rc

	while [ "$1" != -- ]; do
		what+=("$1")
		shift
	done
	shift
	"$@" "$fuse_at" >"$work/log" 2>&1 || return 1
	wait_for 10 mountpoint -q "$fuse_at" || return 1
	"${what[@]}"
	rc=$?
	sync
	fusermount3 -u "$fuse_at" || return 1
	return $rc
}

fuse_direct_turn()
{
	local direct="--direct=1 --ioengine=libaio"

	# shellcheck disable=SC2086
	fuse_mounted fuse_reads ours "$fuse_at/big" $direct -- \
		"$bin/vmfs-fuse" "$work/fuse.img" &&
		fuse_mounted fuse_reads passed "$fuse_at$work/plain" $direct -- \
			"$work/passthrough_ll" &&
		fuse_mounted fuse_writes ours "$fuse_at/big" -- \
			"$bin/vmfs-fuse" -o rw "$work/fuse.img" &&
		fuse_writes native "$work/plain"
}

fuse_cold() # NAME: each kind from a cold cache
{
	local cold="--invalidate=1 --ioengine=psync --thread"

	sync && echo 3 >/proc/sys/vm/drop_caches &&
		fuse_fio "$1.1m" "$fuse_at/big" --rw=read --bs=1m $cold &&
		echo 3 >/proc/sys/vm/drop_caches &&
		fuse_fio "$1.4k-qd32" "$fuse_at/big" --rw=randread --bs=4k \
			--numjobs=32 $cold
}

# What the disk itself gives says what can be asked of a cold read.
fuse_cold_turn()
{
	fuse_fio disk.1m "$work/plain" --rw=read --bs=1m --iodepth=8 --direct=1 \
		--ioengine=libaio &&
		fuse_mounted fuse_cold ours-cold -- "$bin/vmfs-fuse" \
			"$work/fuse.img" &&
		fuse_mounted fuse_cold debian-cold -- /usr/sbin/vmfs-fuse \
			"$work/fuse.img"
}

fuse_idle()
{
	local pid

	sleep 2
	pid=$(pgrep -f "vmfs-fuse .*$fuse_at\$" | head -n 1)
	sample "fuse.idle.$1" "$(awk '/^VmRSS/ { print $2 / 1024 }' "/proc/$pid/status")"
}

# Large requests leave nothing behind for long.
fuse_rested()
{
	fuse_writes burst "$fuse_at/big" && sleep 2 && fuse_idle rested
}

fuse_prepare()
{
	mkdir -p "$fuse_at" && truncate -s 4G "$work/fuse.img" &&
		"$bin/mkfs.vmfs" -q "$work/fuse.img" 2>"$work/log" &&
		dd if=/dev/urandom of="$work/plain" bs=1M count=512 status=none &&
		fuse_mounted cp "$work/plain" "$fuse_at/big" -- \
			"$bin/vmfs-fuse" -o rw "$work/fuse.img" &&
		# shellcheck disable=SC2046
		gcc -O2 -o "$work/passthrough_ll" -I"$fuse_examples" \
			"$fuse_examples/passthrough_ll.c" \
			$(pkg-config --cflags --libs fuse3) 2>"$work/log"
}

bench_fuse()
{
	local round turns=$(((rounds + 1) / 2)) what

	command -v fio >/dev/null && [ -w /dev/fuse ] && fuse_prepare ||
		{ missing fuse "$(tail -n 1 "$work/log")"; return; }
	for ((round = 0; round < turns; round++)); do
		fuse_direct_turn || { missing fuse "$(tail -n 1 "$work/log")"; break; }
	done
	for what in 4k-qd1 4k-qd32 1m-qd8; do
		line "fuse-read-$what-vs-passthrough" speed "fuse.ours.$what" \
			"fuse.passed.$what" ">=1" MiB/s
	done
	for what in 4k-qd32-write 1m-qd8-write; do
		line "fuse-$what-vs-native" speed "fuse.ours.$what" \
			"fuse.native.$what" ">=0.5" MiB/s
	done
	for ((round = 0; round < turns; round++)); do
		[ -x /usr/sbin/vmfs-fuse ] && fuse_cold_turn ||
			{ missing fuse-cold "$(tail -n 1 "$work/log")"; break; }
	done
	line fuse-cold-1m-vs-vmfs-tools speed fuse.ours-cold.1m fuse.debian-cold.1m \
		">=3" MiB/s
	line fuse-disk-1m-qd8-vs-vmfs-tools speed fuse.disk.1m fuse.debian-cold.1m \
		">=3" MiB/s
	line fuse-cold-4k-qd32-vs-vmfs-tools speed fuse.ours-cold.4k-qd32 \
		fuse.debian-cold.4k-qd32 ">=5" MiB/s
	fuse_mounted fuse_idle ro -- "$bin/vmfs-fuse" "$work/fuse.img"
	fuse_mounted fuse_idle rw -- "$bin/vmfs-fuse" -o rw "$work/fuse.img"
	fuse_mounted fuse_rested -- "$bin/vmfs-fuse" -o rw "$work/fuse.img"
	line fuse-idle-rss-ro time fuse.idle.ro - "<=16" MiB
	line fuse-idle-rss-rw time fuse.idle.rw - "<=16" MiB
	line fuse-idle-rss-rw-after-load time fuse.idle.rested - "<=16" MiB
	rm -f "$work/fuse.img" "$work/plain"
}
