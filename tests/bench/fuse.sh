# SPDX-License-Identifier: Apache-2.0
#
# Files through a mount. Direct: reads beside libfuse's own example of a filesystem that
# passes everything on (passthrough_ll, built from what libfuse3-dev ships), by each kind
# of mount: without options, -o immutable, -o rw with nothing written, and -o rw with the
# file open for writing, so that its lock is held; and without options beside a mount that
# has the file open for writing. Writes beside the plain file.
#
# Cold, through the kernel's cache: beside Debian's vmfs-fuse on the same VMFS-5 volume.
# Nothing is read twice: one pass over a file that nobody has in memory. What the disk
# gives without any filesystem of ours, as cold and in the same turn, is the bound.
#
# And the memory of a mount that does nothing. Names are in names.sh.

fuse_at=$work/fuse.at
fuse_examples=/usr/share/doc/libfuse3-dev/examples

# fuse_fio_once NAME FILE ARG...: samples its MiB/s.
fuse_fio_once()
{
	local name=$1 file=$2 speed

	shift 2
	speed=$(fio --name=x --filename="$file" --size=512m --group_reporting --minimal \
		"$@" 2>"$work/log" | awk -F';' '{ print ($7 + $48) / 1024 }')
	[ -n "$speed" ] || return 1
	sample "fuse.$name" "$speed"
}

fuse_fio() # The same, again and again for a time.
{
	fuse_fio_once "$@" --time_based --runtime="$seconds_each"
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

fuse_direct="--direct=1 --ioengine=libaio"

fuse_locked() # NAME FILE ARG...: with the file open for writing
{
	local file_fd rc

	exec {file_fd}<>"$2" || return 1
	fuse_reads "$@"
	rc=$?
	exec {file_fd}>&-
	return $rc
}

# A reader without the lock, of a file that another mount has open for writing.
fuse_beside()
{
	local held=$work/fuse.held holder rc

	# Not in a shell that starts the other mount: that would keep the file, too.
	sleep 3600 7<>"$held/big" &
	holder=$!
	# shellcheck disable=SC2086
	fuse_mounted fuse_reads beside "$fuse_at/big" $fuse_direct -- \
		"$bin/vmfs-fuse" "$work/fuse.img"
	rc=$?
	kill "$holder"
	wait "$holder" 2>/dev/null
	fusermount3 -u "$held" && return $rc
}

# shellcheck disable=SC2086
fuse_direct_turn()
{
	local ours="$fuse_at/big"

	fuse_mounted fuse_reads follower "$ours" $fuse_direct -- \
		"$bin/vmfs-fuse" "$work/fuse.img" &&
		fuse_mounted fuse_reads passed "$fuse_at$work/plain" $fuse_direct -- \
			"$work/passthrough_ll" &&
		fuse_mounted fuse_reads immutable "$ours" $fuse_direct -- \
			"$bin/vmfs-fuse" -o immutable "$work/fuse.img" &&
		fuse_mounted fuse_reads rw "$ours" $fuse_direct -- \
			"$bin/vmfs-fuse" -o rw "$work/fuse.img" &&
		fuse_mounted fuse_locked rw-locked "$ours" $fuse_direct -- \
			"$bin/vmfs-fuse" -o rw "$work/fuse.img" &&
		"$bin/vmfs-fuse" -o rw "$work/fuse.img" "$work/fuse.held" &&
		fuse_beside &&
		fuse_mounted fuse_writes ours "$ours" -- \
			"$bin/vmfs-fuse" -o rw "$work/fuse.img" &&
		fuse_writes native "$work/plain"
}

fuse_forget() { sync && echo 3 >/proc/sys/vm/drop_caches; }

# fuse_cold NAME FILE: each kind from a cold cache, nothing twice.
fuse_cold()
{
	local cold="--invalidate=1 --ioengine=psync --thread"

	# shellcheck disable=SC2086
	fuse_forget && fuse_fio_once "$1.1m" "$2" --rw=read --bs=1m $cold &&
		fuse_forget && fuse_fio_once "$1.4k-qd32" "$2" --rw=randread --bs=4k \
			--numjobs=32 --io_size=2m $cold
}

# shellcheck disable=SC2086
fuse_cold_turn()
{
	fuse_forget &&
		fuse_fio_once disk.1m "$work/plain" --rw=read --bs=1m --iodepth=8 \
			$fuse_direct &&
		fuse_fio_once disk.4k-qd32 "$work/plain" --rw=randread --bs=4k \
			--iodepth=32 --io_size=64m $fuse_direct &&
		fuse_mounted fuse_cold ours-cold "$fuse_at/big" -- \
			"$bin/vmfs-fuse" "$work/fuse.img" &&
		fuse_mounted fuse_cold debian-cold "$fuse_at/big" -- \
			/usr/sbin/vmfs-fuse "$work/fuse.img"
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
	mkdir -p "$fuse_at" "$work/fuse.held" && truncate -s 4G "$work/fuse.img" &&
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
	local round turns=$(((rounds + 1) / 2)) what kind

	command -v fio >/dev/null && [ -w /dev/fuse ] && fuse_prepare ||
		{ missing fuse "$(tail -n 1 "$work/log")"; return; }
	for ((round = 0; round < turns; round++)); do
		fuse_direct_turn || { missing fuse "$(tail -n 1 "$work/log")"; break; }
	done
	for what in 4k-qd1 4k-qd32 1m-qd8; do
		for kind in follower immutable rw rw-locked beside; do
			line "fuse-read-$what-$kind" speed "fuse.$kind.$what" \
				"fuse.passed.$what" ">=1" MiB/s
		done
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
	line fuse-disk-1m-vs-vmfs-tools speed fuse.disk.1m fuse.debian-cold.1m bound MiB/s
	line fuse-cold-4k-qd32-vs-vmfs-tools speed fuse.ours-cold.4k-qd32 \
		fuse.debian-cold.4k-qd32 ">=5" MiB/s
	line fuse-disk-4k-qd32-vs-vmfs-tools speed fuse.disk.4k-qd32 \
		fuse.debian-cold.4k-qd32 bound MiB/s
	fuse_mounted fuse_idle ro -- "$bin/vmfs-fuse" "$work/fuse.img"
	fuse_mounted fuse_idle rw -- "$bin/vmfs-fuse" -o rw "$work/fuse.img"
	fuse_mounted fuse_rested -- "$bin/vmfs-fuse" -o rw "$work/fuse.img"
	line fuse-idle-rss-ro time fuse.idle.ro - "<=16" MiB
	line fuse-idle-rss-rw time fuse.idle.rw - "<=16" MiB
	line fuse-idle-rss-rw-after-load time fuse.idle.rested - "<=16" MiB
	rm -f "$work/fuse.img" "$work/plain"
}
