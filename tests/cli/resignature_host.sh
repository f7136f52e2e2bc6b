#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host among whose devices are copies starts without them; esxcli lists them, attaches
# one whose original is not there, and signs one anew beside its original.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need mkfs.vmfs vmkfstools vmkernel esxcli fsck.vmfs

a=$T/a b=$T/b c=$T/c
truncate -s 1G "$a" "$c"
mkfs.vmfs -q -L first "$a"
mkfs.vmfs -q -L moved "$c"
vmkfstools --put /etc/os-release "$a:/file"
cp --sparse=always "$a" "$b"
# The header of c says that it was made on a disk.
printf '\1\6\0\0\0\5OPENVMFSLUN             1.0 SERIAL' |
	dd of="$c" bs=1 seek=$((0x10000c)) conv=notrunc status=none

at_exit host_down
vmkernel -c /dev/null -d "$T/state" --device "$a" --device "$b" --device "$c" \
	>"$T/out" 2>&1
is "$?" 0 "a host with copies among its devices starts"
like "$(cat "$T/out")" "$b holds the same volume as $a: not attached" \
	"and says which one has the same volume as another"
like "$(cat "$T/out")" "refusing to write: $c is a copy" "and which one is a copy"
run esxcli storage filesystem list
like "$out" "first" "the original is attached"
unlike "$out" "moved" "the copy is not"

run esxcli storage vmfs snapshot list
is "$rc $(grep -c "Volume Name" <<<"$out")" "0 2" "both are listed"
like "$out" "Reason for un-mountability: the original volume is still online" \
	"one cannot be mounted"
refused "indeed" "first: the original volume is still online" \
	esxcli storage vmfs snapshot mount -l first
refused "an unknown one" "none: no such snapshot" \
	esxcli storage vmfs snapshot mount -l none
run esxcli storage vmfs snapshot mount -l moved -n
is "$rc:$out" "0:" "one without an original can be mounted"
run esxcli storage vmfs snapshot resignature -u "$(vmkfstools -P "$b" |
	sed -n 's/^UUID: //p')"
is "$rc:$out" "0:" "the other one gets a signature"
run esxcli storage vmfs snapshot list
is "$rc:$out" "0:" "no more copies"
run esxcli storage filesystem list
like "$out" " first " "the original"
like "$out" " snap-[0-9a-f]{8}-first " "the one signed anew"
like "$out" " moved " "and the one kept are attached"
run vmkfstools --get "[$(grep -o "snap-[0-9a-f]*-first" <<<"$out")] file" "$T/got"
ok "it holds what the original holds" cmp /etc/os-release "$T/got"
ok "the host ends" host_down
for i in "$a" "$b" "$c"; do
	run fsck.vmfs -n "$i"
	is "$rc" 0 "clean: ${i##*/}"
done
