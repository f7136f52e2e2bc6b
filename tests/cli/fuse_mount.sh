#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfs-fuse mounts a volume with a file of every kind, on one extent and on two; the
# kernel sees what is in it, and the volume is not touched.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need vmfs-dump
handmade=$BIN/../tests/unit/handmade_volume
[ -x "$handmade" ] || skip_all "$handmade is not built"

mnt=$T/mnt
mount_folder "$mnt"

touch "$T/one" "$T/a" "$T/b"
"$handmade" "$T/one" || skip_all "cannot make a volume"
"$handmade" "$T/a" "$T/b" || skip_all "cannot make a volume of two extents"
before=$(stat -c "%y %z" "$T/one")

look() {
	local system=".fbb.sf .fdc.sf .pb2.sf .pbc.sf .sbc.sf .sdd.sf .vh.sf"
	is "$(ls -A "$mnt" | tr '\n' ' ')" "$system dir double link pointers rdm " \
		"$1: the root is listed"
	is "$(ls "$mnt/dir" | tr '\n' ' ')" "blocks resident sub tbz " \
		"$1: a folder is listed"
	is "$(cat "$mnt/dir/resident")" "hello world" "$1: resident data"
	is "$(readlink "$mnt/link")" dir/resident "$1: a symbolic link"
	is "$(cat "$mnt/link")" "hello world" "$1: through it"
	is "$(stat -c '%s %a %h %F' "$mnt/dir/sub")" "6000 600 1 regular file" \
		"$1: attributes"
	is "$(stat -c '%i %h %a' "$mnt")" "1 4 1755" "$1: the root is inode 1"
	is "$(stat -c '%i' "$mnt/dir")" $((0x02000004)) "$1: inode = FD address"
	is "$(stat -c '%s %Y' "$mnt/dir/blocks")" "2097157 1600000000" "$1: size and time"
	ok "$1: blocks to be zeroed are zeros" cmp -n 1048576 "$mnt/dir/tbz" /dev/zero
	ok "$1: a hole is zeros" cmp -n 1048576 -i 1048576:0 "$mnt/dir/blocks" /dev/zero
	# 257 GiB, of which 1 MiB are data: seeking finds them, or this takes minutes.
	ok "$1: data are found behind 256 GiB" \
		timeout 60 cp --sparse=always "$mnt/double" "$T/double"
	is "$(stat -c %s "$T/double")" $((257 << 30)) "$1: the copy has its size"
	ok "$1: and its blocks" test "$(du -k "$T/double" | cut -f1)" -ge 1024 -a \
		"$(du -k "$T/double" | cut -f1)" -le 1100
	ok "$1: the same bytes" \
		cmp -i $(((257 << 30) - (1 << 20))) "$T/double" "$mnt/double"
	rm -f "$T/double"
	ok "$1: a raw device mapping is not read" sh -c "! cat '$mnt/rdm' >/dev/null 2>&1"
	ok "$1: what is not there is not there" test ! -e "$mnt/none"
	ok "$1: nothing can be made" sh -c "! touch '$mnt/new' 2>/dev/null"
	ok "$1: nothing can be written" \
		sh -c "! sh -c 'echo x >>$mnt/dir/sub' 2>/dev/null"
}

run vmfs-fuse "$T/one" "$mnt"
is "$rc:$out" 0: "it mounts and goes to the background"
ok "the mount stands when it returns" mounted "$mnt" ro,
look "one extent"
free=$(vmfs-dump "$T/one" resources | sed -n 's/^\.fbb\.sf: .*, \([0-9]*\) free.*/\1/p')
is "$(stat -f -c '%S %b %f' "$mnt")" "1048576 1792 $free" "statfs"

# Workers come with what is asked at a time, and those that are not needed go.
workers() { # TEST NUMBER
	[ "$(grep -l "^fuse$" "/proc/$(pgrep -f "vmfs-fuse $T/one")"/task/*/comm |
		wc -l)" "$@" ]
}
if [ -n "${FULL:-}" ]; then
	(for ((i = 0; i < 24; i++)); do
		while [ ! -e "$T/enough" ]; do cat "$mnt/dir/blocks" >/dev/null; done &
	done; wait) &
	ok "many readers, many workers" wait_for 60 workers -gt 4
	touch "$T/enough"
	wait $!
	ok "two are left" wait_for 60 workers -eq 2
	is "$(cat "$mnt/dir/resident")" "hello world" "and work"
else
	skip 3 "how many workers: with FULL=1"
fi
ok "fusermount3 -u ends it" fusermount3 -u "$mnt"
ok "it is gone" wait_for 20 gone "$mnt"
is "$(stat -c "%y %z" "$T/one")" "$before" "the volume was not written to"

# Two extents, in the wrong order, in the foreground, one thread; ended by SIGTERM.
vmfs-fuse -f -s "$T/b" "$T/a" "$mnt" &
pid=$!
ok "two extents are mounted" wait_for 5 mounted "$mnt" ro,
look "two extents"
kill -TERM "$pid"
wait "$pid"
is "$?" 0 "SIGTERM: a clean end"
ok "and unmounted" gone "$mnt"

# Who is refused.
refused "one extent of two" "missing" vmfs-fuse -f "$T/a" "$mnt"
refused "no mountpoint" "$T/none: No such file" vmfs-fuse "$T/one" "$T/none"
refused "a mountpoint that is a file" "one: not a directory" vmfs-fuse "$T/one" "$T/one"
refused "no device" "none: No such file" vmfs-fuse "$T/none" "$mnt"
truncate -s 1G "$T/blank"
refused "what is not VMFS" "blank: " vmfs-fuse "$T/blank" "$mnt"
refused "one argument" "a DEVICE and a MOUNTPOINT" vmfs-fuse "$T/one"
ok "nothing is mounted by them" gone "$mnt"

# Reads come one by one: one worker does them all. When its storage stops, others hear
# what is asked.
if [ "$(uname -m)" = x86_64 ]; then
	list() { # flistxattr(9): needs no storage
		perl -e 'exit(syscall(196, 9, $v = " " x 4096, 4096) < 0)'
	}
	below=$T/below
	mount_folder "$below"
	truncate -s 3G "$T/under"
	mkfs.vmfs -q "$T/under" 2>/dev/null
	ok "a volume" vmfs-fuse -o rw "$T/under" "$below"
	ok "with one in it" cp --sparse=always "$T/one" "$below/one"
	ok "it unmounts" unmount "$below"
	vmfs-fuse -f "$T/under" "$below" &
	pid=$!
	ok "the outer is mounted" wait_for 20 mounted "$below" ro,
	ok "and the inner" vmfs-fuse -o immutable "$below/one" "$mnt"
	exec 9<"$mnt/dir/blocks"
	ok "it has attributes" list
	(while dd if="$mnt/dir/blocks" of=/dev/null bs=4k count=256 iflag=direct \
		2>/dev/null; do :; done) &
	reader=$!
	are_heard() {
		local rc=0

		for _ in 1 2 3 4 5; do
			sleep 0.2
			kill -STOP "$pid"
			sleep 0.1
			timeout 10 bash -c "$(declare -f list); list" || rc=1
			kill -CONT "$pid"
		done
		return $rc
	}
	ok "others are heard while one waits for storage" are_heard
	kill "$reader"
	wait "$reader" 2>/dev/null
	exec 9<&-
	ok "the inner unmounts" wait_for 20 unmount "$mnt"
	ok "so does the outer" wait_for 20 unmount "$below"
else
	skip 9 "system calls by number: on x86_64"
fi
