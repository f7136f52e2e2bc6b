# SPDX-License-Identifier: Apache-2.0
#
# The longest that an I/O waits when one of two paths falls silent in the middle of many
# (nothing is refused or reset: the worst way), with the timers as they are by default.
# Once with both portals in a portal group, where a login at the other ends what was under
# way, and once in two, where writes wait until time has (iscsi/multipath.c).

# cut_path NAME GROUP: of the second portal
cut_path()
{
	local rig=$top/tests/rigs/own.sh url waited

	truncate -s 64M "$work/lun"
	url=$(BIN=$bin OWN_OPTIONS="-p $((port + 1)):$2 --tpgs 0" \
		"$rig" up "$work" "$port" "$work/lun" 2>"$work/log") || return 1
	(sleep 2; BIN=$bin "$rig" do "$work" "$port" black-hole "$port" on) >/dev/null &
	waited=$("$bench_bin/paths_bench" "$url?portal=127.0.0.1:$((port + 1))" 20 \
		2>"$work/log") && sample "paths.$1" "$waited"
	BIN=$bin "$rig" down "$work" "$port"
	[ -n "$waited" ]
}

bench_paths()
{
	local port=${PATHS_PORT:-$((13900 + $$ % 40 * 2))}

	cut_path group 1 || missing paths "$(tail -n 1 "$work/log")"
	line failover-of-a-silent-path time paths.group - "<=7" s
	cut_path groups 2 || missing paths "$(tail -n 1 "$work/log")"
	line failover-of-one-in-another-group time paths.groups - "<=12" s
}
