#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tgt.sh: a private iSCSI target by Debian's tgtd, on loopback. It has RESERVE(6) but no
# COMPARE AND WRITE (it claims otherwise).
#
#   tgt.sh up DIR PORT LUNFILE...   starts it; the last lines of the output are the URLs,
#                                   one per LUNFILE in that order (LUN 1, 2, ...)
#   tgt.sh down DIR PORT            kills it at once (SIGKILL, like a power cut) and
#                                   leaves nothing behind; the LUN files are yours
#   tgt.sh cut DIR PORT             drops every TCP connection, the target stays
#   tgt.sh hang|thaw DIR PORT       freezes it: connections stay, nobody answers
#
# DIR must exist; what the rig needs lies in DIR/tgt-PORT. Several may run side by side.
# Environment: TGT_TUNED=0 keeps tgtd's own (slow) negotiation defaults; TGT_THREADS=N;
# TGT_BLOCK_SIZE=512|4096; TGT_CHAP=user%password asks for it; TGT_MUTUAL=user%password:
# proves itself with them, too; TGT_DIGESTS=1: wants CRC32C over headers and data.
# Exit: 0, 1 (one line says why), 77 when tgtd is not installed.
set -u
kind=tgt
verbs="up DIR PORT LUNFILE... | down|cut|hang|thaw DIR PORT"
logs=log
here=$(realpath "$(dirname "$0")")
iqn=iqn.2026-01.org.openvmfs:tgt

# shellcheck source=/dev/null
. "$here/rig.sh"
control=$((port % 32768)) # tgtd keeps it in 16 bits with a sign
export TGT_IPC_SOCKET=$rig/control

adm() { tgtadm -C "$control" --lld iscsi "$@"; }

is_ours() { # PID: still our tgtd? (One that nobody has waited for has no command line.)
	tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q "^tgtd -f -C $control "
}

add_lun() { # LUN FILE
	local id
	# Stable over restarts, different for every file: initiators know a disk by it.
	id=$(printf '%s' "$2" | sha256sum | cut -c1-14)
	adm --mode logicalunit --op new --tid 1 --lun "$1" -b "$2" \
		--blocksize="${TGT_BLOCK_SIZE:-512}" || return 1
	adm --mode logicalunit --op update --tid 1 --lun "$1" --params \
		"thin_provisioning=1,vendor_id=OPENVMFS,scsi_sn=$id,scsi_id=$id"
}

listens() { adm --mode portal --op show | grep -q "127.0.0.1:$port"; }

tune() { # what open-iscsi asks for, instead of 8 KiB pieces
	local pair
	for pair in MaxRecvDataSegmentLength=262144 MaxXmitDataSegmentLength=262144 \
		InitialR2T=No FirstBurstLength=262144 MaxBurstLength=1048576 \
		MaxOutstandingR2T=8; do
		adm --mode target --op update --tid 1 --name "${pair%=*}" \
			--value "${pair#*=}" || return 1
	done
}

account() { # USER%PASSWORD [--outgoing]
	local user=${1%%\%*} password=${1#*\%}
	shift
	adm --mode account --op new --user "$user" --password "$password" &&
		adm --mode account --op bind --tid 1 --user "$user" "$@"
}

want_digests() {
	local name
	for name in HeaderDigest DataDigest; do
		adm --mode target --op update --tid 1 --name $name --value CRC32C ||
			return 1
	done
}

keys() { # what stands behind the URL
	[ -z "${TGT_MUTUAL:-}" ] ||
		echo "?target_user=${TGT_MUTUAL%%\%*}&target_password=${TGT_MUTUAL#*\%}"
}

up() {
	local file lun=1 i
	[ $# -ge 1 ] || usage
	command -v tgtd >/dev/null || skip "tgtd is not installed (package tgt)"
	for file; do
		[ -f "$file" ] || die "$file: no such LUN file"
	done
	rig_make
	setsid tgtd -f -C "$control" -t "${TGT_THREADS:-16}" \
		--iscsi "portal=127.0.0.1:$port" </dev/null >"$rig/log" 2>&1 &
	disown
	echo $! >"$rig/pid"
	for ((i = 0; i < 600; i++)); do
		is_ours $! && adm --mode system --op show >/dev/null 2>&1 && break
		kill -0 $! 2>/dev/null || fail_up "port $port: tgtd ended at once"
		sleep 0.05
	done
	[ "$i" -lt 600 ] || fail_up "port $port: tgtd does not answer"
	adm --mode target --op new --tid 1 -T "$iqn" || fail_up "no target"
	[ "${TGT_TUNED:-1}" = 0 ] || tune || fail_up "parameters refused"
	for file; do
		add_lun $lun "$(realpath "$file")" || fail_up "$file: refused as a LUN"
		lun=$((lun + 1))
	done
	[ -z "${TGT_CHAP:-}" ] || account "$TGT_CHAP" || fail_up "account refused"
	[ -z "${TGT_MUTUAL:-}" ] || account "$TGT_MUTUAL" --outgoing ||
		fail_up "account refused"
	[ -z "${TGT_DIGESTS:-}" ] || want_digests || fail_up "digests refused"
	adm --mode target --op bind --tid 1 -I ALL || fail_up "bind refused"
	# It says nothing when the port is taken; one that was killed has it for a moment.
	for ((i = 0; i < 100; i++)); do
		listens && break
		adm --mode portal --op new --param portal="127.0.0.1:$port" 2>/dev/null
		sleep 0.1
	done
	listens || fail_up "port $port: cannot listen there"
	for ((i = 1; i < lun; i++)); do
		echo "iscsi://${TGT_CHAP:+$TGT_CHAP@}127.0.0.1:$port/$iqn/$i$(keys)"
	done
}

# One that went by itself meanwhile is cut, too, though it may be shown for a while.
cut_connections() {
	local session connection
	adm --mode conn --op show --tid 1 | awk '
		$1 == "Session:" { s = $2 }
		$1 == "Connection:" { print s, $2 }' |
	while read -r session connection; do
		adm --mode conn --op delete --tid 1 --sid "$session" \
			--cid "$connection" 2>"$rig/cut" ||
			grep -q "can't find the \(session\|connection\)" "$rig/cut" ||
			{ cat "$rig/cut" >&2; exit 1; }
	done
}

case $verb in
up) up "$@" ;;
down) down ;;
cut) cut_connections ;;
hang) pid_or_die && kill -STOP "$pid" ;;
thaw) pid_or_die && kill -CONT "$pid" ;;
*) usage ;;
esac
