#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The LUN fails while vmkfstools imports to it: for a moment (connections cut, target
# started anew) and the import goes on; for good (target hangs or is killed) and it ends
# by itself with one line. No half disk under the final name; when the target is back the
# next host recovers what the dead one left.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs fsck.vmfs vmkfstools tgtd tgtadm

take_ports
HANG=$port KILL=$((port + 1)) CUT=$((port + 2))
LOST='lost by this host .*; nothing more is written$'
head -c 400M /dev/urandom >"$T/raw"
head -c 5M /dev/urandom >"$T/small"
truncate -s 2G "$T/$HANG" "$T/$KILL" "$T/$CUT"
for port in $HANG $KILL $CUT; do
	tgt up $port "$T/$port"
	eval "url_$port=$URL"
	mkfs.vmfs -q -L t "$URL" &&
		vmkfstools -i "$T/small" -d thin "$URL:/other/other.vmdk" ||
		fail "no volume on port $port"
done

# import PORT: the import of the big file, met at work; its pid in $import.
import() {
	local url=url_$1 used i
	used=$(du -m "$T/$1" | cut -f1)
	vmkfstools -i "$T/raw" -d thin "${!url}:/big/big.vmdk" >"$T/said.$1" 2>&1 &
	import=$!
	for ((i = 0; i < 500; i++)); do
		[ "$(du -m "$T/$1" | cut -f1)" -lt $((used + 40)) ] || break
		sleep 0.02
	done
}

# errors PORT: what was said that is no warning.
errors() {
	grep -v "^vmkfstools: warning: " "$T/said.$1"
}

# ---- a moment ----

cut=url_$CUT
cut=${!cut}
import $CUT
ok "an import is met at work" kill -0 $import
ok "its connections are cut" tgt cut $CUT
wait $import
is "$?" 0 "the import goes on"
is "$(errors $CUT)" "" "without an error"
ok "the disk comes out" vmkfstools --get "$cut:/big/big-flat.vmdk" "$T/out"
ok "as it went in" cmp "$T/raw" "$T/out"
rm -f "$T/out"
tgt down $CUT
whole "$T/$CUT" "after that"

# ---- for good ----

import $HANG
ok "another import is met at work" kill -0 $import
hung=$import
ok "the target hangs" tgt hang $HANG
import $KILL
ok "a third one is met at work" kill -0 $import
ok "the target is killed" tgt down $KILL
start=$SECONDS
wait $hung
is "$?" 1 "the import to a target that hangs ends"
wait $import
is "$?" 1 "the import to a target that is gone ends"
ok "both within their timeouts ($((SECONDS - start)) s)" test $((SECONDS - start)) -le 120
for port in $HANG $KILL; do
	like "$(errors $port)" "$LOST" "it says why ($port)"
	is "$(errors $port | wc -l)" 1 "in one line" || diag "$(errors $port)"
done

# ---- the target is back ----

ok "it hangs no more" tgt thaw $HANG
tgt up $KILL "$T/$KILL"
for port in $HANG $KILL; do
	url=url_$port
	unlike "$(vmkfstools --dir "${!url}:/big")" '^big[.]vmdk$' \
		"no half disk under the final name ($port)"
	vmkfstools -i "$T/small" -d thin "${!url}:/next.vmdk" >"$T/next.$port" 2>&1 &
	eval "next_$port=$!"
done
for port in $HANG $KILL; do
	url=url_$port
	next=next_$port
	wait "${!next}"
	is "$?" 0 "the next host works on the volume ($port)"
	ok "what the dead one left can be removed" \
		vmkfstools --rm "${!url}:/big/big-flat.vmdk"
	for disk in other/other next; do
		rm -f "$T/out"
		vmkfstools --get "${!url}:/$disk-flat.vmdk" "$T/out"
		ok "$disk is whole" cmp "$T/small" "$T/out"
	done
	tgt down $port
	whole "$T/$port" "after it all ($port)"
	unlike "$out" "HB_" "and no host is left on it"
done
