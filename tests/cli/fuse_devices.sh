#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What vmfs-fuse mounts: a descriptor that somebody else has opened (by a user who may not
# open the device himself), a partition of a whole disk, a LUN by iSCSI, a volume that has
# lost an extent; and by mount(8), as a line of /etc/fstab has it.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs vmkfstools
handmade=$BIN/../tests/unit/handmade_volume
[ -x "$handmade" ] || skip_all "$handmade is not built"
mnt=$T/mnt
mount_folder "$mnt"

touch "$T/one" "$T/a" "$T/b"
"$handmade" "$T/one" || skip_all "cannot make a volume"
"$handmade" "$T/a" "$T/b" || skip_all "cannot make a volume of two extents"

# ---- descriptors

ok "a descriptor is mounted" vmfs-fuse --fd 7 "$mnt" 7<"$T/one"
is "$(cat "$mnt/dir/resident")" "hello world" "and read"
ok "it unmounts" unmount "$mnt"
ok "one extent as a descriptor, one as a device" \
	vmfs-fuse --fd 7 "$T/a" "$mnt" 7<"$T/b"
is "$(cat "$mnt/dir/resident")" "hello world" "are one volume"
ok "it unmounts" unmount "$mnt"
refused "a descriptor that is not open" "fd 7: Bad file descriptor" \
	vmfs-fuse -f --fd 7 "$mnt"
refused "what is no descriptor" "--fd x: not a number" vmfs-fuse -f --fd x "$mnt"
run vmfs-fuse -f -o rw --fd 7 "$mnt" 7<"$T/one"
like "$rc:$out" "^1:.*fd 7: is not open for writing$" \
	"one that is open for reading is not written"
run vmfs-fuse -f --fd 7 "$mnt" 7>>"$T/one"
like "$rc:$out" "^1:.*fd 7: is not open for reading$" "nor one for writing read"

# ---- a user who could not open the device

as_nobody() {
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}
# fusermount3 looks into /etc/mtab, which a root made by debootstrap does not have.
if [ "$(id -u)" = 0 ] && [ -u "$(command -v fusermount3)" ] && [ -e /etc/mtab ] &&
	as_nobody true; then
	chmod 711 "$T"
	chmod 600 "$T/one"
	chown 65534:65534 "$mnt"
	run as_nobody vmfs-fuse -f "$T/one" "$mnt"
	like "$rc:$out" "^1:.*: Permission denied$" "a user may not open the device"
	ok "but mount what was opened for him" \
		as_nobody vmfs-fuse --fd 7 "$mnt" 7<"$T/one"
	is "$(as_nobody cat "$mnt/dir/resident")" "hello world" "and read it"
	ok "and unmount it" as_nobody fusermount3 -u "$mnt"
	ok "it is gone" wait_for 20 gone "$mnt"
	truncate -s 1G "$T/mine"
	mkfs.vmfs -q -L mine "$T/mine" 2>/dev/null
	ok "or write it" as_nobody vmfs-fuse -o rw --fd 7 "$mnt" 7<>"$T/mine"
	run sh -c "echo hello >'$mnt/f'"
	like "$out" "denied" "root has no business there"
	ok "it is gone" unmount "$mnt"
	chown 0:0 "$mnt"
else
	skip 7 "needs root, /etc/mtab, and a fusermount3 that is setuid"
fi

# ---- a partition of a whole disk

if command -v sfdisk >/dev/null; then
	truncate -s 2100M "$T/disk"
	echo "start=2048, type=AA31E02A-400F-11DB-9590-000C2911D1B8" |
		sfdisk -q -X gpt "$T/disk" >/dev/null
	ok "a volume in a partition" mkfs.vmfs -q -L part "$T/disk"
	ok "the whole disk is mounted" vmfs-fuse -o rw "$T/disk" "$mnt"
	echo hello >"$mnt/f"
	ok "it unmounts" unmount "$mnt"
	ok "and read" vmfs-fuse "$T/disk" "$mnt"
	is "$(cat "$mnt/f")" hello "is what was written"
	ok "it unmounts" unmount "$mnt"
	ok "the table is there still" sfdisk -d "$T/disk"
else
	skip 7 "no sfdisk"
fi

# ---- an extent that is missing

refused "a missing extent is named" "extent 2 of 2, with PEs 3 to 6, is missing" \
	vmfs-fuse -f "$T/a" "$mnt"
refused "the first, too" "extent 1 of 2, with PEs 0 to 2, is missing" \
	vmfs-fuse -f -o degraded "$T/b" "$mnt"
refused "who writes needs all" "rw,degraded: who writes needs all" \
	vmfs-fuse -f -o rw,degraded "$T/a" "$mnt"
run vmfs-fuse -o degraded "$T/a" "$mnt"
like "$rc:$out" "^0:.*extent 2 of 2, with PEs 3 to 6, is missing" \
	"degraded, it is mounted and told"
is "$(cat "$mnt/dir/resident")" "hello world" "what lies on the others is read"
ok "to the last byte" cmp -n 1048576 "$mnt/dir/tbz" /dev/zero
run tail -c 100 "$mnt/double"
like "$rc:$out" "Input/output error" "what lies there is an I/O error"
is "$(ls "$mnt/dir" | tr '\n' ' ')" "blocks resident sub tbz " "names are listed"
ok "it unmounts" unmount "$mnt"
truncate -s 1G "$T/grown" "$T/second"
mkfs.vmfs -q -L grown "$T/grown" 2>/dev/null
ok "a volume gets a second extent" vmkfstools -Z "$T/second" "$T/grown"
run vmfs-fuse "$T/grown" "$mnt"
like "$rc:$out" "^1:.*extent 2 of 2.* is missing .*when it was added: second" \
	"an extent that was added is missing by its name"

# ---- by mount(8), with the whole path: it has its own PATH

if [ "$(id -u)" = 0 ] && [ -x /sbin/mount.fuse3 ]; then
	echo "$T/one $mnt fuse.$BIN/vmfs-fuse" \
		"ro,_netdev,noatime,nofail,allow_other,uid=7 0 0" >"$T/fstab"
	ok "a line of fstab is mounted" mount -T "$T/fstab" "$mnt"
	ok "read-only" mounted "$mnt" ro,
	is "$(stat -c %u "$mnt/dir/sub"):$(cat "$mnt/dir/resident")" "7:hello world" \
		"with its options"
	ok "umount ends it" umount "$mnt"
	ok "it is gone" wait_for 20 gone "$mnt"
	ok "mount -t" mount -t "fuse.$BIN/vmfs-fuse" -o rw,noatime \
		"$T/grown,$T/second" "$mnt"
	ok "read-write, a comma between extents" mounted "$mnt" rw,
	ok "and written" touch "$mnt/f"
	ok "umount ends it" umount "$mnt"
	ok "it is gone" wait_for 20 gone "$mnt"
else
	skip 10 "needs root and mount.fuse3"
fi

# ---- a LUN

rig=$ROOT/tests/rigs/tgt.sh
take_ports
at_exit "$rig" down "$T" "$port"
url=$("$rig" up "$T" "$port" "$T/one" 2>"$T/why")
case $? in
0)
	ok "a LUN is mounted" vmfs-fuse "$url" "$mnt"
	is "$(cat "$mnt/dir/resident")" "hello world" "and read"
	ok "it unmounts" unmount "$mnt"
	;;
77) skip 3 "$(cat "$T/why")" ;;
*) fail "a target: $(cat "$T/why")" ;;
esac
