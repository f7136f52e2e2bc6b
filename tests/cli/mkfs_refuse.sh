#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What mkfs.vmfs refuses, each with one line, and that it leaves the device alone then.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs

image=$T/image
truncate -s 1G "$image"
truncate -s 100M "$T/small"

refused "too small" "small: 104857600 bytes are too small: at least 286261248" \
	mkfs.vmfs "$T/small"
refused "not there" "none: No such file" mkfs.vmfs "$T/none"
refused "a folder" "$T" mkfs.vmfs "$T"
refused "a character device" "/dev/null" mkfs.vmfs /dev/null
refused "no device" "1 to 32 DEVICEs are needed, 0 given" mkfs.vmfs
refused "33 devices" "1 to 32 DEVICEs are needed, 33 given" mkfs.vmfs {1..33}
refused "a device twice" "$image: is $image, given twice" mkfs.vmfs "$image" "$image"
ln "$image" "$T/other-name"
refused "a device by two names" "other-name: is $image, given twice" \
	mkfs.vmfs "$image" "$T/other-name"
rm "$T/other-name"
refused "one of two too small" "small: 104857600 bytes are too small" \
	mkfs.vmfs "$image" "$T/small"
refused "an unknown option" "invalid option" mkfs.vmfs -z "$image"
refused "a label with a bracket" "label 'a\[b'" mkfs.vmfs -L 'a[b' "$image"
refused "a label of 128 bytes" "at most 127 bytes" \
	mkfs.vmfs -L "$(printf 'x%.0s' {1..128})" "$image"
is "$(du -k "$image" | cut -f1)" 0 "nothing was written by any of them"

# A LUN that is not there.
refused "an iSCSI target that is not there" "127.0.0.1" \
	timeout 60 mkfs.vmfs iscsi://127.0.0.1:1/iqn.2024-01.org.example:none/0

# Content.
if command -v mkfs.ext4 >/dev/null; then
	mkfs.ext4 -q "$image"
	before=$(stat -c "%y %z" "$image")
	refused "another filesystem" "refusing, it contains ext4 \(-f overwrites it\)" \
		mkfs.vmfs "$image"
	is "$(stat -c "%y %z" "$image")" "$before" "and it is still whole"
	run mkfs.vmfs -q -f "$image"
	is "$rc" 0 "-f overwrites it"
	run blkid -p -o value -s TYPE "$image"
	is "$out" VMFS_volume_member "nothing of it is seen any more"
else
	skip 4 "no mkfs.ext4"
	mkfs.vmfs -q "$image"
fi
refused "a volume" "refusing, it contains VMFS_volume_member" mkfs.vmfs "$image"

# A block device that is mounted.
if [ "$(id -u)" = 0 ] && command -v mkfs.ext4 >/dev/null &&
	truncate -s 1G "$T/disk" && loop=$(losetup -f --show "$T/disk" 2>/dev/null); then
	at_exit losetup -d "$loop"
	mkfs.ext4 -q "$loop"
	mkdir "$T/mnt"
	if mount "$loop" "$T/mnt" 2>/dev/null; then
		at_exit umount "$T/mnt"
		refused "a mounted device, even with -f" "$loop" mkfs.vmfs -f "$loop"
		ok "and it is still whole" \
			sh -c "echo x >$T/mnt/file && sync -f $T/mnt/file"
	else
		skip 2 "cannot mount"
	fi
else
	skip 2 "no loop device"
fi

# A live heartbeat: slot 7 of the volume changes twice a second.
slot=$((0x1400000 + 7 * 512))
poke() {
	dd of="$image" bs=1 seek="$1" conv=notrunc status=none
}
printf '\x02\xef\xcd\xab' | poke "$slot"
printf '\xd5\x7d\x13\x61\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c' |
	poke $((slot + 0x1c))
printf 'host-b' | poke $((slot + 0x36))
beat() {
	local i
	for ((i = 0; i < 120; i++)); do
		# shellcheck disable=SC2059
		printf "\\x$(printf %02x $((i % 250 + 1)))" | poke $((slot + 0x14))
		sleep 0.5
	done
}
beat &
beat=$!
at_exit kill "$beat"
start=$SECONDS
run mkfs.vmfs -f "$image"
is "$rc" 1 "a live volume is refused, even with -f"
uuid=61137dd5-04030201-0605-0708090a0b0c
like "$out" "refusing: host host-b \($uuid\) has the volume" \
	"its host and UUID are named"
ok "at once ($((SECONDS - start)) s)" test $((SECONDS - start)) -lt 20
kill "$beat" 2>/dev/null
wait "$beat" 2>/dev/null

# A later extent of a spanned volume: heartbeats are elsewhere.
printf '\x09' | poke $((0x100200 + 0x78))
refused "a later extent" "later extent" mkfs.vmfs -f "$image"
printf '\x00' | poke $((0x100200 + 0x78))

# A host of this machine: its lock says at once that it lives, stopped or not, or is dead.
is_live() {
	vmfs-dump "$T/ds" heartbeats | grep -q '^heartbeats: 1 of'
}
host=
if command -v vmkfstools >/dev/null; then
	yes | head -c 1G >"$T/raw"
	for wait in 0.2 0.1 0.3 0.05 0.5; do
		truncate -s 4G "$T/ds"
		mkfs.vmfs -q -f "$T/ds"
		vmkfstools -i "$T/raw" "$T/ds:/big.vmdk" >/dev/null 2>&1 &
		host=$!
		sleep "$wait"
		kill -STOP "$host" 2>/dev/null && is_live && break
		kill -KILL "$host" 2>/dev/null
		wait "$host" 2>/dev/null
		host=
	done
fi
if [ -n "$host" ]; then
	start=$SECONDS
	refused "a volume that a stopped host of this machine holds" \
		"refusing: host .* has the volume mounted" mkfs.vmfs -f "$T/ds"
	kill -KILL "$host"
	wait "$host" 2>/dev/null
	run mkfs.vmfs -q -f "$T/ds"
	is "$rc" 0 "killed, its volume may go"
	ok "both at once ($((SECONDS - start)) s)" test $((SECONDS - start)) -lt 20
else
	skip 3 "no vmkfstools, or it was never met at work"
fi

# The host has died: after 24 s the volume may go.
if [ -n "${FULL:-}" ]; then
	start=$SECONDS
	run mkfs.vmfs -q -f "$image"
	is "$rc" 0 "the volume of a dead host may go"
	ok "after its dead time ($((SECONDS - start)) s)" test $((SECONDS - start)) -ge 23
else
	skip 2 "takes 24 s (FULL=1)"
fi
