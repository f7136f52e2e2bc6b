# SPDX-License-Identifier: Apache-2.0
#
# Files through a mount. Direct: reads beside libfuse's own example of a filesystem that
# passes everything on (passthrough_ll, built from what libfuse3-dev ships), by each kind
# of mount: without options, -o immutable, -o rw with nothing written, and -o rw with the
# file open for writing, so that its lock is held; and without options beside a mount that
# has the file open for writing. Writes beside a plain file. All mounts stand at a time
# and have turns of a tenth of a second (turns_bench.c); passthrough_ll reads the piece of
# the image where the file lies: the same bytes of the same disk. All reads are at random:
# in order each would read what the one before has brought into whoever is below, and from
# different places what he happens to have of them.
#
# Cold, through the kernel's cache: beside Debian's vmfs-fuse on the same VMFS-5 volume.
# Nothing is read twice: one pass over a file that nobody has in memory (cold_bench.c).
# What the disk gives without any filesystem of ours, as cold and in the same turn, is the
# bound; what passthrough_ll makes of it shows what the way through the kernel and back
# leaves. The same with the volume in memory, where there is none, shows what the programs
# cost.
#
# And the memory of a mount that does nothing. Names are in names.sh.

fuse_at=$work/fuse.at
fuse_examples=/usr/share/doc/libfuse3-dev/examples

fuse_turn_ms=100

# fuse_turns KIND SIZE DEPTH NAME=FILE...: samples the MiB/s of each, by turns.
fuse_turns()
{
	local kind=$1 size=$2 depth=$3 files=() names=() row i
	local count=$((turns * seconds_each * 1000 / fuse_turn_ms))

	shift 3
	for i; do
		names+=("${i%%=*}")
		files+=("${i#*=}")
	done
	"$bench_bin/turns_bench" "$kind" "$size" "$depth" $fuse_turn_ms $count \
		"${files[@]}" >"$work/turns" 2>"$work/log" || return 1
	while read -ra row; do
		for i in "${!names[@]}"; do
			sample "fuse.${names[i]}" "${row[i]}"
		done
	done <"$work/turns"
}

