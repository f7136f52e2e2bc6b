#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two portals to a LUN of our own target (tests/target): paths that freeze, are cut, are
# made standby; fences and barriers over both. tests/unit/iscsi_paths.c says what is
# shown.

. "$(dirname "$0")/../lib/tap.sh"
paths=${BIN%/bin}/tests/unit/iscsi_paths
rig=$ROOT/tests/rigs/own.sh
port=${PATHS_PORT:-$((13860 + $$ % 20 * 2))}
[ -x "$paths" ] || skip_all "$paths is not built"

at_exit "$rig" down "$T" "$port"

paths() { # NAME KIND GROUP: of the second portal
	local url
	rm -f "$T/lun"
	truncate -s 64M "$T/lun"
	url=$(OWN_OPTIONS="-p $((port + 1)):$3" "$rig" up "$T" "$port" "$T/lun" \
		2>"$T/why")
	case $? in
	0) ;;
	77) skip_all "$(cat "$T/why")" ;;
	*) fail "$1"; diag "$(cat "$T/why")"; return ;;
	esac
	ok "$1" env PATHS_URL="$url" PATHS_PORT="$port" PATHS_KIND="$2" \
		PATHS_FILE="$T/lun" PATHS_DO="$rig do $T $port" "$paths"
	"$rig" down "$T" "$port"
}

paths "two portals of one group" group 1
paths "two portals of two groups, with ALUA" groups 2
