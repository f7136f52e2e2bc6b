#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# storm.sh TRANSPORT FOLDER: several hosts (storm_host) at work on one volume, killed,
# stopped, and cut off at random. Exit 0: nothing was lost and nobody was in twice; 1: it
# was, and FOLDER holds the evidence; 77: the transport is not to be had here.
#
# TRANSPORT is one of tests/storm/on_*.sh, which says
#	rig_up          makes $IMAGE, or a target with it, and the network
#	device_of HOST  what that host opens
#	prefix_of HOST  words before a command that exec it where the host is
#	faults          names of what may go wrong beside kill and stop: fault_NAME
#	rig_tick        ends the faults whose time is over
#	rig_rest        ends all of them
#	rig_down        takes it away; $IMAGE is what the target wrote
#	HOST_FLAGS      for storm_host
#	MAY_LOSE=1      if a host that was stopped or cut off may find itself replaced
#
# STORM_SECONDS (60), STORM_HOSTS (4), STORM_FILES (4), STORM_STOP_MAX (10 s), STORM_PACE
# (seconds from fault to fault: 1; 3 on iSCSI), STORM_FLAGS (in place of HOST_FLAGS),
# STORM_SEED. A seed repeats the faults, not the timing of the hosts.

set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${BIN:-$ROOT/build/bin}
HOST=${STORM_HOST:-$BIN/../tests/storm/storm_host}
transport=$1
D=$2
SECONDS_TO_RUN=${STORM_SECONDS:-60}
HOSTS=${STORM_HOSTS:-4}
FILES=${STORM_FILES:-4}
STOP_MAX=${STORM_STOP_MAX:-10}
SEED=${STORM_SEED:-$(($(date +%s%N) / 1000 % 1000000))}
RANDOM=$SEED
LOG=$D/log
IMAGE=$D/image
PACE=1
HOST_FLAGS=
MAY_LOSE=
failed=0

faults() { :; }
rig_tick() { :; }
rig_rest() { :; }
rig_down() { :; }
prefix_of() { :; }

say() {
	echo "storm: $*"
}

# The hosts' clock, in microseconds.
now_us() {
	local up rest
	read -r up rest </proc/uptime
	up=${up/./}
	echo $((10#$up * 10000))
}

note() {
	echo "$(now_us) driver $*" >>"$LOG"
}

# shellcheck source=/dev/null
. "$ROOT/tests/storm/on_$transport.sh" || exit 77
PACE=${STORM_PACE:-$PACE}
mkdir -p "$D" || exit 1
exec 2>>"$D/err" # the shell tells of each child that was killed

declare -a pid life until # of each host; until: stopped so long (0: not)
kills=0 stops=0 others=0

end_all() {
	local i
	for ((i = 1; i <= HOSTS; i++)); do
		[ -z "${pid[i]:-}" ] || kill -9 "${pid[i]}" 2>/dev/null
	done
	rig_rest
	rig_down
}
trap end_all EXIT
trap 'exit 130' INT TERM

host() { # NAME HOST-NUMBER FLAG...: becomes the host
	local name=$1 i=$2
	shift 2
	# shellcheck disable=SC2046,SC2086
	exec $(prefix_of "$i") "$HOST" -d "$(device_of "$i")" -n "$name" -l "$LOG" \
		-t "$D/inside" -f "$FILES" -s $((SEED * 1000 + RANDOM)) $HOST_FLAGS "$@"
}

start() { # HOST
	life[$1]=$((${life[$1]:-0} + 1))
	until[$1]=0
	host "h$1.${life[$1]}" "$1" &
	pid[$1]=$!
}

# A host that has ended: by our hand, or because it must, or because something is wrong.
reap() { # HOST
	local code
	wait "${pid[$1]}" 2>/dev/null
	code=$?
	pid[$1]=
	case $code in
	137) ;; # SIGKILL
	3)
		note "saw h$1.${life[$1]} lose the volume"
		[ -n "$MAY_LOSE" ] || { failed=1; say "h$1.${life[$1]} lost the volume"; }
		;;
	*)
		failed=1
		say "h$1.${life[$1]} ended with $code"
		;;
	esac
}

