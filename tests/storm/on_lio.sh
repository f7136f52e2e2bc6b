# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# A storm on LIO in a QEMU guest: COMPARE AND WRITE, persistent reservations.

target() {
	local url
	case $1 in
	up)
		url=$("$ROOT/tests/rigs/lio.sh" up "$D" "$PORT" "$IMAGE") || return $?
		url=${url##*$'\n'}
		TARGET=${url#iscsi://*/}
		LUN=${TARGET##*/}
		TARGET=${TARGET%/*}
		;;
	*) "$ROOT/tests/rigs/lio.sh" "$1" "$D" "$PORT" ;;
	esac
}

HOST_FLAGS=${STORM_FLAGS:---lease --guard}
# shellcheck source=/dev/null
. "$ROOT/tests/storm/on_net.sh"
