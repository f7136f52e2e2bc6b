#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Linux guest counts, with a number in its memory and each number on its disk. It is
# suspended and goes on with the next number, on this host and on another. A state that is
# damaged, cut off, or older than a disk is refused; without room for it the VM runs on.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "a guest boots, sleeps and wakes (FULL=1)"
. "$ROOT/tests/lib/sleeper.sh"

# ---- suspend and resume ----
suspends
like "$(key)" '^checkpoint.vmState = "vm1.vmss"' "the .vmx file names the state"
like "$(key)" '^odd.key = "stays"' "and keeps what it does not know"
ok "the state is there" has vm1.vmss
ok "it is powered on" vim vmsvc/power.on 1
goes_on "it goes on" "$at"
unlike "$(key)" checkpoint "nothing names the state now"
ok "which is gone" eval '! has vm1.vmss'

# ---- on another host ----
suspends
ok "another host starts" host b
h=b
ok "registers the VM" vim solo/registervm "[store] vm1/vm1.vmx"
is "$(state)" Suspended "and sees that it is suspended"
ok "powers it on" vim vmsvc/power.on 1
goes_on "it goes on there" "$at"
h=a
is "$(state)" "Powered off" "it is not suspended for the first"
h=b
suspends

# ---- what is refused ----
h=a
ok "the state is taken aside" vmkfstools --get "$T/lun:/vm1/vm1.vmss" "$T/good"
put() {
	vmkfstools --rm "$T/lun:/vm1/vm1.vmss" &&
		vmkfstools --put "$1" "$T/lun:/vm1/vm1.vmss"
}
size=$(stat -c %s "$T/good")
head -c $((size - 4096)) "$T/good" >"$T/short"
ok "its end is cut off" put "$T/short"
refused "and it is refused" "damaged" vim vmsvc/power.on 1
cp "$T/good" "$T/bent"
printf 'XX' | dd of="$T/bent" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
ok "two of its bytes are others" put "$T/bent"
refused "and it is refused" "damaged" vim vmsvc/power.on 1
cp "$T/good" "$T/headless"
dd if=/dev/zero of="$T/headless" bs=64K count=1 conv=notrunc 2>/dev/null
ok "it has no head, as one that was not finished" put "$T/headless"
refused "and it is refused" "not whole" vim vmsvc/power.on 1
ok "it is whole again" put "$T/good"
is "$(state)" Suspended "the VM is suspended all the while"
ok "it is powered on" vim vmsvc/power.on 1
goes_on "and goes on" "$at"
suspends
ok "the state is taken aside" vmkfstools --get "$T/lun:/vm1/vm1.vmss" "$T/good"
ok "and discarded" vim vmsvc/power.off 1
is "$(state)" "Powered off" "it is off"
refused "and cannot be more off" "powered off already" vim vmsvc/power.off 1
ok "nothing is left of it" eval '! has vm1.vmss'
ok "it boots" vim vmsvc/power.on 1
ok "and writes to its disk" wait_for 180 has_passed "$at"
ok "its power is cut" vim vmsvc/power.off 1
ok "the old state is put back" vmkfstools --put "$T/good" "$T/lun:/vm1/vm1.vmss"
{ key; echo 'checkpoint.vmState = "vm1.vmss"'; } >"$T/old.vmx"
vmkfstools --rm "$T/lun:/vm1/vm1.vmx"
vmkfstools --put "$T/old.vmx" "$T/lun:/vm1/vm1.vmx"
refused "a state that is older than the disk is refused" "not what it was" \
	vim vmsvc/power.on 1
ok "it is discarded" vim vmsvc/power.off 1

# ---- no room ----
empty
ok "it boots" vim vmsvc/power.on 1
ok "and counts" wait_for 180 has_passed 1
ok "the datastore fills up" vmkfstools -c 2200M -d zeroedthick "$T/lun:/fill.vmdk"
fills=1
while vmkfstools -c 8M -d zeroedthick "$T/lun:/fill$fills.vmdk" 2>/dev/null; do
	fills=$((fills + 1))
done
refused "without room it is not suspended" "cannot be written.*[Ss]pace" \
	vim vmsvc/power.suspend 1
ok "it runs on" wait_for 60 has_passed $(($(shown) + 1))
ok "nothing is left of it" eval '! has vm1.vmss'
rm_fill() {
	local i
	for i in "" $(seq $((fills - 1))); do
		vmkfstools -U "$T/lun:/fill$i.vmdk" || return
	done
}
ok "there is room again" rm_fill

ok "it is powered off" vim vmsvc/power.off 1
ends a b
exit 0
