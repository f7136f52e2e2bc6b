#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# relay.sh: a TCP relay on loopback: one host's way to a target, which can fail for that
# host alone.
#
#   relay.sh up DIR PORT TARGET-PORT   starts it
#   relay.sh hang|thaw DIR PORT        freezes it: connections stay, nothing passes
#   relay.sh swallow DIR PORT          loses the answer to the next conditional write
#   relay.sh drop DIR PORT             the same, and closes the connection instead
#   relay.sh down DIR PORT             kills it; its connections are reset
#
# DIR must exist; its pid lies in DIR/relay-PORT, what it lost in DIR/relay-PORT.log.
# Environment: RELAY_ADDRESS to listen on (127.0.0.1). Exit: 0, 1 (one line says why).
set -u
die() { echo "relay.sh: $*" >&2; exit 1; }

[ $# -ge 3 ] || die "usage: relay.sh up DIR PORT TARGET-PORT |
	hang|thaw|swallow|drop|down DIR PORT"
verb=$1 dir=$2 port=$3
file=$dir/relay-$port
here=$(realpath "$(dirname "$0")")
# shellcheck source=/dev/null
. "$here/ended.sh"

signal() { # NAME
	kill "-$1" "$(cat "$file")" 2>/dev/null || die "port $port: not up in $dir"
}

case $verb in
up)
	[ $# = 4 ] || die "up needs DIR PORT TARGET-PORT"
	address=${RELAY_ADDRESS:-127.0.0.1}
	setsid perl "$here/relay.pl" "$address" "$port" "$4" \
		</dev/null >"$file.log" 2>&1 &
	disown
	echo $! >"$file"
	for ((i = 0; i < 600; i++)); do
		(: <>"/dev/tcp/$address/$port") 2>/dev/null && exit 0
		kill -0 $! 2>/dev/null || die "$(head -n 1 "$file.log")"
		sleep 0.05
	done
	die "port $port: does not listen"
	;;
hang) signal STOP ;;
thaw) signal CONT ;;
swallow) signal USR1 ;;
drop) signal USR2 ;;
down)
	signal KILL
	until has_ended "$(cat "$file")"; do sleep 0.02; done
	rm -f "$file"
	;;
*) die "$verb: not up, hang, thaw, swallow, drop or down" ;;
esac
