# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# The initiator against a target that is up for one case (tests/unit/iscsi_live.c says
# what is shown). Sourced after tap.sh, with $kind (of the rig) and $port set.
live=${BIN%/bin}/tests/unit/iscsi_live
rig=$ROOT/tests/rigs/$kind.sh
[ -x "$live" ] || skip_all "$live is not built"
at_exit "$rig" down "$T" "$port"

# A fresh LUN; false: it is not up, and that was told. Sets $url.
live_up() { # NAME [VARIABLE=VALUE...]
	local name=$1
	shift
	rm -f "$T/lun"
	truncate -s 128M "$T/lun"
	url=$(env "$@" "$rig" up "$T" "$port" "$T/lun" 2>"$T/why")
	case $? in
	0) ;;
	77) skip_all "$(cat "$T/why")" ;;
	*) fail "$name"; diag "$(cat "$T/why")"; return 1 ;;
	esac
}

live() { # NAME [VARIABLE=VALUE...]
	local name=$1
	live_up "$@" || return
	shift
	ok "$name" env "ISCSI_KIND=$kind" "$@" ISCSI_URL="$url" \
		ISCSI_HANG="$rig hang $T $port" ISCSI_THAW="$rig thaw $T $port" \
		ISCSI_CUT="$rig cut $T $port" ISCSI_DOWN="$rig down $T $port" \
		ISCSI_UP="$rig up $T $port $T/lun >/dev/null" "$live"
	"$rig" down "$T" "$port"
}