# fuse_kinds "NAME KIND SIZE DEPTH"... -- NAME=FILE...: each kind, as NAME.KIND.
fuse_kinds()
{
	local kinds=() kind file files

	while [ "$1" != -- ]; do
		kinds+=("$1")
		shift
	done
	shift
	for kind in "${kinds[@]}"; do
		files=()
		for file; do
			files+=("${file%%=*}.${kind%% *}=${file#*=}")
		done
		# shellcheck disable=SC2086
		fuse_turns ${kind#* } "${files[@]}" || return 1
	done
}

fuse_reads() # NAME=FILE...
{
	fuse_kinds "4k-qd1 randread 4096 1" "4k-qd32 randread 4096 32" \
		"1m-qd8 randread 1048576 8" -- "$@"
}

fuse_writes() # NAME=FILE...
{
	fuse_kinds "4k-qd32-write randwrite 4096 32" \
		"1m-qd8-write write 1048576 8" -- "$@"
}

fuse_mount() # DIR COMMAND...
{
	local dir=$1

	shift
	mkdir -p "$dir" && "$@" "$dir" >"$work/log" 2>&1 &&
		wait_for 10 mountpoint -q "$dir"
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
	fuse_mount "$fuse_at" "$@" || return 1
	"${what[@]}"
	rc=$?
	sync
	fusermount3 -u "$fuse_at" || return 1
	return $rc
}

# Where the file lies in the image, as FROM+LENGTH.
fuse_place()
{
	local from len

	len=$(stat -c %s "$work/plain") &&
		from=$(perl -e '
			my ($image, $file) =
				map { open(my $f, "<:raw", $_) or die; $f } @ARGV;
			sysread($file, my $first, 4096) == 4096 or exit 1;
			for (my $at = 0; sysseek($image, $at, 0) &&
				sysread($image, my $here, 4096) == 4096; $at += 65536) {
				if ($here eq $first) { print $at; exit 0 }
			}
			exit 1' "$work/fuse.img" "$work/plain") &&
		cmp -s -n "$len" -i "$from:0" "$work/fuse.img" "$work/plain" &&
		echo "$from+$len"
}

fuse_measure_direct()
{
	local all file_fd rc

	all=$(fuse_place) || { echo "the file is in pieces" >"$work/log"; return 1; }
	all=$fuse_at.passed$work/fuse.img@$all
	fuse_reads passed="$all" follower="$fuse_at.ro/big" \
		immutable="$fuse_at.immutable/big" rw="$fuse_at.rw/big" || return 1
	exec {file_fd}<>"$fuse_at.rw/big" || return 1
	fuse_reads beside-passed="$all" rw-locked="$fuse_at.rw/big" \
		beside="$fuse_at.ro/big" &&
		fuse_writes ours="$fuse_at.rw/big" native="$work/plain"
	rc=$?
	exec {file_fd}>&-
	return $rc
}

fuse_direct()
{
	local rc dir

	fuse_mount "$fuse_at.ro" "$bin/vmfs-fuse" "$work/fuse.img" &&
		fuse_mount "$fuse_at.immutable" "$bin/vmfs-fuse" -o immutable \
			"$work/fuse.img" &&
		fuse_mount "$fuse_at.rw" "$bin/vmfs-fuse" -o rw "$work/fuse.img" &&
		fuse_mount "$fuse_at.passed" "$work/passthrough_ll" &&
		fuse_measure_direct
	rc=$?
	sync
	for dir in ro immutable rw passed; do
		! mountpoint -q "$fuse_at.$dir" || fusermount3 -u "$fuse_at.$dir" || rc=1
	done
	return $rc
}

# fuse_read NAME FILE KIND SIZE TASKS BYTES: samples its MiB/s, from a cold cache.
fuse_read()
{
	local name=$1 file=$2 speed

	shift 2
	fuse_forget
	speed=$("$bench_bin/cold_bench" "$@" "$file" 2>"$work/log") || return 1
	sample "fuse.$name" "$speed"
}

fuse_forget() { sync && echo 3 >/proc/sys/vm/drop_caches; }

# fuse_cold NAME FILE [KIND]: in order, as cp does; and many at a time, nothing twice.
fuse_cold()
{
	local kind=${3:-read} tasks=1

	[ "$kind" = read ] || tasks=8
	fuse_read "$1.1m" "$2" "$kind" 1048576 $tasks $((512 << 20)) &&
		fuse_read "$1.4k-qd32" "$2" "rand$kind" 4096 32 $((64 << 20))
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
	fuse_writes burst="$fuse_at/big" && sleep 2 && fuse_idle rested
}

# Where a host begins to allocate is drawn by lot: until the end of the volume is not in
# the middle of the file.
fuse_fill()
{
	local try

	for try in 1 2 3 4 5 6 7 8 9 10; do
		"$bin/mkfs.vmfs" -q -f "$work/fuse.img" 2>"$work/log" &&
			fuse_mounted cp "$work/plain" "$fuse_at/big" -- \
				"$bin/vmfs-fuse" -o rw "$work/fuse.img" || return 1
		! fuse_place >/dev/null || return 0
	done
}

fuse_prepare()
{
	local flags

	flags=$(pkg-config --cflags --libs fuse3)
	# shellcheck disable=SC2086
	gcc -O2 -o "$work/passthrough_ll" -I"$fuse_examples" \
		"$fuse_examples/passthrough_ll.c" $flags 2>"$work/log" &&
		dd if=/dev/urandom of="$work/fuse.img" bs=1M count=1024 status=none &&
		dd if=/dev/urandom of="$work/plain" bs=1M count=512 status=none &&
		fuse_fill
}

# fuse_cold_turns KIND IMAGE: many, since others have the disk, too.
fuse_cold_turns()
{
	local kind=$1 round turns=$((3 * rounds)) rc=0

	fuse_mount "$fuse_at.cold" "$bin/vmfs-fuse" "$2" &&
		fuse_mount "$fuse_at.debian" /usr/sbin/vmfs-fuse "$2" &&
		fuse_mount "$fuse_at.passed" "$work/passthrough_ll" || rc=1
	for ((round = 0; rc == 0 && round < turns; round++)); do
		fuse_cold "ours-$kind" "$fuse_at.cold/big" &&
			fuse_cold "debian-$kind" "$fuse_at.debian/big" || rc=1
		if [ "$kind" = cold ]; then
			fuse_cold disk "$work/plain" direct &&
				fuse_cold passed-cold "$fuse_at.passed$work/plain" ||
				rc=1
		fi
	done
	for kind in cold debian passed; do
		! mountpoint -q "$fuse_at.$kind" || fusermount3 -u "$fuse_at.$kind" ||
			rc=1
	done
	return $rc
}

# The volume in memory.
fuse_ram_turns()
{
	local rc

	fuse_ram=$(mktemp -d /dev/shm/openvmfs-bench.XXXXXX) &&
		cp "$work/fuse.img" "$fuse_ram" 2>"$work/log" &&
		fuse_cold_turns ram "$fuse_ram/fuse.img"
	rc=$?
	rm -rf "$fuse_ram"
	return $rc
}

fuse_measure_cold()
{
	[ -x /usr/sbin/vmfs-fuse ] || { echo "no vmfs-fuse" >"$work/log"; return 1; }
	fuse_cold_turns cold "$work/fuse.img" && fuse_ram_turns
}

fuse_cold_lines()
{
	local what goals=(3 5)

	for what in 1m 4k-qd32; do
		line "fuse-cold-$what-vs-vmfs-tools" speed "fuse.ours-cold.$what" \
			"fuse.debian-cold.$what" ">=${goals[0]}" MiB/s
		line "fuse-disk-$what-vs-vmfs-tools" speed "fuse.disk.$what" \
			"fuse.debian-cold.$what" bound MiB/s
		line "fuse-passed-$what-vs-vmfs-tools" speed "fuse.passed-cold.$what" \
			"fuse.debian-cold.$what" bound MiB/s
		line "fuse-ram-$what-vs-vmfs-tools" speed "fuse.ours-ram.$what" \
			"fuse.debian-ram.$what" bound MiB/s
		goals=("${goals[@]:1}")
	done
}

bench_fuse()
{
	local turns=$(((rounds + 1) / 2)) what kind

	[ -w /dev/fuse ] && fuse_prepare ||
		{ missing fuse "$(tail -n 1 "$work/log")"; return; }
	fuse_direct || missing fuse "$(tail -n 1 "$work/log")"
	for what in 4k-qd1 4k-qd32 1m-qd8; do
		for kind in follower immutable rw; do
			line "fuse-read-$what-$kind" speed "fuse.$kind.$what" \
				"fuse.passed.$what" ">=1" MiB/s
		done
		for kind in rw-locked beside; do
			line "fuse-read-$what-$kind" speed "fuse.$kind.$what" \
				"fuse.beside-passed.$what" ">=1" MiB/s
		done
	done
	for what in 4k-qd32-write 1m-qd8-write; do
		line "fuse-$what-vs-native" speed "fuse.ours.$what" \
			"fuse.native.$what" ">=0.5" MiB/s
	done
	fuse_measure_cold || missing fuse-cold "$(tail -n 1 "$work/log")"
	fuse_cold_lines
	fuse_mounted fuse_idle ro -- "$bin/vmfs-fuse" "$work/fuse.img"
	fuse_mounted fuse_idle rw -- "$bin/vmfs-fuse" -o rw "$work/fuse.img"
	fuse_mounted fuse_rested -- "$bin/vmfs-fuse" -o rw "$work/fuse.img"
	line fuse-idle-rss-ro time fuse.idle.ro - "<=16" MiB
	line fuse-idle-rss-rw time fuse.idle.rw - "<=16" MiB
	line fuse-idle-rss-rw-after-load time fuse.idle.rested - "<=16" MiB
	rm -f "$work/fuse.img" "$work/plain"
}
