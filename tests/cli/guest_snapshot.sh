#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Linux guest counts, each number fsynced before it is shown, while its snapshots are
# made and vmkernel is killed between them. The guest itself looks for gaps at each boot:
# after its power was cut, and of a disk that went back to a snapshot. No number that was
# shown before is missing.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "a guest boots three times (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
chmod 755 "$T"

vim() { "$BIN/vim-cmd" -s "$T/a/vmkernel.sock" "$@"; }
host() { "$BIN/vmkernel" -c "$T/conf" -d "$T/a" --device "$T/lun"; }
is_on() { vim vmsvc/power.getstate 1 | grep -q "Powered on"; }
is_gone() { [ ! -S "$T/a/vmkernel.sock" ]; }
at_exit eval 'kill -9 $(cat '"$T"'/a/vmkernel.pid) $(sed -n "s/.*QEMU is process //p" \
	'"$T"'/a/vms/*/vmware.log)'
console=$T/a/vms/1/serial0.txt
# The last number after WORD that the guest has shown.
shown() {
	tr -d '\r' <"$console" 2>/dev/null | sed -n "s/^$1 \([0-9]*\).*/\1/p" | tail -n 1
}
has_passed() { local n; n=$(shown COUNT) && [ "${n:-0}" -gt "$1" ]; }
boots() { # NAME: with an empty console
	[ ! -e "$console" ] || : >"$console"
	ok "$1" vim vmsvc/power.on 1
	ok "it counts on" wait_for 180 has_passed 0
	is "$(grep -c GUEST-FAILED "$console")" 0 "its numbers have no gap"
}

"$ROOT/tests/guest/build.sh" "$T/g.raw" >"$T/err" 2>&1 || skip_all "no guest"
echo "accel = tcg" >"$T/conf"
truncate -s 2G "$T/lun"
ok "makes the volume" mkfs.vmfs -L store "$T/lun"
ok "makes the disk" vmkfstools -i "$T/g.raw" -d thin "$T/lun:/vm1/vm1.vmdk"
ok "puts the .vmx beside it" \
	vmkfstools --put "$ROOT/tests/guest/vm1.vmx" "$T/lun:/vm1/vm1.vmx"
ok "the host starts" host
is "$(vim solo/registervm "[store] vm1/vm1.vmx")" 1 "the VM is registered"
boots "the guest boots"
for i in 1 2 3 4 5; do
	count[i]=$(shown COUNT)
	ok "snapshot $i, at ${count[i]}" vim vmsvc/snapshot.create 1 "at ${count[i]}"
	later[i]=$(shown COUNT)
	if [ $((i % 2)) = 0 ]; then
		ok "vmkernel is killed" kill -9 "$(cat "$T/a/vmkernel.pid")"
		ok "another takes its place" host
		ok "and the VM back" wait_for 60 is_on
	fi
	ok "the guest goes on" wait_for 120 has_passed $((later[i] + 1))
done
last=$(shown COUNT)
ok "its power is cut at $last" vim vmsvc/power.off 1
boots "it boots again"
ok "all that it has shown is there" test "$(shown LAST)" -ge "$last"
ok "its power is cut again" vim vmsvc/power.off 1
ok "back to the third snapshot" vim vmsvc/snapshot.revert 1 3
boots "it boots from there"
ok "what was shown before it is there" test "$(shown LAST)" -ge "${count[3]}"
ok "and nothing that came later" test "$(shown LAST)" -le $((later[3] + 1))
ok "it is powered off" vim vmsvc/power.off 1
ok "the host ends" kill -TERM "$(cat "$T/a/vmkernel.pid")"
ok "it has gone" wait_for 60 is_gone
ok "the volume is clean" fsck.vmfs -n "$T/lun"
exit 0
