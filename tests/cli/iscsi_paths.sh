#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two portals to a LUN of our own target (tests/target): paths that freeze, are cut, are
# made standby, whose cable is pulled; fences and barriers over both.
# tests/unit/iscsi_paths.c says what is shown.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/cables.sh"
paths=${BIN%/bin}/tests/unit/iscsi_paths
rig=$ROOT/tests/rigs/own.sh
take_ports
[ -x "$paths" ] || skip_all "$paths is not built"

at_exit "$rig" down "$T" "$port"

paths() { # NAME KIND PORTAL2 [COMMAND...]: COMMAND starts the rig
	local url
	rm -f "$T/lun"
	truncate -s 64M "$T/lun"
	url=$(OWN_OPTIONS="-p $3" "${@:4}" "$rig" up "$T" "$port" "$T/lun" 2>"$T/why")
	case $? in
	0) ;;
	77) skip_all "$(cat "$T/why")" ;;
	*) fail "$1"; diag "$(cat "$T/why")"; return ;;
	esac
	ok "$1" env PATHS_URL="${url/127.0.0.1:$port/$first}" PATHS_KIND="$2" \
		PATHS_PORT="$port" PATHS_FILE="$T/lun" \
		PATHS_DO="$rig do $T $port" "$paths"
	"$rig" down "$T" "$port"
}

first=127.0.0.1:$port
paths "two portals of one group" group $((port + 1)):1
paths "two portals of two groups, with ALUA" groups $((port + 1)):2

at_exit cables_down
if [ "$(id -u)" != 0 ] || ! cables_up 2 2>"$T/why"; then
	skip 1 "no network namespace: $(tail -n 1 "$T/why" 2>/dev/null)"
	exit
fi
first=$(cable_address 1):$((port + 1))
PATHS_SECOND=$(cable_address 2):$port
PATHS_PULL="ip -n $cables link set far1 down"
export PATHS_SECOND PATHS_PULL
paths "two cables" cables "$first:1 -p $PATHS_SECOND:1 --tpgs 0" \
	ip netns exec "$cables"
