#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Sessions bound to interfaces: two interfaces, each with a cable to a target with two
# portals, are four paths; one interface goes, and all goes on by the other one's
# (tests/unit/iscsi_ways.c). FULL=1: what is lost is noticed in real time.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/cables.sh"
ways=${BIN%/bin}/tests/unit/iscsi_ways
rig=$ROOT/tests/rigs/own.sh
[ -n "${FULL:-}" ] || skip_all "FULL=1 runs it"
[ -x "$ways" ] || skip_all "$ways is not built"
[ "$(id -u)" = 0 ] || skip_all "only root makes a network"

take_ports
at_exit "$rig" down "$T" "$port"
at_exit cables_down
cables_up 2 2>"$T/why" || skip_all "no network namespace: $(tail -n 1 "$T/why")"
first=$(cable_address 1):$((port + 1)) second=$(cable_address 2):$port
truncate -s 64M "$T/lun"
url=$(OWN_OPTIONS="-p $first:1 -p $second:1 --tpgs 0" ip netns exec "$cables" \
	"$rig" up "$T" "$port" "$T/lun" 2>"$T/why") || skip_all "$(cat "$T/why")"
url=${url/127.0.0.1:$port/$first}
keys="portal=$second&bind=$(cable_near 1)&bind=$(cable_near 2)&policy=rr&iops=1"
keys="$keys&noop_interval=60&noop_timeout=60&command_timeout=60" # pings see nothing
ok "two interfaces, two portals, and an interface that goes" env \
	WAYS_URL="$url?$keys" WAYS_PULL="ip link set $(cable_near 1) down" "$ways"
