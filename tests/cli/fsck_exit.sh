#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fsck.vmfs as a program: exit codes, one line for what cannot be checked, what it prints.
# That it finds what is wrong is shown by tests/unit/fsck_wreck.c.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs

image=$T/image
truncate -s 1G "$image"
mkfs.vmfs -q -L one "$image"

# poke OFFSET BYTES: printf's escapes at a byte of the image.
poke() {
	printf "$2" | dd of="$image" bs=1 seek=$(($1)) conv=notrunc status=none
}

run fsck.vmfs -n "$image"
is "$rc" 0 "a clean volume: 0"
like "$out" "^$image: 'one', VMFS-5\.81, 0 files, 2 directories, 17/768 blocks: clean$" \
	"and what is on it"
run fsck.vmfs "$image" </dev/null
is "$rc" 8 "without -n, -p, -y and a terminal: 8"
like "$out" "no terminal to ask on" "and it says why"
run fsck.vmfs -nfv "$image"
is "$rc" 0 "-f and -v are accepted"

poke $((0x1710000 + 0x208)) '\x07' # FBB cluster 0: free count
before=$(stat -c "%y %z" "$image")
run fsck.vmfs -n "$image"
like "$out" "^[A-Z0-9_]+: " "a damaged volume has findings"
is "$rc" 4 "a damaged volume: 4"
is "$(stat -c "%y %z" "$image")" "$before" "and was not written to"
mkfs.vmfs -q -f "$image"

# Every one of the 17 used blocks lost: more than 20 lines of one code are not printed.
for ((i = 0; i < 60; i += 2)); do
	poke $((0x1400000 + i * 512)) '\x09'
done
run fsck.vmfs -n "$image"
is "$rc:$(grep -c '^HB_STATE: heartbeat' <<<"$out")" 4:20 "20 lines of one code"
like "$out" "^HB_STATE: 10 more" "and how many more there are"
run fsck.vmfs -nv "$image"
is "$(grep -c '^HB_STATE: heartbeat' <<<"$out")" 30 "-v shows all"
mkfs.vmfs -q -f "$image"

# What cannot be checked: 8 and one line.
truncate -s 1M "$T/short"
truncate -s 1G "$T/blank"
for bad in "$T/short" "$T/blank" "$T/none" /dev/null; do
	refused "${bad##*/} is refused" "$bad: " fsck.vmfs -n "$bad"
	is "$rc" 8 "with 8"
done
cp --sparse=always "$image" "$T/cut"
truncate -s 25M "$T/cut"
run fsck.vmfs -n "$T/cut"
like "$out" "^LVM_DEVICE_SIZE: .*made for 1073741824 bytes, only 26214400 are there$" \
	"a truncated image is named"
is $((rc & 8)) 8 "and not called checked"
run fsck.vmfs -n
is "$rc" 16 "no device: 16"
run fsck.vmfs -Z "$image"
is "$rc" 16 "an unknown option: 16"
run fsck.vmfs -n -y "$image"
is "$rc" 16 "-n and -y: 16"

# A volume of two extents of which one is given.
poke 0x100290 '\x02'
poke 0x100200 '\x00\x00\x00\x60'
refused "a missing extent" "1 of 2 extents given, the one with PE 3 is missing" \
	fsck.vmfs -n "$image"
is "$rc" 8 "with 8"
