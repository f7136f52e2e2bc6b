# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# What storms on iSCSI have in common: each host in a network namespace of its own,
# behind a link that can be cut and a relay that can lose one answer. For on_tgt.sh and
# on_lio.sh, which bring $RIG: a script with up|down|hang|thaw.

HOST_FLAGS=${STORM_FLAGS:---lease --guard}
. "$ROOT/tests/lib/places.sh"
take_ports && PORT=$port
take_place storms 100 && NET=10.$((100 + place))
MAY_LOSE=1
PACE=3
declare -a link_until
target_until=0

[ "$(id -u)" = 0 ] || { say "network namespaces need root"; exit 77; }
command -v ip >/dev/null || { say "ip is not there (package iproute2)"; exit 77; }

# target up|down|hang|thaw: on 127.0.0.1:$PORT; up sets $TARGET (its name) and $LUN
target() {
	local url
	case $1 in
	up)
		url=$("$RIG" up "$D" "$PORT" "$IMAGE") || return $?
		url=${url##*$'\n'}
		TARGET=${url#iscsi://*/}
		LUN=${TARGET##*/}
		TARGET=${TARGET%/*}
		;;
	*) "$RIG" "$1" "$D" "$PORT" ;;
	esac
}

net_up() { # HOST
	local ns=st$$-$1 out=s$$o$1 in=s$$i$1
	ip netns add "$ns" && ip link add "$out" type veth peer name "$in" &&
		ip link set "$in" netns "$ns" &&
		ip addr add "$NET.$1.1/24" dev "$out" && ip link set "$out" up &&
		ip netns exec "$ns" ip addr add "$NET.$1.2/24" dev "$in" &&
		ip netns exec "$ns" ip link set "$in" up &&
		RELAY_ADDRESS=$NET.$1.1 "$ROOT/tests/rigs/relay.sh" \
			up "$D" $((PORT + $1)) "$PORT" || return 1
	link_until[$1]=0
}

net_down() { # HOST
	"$ROOT/tests/rigs/relay.sh" down "$D" $((PORT + $1))
	ip link del "s$$o$1"
	ip netns del "st$$-$1"
}

rig_up() {
	local i
	truncate -s 2G "$IMAGE" || return 1
	target up || return $?
	for ((i = 1; i <= HOSTS; i++)); do
		net_up "$i" && continue
		say "no network for host $i: $(tail -n 1 "$D/err")"
		return 77
	done
	"$BIN/mkfs.vmfs" -q -L storm "iscsi://127.0.0.1:$PORT/$TARGET/$LUN"
}

rig_down() {
	local i
	for ((i = 1; i <= HOSTS; i++)); do
		net_down "$i"
	done 2>/dev/null
	target down
}

device_of() {
	echo "iscsi://$NET.$1.1:$((PORT + $1))/$TARGET/$LUN"
}

prefix_of() {
	echo "ip netns exec st$$-$1"
}

faults() {
	echo link link link swallow swallow swallow drop drop guard guard hang restart
}

# The cable is pulled for up to STOP_MAX seconds.
fault_link() {
	[ "${link_until[$1]}" = 0 ] || return 0
	ip link set "s$$o$1" down
	link_until[$1]=$((SECONDS + 1 + RANDOM % STOP_MAX))
}

# The target has executed a conditional write, and the answer is lost.
fault_swallow() {
	"$ROOT/tests/rigs/relay.sh" swallow "$D" $((PORT + $1))
}

# The session is lost in its place.
fault_drop() {
	"$ROOT/tests/rigs/relay.sh" drop "$D" $((PORT + $1))
}

fault_hang() {
	[ $target_until = 0 ] || return 0
	target hang
	target_until=$((SECONDS + 1 + RANDOM % 5))
}

fault_restart() {
	[ $target_until = 0 ] || return 0
	target down
	sleep "0.$((RANDOM % 10))"
	target up || { failed=1; say "the target does not come back"; }
}

# The guard of a host, if it has one.
fault_guard() { # HOST PID
	local guard
	guard=$(pgrep -P "$2" | head -n 1)
	[ -z "$guard" ] || kill -9 "$guard"
}

# What is over by now.
rig_tick() {
	local i
	for ((i = 1; i <= HOSTS; i++)); do
		[ "${link_until[i]}" = 0 ] || [ "$SECONDS" -lt "${link_until[i]}" ] || {
			ip link set "s$$o$i" up
			link_until[i]=0
		}
	done
	[ $target_until = 0 ] || [ "$SECONDS" -lt $target_until ] || {
		target thaw
		target_until=0
	}
}

rig_rest() {
	local i
	for ((i = 1; i <= HOSTS; i++)); do
		ip link set "s$$o$i" up
		link_until[i]=0
	done 2>/dev/null
	[ $target_until = 0 ] || target thaw
	target_until=0
}
