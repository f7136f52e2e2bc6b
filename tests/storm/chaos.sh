#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# chaos.sh FOLDER: three hosts with HA and six VMs that append checksummed records, each
# behind a flush (tests/guest/append.S), on an iSCSI LUN of Debian's tgt; and everything
# goes wrong, by seed. Exit 0: no record that was told of is lost, no VM ran twice, all
# VMs are up at the end; 1: not so, and FOLDER holds the evidence; 77: it cannot be done
# here. tests/storm/chaos_check.py judges the disks.
#
# A host is a PID and a network namespace with two cables: to the storage, through a relay
# of its own, and to a bridge on which the hosts hear each other and the gateway answers
# pings. What happens to it:
#
#	host       everything in it is killed at once; it starts again later
#	daemon     its vmkernel is killed; its VMs stay; it starts again later
#	freeze     everything in it is stopped (SIGSTOP), and goes on later
#	stop       its vmkernel alone is: longer than its lease, and its guard kills it
#	network    it hears no other host; the gateway answers it
#	isolate    it hears nobody
#	storage    the cable to the storage is pulled
#	both       both cables are
# and to all: the target hangs, or is killed and starts again (hang, target).
#
# CHAOS_SECONDS (300), CHAOS_VMS (6), CHAOS_PACE (seconds from fault to fault, at most:
# 20), CHAOS_LONGEST (of a fault: 45 s), CHAOS_SEED. A seed repeats the faults, not what
# the hosts make of them.

set -u
export LC_ALL=C
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${BIN:-$ROOT/build/bin}
D=$(realpath -m "$1")
VMS=${CHAOS_VMS:-6}
PACE=${CHAOS_PACE:-20}
LONGEST=${CHAOS_LONGEST:-45}
SEED=${CHAOS_SEED:-$(($(date +%s%N) / 1000 % 1000000))}
RANDOM=$SEED
PATH=$BIN:$PATH:/usr/sbin:/sbin
hosts=(a b c)
failed=0
UP_LIMIT=300 # seconds until all VMs are up, when all is well again

say() { echo "chaos: $*"; }
bad() { failed=1; say "FAILED: $*"; }
note() { echo "$(date -u +%T) $*" >>"$D/events"; }

[ "$(id -u)" = 0 ] || { say "hosts are namespaces, which need root"; exit 77; }
for p in ip tgtd qemu-system-x86_64 nsenter unshare perl python3 gcc; do
	command -v $p >/dev/null || { say "$p is not there"; exit 77; }
done
mkdir -p "$D" && chmod 755 "$D" || exit 1
export VMFS_STATE_DIR=$D/proofs
# shellcheck source=/dev/null
. "$ROOT/tests/lib/places.sh"
take_ports
take_place chaos 50 && NET=10.$((50 + place))
exec 2>>"$D/err"

# Of each host: its init; whether it is dead; when a fault of each kind ends (0: none).
declare -A init at_start net_until storage_until stop_until stopped_at count
target_until=0 target_is_down=

number() { case $1 in a) echo 1 ;; b) echo 2 ;; *) echo 3 ;; esac; }
ns() { echo "cz$$-$1"; }

# ---- the target ----

target() {
	"$ROOT/tests/rigs/tgt.sh" "$1" "$D" "$port" ${2:+"$2"} >"$D/rig" 2>&1
}

# ---- networks ----

network_up() {
	ip link add "czb$$" type bridge && ip link set "czb$$" up &&
		ip addr add "$NET.200.254/24" dev "czb$$"
}

host_network_up() { # HOST
	local n
	n=$(number "$1")
	ip netns add "$(ns "$1")" &&
		ip link add "czs$$$1" type veth peer name storage netns "$(ns "$1")" &&
		ip link add "czm$$$1" type veth peer name network netns "$(ns "$1")" &&
		ip addr add "$NET.$n.1/24" dev "czs$$$1" && ip link set "czs$$$1" up &&
		ip link set "czm$$$1" master "czb$$" up &&
		ip -n "$(ns "$1")" addr add "$NET.$n.2/24" dev storage &&
		ip -n "$(ns "$1")" addr add "$NET.200.$n/24" dev network &&
		ip -n "$(ns "$1")" link set storage up &&
		ip -n "$(ns "$1")" link set network up &&
		ip -n "$(ns "$1")" link set lo up &&
		RELAY_ADDRESS=$NET.$n.1 "$ROOT/tests/rigs/relay.sh" up "$D" \
			$((port + n)) "$port"
}

