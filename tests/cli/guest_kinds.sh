#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Linux guest boots from a disk of each kind and counts in a file on it, with
# fsync; powered off and on again it goes on counting from what it had shown. A stream is
# booted by a snapshot on it: it is only read itself.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes minutes (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64 busybox
. "$ROOT/tests/lib/host.sh"
snapshot=$BIN/../tests/rigs/snapshot
[ -x "$snapshot" ] || skip_all "$snapshot is not built"
chmod 755 "$T"

vim() { vim-cmd -s "$VMKERNEL_SOCKET" "$@"; }
console() { echo "$T/state/vms/$id/serial0.txt"; }
shown() { sed -n 's/^COUNT \([0-9]*\).*/\1/p' "$(console)" | tail -1; }
counts_to() { [ "$(shown)" -ge "$1" ] 2>/dev/null; }
is_off() { vim vmsvc/power.getstate "$id" | grep -q "Powered off"; }

"$ROOT/tests/guest/build.sh" "$T/guest.raw" || skip_all "no guest"
truncate -s 6G "$T/lun"
cp "$T/guest.raw" "$T/target"
(umask 077 && echo secret >"$T/key")
ok "makes the volume" mkfs.vmfs -q -L vms "$T/lun"

make() { # KIND: the disk /KIND/d.vmdk
	local d=$T/lun:/$1/d.vmdk
	case $1 in
	vmfsSparse | seSparse)
		vmkfstools -i "$T/guest.raw" -d thin "$T/lun:/$1/base.vmdk" &&
			"$snapshot" "$T/lun" "/$1/base.vmdk" "/$1/d.vmdk" "${1,,}"
		;;
	streamOptimized)
		vmkfstools -i "$T/guest.raw" -d "$1" "$T/lun:/$1/base.vmdk" &&
			"$snapshot" "$T/lun" "/$1/base.vmdk" "/$1/d.vmdk" vmfssparse
		;;
	rdm) vmkfstools --mkdir "$T/lun:/rdm" && vmkfstools -r "$T/target" "$d" ;;
	rdmp) vmkfstools --mkdir "$T/lun:/rdmp" && vmkfstools -z "$T/target" "$d" ;;
	encrypted) vmkfstools -i "$T/guest.raw" -d thin --key-file "$T/key" "$d" ;;
	*) vmkfstools -i "$T/guest.raw" -d "$1" "$d" ;;
	esac
}

kinds=${KINDS:-thin zeroedthick eagerzeroedthick vmfsSparse seSparse rdm rdmp
	monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat
	streamOptimized encrypted}
for kind in $kinds; do
	ok "a disk: $kind" make "$kind"
	sed -e 's/vm1\.vmdk/d.vmdk/' -e "s/displayName = .*/displayName = \"$kind\"/" \
		"$ROOT/tests/guest/vm1.vmx" >"$T/vmx"
	ok "a VM on it" vmkfstools --put "$T/vmx" "$T/lun:/$kind/vm.vmx"
done

at_exit eval 'kill -9 $(sed -n "s/.*QEMU is process //p" "$T"/state/vms/*/vmware.log)'
at_exit host_down
printf 'disk_key_file = %s\ndevice = %s\n' "$T/key" "$T/lun" >"$T/conf"
ok "the host starts" vmkernel -c "$T/conf" -d "$T/state"
for kind in $kinds; do
	id=$(vim solo/registervm "[vms] $kind/vm.vmx" | tr -dc 0-9)
	ok "$kind is powered on" vim vmsvc/power.on "$id"
	ok "boots, and counts" wait_for 300 counts_to 3
	ok "is powered off" vim vmsvc/power.off "$id"
	ok "and is off" wait_for 60 is_off
	before=$(shown)
	rm -f "$(console)"
	ok "is powered on again" vim vmsvc/power.on "$id"
	ok "boots again" wait_for 300 counts_to "$((before + 1))"
	first=$(sed -n 's/^COUNT \([0-9]*\).*/\1/p' "$(console)" | head -1)
	ok "and goes on from $before: $first" test "$first" -gt "$before"
	ok "it ends" vim vmsvc/power.off "$id"
	ok "and is off again" wait_for 60 is_off
done
ok "the host ends" host_down
for kind in $kinds; do
	ok "fsck of the disk: $kind" vmkfstools -x check "$T/lun:/$kind/d.vmdk"
done
ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$T/lun"
