# SPDX-License-Identifier: Apache-2.0
# For the tests of what goes wrong in the field: hosts, a guest that counts with fsync,
# and a LUN behind Debian's tgt. Source it after tap.sh.

chmod 755 "$T" # QEMU runs without privileges

# vim HOST ARGUMENT...: ends by itself.
vim() {
	timeout -k 5 150 "$BIN/vim-cmd" -s "$T/$1/vmkernel.sock" "${@:2}"
}

# host NAME DEVICE [OPTION...]: starts a vmkernel; what it left is killed at the end.
host() {
	local name=$1 device=$2
	shift 2
	at_exit harm_kill_host "$name"
	timeout -k 5 150 "$BIN/vmkernel" -d "$T/$name" --host-name "$name" \
		--device "$device" "$@"
}

pid_of() { # HOST
	cat "$T/$1/vmkernel.pid"
}

# The processes of a host: vmkernel, vmx and QEMU name its folder or run in it.
processes_of() { # HOST
	local p
	for p in $(pgrep -x "vmkernel|vmx|qemu-system-x86"); do
		p=/proc/$p
		if tr '\0' ' ' <"$p/cmdline" | grep -q -F "$T/$1" ||
			[[ $(readlink "$p/cwd")/ == "$T/$1"/* ]]; then
			echo "${p#/proc/}"
		fi
	done 2>/dev/null
}

harm_kill_host() { # NAME
	local pids
	pids=$(processes_of "$1")
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill -9 $pids
}

# A host is gone when nothing of it runs.
gone() { # HOST
	[ -z "$(processes_of "$1")" ]
}

host_ends() { # HOST: in order, when it is told to
	kill "$(pid_of "$1")" && wait_for 60 gone "$1"
}

has_no_qemu() { # HOST
	local p
	for p in $(processes_of "$1"); do
		[[ $(readlink "/proc/$p/exe") != */qemu-system-x86_64 ]] || return 1
	done
}

# It offers itself for vMotion to the hosts of the datastore.
takes_vms() { # HOST DEVICE
	vmkfstools --get "$2:/.vmotion/$1" "$T/got"
}

log_says() { # HOST REGEX
	grep -Eq -e "$2" "$T/$1/vmkernel.log"
}

is_state() { # HOST ID STATE
	vim "$1" vmsvc/power.getstate "$2" | grep -q -x "$3"
}

# ---- the guest that counts ----

# make_guest: $T/guest.raw; the test is skipped where it cannot be built.
make_guest() {
	"$ROOT/tests/guest/build.sh" "$T/guest.raw" >"$T/err" 2>&1
	case $? in
	0) ;;
	77) skip_all "$(tail -n 1 "$T/err")" ;;
	*) skip_all "the guest was not built: $(tail -n 1 "$T/err")" ;;
	esac
}

# install_vm DEVICE NAME: the guest as NAME/NAME.vmdk and .vmx.
install_vm() {
	sed "s/vm1/$2/" "$ROOT/tests/guest/vm1.vmx" >"$T/$2.vmx"
	vmkfstools -i "$T/guest.raw" -d thin "$1:/$2/$2.vmdk" &&
		vmkfstools --put "$T/$2.vmx" "$1:/$2/$2.vmx"
}

register() { # HOST NAME: prints the id
	vim "$1" solo/registervm "[vms] $2/$2.vmx" | tr -dc 0-9
}

console() { # HOST ID
	echo "$T/$1/vms/$2/serial0.txt"
}

# told HOST ID WORD: the last number that the guest told after WORD (LAST, COUNT), or 0.
told() {
	local n
	n=$(sed -n "s/^$3 \([0-9]*\)[^0-9].*/\1/p" "$(console "$1" "$2")" 2>/dev/null |
		tail -n 1)
	echo "${n:-0}"
}

counted() { # HOST ID AT-LEAST
	[ "$(told "$1" "$2" COUNT)" -ge "$3" ]
}

# goes_on HOST ID SECONDS: the guest counts on within that time.
goes_on() {
	wait_for "$3" counted "$1" "$2" $(($(told "$1" "$2" COUNT) + 2))
}

# ---- the end ----

# whole IMAGE NAME: no program finds anything wrong on a volume that nobody uses.
whole() {
	run fsck.vmfs -n "$1"
	is "$rc" 0 "fsck.vmfs: $2"
	[ -x /usr/sbin/debugvmfs ] || {
		skip 1 "no debugvmfs (package vmfs-tools)"
		return
	}
	run /usr/sbin/debugvmfs "$1" check_vol_bitmaps
	like "$out" "^Total errors: 0$" "debugvmfs: $2"
}

# tgt up|down|hang|thaw|cut PORT [FILE]: up sets $URL.
tgt() {
	if [ "$1" != up ]; then
		"$ROOT/tests/rigs/tgt.sh" "$1" "$T" "$2"
		return
	fi
	at_exit "$ROOT/tests/rigs/tgt.sh" thaw "$T" "$2"
	at_exit "$ROOT/tests/rigs/tgt.sh" down "$T" "$2"
	"$ROOT/tests/rigs/tgt.sh" up "$T" "$2" "$3" >"$T/rig" 2>&1
	case $? in
	0) URL=$(tail -n 1 "$T/rig") ;;
	77) skip_all "$(tail -n 1 "$T/rig")" ;;
	*) echo "Bail out! $(tail -n 1 "$T/rig")"; exit 1 ;;
	esac
}
