#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First process of the guest that lio.sh boots: the kernel's own iSCSI target (LIO) over
# /dev/vda as LUN 0, and /dev/vdb, if there is one, as LUN 1, open to all. Kernel command
# line: iqn=NAME serial=TEXT, and perhaps slow=SECTOR:COUNT:MS, a piece of the first disk
# where writes take so long, pr=0: without persistent reservations, portals=2: another
# one, 3261, of the same portal group;
# chap=USER%PASSWORD asks for it, mutual=USER%PASSWORD is what the target proves itself
# with.
# Says "LIO-READY" on the console when it listens, "LIO-FAILED what" when it cannot.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

fail() {
	echo "LIO-FAILED $*"
	poweroff -f
}

for word in $(cat /proc/cmdline); do
	case $word in
	iqn=* | serial=* | slow=* | pr=* | portals=*) export "$word" ;;
	chap=* | mutual=*) export "$word" ;;
	esac
done
# Without these folders every PERSISTENT RESERVE OUT answers NOT READY.
mkdir -p /etc/target/pr /etc/target/alua /var/target/pr /var/target/alua
for module in $(cat /modules); do
	modprobe "$module" || echo "no module $module"
done
mount -t configfs none /sys/kernel/config || fail "configfs"

ip link set lo up
ip link set eth0 up || fail "no network card"
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2

[ -b /dev/vda ] || fail "no disk"
device=/dev/vda
if [ -n "${slow:-}" ]; then
	first=${slow%%:*} rest=${slow#*:}
	count=${rest%%:*} ms=${rest#*:}
	end=$((first + count)) size=$(cat /sys/block/vda/size)
	export DM_DISABLE_UDEV=1
	dmsetup create slow <<-END || fail "dmsetup"
		0 $first linear /dev/vda 0
		$first $count delay $device $first 0 $device $first $ms $device $first 0
		$end $((size - end)) linear /dev/vda $end
	END
	device=/dev/mapper/slow
	[ -b $device ] || fail "no $device"
fi
target=/sys/kernel/config/target
# backstore NUMBER DEVICE
backstore() {
	local disk=$target/core/iblock_$1/disk
	mkdir -p $disk || fail "no iblock backstore"
	echo udev_path=$2 >$disk/control
	echo 1 >$disk/enable || fail "the disk cannot be opened"
	echo "$1$serial" >$disk/wwn/vpd_unit_serial
	for attribute in emulate_caw emulate_tpu emulate_tpws; do
		echo 1 >$disk/attrib/$attribute || echo "no attribute $attribute"
	done
	if [ "${pr:-1}" = 0 ]; then
		echo 0 >$disk/attrib/emulate_pr || fail "attribute emulate_pr"
	fi
}
backstore 0 $device
[ ! -b /dev/vdb ] || backstore 1 /dev/vdb

group=$target/iscsi/$iqn/tpgt_1
mkdir -p "$group" || fail "no iSCSI fabric"
for disk in $target/core/iblock_*/disk; do
	number=${disk%/disk} number=${number##*_}
	mkdir "$group/lun/lun_$number"
	ln -s $disk "$group/lun/lun_$number/disk" || fail "no LUN $number"
done
for pair in authentication=0 generate_node_acls=1 cache_dynamic_acls=1 \
	demo_mode_write_protect=0; do
	echo "${pair#*=}" >"$group/attrib/${pair%=*}" || fail "attribute $pair"
done
if [ -n "${chap:-}" ]; then
	printf %s "${chap%%\%*}" >"$group/auth/userid" || fail "userid"
	printf %s "${chap#*\%}" >"$group/auth/password" || fail "password"
	echo 1 >"$group/attrib/authentication" || fail "authentication"
fi
if [ -n "${mutual:-}" ]; then
	printf %s "${mutual%%\%*}" >"$group/auth/userid_mutual" || fail "userid_mutual"
	printf %s "${mutual#*\%}" >"$group/auth/password_mutual" || fail "password_mutual"
fi
mkdir "$group/np/10.0.2.15:3260" || fail "no portal"
[ "${portals:-1}" = 1 ] || mkdir "$group/np/10.0.2.15:3261" || fail "no second portal"
echo 1 >"$group/enable" || fail "the target cannot be enabled"
echo "LIO-READY $(cut -d' ' -f1 /proc/uptime)"
while :; do sleep 3600; done
