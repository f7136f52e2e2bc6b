# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Places that all tests of this machine share: TCP ports of loopback and the networks of
# cables. Who takes one holds a lock file until he and all that he started have ended, so
# that two who run side by side never meet.
#
#   take_ports           $port: the first of twenty that nobody else has and nobody
#                        listens on, below those the kernel gives to clients
#   take_place NAME N    $place: a number from 0 to N - 1 that nobody else has of NAME

places=/tmp/.openvmfs-places

take_place() {
	local i from=$RANDOM fd
	mkdir -p -m 1777 "$places" || return 1
	for ((i = 0; i < $2; i++)); do
		place=$(((from + i) % $2))
		exec {fd}>>"$places/$1.$place" || return 1
		flock -n "$fd" && return 0
		exec {fd}>&-
	done
	echo "all $2 places of $1 are taken ($places)" >&2
	return 1
}

# A port of $1 up to the nineteenth behind it has a listener.
ports_are_used() {
	awk -v from="$1" '
		BEGIN { for (i = 0; i < 20; i++) ours[sprintf("%04X", from + i)] = 1 }
		{ split($2, at, ":") }
		$4 == "0A" && at[2] in ours { found = 1 }
		END { exit !found }' /proc/net/tcp
}

take_ports() {
	while take_place ports 1100; do
		port=$((10000 + 20 * place))
		ports_are_used "$port" || return 0
	done
	exit 1
}
