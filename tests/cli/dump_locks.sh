#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfs-dump --heartbeats and --locks: who is there, who lives, who holds what. The user
# of the volume is a vdisk-nbd that serves a disk; it runs, is stopped, and is
# killed.

. "$(dirname "$0")/../lib/tap.sh"
need vmkfstools mkfs.vmfs vmfs-dump vdisk-nbd python3

LUN=$T/lun
truncate -s 1G "$LUN"
mkfs.vmfs -q -L who "$LUN" || { echo "Bail out! mkfs.vmfs"; exit 1; }

# field EXPRESSION: of the JSON in $out, which is called d.
field() {
	python3 -c 'import json, sys
d = json.load(sys.stdin)
print(eval(sys.argv[1]))' "$1" <<<"$out"
}

run vmfs-dump --heartbeats --locks "$LUN"
like "$out" "^0 of 2048 slots in use$" "nobody is there"
like "$out" "^0 of [0-9]+ locks are not free$" "and holds nothing"
ok "a disk is made" vmkfstools -c 20m "$LUN:/vm/d.vmdk"
before=$(md5sum <"$LUN")
run vmfs-dump --heartbeats --locks "$LUN"
is "$(md5sum <"$LUN")" "$before" "looking writes nothing"

vdisk-nbd "$LUN:/vm/d.vmdk" --socket "$T/nbd" >"$T/vmkernel" 2>&1 &
user=$!
at_exit kill -9 $user
ok "a host uses it" wait_for 10 test -S "$T/nbd"

run vmfs-dump --heartbeats --locks --watch 4 --json "$LUN"
is "$rc" 0 "--json is written"
is "$(field 'd["heartbeats"][0]["state"]')" alive "the host is alive"
is "$(field 'd["heartbeats"][0]["moves"] > 0')" True "its heartbeat was seen to move"
is "$(field '[l["path"] for l in d["locks"] if l["type"] == "10c00001"]')" \
	"['/vm/d-flat.vmdk']" "the disk is locked"
is "$(field '[(l["mode"], h["state"]) for l in d["locks"] for h in l["holders"]][-1]')" \
	"('exclusive', 'alive')" "exclusively, by a living host"
is "$(field 'd["locks"][-1]["holders"][0]["owner"] == d["heartbeats"][0]["owner"]')" \
	True "by that one"
is "$(field 'd["heartbeats"][0]["mac"].replace(":", "")')" \
	"$(field 'd["heartbeats"][0]["owner"][-12:]')" "whose UUID ends with its MAC"
run vmfs-dump --locks "$LUN"
like "$out" "^/vm/d-flat.vmdk \(FD [0-9]+/[0-9]+\): exclusive$" "as text: the object"
like "$out" "held by [^ ]+ \([0-9a-f-]{35}, MAC [0-9a-f:]{17}, slot [0-9]+.*\): alive$" \
	"and its holder"

kill -STOP $user
run vmfs-dump --heartbeats --watch 7 "$LUN"
kill -CONT $user
like "$out" ": host [^ ]+, alive: its process exists .* did not move for .*: stopped\?$" \
	"a stopped process is alive, and what is odd about it is said"

kill -9 $user
wait $user 2>/dev/null
run vmfs-dump --heartbeats --locks "$LUN"
like "$out" "^slot [0-9]+: host [^ ]+, dead: its process is gone" "a killed one is dead"
like "$out" "held by [^ ]+ \(.*\): dead$" "and so is the holder"
ok "somebody else takes the disk" vmkfstools -U "$LUN:/vm/d.vmdk"
run vmfs-dump --heartbeats "$LUN"
like "$out" "^0 of 2048 slots in use$" "the dead host is cleared away"

# A record that names a generation which has passed, and a damaged one.
ok "a file is made" vmkfstools --put "$0" "$LUN:/f"
run vmfs-dump "$LUN" lock /f
at=$(sed -n 's/^  0x004  addr *0x\([0-9a-f]*\).*/\1/p' <<<"$out")
at=$((0x$at + 0x1100000)) # behind the LVM header
printf '\1' | dd of="$LUN" bs=1 seek=$((at + 0x24)) conv=notrunc status=none
run vmfs-dump --locks --json "$LUN"
is "$(field '[(l["path"], [h["state"] for h in l["holders"]]) for l in d["locks"]]')" \
	"[('/f', ['stale'])]" "a stale lock"
printf '\7' | dd of="$LUN" bs=1 seek=$((at + 0x24)) conv=notrunc status=none
run vmfs-dump --locks "$LUN"
like "$out" "^/f \(FD .*\): damaged lock" "a damaged one"

refused "--json alone" "^vmfs-dump: --json goes with --heartbeats or --locks$" \
	vmfs-dump --json "$LUN"
refused "a time that is none" "^vmfs-dump: --watch soon: not 0 to 86400 seconds$" \
	vmfs-dump --locks --watch soon "$LUN"
refused "WHAT as well" "^vmfs-dump: fs: does not go with --heartbeats or --locks$" \
	vmfs-dump --locks "$LUN" fs
