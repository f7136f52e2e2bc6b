#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# pairs.sh FOLDER: all sequences of two operations, each with a power failure at every
# moment of the second (crash_ace, FULL; NIGHT=1 for all subsets and tears), in SLICES
# (40) parts, so that it may be stopped and goes on where it was: a part that is done has
# its output in FOLDER. At the end, or when LIMIT seconds are over, the sum. CRASH_ACE
# names the program.

set -eu
cd "$(dirname "$0")/../.."
folder=${1:?usage: pairs.sh FOLDER}
slices=${SLICES:-40} end=$((SECONDS + ${LIMIT:-1000000}))
program=${CRASH_ACE:-build/tests/crash/crash_ace}
mkdir -p "$folder"

for ((k = 0; k < slices && SECONDS < end; k++)); do
	done=$folder/$slices.$k
	[ ! -e "$done" ] || continue
	start=$SECONDS
	if ! FULL=1 CRASH_SLICE=$k/$slices SIM_CASE=two_operations_are_done_or_not \
		nice "$program" >"$done.now" 2>&1; then
		cat "$done.now"
		exit 1
	fi
	echo "# $((SECONDS - start)) seconds" >>"$done.now"
	mv "$done.now" "$done"
done
cat "$folder/$slices".* | awk -v slices="$slices" '
	/sequences; states/ {
		parts++
		sequences += $2
		gsub(",", "")
		for (i = 1; i < NF; i++)
			if ($i ~ /^[0-9]:$/)
				states += $(i + 1)
	}
	/seconds$/ { seconds += $2 }
	END {
		printf "%d of %d parts: %d sequences, %d states, %d seconds\n",
			parts, slices, sequences, states, seconds
		exit parts != slices
	}'
