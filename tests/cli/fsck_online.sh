#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fsck.vmfs --online beside three processes that write the volume as fast as they can: it
# finds nothing on a sound one, and on one with a fault nothing but that; it opens the
# volume for reading alone, and neither writes nor locks.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmfs-dump
HOST=$BIN/../tests/storm/storm_host
[ -x "$HOST" ] || skip_all "storm_host was not built"
checks=${FULL:+200}
checks=${checks:-20}
ds=$T/ds
pids=

# start: three hosts at work.
start() {
	local i
	for i in 1 2 3; do
		"$HOST" -d "$ds" -n "h$i.$1" -l "$T/log" -t "$T/inside" -f 3 -s "$1$i" \
			>>"$T/told" 2>&1 &
		pids="$pids $!"
	done
}

# signal NAME: to all hosts.
signal() {
	local p
	for p in $pids; do
		kill "-$1" "$p" 2>/dev/null
	done
}

# end: all leave, and none has met what must not be.
end() {
	local p code=0
	signal TERM
	for p in $pids; do
		wait "$p" || code=$?
	done
	pids=
	return "$code"
}
at_exit signal KILL

# changes: how much the hosts have done so far.
changes() {
	grep -c . "$T/log"
}

# check_on N: so many checks while the hosts go on; what was found in $found.
check_on() {
	local i
	found='' codes=''
	for ((i = 0; i < $1; i++)); do
		run fsck.vmfs -n -v --online "$ds"
		found+=$(grep -E '^[A-Z0-9_]+: ' <<<"$out" |
			grep -vE '^(HB_LIVE|LOCK_STALE): ')$'\n'
		codes+="$rc "
	done
	found=$(grep . <<<"$found" | sort -u)
}

truncate -s 600M "$ds"
mkfs.vmfs -q -L ds "$ds"
vmkfstools -c 1m "$ds:/victim.vmdk"
"$HOST" -d "$ds" -n make -l "$T/log" -t "$T/inside" -f 3 -s 7 --make >>"$T/told" 2>&1

start 1
while [ "$(changes)" -lt 30 ]; do sleep 0.1; done
before=$(changes)
check_on "$checks"
is "$found" "" "nothing is found in $checks checks beside three writers"
is "$(tr ' ' '\n' <<<"$codes" | sort -u | tr -d '\n')" 0 "and each ends with 0"
while [ "$(changes)" -le "$before" ]; do sleep 0.1; done
ok "the writers went on" true

if command -v strace >/dev/null && strace -o "$T/none" true 2>/dev/null; then
	strace -f -o "$T/calls" fsck.vmfs -n --online "$ds" >"$T/out" 2>&1
	is "$(grep -F "$ds" "$T/calls" | grep -E ' open(at)?\(' |
		grep -vcE 'O_RDONLY')" 0 "the volume is opened for reading alone"
	ok "and it is opened" grep -qE "open(at)?\(.*$ds.*O_RDONLY" "$T/calls"
	writes='F_(OFD_)?SETLK|flock\(|pwrite|writev|io_submit.*PWRITE|fallocate'
	is "$(grep -cE "$writes|ioctl\\(.*BLK" "$T/calls")" 0 \
		"nothing is locked, and nothing written but the answer"
else
	for i in 1 2 3; do ok "# SKIP strace cannot be used here" true; done
fi

signal STOP
cp --sparse=always "$ds" "$T/copy"
run fsck.vmfs -n --online "$ds"
is "$rc" 0 "beside writers that stand still, all is well, too"
ok "and not a byte changes" cmp -s "$ds" "$T/copy"
signal CONT
end
is "$?" 0 "the writers met nothing that must not be"
run fsck.vmfs -n "$ds"
is "$rc" 0 "and after them the volume is clean"

# ---- with a fault: the links of a file, which other objects contradict ----

fd=$(vmfs-dump "$ds" lock /victim-flat.vmdk | sed -n 's/.*0x004  addr *//p')
name=$(vmfs-dump "$ds" lock /victim-flat.vmdk | sed -n 's/: lock$//p')
# Behind the LVM headers, in the second sector of the file descriptor.
at=$((0x1100000 + fd + 0x200 + 8))
printf '\7' | dd of="$ds" bs=1 seek="$at" conv=notrunc status=none
start 2
before=$(changes)
while [ "$(changes)" -le $((before + 10)) ]; do sleep 0.1; done
check_on 5
is "$found" "FD_LINKS: $name: counts 7 links, it has 1" \
	"a fault is found beside writers, and nothing else"
like "$codes" "^4( 4)* $" "and each check ends with 4, errors found"
end
is "$?" 0 "these writers, too, met nothing that must not be"
