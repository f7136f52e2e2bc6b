#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lio.sh: the Linux kernel's own iSCSI target (LIO, with COMPARE AND WRITE) in a small
# QEMU guest made of Debian's kernel and busybox, on loopback.
#
#   lio.sh up DIR PORT DISKIMG [DISKIMG2]   boots it (5 to 20 s); the last line is the URL
#                                 (LUN 0; LUN 1 is the second)
#   lio.sh down DIR PORT          kills it at once, like a power cut, and leaves nothing
#                                 behind; DISKIMG (raw) is yours and keeps what was
#                                 written
#   lio.sh hang DIR PORT          freezes it: connections stay, nobody answers
#   lio.sh thaw DIR PORT          lets it go on
#
# DIR must exist; what the rig needs lies in DIR/lio-PORT. Several may run side by side.
# Environment: LIO_WAIT=SECONDS for the boot (180). LIO_SLOW=SECTOR:COUNT:MS: writes to
# these sectors of the disk take effect (and are answered) so much later. LIO_PR=0: it
# refuses persistent reservations. LIO_CHAP=user%password: asks for it; and, with
# LIO_MUTUAL=user%password, proves itself with that. LIO_PORTALS=2: another portal of the
# same group, at PORT + 1.
# Exit: 0, 1 (one line says why), 77 when QEMU, a kernel image or a tool is missing.
set -u
kind=lio
verbs="up DIR PORT DISKIMG [DISKIMG2] | down|hang|thaw DIR PORT"
logs="console log"
here=$(realpath "$(dirname "$0")")
iqn=iqn.2026-01.org.openvmfs:lio
modules="crc32c_generic virtio_pci virtio_net virtio_blk configfs
	target_core_mod target_core_iblock iscsi_target_mod"

# shellcheck source=/dev/null
. "$here/rig.sh"
: "${LIO_MUTUAL:=}"

is_ours() { # PID: still our QEMU?
	tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q -F -- "$rig/initramfs"
}

need() {
	local tool
	for tool in qemu-system-x86_64 busybox cpio modprobe depmod; do
		command -v $tool >/dev/null || skip "$tool is not installed"
	done
	kernel=$(ls /boot/vmlinuz-*-amd64 2>/dev/null | sort -V | tail -1)
	[ -n "$kernel" ] || skip "no kernel image in /boot (package linux-image-amd64)"
	version=${kernel#/boot/vmlinuz-}
	[ -d "/lib/modules/$version" ] || skip "no modules for kernel $version"
	[ -z "${LIO_CHAP:-}" ] || modules+=" md5 sha1_generic sha256_generic sha3_generic"
	[ -n "${LIO_SLOW:-}" ] || return 0
	command -v dmsetup >/dev/null || skip "dmsetup is not installed"
	modules+=" dm_mod dm_delay"
	PROGRAMS=$(command -v dmsetup)
	export PROGRAMS
}

boot() { # DISKIMG...
	local serial image drives=()
	serial=$(realpath "$1" | sha256sum | cut -c1-24)
	local names="iqn=$iqn serial=$serial${LIO_SLOW:+ slow=$LIO_SLOW}"
	names+=${LIO_PR:+ pr=$LIO_PR}${LIO_CHAP:+ chap=$LIO_CHAP}
	names+=${LIO_MUTUAL:+ mutual=$LIO_MUTUAL}
	local cache=cache=writeback,discard=unmap timer=no_timer_check
	local forward="hostfwd=tcp:127.0.0.1:$port-10.0.2.15:3260"
	if [ "${LIO_PORTALS:-1}" = 2 ]; then
		names+=" portals=2"
		forward+=",hostfwd=tcp:127.0.0.1:$((port + 1))-10.0.2.15:3261"
	fi
	for image in "$@"; do
		drives+=(-drive "file=${image//,/,,},if=virtio,format=raw,$cache")
	done
	setsid qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 256 -nodefaults \
		-display none -no-reboot -kernel "$kernel" -initrd "$rig/initramfs" \
		-append "console=ttyS0 quiet panic=-1 $timer mitigations=off $names" \
		-serial "file:$rig/console" \
		"${drives[@]}" \
		-netdev "user,id=n0,restrict=on,$forward" \
		-device virtio-net-pci,netdev=n0 </dev/null >"$rig/log" 2>&1 &
	disown
	echo $! >"$rig/pid"
}

up() {
	local i
	[ $# -eq 1 ] || [ $# -eq 2 ] || usage
	for i in "$@"; do
		[ -f "$i" ] || die "$i: no such disk image"
	done
	need
	rig_make
	: >"$rig/console"
	# shellcheck disable=SC2086
	"$here/initramfs.sh" "$rig/initramfs" "$here/lio_init.sh" "$version" $modules ||
		fail_up "no initramfs"
	boot "$@"
	# Nothing may connect before it listens: QEMU would accept on its behalf.
	for ((i = 0; i < ${LIO_WAIT:-180} * 10; i++)); do
		grep -q -a -E "LIO-READY|LIO-FAILED|Kernel panic" "$rig/console" && break
		kill -0 "$(cat "$rig/pid")" 2>/dev/null || fail_up "QEMU ended"
		sleep 0.1
	done
	grep -q -a LIO-READY "$rig/console" || fail_up "the target did not come up"
	local keys="?target_user=${LIO_MUTUAL%%\%*}&target_password=${LIO_MUTUAL#*\%}"
	echo "iscsi://${LIO_CHAP:+$LIO_CHAP@}127.0.0.1:$port/$iqn/0${LIO_MUTUAL:+$keys}"
}

case $verb in
up) up "$@" ;;
down) down ;;
hang) pid_or_die && kill -STOP "$pid" ;;
thaw) pid_or_die && kill -CONT "$pid" ;;
*) usage ;;
esac
