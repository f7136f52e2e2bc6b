#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# How the first process of each guest that build.sh makes begins; what it is for stands in
# another file of this folder, which build.sh puts behind this one.
#
#   GUEST-UP seconds   it runs                     GUEST-FAILED what
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1

failed() {
	echo "GUEST-FAILED $*"
	poweroff -f
}

find_data() { # prints the device with the filesystem 'data', as soon as there is one
	local tries=200
	until findfs LABEL=data 2>/dev/null; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		usleep 50000
	done
}

echo "GUEST-UP $(cut -d' ' -f1 /proc/uptime)"
# The driver of whatever controller the disk hangs on, and what stands above it.
modprobe -a -q $(cat /sys/bus/pci/devices/*/modalias)
modprobe -a -q virtio_blk sd_mod ext4
