# SPDX-License-Identifier: Apache-2.0
#
# One on-disk lock on a volume in a file: acquire and release, joining the cluster, and
# the take-over of a host that was killed; beside sanlock on a file of the same
# filesystem (without a watchdog), and beside the floor: reading and writing the sector
# twice with O_DIRECT. A release on a file is one write, so writing the sector once is the
# least that it can cost: the last word on its ratio to sanlock's, which waits for
# processes more than for the disk, is the line "at most".

# A private daemon of sanlock that has joined a lockspace; its join is sampled. Its
# answer to a host that is killed, 140 s and more, is from its documentation.
start_sanlock()
{
	local leases=$work/leases.img began

	command -v sanlock >/dev/null && [ -x "$bench_bin/sanlock_peer" ] || {
		sanlock_why="sanlock or its library is not here (scripts/deps bench)"
		return 1
	}
	export SANLOCK_RUN_DIR=$work/sanlock SANLOCK_PRIVILEGED=0
	mkdir -p "$SANLOCK_RUN_DIR"
	truncate -s 16M "$leases"
	serve sanlock daemon -D -w 0 -h 0 -l 0 -U root -G root -e bench
	wait_for 10 sanlock client status &&
		sanlock direct init -s "BENCH:0:$leases:0" >"$work/log" 2>&1 &&
		sanlock direct init -r "BENCH:R1:$leases:1048576" >"$work/log" 2>&1 &&
		began=$(now_ms) &&
		sanlock client add_lockspace -s "BENCH:1:$leases:0" >"$work/log" 2>&1 &&
		sample lock.sanlock.join "$(($(now_ms) - began))e-3" || {
		sanlock_why="sanlock: $(tail -n 1 "$work/server.log")"
		return 1
	}
}

stop_sanlock()
{
	sanlock client shutdown -f 1 >/dev/null 2>&1
	wait "$server" 2>/dev/null
}

# lock_turn PREFIX COMMAND...: prints lines "what number".
lock_turn()
{
	local prefix=$1 what number

	shift
	"$@" >"$work/lock" 2>"$work/log" || return 1
	while read -r what number; do
		sample "$prefix.$what" "$number"
	done <"$work/lock"
}

# Short turns, and many: each is over before the machine's load has changed.
lock_cycles()
{
	local round

	for ((round = 0; round < 4 * rounds; round++)); do
		lock_turn lock "$bench_bin/lock_bench" cycle "$image" || return 1
		[ $has_sanlock = no ] || lock_turn lock.sanlock \
			"$bench_bin/sanlock_peer" BENCH R1 "$work/leases.img" 1048576 ||
			{ has_sanlock=no; sanlock_why="$(tail -n 1 "$work/log")"; }
	done
}

bench_lock()
{
	local image=$work/lock.img what round has_sanlock=yes sanlock_why=

	[ -x "$bench_bin/lock_bench" ] ||
		{ missing lock "lock_bench is not built"; return; }
	truncate -s 4G "$image"
	"$bin/mkfs.vmfs" -L bench "$image" >"$work/log" 2>&1 ||
		{ missing lock "$(tail -n 1 "$work/log")"; return; }
	start_sanlock || has_sanlock=no
	lock_cycles || { missing lock "$(tail -n 1 "$work/log")"; return; }
	for ((round = 0; round < rounds; round++)); do
		for what in join takeover; do
			lock_turn lock "$bench_bin/lock_bench" $what "$image" ||
				{ missing lock "$(tail -n 1 "$work/log")"; return; }
		done
	done
	line lock-acquire-release-p50-vs-floor time lock.both lock.floor "<=0.3" ms
	if [ $has_sanlock = yes ]; then
		line lock-acquire-p50-vs-sanlock time \
			lock.acquire lock.sanlock.acquire ">=13" ms
		line lock-release-p50-vs-sanlock time \
			lock.release lock.sanlock.release ">=13" ms
		line lock-release-at-most time \
			lock.floor_write lock.sanlock.release bound ms
		line lock-join-vs-sanlock time lock.join lock.sanlock.join "<=1" s
		stop_sanlock
	else
		missing lock-acquire-p50-vs-sanlock "$sanlock_why"
		line lock-join time lock.join - "<=1" s
	fi
	line lock-takeover-after-sigkill-file time lock.takeover - "<=2" s
	rm -f "$image" "$work/leases.img"
}
