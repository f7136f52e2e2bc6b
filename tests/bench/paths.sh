# SPDX-License-Identifier: Apache-2.0
#
# The longest that an I/O waits when one of two paths is lost in the middle of many, with
# the timers as they are by default; no error comes up.
#
#   its cable is pulled     nobody acknowledges anything any more
#   it falls silent         the target's kernel still takes what comes: it may be at work
#
# Each with both portals in a portal group, where a login at the other one ends what was
# under way, and with the portals in two, where writes wait until time has
# (iscsi/multipath.c).

# shellcheck source=/dev/null
. "$top/tests/lib/places.sh"
# shellcheck source=/dev/null
. "$top/tests/lib/cables.sh"

# lose_path NAME GROUP HOST1 HOST2 LOSE...: GROUP of the second portal; LOSE loses the
# first.
lose_path()
{
	local rig=$top/tests/rigs/own.sh url waited name=$1 in=()
	local first=$3:$((port + 1)) second=$4:$((port + 2))

	[[ $3 == 127.* ]] || in=(ip netns exec "$cables")
	truncate -s 64M "$work/lun"
	url=$(BIN=$bin OWN_OPTIONS="-p $first:1 -p $second:$2 --tpgs 0" "${in[@]}" \
		"$rig" up "$work" "$port" "$work/lun" 2>"$work/log") || return 1
	url="${url/127.0.0.1:$port/$first}?portal=$second"
	shift 4
	(sleep 2; BIN=$bin "$@") >/dev/null &
	waited=$("$bench_bin/paths_bench" "$url" 20 2>"$work/log") &&
		sample "paths.$name" "$waited"
	BIN=$bin "$rig" down "$work" "$port"
	[ -n "$waited" ]
}

# lose_cable NAME GROUP
lose_cable()
{
	lose_path "$1" "$2" "$(cable_address 1)" "$(cable_address 2)" cable_pull 1 ||
		return 1
	cable_plug 1
}

lose_voice() # NAME GROUP
{
	lose_path "$1" "$2" 127.0.0.1 127.0.0.1 "$top/tests/rigs/own.sh" \
		do "$work" "$port" black-hole $((port + 1)) on
}

bench_paths()
{
	local port

	take_ports

	if cables_up 2 2>"$work/log"; then
		lose_cable cut 1 || missing paths "$(tail -n 1 "$work/log")"
		line failover-of-a-cut-path time paths.cut - "<=7" s
		lose_cable cut2 2 || missing paths "$(tail -n 1 "$work/log")"
		line failover-of-a-cut-path-in-another-group time paths.cut2 - "<=7" s
	else
		missing paths "$(tail -n 1 "$work/log")"
	fi
	cables_down
	lose_voice mute 1 || missing paths "$(tail -n 1 "$work/log")"
	line failover-of-a-silent-path time paths.mute - "<=7" s
	lose_voice mute2 2 || missing paths "$(tail -n 1 "$work/log")"
	line failover-of-a-silent-path-in-another-group time paths.mute2 - "<=12" s
}
