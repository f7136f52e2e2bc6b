#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a VM has beside disks: network cards on a bridge of the host, a CD image, a screen,
# a power button. A real Linux guest uses each of them.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd qemu-system-x86_64 busybox perl ip
[ "$(id -u)" = 0 ] && [ -c /dev/net/tun ] || skip_all "taps need root and /dev/net/tun"
chmod 755 "$T"
bridge=vmk$$

vim() { "$BIN/vim-cmd" -s "$T/host/vmkernel.sock" "$@"; }
says() { grep -q "$1" "$T/host/vms/1/serial0.txt" 2>/dev/null; }
is_alone() { [ -z "$(ip -o link show master "$bridge")" ]; }
is_off() { vim vmsvc/power.getstate 1 | grep -q "Powered off"; }
# The address that the kernel makes of a hardware address: RFC 4291, appendix A.
link_address() {
	local m
	IFS=: read -ra m <<<"$1"
	printf 'fe80::%x%s:%sff:fe%s:%s%s' $((0x${m[0]} ^ 2)) "${m[@]:1}"
}
answers() { # HARDWARE-ADDRESS
	busybox ping -6 -c 1 -W 1 "$(link_address "$1")%$bridge"
}
is_silent() { ! answers "$1" >/dev/null; }
# The version of RFB that is told on a socket.
greeting() {
	perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new($ARGV[0]) or die "$!";
		read($s, my $v, 12); print $v' "$1"
}

"$ROOT/tests/guest/build.sh" "$T/guest.raw" || skip_all "no guest"
printf 'A CD of 32 bytes and more %4096s' . >"$T/cd.iso"
ip link add "$bridge" type bridge && ip link set "$bridge" up || skip_all "no bridge"
at_exit ip link del "$bridge"
# A user network needs passt, which needs a user namespace (there is none in a chroot),
# and a way out of this machine to take after. What the guest asks for is at an address of
# the machine's own, but not on its loopback.
has_passt=
if command -v passt >/dev/null && ip route show default | grep -q . &&
	setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user true \
		2>/dev/null &&
	ip addr add 203.0.113.99/32 dev "$bridge"; then
	has_passt=1
	mkdir "$T/www" && echo "from the host" >"$T/www/from"
	busybox httpd -f -p 203.0.113.99:8080 -h "$T/www" &
	at_exit kill $! 2>/dev/null
fi
{
	cat "$ROOT/tests/guest/vm1.vmx"
	echo 'uuid.bios = "56 4d 3c 11 22 33 44 55-66 77 88 99 aa ff ff fe"'
	for n in 0 1 2; do echo "ethernet$n.present = \"TRUE\""; done
	echo 'ethernet0.virtualDev = "vmxnet3"'
	echo 'ethernet0.networkName = "VM Network"'
	echo 'ethernet0.addressType = "static"'
	echo 'ethernet0.address = "00:50:56:01:02:03"'
	echo 'ethernet1.virtualDev = "e1000"'
	echo 'ethernet1.connectionType = "bridged"'
	echo 'ethernet2.virtualDev = "e1000e"'
	echo 'ethernet2.networkName = "Moon"'
	if [ -n "$has_passt" ]; then
		echo 'ethernet3.present = "TRUE"'
		echo 'ethernet3.virtualDev = "vmxnet3"'
		echo 'ethernet3.connectionType = "nat"'
		echo 'ethernet3.addressType = "static"'
		echo 'ethernet3.address = "00:50:56:3f:00:01"'
	fi
	echo 'sata0.present = "TRUE"'
	echo 'sata0:0.deviceType = "cdrom-image"'
	echo 'sata0:0.fileName = "cd.iso"'
} >"$T/vm1.vmx"
{
	echo "network = VM Network, $bridge"
	echo "network = bridged, $bridge"
	echo "network = nat, user"
} >"$T/conf"
truncate -s 1G "$T/lun"
ok "makes the volume" mkfs.vmfs -L vms "$T/lun"
ok "imports the disk" vmkfstools -i "$T/guest.raw" -d thin "$T/lun:/vm1/vm1.vmdk"
ok "puts the .vmx beside it" vmkfstools --put "$T/vm1.vmx" "$T/lun:/vm1/vm1.vmx"
ok "and the CD" vmkfstools --put "$T/cd.iso" "$T/lun:/vm1/cd.iso"
at_exit eval 'kill -9 $(cat '"$T"'/host/vmkernel.pid) $(sed -n "s/.*QEMU is process //p" \
	'"$T"'/host/vms/*/vmware.log)'
ok "the host starts" "$BIN/vmkernel" -c "$T/conf" -d "$T/host" --device "$T/lun"
ok "registers" vim solo/registervm "[vms] vm1/vm1.vmx"
ok "powers on" vim vmsvc/power.on 1
like "$(cat "$T/host/vmkernel.log")" 'ethernet2: this host has no network "Moon"' \
	"a network that is not there is told of"
refused "the CD cannot be written meanwhile" "held by" \
	vmkfstools --rm "$T/lun:/vm1/cd.iso"

# ---- the screen ----
is "$(greeting "$T/host/vms/1/vnc.sock")" "RFB 003.008" "the screen is on its socket"

# ---- the guest's view ----
ok "the guest counts" wait_for 120 says "^COUNT 1"
ok "it reads the CD" says "^CDROM A CD of 32 bytes and more"
ok "it has the first card" says "^NIC eth.* 00:50:56:01:02:03"
ok "the second, its address made of uuid.bios" says "^NIC eth.* 00:0c:29:00:00:08"
ok "and the third" says "^NIC eth.* 00:0c:29:00:00:12"
ok "the first one answers on the bridge" wait_for 30 answers 00:50:56:01:02:03
ok "so does the second" wait_for 30 answers 00:0c:29:00:00:08
ok "the third is plugged in nowhere" is_silent 00:0c:29:00:00:12
is "$(ip -o link show master "$bridge" | wc -l)" 2 "the bridge has two ports"
if [ -n "$has_passt" ]; then
	ok "the user network gives an address" wait_for 60 says "^LEASE 10.0.2.15"
	ok "and leads out" wait_for 60 says "^FETCHED from the host"
fi

# ---- the button ----
ok "the power button is pressed" vim vmsvc/power.shutdown 1
ok "the guest hears it" wait_for 30 says "^BUTTON"
ok "and is off" wait_for 30 is_off
ok "its taps have gone" wait_for 10 is_alone
refused "a VM that is off has no button" "does not run" vim vmsvc/power.shutdown 1
ok "the CD is free" vmkfstools --rm "$T/lun:/vm1/cd.iso"

# ---- what is refused ----
bad() { # WHAT LINE SENTENCE
	grep -v "^${2%% *} " "$T/vm1.vmx" >"$T/bad.vmx"
	echo "$2" >>"$T/bad.vmx"
	vmkfstools --rm "$T/lun:/vm1/bad.vmx" 2>/dev/null
	vmkfstools --put "$T/bad.vmx" "$T/lun:/vm1/bad.vmx"
	id=$(vim solo/registervm "[vms] vm1/bad.vmx")
	refused "$1" "$3" vim vmsvc/power.on "$id"
	vim vmsvc/unregister "$id"
}
ok "a CD again" vmkfstools --put "$T/cd.iso" "$T/lun:/vm1/cd.iso"
bad "an unknown card" 'ethernet0.virtualDev = "token-ring"' \
	'ethernet0.virtualDev = "token-ring": unknown network card'
bad "an address for many" 'ethernet0.address = "01:50:56:01:02:03"' \
	'ethernet0.address = "01:50:56:01:02:03": not an address'
exit 0
