#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A VM's screen on a port: by its password and by no other, over TCP and a websocket; with
# a ticket once, and not when it is late; by nobody if it has no password. None of them is
# seen in a command line or a log. A port that is taken does not keep a VM off.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"
need python3 openssl
openssl list -providers -provider legacy >/dev/null 2>&1 ||
	skip_all "openssl has no DES (its provider legacy)"

free_port() { # a port of 5900 to 65535 that nobody has
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}
port=$(free_port)
while web=$(free_port); [ "$web" = "$port" ]; do :; done
view() { python3 "$ROOT/tests/rigs/rfb.py" "$@" 2>&1; }
tcp() { view "tcp:127.0.0.1:$port" "$@"; }
ws() { view "ws:127.0.0.1:$web" "$@"; }
ticket() { vim vmsvc/acquireticket 1 "$@" | sed -n 's/^ *ticket = "\(.*\)",$/\1/p'; }
change() { # SED: the .vmx file
	vmx | cat >"$T/new.vmx"
	sed -i "$1" "$T/new.vmx"
	vmkfstools --put "$T/new.vmx" "$T/lun:/idle/idle.vmx"
}
said() { # all that is written about the VM, and all command lines
	cat "$T/a/vmkernel.log" "$T"/a/vms/1/vmware*.log
	tr '\0' ' ' </proc/"$(sed -n 's/.*QEMU is process //p' \
		"$T/a/vms/1/vmware.log" | tail -n 1)"/cmdline
}

idle_vm 4M 'RemoteDisplay.vnc.enabled = "TRUE"' 'RemoteDisplay.vnc.ip = "127.0.0.1"' \
	"RemoteDisplay.vnc.port = \"$port\"" \
	"RemoteDisplay.vnc.webSocket.port = \"$web\"" \
	'RemoteDisplay.vnc.password = "geheim7"'
ok "the VM runs" vim vmsvc/power.on 1
like "$(tcp geheim7)" "^in [0-9]+ x [0-9]+$" "its password lets in"
like "$(tcp geheim8)" "^refused:" "another does not"
like "$(tcp '')" "^refused:" "nor none"
like "$(ws geheim7)" "^in " "over a websocket, too"
like "$(ws geheim8)" "^refused:" "and only so"
like "$(view "unix:$T/a/vms/1/vnc.sock")" "^in " "the socket needs none"

run vim vmsvc/acquireticket 1
is "$rc" 0 "a ticket"
like "$out" "port = $port," "for its port"
like "$out" 'cfgFile = "/vmfs/volumes/store/idle/idle.vmx"' "of that VM"
first=$(sed -n 's/^ *ticket = "\(.*\)",$/\1/p' <<<"$out")
is "${#first}" 8 "of eight letters"
like "$(tcp geheim7)" "^refused:" "stands in place of the password"
like "$(tcp "$first")" "^in " "and lets in"
like "$(tcp "$first")" "^refused:" "once"
like "$(tcp geheim7)" "^in " "then the password does again"
second=$(ticket webmks)
isnt "$second" "$first" "the next is another"
like "$(ws "$second")" "^in " "and is good for a websocket"
third=$(ticket)
isnt "$third" "" "one that is not used"
sleep 32
like "$(tcp "$third")" "^refused:" "is good for nothing half a minute later"
like "$(tcp geheim7)" "^in " "and the password is back"
run vim vmsvc/acquireticket 1 floppy
is "$rc" 1 "a ticket of another type"
like "$out" "a ticket is of the type vnc or webmks" "is refused"
fourth=$(ticket)
ok "vmkernel is killed" kill -9 "$(cat "$T/a/vmkernel.pid")"
ok "another takes its place" host
ok "and the VM back" wait_for 30 is_on
like "$(tcp "$fourth")" "^in " "a ticket outlives it"
for word in geheim7 "$first" "$second" "$third" "$fourth"; do
	unlike "$(said)" "$word" "it is not written down"
done

ok "it is powered off" vim vmsvc/power.off 1
ok "without a password" change '/password/d'
ok "the VM runs" vim vmsvc/power.on 1
like "$(tcp '')" "^refused:" "nobody gets in"
like "$(tcp)" "^refused:" "not without trying one"
like "$(tcp "$(ticket)")" "^in " "but with a ticket"
like "$(tcp '')" "^refused:" "and nobody after that"
ok "it is powered off" vim vmsvc/power.off 1

python3 -c "import socket, time; s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', $port)); s.listen(); print('here', flush=True); time.sleep(60)" \
	>"$T/taken" &
taker=$!
at_exit eval 'kill $taker'
ok "somebody has its port" wait_for 10 grep -q here "$T/taken"
ok "the VM runs" vim vmsvc/power.on 1
like "$(cat "$T/a/vmkernel.log")" \
	"its screen is not shown on 127.0.0.1 port $port: Address already" "and says so"
run vim vmsvc/acquireticket 1
is "$rc" 1 "there is no ticket"
like "$out" "its screen is on no port" "and the reason"
like "$(view "unix:$T/a/vms/1/vnc.sock")" "^in " "its socket is there"
ok "it is powered off" vim vmsvc/power.off 1
kill $taker
run vim vmsvc/acquireticket 1
like "$rc:$out" "^1:.*does not run" "one that is off has none"

refused() { # SED REGEX
	ok "another .vmx file" change "$1"
	run vim vmsvc/power.on 1
	is "$rc" 1 "is refused"
	like "$out" "$2" "with the key and the value"
}
refused 's/vnc.port.*/vnc.port = "80"/' 'RemoteDisplay.vnc.port = "80": not a number'
refused "s/vnc.port.*/vnc.port = \"$web\"/" 'webSocket.port = .*: is the port of VNC'
refused "s/vnc.port.*/vnc.port = \"$port\"/; s/vnc.ip.*/vnc.ip = \"a,b\"/" \
	'RemoteDisplay.vnc.ip = "a,b": is not an address'
ok "the host ends" kill -TERM "$(cat "$T/a/vmkernel.pid")"
ok "it has gone" wait_for 30 is_gone
exit 0
