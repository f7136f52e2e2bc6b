#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The power fails while vmfs-fuse -o rw is at work, or the mount is killed: the next one
# finds what was synced (killed: what was answered), all of one moment, and fsck nothing.
# tests/mount/mount_power.c works and judges; tests/rigs/logged.c keeps what the mount
# wrote.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs vmkfstools fsck.vmfs
rigs=$BIN/../tests/rigs power=$BIN/../tests/mount/mount_power
[ -x "$rigs/vmfs-fuse" ] && [ -x "$power" ] || skip_all "$rigs/vmfs-fuse is not built"
mnt=$T/mnt other=$T/other
mount_folder "$mnt"
mount_folder "$other"
truncate -s 700M "$T/base"
mkfs.vmfs -q -L power "$T/base" 2>"$T/log" || skip_all "$(cat "$T/log")"
ok "a disk" vmkfstools -c 1m -d thin "$T/base:/d.vmdk"
ok "and one on it" "$rigs/snapshot" "$T/base" /d.vmdk /child.vmdk vmfssparse

serve() { # PROGRAM LUN
	"$1" -f -o rw,vdisks "$2" "$mnt" >"$T/log" 2>&1 &
	served=$!
	at_exit kill -9 "$served"
	ok "it is mounted" wait_for 20 mounted "$mnt" || diag "$(cat "$T/log")"
}

export WRITE_LOG=$T/writes
seeds=1 operations=60 states=2
[ -z "${FULL:-}" ] || seeds=$(seq 10) operations=300 states=60
for seed in ${SEEDS:-$seeds}; do
	rm -f "$WRITE_LOG"
	cp --sparse=always "$T/base" "$T/lun"
	serve "$rigs/vmfs-fuse" "$T/lun"
	ok "the power fails at $states moments, seed $seed" "$power" power "$mnt" \
		"$seed" "$operations" "$states" "$WRITE_LOG" "$T/base" "$T/image" "$other"
	ok "it unmounts" unmount "$mnt"
	clean "$T/lun" "without a failure"
done

rounds=1
[ -z "${FULL:-}" ] || rounds=$(seq 40)
for seed in ${SEEDS:-$rounds}; do
	cp --sparse=always "$T/base" "$T/lun"
	serve vmfs-fuse "$T/lun"
	ok "it is killed, seed $seed" \
		"$power" kill "$mnt" "$seed" 100000 "$served" "$T/lun" "$other"
done

depth=$BIN/../tests/mount/mount_depth
for seed in ${SEEDS:-$rounds}; do
	cp --sparse=always "$T/base" "$T/lun"
	serve vmfs-fuse "$T/lun"
	ok "it is killed under many requests, seed $seed" \
		eval '"$depth" "$mnt/deep" "$seed" 4000 "$served" >"$T/deep"'
	fusermount3 -q -u -z "$mnt"
	ok "another goes on" vmfs-fuse -o rw "$T/lun" "$other"
	ok "and finds what was answered" eval '"$depth" "$other/deep" <"$T/deep"'
	ok "it unmounts" unmount "$other"
	clean "$T/lun" "killed"
done
is "$(cat "$T"/sanitizer.* 2>/dev/null)" "" "no sanitizer has a word"
