#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfs-dump prints what mkfs wrote, field by field, and refuses what is not there.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmfs-dump

image=$T/image
truncate -s 10G "$image"
mkfs.vmfs -q -L dumped "$image"

# has REGEX NAME: of the last output.
has() {
	like "$out" "$1" "$2"
}

run vmfs-dump "$image"
is "$rc" 0 "everything at once"
has '^  0x000  magic +0xc001d00d$' "the LVM magic"
has '^  0x000  magic +0x2fabf15e$' "the FS magic"
has "label +'dumped'$" "the label"
has '^heartbeats: 0 of 2048 slots in use$' "no heartbeat"
has '^\.fdc\.sf: 9984 resources, 9976 free, 312 clusters' "what is free"
run vmfs-dump -a "$image" lvm
has '^PE 38$' "-a: all PEs"
run vmfs-dump -a "$image" heartbeats
is "$(grep -c '^heartbeat slot' <<<"$out")" 2048 "-a: all slots"
run vmfs-dump "$image" cluster fbb 0
has '^  0x000  type +0x10c00002$' "lock of a cluster"
has '^  0x008  free +90$' "what is free in it"
run vmfs-dump "$image" fd /.fbb.sf
has 'addr +0x00400004 \(FD 0/1\)' "an FD by its path"
has '^  \[  0\]  0x00000181 \(FB 6\)$' "its addresses"
by_path=$out
run vmfs-dump "$image" fd fd:0/1
is "$out" "$by_path" "the same by place"
run vmfs-dump "$image" fd 0x00400004
is "$out" "$by_path" "the same by address"
run vmfs-dump "$image" dir /
is "$(grep -c 'generation 1' <<<"$out")" 9 "nine entries in the root"
has 'type 5  0x01c00004 \(FD 0/7\)  generation 1  \.sdd\.sf$' "one of them"
run vmfs-dump "$image" lock /
has '^  0x01c  token +1$' "a lock"
run vmfs-dump -x "$image" fs
has '^  00000000  5e f1 ab 2f 0e 00 00 00 ' "-x: bytes"
run vmfs-dump "$image" block fb:6
has '^FB 6: 1048576 bytes at vol 0x600000$' "a block"

refused "a path that is not there" "/none: No such file" vmfs-dump "$image" fd /none
refused "a path through a file" "Not a directory" vmfs-dump "$image" fd /.fbb.sf/x
refused "an FD that is not there" "fd:999/0: there is no such" \
	vmfs-dump "$image" fd fd:999/0
refused "a block that is not there" "fb:9984: there is no such" \
	vmfs-dump "$image" block fb:9984
refused "a cluster that is not there" "312: not a cluster of .fdc.sf, which has 312" \
	vmfs-dump "$image" cluster fdc 312
refused "a type that is not there" "xyz: not one of" vmfs-dump "$image" cluster xyz 0
refused "a slot without journal" "slot 0 has no journal" vmfs-dump "$image" journal 0
refused "an unknown word" "nonsense: unknown" vmfs-dump "$image" nonsense
refused "an argument too many" "fs: 1 arguments, it takes 0" vmfs-dump "$image" fs x
truncate -s 1G "$T/blank"
refused "what is not VMFS" "blank: not VMFS: LVM magic 0x00000000" vmfs-dump "$T/blank"

# A damaged volume is shown as far as it goes.
printf 'xxxx' | dd of="$image" bs=1 seek=$((0x1300000)) conv=notrunc status=none
run vmfs-dump "$image" fs
is "$rc" 0 "a wrong FS descriptor is printed"
has '^  0x000  magic +0x78787878$' "as it is"
refused "and nothing behind it" "FS descriptor: magic 0x78787878" \
	vmfs-dump "$image" resources

# VMFS-6, with a large block whose place for headers of small ones holds junk.
handmade6=$BIN/../tests/unit/handmade6_volume
if [ -x "$handmade6" ]; then
	touch "$T/six"
	"$handmade6" "$T/six"
	run vmfs-dump "$T/six" resources
	has '^\.fbb\.sf: 3840 resources, 1881 free, ' "VMFS-6: small blocks that are free"
	has '^\.jbc\.sf: 128 resources, 128 free, ' "and journals"
	run vmfs-dump --locks "$T/six"
	has '^0 of 16544 locks are not free$' "junk is no lock"
	run vmfs-dump "$T/six" fd /large
	has '^  0x08c  lfb_count  *1$' "a file with a large block"
	run vmfs-dump "$T/six" dir /dir
	has '  n49$' "a hashed directory"
	run vmfs-dump "$T/six" fd /dir/n49
	has 'resident data$' "a path through it"
	run vmfs-dump "$T/six" block sb:0/1
	has '^SB 0/1: 65536 bytes ' "a sub-block"
	run vmfs-dump "$T/six" cluster lfb 0
	has '^  0x010  signature  *0x72636d64$' "a cluster of large blocks"
else
	skip 8 "no $handmade6"
fi
