# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A host that has its files in $T/a, on the volume $T/lun, with the guest of idle.sh in
# /idle of it as its VM 1. Source it after tap.sh. All of it ends with the test.

. "$ROOT/tests/lib/idle.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd esxcli fsck.vmfs qemu-system-x86_64 \
	qemu-io qemu-img
chmod 755 "$T"
at_exit eval 'kill -9 $(cat '"$T"'/a/vmkernel.pid) $(sed -n "s/.*QEMU is process //p" \
	'"$T"'/a/vms/*/vmware.log)'

vim() { "$BIN/vim-cmd" -s "$T/a/vmkernel.sock" "$@"; }
vmx() { "$BIN/vmkfstools" --get "$T/lun:/idle/idle.vmx" /dev/stdout; }
is_on() { vim vmsvc/power.getstate 1 | grep -q "Powered on"; }
is_gone() { [ ! -S "$T/a/vmkernel.sock" ]; }
host() {
	"$BIN/vmkernel" -c "$T/conf" -d "$T/a" --host-name a --device "$T/lun"
}

# idle_vm SIZE [LINE...]: made, its .vmx with these lines, and registered.
idle_vm() {
	idle_guest "$1"
	shift
	[ $# = 0 ] || printf '%s\n' "$@" >>"$T/idle.vmx"
	echo "accel = tcg" >"$T/conf"
	truncate -s 1G "$T/lun"
	ok "makes the volume" mkfs.vmfs -L store "$T/lun"
	ok "makes the disk" \
		vmkfstools -i "$T/idle.raw" -d thin "$T/lun:/idle/idle.vmdk"
	ok "puts the .vmx beside it" \
		vmkfstools --put "$T/idle.vmx" "$T/lun:/idle/idle.vmx"
	ok "the host starts" host
	is "$(vim solo/registervm "[store] idle/idle.vmx")" 1 "the VM is registered"
}

# In order; what is left of it is sound.
idle_end() {
	ok "the host ends" kill -TERM "$(cat "$T/a/vmkernel.pid")"
	ok "it has gone" wait_for 30 is_gone
	ok "the volume is clean" fsck.vmfs -n "$T/lun"
}
