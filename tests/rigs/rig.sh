# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What the rigs have in common: VERB DIR PORT, the process and the folder of one. Sourced
# with $kind (its name), $verbs (of its usage) and $logs set; the rig defines is_ours PID,
# and kills nothing else. Sets $verb, $dir, $port and $rig, and leaves the other
# arguments.

die() { echo "$kind.sh: $*" >&2; exit 1; }
skip() { echo "$kind.sh: skipped: $*" >&2; exit 77; }
usage() { die "usage: $kind.sh $verbs"; }

[ $# -ge 3 ] || usage
verb=$1 dir=$2 port=$3
shift 3
[[ $port =~ ^[0-9]{1,5}$ ]] && [ "$port" -ge 1 ] && [ "$port" -le 65535 ] ||
	die "port $port: not a number from 1 to 65535"
[ -d "$dir" ] || die "$dir: no such directory"
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=/dev/null
. "$here/ended.sh"
rig=$(realpath "$dir")/$kind-$port

pid_or_die() {
	pid=$(cat "$rig/pid" 2>/dev/null)
	[ -n "$pid" ] && is_ours "$pid" || die "port $port: not up in $dir"
}

# An empty folder for a new one.
rig_make() {
	[ ! -e "$rig/pid" ] || ! is_ours "$(cat "$rig/pid")" ||
		die "port $port: already up in $dir"
	rm -rf "$rig"
	mkdir "$rig" || exit 1
}

down() {
	local pid
	pid=$(cat "$rig/pid" 2>/dev/null)
	if [ -n "$pid" ] && is_ours "$pid"; then
		kill -9 "$pid" # like a power cut
		until has_ended "$pid"; do sleep 0.02; done
	fi
	rm -rf "$rig"
}

fail_up() {
	local log
	echo "$kind.sh: $*" >&2
	for log in $logs; do tail -v -n 5 "$rig/$log" >&2; done
	down
	exit 1
}