host_network_down() { # HOST
	"$ROOT/tests/rigs/relay.sh" down "$D" $((port + $(number "$1")))
	ip link del "czs$$$1"
	ip link del "czm$$$1"
	ip netns del "$(ns "$1")"
}

# The other hosts and this one hear nothing of each other.
peers() { # add|del HOST
	local other
	for other in "${hosts[@]}"; do
		[ "$other" != "$2" ] || continue
		ip -n "$(ns "$2")" route "$1" blackhole "$NET.200.$(number "$other")/32"
		ip -n "$(ns "$other")" route "$1" blackhole "$NET.200.$(number "$2")/32"
	done
}

# ---- hosts ----

inside() { # HOST COMMAND...
	nsenter -t "${init[$1]}" -p -m -n -r --wd="$D" "${@:2}"
}

vim() { # HOST ARGUMENT...
	timeout -k 5 120 "$BIN/vim-cmd" -s "$D/$1/vmkernel.sock" "${@:2}" 2>&1
}

daemon_of() { # HOST: its vmkernel, by our own numbers of processes
	local p space
	space=$(readlink "/proc/${init[$1]}/ns/pid")
	for p in $(pgrep -x vmkernel); do
		[ "$(readlink "/proc/$p/ns/pid")" != "$space" ] || echo "$p"
	done
}

write_config() { # HOST
	local n
	n=$(number "$1")
	printf '%s\n' '#!/bin/sh' '# QEMU; the UUID names host and power-on.' \
		'for word; do case $word in' '*export=disk0-*)' \
		'	token=${word##*export=disk0-}; token=${token%%,*} ;;' \
		'esac; done' \
		"uuid=0000000$n-0000-0000-\$(echo \"\$token\" | cut -c 1-4)" \
		'uuid=$uuid-$(echo "$token" | cut -c 5-)' \
		'exec qemu-system-x86_64 "$@" -uuid "$uuid"' >"$D/qemu-$1"
	chmod 755 "$D/qemu-$1"
	printf '%s\n' "accel = tcg" "cgroup = off" "qemu = $D/qemu-$1" "ha = yes" \
		"ha_address = $NET.200.$n:8182" \
		"ha_isolation_address = $NET.200.254" "ha_isolation = powerOff" \
		"ha_isolation_s = 10" "ha_restart_tries = 100" "ha_retry_s = 2" \
		>"$D/$1.conf"
}

boot() { # HOST
	local i
	ip netns exec "$(ns "$1")" unshare --pid --fork --mount-proc \
		--propagation unchanged --kill-child \
		perl -e '$SIG{CHLD} = "IGNORE"; sleep 1000 while 1' &
	disown
	for ((i = 0; i < 600; i++)); do
		init[$1]=$(pgrep -P $! -x perl) && return 0
		sleep 0.1
	done
	bad "no namespace for $1"
}

# A host that cannot attach its datastore tries again: 0: it runs.
start_daemon() { # HOST
	inside "$1" timeout -k 5 120 "$BIN/vmkernel" -c "$D/$1.conf" -d "$D/$1" \
		--host-name "$1" --device "iscsi://$NET.$(number "$1").1:$((port +
			$(number "$1")))/iqn.2026-01.org.openvmfs:tgt/1" \
		</dev/null >>"$D/$1.start" 2>&1
}

# In the background: until it does, or is told to end.
keep_starting() { # HOST SECONDS
	local i
	sleep "$2"
	for ((i = 0; i < 100; i++)); do
		start_daemon "$1" && break
		sleep 2
	done
	echo started >"$D/$1.started"
}

will_start() { # HOST
	local s=$((1 + RANDOM % LONGEST))
	rm -f "$D/$1.started"
	stopped_at[$1]=0
	keep_starting "$1" $s &
	at_start[$1]=$!
}

is_starting() { [ -n "${at_start[$1]:-}" ] && [ ! -e "$D/$1.started" ]; }

# ---- what goes wrong ----

for_a_while() { echo $((SECONDS + 1 + RANDOM % LONGEST)); }
is_whole() { # HOST: it runs and nothing is done to it
	! is_starting "$1" && [ "${net_until[$1]:-0}" = 0 ] &&
		[ "${storage_until[$1]:-0}" = 0 ] && [ "${stop_until[$1]:-0}" = 0 ]
}

