#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host's state in one file and back, what the service manager is told, and the
# privileges that are left.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need mkfs.vmfs vmkfstools vmkernel vim-cmd python3
at_exit host_down

H=$T/state
B=$T/backup
printf '%s\n' 'displayName = "vm"' 'memSize = "32"' >"$T/vm.vmx"
printf '%s\n' "host_name = one" "device = $T/lun" "state_dir = $H" >"$T/conf"
truncate -s 1G "$T/lun"
mkfs.vmfs -L store "$T/lun" >/dev/null
vmkfstools --put "$T/vm.vmx" "$T/lun:/vm.vmx"
start() { "$BIN/vmkernel" -c "$T/conf"; }
keep() { # OPTION FILE [STATEDIR]
	"$BIN/vmkernel" -c "$T/conf" -d "${3:-$H}" "$1" "$2"
}

# ---- backup ----
refused "no state, no backup" "state: is not the state directory of a host" \
	keep --backup "$B"
ok "a host starts" start
is "$(vim-cmd solo/registervm "[store] vm.vmx")" 1 "it has a VM"
ok "a backup is made while it runs" keep --backup "$B"
is "$(stat -c %a "$B")" 600 "for its owner alone"
refused "a running host is not restored" "another vmkernel uses" keep --restore "$B"
refused "where it cannot be written" "nowhere/b: No such" keep --backup "$T/nowhere/b"

# ---- privileges ----
pid=$(cat "$H/vmkernel.pid")
caps=$(sed -n 's/^CapPrm:\t//p' "/proc/$pid/status")
# MODULE 16, CHROOT 18, PTRACE 19, PACCT 20, BOOT 22, TIME 25, MKNOD 27, SYSLOG 34
gone=$((1 << 16 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 22 | 1 << 25 | 1 << 27 | 1 << 34))
is $((0x$caps & gone)) 0 "it cannot load modules, reboot, set clocks, trace"
like "$(cat "/proc/$pid/status")" "NoNewPrivs:.1" "and gets nothing back"
is "$(stat -c %a "$H/vmkernel.sock")" 600 "its socket is for its owner alone"

# ---- restore ----
ok "it ends" host_down
uuid=$(cat "$H/host.uuid")
mv "$H/inventory.json" "$T" && touch "$H/maintenance"
ok "the state is restored" keep --restore "$B"
is "$(cat "$H/host.uuid")" "$uuid" "it is the same host"
ok "maintenance mode, which was not on then, is left" [ ! -e "$H/maintenance" ]
ok "it has its VM again" cmp "$H/inventory.json" "$T/inventory.json"
mv "$T/conf" "$T/was"
ok "onto a machine that has nothing" keep --restore "$B" "$T/other"
ok "with its configuration" cmp "$T/conf" "$T/was"
is "$(cat "$T/other/host.uuid")" "$uuid" "and its UUID"
echo "# another" >>"$T/conf"
run keep --restore "$B"
like "$rc:$out" "^0:.*conf: is kept, and is not as in" "a configuration is kept"

# ---- what is no backup ----
sum() { cat "$H"/* 2>/dev/null | cksum; }
before=$(sum)
sed 's/vm.vmx/vw.vmx/' "$B" >"$T/bad"
refused "a damaged one" "bad: the backup is damaged" keep --restore "$T/bad"
head -c 100 "$B" >"$T/bad"
refused "half of one" "bad: not a backup of a host" keep --restore "$T/bad"
refused "something else" "was: not a backup of a host" keep --restore "$T/was"
python3 - "$H/../other" <<'E2'
import sys
open(sys.argv[1] + "/host.uuid", "w").write("11111111-22222222-3333-444444444444\n")
E2
refused "another host's" "is host 11111111-.* the backup is of host ${uuid:0:8}" \
	keep --restore "$B" "$T/other"
mkdir -p "$H/vms/7"
python3 -c "
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind('$H/vms/7/vmx.sock'); s.listen()
open('$T/up', 'w'); time.sleep(60)" &
vmx=$!
at_exit kill $vmx
wait_for 10 test -e "$T/up"
refused "while a VM runs there" "state: VM 7 runs" keep --restore "$B"
kill $vmx
rm -r "$H/vms"
is "$(sum)" "$before" "and nothing has changed"

# ---- the service manager ----
refused "a socket that is none" "NOTIFY_SOCKET=here: not a socket's path" \
	env NOTIFY_SOCKET=here "$BIN/vmkernel" -c "$T/was"
refused "a time that is none" "WATCHDOG_USEC=soon: not a time" \
	env NOTIFY_SOCKET=/x WATCHDOG_USEC=soon "$BIN/vmkernel" -c "$T/was"
[ "${FULL:-}" ] || exit 0 # a real clock
cat >"$T/manager.py" <<'E2'
import os, socket, subprocess, sys
said, *argv = sys.argv[1:]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(said + ".sock")
s.settimeout(30)
env = dict(os.environ, NOTIFY_SOCKET=said + ".sock", WATCHDOG_USEC="300000")
host = subprocess.Popen(argv, env=env)
with open(said, "w", buffering=1) as out:
    beats = 0
    while True:
        words = s.recv(4096).decode().replace(str(host.pid), "PID").split("\n")
        if words == ["WATCHDOG=1"]:
            beats += 1
            if beats == 3:
                host.terminate()
            continue
        print(" ".join(words), file=out)
        if words == ["STOPPING=1"]:
            break
    print("exit", host.wait(), "beats", beats >= 3, file=out)
E2
ok "under a service manager" timeout 60 python3 "$T/manager.py" "$T/said" \
	"$BIN/vmkernel" -f -c "$T/was"
is "$(cat "$T/said")" "READY=1 MAINPID=PID
STOPPING=1
exit 0 beats True" "it is told of the beginning, of each turn, and of the end"
exit 0
