#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A guest without an agent is not rebooted in order, a snapshot of it is not quiesced, and
# both are said; its power button is pressed. One whose agent does what it is told is
# frozen for a snapshot, and thawed; if it refuses, or does not answer, there is none, and
# it is thawed all the same.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"
need python3

snapshot() { run vim vmsvc/snapshot.create 1 "$@"; }
count() { vim vmsvc/snapshot.get 1 | grep -c 'Snapshot Id '; }
told() { tail -n "${1:-1}" "$T/a/vms/1/told" 2>/dev/null | tr '\n' ' '; }
was_told() { told "$2" | grep -q "$1"; }

idle_vm 4M
snapshot one "" 0 1
like "$rc:$out" "^0:.*QUIESCE is ignored" "one that is off is not quiesced"
ok "the VM runs" vim vmsvc/power.on 1
run vim vmsvc/power.reboot 1
like "$rc:$out" "^1:.*has no guest agent that could reboot it" "it is not rebooted"
snapshot two "" 0 1
like "$rc:$out" "^0:.*QUIESCE is ignored" "nor quiesced"
snapshot three "" 1 1
like "$rc:$out" "^0:.*QUIESCE is ignored" "nor with its memory"
snapshot four "" 0 0
is "$rc" 0 "one that is not to be quiesced"
unlike "$out" "QUIESCE" "says nothing of it"
is "$(count)" 4 "all four are there"
ok "its power button is pressed" vim vmsvc/power.shutdown 1
ok "which it does not heed" is_on
ok "it is powered off" vim vmsvc/power.off 1
ok "all snapshots go" vim vmsvc/snapshot.removeall 1
ok "the host ends" kill -TERM "$(cat "$T/a/vmkernel.pid")"
ok "it has gone" wait_for 30 is_gone

# QEMU gives the agent's port another name, and somebody else is where vmx looks for it.
cat >"$T/qemu" <<END
#!/bin/bash
rm -f agent.sock
python3 "$T/agent.py" agent.sock "$T/mode" told </dev/null >/dev/null 2>&1 &
while [ ! -S agent.sock ]; do sleep 0.1; done
exec qemu-system-x86_64 "\${@//path=agent.sock/path=guest.sock}"
END
cp "$ROOT/tests/rigs/agent.py" "$T/agent.py"
chmod 755 "$T/qemu" "$T/agent.py"
printf 'qemu = %s\n' "$T/qemu" >>"$T/conf"
echo good >"$T/mode"
ok "a host" host
ok "runs one whose agent is good" vim vmsvc/power.on 1
sleep 4
snapshot one "" 0 1
is "$rc" 0 "a snapshot of it"
unlike "$out" "QUIESCE" "is quiesced"
is "$(told 9)" "fsfreeze-freeze fsfreeze-thaw " "it was frozen, and thawed"
echo refuse >"$T/mode"
snapshot two "" 0 1
like "$rc:$out" "^1:.*cannot be quiesced: not allowed here" "if it refuses there is none"
ok "it is thawed" wait_for 10 was_told "freeze fsfreeze-thaw" 2
echo silent >"$T/mode"
snapshot three "" 0 1
like "$rc:$out" "^1:.*cannot be quiesced: its agent does not answer" \
	"nor if it does not answer"
ok "it is thawed" wait_for 10 was_told "freeze fsfreeze-thaw" 2
is "$(count)" 1 "so there is one"
echo good >"$T/mode"
again() { snapshot four "" 0 1 && [ "$rc" = 0 ]; }
ok "when it has thawed there can be another" wait_for 30 again
ok "it is told to reboot" vim vmsvc/power.reboot 1
ok "by its agent" wait_for 10 was_told "shutdown reboot" 1
echo refuse >"$T/mode"
ok "it is told to end" vim vmsvc/power.shutdown 1
ok "by its agent" wait_for 10 was_told "shutdown powerdown" 1
ok "which refuses: its button is pressed" wait_for 10 \
	grep -q "not allowed here): the power button" "$T/a/vmkernel.log"
ok "it is powered off" vim vmsvc/power.off 1
idle_end
exit 0
