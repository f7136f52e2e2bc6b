#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Copied volumes: an image whose LVM header names a disk is seen as a copy, read, listed,
# not written; --keep-signature writes it; --resignature makes it a volume of its own, of
# one extent and of three, of both versions, after a host that died in the original.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmkfstools fsck.vmfs vmfs-dump vmfsctl vdisk-nbd

# name IMAGE BYTE: its LVM header says that it was made on disk naa.6001405...BYTE.
name() {
	{
		printf '\2\26\0\0\0\5OPENVMFSLUN             1.0 '
		printf '\x60\1\x40\x50\0\0\0\0\0\0\0\0\0\0\0'"\\x$2"'LUN   '
	} | dd of="$1" bs=1 seek=$((0x10000c)) conv=notrunc status=none
}

uuid() {
	vmkfstools -P "$1" | sed -n 's/^UUID: //p'
}

content() {
	local f
	for f in /vm1/big /vm1/small /vm1/disk.vmdk; do
		vmkfstools --get "$1:$f" -
	done | sha256sum
}

fill() {
	vmkfstools --mkdir "$1:/vm1" &&
		vmkfstools --put "$T/big" "$1:/vm1/big" &&
		vmkfstools --put "$T/small" "$1:/vm1/small" &&
		vmkfstools -c 5M -d thin "$1:/vm1/disk.vmdk"
}

head -c 3000000 /dev/urandom >"$T/big"
head -c 700 /dev/urandom >"$T/small"
a=$T/a b=$T/b c=$T/c

# ---- a copy is seen, read, and not written ----

truncate -s 1G "$a"
mkfs.vmfs -q -L demo "$a"
ok "files on the original" fill "$a"
cp --sparse=always "$a" "$b"
run vmkfstools --snapshots "$a"
is "$rc:$out" "0:" "a volume alone is no snapshot"
run vmkfstools --snapshots "$a" "$b"
like "$out" "^   Volume Name: demo" "two files with one volume are listed"
like "$out" "^   Reason for un-mountability: duplicate extents found" "with the reason"
like "$out" "the same is on $a" "and with what they are the same as"

name "$b" 07
run vmkfstools --snapshots "$b"
is "$rc" 0 "an image of a disk is listed"
like "$out" "^$(uuid "$b")$" "by its UUID"
like "$out" "^   Can mount: true" "it can be mounted"
like "$out" "^   Can resignature: true" "and get a signature"
like "$out" "made on naa.60014050000000000000000000000007, this is a plain file" \
	"and it says which disk it was made on"
refused "it is not written" \
	"volume demo: refusing to write: $b is a copy, made on naa.6001405.* plain" \
	vmkfstools --mkdir "$b:/new"
refused "nor by another tool" "refusing to write: $b is a copy" \
	vmfsctl break-lock --i-know "$b" 3
is "$(content "$b")" "$(content "$a")" "it is read beside the original"
run vmkfstools --keep-signature --mkdir "$b:/kept"
is "$rc:$out" "0:" "--keep-signature writes it"
is "$(uuid "$b")" "$(uuid "$a")" "and leaves the signature as it is"

# ---- a signature of its own ----

before=$(content "$b")
run vmkfstools --resignature "$b"
is "$rc" 0 "--resignature"
like "$out" "^$b: snap-[0-9a-f]{8}-demo, $(uuid "$b") \(was $(uuid "$a")\)$" \
	"says the new label and both UUIDs"
run fsck.vmfs -n "$b"
is "$rc" 0 "it is clean"
is "$(content "$b")" "$before" "and holds what it held"
run vmkfstools --mkdir "$b:/new"
is "$rc:$out" "0:" "it can be written"
ok "and so can the original" vmkfstools --mkdir "$a:/new"
run vmkfstools --snapshots "$a" "$b"
is "$rc:$out" "0:" "none of them is a copy any more"
if command -v debugvmfs >/dev/null; then
	debugvmfs "$b" cat /vm1/big >"$T/got" 2>/dev/null
	ok "vmfs-tools reads it" cmp "$T/big" "$T/got"
else
	skip 1 "no debugvmfs"
fi

refused "an option that does not go with it" "does not go with this action" \
	vmkfstools --keep-signature --resignature "$b"
refused "nothing to be signed" "no VMFS volume" vmkfstools --resignature "$T/big"

# ---- the original was in use when it was copied ----

truncate -s 1G "$c"
mkfs.vmfs -q -L busy "$c"
ok "files" fill "$c"
# A host serves a disk of it: its slot is live, in the copy too, but nobody is there.
server=
at_exit eval '[ -z "$server" ] || kill -9 $server'
serve_ok() { # NAME IMAGE
	"$BIN/vdisk-nbd" "$2:/vm1/disk.vmdk" --socket "$T/socket" &
	server=$!
	ok "$1" wait_for 30 test -S "$T/socket"
}
end() { # SIGNAL
	kill "-$1" "$server"
	wait "$server" 2>/dev/null
	server=
	rm -f "$T/socket"
}
serve_ok "a host is there" "$c"
cp --sparse=always "$c" "$T/live"
like "$(vmfs-dump "$T/live" heartbeats)" "^heartbeats: 1 of" "and in the copy, too"
end TERM
serve_ok "a host uses the copy" "$T/live"
refused "then it is refused" "is not broken: its process exists" \
	vmkfstools --resignature "$T/live"
is "$(uuid "$T/live")" "$(uuid "$c")" "and the signature stays"
end KILL
name "$T/live" 08
run vmkfstools --resignature "$T/live"
is "$rc" 0 "a copy of a volume that was in use"
run fsck.vmfs -n "$T/live"
is "$rc" 0 "is clean"
is "$(content "$T/live")" "$(content "$c")" "and holds what was finished"

# ---- three extents, some of them added later; VMFS-6 ----

for i in 1 2 3; do truncate -s 1G "$T/e$i"; done
mkfs.vmfs -q -L many "$T/e1" "$T/e2"
vmkfstools -Z "$T/e3" "$T/e1,$T/e2" >/dev/null
all=$T/e1,$T/e2,$T/e3
ok "a volume of three extents" fill "$all"
before=$(content "$all")
for i in 1 2 3; do name "$T/e$i" "1$i"; done
run vmkfstools --snapshots "$T/e2" "$T/e3"
like "$out" "some extents missing" "--snapshots says that some are missing"
run vmkfstools --snapshots "$T/e3" "$T/e1" "$T/e2"
like "$out" "^   Unresolved Extent Count: 3" "or that all are there"
refused "only some of them" "is missing" vmkfstools --resignature "$T/e1,$T/e2"
run vmkfstools --resignature "$T/e3,$T/e1,$T/e2"
is "$rc" 0 "all of them"
run fsck.vmfs -n "$T/e1" "$T/e2" "$T/e3"
is "$rc" 0 "it is clean"
is "$(content "$all")" "$before" "and holds what it held"
run vmkfstools --mkdir "$all:/new"
is "$rc:$out" "0:" "and can be written"

truncate -s 2G "$T/six"
mkfs.vmfs -q -V 6 -L six "$T/six"
ok "a volume of VMFS-6" fill "$T/six"
before=$(content "$T/six")
name "$T/six" 66
refused "it is a copy" "refusing to write" vmkfstools --mkdir "$T/six:/new"
run vmkfstools --resignature "$T/six"
is "$rc" 0 "VMFS-6 gets a signature"
run fsck.vmfs -n "$T/six"
is "$rc" 0 "it is clean"
is "$(content "$T/six")" "$before" "and holds what it held"

like "$(vmkfstools --help)" "--resignature" "--help knows it"