fault_host() {
	is_whole "$1" || return 1
	kill -9 "${init[$1]}"
	while kill -0 "${init[$1]}"; do sleep 0.05; done
	boot "$1"
	will_start "$1"
}
fault_daemon() {
	is_whole "$1" || return 1
	# shellcheck disable=SC2046
	kill -9 $(daemon_of "$1")
	will_start "$1"
}
fault_freeze() {
	is_whole "$1" || return 1
	inside "$1" bash -c 'kill -STOP -1'
	stopped_at[$1]=$SECONDS
	stop_until[$1]=$(for_a_while)
}
fault_stop() {
	is_whole "$1" || return 1
	# shellcheck disable=SC2046
	kill -STOP $(daemon_of "$1")
	stopped_at[$1]=$SECONDS
	stop_until[$1]=$(for_a_while)
}
fault_network() {
	[ "${net_until[$1]:-0}" = 0 ] || return 1
	peers add "$1"
	net_until[$1]=$(for_a_while)
}
fault_isolate() {
	[ "${net_until[$1]:-0}" = 0 ] || return 1
	ip link set "czm$$$1" down
	net_until[$1]=$(for_a_while)
}
fault_storage() {
	[ "${storage_until[$1]:-0}" = 0 ] || return 1
	ip link set "czs$$$1" down
	storage_until[$1]=$(for_a_while)
}
fault_both() {
	fault_isolate "$1" || return 1
	fault_storage "$1"
}
fault_hang() {
	[ $target_until = 0 ] || return 1
	target hang
	target_until=$((SECONDS + 1 + RANDOM % 12))
}
fault_target() {
	[ $target_until = 0 ] || return 1
	target down
	target_is_down=1
	target_until=$((SECONDS + RANDOM % 10))
}

heal_host() { # HOST NOW: what is over by then
	if [ "${net_until[$1]:-0}" != 0 ] && [ "$2" -ge "${net_until[$1]}" ]; then
		peers del "$1"
		ip link set "czm$$$1" up
		net_until[$1]=0
		note "$1 has its network"
	fi
	if [ "${storage_until[$1]:-0}" != 0 ] && [ "$2" -ge "${storage_until[$1]}" ]; then
		ip link set "czs$$$1" up
		storage_until[$1]=0
		note "$1 has its storage"
	fi
	if [ "${stop_until[$1]:-0}" != 0 ] && [ "$2" -ge "${stop_until[$1]}" ]; then
		inside "$1" bash -c 'kill -CONT -1'
		stop_until[$1]=0
		note "$1 goes on"
	fi
}

heal() { # NOW
	local h
	for h in "${hosts[@]}"; do
		heal_host "$h" "$1"
	done
	[ $target_until != 0 ] && [ "$1" -ge $target_until ] || return 0
	if [ -n "$target_is_down" ]; then
		target up "$D/lun" ||
			bad "the target does not come back: $(tail -n 1 "$D/rig")"
	else
		target thaw
	fi
	target_is_down=
	target_until=0
	note "the target is there"
}

something_happens() {
	local kinds=(host host daemon daemon freeze freeze stop network isolate isolate
		storage storage both both hang target)
	local kind=${kinds[RANDOM % ${#kinds[@]}]} h=${hosts[RANDOM % 3]}
	"fault_$kind" "$h" || return 0
	note "fault $kind $h"
	count[$kind]=$((${count[$kind]:-0} + 1))
}

# A vmkernel that ends by itself is a fault of its own, but for one that was stopped past
# its lease: its guard kills it, and a service manager would start it again.
look_at_daemons() {
	local h why
	for h in "${hosts[@]}"; do
		is_starting "$h" && continue
		[ -z "$(daemon_of "$h")" ] || continue
		why=$(tail -n 1 "$D/$h/vmkernel.log")
		note "vmkernel on $h has ended: $why"
		case ${stopped_at[$h]:-0}:$why in
		0:*) bad "vmkernel on $h ended: $why" ;;
		*:guard:*) count[guard]=$((${count[guard]:-0} + 1)) ;;
		*) bad "vmkernel on $h ended: $why" ;;
		esac
		stop_until[$h]=0
		will_start "$h"
	done
}

# ---- VMs ----

make_guests() {
	local n
	CODE=append "$ROOT/tests/guest/bootsector.sh" "$D/guest.raw" "" || return 77
	truncate -s 32M "$D/guest.raw"
	truncate -s 2G "$D/lun"
	mkfs.vmfs -q -L store "$D/lun" || return 1
	for ((n = 1; n <= VMS; n++)); do
		printf '%s\n' 'virtualHW.version = "7"' "displayName = \"vm$n\"" \
			'memSize = "16"' 'ide0:0.present = "TRUE"' \
			"ide0:0.fileName = \"vm$n.vmdk\"" 'serial0.present = "TRUE"' \
			'serial0.fileType = "file"' "serial0.fileName = \"vm$n.txt\"" \
			>"$D/vm$n.vmx"
		vmkfstools -i "$D/guest.raw" -d thin "$D/lun:/vm$n/vm$n.vmdk" &&
			vmkfstools --put "$D/vm$n.vmx" "$D/lun:/vm$n/vm$n.vmx" || return 1
	done >"$D/said" 2>&1
}

