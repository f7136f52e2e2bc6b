#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# HA, beside what the demo shows, with real hosts on a file: a vmkernel that is only
# restarted keeps its VM within the grace; what an admin has powered off, or a guest whose
# QEMU dies, is told apart; a host that no network reaches gives its VM to another.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "three hosts and their guests (FULL=1)"
need_root
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64 ip unshare
chmod 755 "$T"
take_ports

vim() { "$BIN/vim-cmd" -s "$T/$1/vmkernel.sock" "${@:2}"; } # HOST ARGUMENT...
is_on() { vim "$1" vmsvc/power.getstate 1 | grep -q "Powered on"; }
is_role() { vim "$1" hostsvc/hostsummary | grep -q "state = \"$2\""; }
tells() { grep -Eq -- "$2" "$T/$1/vmkernel.log"; } # HOST REGEX
is_gone() { [ ! -e "$T/$1/vmkernel.pid" ]; }
at_exit eval 'kill -9 $(cat '"$T"'/*/vmkernel.pid) $(sed -n "s/.*QEMU is process //p" \
	'"$T"'/*/vms/*/vmware.log)'

# host NAME [COMMAND...]: started by it; its address is a port of its own.
host() {
	local name=$1 number
	shift
	number=$(printf '%d' "'$name")
	printf '%s\n' "accel = tcg" "ha = yes" "ha_poll_ms = 200" "ha_isolation_s = 5" \
		"ha_isolation = ${response:-powerOff}" "ha_retry_s = 1" \
		"ha_grace_s = ${grace:-0}" \
		"ha_address = 127.0.0.1:$((port + number - 97))" \
		${pings:+"ha_isolation_address = $pings"} >"$T/$name.conf"
	"$@" "$BIN/vmkernel" -c "$T/$name.conf" -d "$T/$name" --host-name "$name" \
		--device "$T/lun"
}
down() { # HOST...
	local name
	for name in "$@"; do
		kill "$(cat "$T/$name/vmkernel.pid")"
	done
	for name in "$@"; do
		wait_for 60 is_gone "$name"
	done
}
# Started by one of the hosts that are named: which one.
runs_on() { # HOST...
	local name
	for name in "$@"; do
		! is_on "$name" 2>/dev/null || { echo "$name"; return; }
	done
	return 1
}

CODE=beat "$ROOT/tests/guest/bootsector.sh" "$T/beat.raw" x
sed 's/pvscsi/lsilogic/; s/"256"/"32"/' "$ROOT/tests/guest/vm1.vmx" >"$T/vm1.vmx"
truncate -s 2G "$T/lun"
mkfs.vmfs -L store "$T/lun" >/dev/null
vmkfstools -i "$T/beat.raw" -d thin "$T/lun:/vm1/vm1.vmdk" >/dev/null
vmkfstools --put "$T/vm1.vmx" "$T/lun:/vm1/vm1.vmx"

# ---- grace: a vmkernel that comes back ----
grace=60
ok "a starts" host a
ok "it is the master" wait_for 60 is_role a master
ok "b starts" host b
ok "it finds the master" wait_for 60 is_role b connectedToMaster
is "$(vim b solo/registervm "[store] vm1/vm1.vmx")" 1 "b registers the VM"
ok "and powers it on" vim b vmsvc/power.on 1
kill -9 "$(cat "$T/b/vmkernel.pid")"
ok "its vmkernel is killed and comes back" host b
ok "the VM goes on there" wait_for 60 tells b "VM 1 .*goes on running"
unlike "$(cat "$T/a/vmkernel.log")" "is to be restarted|is gone" "a has done nothing"

# ---- a QEMU that dies, a VM that is powered off ----
qemu=$(sed -n 's/.*QEMU is process //p' "$T/b/vms/1/vmware.log" | tail -n 1)
kill -9 "$qemu"
ok "a VM whose QEMU dies is to be restarted" wait_for 60 tells a \
	"vm1.vmx is to be restarted: it ended on host b"
ok "and is" wait_for 60 runs_on a b
where=$(runs_on a b)
ok "it is powered off" vim "$where" vmsvc/power.off 1
ok "the hosts end" down a b
unlike "$(sed '1,/is to be restarted/d' "$T/a/vmkernel.log")" "is to be restarted" \
	"what was powered off is not restarted"

# ---- isolation ----
grace=0
ok "b starts where no network is" \
	host b unshare -n sh -c 'ip link set lo up; exec "$@"' sh
ok "alone it is the master" wait_for 60 is_role b master
ok "and runs the VM" vim b vmsvc/power.on 1
ok "a starts" host a
ok "c starts" host c
ok "b finds that it is isolated" wait_for 60 is_role b networkIsolated
ok "another host has the VM" wait_for 60 runs_on a c
ok "and b has it no more" wait_for 60 eval '! is_on b'

