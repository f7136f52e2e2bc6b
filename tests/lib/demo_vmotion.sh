# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# The story of vMotion, told by demo.sh (DEMO_STORY=vmotion), which has the words it is
# told in: a Linux guest that counts with fsync and answers pings moves from one host to
# another and back, under the eyes of pings once a second and every 10 ms. Beside it plain
# QEMU does the same with a raw file, as often: what the machine itself costs.

rounds=${DEMO_ROUNDS:-4}
mac=00:50:56:0a:0b:0c
bridge=vmo$$

# The IPv6 address of the link that the guest's kernel makes of the card's own.
address=fe80::250:56ff:fe0a:b0c

answers() { busybox ping -6 -c 1 -W 1 "$address%$bridge" >/dev/null 2>&1; }

make_network()
{
	begin_step "A bridge, which both hosts plug the guest's card into"
	# An address of its own: else it changes with the taps that come and go.
	ip link add "$bridge" address 02:00:5e:10:00:01 type bridge &&
		ip link set "$bridge" up ||
		cannot 77 "no bridge can be made here"
	demo_bridge=$bridge
	{ echo 'ethernet0.present = "TRUE"'
	  echo 'ethernet0.virtualDev = "e1000"'
	  echo 'ethernet0.connectionType = "bridged"'
	  echo "ethernet0.addressType = \"static\""
	  echo "ethernet0.address = \"$mac\""; } >>vm1.vmx
	must bin/vmkfstools --put vm1.vmx "$device:/vm1/vm1.vmx"
}

start_vmotion_hosts()
{
	local host

	begin_step "Two hosts that take VMs from each other"
	[ -n "${port:-}" ] || take_ports
	for host in hostA hostB; do
		port=$((port + 1))
		printf '%s\n' "accel = tcg" "network = bridged, $bridge" \
			"vmotion_address = 127.0.0.1:$port" >$host.conf
		must cat $host.conf
		boot_host $host
		# The hosts have one network here: no two taps may have one name.
		[ $host = hostA ] ||
			echo '{"next_id": 101, "vms": []}' >$host/inventory.json
		on $host bin/vmkernel -c "$work/$host.conf" -d "$work/$host" \
			--host-name $host --device "$device" || die "vmkernel on $host"
	done
}

# The number of vm1 on a host; nothing: it is not registered there.
number_on() # HOST
{
	bin/vim-cmd -s "$work/$1/vmkernel.sock" vmsvc/getallvms 2>/dev/null |
		awk '$2 == "vm1" { print $1 }'
}

median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

start_pings() # NAME
{
	python3 "$top/tests/rigs/pings.py" "$address%$bridge" >"$1" 2>&1 &
	pings=$!
	wait_until 20 grep -q '^up' "$1" || die "the guest does not answer"
	sleep 1.5 # what is sent before the move
}

# Another two of the slow ones; then gap and losses join those of that kind.
stop_pings() # NAME
{
	wait_until 30 answers || die "the guest does not answer any more"
	sleep 2.5
	kill -INT $pings
	wait $pings 2>/dev/null
	grep -q '^gap' "$1" || die "$(tail -n 1 "$1")"
	sed -n 's/^gap \([0-9]*\).*/\1/p' "$1" >>"gaps.${1%%.*}"
	sed -n 's/.*lost \([0-9]*\).*/\1/p' "$1" >>"losts.${1%%.*}"
	sed -n 's/.*fast \([0-9]*\).*/\1/p' "$1" >>"fasts.${1%%.*}"
}

power_on_vmotion()
{
	begin_step "hostA runs the VM, which counts and answers"
	must_vim hostA solo/registervm "[demo] vm1/vm1.vmx"
	vm=$(tail -n 1 said | tr -dc 0-9)
	must_vim hostA vmsvc/power.on "$vm"
	wait_until $boot_limit_s has_counted hostA 3 || die "the guest does not count"
	wait_until $boot_limit_s answers || die "the guest does not answer pings"
	show_console hostA
}

# From one host to the other, and what it has counted goes on.
hop() # FROM TO ROUND
{
	local count

	vm=$(number_on "$1")
	count=$(told "$1" COUNT)
	start_pings "ours.$3"
	must_vim "$1" vmsvc/migrate "$vm" "$2"
	stop_pings "ours.$3"
	[ -z "$(number_on "$1")" ] || die "$1 has it still"
	vm=$(number_on "$2")
	[ -n "$vm" ] || die "$2 does not have it"
	wait_until 30 has_counted "$2" $((count + 1)) || die "it does not count on"
	say "longest silence $(tail -n 1 gaps.ours) ms, pings lost at 1 s:" \
		"$(tail -n 1 losts.ours)"
}

