#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What programs leave on a target with persistent reservations when they have ended: the
# key of the last one, and nothing of those before it (LOCKING.md 6.1), until it is
# released.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmkfstools vmfsctl fsck.vmfs
rig=$ROOT/tests/rigs/own.sh
take_ports

truncate -s 1G "$T/disk"
mkdir "$T/state"
export OWN_STATE=$T/state
at_exit "$rig" down "$T" "$port"
url=$("$rig" up "$T" "$port" "$T/disk" 2>"$T/why")
[ $? != 77 ] || skip_all "$(cat "$T/why")"
url=$(tail -n 1 <<<"$url")

keys() { vmfsctl keys "$url" >"$T/keys" && cut -d ' ' -f 1 "$T/keys" | sort -u; }
ok "a volume" mkfs.vmfs -q -L keys "$url"
is "$(keys)" "" "nobody is registered"
last=
for n in 1 2 3; do
	ok "disk $n is made" vmkfstools -c 2m "$url:/d$n.vmdk"
	now=$(keys)
	like "$now" "^564d[0-9a-f]{12}$" "one key stays"
	is "$(grep -c "type 7" "$T/keys")" 2 "of each of its connections"
	is "$([ "$now" = "$last" ] && echo "the same")" "" "and none of those before it"
	last=$now
done
ok "who only reads" fsck.vmfs -n "$url"
is "$(keys)" "$last" "changes nothing"
run vmfsctl release-reservation "$url"
like "$out" "released$" "the key is released"
is "$(keys)" "" "and nobody is registered"
"$rig" down "$T" "$port"
ok "the volume is sound" fsck.vmfs -n "$T/disk"
