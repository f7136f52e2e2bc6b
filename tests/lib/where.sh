# SPDX-License-Identifier: Apache-2.0
#
# Where a VM is, of the hosts a and b. Without a VM's name: vm1. After places.sh.

number_on() { # HOST [VM]: its number there; nothing: not registered
	vim "$1" vmsvc/getallvms 2>/dev/null |
		awk -v vm="${2:-vm1}" '$2 == vm { print $1 }'
}

is_on() { # HOST [VM]
	local id
	id=$(number_on "$1" "${2:-vm1}")
	[ -n "$id" ] && is_state "$1" "$id" "Powered on"
}

vmx_of() { # HOST
	local p
	for p in $(processes_of "$1"); do
		[[ $(readlink "/proc/$p/exe") != */vmx ]] || echo "$p"
	done
}

# Waits until no host is on the way to anything: vm1 runs on one host, or on none.
settle() {
	local end=$((SECONDS + 60)) on last='' same=0 h
	while [ $SECONDS -lt $end ] && [ $same -lt 8 ]; do
		on=$(for h in a b; do ! is_on $h || echo $h; done | xargs)
		same=$([ "$on" = "$last" ] && echo $((same + 1)) || echo 0)
		last=$on
		sleep 0.2
	done
	echo "$last"
}
