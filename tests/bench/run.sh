#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [AREA...]: measures ours beside its peers (`make bench ONLY=AREA`). One line
# each:
#
#   name  ours  peer  ratio  goal  [MISSED]
#
# Numbers of one machine and one moment mean little; so ours and each peer take turns in
# one run, each number is the median of its turns, and the ratio is what to quote. Speeds:
# ratio = ours / peer; times: peer / ours; more is better in both. The turns of one round
# are neighbours in time and see the same machine: the ratio is the median of the rounds'
# ratios. A goal is on the ratio, or on our number where it has a unit.
#
# An area is tests/bench/AREA.sh: it is sourced, and defines bench_AREA.
# Environment: BIN, BENCH_BIN, ROUNDS (5), SECONDS_EACH (3), TMPDIR (a disk, not memory).
# Exit: 0 also when a goal is missed; 1 when something could not be measured.
set -u
export LC_ALL=C
here=$(realpath "$(dirname "$0")")
top=$(realpath "$here/../..")
bin=$(cd "$top" && realpath "${BIN:-build/bin}")
bench_bin=$(cd "$top" && realpath -m "${BENCH_BIN:-build/tests/bench}")
rounds=${ROUNDS:-5}
seconds_each=${SECONDS_EACH:-3}
PATH=$PATH:/usr/sbin:/sbin
areas=${*:-mkfs fsck lock create names data thin chain vdisk fuse nbd vhost sched iscsi
	paths boot gap}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/openvmfs-bench.XXXXXX") || exit 1
chmod 755 "$work"
children=()
status=0

cleanup()
{
	trap - EXIT
	for child in "${children[@]}"; do
		kill -9 "$child" 2>/dev/null
	done
	wait 2>/dev/null
	! mountpoint -q "$work/mount" || umount "$work/mount"
	rm -rf --one-file-system "$work"
	exit "$1"
}
trap 'cleanup $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# sample NAME NUMBER: one turn's result.
sample() { echo "$2" >>"$work/samples.$1"; }

# middle: the median of the numbers on stdin.
middle()
{
	sort -g | awk '
		{ n[NR] = $1 }
		END {
			if (NR)
				print (n[int((NR + 1) / 2)] + n[int(NR / 2) + 1]) / 2
		}'
}

median() { middle <"$work/samples.$1"; } # NAME

# ratio KIND OURS PEER: the median of the ratios of the rounds.
ratio()
{
	paste "$work/samples.$2" "$work/samples.$3" 2>/dev/null | awk -v kind="$1" '
		$1 > 0 && $2 > 0 { print kind == "speed" ? $1 / $2 : $2 / $1 }' | middle
}

# line NAME KIND OURS PEER GOAL UNIT: OURS and PEER are names of samples (PEER may be -);
# KIND is speed or time. GOAL is ">=1.3" (on the ratio), "<=0.3" with "on ours", or bound:
# none, it says what can be had.
line()
{
	local name=$1 kind=$2 ours peer goal=$5 unit=$6 ratio=0

	ours=$(median "$3" 2>/dev/null)
	peer=$([ "$4" = - ] || median "$4" 2>/dev/null)
	if [ -z "$ours" ] || { [ "$4" != - ] && [ -z "$peer" ]; }; then
		missing "$name" "no measurement"
		return
	fi
	[ "$4" = - ] || ratio=$(ratio "$kind" "$3" "$4")
	echo "$name ${ratio:-0} $ours ${peer:--} $goal $unit" | awk '{
		ratio = $2
		limit = substr($5, 3) + 0
		got = $5 ~ /^>=/ ? ratio : $3
		met = $5 ~ /^>=/ ? got >= limit : got <= limit
		printf "%-34s %10.5g %10s %7s  %s %s%s\n", $1, $3,
			$4 == "-" ? "-" : sprintf("%.5g", $4),
			$4 == "-" ? "-" : sprintf("%.2f", ratio), $5, $6,
			met || $5 == "bound" ? "" : "  MISSED"
	}'
}

missing()
{
	printf '%-34s not measured: %s\n' "$1" "$2"
	status=1
}

# serve COMMAND...: in the background until stop_server or the end; its pid in $server.
serve()
{
	"$@" </dev/null >"$work/server.log" 2>&1 &
	server=$!
	children+=("$server")
}

wait_for() # SECONDS COMMAND...
{
	local tries=$(($1 * 20))

	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.05
	done
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

printf '%-34s %10s %10s %7s  %s\n' name ours peer ratio goal
for area in $areas; do
	if [ ! -f "$here/$area.sh" ]; then
		echo "run.sh: no area '$area':" \
			"boot, chain, create, data, fsck, fuse, gap, iscsi, lock, mkfs," \
			"names, nbd, paths, sched, thin, vdisk, vhost" >&2
		exit 1
	fi
	# shellcheck disable=SC1090
	. "$here/$area.sh"
	"bench_$area"
done
exit $status
