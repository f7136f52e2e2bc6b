#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First process of the guest that build.sh makes with GUEST_INIT=stale.sh and stale
# (tests/rigs/stale.c) among its PROGRAMS: code is read from the disk and run.
#
#   STALE calls N stale N wrong N    what came of it        GUEST-FAILED what
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
modprobe -a -q $(cat /sys/bus/pci/devices/*/modalias)
modprobe -a -q virtio_blk sd_mod ext4
tries=200
until disk=$(findfs LABEL=data 2>/dev/null) || [ $tries = 0 ]; do
	tries=$((tries - 1))
	usleep 50000
done
mkdir -p /disk
if mount -t ext4 "$disk" /disk && stale make /disk/code 2500; then
	stale run /disk/code 30 || echo "GUEST-FAILED to run it"
else
	echo "GUEST-FAILED no code on '$disk'"
fi
poweroff -f
