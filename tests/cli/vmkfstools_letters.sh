#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What vmkfstools does to a disk that is there: it grows (-X), on every kind; its blocks
# are allocated, zeroed, given back (-j, -k, -w, -K); and what is not done is said.

. "$(dirname "$0")/../lib/tap.sh"

need qemu-img qemu-io
LUN=$T/lun
truncate -s 400M "$LUN"
mkfs.vmfs -q "$LUN" || { echo "Bail out! mkfs.vmfs failed"; exit 1; }

raw=$T/a.raw
head -c 3000000 /dev/urandom >"$raw"
truncate -s 10M "$raw"
cp "$raw" "$T/want.raw"
truncate -s 40M "$T/want.raw"

# same PLACE: it holds the source, and zeros up to 40 MiB.
same() {
	rm -f "$T"/back*
	vmkfstools -i "$1" -d monolithicFlat "$T/back.vmdk" &&
		cmp "$T/want.raw" "$T/back-flat.vmdk"
}

# blocks PLACE: blocks of its flat file
blocks() {
	vmkfstools -D "${1%.vmdk}-flat.vmdk" | sed -n 's/.* nb \([0-9]*\).*/\1/p'
}

# ---- it grows ----

for kind in thin zeroedthick eagerzeroedthick monolithicSparse; do
	ok "$kind" vmkfstools -i "$raw" -d $kind "$LUN:/v/$kind.vmdk"
	ok "$kind grows" vmkfstools -X 40m "$LUN:/v/$kind.vmdk"
	ok "$kind: what it held, and zeros" same "$LUN:/v/$kind.vmdk"
done
ok "once more is nothing" vmkfstools -X 40m "$LUN:/v/thin.vmdk"
refused "it does not shrink" "not made smaller" vmkfstools -X 39m "$LUN:/v/thin.vmdk"
ok "and is as large" same "$LUN:/v/thin.vmdk"
is "$(blocks "$LUN:/v/thin.vmdk")" 3 "thin: no block more"
is "$(blocks "$LUN:/v/zeroedthick.vmdk")" 40 "zeroedthick: all of them"
run vmkfstools -g "$LUN:/v/thin.vmdk"
is "$out" "Geometry information C/H/S is 40/64/32" "its geometry follows"

for kind in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat; do
	vmkfstools -i "$raw" -d $kind "$T/$kind.vmdk"
	ok "$kind on the host grows" vmkfstools -X 40m "$T/$kind.vmdk"
	ok "$kind: qemu-img agrees" qemu-img compare -q "$T/want.raw" "$T/$kind.vmdk"
	ok "$kind: qemu-img check" qemu-img check -q "$T/$kind.vmdk"
	ok "$kind grows by tables" vmkfstools -X 200m "$T/$kind.vmdk"
	ok "$kind: others write behind" qemu-io -c "write -P 9 150M 1M" "$T/$kind.vmdk"
	ok "$kind: and we" vmkfstools -X 300m "$T/$kind.vmdk"
	ok "$kind: read it" qemu-io -c "read -P 9 150M 1M" -c "read -P 0 151M 149M" \
		"$T/$kind.vmdk"
done
vmkfstools -c 100m -d twoGbMaxExtentSparse "$T/p.vmdk"
vmkfstools -c 100m -d twoGbMaxExtentFlat "$T/f.vmdk"
ok "by two parts" vmkfstools -X 5g "$T/p.vmdk"
ok "by flat ones" vmkfstools -X 5g "$T/f.vmdk"
ok "qemu-img: of that size" grep -q '"virtual-size": 5368709120' \
	<<<"$(qemu-img info --output=json "$T/p.vmdk")"
ok "all of it is there" qemu-io -c "write -P 3 4095M 2M" -c "read -P 3 4095M 2M" \
	"$T/f.vmdk"
is "$(ls "$T" | grep -c '^p-s00[123].vmdk')" 3 "three parts"
: >"$T/p-s004.vmdk"
refused "a part in the way" "p-s004.vmdk: exists" vmkfstools -X 7g "$T/p.vmdk"
run qemu-img info "$T/p.vmdk"
like "$out" "5 GiB" "and it is as it was"

printf x | dd of="$T/monolithicFlat-flat.vmdk" bs=1 seek=320000000 status=none
refused "what stands behind the end" "holds something behind the end" \
	vmkfstools -X 400m "$T/monolithicFlat.vmdk"
