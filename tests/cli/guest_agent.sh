#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Linux guest with Debian's qemu-ga: its filesystems are frozen for a quiesced snapshot
# and thawed after it; it is rebooted and shut down by its agent. Before it has one, that
# is said.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "a guest boots twice (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
ga=$(PATH=$PATH:/usr/sbin command -v qemu-ga) ||
	skip_all "no qemu-ga (package qemu-guest-agent)"
. "$ROOT/tests/lib/host.sh"
chmod 755 "$T"

vim() { vim-cmd -s "$VMKERNEL_SOCKET" "$@"; }
console() { tr -d '\r' <"$T/state/vms/1/serial0.txt"; }
says() { console | grep -q -e "$1"; }
ups() { [ "$(console | grep -c GUEST-UP)" = "$1" ]; }
shown() { console | sed -n 's/^COUNT //p' | tail -n 1; }
has_passed() { local n; n=$(shown) && [ "${n:-0}" -gt "$1" ]; }
is_off() { vim vmsvc/power.getstate 1 | grep -q "Powered off"; }
n=0
quiet() { # a snapshot that is quiesced
	n=$((n + 1))
	vim vmsvc/snapshot.create 1 "s$n" "" 0 1 >"$T/said" 2>&1 &&
		! grep -q "is ignored" "$T/said"
}

PROGRAMS=$ga "$ROOT/tests/guest/build.sh" "$T/guest.raw" >"$T/err" 2>&1 ||
	skip_all "no guest"
truncate -s 3G "$T/lun"
ok "makes the volume" mkfs.vmfs -q -L vms "$T/lun"
ok "a disk" vmkfstools -i "$T/guest.raw" -d thin "$T/lun:/vm1/vm1.vmdk"
ok "a VM" vmkfstools --put "$ROOT/tests/guest/vm1.vmx" "$T/lun:/vm1/vm1.vmx"
at_exit eval 'kill -9 $(sed -n "s/.*QEMU is process //p" "$T"/state/vms/*/vmware.log)'
at_exit host_down
printf 'accel = tcg\ndevice = %s\n' "$T/lun" >"$T/conf"
ok "the host starts" vmkernel -c "$T/conf" -d "$T/state"
is "$(vim solo/registervm "[vms] vm1/vm1.vmx" | tr -dc 0-9)" 1 "it is registered"
ok "it is powered on" vim vmsvc/power.on 1
run vim vmsvc/power.reboot 1
like "$rc:$out" "^1:.*has no guest agent that could reboot it" \
	"a guest that has not booted is not rebooted"
run vim vmsvc/snapshot.create 1 early "" 0 1
like "$rc:$out" "^0:.*QUIESCE is ignored" "nor quiesced, which is said"
ok "it boots" wait_for 400 says "^COUNT 1$"
ok "its agent is there: a quiesced snapshot is made" wait_for 120 quiet
at=$(shown)
ok "its filesystems are not frozen any more" wait_for 60 has_passed "$at"
ok "all snapshots go" vim vmsvc/snapshot.removeall 1
ok "it is rebooted" vim vmsvc/power.reboot 1
ok "by its agent" wait_for 60 says "^SHUTDOWN reboot"
ok "it boots again" wait_for 400 ups 2
ok "and goes on counting" wait_for 120 has_passed "$at"
is "$(console | grep -c GUEST-FAILED)" 0 "nothing is missing"
ok "its agent is there again" wait_for 120 quiet
ok "it is shut down" vim vmsvc/power.shutdown 1
ok "by its agent" wait_for 60 says "^SHUTDOWN poweroff"
ok "it is off" wait_for 60 is_off
is "$(console | grep -c BUTTON)" 0 "its button was not pressed"
ok "the host ends" host_down
ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$T/lun"
exit 0
