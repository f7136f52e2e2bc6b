#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Encrypted disks: what they hold is nowhere on the storage, programs that do not know
# them refuse them, and with their key they are read as any disk: by vmkfstools, over NBD
# and through a mount.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmkfstools vdisk-nbd fsck.vmfs qemu-img
lun=$T/lun V=$T/lun:/v
truncate -s 1G "$lun"
mkfs.vmfs -q "$lun" || { echo "Bail out! mkfs.vmfs failed"; exit 1; }
for k in key new; do
	(umask 077 && head -c 32 /dev/urandom >"$T/$k")
done
yes "nobody is to read this" | head -c 3M >"$T/raw"
truncate -s 9M "$T/raw"

ok "an encrypted disk" vmkfstools -i "$T/raw" -d thin --key-rounds 1000 \
	--key-file "$T/key" "$V/a.vmdk"
ok "nothing of it is on the storage" eval '! grep -q "nobody is to read" "$lun"'
run vmkfstools --get "$V/a.vmdk" -
like "$out" 'createType="encrypted:vmfs"' "its descriptor says so"
unlike "$out" "$(od -An -v -tx1 "$T/key" | tr -d ' \n')" "and does not have the key"

refused "without its key it is no source" "a.vmdk: is encrypted: its key is needed" \
	vmkfstools -i "$V/a.vmdk" -d monolithicFlat "$T/b.vmdk"
refused "nor with another" "a.vmdk: is encrypted, and this is not its key" \
	vmkfstools -i "$V/a.vmdk" --source-key-file "$T/new" -d monolithicFlat --plain \
	"$T/b.vmdk"
refused "a copy is not plain by mistake" "its copy needs a key" \
	vmkfstools -i "$V/a.vmdk" --source-key-file "$T/key" -d monolithicFlat \
	"$T/b.vmdk"
ok "but if that is said" vmkfstools -i "$V/a.vmdk" --source-key-file "$T/key" --plain \
	-d monolithicFlat "$T/b.vmdk"
ok "and is what it was" cmp "$T/raw" "$T/b-flat.vmdk"
ok "a copy with a key that is typed" eval \
	'echo secret | vmkfstools -i "$T/b.vmdk" --key-file - --key-rounds 1000 \
		-d 2gbsparse "$T/c.vmdk"'
refused "which other programs refuse" "Unsupported image type" \
	qemu-img info "$T/c.vmdk"
ok "is copied back" eval \
	'echo secret | vmkfstools -i "$T/c.vmdk" --source-key-file - -d thin \
		--key-rounds 1000 --key-file "$T/new" "$V/d.vmdk"'

refused "a kind that has no place for a key" "has its descriptor inside" \
	vmkfstools -c 1m -d monolithicSparse --key-file "$T/key" "$T/e.vmdk"
(umask 077 && : >"$T/empty")
refused "an empty key" "empty: the key is empty" \
	vmkfstools -c 1m -d thin --key-file "$T/empty" "$V/e.vmdk"
refused "too few rounds" "not from 1000 to" vmkfstools -c 1m -d thin --key-rounds 9 \
	--key-file "$T/key" "$V/e.vmdk"
refused "a key of nothing" "does not go with this action" \
	vmkfstools -U --key-file "$T/key" "$V/a.vmdk"

# What needs no key.
ok "it grows" vmkfstools -X 12m "$V/a.vmdk"
ok "is renamed" vmkfstools -E "$V/a.vmdk" "$V/f.vmdk"
ok "is checked" vmkfstools -x check "$V/f.vmdk"
refused "the key is not changed by a stranger" "not its key" \
	vmkfstools --changeKey "$T/key" --key-file "$T/new" "$V/f.vmdk"
ok "but by its owner" vmkfstools --changeKey "$T/new" --key-rounds 1000 \
	--key-file "$T/key" "$V/f.vmdk"
refused "to whom the old one is of no use" "not its key" \
	vmkfstools -i "$V/f.vmdk" --source-key-file "$T/key" -d monolithicFlat --plain \
	"$T/g.vmdk"

# To others it is served plain.
truncate -s 12M "$T/raw"
refused "over NBD, with its key alone" "its key is needed" \
	vdisk-nbd -r "$V/f.vmdk" -k "$T/sock"
vdisk-nbd --key-file "$T/new" "$V/f.vmdk" -k "$T/sock" >"$T/uri" 2>&1 &
nbd=$!
at_exit kill "$nbd"
wait_for 30 test -s "$T/uri"
ok "an independent reader gets what it was" qemu-img compare -f raw -F raw "$T/raw" \
	"nbd+unix:///f.vmdk?socket=$T/sock"
kill "$nbd"
wait "$nbd"

ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$lun"

if [ -w /dev/fuse ] && command -v vmfs-fuse fusermount3 >/dev/null; then
	. "$ROOT/tests/lib/mounts.sh"
	mnt=$T/mnt
	mount_folder "$mnt"
	vmfs-fuse -f -o "vdisks,key-file=$T/new" "$lun" "$mnt" >"$T/log" 2>&1 &
	fuse=$!
	at_exit kill "$fuse"
	wait_for 20 mounted "$mnt"
	ok "through a mount it is what it was, too" cmp "$T/raw" "$mnt/v/f.raw"
	kill "$fuse"
	wait "$fuse"
else
	skip "through a mount it is what it was, too" "no /dev/fuse"
fi
