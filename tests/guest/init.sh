# SPDX-License-Identifier: Apache-2.0
# The guest that build.sh makes (behind begin.sh). It counts once a second in /disk/count,
# one number a line, and shows a number only when fsync has returned: what was shown is on
# stable storage.
#
#   LAST n             the last number on the disk   COUNT n   n is on stable storage
#   NIC name address   a network card, now up        CDROM text  what the CD begins with
#   LEASE a.b.c.d      a card whose address begins with 00:50:56:3f got one by DHCP
#   FETCHED text       and this is /from of the web server 203.0.113.99:8080
#   BUTTON             the power button was pressed: it ends in order
#   SHUTDOWN how       its agent, qemu-ga, ends it: poweroff, reboot
#   SIZE n             the disk has n sectors, and the last one is written and read
#   NVRAM n            how often it was booted, as a variable of the UEFI firmware says
#   DISKS name...      which disks it has now; each other one was written and read
modprobe -a -q virtio_balloon virtio_console sr_mod button evdev
# A variable of the firmware counts the boots: of the kernel's own vendor GUID, whose
# variables it lets be written again without chattr.
vars=/sys/firmware/efi/efivars
if modprobe -q efivarfs && mount -t efivarfs vars $vars 2>/dev/null; then
	var=$vars/Boots-cfc8fc79-be2e-4ddc-97f0-9f98bfe298a0
	boots=0
	[ ! -e $var ] || boots=$(tail -c 1 $var | od -An -tu1)
	boots=$((boots + 1))
	printf "\\007\\000\\000\\000\\$(printf %03o $boots)" >/tmp/var
	dd if=/tmp/var of=$var bs=5 2>/dev/null || echo "GUEST-FAILED no write of $var"
	echo "NVRAM $boots"
fi
# The kernel gives each card an IPv6 address of its link, made of its hardware address.
for nic in /sys/class/net/eth*; do
	[ ! -e "$nic" ] || { ip link set "${nic##*/}" up &&
		echo "NIC ${nic##*/} $(cat "$nic/address")"; }
	case "$(cat "$nic/address" 2>/dev/null)" in 00:50:56:3f:*)
		cat >/bin/leased <<-END
			#!/bin/sh
			[ "\$1" = bound ] || exit 0
			ip addr add \$ip/\$mask dev \$interface
			ip route add default via \$router
			echo "LEASE \$ip" >/dev/ttyS0
			from=\$(wget -qO- http://203.0.113.99:8080/from)
			echo "FETCHED \$from" >/dev/ttyS0
		END
		chmod 755 /bin/leased
		udhcpc -i "${nic##*/}" -s /bin/leased -q >/dev/null 2>&1 &
		;;
	esac
done
[ ! -b /dev/sr0 ] || echo "CDROM $(head -c 32 /dev/sr0 | tr -cd 'A-Za-z0-9 ')"
mkdir -p /etc/acpi/PWRF
cat >/etc/acpi/PWRF/00000080 <<END
#!/bin/sh
echo BUTTON >/dev/ttyS0
sync
poweroff -f
END
chmod 755 /etc/acpi/PWRF/00000080
acpid -d -c /etc/acpi 2>/dev/null &
# An agent: the one that was taken along, else one that answers whatever it is asked. It
# hangs with the guest, see below.
cat >/bin/shutdown <<END
#!/bin/sh
case " \$* " in
*" -r "*) how=reboot ;;
*) how=poweroff ;;
esac
echo "SHUTDOWN \$how" >/dev/ttyS0
sync
\$how -f
END
chmod 755 /bin/shutdown
hangs() { grep -q '^dead' /sys/class/dmi/id/product_uuid && [ ! -e /disk/hung ]; }
for port in /sys/class/virtio-ports/*; do
	[ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] || continue
	port=/dev/${port##*/}
	if [ -x /bin/qemu-ga ]; then
		qemu-ga -p "$port" -t /run -l /tmp/agent.log &
		continue
	fi
	while read -r _; do
		[ ! -e /tmp/hung ] || break
		echo '{"return": {}}' >&3
	done <>"$port" 3>&0 &
done
disk=$(find_data) || failed "no disk with a filesystem 'data'"
mkdir -p /disk
mount -t ext4 -o errors=remount-ro "$disk" /disk || failed "no mount of $disk"
# Whatever was lost shows as a gap.
[ ! -e /disk/count ] || awk '$0 != NR { print "line " NR ": " $0; exit 1 }' /disk/count ||
	failed "/disk/count has a gap"
# A disk that grows under the guest: SCSI is asked, others say it.
end=0
look_at_end() {
	local whole=${disk%%[0-9]*} size
	local sys=/sys/class/block/${whole##*/}
	[ ! -e "$sys/device/rescan" ] || echo 1 >"$sys/device/rescan"
	size=$(cat "$sys/size")
	[ "$size" != "$end" ] || return 0
	if [ "$end" != 0 ]; then
		echo "end of $size" | dd of="$whole" bs=512 seek=$((size - 1)) \
			conv=notrunc,sync,fsync 2>/dev/null
		dd if="$whole" bs=512 skip=$((size - 1)) 2>/dev/null |
			grep -q "end of $size" || failed "the end of $size sectors"
	fi
	end=$size
	echo "SIZE $size"
}
# Disks that come and go: one that is new gets a name and is read.
disks=
look_at_disks() {
	local now name
	for scan in /sys/class/scsi_host/*/scan; do
		[ ! -e "$scan" ] || echo "- - -" >"$scan"
	done
	now=$(cd /sys/block && echo sd* | tr -d '*')
	[ "$now" != "$disks" ] || return 0
	for name in $now; do
		case " $disks " in *" $name "*) continue ;; esac
		[ -z "$disks" ] || [ "/dev/$name" = "${disk%%[0-9]*}" ] || {
			echo "I am $name" | dd of="/dev/$name" bs=512 seek=8 \
				conv=notrunc,sync,fsync 2>/dev/null
			dd if="/dev/$name" bs=512 skip=8 count=1 2>/dev/null |
				grep -q "I am $name" || failed "the disk $name"
		}
	done
	disks=$now
	echo "DISKS $disks"
}
last=$(tail -n 1 /disk/count 2>/dev/null)
n=${last:-0}
echo "LAST $n ($disk)"
while :; do
	n=$((n + 1))
	echo "$n" >>/disk/count || failed "no write of $n"
	sync /disk/count || failed "no fsync of $n"
	echo "COUNT $n"
	look_at_end
	look_at_disks
	if [ $n = 5 ] && hangs; then
		touch /disk/hung /tmp/hung
		sync
		echo GUEST-HANGS
		while :; do sleep 60; done
	fi
	sleep 1
done
