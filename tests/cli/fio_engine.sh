#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fio's engine for virtual disks (make fio-engine): what fio writes it verifies, on a
# volume and encrypted; errors are told; the volume is whole after it.

. "$(dirname "$0")/../lib/tap.sh"
need fio mkfs.vmfs vmkfstools fsck.vmfs
engine=$ROOT/build/pic/bin/vdisk-fio.so
[ -e "$engine" ] || skip_all "build/pic/bin/vdisk-fio.so is not built (make fio-engine)"
lun=$T/lun
truncate -s 2G "$lun"
mkfs.vmfs -q "$lun" || { echo "Bail out! mkfs.vmfs failed"; exit 1; }
(umask 077 && echo secret >"$T/key")
measure() { fio --output="$T/out" --name=job --ioengine="external:$engine" "$@"; }

ok "a thin disk" vmkfstools -c 64m -d thin "$lun:/a.vmdk"
ok "an encrypted one" vmkfstools -c 16m -d thin --key-file "$T/key" "$lun:/b.vmdk"
ok "a sparse one of this host" vmkfstools -c 16m -d monolithicSparse "$T/c.vmdk"
ok "writes are verified" measure --disk="$lun:/a.vmdk" --rw=randwrite --bs=4k \
	--iodepth=32 --size=16m --verify=crc32c --do_verify=1 --verify_fatal=1 --fsync=500
ok "on the encrypted one" measure --disk="$lun:/b.vmdk" --keyfile="$T/key" \
	--rw=randwrite --bs=8k --iodepth=16 --verify=crc32c --do_verify=1 --verify_fatal=1
ok "on the sparse one" measure --disk="$T/c.vmdk" --rw=randwrite --bs=64k \
	--iodepth=8 --verify=crc32c --do_verify=1 --verify_fatal=1
ok "trims" measure --disk="$lun:/a.vmdk" --rw=randtrim --bs=1m --size=16m
ok "reads without a lock" measure --disk="$lun:/a.vmdk" --rw=read --bs=1m
ok "not without the key" eval '! measure --disk="$lun:/b.vmdk" --rw=read --bs=4k'
ok "nor what is not there" eval '! measure --disk="$lun:/d.vmdk" --rw=read --bs=4k'
ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$lun"
