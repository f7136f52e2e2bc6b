#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First process of the guest of tests/cli/guest_cgroup.sh: version 2 with all controllers.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
mount -t cgroup2 cgroups /sys/fs/cgroup
echo "CG controllers $(cat /sys/fs/cgroup/cgroup.controllers)"
cgroup-try /sys/fs/cgroup
echo "CG end"
poweroff -f
