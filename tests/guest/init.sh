#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First process of the guest that build.sh makes. It counts once a second in /disk/count, one
# number a line, and shows a number only when fsync has returned: what was shown is on disk.
#
#   GUEST-UP seconds   it runs                       LAST n    the last number on the disk
#   COUNT n            n is on stable storage        GUEST-FAILED what
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1

failed() {
	echo "GUEST-FAILED $*"
	poweroff -f
}

echo "GUEST-UP $(cut -d' ' -f1 /proc/uptime)"
for module in $(cat /modules); do
	modprobe "$module" || failed "no module $module"
done
tries=50
until [ -b /dev/vda2 ]; do
	tries=$((tries - 1))
	[ $tries -gt 0 ] || failed "no disk /dev/vda2"
	usleep 100000
done
mkdir -p /disk
mount -t ext4 -o errors=remount-ro /dev/vda2 /disk || failed "no mount of /dev/vda2"
# Whatever was lost shows as a gap.
[ ! -e /disk/count ] || awk '$0 != NR { print "line " NR ": " $0; exit 1 }' /disk/count ||
	failed "/disk/count has a gap"
last=$(tail -n 1 /disk/count 2>/dev/null)
n=${last:-0}
echo "LAST $n"
while :; do
	n=$((n + 1))
	echo "$n" >>/disk/count || failed "no write of $n"
	sync /disk/count || failed "no fsync of $n"
	echo "COUNT $n"
	sleep 1
done
