# SPDX-License-Identifier: Apache-2.0
# The guest that build.sh makes with GUEST_INIT=stale.sh (behind begin.sh) and stale
# (tests/rigs/stale.c) among its PROGRAMS: code is read from the disk and run.
#
#   STALE calls N stale N wrong N    what came of it
disk=$(find_data)
mkdir -p /disk
if mount -t ext4 "$disk" /disk && stale make /disk/code 2500; then
	stale run /disk/code 30 || echo "GUEST-FAILED to run it"
else
	echo "GUEST-FAILED no code on '$disk'"
fi
poweroff -f
