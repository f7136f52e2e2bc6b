#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# own.sh: a private iSCSI target by tests/target/iscsi-target, on loopback. It has COMPARE
# AND WRITE, XCOPY, UNMAP, persistent reservations and ALUA, and does wrong on command.
#
#   own.sh up DIR PORT WHAT...      starts it; the last lines of the output are the URLs,
#                                   one per WHAT (a file, or null:SIZE) in that order
#                                   (LUN 1, 2, ...)
#   own.sh down DIR PORT            kills it at once (SIGKILL, like a power cut) and
#                                   leaves nothing behind but OWN_STATE; the files are
#                                   yours
#   own.sh do DIR PORT COMMAND...   a command of the script: `iscsi-target --help`
#   own.sh cut DIR PORT             drops every TCP connection, the target stays
#   own.sh hang|thaw DIR PORT       freezes it: connections stay, nobody answers
#
# DIR must exist; what the rig needs lies in DIR/own-PORT. Several may run side by side.
# Environment: OWN_OPTIONS more options of the program (words: "-p 3301:2 -w 32");
# OWN_BLOCK_SIZE=512|4096; OWN_CHAP=user%password asks for it; OWN_MUTUAL=user%password:
# proves itself with them, too; OWN_DIGESTS=1: wants CRC32C over headers and data;
# OWN_STATE=DIR keeps APTPL reservations; BIN (build/bin).
# Exit: 0, 1 (one line says why), 77 when the program is not built.
set -u
kind=own
verbs="up DIR PORT WHAT... | down|cut|hang|thaw DIR PORT | do DIR PORT COMMAND..."
logs=log
here=$(realpath "$(dirname "$0")")
build=${BIN:-$here/../../build/bin}
program=${build%/bin}/tests/target/iscsi-target
iqn=iqn.2026-01.org.openvmfs:own

# shellcheck source=/dev/null
. "$here/rig.sh"

is_ours() { # PID: still our target? (A dead one has no command line.)
	tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q "/iscsi-target -p $port "
}

keys() { # what stands behind the URL
	[ -z "${OWN_MUTUAL:-}" ] ||
		echo "?target_user=${OWN_MUTUAL%%\%*}&target_password=${OWN_MUTUAL#*\%}"
}

up() {
	local what lun=0 i luns=() more=()
	[ $# -ge 1 ] || usage
	[ -x "$program" ] || skip "$program is not built (make tests)"
	for what; do
		[[ $what == null:* ]] || [ -f "$what" ] || die "$what: no such LUN file"
		lun=$((lun + 1))
		luns+=(-l "$lun=$what,block=${OWN_BLOCK_SIZE:-512}")
	done
	[ -z "${OWN_CHAP:-}" ] || more+=(-u "$OWN_CHAP")
	[ -z "${OWN_MUTUAL:-}" ] || more+=(-m "$OWN_MUTUAL")
	[ -z "${OWN_DIGESTS:-}" ] || more+=(-k HeaderDigest=CRC32C -k DataDigest=CRC32C)
	[ -z "${OWN_STATE:-}" ] || more+=(-s "$OWN_STATE")
	rig_make
	: >"$rig/log"
	# shellcheck disable=SC2086
	setsid "$program" -p "$port" ${OWN_OPTIONS:-} -c "$rig/ctl" "${more[@]}" \
		-t "$iqn" "${luns[@]}" </dev/null >"$rig/log" 2>&1 &
	disown
	echo $! >"$rig/pid"
	for ((i = 0; i < 600; i++)); do
		grep -q '^ready$' "$rig/log" && break
		kill -0 $! 2>/dev/null || fail_up "port $port: it ended at once"
		sleep 0.02
	done
	[ "$i" -lt 600 ] || fail_up "port $port: it is not ready"
	for ((i = 1; i <= lun; i++)); do
		echo "iscsi://${OWN_CHAP:+$OWN_CHAP@}127.0.0.1:$port/$iqn/$i$(keys)"
	done
}

case $verb in
up) up "$@" ;;
down) down ;;
do) [ $# -ge 1 ] || usage; "$program" --ctl "$rig/ctl" "$@" ;;
cut) "$program" --ctl "$rig/ctl" reset ;;
hang) pid_or_die && kill -STOP "$pid" ;;
thaw) pid_or_die && kill -CONT "$pid" ;;
*) usage ;;
esac
