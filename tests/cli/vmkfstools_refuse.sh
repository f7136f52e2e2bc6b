#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What vmkfstools refuses: with one line, an exit code of 1, and nothing harmed.
. "$(dirname "$0")/../lib/tap.sh"
need vmkfstools mkfs.vmfs

# ---- the command line: no volume is opened ----

refused "no action" "what is to be done" vmkfstools
refused "no place" "place is missing" vmkfstools -c 1m
refused "two places" "too many operands: b" vmkfstools -c 1m a b
refused "two actions" "more than one action" vmkfstools -c 1m -U a:/b.vmdk
refused "an unknown letter" "unknown option -Q" vmkfstools -Q
refused "an unknown long option" "unknown option --wipe" vmkfstools --wipe a
refused "an option without argument" "missing argument of -c" vmkfstools -c
refused "an option of another action" "does not go .*: -d" vmkfstools -U -d thin a:/b.vmdk
refused "a label without a filesystem" "-S needs -C" vmkfstools -S x dev
refused "no ':/'" "vm.vmdk: neither DEVICE:/path" vmkfstools -D vm.vmdk
refused "an iscsi URL without a path" "iscsi://h/iqn.x/0: neither" \
	vmkfstools -c 1m iscsi://h/iqn.x/0
refused "size 0" "-c 0: not a size" vmkfstools -c 0 "$T/lun:/d.vmdk"
refused "no whole sectors" "-c 1000: not a size" vmkfstools -c 1000 "$T/lun:/d.vmdk"
refused "no number" "-c ten: not a size" vmkfstools -c ten "$T/lun:/d.vmdk"
refused "more than 64 bits" "-c 99999999t: not a size" \
	vmkfstools -c 99999999t "$T/lun:/d.vmdk"
refused "an unknown format" "-d sparse: unknown disk format" \
	vmkfstools -c 1m -d sparse "$T/lun:/d.vmdk"
refused "an unknown adapter" "-a floppy: unknown adapter" \
	vmkfstools -c 1m -a floppy "$T/lun:/d.vmdk"
refused "no such source" "nothing.raw: No such file" \
	vmkfstools -i "$T/nothing.raw" "$T/lun:/d.vmdk"
: >"$T/empty.raw"
refused "an empty source" "empty.raw: is empty" \
	vmkfstools -i "$T/empty.raw" "$T/lun:/d.vmdk"
refused "a directory as source" "is neither a file nor a block device" \
	vmkfstools -i "$T" "$T/lun:/d.vmdk"
refused "an unknown filesystem" "-C vmfs7: unknown" vmkfstools -C vmfs7 "$T/lun"
refused "an unknown block size" "-b 8m: the block size" vmkfstools -C vmfs5 -b 8m "$T/lun"
VMKERNEL_SOCKET=$T/no.sock refused "a datastore without a vmkernel" \
	"demo: no vmkernel answers" vmkfstools -c 1m "[demo] vm/d.vmdk"
VMKERNEL_SOCKET=$T/no.sock refused "the same as a path" "demo: no vmkernel answers" \
	vmkfstools -P /vmfs/volumes/demo

# ---- devices ----

refused "no such device" "lun: No such file" vmkfstools -c 1m "$T/lun:/d.vmdk"
truncate -s 100M "$T/zeros"
refused "a device without VMFS" "zeros" vmkfstools -c 1m "$T/zeros:/d.vmdk"
refused "the same to look at" "zeros" vmkfstools -P "$T/zeros"
ok "and it is as it was" cmp -n 104857600 "$T/zeros" /dev/zero

LUN=$T/lun
truncate -s 1G "$LUN"
mkfs.vmfs -L small "$LUN" >/dev/null || { echo "Bail out! mkfs.vmfs failed"; exit 1; }
vmkfstools --mkdir "$LUN:/vm"
head -c 3M /dev/urandom >"$T/a.raw"
vmkfstools -i "$T/a.raw" -d thin "$LUN:/vm/a.vmdk"

