#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# soak.sh: storms of ten minutes, one after the other, for SOAK_HOURS (8), on each
# transport of SOAK_TRANSPORTS in turn. Ends at the first that breaks a rule and keeps
# what that one left.
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
end=$((SECONDS + ${SOAK_HOURS:-8} * 3600))
T=$(mktemp -d "${TMPDIR:-/tmp}/soak.XXXXXX") || exit 1
n=0
while [ "$SECONDS" -lt "$end" ]; do
	for transport in ${SOAK_TRANSPORTS:-file}; do
		n=$((n + 1))
		rm -rf "$T/storm"
		STORM_SECONDS=${STORM_SECONDS:-600} STORM_HOSTS=$((3 + n % 4)) \
			STORM_STOP_MAX=40 \
			"$ROOT/tests/storm/storm.sh" "$transport" "$T/storm"
		case $? in
		0) ;;
		77) echo "soak: $transport is not to be had here" ;;
		*) echo "soak: see $T/storm"; exit 1 ;;
		esac
		[ "$SECONDS" -lt "$end" ] || break
	done
done
rm -rf "$T"
echo "soak: $n storms, nothing broken"