vmkfstools -i "$raw" -d streamOptimized "$T/stream.vmdk"
refused "a stream" "streamOptimized, which is not written" \
	vmkfstools -X 40m "$T/stream.vmdk"
refused "more than the volume has" "the volume has .* free" \
	vmkfstools -X 10g "$LUN:/v/zeroedthick.vmdk"
refused "thin, eagerly" "inflate it first" \
	vmkfstools -X 50m -d eagerzeroedthick "$LUN:/v/thin.vmdk"
refused "-X to another kind" "with -X there is eagerzeroedthick alone" \
	vmkfstools -X 50m -d thin "$LUN:/v/thin.vmdk"

# ---- what stands under it ----

ok "thin is inflated" vmkfstools -j "$LUN:/v/thin.vmdk"
is "$(blocks "$LUN:/v/thin.vmdk")" 40 "all blocks are there"
ok "what it held" same "$LUN:/v/thin.vmdk"
ok "it is not thin any more" grep -q 'thinProvisioned = "0"' \
	<<<"$(vmkfstools --get "$LUN:/v/thin.vmdk" -)"
ok "zeroedthick is zeroed" vmkfstools -k "$LUN:/v/zeroedthick.vmdk"
ok "what it held" same "$LUN:/v/zeroedthick.vmdk"
ok "it is punched" vmkfstools -K "$LUN:/v/zeroedthick.vmdk"
is "$(blocks "$LUN:/v/zeroedthick.vmdk")" 3 "blocks of zeros are given back"
ok "what it held" same "$LUN:/v/zeroedthick.vmdk"
refused "thin, -k" "is thin: inflate it" vmkfstools -k "$LUN:/v/zeroedthick.vmdk"
refused "-j of a sparse one" "-j is for disks on a volume" \
	vmkfstools -j "$LUN:/v/monolithicSparse.vmdk"
ok "eagerzeroedthick is wiped" vmkfstools -w "$LUN:/v/eagerzeroedthick.vmdk"
: >"$T/want.raw"
truncate -s 40M "$T/want.raw"
ok "zeros" same "$LUN:/v/eagerzeroedthick.vmdk"
is "$(blocks "$LUN:/v/eagerzeroedthick.vmdk")" 40 "and all its blocks"
ok "a sparse one too" vmkfstools -w "$LUN:/v/monolithicSparse.vmdk"
ok "zeros" same "$LUN:/v/monolithicSparse.vmdk"

qemu-io -c "write -P 5 0 8M" -c "write -P 0 1M 6M" \
	"$T/twoGbMaxExtentFlat.vmdk" >"$T/log"
before=$(stat -c %b "$T/twoGbMaxExtentFlat-f001.vmdk")
ok "-K of a flat file of the host" vmkfstools -K "$T/twoGbMaxExtentFlat.vmdk"
ok "is smaller" test "$(stat -c %b "$T/twoGbMaxExtentFlat-f001.vmdk")" -lt \
	$((before - 10000))
ok "what it held" qemu-io -c "read -P 5 0 1M" -c "read -P 0 1M 6M" -c "read -P 5 7M 1M" \
	"$T/twoGbMaxExtentFlat.vmdk"

# ---- chains ----

run vmkfstools -e "$LUN:/v/thin.vmdk"
is "$rc $out" "0 Disk chain is consistent." "a disk without a parent"
sed -n '/^#/d;s/^CID=.*/CID=11223344/;p' <(vmkfstools --get "$LUN:/v/thin.vmdk" -) |
	sed 's/^parentCID=.*/parentCID=01020304/
/^createType/a parentFileNameHint="eagerzeroedthick.vmdk"
1i # Disk DescriptorFile
s/ VMFS "thin-flat/ VMFSSPARSE "thin-flat/' >"$T/child"
ok "one on a parent that was changed" vmkfstools --put "$T/child" "$LUN:/v/child.vmdk"
run vmkfstools -e "$LUN:/v/child.vmdk"
is "$rc" 1 "is found out"
like "$out" "not consistent" "and said"
refused "a parent does not grow" "is the parent of child.vmdk" \
	vmkfstools -X 60m "$LUN:/v/eagerzeroedthick.vmdk"
refused "nor is it wiped" "is the parent of child.vmdk" \
	vmkfstools -w "$LUN:/v/eagerzeroedthick.vmdk"
ok "the volume is whole" fsck.vmfs -n "$LUN"
