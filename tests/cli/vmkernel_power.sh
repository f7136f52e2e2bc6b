#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Power: one VM, two hosts on one file. Who holds it, who is refused and told by whom,
# what survives the death of vmkernel, vmx, QEMU, and which .vmx files are refused.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd esxcli fsck.vmfs qemu-system-x86_64 qemu-io
chmod 755 "$T"

host() { # NAME
	"$BIN/vmkernel" -c "$T/conf" -d "$T/$1" --host-name "$1" --device "$T/lun"
}
vim() { # HOST ARGUMENT...
	"$BIN/vim-cmd" -s "$T/$1/vmkernel.sock" "${@:2}"
}
is_on() { vim "$1" vmsvc/power.getstate "$2" | grep -q "Powered on"; }
is_off() { vim "$1" vmsvc/power.getstate "$2" | grep -q "Powered off"; }
# A zombie is dead: who inherits an orphan may be in no hurry to bury it.
is_dead() { ! grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null; }
is_gone() { [ ! -S "$T/$1/vmkernel.sock" ]; }
pid_of() { cat "$T/$1/vmkernel.pid"; }
vmx_of() { # HOST: the process id of its only running vmx
	"$BIN/esxcli" -s "$T/$1/vmkernel.sock" vm process list |
		sed -n 's/.*VMX Cartel ID: //p'
}
qemu_of() { # HOST
	sed -n 's/.*QEMU is process //p' "$T/$1/vms/1/vmware.log" | tail -n 1
}
at_exit eval 'kill -9 $(cat '"$T"'/*/vmkernel.pid) $(sed -n "s/.*QEMU is process //p" \
	'"$T"'/*/vms/*/vmware.log)'

idle_guest 1M
echo "accel = tcg" >"$T/conf"
truncate -s 1G "$T/lun"
ok "makes the volume" mkfs.vmfs -L store "$T/lun"
ok "makes the disk" vmkfstools -i "$T/idle.raw" -d thin "$T/lun:/idle/idle.vmdk"
ok "puts the .vmx beside it" vmkfstools --put "$T/idle.vmx" "$T/lun:/idle/idle.vmx"
ok "host a starts" host a
ok "host b starts" host b
is "$(vim a solo/registervm "[store] idle/idle.vmx")" 1 "a registers the VM"
is "$(vim b solo/registervm "[store] idle/idle.vmx")" 1 "b registers it too"

# ---- on, and nowhere else ----
refused "off already" "idle.vmx): is powered off already" vim a vmsvc/power.off 1
ok "a powers it on" vim a vmsvc/power.on 1
refused "on already" "is powered on already" vim a vmsvc/power.on 1
refused "a VM that is on stays registered" "not powered off" vim a vmsvc/unregister 1
owner=$("$BIN/esxcli" -s "$T/a/vmkernel.sock" storage vmfs host list -l store |
	sed -n 's/ .*true$//p')
began=$SECONDS
refused "b is refused: file, host, UUID, age of the heartbeat" \
	"^vim-cmd: \[store\] idle/idle.vmx: held by host a \($owner\), .*beat [0-9.]+ s" \
	vim b vmsvc/power.on 1
ok "at once, not after the whole wait ($((SECONDS - began)) s)" \
	test $((SECONDS - began)) -lt 20
refused "nor does vmkfstools get the disk" "held by host a" \
	vmkfstools -U "$T/lun:/idle/idle.vmdk"
qemu=$(qemu_of a)
if [ "$(id -u)" = 0 ]; then
	like "$(cat "/proc/$qemu/status")" "^Uid:.64123.64123.64123.64123" \
		"QEMU is nobody in particular"
	like "$(cat "/proc/$qemu/status")" "^CapEff:.0+$" "and has no capabilities"
	like "$(stat -c %a:%u "$T/a/vms/1")" "^700:64123$" "its folder is its own"
else
	skip 3 "needs root"
fi
like "$(cat "/proc/$qemu/status")" "^NoNewPrivs:.1" "it can gain no privileges"
like "$(cat "/proc/$qemu/status")" "^Seccomp:.2" "and is in QEMU's sandbox"
unlike "$(tr '\0' ' ' <"/proc/$qemu/cmdline")" "$T/lun" "it does not know the LUN"
ok "resets it" vim a vmsvc/power.reset 1
ok "powers it off" vim a vmsvc/power.off 1
ok "QEMU is gone" wait_for 5 is_dead "$qemu"
ok "now b may" vim b vmsvc/power.on 1
ok "and gives it back" vim b vmsvc/power.off 1

