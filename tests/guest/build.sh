#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# build.sh OUT: a small real Linux guest as a raw disk that any PC firmware boots, from
# Debian's own kernel and busybox; nothing is downloaded, no root, mount or loop device.
# Under UEFI the firmware's shell starts the kernel, which is a UEFI program as well.
#
#   sector 0   MBR and syslinux's boot code
#   1 MiB      FAT16: syslinux, startup.nsh, the kernel, an initramfs with begin.sh and
#              init.sh (GUEST_INIT: another of this folder's; PROGRAMS: see initramfs.sh;
#              qemu-ga is its agent then; GUEST_OPTIONS: more for the kernel)
#   33 MiB     ext4 of the guest's own: /count, in which it counts
#
# Exit: 0, 1 (one line says why), 77 when a tool or the kernel image is missing.
set -eu
[ $# = 1 ] || { echo "usage: build.sh OUT" >&2; exit 1; }
out=$1
here=$(realpath "$(dirname "$0")")
# Every controller and network card that our VMs can have; the power button.
modules="virtio_pci virtio_blk vmw_pvscsi mptspi mptsas sym53c8xx ahci ata_piix nvme
	sd_mod sr_mod crc32c_generic ext4 e1000 e1000e vmxnet3 pcnet32 button evdev
	virtio_balloon virtio_console efivarfs"
export PATH=$PATH:/usr/sbin:/sbin
export MTOOLS_SKIP_CHECK=1 MTOOLSRC=/dev/null

boot_mib=1 boot_size_mib=32 data_mib=33 data_size_mib=15

skip() { echo "build.sh: skipped: $*" >&2; exit 77; }
for tool in sfdisk mkfs.vfat mcopy syslinux mkfs.ext4 busybox cpio modprobe; do
	command -v $tool >/dev/null || skip "$tool is not installed"
done
kernel=$(ls /boot/vmlinuz-*-amd64 2>/dev/null | sort -V | tail -n 1)
[ -n "$kernel" ] || skip "no kernel image in /boot (package linux-image-amd64)"
version=${kernel#/boot/vmlinuz-}
[ -d "/lib/modules/$version" ] || skip "no modules for kernel $version"
mbr=/usr/lib/syslinux/mbr/mbr.bin
[ -f $mbr ] || skip "no $mbr (package syslinux-common)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat "$here/begin.sh" "$here/${GUEST_INIT:-init.sh}" >"$work/init"
# shellcheck disable=SC2086
"$here/../rigs/initramfs.sh" "$work/initramfs" "$work/init" "$version" $modules

options="console=ttyS0 quiet panic=-1 no_timer_check nokaslr mitigations=off"
options+=${GUEST_OPTIONS:+ $GUEST_OPTIONS}
printf '%s\r\n' '@echo -off' 'fs0:' "linux.efi initrd=\\initramfs $options" \
	>"$work/startup.nsh"
cat >"$work/syslinux.cfg" <<END
SERIAL 0 115200
DEFAULT linux
PROMPT 0
LABEL linux
 LINUX linux.efi
 INITRD initramfs
 APPEND $options
END

rm -f "$out"
truncate -s $((data_mib + data_size_mib))M "$out"
sfdisk -q "$out" <<END
start=${boot_mib}MiB, size=${boot_size_mib}MiB, type=6, bootable
start=${data_mib}MiB, size=${data_size_mib}MiB, type=83
END
dd if=$mbr of="$out" conv=notrunc status=none

# It warns that the file is longer than the filesystem.
mkfs.vfat -F 16 -n BOOT --offset $((boot_mib * 2048)) "$out" $((boot_size_mib * 1024)) \
	>"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
image="$out@@${boot_mib}M"
mcopy -i "$image" "$kernel" ::linux.efi
mcopy -i "$image" "$work/startup.nsh" ::startup.nsh
mcopy -i "$image" "$work/initramfs" ::initramfs
mcopy -i "$image" "$work/syslinux.cfg" ::syslinux.cfg
syslinux --offset $((boot_mib * 1048576)) --install "$out"

mkdir "$work/data"
mkfs.ext4 -q -F -L data -m 0 -d "$work/data" \
	-E "offset=$((data_mib * 1048576)),lazy_itable_init=0,lazy_journal_init=0" \
	"$out" $((data_size_mib * 1024))k
