#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfsctl on a file: the self-tests leave nothing behind, break-lock breaks whom it is
# told to and nobody who lives.
. "$(dirname "$0")/../lib/tap.sh"
need vmfsctl mkfs.vmfs fsck.vmfs vmkfstools vdisk-nbd vmfs-dump

LUN=$T/lun
truncate -s 1G "$LUN"
mkfs.vmfs -q -L ctl "$LUN" || { echo "Bail out! mkfs.vmfs"; exit 1; }
before=$(vmkfstools --dir "$LUN:/" | sort)

run vmfsctl atstest -n 8 -c 100 "$LUN"
is "$rc" 0 "atstest passes on a file"
like "$out" ": file locks by 8 sessions: 800 increments in .*, the sector shows 800, " \
	"all increments are there"
like "$out" "^.*lun: atomic$" "and that is the verdict"
run vmfsctl fencetest "$LUN"
is "$rc" 0 "fencetest on a file"
like "$out" "no persistent reservations: hosts are fenced by time alone$" "says so"
is "$(vmkfstools --dir "$LUN:/" | sort)" "$before" "nothing is left on the volume"
ok "which is clean" fsck.vmfs -n "$LUN"

truncate -s 8M "$T/raw"
run vmfsctl atstest -n 2 -c 50 --offset 1m --i-know "$T/raw"
like "$out" "2 sessions: 100 increments in .* shows 100, " "atstest without a volume"
is "$(od -An -tu8 -j 1M -N 24 "$T/raw" | tr -s ' ')" " 100 50
 50" "wrote where it was told"
refused "and not without a word" "^vmfsctl: --offset overwrites .*: say --i-know$" \
	vmfsctl atstest --offset 1m "$T/raw"
refused "nor outside of the device" "--offset 8388608: not in the sectors of" \
	vmfsctl atstest --offset 8m --i-know "$T/raw"

# ---- break-lock ----

ok "a disk is made" vmkfstools -c 20m "$LUN:/vm/d.vmdk"
vdisk-nbd "$LUN:/vm/d.vmdk" --socket "$T/nbd" >"$T/vmkernel" 2>&1 &
user=$!
at_exit kill -9 $user
ok "a host uses it" wait_for 10 test -S "$T/nbd"
slot=$(vmfs-dump --heartbeats "$LUN" | sed -n 's/^slot \([0-9]*\): .*/\1/p')
refused "its host is not broken without a word" "powered off, then say --i-know$" \
	vmfsctl break-lock "$LUN" "$slot"
run vmfsctl break-lock --i-know "$LUN" "$slot"
is "$rc" 1 "a living host is not broken, whatever is said"
like "$out" "alive: not broken$" "and is told to live"
ok "it has kept its lock" eval \
	'vmfs-dump --locks "$LUN" | grep -q "held by .*: alive$"'
kill -9 $user
wait $user 2>/dev/null
run vmfsctl break-lock --i-know "$LUN" "$slot"
is "$rc" 0 "a dead one is"
like "$out" "its slot is free, its locks are broken$" "and is told to be"
run vmfs-dump --heartbeats --locks "$LUN"
like "$out" "^0 of 2048 slots in use$" "its slot is free"
like "$out" "held by .*: its host is gone and was cleared away" "its lock is stale"
run vmfsctl break-lock --i-know "$LUN" "$slot"
like "$out" "^slot $slot: is free: nothing to break$" "a free slot"
refused "a slot that is none" "2048: not a heartbeat slot \(0 to 2047\)$" \
	vmfsctl break-lock --i-know "$LUN" 2048
refused "release-reservation on a file" "has no persistent reservations$" \
	vmfsctl release-reservation "$LUN"
refused "an unknown word" "^vmfsctl: nonsense: unknown" vmfsctl nonsense "$LUN"
ok "the volume is clean" fsck.vmfs -n "$LUN"
