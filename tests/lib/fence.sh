# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# For the tests of fencing on real targets (tests/unit/fence_live.c). Source it after
# tap.sh.

live=${BIN%/bin}/tests/unit/fence_live
[ -x "$live" ] || skip_all "$live is not built"

# fence_volume [IMAGE2]: $T/disk with a volume and /slow in it; IMAGE2 is made its second
# extent. $sector: where the data of /slow lie, on the first.
fence_volume() {
	truncate -s 4G "$T/disk"
	run mkfs.vmfs -q -L fence "$T/disk"
	is "$rc" 0 "a volume is made"
	sector=$(FENCE_IMAGE=$T/disk "$live")
	[ $# = 0 ] && return
	truncate -s 2G "$1"
	ok "and given another extent" vmkfstools -Z "$1" "$T/disk"
}

# fence_up RIG PORT [IMAGE2]: the target with it, as $url; the environment is the rig's.
fence_up() {
	rig=$ROOT/tests/rigs/$1.sh
	at_exit "$rig" down "$T" "$2"
	url=$("$rig" up "$T" "$2" "$T/disk" "${@:3}" 2>"$T/why")
	case $? in
	0) pass "the target is up" ;;
	77) skip_all "$(cat "$T/why")" ;;
	*) fail "the target is up"; diag "$(cat "$T/why")"; exit 1 ;;
	esac
}

# story CASE NAME [VARIABLE=VALUE...]: one case, and what it measured.
story() {
	FENCE_CASE=$1 FENCE_URL=$url timeout 400 env "${@:3}" "$live" >"$T/said" 2>&1
	is $? 0 "$2"
	diag "$(grep -v '^1\.\.\|^ok\|^# ok' "$T/said" | sed 's/^# //')"
}

# fence_down RIG PORT
fence_down() {
	"$rig" down "$T" "$2"
	ok "the rig leaves nothing behind" [ ! -e "$T/$1-$2" ]
}
