#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host is killed at any moment of its work; the next one goes on, and after it fsck
# finds nothing. What may stay behind is one block of a host that died while it joined
# (LOCKING.md 17).

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmkfstools

rounds=${FULL:+100}
rounds=${rounds:-15}
ds=$T/ds
truncate -s 2G "$ds"
mkfs.vmfs -q -L ds "$ds"
head -c 20000000 /dev/urandom >"$T/raw"

# work I: what a host does, one process after the other.
work() {
	local formats=(thin zeroedthick eagerzeroedthick)
	local child
	vmkfstools -i "$T/raw" -d "${formats[$1 % 3]}" "$ds:/disk$1.vmdk" &
	child=$!
	echo "$child" >"$T/child"
	wait "$child"
	vmkfstools -U "$ds:/disk$(($1 - 1)).vmdk" &
	child=$!
	echo "$child" >"$T/child"
	wait "$child"
}

# only_leaks TEXT: no finding but blocks of hosts that died while they joined.
only_leaks() {
	local others
	others=$(grep -E '^[A-Z0-9_]+: ' <<<"$1" |
		grep -vE '^(HB_LIVE|HB_RECOVERY|LOCK_STALE|JOURNAL_LOST): ' |
		grep -vE '^FB_LOST: file blocks ([0-9]+) to \1: ')
	[ -z "$others" ]
}
only_leaks "FB_LOST: file blocks 7 to 7: x" && ! only_leaks "FD_LINKS: x" &&
	! only_leaks "FB_LOST: file blocks 7 to 8: x" || fail "only_leaks is wrong"
hits=0 is_lost=

# A busy machine kills more of them before they have joined: then some more rounds.
for ((i = 1; i <= rounds || (hits <= rounds / 5 && i <= rounds * 4); i++)); do
	: >"$T/child"
	work "$i" >"$T/out" 2>&1 &
	worker=$!
	sleep "0.$(printf %03d $((RANDOM % 150)))"
	kill -KILL "$worker" 2>/dev/null
	child=$(cat "$T/child")
	[ -z "$child" ] || kill -KILL "$child" 2>/dev/null
	wait "$worker" 2>/dev/null
	run fsck.vmfs -n "$ds"
	grep -q '^HB_LIVE: ' <<<"$out" && hits=$((hits + 1))
	run vmkfstools -c 1m "$ds:/probe$i.vmdk"
	[ "$rc" = 0 ] || { is_lost=1; break; }
	run vmkfstools -U "$ds:/probe$i.vmdk"
	[ "$rc" = 0 ] || { is_lost=1; break; }
	run fsck.vmfs -n "$ds"
	only_leaks "$out" || { is_lost=1; break; }
done
ok "the next host went on, and nothing was lost, $((i - 1)) times" \
	test -z "$is_lost"
[ -z "$is_lost" ] || diag "$out"
ok "$hits hosts died with the volume open" test "$hits" -gt $((rounds / 5))