move_vm()
{
	local n from=hostA to=hostB t

	begin_step "The VM moves $rounds times between hostA and hostB"
	: >gaps.ours >losts.ours >fasts.ours
	for ((n = 1; n <= rounds; n++)); do
		hop $from $to "$n"
		t=$from from=$to to=$t
	done
	must bin/esxcli -s "$work/$from/vmkernel.sock" vm migration list
	here=$from
	show_console "$here"
	# No number was made twice, none is missing.
	cat host?/vms/*/serial0.txt | tr -d '\r' | sed -n 's/^COUNT //p' | sort -n |
		awk '$1 != NR { print "COUNT " NR " is missing"; exit 1 }' ||
		die "it did not count straight on"
	must_vim "$here" vmsvc/power.off "$vm"
}

# ---- plain QEMU, on a raw file ----

plain_disk=driver=raw,node-name=d,cache.direct=on,file.driver=file,file.locking=off
plain_disk+=,file.filename=plain.raw

plain_qemu() # NAME TAP MORE...
{
	local name=$1 tap=$2

	shift 2
	ip tuntap add "$tap" mode tap && ip link set "$tap" master "$bridge" up ||
		die "no tap"
	qemu-system-x86_64 -nodefaults -no-user-config -display none \
		-machine pc-q35-7.2 -accel tcg,thread=multi \
		-cpu qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt \
		-smp cpus=1,maxcpus=2,sockets=2,cores=1,threads=1 -m 262136K \
		-chardev "socket,id=qmp,path=$name.qmp,server=on,wait=off" \
		-mon chardev=qmp,mode=control -serial "file:$name.txt" \
		-netdev "tap,id=net0,ifname=$tap,script=no,downscript=no" \
		-device "e1000,netdev=net0,mac=$mac,romfile=" -device pvscsi,id=scsi0 \
		-blockdev "$plain_disk" \
		-device scsi-hd,bus=scsi0.0,drive=d "$@" >"$name.log" 2>&1 &
	plain_pids+=($!)
	disown
	wait_until 20 [ -S "$name.qmp" ] || die "plain QEMU: $(tail -n 1 "$name.log")"
}

plain_hop() # FROM TO
{
	plain_qemu "$2" "vmp$3x$$" -incoming "unix:$2.mig" -S
	start_pings "plain.$3"
	show python3 "$top/tests/rigs/pings.py" --migrate "$1.qmp" "$2.qmp" \
		"unix:$2.mig" || die "plain QEMU does not migrate"
	stop_pings "plain.$3"
	ip link del "vmp$(($3 - 1))x$$" 2>/dev/null
}

move_plain()
{
	local n

	begin_step "Plain QEMU with a raw file does the same, $rounds times"
	: >gaps.plain >losts.plain >fasts.plain
	cp guest.raw plain.raw
	plain_qemu plain0 "vmp0x$$"
	wait_until $boot_limit_s answers || die "plain QEMU: no answer"
	for ((n = 1; n <= rounds; n++)); do
		plain_hop plain$((n - 1)) plain$n "$n"
		say "longest silence $(tail -n 1 gaps.plain) ms, pings lost at 1 s:" \
			"$(tail -n 1 losts.plain)"
	done
	kill -9 "${plain_pids[@]}" 2>/dev/null
	ip link del "vmp${rounds}x$$"
}

tell_figures()
{
	local ours plain

	begin_step "What it cost"
	ours=$(median <gaps.ours)
	plain=$(median <gaps.plain)
	say "gap at 10 ms     vMotion $ours ms, plain QEMU $plain ms (medians of $rounds)"
	say "gaps             vMotion $(xargs <gaps.ours)," \
		"plain QEMU $(xargs <gaps.plain)"
	say "1 s pings lost   vMotion $(awk '{ n += $1 } END { print n }' losts.ours)," \
		"plain QEMU $(awk '{ n += $1 } END { print n }' losts.plain)"
	say "10 ms pings lost vMotion $(xargs <fasts.ours)," \
		"plain QEMU $(xargs <fasts.plain)"
	say "beyond plain     $((ours - plain)) ms (goal: 300)"
}

end_vmotion()
{
	local host

	begin_step "Both hosts end; the volume is sound"
	for host in hostA hostB; do
		on "$host" pkill -TERM -x vmkernel || die "no vmkernel on $host"
		host_has_ended "$host"
	done
	stop_target
	must bin/fsck.vmfs -n lun.img
}

vmotion_story()
{
	plain_pids=()
	for p in ip python3; do
		command -v $p >/dev/null || cannot 77 "$p is missing"
	done
	start_target
	make_volume
	build_guest
	import_guest
	make_network
	start_vmotion_hosts
	power_on_vmotion
	move_vm
	move_plain
	tell_figures
	end_vmotion
	end_step
}
