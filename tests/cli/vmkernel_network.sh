#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A user network on a host whose passt is not there, says that it cannot, or hangs: the VM
# is powered on with its card plugged in nowhere, and vmkernel.log says why. Meanwhile the
# host answers others, and no passt is left.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"

programs=$T/programs # all that the host finds by a name
mkdir "$programs"
host() {
	printf '%s\n' "accel = tcg" "network = nat, user" \
		"qemu = $(command -v qemu-system-x86_64)" >"$T/conf"
	env PATH="$programs" "$BIN/vmkernel" -c "$T/conf" -d "$T/a" --host-name a \
		--device "$T/lun"
}
passt() { # LINE...: of the script that has its name from now on
	printf '%s\n' '#!/bin/sh' "$@" >"$T/script"
	chmod 755 "$T/script"
	mv "$T/script" "$programs/passt"
}
tells() { # REGEX: the last line about the card
	grep 'ethernet0: network "nat", user: ' "$T/a/vmkernel.log" | tail -n 1 |
		grep -q "user: $1: the card is plugged in nowhere$" ||
		{ tail -n 5 "$T/a/vmkernel.log"; return 1; }
}
is_over() { ! kill -0 "$(cat "$T/hung")"; }

idle_vm 4M 'ethernet0.present = "TRUE"' 'ethernet0.virtualDev = "e1000"' \
	'ethernet0.connectionType = "nat"' 'ethernet0.addressType = "static"' \
	'ethernet0.address = "00:50:56:00:00:01"'
ok "without passt the VM runs" vim vmsvc/power.on 1
ok "and the host says what is missing" tells "passt: is not installed"
ok "it is powered off" vim vmsvc/power.off 1

passt 'echo "One thing" >&2' 'echo "No way out" >&2' 'exit 1'
ok "with one that ends the VM runs" vim vmsvc/power.on 1
ok "and the host says what that said last" tells "No way out"
ok "it is powered off" vim vmsvc/power.off 1

at_exit eval 'kill -9 $(cat '"$T/hung"')'
passt "echo \$\$ >$T/hung" 'exec /bin/sleep 600'
vim vmsvc/power.on 1 >"$T/said" 2>&1 &
ok "one that hangs is waited for" wait_for 30 test -s "$T/hung"
ok "meanwhile the host answers others" vim vmsvc/getallvms
is "$(grep -c "passt does not start" "$T/a/vmkernel.log")" 0 "meanwhile indeed"
wait $!
is $? 0 "the VM runs at last"
ok "and the host says why it has no network" tells "passt does not start"
ok "nothing of that passt is left" wait_for 10 is_over
ok "it is powered off" vim vmsvc/power.off 1
idle_end
exit 0