stop() { # HOST: for 1 to STOP_MAX seconds
	local s=$((1 + RANDOM % STOP_MAX))
	[ "${until[$1]}" = 0 ] || return 0
	note "stop h$1.${life[$1]} $s"
	kill -STOP "${pid[$1]}" 2>/dev/null
	until[$1]=$((SECONDS + s))
	stops=$((stops + 1))
}

thaw() { # HOST
	note "cont h$1.${life[$1]}"
	kill -CONT "${pid[$1]}" 2>/dev/null
	until[$1]=0
}

murder() { # HOST
	kill -9 "${pid[$1]}" 2>/dev/null
	note "kill h$1.${life[$1]}"
	kills=$((kills + 1))
}

something_happens() {
	local i=$((1 + RANDOM % HOSTS)) what=$((RANDOM % 100)) names
	[ -n "${pid[i]}" ] || return 0
	# Most that sleep are to wake up: what they do then is what counts.
	[ "${until[i]}" = 0 ] || [ $((RANDOM % 4)) = 0 ] || return 0
	names=$(faults)
	if [ -n "$names" ] && [ "$what" -lt 25 ]; then
		# shellcheck disable=SC2086
		set -- $names
		shift $((RANDOM % $#))
		note "fault $1 h$i.${life[i]}"
		"fault_$1" "$i" "${pid[i]}"
		others=$((others + 1))
	elif [ "$what" -lt 65 ]; then
		murder "$i"
	else
		stop "$i"
	fi
}

# ---- the storm ----

say "$transport, $HOSTS hosts, $FILES files, $SECONDS_TO_RUN s, seed $SEED"
rig_up || exit $?
(host make 1 --make) || { say "the files could not be made"; exit 1; }
end=$((SECONDS + SECONDS_TO_RUN))
for ((i = 1; i <= HOSTS; i++)); do
	start "$i"
done
while [ "$SECONDS" -lt "$end" ] && [ "$failed" = 0 ]; do
	[ $((RANDOM % PACE)) != 0 ] || something_happens
	rig_tick
	sleep "0.$((1 + RANDOM % 9))"
	for ((i = 1; i <= HOSTS; i++)); do
		[ "${until[i]}" = 0 ] || [ "$SECONDS" -lt "${until[i]}" ] || thaw "$i"
		kill -0 "${pid[i]}" 2>/dev/null && continue
		reap "$i"
		[ "$failed" != 0 ] || start "$i"
	done
	sleep "0.$((RANDOM % 10))"
done

# ---- and after it ----

note "calm"
rig_rest
for ((i = 1; i <= HOSTS; i++)); do
	[ -n "${pid[i]:-}" ] || continue
	[ "${until[i]}" = 0 ] || thaw "$i"
	kill -TERM "${pid[i]}" 2>/dev/null
done
for ((i = 1; i <= HOSTS; i++)); do
	[ -n "${pid[i]:-}" ] || continue
	wait "${pid[i]}"
	code=$?
	pid[i]=
	[ $code = 0 ] || [ $code = 137 ] || { [ $code = 3 ] && [ -n "$MAY_LOSE" ]; } || {
		failed=1
		say "h$i.${life[i]} ended with $code"
	}
done
(host last 1 --final "$HOSTS") || {
	failed=1
	say "the files could not be read at the end"
}
rig_down
trap - EXIT
"$BIN/fsck.vmfs" -n "$IMAGE" >"$D/fsck" 2>&1 || {
	failed=1
	say "fsck.vmfs finds: $(tail -n 5 "$D/fsck")"
}
say "$kills killed, $stops stopped, $others other faults"
perl "$ROOT/tests/storm/storm_check.pl" "$FILES" "$LOG" ${MAY_LOSE:+may-lose} || failed=1
[ $failed = 0 ] || say "FAILED: seed $SEED, see $D"
exit $failed
