#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# All paths to a datastore are down (APD): no VM on it moves to another host, none leaves
# it for another datastore, and none comes to it. They stay, running, and may move when a
# path is back. Host a reaches the LUN through a relay, which goes.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64 tgtd tgtadm \
	perl
CODE=beat "$ROOT/tests/guest/bootsector.sh" "$T/guest.raw" "" 2>"$T/why" ||
	skip_all "no guest: $(tail -n 1 "$T/why")"

take_ports
TARGET=$port RELAY=$((port + 1))
relay() { "$ROOT/tests/rigs/relay.sh" "$1" "$T" $RELAY "${@:2}"; }
beats() { grep -c BEAT "$(console "$1" "$2")" 2>/dev/null; }
beats_on() { # HOST ID: about once a second
	local n
	n=$(beats "$1" "$2")
	wait_for 30 eval '[ "$(beats '"$1 $2"')" -gt '"$((n + 1))"' ]'
}

truncate -s 1G "$T/lun" "$T/local"
tgt up $TARGET "$T/lun"
at_exit relay down
ok "a relay for host a" relay up $TARGET
ok "a volume on the target, and one in a file" eval \
	'mkfs.vmfs -q -L vms "$URL" && mkfs.vmfs -q -L here "$T/local"'
for vm in vm1 vm2; do
	printf '%s\n' "displayName = \"$vm\"" 'memSize = "16"' 'sata0.present = "TRUE"' \
		'sata0:0.present = "TRUE"' "sata0:0.fileName = \"$vm.vmdk\"" \
		'serial0.present = "TRUE"' 'serial0.fileType = "file"' \
		'serial0.fileName = "serial0.txt"' >"$T/$vm.vmx"
	to=$([ $vm = vm1 ] && echo "$URL" || echo "$T/local")
	ok "$vm" eval 'vmkfstools -i "$T/guest.raw" -d thin "$to:/$vm/$vm.vmdk" &&
		vmkfstools --put "$T/$vm.vmx" "$to:/$vm/$vm.vmx"'
done
for h in a b; do
	printf '%s\n' "accel = tcg" "vmotion_address = 127.0.0.1:$((port + 5))" \
		>"$T/$h.conf"
	port=$((port + 1))
	url=$([ $h = a ] && echo "${URL/:$TARGET/:$RELAY}" || echo "$URL")
	ok "host $h" host $h "$url" --device "$T/local" -c "$T/$h.conf"
done
ok "vm1 runs on a" vim a vmsvc/power.on "$(register a vm1)"
ok "and vm2" vim a vmsvc/power.on "$(vim a solo/registervm "[here] vm2/vm2.vmx")"
ok "vm1 counts" beats_on a 1
ok "vm2 counts" beats_on a 2

relay down
ok "a says that it is APD" wait_for 20 log_says a "all paths down \(APD\)"
refused "vm1 does not move to b" "all paths to datastore vms are down \(APD\)$" \
	vim a vmsvc/migrate 1 b
refused "nor to the other datastore" "all paths to datastore vms are down \(APD\)$" \
	vim a vmsvc/relocate 1 here
refused "nor does vm2 come" "all paths to datastore vms are down \(APD\)$" \
	vim a vmsvc/relocate 2 vms
ok "vm2 goes on" beats_on a 2
ok "vm1 is on" is_state a 1 "Powered on"
ok "(the relay is back)" relay up $TARGET
ok "vm1 goes on" beats_on a 1
ok "vm1 moves to b now" vim a vmsvc/migrate 1 b
id=$(vim b vmsvc/getallvms | awk '$2 == "vm1" { print $1 }')
ok "and goes on there" beats_on b "$id"
ok "vm1 is powered off" vim b vmsvc/power.off "$id"
ok "vm2 is" vim a vmsvc/power.off 2
for h in a b; do
	ok "host $h ends" host_ends $h
done
tgt down $TARGET
whole "$T/lun" "the volume on the target"
whole "$T/local" "the one in the file"