# names: of the root, without the system files
names() {
	vmkfstools --dir "$LUN:/" | grep -v '^\..*\.sf$'
}

# ---- what is there, and what is not ----

refused "a disk that exists" "vm/a.vmdk: exists" vmkfstools -c 1m "$LUN:/vm/a.vmdk"
refused "the same as target of a clone" "vm/a.vmdk: exists" \
	vmkfstools -i "$T/a.raw" "$LUN:/vm/a.vmdk"
refused "a source that is not there" "vm/x.vmdk: No such file" \
	vmkfstools -i "$LUN:/vm/x.vmdk" "$LUN:/vm/y.vmdk"
refused "a directory two levels away" "No such file" vmkfstools -c 1m "$LUN:/p/q/d.vmdk"
refused "a name that is no disk's" "must end in .vmdk" vmkfstools -c 1m "$LUN:/vm/d.img"
refused "a flat file as disk" "vm/a-flat.vmdk: is not a VMDK descriptor" \
	vmkfstools -U "$LUN:/vm/a-flat.vmdk"
refused "a disk that is not there" "vm/b.vmdk: No such file" \
	vmkfstools -U "$LUN:/vm/b.vmdk"
refused "a directory to get" "vm: Is a directory" vmkfstools --get "$LUN:/vm" "$T/out"
refused "a file to list" "vm/a.vmdk: Not a directory" vmkfstools --dir "$LUN:/vm/a.vmdk"
refused "a host file that is not there" "nothing: No such file" \
	vmkfstools --put "$T/nothing" "$LUN:/vm/n"
refused "a target that cannot be written" "no/such/dir/out: No such file" \
	vmkfstools --get "$LUN:/vm/a.vmdk" "$T/no/such/dir/out"
refused "a rename across volumes" "is not on the volume of" \
	vmkfstools -E "$LUN:/vm/a.vmdk" "$T/zeros:/a.vmdk"

# ---- a full volume ----

refused "an eager one that cannot fit" ": an eagerzeroedthick disk needs 1 TiB" \
	vmkfstools -c 1t -d eagerzeroedthick "$T/lun:/big.vmdk"
refused "a thick disk that cannot fit" "needs 1 TiB, the volume has" \
	vmkfstools -c 1t -d eagerzeroedthick "$LUN:/vm/big.vmdk"
head -c 800M /dev/zero | tr '\0' 'x' >"$T/big.raw"
refused "an import that does not fit" "" \
	vmkfstools -i "$T/big.raw" -d thin "$LUN:/new/big.vmdk"
like "$out" "$LUN|space|blocks" "its line says what ran out"
is "$(names)" "vm/" "it leaves no directory"
refused "a file that does not fit" "" vmkfstools --put "$T/big.raw" "$LUN:/vm/big.raw"
is "$(vmkfstools --dir "$LUN:/vm" | sort | tr '\n' ' ')" "a-flat.vmdk a.vmdk " \
	"nor a part of a file"

# ---- an interrupt ----

head -c 640M /dev/zero | tr '\0' 'y' >"$T/big.raw"
vmkfstools -i "$T/big.raw" -d thin "$LUN:/new/i.vmdk" 2>"$T/said" &
pid=$!
wait_for 10 vmkfstools --dir "$LUN:/new"
kill -INT $pid 2>/dev/null
wait $pid
rc=$?
if [ "$rc" = 0 ]; then
	skip 3 "the import was faster than the signal"
else
	is "$rc" 1 "an interrupted import fails"
	like "$(cat "$T/said")" "interrupted; what was made is removed" "and says so"
	is "$(names)" "vm/" "and leaves nothing"
fi

vmkfstools --get "$LUN:/vm/a-flat.vmdk" "$T/a.out"
ok "after all that the first disk is whole" cmp "$T/a.raw" "$T/a.out"
if command -v fsck.vmfs >/dev/null; then
	ok "and the volume clean" fsck.vmfs -n "$LUN"
else
	skip 1 "fsck.vmfs is not there"
fi
