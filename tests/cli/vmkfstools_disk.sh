#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks made, copied, renamed and removed by vmkfstools, judged by qemu-img and fsck.vmfs.
. "$(dirname "$0")/../lib/tap.sh"
need vmkfstools mkfs.vmfs fsck.vmfs

LUN=$T/lun
truncate -s 2G "$LUN"
mkfs.vmfs -L disks "$LUN" >/dev/null || { echo "Bail out! mkfs.vmfs"; exit 1; }

# A guest's disk: data at both ends, holes, and written zeros between.
truncate -s 60M "$T/guest.raw"
for at in 0 7 8 59; do
	dd if=/dev/urandom of="$T/guest.raw" bs=1M count=1 seek=$at conv=notrunc \
		status=none
done
dd if=/dev/zero of="$T/guest.raw" bs=1M count=5 seek=20 conv=notrunc status=none

# blocks PLACE: data blocks of a file.
blocks() {
	vmkfstools -D "$1" | sed -n 's/^len .* nb \([0-9]*\) .*/\1/p' | tail -1
}

# ---- import ----

ok "a raw image is imported into a directory that is made" \
	vmkfstools -i "$T/guest.raw" -d thin "$LUN:/vm1/vm1.vmdk"
is "$(vmkfstools --dir "$LUN:/vm1" | sort | tr '\n' ' ')" "vm1-flat.vmdk vm1.vmdk " \
	"descriptor and extent stand there, and nothing else"
is "$(blocks "$LUN:/vm1/vm1.vmdk")" 4 "thin: four blocks hold data"
ok "the descriptor comes out" vmkfstools --get "$LUN:/vm1/vm1.vmdk" "$T/vm1.vmdk"
ok "the extent comes out" vmkfstools --get "$LUN:/vm1/vm1-flat.vmdk" "$T/vm1-flat.vmdk"
seq 1000 >"$T/aim"
ln -s aim "$T/link"
ok "through a link" vmkfstools --get "$LUN:/vm1/vm1.vmdk" "$T/link"
ok "which stays" [ -L "$T/link" ]
ok "what it leads to has it" cmp "$T/aim" "$T/vm1.vmdk"
ok "it equals the image" cmp "$T/guest.raw" "$T/vm1-flat.vmdk"
ok "its holes came along" [ "$(stat -c %b "$T/vm1-flat.vmdk")" -lt 40000 ]

if command -v qemu-img >/dev/null; then
	run qemu-img info "$T/vm1.vmdk"
	like "$out" "file format: vmdk" "qemu-img takes the descriptor for a VMDK"
	like "$out" "create type: vmfs" "and reads its type"
	ok "qemu-img compares it equal" \
		qemu-img compare -f vmdk -F raw "$T/vm1.vmdk" "$T/guest.raw"
	ok "qemu-img converts it" \
		qemu-img convert -f vmdk -O raw "$T/vm1.vmdk" "$T/back.raw"
	ok "to the same bytes" cmp "$T/back.raw" "$T/guest.raw"
	qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat \
		"$T/guest.raw" "$T/flat.vmdk"
	ok "qemu-img's flat VMDK is imported" \
		vmkfstools -i "$T/flat.vmdk" -d thin "$LUN:/vm1/flat.vmdk"
	vmkfstools --get "$LUN:/vm1/flat-flat.vmdk" "$T/flat.raw"
	ok "and holds the same" cmp "$T/flat.raw" "$T/guest.raw"
	vmkfstools -U "$LUN:/vm1/flat.vmdk"
	qemu-img convert -f raw -O qcow2 "$T/guest.raw" "$T/guest.qcow2"
	refused "a qcow2 image is refused with advice" "guest.qcow2: is a qcow image;" \
		vmkfstools -i "$T/guest.qcow2" "$LUN:/vm1/q.vmdk"
else
	skip 8 "qemu-img is not there"
fi

# ---- the formats ----

ok "cloned to zeroedthick" \
	vmkfstools -i "$LUN:/vm1/vm1.vmdk" -d zeroedthick "$LUN:/vm1/z.vmdk"
is "$(blocks "$LUN:/vm1/z.vmdk")" 60 "zeroedthick: all blocks are there"
ok "cloned to eagerzeroedthick" \
	vmkfstools -i "$LUN:/vm1/z.vmdk" -d eagerzeroedthick "$LUN:/vm1/e.vmdk"
