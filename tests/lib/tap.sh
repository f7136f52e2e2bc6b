# SPDX-License-Identifier: Apache-2.0
# TAP for shell tests. Source it first:
#
#	#!/bin/bash
#	. "$(dirname "$0")/../lib/tap.sh"
#	need mkfs.vmfs debugvmfs          # skips the whole script if one is missing
#	plan 3
#	run mkfs.vmfs -n "$T/image"       # output in $out, exit code in $rc
#	is "$rc" 0 "mkfs prints a layout"
#	like "$out" "resource" "and names the resource files"
#	ok "nothing was written" [ ! -s "$T/image" ]
#
# $BIN is the folder of our programs (default build/bin, or build/$V/bin) and stands first
# in PATH; $ROOT the checkout; $T a fresh folder that is removed at the end. Everything
# handed to at_exit runs at the end too, last first, however the script ends. A script
# without plan prints its plan at the end. Exit code 0: all well or skipped, 1: something
# was not ok.

set -u -o pipefail
export LC_ALL=C
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${BIN:-$ROOT/build${V:+/$V}/bin}
case $BIN in /*) ;; *) BIN=$PWD/$BIN ;; esac
export ROOT BIN VMFS_STATE_DIR
PATH=$BIN:$PATH:/usr/sbin:/sbin
T=$(mktemp -d "${TMPDIR:-/tmp}/vmfs-test.XXXXXX") || exit 1
VMFS_STATE_DIR=$T/proofs # tools keep nothing on this machine

tap_count=0 tap_failed=0 tap_planned= tap_exit=()
out= rc=0

# at_exit COMMAND [ARG...]: runs it at the end; failures are ignored.
at_exit() {
	tap_exit+=("$(printf '%q ' "$@")")
}

tap_end() {
	local status=$? i
	trap - EXIT
	for ((i = ${#tap_exit[@]} - 1; i >= 0; i--)); do
		eval "${tap_exit[i]}" >/dev/null 2>&1
	done
	rm -rf --one-file-system "$T"
	[ -n "$tap_planned" ] || { echo "1..$tap_count"; tap_planned=$tap_count; }
	if [ "$tap_planned" != skip ]; then
		if [ "$tap_count" != "$tap_planned" ]; then
			diag "planned $tap_planned tests, ran $tap_count"
			status=1
		fi
		[ "$tap_failed" = 0 ] || status=1
	fi
	exit "$status"
}
trap tap_end EXIT
# shellcheck source=/dev/null
. "$ROOT/tests/lib/places.sh"
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

plan() {
	tap_planned=$1
	echo "1..$1"
}

diag() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

# skip_all REASON: ends the script.
skip_all() {
	tap_planned=skip
	echo "1..0 # SKIP $*"
	exit 0
}

# need PROGRAM...: skips the script unless all are found (ours are found in $BIN).
need() {
	local p
	for p; do
		command -v "$p" >/dev/null || skip_all "$p is not there"
	done
}

need_root() {
	[ "$(id -u)" = 0 ] || skip_all "needs root"
}

pass() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $*"
}

fail() {
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $*"
}

# skip COUNT REASON: counts COUNT tests as skipped.
skip() {
	local i
	for ((i = 0; i < $1; i++)); do
		tap_count=$((tap_count + 1))
		echo "ok $tap_count # SKIP ${*:2}"
	done
}

# ok NAME COMMAND [ARG...]: passes if the command does; shows its output if not.
ok() {
	local name=$1 text
	shift
	if text=$("$@" 2>&1); then
		pass "$name"
	else
		local code=$?
		fail "$name"
		# cmocka's 255 with nothing said: a thread other than the test's own
		diag "failed ($code): $*"
		[ -z "$text" ] || diag "$text"
		return 1
	fi
}

# run COMMAND [ARG...]: stdout and stderr into $out, exit code into $rc.
run() {
	out=$("$@" 2>&1)
	rc=$?
}

# is GOT WANTED NAME
is() {
	if [ "$1" = "$2" ]; then
		pass "$3"
	else
		fail "$3"
		diag "got:    $1"
		diag "wanted: $2"
		[ -z "$out" ] || diag "output: $out"
		return 1
	fi
}

# like TEXT REGEX NAME: extended regular expression, line by line.
like() {
	if grep -Eq -e "$2" <<<"$1"; then
		pass "$3"
	else
		fail "$3"
		diag "no line matches: $2"
		diag "in: $1"
		return 1
	fi
}

# unlike TEXT REGEX NAME
unlike() {
	if ! grep -Eq -e "$2" <<<"$1"; then
		pass "$3"
	else
		fail "$3"
		diag "a line matches: $2"
		diag "in: $1"
		return 1
	fi
}

# refused NAME REGEX COMMAND [ARG...]: the command fails (no signal) with one line of
# output that matches.
refused() {
	local name=$1 regex=$2
	shift 2
	run "$@"
	if [ "$rc" != 0 ] && [ "$rc" -lt 126 ] && [ "$(wc -l <<<"$out")" = 1 ] &&
		grep -Eq -e "$regex" <<<"$out"; then
		pass "$name"
	else
		fail "$name"
		diag "$* gave $rc: $out"
		diag "wanted: an exit code of 1 to 125 and one line that matches $regex"
		return 1
	fi
}

# wait_for SECONDS COMMAND [ARG...]: tries ten times a second until the command passes.
# SECONDS are those of a machine that has time; a busy one gets four times as many.
wait_for() {
	local tries=$(($1 * 40))
	shift
	while ! "$@" >/dev/null 2>&1; do
		[ "$tries" -gt 0 ] || return 1
		tries=$((tries - 1))
		sleep 0.1
	done
}
