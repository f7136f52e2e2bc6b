#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh [file|lio|tgt]: the story of OpenVMFS with real parts (`make demo`).
#
# Two hosts share one LUN: a plain file, or an iSCSI LUN of the kernel's own target (in a
# small QEMU guest) or of Debian's tgt. A Linux guest that counts with fsync runs on host
# A; host A dies; the guest goes on on host B, and no number that was shown is lost.
#
# A "host" is a PID namespace, so that it can die like one: everything in it is killed at
# the same instant. All that the story makes lies in one folder that goes away.
#
# DEMO_STORY=ha tells another one, of three hosts and HA (tests/lib/demo_ha.sh), and
# DEMO_STORY=vmotion one of a VM that moves while it runs (tests/lib/demo_vmotion.sh).
#
# Environment: BIN (our programs), DEMO_VMFS (5 or 6: the filesystem), DEMO_PROFILE (the
# lease_profile of HA's hosts: normal or fast), DEMO_KEEP=1 keeps the folder. Exit: 0, 1
# (the step that failed is named), 77 (something this target needs is missing).
set -u
export LC_ALL=C
top=$(realpath "$(dirname "$0")/..")
# shellcheck source=/dev/null
. "$top/tests/lib/places.sh"
bin=$(cd "$top" && realpath "${BIN:-build/bin}")
target=${1:-file}
version=${DEMO_VMFS:-5}
PATH=$PATH:/usr/sbin:/sbin

boot_limit_s=240 # for a loaded machine; the goal is 15 s (make bench ONLY=boot)
takeover_limit_s=240

step=0
began=0
title=start
times=()
host_init=()
work=
rig_port=
plain_pids=()

# ---- telling ----

say() { echo "   $*"; }

# Ends the story with its verdict.
die()
{
	say "failed: $*"
	echo
	echo "DEMO FAILED at step $step: $title"
	exit 1
}

end_step()
{
	local tenths=$((($(date +%s%N) - began) / 100000000))

	[ $step = 0 ] || times+=("$(printf '%2d  %4d.%d s  %s' $step \
		$((tenths / 10)) $((tenths % 10)) "$title")")
}

begin_step()
{
	end_step
	step=$((step + 1))
	title=$1
	began=$(date +%s%N)
	echo
	echo "== $step. $title"
}

# announce PROMPT COMMAND...: prints the command as one would type it in the folder.
announce()
{
	local prompt=$1

	shift
	echo "$prompt $(printf '%q ' "$@" | sed "s,$work/,,g")"
}

# tell COMMAND...: runs it and prints what came of it; its output is in the file said too.
tell()
{
	local status

	timeout $takeover_limit_s "$@" </dev/null >"$work/said" 2>&1
	status=$?
	sed "s,$work/,,g; s/^/   /" "$work/said"
	return $status
}

# show COMMAND...: prints and runs it; fails with it.
show()
{
	announce "$" "$@"
	tell "$@"
}

# must COMMAND...: show it; the story ends if it fails.
must()
{
	show "$@" || die "exit $? of: $(echo "$1" | sed "s,$work/,,g")"
}

wait_until() # SECONDS COMMAND...
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# ---- hosts ----

# boot_host NAME: an empty machine, the processes of which die together. It works in a
# chroot, too: only /proc is made private, and who enters takes the root along (-r).
boot_host()
{
	local init

	mkdir -p -m 755 "$work/$1"
	unshare --pid --fork --mount-proc --propagation unchanged --kill-child \
		sleep infinity 2>"$work/said" &
	disown
	wait_until 60 eval "init=\$(pgrep -P $! -x sleep)" ||
		die "no PID namespace for $1: $(head -n 1 "$work/said")"
	host_init+=("$init")
	eval "init_$1=$init"
}

# on NAME COMMAND...: shown and run on a host.
on()
{
	local host=$1 init=init_$1

	shift
	announce "$host#" "$@"
	tell nsenter -t "${!init}" -p -m -r --wd="$work" "$@"
}

# The power fails: SIGKILL to all processes of the host at once.
kill_host()
{
	local init=init_$1

	kill -9 "${!init}"
	wait_until 60 eval "! kill -0 ${!init} 2>/dev/null" || die "$1 does not die"
}

processes_of() # HOST
{
	local init=init_$1

	# The dead stay listed: nobody waits for them in there.
	nsenter -t "${!init}" -p -m -r ps -e -o stat=,comm= |
		awk '$1 !~ /Z/ && $2 != "ps" && $2 != "sleep" { print $2 }' | sort | xargs
}

# Its vmkernel was told to end: it does, and with it all that it had started.
host_has_ended() # HOST
{
	wait_until 120 eval '[ -z "$(processes_of '"$1"')" ]' ||
		die "vmkernel does not end on $1: $(processes_of "$1")"
	kill_host "$1"
}

