# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A vmkernel of a test, in $T/state, and what esxcli says of it. Sourced after tap.sh; the
# script calls `at_exit host_down` when what the host needs has its own at_exit.

export VMKERNEL_SOCKET=$T/state/vmkernel.sock

host_up() { # [OPTION...]
	vmkernel -c /dev/null -d "$T/state" "$@" 2>"$T/err"
}

host_down() {
	[ ! -e "$T/state/vmkernel.pid" ] || kill "$(cat "$T/state/vmkernel.pid")"
	wait_for 30 test ! -e "$T/state/vmkernel.pid"
}

esx() { # WORD...: as run; all that it ever says is kept in $T/said
	run esxcli "$@"
	printf '%s\n' "$out" >>"$T/said"
}

does() { # NAME WORD...: works, and says nothing
	local name=$1
	shift
	esx "$@"
	is "$rc:$out" "0:" "$name"
}

shows() { # NAME REGEX WORD...
	local name=$1 regex=$2
	shift 2
	esx "$@"
	like "$rc:$out" "$regex" "$name"
}
