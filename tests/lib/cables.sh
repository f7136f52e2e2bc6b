# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A network namespace behind several cables that can be pulled: what runs in it hears and
# says nothing more on a pulled one, and nobody is told so. Wants root and iproute2, and
# tests/lib/places.sh.
#
#   cables_up COUNT      on success $cables is the namespace: ip netns exec $cables ...
#   cable_address N      of its end of cable N (1, 2, ...)
#   cable_near N         the interface at our end
#   cable_pull N, cable_plug N
#   cables_down          removes all of it; also after a cables_up that failed

cables=cables$$

cables_up() {
	local i near
	while take_place cables 50 || return 1; do # one that was killed left its own up
		cables_net=10.$((200 + place))
		[ -z "$(ip -o addr show to "$cables_net.0.0/16")" ] && break
	done
	ip netns add "$cables" && ip -n "$cables" link set lo up || return 1
	for ((i = 1; i <= $1; i++)); do
		near=$(cable_near $i)
		ip link add "$near" type veth peer name "far$i" netns "$cables" &&
			ip addr add "$cables_net.$i.2/24" dev "$near" &&
			ip link set "$near" up &&
			ip -n "$cables" addr add "$cables_net.$i.1/24" dev "far$i" &&
			cable_plug $i || return 1
	done
}

cable_near() { echo "c$$n$1"; }
cable_address() { echo "$cables_net.$1.1"; }
cable_pull() { ip -n "$cables" link set "far$1" down; }
cable_plug() { ip -n "$cables" link set "far$1" up; }

cables_down() {
	local near
	# With the namespace they would go too, but later.
	for near in $(ip -o link show type veth | grep -o " c$$n[0-9]*"); do
		ip link del "$near"
	done
	ip netns del "$cables" 2>/dev/null
}