told() { # N: how many records it has told of, wherever
	cat "$D"/?/vms/*/"vm$1.txt" | grep -c '^ACK'
}

power_on() {
	local n h
	for ((n = 1; n <= VMS; n++)); do
		h=${hosts[n % 3]}
		vim "$h" vmsvc/power.on "$(vim "$h" solo/registervm \
			"[store] vm$n/vm$n.vmx")" >"$D/said" ||
			{ bad "vm$n on $h: $(tail -n 1 "$D/said")"; return 1; }
	done
}

# Each VM tells of a record from now on.
all_go_on() { # SECONDS
	local n end=$((SECONDS + $1)) before=()
	for ((n = 1; n <= VMS; n++)); do
		before[n]=$(told $n)
	done
	for ((n = 1; n <= VMS; n++)); do
		until [ "$(told $n)" -gt "${before[n]}" ]; do
			[ $SECONDS -lt $end ] || { echo "vm$n"; return 1; }
			sleep 0.5
		done
	done
}

# ---- the story ----

clean_up() {
	local h
	trap - EXIT
	for h in "${hosts[@]}"; do
		[ -z "${at_start[$h]:-}" ] || kill -9 "${at_start[$h]}"
		[ -z "${init[$h]:-}" ] || kill -9 "${init[$h]}"
		host_network_down "$h"
	done
	ip link del "czb$$"
	target thaw
	target down
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

say "$VMS VMs, ${CHAOS_SECONDS:-300} s, seed $SEED"
make_guests || exit $?
target up "$D/lun" || { say "no target: $(tail -n 1 "$D/rig")"; exit 77; }
network_up || { say "no bridge: $(tail -n 1 "$D/err")"; exit 77; }
for h in "${hosts[@]}"; do
	host_network_up "$h" ||
		{ say "no network for $h: $(tail -n 1 "$D/err")"; exit 77; }
	write_config "$h"
	boot "$h"
	start_daemon "$h" || { say "host $h: $(tail -n 1 "$D/$h.start")"; exit 1; }
done
power_on || exit 1
silent=$(all_go_on 120) || { say "$silent does not begin"; exit 1; }
say "all VMs write; it begins"

end=$((SECONDS + ${CHAOS_SECONDS:-300}))
next=$SECONDS
while [ $SECONDS -lt $end ] && [ $failed = 0 ]; do
	if [ $SECONDS -ge $next ]; then
		something_happens
		next=$((SECONDS + 1 + RANDOM % PACE))
	fi
	heal $SECONDS
	look_at_daemons
	sleep 1
done
note "calm"
heal $((SECONDS + 100000))
for h in "${hosts[@]}"; do
	[ -z "${at_start[$h]:-}" ] || wait "${at_start[$h]}"
done
began=$SECONDS
silent=$(all_go_on $UP_LIMIT) || bad "$silent is not up $UP_LIMIT s after the last fault"
say "all is well again; all VMs write after $((SECONDS - began)) s"
look_at_daemons

# ---- and after it ----

for h in "${hosts[@]}"; do
	# shellcheck disable=SC2046
	kill -TERM $(daemon_of "$h")
done
for h in "${hosts[@]}"; do
	for ((i = 0; i < 600; i++)); do
		[ -n "$(daemon_of "$h")" ] || break
		sleep 0.2
	done
	[ $i -lt 600 ] || bad "vmkernel on $h does not end"
done
clean_up
fsck.vmfs -n "$D/lun" >"$D/fsck" 2>&1 || bad "fsck.vmfs: $(tail -n 3 "$D/fsck")"
for ((n = 1; n <= VMS; n++)); do
	vmkfstools --get "$D/lun:/vm$n/vm$n-flat.vmdk" "$D/vm$n.raw" >"$D/said" 2>&1 ||
		bad "vm$n: $(tail -n 1 "$D/said")"
done
python3 "$ROOT/tests/storm/chaos_check.py" "$D" "$VMS" || bad "see above"
say "$(for kind in "${!count[@]}"; do echo "$kind ${count[$kind]}"; done | sort | xargs)"
[ $failed = 0 ] || say "FAILED: seed $SEED, see $D"
exit $failed
