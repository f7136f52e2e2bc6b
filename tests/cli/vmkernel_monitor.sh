#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# VM monitoring: a real guest whose agent answers is left alone; one that hangs is reset,
# and comes up again.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "FULL=1 runs this"
. "$(dirname "$0")/../lib/host.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd qemu-system-x86_64
chmod 755 "$T"
"$ROOT/tests/guest/build.sh" "$T/guest.raw" 2>"$T/why" || skip_all "$(tail -n 1 "$T/why")"

H=$T/state
vim() { "$BIN/vim-cmd" "$@"; }
at_exit eval 'kill -9 $(cat '"$H"'/vmkernel.pid) $(sed -n "s/.*QEMU is process //p" \
	'"$H"'/vms/*/vmware.log)'
truncate -s 1G "$T/lun"
mkfs.vmfs -L store "$T/lun" >/dev/null
printf '%s\n' "accel = tcg" "ha_vm_monitoring = yes" "ha_vm_failure_s = 30" \
	"ha_vm_uptime_s = 200" "ha_vm_io_s = 20" >"$T/conf"
ok "a host starts" "$BIN/vmkernel" -c "$T/conf" -d "$H" --device "$T/lun"
for uuid in "de ad 00" "11 ad 00"; do
	name=vm${uuid%% *}
	sed -e "s/vm1/$name/" "$ROOT/tests/guest/vm1.vmx" >"$T/vmx"
	echo "uuid.bios = \"$uuid 00 00 00 00 00-80 00 00 00 00 00 00 01\"" >>"$T/vmx"
	vmkfstools -i "$T/guest.raw" -d thin "[store] $name/$name.vmdk" >/dev/null
	vmkfstools --put "$T/vmx" "[store] $name/$name.vmx"
	vim solo/registervm "[store] $name/$name.vmx" >/dev/null
done
console() { tr -d '\r' <"$H/vms/$1/serial0.txt"; }
says() { console "$1" | grep -q "$2"; }
ups() { [ "$(console "$1" | grep -c GUEST-UP)" = "$2" ]; }
ok "one that is going to hang" vim vmsvc/power.on 1
ok "and one that is not" vim vmsvc/power.on 2
ok "it hangs" wait_for 300 says 1 GUEST-HANGS
ok "it is reset, when it has been up for long enough to boot" wait_for 400 \
	grep -q "HA: VM 1 (vmde) is reset: its guest has been silent for 30 s" \
	"$H/vmkernel.log"
ok "and comes up again" wait_for 300 ups 1 2
ok "with what it had written" wait_for 300 says 1 "^COUNT 9$"
ok "the other has counted on" wait_for 100 says 2 "^COUNT 9$"
ok "and was never reset" ups 2 1
is "$(grep -c "is reset: its guest" "$H/vmkernel.log")" 1 "nor was the first again"
vim vmsvc/power.off 1 >/dev/null
vim vmsvc/power.off 2 >/dev/null
ok "the host ends" host_down
exit 0