is "$(blocks "$LUN:/vm1/e.vmdk")" 60 "eagerzeroedthick: all blocks are there"
ok "and back to thin" vmkfstools -i "$LUN:/vm1/e.vmdk" -d thin "$LUN:/vm2/t.vmdk"
is "$(blocks "$LUN:/vm2/t.vmdk")" 4 "thin again: zeros take no block"
for disk in vm1/z vm1/e vm2/t; do
	vmkfstools --get "$LUN:/$disk-flat.vmdk" "$T/copy"
	ok "$disk holds the same" cmp "$T/copy" "$T/guest.raw"
done

ok "an empty disk is made" \
	vmkfstools -c 5g -d thin -a pvscsi "$LUN:/vm1/empty.vmdk"
run vmkfstools --get "$LUN:/vm1/empty.vmdk" -
like "$out" '^RW 10485760 VMFS "empty-flat.vmdk"$' "its descriptor says so"
like "$out" '^ddb.adapterType = "lsilogic"$' "with the adapter as ESXi writes it"
like "$out" '^ddb.thinProvisioned = "1"$' "and thin"

# ---- names ----

ok "a disk is renamed" vmkfstools -E "$LUN:/vm1/vm1.vmdk" "$LUN:/vm2/new.vmdk"
vmkfstools --get "$LUN:/vm2/new-flat.vmdk" "$T/copy"
ok "and is the same" cmp "$T/copy" "$T/guest.raw"
run vmkfstools --get "$LUN:/vm2/new.vmdk" -
like "$out" 'VMFS "new-flat.vmdk"$' "its descriptor names the new extent"
refused "the old name is gone" "vm1/vm1.vmdk: No such file" \
	vmkfstools -E "$LUN:/vm1/vm1.vmdk" "$LUN:/vm2/x.vmdk"
refused "a name that exists is not taken" "vm2/t.vmdk: exists" \
	vmkfstools -E "$LUN:/vm2/new.vmdk" "$LUN:/vm2/t.vmdk"
for disk in vm1/z vm1/e vm1/empty vm2/t vm2/new; do
	ok "$disk is removed" vmkfstools -U "$LUN:/$disk.vmdk"
done
is "$(vmkfstools --dir "$LUN:/vm1")$(vmkfstools --dir "$LUN:/vm2")" "" "nothing is left"

# ---- plain files ----

echo 'displayName = "vm1"' >"$T/vm1.vmx"
ok "a file goes in" vmkfstools --put "$T/vm1.vmx" "$LUN:/vm1/vm1.vmx"
is "$(vmkfstools --get "$LUN:/vm1/vm1.vmx" -)" 'displayName = "vm1"' "and comes out"
echo 'displayName = "second"' >"$T/vm1.vmx"
ok "it is replaced" vmkfstools --put "$T/vm1.vmx" "$LUN:/vm1/vm1.vmx"
is "$(vmkfstools --get "$LUN:/vm1/vm1.vmx" -)" 'displayName = "second"' "by the new one"
ok "a directory is made" vmkfstools --mkdir "$LUN:/vm1/sub"
is "$(vmkfstools --dir "$LUN:/vm1" | sort | tr '\n' ' ')" "sub/ vm1.vmx " "and listed"
refused "a directory that is not empty stays" "vm1: Directory not empty" \
	vmkfstools --rm "$LUN:/vm1"
ok "a file is removed" vmkfstools --rm "$LUN:/vm1/vm1.vmx"
ok "an empty directory is removed" vmkfstools --rm "$LUN:/vm1/sub"
ok "and its parent" vmkfstools --rm "$LUN:/vm1"

# ---- the volume ----

run vmkfstools -P "$LUN"
like "$out" '^VMFS-5\.81 file system spanning 1 partitions\.$' "-P: the version"
like "$out" '^File system label \(if any\): disks$' "the label"
like "$out" '^Capacity [0-9]+ \([0-9]+ file blocks \* 1048576\), ' "the capacity"
like "$out" ', [0-9]+ \([0-9]+ blocks\) avail$' "the space"
like "$out" "$LUN" "the extent"
run vmkfstools -P -h "$LUN"
like "$out" '^Capacity .*iB, .*iB available, file block size 1 MiB$' "-P -h: for people"
truncate -s 1G "$T/other"
ok "-C makes a filesystem" vmkfstools -C vmfs5 -S second "$T/other"
run vmkfstools -P "$T/other"
like "$out" 'label .*: second$' "with its label"
ok "fsck.vmfs finds the volume clean" fsck.vmfs -n "$LUN"