vim() # HOST ARGUMENT...
{
	local host=$1

	shift
	show bin/vim-cmd -s "$work/$host/vmkernel.sock" "$@"
}

# ---- the guest ----

console() { echo "$work/$1/vms/$vm/serial0.txt"; }

# The last number that the guest on HOST told after WORD (LAST, COUNT).
told()
{
	sed -n "s/^$2 \([0-9]*\)[^0-9].*/\1/p" "$(console "$1")" 2>/dev/null | tail -n 1
}

has_counted() # HOST AT-LEAST
{
	local n

	grep -q "^GUEST-FAILED" "$(console "$1")" 2>/dev/null && return 0
	n=$(told "$1" COUNT)
	[ "${n:-0}" -ge "$2" ]
}

show_console() # HOST
{
	say "serial console of the guest on $1:"
	tr -d '\r' <"$(console "$1")" | grep -a -E '^(GUEST|LAST|COUNT)' | tail -n 6 |
		sed 's/^/   | /'
	! grep -q "^GUEST-FAILED" "$(console "$1")" || die "the guest says that it failed"
}

# ---- leaving nothing ----

cleanup()
{
	local init

	trap - EXIT
	[ -n "$work" ] || exit "$1"
	for init in "${host_init[@]}"; do
		kill -9 "$init" 2>/dev/null
	done
	for m in debian ours; do
		! mountpoint -q "$work/$m" || fusermount3 -u -z "$work/$m" 2>/dev/null ||
			umount -l "$work/$m"
	done
	[ -z "${demo_bridge:-}" ] || ip link del "$demo_bridge"
	for m in "${plain_pids[@]}"; do
		kill -9 "$m" 2>/dev/null
	done
	[ -z "$rig_port" ] || "$top/tests/rigs/$target.sh" down "$work" "$rig_port"
	cd /
	if [ "${DEMO_KEEP:-0}" = 1 ]; then
		echo "kept: $work"
	else
		rm -rf --one-file-system "$work"
	fi
	exit "$1"
}
trap 'cleanup $?' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- what must be there ----

case $target in
file | lio | tgt) ;;
*)
	echo "demo.sh: no target '$target'; one of file, lio, tgt" >&2
	exit 1
	;;
esac
cannot() # STATUS WHY...
{
	echo "demo.sh: ${*:2}" >&2
	exit "$1"
}
for p in mkfs.vmfs vmkfstools vmkernel vmx vim-cmd esxcli vmfs-fuse fsck.vmfs; do
	[ -x "$bin/$p" ] || cannot 1 "$bin/$p is not built (make all)"
done
[ "$(id -u)" = 0 ] || cannot 1 "needs root: it makes two hosts and two mounts"
[ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229 2>/dev/null
{ true <>/dev/fuse; } 2>/dev/null ||
	cannot 1 "/dev/fuse cannot be opened; is the kernel module fuse there?"
for p in qemu-system-x86_64 debugvmfs fusermount3 nsenter unshare; do
	command -v $p >/dev/null || cannot 77 "$p is missing (make deps)"
done

work=$(mktemp -d "${TMPDIR:-/var/tmp}/openvmfs-demo.XXXXXX") || exit 1
export VMFS_STATE_DIR=$work/proofs # nothing of it stays on this machine
chmod 755 "$work" # QEMU runs without privileges
cd "$work" || exit 1
ln -s "$bin" bin
echo "OpenVMFS demo, target: $target, in $work"

# ---- the story ----

start_target()
{
	if [ "$target" = file ]; then
		begin_step "The shared LUN is a sparse file of 4 GiB"
		must truncate -s 4G lun.img
		device=$work/lun.img
		return
	fi
	begin_step "An iSCSI target ($target) is started on loopback"
	must truncate -s 4G lun.img
	take_ports
	rig_port=$port
	show "$top/tests/rigs/$target.sh" up "$work" "$rig_port" "$work/lun.img"
	case $? in
	0) ;;
	77) exit 77 ;;
	*) die "the target did not start" ;;
	esac
	device=$(tail -n 1 "$work/said")
}

stop_target()
{
	[ "$target" != file ] || return 0
	must "$top/tests/rigs/$target.sh" down "$work" "$rig_port"
	rig_port=
}

make_volume()
{
	local make=(bin/mkfs.vmfs -V "$version" -L demo "$device")

	begin_step "The LUN becomes a VMFS volume"
	must "${make[@]}"
	show "${make[@]}" && die "a second mkfs was not refused"
	say "(a second time it refuses: something is there)"
}

