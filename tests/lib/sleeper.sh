# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# A guest that counts, on a host that has its files in $T/a, on the volume $T/lun: its VM
# 1, which has booted. Sourced after tap.sh. All of it ends with the test.

need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64
chmod 755 "$T"

h=a # the host that is spoken to
vim() { "$BIN/vim-cmd" -s "$T/$h/vmkernel.sock" "$@"; }
host() { "$BIN/vmkernel" -c "$T/conf" -d "$T/$1" --device "$T/lun"; }
state() { vim vmsvc/power.getstate 1 | tail -n 1; }
is_state() { [ "$(state)" = "$1" ]; }
at_exit eval 'kill -9 $(cat '"$T"'/*/vmkernel.pid) $(sed -n "s/.*QEMU is process //p" \
	'"$T"'/*/vms/*/vmware.log)'
console() { echo "$T/$h/vms/1/serial0.txt"; }
# The last number that the guest has shown, on this host.
shown() {
	tr -d '\r' <"$(console)" 2>/dev/null |
		sed -n 's/^COUNT \([0-9]*\)$/\1/p' | tail -n 1
}
has_passed() { local n; n=$(shown) && [ "${n:-0}" -gt "$1" ]; }
goes_on() { # NAME FROM: it did not boot: the number after FROM is the next one
	ok "$1" wait_for 60 has_passed "$2"
	is "$(grep -c "^GUEST" "$(console)")" 0 "it has not booted"
	is "$(tr -d '\r' <"$(console)" | sed -n 's/^COUNT //p' | head -n 1)" $(($2 + 1)) \
		"its next number is the next"
}
empty() { : >"$(console)"; } # the console
suspends() { # the guest, at $at
	ok "it is suspended" vim vmsvc/power.suspend 1
	at=$(shown)
	is "$(state)" Suspended "so it is"
	empty
}
has() { vmkfstools --ls "$T/lun:/vm1" | grep -q "$1"; }
key() { vmkfstools --get "$T/lun:/vm1/vm1.vmx" "$T/got.vmx" && cat "$T/got.vmx"; }

"$ROOT/tests/guest/build.sh" "$T/g.raw" >"$T/err" 2>&1 || skip_all "no guest"
echo "accel = tcg" >"$T/conf"
truncate -s 3G "$T/lun"
ok "makes the volume" mkfs.vmfs -L store "$T/lun"
ok "makes the disk" vmkfstools -i "$T/g.raw" -d thin "$T/lun:/vm1/vm1.vmdk"
{ cat "$ROOT/tests/guest/vm1.vmx"; echo 'odd.key = "stays"'; } >"$T/vm1.vmx"
ok "puts the .vmx beside it" vmkfstools --put "$T/vm1.vmx" "$T/lun:/vm1/vm1.vmx"
ok "the host starts" host a
is "$(vim solo/registervm "[store] vm1/vm1.vmx")" 1 "the VM is registered"
ok "the guest boots" vim vmsvc/power.on 1
ok "it counts" wait_for 180 has_passed 1

ends() { # HOST...: each in order; the volume is clean
	for h; do
		ok "host $h ends" kill -TERM "$(cat "$T/$h/vmkernel.pid")"
		ok "it has gone" wait_for 60 test ! -S "$T/$h/vmkernel.sock"
	done
	ok "the volume is clean" fsck.vmfs -n "$T/lun"
}
