# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# The story of HA, told by demo.sh (DEMO_STORY=ha), which has the words it is told in:
# three hosts, twelve VMs that count; the host that runs them all, and is the master, is
# killed; the others start them. A thirteenth was powered off by its admin and stays off.

vms=12
hosts=(hostA hostB hostC)

make_vms()
{
	local n

	begin_step "$((vms + 1)) guests that count on their disks, once a second"
	CODE=beat must "$top/tests/guest/bootsector.sh" "$work/beat.raw" "counts"
	for ((n = 1; n <= vms + 1; n++)); do
		sed "s/vm1/vm$n/; s/memSize = .*/memSize = \"32\"/
			s/pvscsi/lsilogic/" "$top/tests/guest/vm1.vmx" >"vm$n.vmx"
		{ bin/vmkfstools -i beat.raw -d thin "$device:/vm$n/vm$n.vmdk" &&
			bin/vmkfstools --put "vm$n.vmx" "$device:/vm$n/vm$n.vmx"; } \
			>said 2>&1 || die "vm$n: $(tail -n 1 said)"
	done
	rm -f vm*.vmx
	must bin/vmkfstools -P "$device"
}

role() # HOST
{
	bin/vim-cmd -s "$work/$1/vmkernel.sock" hostsvc/hostsummary 2>/dev/null |
		sed -n 's/.*DasFdmHostState.*state = "\(.*\)".*/\1/p'
}

start_host() # HOST
{
	boot_host "$1"
	on "$1" bin/vmkernel -c "$work/ha.conf" -d "$work/$1" --host-name "$1" \
		--device "$device" || die "vmkernel on $1"
}

start_ha_hosts()
{
	local host

	begin_step "Three hosts with HA; the first one becomes the master"
	printf '%s\n' "ha = yes" "ha_poll_ms = 250" "accel = tcg" \
		"lease_profile = ${DEMO_PROFILE:-normal}" >ha.conf
	must cat ha.conf
	start_host hostA
	wait_until 60 eval '[ "$(role hostA)" = master ]' || die "hostA is not the master"
	for host in hostB hostC; do
		start_host $host
		wait_until 60 eval '[ "$(role '$host')" = connectedToMaster ]' ||
			die "$host does not find the master"
	done
	for host in "${hosts[@]}"; do
		say "$host: $(role "$host")"
	done
}

# The serial consoles of VM vmN on a host that are there.
consoles() # N HOST
{
	local id

	id=$(bin/vim-cmd -s "$work/$2/vmkernel.sock" vmsvc/getallvms 2>/dev/null |
		awk -v name="vm$1" '$2 == name { print $1 }')
	[ -z "$id" ] || ls "$work/$2/vms/$id/serial0.txt" 2>/dev/null
}

# The last number of a console after a word.
number() # WORD FILE
{
	tr -d '\r' <"$2" | sed -n "s/^$1 \([0-9a-f]\{4\}\)$/\1/p" | tail -n 1
}

counts() # N HOST: it has counted there
{
	local file

	file=$(consoles "$1" "$2")
	[ -n "$file" ] && [ -n "$(number BEAT "$file")" ]
}

power_on_all()
{
	local n

	begin_step "hostA runs them all; one is powered off again, for good"
	for ((n = 1; n <= vms + 1; n++)); do
		bin/vim-cmd -s "$work/hostA/vmkernel.sock" solo/registervm \
			"[demo] vm$n/vm$n.vmx" >said 2>&1 &&
			bin/vim-cmd -s "$work/hostA/vmkernel.sock" vmsvc/power.on "$n" \
				>>said 2>&1 || die "vm$n: $(tail -n 1 said)"
	done
	for ((n = 1; n <= vms + 1; n++)); do
		wait_until $boot_limit_s counts "$n" hostA || die "vm$n does not count"
	done
	must_vim hostA vmsvc/power.off $((vms + 1))
	must_vim hostA vmsvc/getallvms
}