# ---- deaths ----
ok "a powers it on again" vim a vmsvc/power.on 1
qemu=$(qemu_of a)
kill -9 "$qemu"
ok "QEMU dies: the VM is off" wait_for 10 is_off a 1
ok "a powers it on once more" vim a vmsvc/power.on 1
qemu=$(qemu_of a)
kill -9 "$(vmx_of a)"
ok "vmx dies: the VM is off" wait_for 10 is_off a 1
ok "and its QEMU is not left over" wait_for 10 is_dead "$qemu"
ok "a powers it on for the fourth time" vim a vmsvc/power.on 1
qemu=$(qemu_of a) pid=$(pid_of a)
kill -9 "$pid"
wait_for 10 is_dead "$pid"
ok "vmkernel dies: QEMU lives" kill -0 "$qemu"
ok "vmkernel comes back" host a
ok "and has its VM" wait_for 10 is_on a 1
ok "with the same QEMU" kill -0 "$qemu"
refused "which b still may not have" "held by host a" vim b vmsvc/power.on 1
kill -9 "$(pid_of a)"
ok "vmkernel dies again, b takes the VM over" vim b vmsvc/power.on 1
ok "vmkernel comes back too late" host a
ok "its VM is off" wait_for 40 is_off a 1
ok "and its QEMU is ended" wait_for 10 is_dead "$qemu"
ok "b's runs" is_on b 1
qemu=$(qemu_of b) pid=$(pid_of b)
kill -9 "$pid" "$(vmx_of b)"
wait_for 10 is_dead "$pid"
ok "vmkernel and vmx of b die, QEMU is left" kill -0 "$qemu"
ok "b comes back" host b
ok "and powers the VM on anew" vim b vmsvc/power.on 1
run nbdinfo "nbd+unix:///disk0?socket=$T/b/vms/1/disk0.sock"
ok "who does not know this power-on's name gets no disk" test "$rc" != 0
kill -9 "$qemu"
ok "b ends in order" kill -TERM "$(pid_of b)"
ok "it has gone" wait_for 30 is_gone b

# ---- nobody is there, and another host has the VM for a while ----
ok "a powers it on for the last time" vim a vmsvc/power.on 1
qemu=$(qemu_of a) pid=$(pid_of a)
kill -9 "$pid"
wait_for 10 is_dead "$pid"
ok "b comes back once more" host b
ok "it runs the VM of a, which is down" vim b vmsvc/power.on 1
ok "and lets it go" vim b vmsvc/power.off 1
ok "QEMU of a lives" kill -0 "$qemu"
ok "a comes back" host a
ok "its VM does not go on with disks that have changed" wait_for 40 is_dead "$qemu"
like "$(cat "$T/a/vmkernel.log")" "somebody else had it while no vmkernel was here" \
	"the log says why"
ok "it is off" wait_for 20 is_off a 1
ok "a powers the VM on anew" vim a vmsvc/power.on 1
ok "and off" vim a vmsvc/power.off 1
kill -TERM "$(pid_of b)"

# ---- what is refused ----
vm() { # NAME TEXT: a .vmx of this text, registered on a; its id in $id
	printf '%b' "$2" >"$T/$1.vmx"
	vmkfstools --put "$T/$1.vmx" "$T/lun:/idle/$1.vmx" &&
		id=$(vim a solo/registervm "[store] idle/$1.vmx")
}
vm tape 'scsi0.present="TRUE"\nscsi0:0.fileName="idle.vmdk"\nscsi0:0.deviceType="tape"\n'
refused "an unknown kind of disk" 'scsi0:0.deviceType = "tape"' vim a vmsvc/power.on "$id"
vm odd 'scsi0.present="TRUE"\nscsi0.virtualDev="odd"\nscsi0:0.fileName="idle.vmdk"\n'
refused "an unknown controller" 'scsi0.virtualDev = "odd"' vim a vmsvc/power.on "$id"
vm vhost 'scsi0.present="TRUE"\nscsi0.virtualDev="vhost-user-blk"\n'\
'scsi0:0.fileName="idle.vmdk"\n'
refused "vhost-user under TCG, and why" 'vhost-user is not for TCG: .* stale code' \
	vim a vmsvc/power.on "$id"
vm first 'scsi0.present="TRUE"\nscsi0.virtualDev="virtio-blk"\n'\
'scsi0:1.fileName="idle.vmdk"\n'
refused "virtio without unit 0" 'scsi0:0: a virtio controller needs a disk at unit 0' \
	vim a vmsvc/power.on "$id"
vm parts 'scsi0.present="TRUE"\nscsi0:0.fileName="idle.vmdk"\n'\
'sched.scsi0:0.shares="all"\n'
refused "shares that are no number" 'sched.scsi0:0: its shares .* be understood: all' \
	vim a vmsvc/power.on "$id"
vm lost 'scsi0.present="TRUE"\nscsi0:0.fileName="lost.vmdk"\n'
refused "a disk that is not there" '\[store\] idle/lost.vmdk: No such file' \
	vim a vmsvc/power.on "$id"
vm away 'scsi0.present="TRUE"\nscsi0:0.fileName="../../etc/x.vmdk"\n'
refused "a disk elsewhere" '\.\./\.\./etc/x.vmdk: a disk' vim a vmsvc/power.on "$id"
vm serial 'serial0.present="TRUE"\nserial0.fileType="file"\nserial0.fileName="/etc/x"\n'
refused "a serial port elsewhere" 'serial0.fileName = "/etc/x"' vim a vmsvc/power.on "$id"
ok "a ends" kill -TERM "$(pid_of a)"
wait_for 30 is_gone a
echo "qemu = qemu-system-nothing" >>"$T/conf"
ok "a starts without QEMU" host a
refused "no QEMU" "cannot start qemu-system-nothing" vim a vmsvc/power.on 1
ok "a ends again" kill -TERM "$(pid_of a)"
ok "it has gone too" wait_for 30 is_gone a
run fsck.vmfs -n "$T/lun"
is "$rc" 0 "the volume is clean"
[ "$rc" = 0 ] || diag "$out"
exit 0
