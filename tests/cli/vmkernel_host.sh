#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The host daemon: starts and stops cleanly, keeps its identity, refuses what it cannot do
# with one line, and is asked by its tools.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmkfstools vmkernel vim-cmd esxcli fsck.vmfs

H=$T/a
vim() { "$BIN/vim-cmd" -s "$H/vmkernel.sock" "$@"; }
host() { "$BIN/vmkernel" -d "$H" --host-name hostA --device "$T/lun" "$@"; }
is_gone() { [ ! -e "$H/vmkernel.pid" ] && [ ! -S "$H/vmkernel.sock" ]; }
stop() { kill -TERM "$(cat "$H/vmkernel.pid")" && wait_for 20 is_gone; }
at_exit eval '[ ! -e '"$H"'/vmkernel.pid ] || kill -9 $(cat '"$H"'/vmkernel.pid)'

truncate -s 1G "$T/lun"
ok "makes the volume" mkfs.vmfs -L store "$T/lun"

# ---- what it refuses ----
truncate -s 1M "$T/zeros"
refused "a device that is not VMFS" "$T/zeros.*VMFS" \
	vmkernel -d "$T/x" --device "$T/zeros"
refused "a device that is not there" "$T/nothing" vmkernel -d "$T/x" --device "$T/nothing"
refused "a missing configuration file" "$T/no.conf" vmkernel -c "$T/no.conf" -d "$T/x"
echo "colour = blue" >"$T/bad.conf"
refused "an unknown key" "bad.conf:1: unknown key colour" \
	vmkernel -c "$T/bad.conf" -d "$T/x"
echo "accel = warp" >"$T/bad.conf"
refused "an unknown accelerator" "bad.conf:1: accel = warp" vmkernel -c "$T/bad.conf"
mkdir "$T/x2" && echo "not a uuid" >"$T/x2/host.uuid"
run vmkernel -c /dev/null -d "$T/x3" --device "$T/nothing" --check-config
is "$rc:$out" "0:" "a configuration is checked"
ok "without doing anything" [ ! -e "$T/x3" ]
refused "a URL that is none" "not a usable URL: its LUN is no number" \
	vmkernel -c /dev/null --device iscsi://h/iqn.x:y/z --check-config
mkdir "$T/x3"
echo '{"found": 7}' >"$T/x3/iscsi.json"
refused "what was kept of iSCSI and damaged" "x3/iscsi.json: line 1: not the config" \
	vmkernel -c /dev/null -d "$T/x3" --check-config
echo '{"targets": [{"name": "a", "settings": {"queue_depth": 7}}]}' >"$T/x3/iscsi.json"
refused "a setting of it that is no text" "x3/iscsi.json: line 1: not the config" \
	vmkernel -c /dev/null -d "$T/x3" --check-config
refused "a damaged host UUID" "x2/host.uuid.*not a uuid" \
	vmkernel -d "$T/x2" --device "$T/lun"
echo "{}" >"$T/x2/inventory.json" && rm "$T/x2/host.uuid"
refused "a damaged inventory" "inventory.json" vmkernel -d "$T/x2" --device "$T/lun"
refused "a client without a host" "no vmkernel listens there" vim vmsvc/getallvms

# ---- its life ----
ok "starts, and is ready when it returns" host
uuid=$(cat "$H/host.uuid")
like "$uuid" '^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}$' "it has a UUID"
refused "a second one on the same state directory" "another vmkernel uses" host
run esxcli -s "$H/vmkernel.sock" storage filesystem list
like "$out" '^/vmfs/volumes/[0-9a-f-]{35} +store +.* true +VMFS-5 +[0-9]+ +[0-9]+$' \
	"esxcli shows the datastore"
run esxcli -s "$H/vmkernel.sock" storage vmfs host list -l store
like "$out" '^[0-9a-f-]{35} +hostA +[0-9]+ +[0-9.]+ s ago +true$' "and who has mounted it"
refused "esxcli names an unknown datastore" "nope: no such datastore" \
	esxcli -s "$H/vmkernel.sock" storage vmfs host list -l nope