# Milliseconds since 1970 of a line of the logs of hostB and hostC: first or last.
logged() # head|tail REGEX
{
	local when

	when=$(cat hostB/vmkernel.log hostC/vmkernel.log | grep -E -- "$2" | sort |
		"$1" -n 1 | cut -d ' ' -f 1)
	[ -n "$when" ] && date -d "$when" +%s%3N
}

# Seconds between two times in milliseconds.
seconds() { printf '%d.%03d' $((($2 - $1) / 1000)) $((($2 - $1) % 1000)); }

is_restarted() # N
{
	counts "$1" hostB || counts "$1" hostC
}

kill_master()
{
	local n killed gone issued up first='' last before=()

	begin_step "hostA, the master, dies with its VMs; the others start them"
	for ((n = 1; n <= vms; n++)); do
		before[n]=$(number BEAT "$(consoles "$n" hostA)")
	done
	killed=$(date +%s%3N)
	echo "\$ kill -9 (all of hostA)"
	kill_host hostA
	for ((n = 1; n <= vms; n++)); do
		wait_until $takeover_limit_s is_restarted "$n" ||
			die "vm$n is not restarted"
		last=$(date +%s%3N)
		first=${first:-$last}
	done
	gone=$(logged head 'HA: host hostA is gone') || die "nobody says that it is gone"
	issued=$(logged tail 'is to be started by host') || die "no order was given"
	up=$(logged tail 'is up on host')
	grep -h 'HA: ' hostB/vmkernel.log hostC/vmkernel.log | sort | grep -E \
		'master|gone|vm1\.vmx|vm12\.vmx' | cut -c 1-150 | sed 's/^/   | /'
	for ((n = 1; n <= vms; n++)); do
		check_vm "$n" "${before[n]}"
	done
	say "death known after       $(seconds "$killed" "$gone") s"
	say "all $vms restarts issued $(seconds "$gone" "$issued") s later"
	say "the last QEMU runs      $(seconds "$gone" "$up") s after that"
	say "first guest counts      $(seconds "$killed" "$first") s after the death"
	say "all guests count        $(seconds "$killed" "$last") s after the death"
}

# On one host, and with all that it said it had written.
check_vm() # N BEFORE
{
	local file host there=() found

	for host in hostB hostC; do
		file=$(consoles "$1" $host)
		[ -z "$file" ] || there+=("$file")
	done
	[ ${#there[@]} = 1 ] || die "vm$1 runs on ${#there[@]} hosts"
	found=$(number UP "${there[0]}")
	[ $((16#$found)) -ge $((16#$2)) ] || die "vm$1 lost: $2 was told, $found is there"
}

host_returns()
{
	local n

	begin_step "hostA comes back; what was restarted stays, what is off stays off"
	start_host hostA
	wait_until 60 eval '[ "$(role hostA)" = connectedToMaster ]' ||
		die "hostA does not find the master"
	for ((n = 1; n <= vms + 1; n++)); do
		show bin/vim-cmd -s "$work/hostA/vmkernel.sock" vmsvc/power.getstate $n \
			>/dev/null
		grep -q 'Powered off' said || die "hostA runs vm$n"
	done
	[ -z "$(consoles $((vms + 1)) hostB)$(consoles $((vms + 1)) hostC)" ] ||
		die "vm$((vms + 1)) was started, and its admin had powered it off"
}

end_ha()
{
	local host

	begin_step "All hosts end; the volume is sound"
	for host in "${hosts[@]}"; do
		on "$host" pkill -TERM -x vmkernel || die "no vmkernel on $host"
	done
	for host in "${hosts[@]}"; do
		host_has_ended "$host"
	done
	stop_target
	must bin/fsck.vmfs -n lun.img
}

ha_story()
{
	start_target
	make_volume
	make_vms
	start_ha_hosts
	power_on_all
	kill_master
	host_returns
	end_ha
	end_step
}