# ---- an isolation address tells who is cut off ----

where=$(runs_on a c)
ok "the VM is powered off" vim "$where" vmsvc/power.off 1
ok "the hosts end" down a b c
pings="127.0.0.9, ::1"
ok "b starts where it hears nobody, but somebody answers" \
	host b unshare -n sh -c 'ip link set lo up; exec "$@"' sh
pings=
ok "it is the master" wait_for 60 is_role b master
ok "and runs the VM" vim b vmsvc/power.on 1
ok "a starts" host a
ok "c starts" host c
ok "b finds that it is partitioned" wait_for 60 tells b \
	"this host is partitioned from them, and not isolated"
sleep 6 # longer than ha_isolation_s
ok "the VM runs on" is_on b
is "$(grep -c "this host is isolated: " "$T/b/vmkernel.log")" 1 \
	"b was isolated once, which was before"
ok "nobody answers any more" \
	nsenter -t "$(cat "$T/b/vmkernel.pid")" -n ip link set lo down
ok "b is isolated" wait_for 60 is_role b networkIsolated
ok "another host has the VM" wait_for 60 runs_on a c
ok "somebody answers again" \
	nsenter -t "$(cat "$T/b/vmkernel.pid")" -n ip link set lo up
ok "b is isolated no more" wait_for 60 eval '! is_role b networkIsolated'

# ---- the other responses ----

where=$(runs_on a c)
ok "the VM is powered off" vim "$where" vmsvc/power.off 1
ok "the hosts end" down a b c
response=leaveOn
ok "b is to leave its VMs on" \
	host b unshare -n sh -c 'ip link set lo up; exec "$@"' sh
ok "it is the master" wait_for 60 is_role b master
ok "and runs the VM" vim b vmsvc/power.on 1
ok "a starts" host a
ok "c starts" host c
ok "b is isolated" wait_for 60 is_role b networkIsolated
ok "it says what becomes of its VMs" wait_for 10 tells b "its VMs are left on"
ok "another one is the master" wait_for 60 eval \
	'is_role a master || is_role c master'
sleep 6 # longer than ha_isolation_s, and than a restart takes
ok "the VM runs on" is_on b
ok "and nowhere else" eval '! runs_on a c'
ok "b can power it off" vim b vmsvc/power.off 1
ok "the hosts end" down a b c

if "$ROOT/tests/guest/build.sh" "$T/linux.raw" 2>"$T/why"; then
	sed 's/vm1/vm2/; s/vm1/vm2/' "$ROOT/tests/guest/vm1.vmx" >"$T/vm2.vmx"
	vmkfstools -i "$T/linux.raw" -d thin "$T/lun:/vm2/vm2.vmdk" >/dev/null
	vmkfstools --put "$T/vm2.vmx" "$T/lun:/vm2/vm2.vmx"
	response=shutdown
	ok "b is to shut its VMs down" \
		host b unshare -n sh -c 'ip link set lo up; exec "$@"' sh
	ok "it is the master" wait_for 60 is_role b master
	id=$(vim b solo/registervm "[store] vm2/vm2.vmx")
	console=$T/b/vms/$id/serial0.txt
	ok "it runs a VM whose guest hears the power button" vim b vmsvc/power.on "$id"
	ok "the guest counts" wait_for 120 grep -q '^COUNT 2' "$console"
	ok "a starts" host a
	ok "c starts" host c
	ok "b is isolated" wait_for 60 is_role b networkIsolated
	ok "the guest heard the power button" wait_for 60 grep -q '^BUTTON' "$console"
	ok "and ended in order" wait_for 60 eval \
		'vim b vmsvc/power.getstate "$id" | grep -q "Powered off"'
	ok "another host starts it" wait_for 60 eval \
		'cat "$T"/[ac]/vmkernel.log | grep "vm2/vm2.vmx): powered on"'
	last=$(sed -n 's/^COUNT \([0-9]*\).*/\1/p' "$console" | tail -n 1)
	where=$(grep -l "vm2/vm2.vmx): powered on" "$T"/[ac]/vmkernel.log)
	where=$(basename "${where%/*}")
	there=$T/$where/vms/$(vim "$where" vmsvc/getallvms |
		awk '$2 == "vm2" { print $1 }')
	ok "it counts on there" wait_for 120 grep -q '^COUNT' "$there/serial0.txt"
	# One more may be on the disk than was shown.
	begun=$(sed -n 's/^LAST \([0-9]*\).*/\1/p' "$there/serial0.txt")
	ok "from where it was: $last, $begun" test $((begun - last)) -ge 0 -a \
		$((begun - last)) -le 1
	ok "the hosts end" down a b c
else
	skip 1 "$(tail -n 1 "$T/why")"
fi
run fsck.vmfs -n "$T/lun"
is "$rc" 0 "the volume is sound"