# ---- its copy ----
mkdir "$T/copy" && cp "$H/host.uuid" "$T/copy"
P=$T/copy/vmkernel.pid
copy() { "$BIN/vmkernel" -d "$T/copy" --host-name hostB --device "$T/lun"; }
at_exit eval '[ ! -e '"$P"' ] || kill -9 $(cat '"$P"')'
refused "a second host with the same UUID, which is told who has it" \
	"store: host hostA in slot [0-9]+ lives and has the same host UUID.*$uuid" copy
run esxcli -s "$H/vmkernel.sock" storage vmfs host list -l store
is "$(grep -c " host[AB] " <<<"$out")" 1 "and has not stayed"
run vim hostsvc/hostsummary
like "$out" "uuid = \"$uuid\"" "the summary has the host's UUID"
export VMKERNEL_SOCKET=$H/vmkernel.sock
ok "vmkfstools finds the datastore by its label" vmkfstools -c 1m -d thin "[store] d.vmdk"
ok "and by its path" vmkfstools -U /vmfs/volumes/store/d.vmdk
unset VMKERNEL_SOCKET

# ---- inventory ----
mkdir "$T/vm" && cat >"$T/vm/web.vmx" <<'END'
.encoding = "UTF-8"
displayName = "web server"
guestOS = "debian12-64"
virtualHW.version = "21"
annotation = "the first"
END
ok "makes a folder with a disk" vmkfstools -c 1m -d thin "$T/lun:/web/web.vmdk"
ok "puts a .vmx there" vmkfstools --put "$T/vm/web.vmx" "$T/lun:/web/web.vmx"
run vim solo/registervm "[store] web/web.vmx"
is "$out" 1 "registervm prints the id"
refused "the same VM again" "web/web.vmx: is registered already" \
	vim solo/registervm "/vmfs/volumes/store/web/web.vmx"
refused "a file that is not there" "\[store\] web/no.vmx: No such file" \
	vim solo/registervm "[store] web/no.vmx"
refused "a path that is none" "/etc/passwd: not " vim solo/registervm /etc/passwd
refused "a datastore that is not there" "nope: no such datastore" \
	vim solo/registervm "[nope] web/web.vmx"
echo "displayName \"x\"" >"$T/vm/bad.vmx"
ok "puts a bad one there" vmkfstools --put "$T/vm/bad.vmx" "$T/lun:/web/bad.vmx"
refused "a bad .vmx is named with its line" "\[store\] web/bad.vmx: line 1 " \
	vim solo/registervm "[store] web/bad.vmx"
refused "an id that nobody has" "^vim-cmd: 9: no VM" vim vmsvc/power.on 9
refused "an id that is none" "^vim-cmd: one: not a VM id" vim vmsvc/power.on one
refused "a command that is none" "no such command" vim vmsvc/fly 1
ok "stops when told" stop
ok "and starts again" host
is "$(cat "$H/host.uuid")" "$uuid" "it is the same host"
run vim vmsvc/getallvms
like "$out" '^1 +web server +\[store\] web/web.vmx +debian12-64 +vmx-21 +the first$' \
	"and still knows its VM"
run vim vmsvc/power.getstate 1
is "$out" "Retrieved runtime info
Powered off" "which is off"
ok "unregisters it" vim vmsvc/unregister 1
refused "and it is gone" "no VM with this id" vim vmsvc/power.getstate 1

# ---- death and return ----
pid=$(cat "$H/vmkernel.pid")
kill -9 "$pid"
wait_for 10 eval "! kill -0 $pid"
ok "starts after SIGKILL" host
run vim solo/registervm "[store] web/web.vmx" second
is "$out" 2 "ids are not used again"
ok "stops" stop
run fsck.vmfs -n "$T/lun"
is "$rc" 0 "the volume is clean"
[ "$rc" = 0 ] || diag "$out"
exit 0
