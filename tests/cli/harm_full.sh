#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A full volume: an import that does not fit says what ran out and leaves nothing; a VM
# whose thin disk cannot grow is paused and asks; it can be powered off, or goes on when
# there is space again.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmkernel vim-cmd qemu-system-x86_64 gcc ld

lun=$T/lun
truncate -s 400M "$lun"
ok "a small volume" mkfs.vmfs -q -L vms "$lun"

# The boot sector guest writes to sector 2; this one to sector 4096, in the second MiB of
# a disk of 4 MiB, which a thin disk does not have yet.
"$ROOT/tests/guest/bootsector.sh" "$T/boot.raw" "no room" &&
	sed -i 's/\xb9\x02\x00/\xb9\x00\x10/g' "$T/boot.raw" &&
	truncate -s 4M "$T/boot.raw" || skip_all "the guest was not built"
# On LSI Logic: on pvscsi SeaBIOS calls a write failed that QEMU made at its second try.
sed 's/"256"/"32"/; s/pvscsi/lsilogic/' "$ROOT/tests/guest/vm1.vmx" >"$T/vm1.vmx"
ok "a VM with a thin disk" vmkfstools -i "$T/boot.raw" -d thin "$lun:/vm1/vm1.vmdk"
ok "and its .vmx" vmkfstools --put "$T/vm1.vmx" "$lun:/vm1/vm1.vmx"

# ---- an import ----

head -c 500M /dev/zero | tr '\0' 'x' >"$T/big.raw"
before=$(vmkfstools -P "$lun")
refused "an import that does not fit" "$lun:/new/big.vmdk.*No space|space|blocks" \
	vmkfstools -i "$T/big.raw" -d thin "$lun:/new/big.vmdk"
diag "$out"
is "$(vmkfstools --dir "$lun:/" | grep -v '^\..*\.sf$')" "vm1/" "leaves no directory"
is "$(vmkfstools -P "$lun")" "$before" "and takes no space"

# ---- a VM ----

# Then all that is left goes to files: by halves, until not even 1 MiB is left. A member
# without a journal takes a block for it while it is mounted, and which of them find one
# is chance: so 1 MiB is asked for until the volume, unmounted, has no block.
fill() {
	local disk=$lun:/fill/$filled.vmdk
	vmkfstools -c "$1" -d eagerzeroedthick "$disk" >/dev/null 2>&1 || return
	filled=$((filled + 1))
}
asks() { vim A vmsvc/message "$a" | grep -q "^Virtual machine message $1:"; }
filled=0
for ((mib = 256; mib > 1; mib /= 2)); do
	while fill ${mib}m; do :; done
done
for ((i = 0; i < 50; i++)); do
	vmkfstools -P "$lun" | grep -q '), 0 (' && break
	fill 1m
done
refused "nothing is left" "$lun:/vm1/more.vmdk|space|needs 1 MiB" \
	vmkfstools -c 1m -d eagerzeroedthick "$lun:/vm1/more.vmdk"
ok "the host starts" host A "$lun"
a=$(register A vm1)
ok "the VM is powered on" vim A vmsvc/power.on "$a"
ok "its guest reads its disk" wait_for 30 grep -q "^no room" "$(console A "$a")"
ok "it wants space, and the log says that there is none" wait_for 20 \
	log_says A 'VM 1 \(\[vms\] vm1/vm1.vmx\): .*(No space|space)'
ok "and what there is none of" log_says A 'vms: no file blocks left \([0-9]+ in all\)'
sleep 1
unlike "$(cat "$(console A "$a")")" "WRITE-FAILED|SAME" "the guest is paused, not told"
ok "the VM is on" is_state A "$a" "Powered on"
ok "others go on: its disk is read" vmkfstools --dir "$lun:/vm1"
like "$(vim A vmsvc/message "$a")" \
	"^There is no more space for virtual disk vm1.vmdk" "it asks"
ok "it is to try again" vim A vmsvc/message "$a" 1 1
ok "and asks again" wait_for 20 asks 2
refused "an answer to a question of the past" "does not ask question 1" \
	vim A vmsvc/message "$a" 1 1
refused "no answer" "9: not one of the answers" vim A vmsvc/message "$a" 2 9
ok "the answer is no" vim A vmsvc/message "$a" 2 0
ok "it is off" wait_for 20 is_state A "$a" "Powered off"
# The host gives back the block of its journal, in which a tool can have one.
kill -TERM "$(pid_of A)"
ok "the host ends" wait_for 30 gone A
ok "the host starts" host A "$lun"
ok "the VM is powered on again" vim A vmsvc/power.on "$a"
ok "it asks again" wait_for 30 asks 1
ok "space is made" vmkfstools -U "$lun:/fill/0.vmdk"
ok "it is to try again" vim A vmsvc/message "$a" 1 1
ok "and has what it wanted" wait_for 30 grep -q "^SAME" "$(console A "$a")"
ok "it powers itself off" wait_for 20 is_state A "$a" "Powered off"
kill -TERM "$(pid_of A)"
ok "the host ends again" wait_for 30 gone A
vmkfstools --get "$lun:/vm1/vm1-flat.vmdk" "$T/flat"
ok "the guest's write is on the disk" cmp -n 512 -i 512:2097152 "$T/flat" "$T/flat"
whole "$lun" "after it all"
