#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmkfstools -i on a LUN of the Linux kernel's target (a QEMU guest): the target copies
# the blocks by itself (EXTENDED COPY), so they do not go over the wire, not even with
# two paths; and where it refuses to, which it does as long as the LUN has a persistent
# reservation, they are read and written. The bytes that come and go are counted in a
# network namespace of the test's own.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/cables.sh"
rig=$ROOT/tests/rigs/lio.sh
take_ports
size=$((32 << 20))
[ -n "${FULL:-}" ] || skip_all "boots a target of its own twice (FULL=1)"
need_root
need ip
at_exit cables_down
cables_up 0 2>"$T/why" || skip_all "no network namespace: $(cat "$T/why")"

inside() { ip netns exec "$cables" "$@"; }

# Bytes on the namespace's loopback device by now.
moved() { inside awk '/ lo:/ { print $2 }' /proc/net/dev; }

# lio PR: the target with (1) or without (0) reservations, two portals, a volume with a
# disk of random bytes; $url is the LUN over both.
lio() {
	rm -f "$T/disk"
	truncate -s 1G "$T/disk"
	url=$(LIO_PR=$1 LIO_PORTALS=2 inside "$rig" up "$T" "$port" "$T/disk" \
		2>"$T/why")
	case $? in
	0) ;;
	77) skip_all "$(cat "$T/why")" ;;
	*) fail "the target is up"; diag "$(cat "$T/why")"; exit 1 ;;
	esac
	ok "a volume on it" inside mkfs.vmfs -q -L clones "$url"
	ok "with a disk" inside vmkfstools -i "$T/raw" -d eagerzeroedthick \
		"$url:/a.vmdk"
}

# clone NAME URL: to /NAME.vmdk, which is read back and compared; $bytes went over the
# wire for the copy.
clone() {
	local from
	from=$(moved)
	ok "$1: cloned" inside vmkfstools -i "$2:/a.vmdk" -d eagerzeroedthick \
		"$2:/$1.vmdk"
	bytes=$(($(moved) - from))
	ok "$1: read back" inside vmkfstools -i "$2:/$1.vmdk" -d monolithicFlat \
		"$T/back.vmdk"
	ok "$1: the same bytes" cmp "$T/raw" "$T/back-flat.vmdk"
	rm -f "$T"/back*
	diag "$1: $((bytes >> 10)) KiB over the wire for $((size >> 10))"
}

head -c "$size" /dev/urandom >"$T/raw"
at_exit "$rig" down "$T" "$port"

lio 0
clone one_path "$url"
ok "it went within the storage" [ "$bytes" -lt $((size / 2)) ]
clone two_paths "$url?portal=127.0.0.1:$((port + 1))"
ok "so it did over two" [ "$bytes" -lt $((size / 2)) ]
ok "nothing is found wrong" inside fsck.vmfs -n "$url"
"$rig" down "$T" "$port"

lio 1
clone reserved "$url"
ok "with reservations it was read and written" [ "$bytes" -gt "$size" ]
ok "nothing is found wrong there" inside fsck.vmfs -n "$url"