build_guest()
{
	begin_step "A Linux guest disk is made of Debian's kernel and busybox"
	show "$top/tests/guest/build.sh" "$work/guest.raw"
	case $? in
	0) ;;
	77) exit 77 ;;
	*) die "no guest" ;;
	esac
	must ls -ls guest.raw
}

import_guest()
{
	begin_step "The disk goes to the datastore as vm1/vm1.vmdk, a .vmx beside it"
	must bin/vmkfstools -i guest.raw -d thin "$device:/vm1/vm1.vmdk"
	cp "$top/tests/guest/vm1.vmx" .
	must bin/vmkfstools --put vm1.vmx "$device:/vm1/vm1.vmx"
	must bin/vmkfstools -P "$device"
}

start_hosts()
{
	local host

	begin_step "Two hosts start, each with its own state and UUID, and attach the LUN"
	for host in hostA hostB; do
		boot_host $host
		on $host bin/vmkernel -d "$work/$host" --host-name $host \
			--device "$device" || die "vmkernel on $host"
		must cat $host/host.uuid
	done
	! cmp -s hostA/host.uuid hostB/host.uuid || die "one UUID for both"
	for host in hostA hostB; do
		must bin/esxcli -s "$work/$host/vmkernel.sock" storage filesystem list
		grep -qw demo said || die "$host does not see the datastore"
	done
}

power_on_a()
{
	local uuid='[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}'

	begin_step "Host A runs the VM; host B is refused while A lives"
	must_vim hostA solo/registervm "[demo] vm1/vm1.vmx"
	vm=$(tail -n 1 said | tr -dc 0-9)
	must_vim hostA vmsvc/getallvms
	must_vim hostA vmsvc/power.on "$vm"
	wait_until $boot_limit_s has_counted hostA 3 ||
		die "the guest did not count to 3 within $boot_limit_s s"
	show_console hostA
	must_vim hostA vmsvc/power.getstate "$vm"
	say "host A runs: $(processes_of hostA)"

	must_vim hostB solo/registervm "[demo] vm1/vm1.vmx"
	vim hostB vmsvc/power.on "$(tail -n 1 said | tr -dc 0-9)" &&
		die "host B was not refused"
	for word in 'vm1/vm1\.(vmx|vmdk)|vm1-flat\.vmdk' "host hostA \(($uuid)\)" \
		'heartbeat [0-9.]+ s ago'; do
		grep -Eq -- "$word" said || die "the refusal does not say: $word"
	done
}

must_vim() { vim "$@" || die "exit $? of: vim-cmd $2"; }

take_over()
{
	local shown last

	begin_step "Host A dies with its VM; host B takes over"
	echo "\$ kill -9 (all of host A: $(processes_of hostA))"
	kill_host hostA
	shown=$(told hostA COUNT)
	show_console hostA
	say "the last number that was shown on host A: $shown"
	must_vim hostB vmsvc/power.on "$vm"
	wait_until $boot_limit_s has_counted hostB $((shown + 2)) ||
		die "the guest did not count past $shown within $boot_limit_s s"
	show_console hostB
	last=$(told hostB LAST)
	[ "$last" -ge "$shown" ] || die "lost: $shown was shown, $last is on the disk"
	say "on the disk it found $last: nothing that was acknowledged is lost"
}

look_at_volume()
{
	local file

	begin_step "The volume is unmounted and looked at, by us and by others"
	must_vim hostB vmsvc/power.off "$vm"
	on hostB pkill -TERM -x vmkernel || die "no vmkernel on host B"
	host_has_ended hostB
	stop_target
	mkdir ours debian
	must bin/vmfs-fuse -o ro lun.img ours
	must ls -lR ours
	must /usr/sbin/vmfs-fuse lun.img debian
	while read -r file; do
		must cmp "ours/$file" "debian/$file"
	done < <(cd ours && find . -type f ! -name '.*.sf' -printf '%P\n' | sort)
	[ -f ours/vm1/vm1-flat.vmdk ] || die "vm1/vm1-flat.vmdk is not there"
	must fusermount3 -u debian
	must fusermount3 -u ours
	must /usr/sbin/debugvmfs lun.img check_vol_bitmaps
	grep -q 'Total errors: 0' said || die "debugvmfs found errors"
	must bin/fsck.vmfs -n lun.img
}

first_story()
{
	start_target
	make_volume
	build_guest
	import_guest
	start_hosts
	power_on_a
	take_over
	look_at_volume
	end_step
}

case ${DEMO_STORY:-first} in
ha)
	. "$top/tests/lib/demo_ha.sh"
	ha_story
	;;
vmotion)
	. "$top/tests/lib/demo_vmotion.sh"
	vmotion_story
	;;
*) first_story ;;
esac

echo
echo "DEMO PASSED ($target)"
printf '%s\n' "${times[@]}"
