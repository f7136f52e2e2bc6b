#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A volume that a running host has attached gets another extent: the host opens it by
# itself, as a file beside the first one or as another LUN of its target, and tools that
# ask the host for the volume get all of it.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need mkfs.vmfs vmkfstools vmkernel esxcli fsck.vmfs

at_exit host_down

# grows FIRST SECOND: a host on the first one sees the second one come.
grows() {
	mkfs.vmfs -q -f -L store "$1"
	host_up --device "$1"
	is "$?" 0 "a host on $1"
	run vmkfstools -Z "$2" "$1"
	is "$rc" 0 "it gets another extent"
	like "$out" "2 extents" "by another member"
	run vmkfstools -c 1200M -d eagerzeroedthick "[store] big.vmdk"
	is "$rc" 0 "a disk that needs both, by way of the host"
	run esxcli storage filesystem list
	like "$out" "store .* $((7 * 256 << 20)) " "the host has it all"
	like "$(cat "$T/state/vmkernel.log")" "extent .* was added by another host" \
		"and says so"
	ok "the host ends" host_down
	run fsck.vmfs -n "$1" "$2"
	is "$rc" 0 "clean"
}

truncate -s 1100M "$T/a"
truncate -s 1G "$T/b"
grows "$T/a" "$T/b"

if command -v tgtd >/dev/null; then
	rig=$ROOT/tests/rigs/tgt.sh
	take_ports
	truncate -s 1100M "$T/c"
	truncate -s 1G "$T/d"
	# CHAP: the other LUN is asked for under the same name.
	export TGT_CHAP=alice%alicesecret12
	if urls=$("$rig" up "$T" "$port" "$T/c" "$T/d"); then
		at_exit "$rig" down "$T" "$port"
		grows "$(sed -n 1p <<<"$urls")" "$(sed -n 2p <<<"$urls")" \
			2> >(grep -v warning >&2)
		unlike "$(cat "$T/state/vmkernel.log")" alicesecret12 \
			"the log holds no secret"
	else
		skip 9 "no target"
	fi
else
	skip 9 "no tgtd"
fi
