#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Code that a guest reads from its virtio disk is what it runs, with the disk on NBD, as
# vmkernel serves it under TCG. Beside it what vmkernel refuses: the same guest on
# vhost-user, where QEMU does not see what the disk writes, and runs stale code.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
[ -n "${FULL:-}" ] || skip_all "two guests (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64 mcopy
rigs=$BIN/../tests/rigs
[ -x "$rigs/stale" ] || skip_all "$rigs/stale is not built"
export GUEST_INIT=stale.sh GUEST_OPTIONS="init_on_alloc=0" PROGRAMS=$rigs/stale
make_guest

has_ended() { grep -a -q 'STALE calls\|GUEST-FAILED\|Kernel panic' "$1"; }
said() { # CONSOLE WORD
	tr -d '\r' <"$1" | sed -n "s/^STALE .*$2 \([0-9]*\).*/\1/p"
}

lun=$T/lun
truncate -s 1G "$lun"
echo "accel = tcg" >"$T/conf"
sed 's/pvscsi/virtio-blk/' "$ROOT/tests/guest/vm1.vmx" >"$T/vm1.vmx"
ok "a volume with the VM" eval 'mkfs.vmfs -q -L vms "$lun" &&
	vmkfstools -i "$T/guest.raw" -d thin "$lun:/vm1/vm1.vmdk" &&
	vmkfstools --put "$T/vm1.vmx" "$lun:/vm1/vm1.vmx"'
ok "a host" host a "$lun" -c "$T/conf"
is "$(register a vm1)" 1 "has it"
ok "it runs" vim a vmsvc/power.on 1
console=$(console a 1)
ok "to its end" wait_for 300 has_ended "$console"
diag "NBD: $(grep -a '^STALE' "$console" || tail -n 3 "$console")"
ok "it has called code" test "$(said "$console" calls)" -gt 5000
is "$(said "$console" stale)" 0 "none of it was stale"
is "$(said "$console" wrong)" 0 "and no data wrong"
ok "the host ends" host_ends a
whole "$lun" "the volume"

# Two processors: of one, TCG leaves the memory barriers out, and kicks are lost.
mcopy -n -i "$T/guest.raw@@1M" ::linux.efi ::initramfs "$T/"
"$rigs/vhost-serve" "$T/disk.sock" "$T/guest.raw" >>"$T/server.log" 2>&1 &
at_exit kill -9 $!
ok "vhost-serve" wait_for 20 test -S "$T/disk.sock"
append="console=ttyS0 quiet panic=-1 no_timer_check nokaslr mitigations=off"
timeout 300 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
	-machine q35,memory-backend=ram0 -m 262136K -accel tcg,thread=multi -smp 2 \
	-object memory-backend-memfd,id=ram0,size=262136K,share=on \
	-chardev "socket,id=c0,path=$T/disk.sock" \
	-device vhost-user-blk-pci,chardev=c0 \
	-serial "file:$T/serial" -kernel "$T/linux.efi" -initrd "$T/initramfs" \
	-append "$append $GUEST_OPTIONS" 2>>"$T/qemu.log"
diag "vhost-user: $(grep -a '^STALE' "$T/serial" || tail -n 3 "$T/serial")"
ok "with vhost-user the same guest runs stale code" \
	test "$(said "$T/serial" stale)0" -gt 0
is "$(said "$T/serial" wrong)" 0 "of data that are right"
