#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Hashed directories that we wrote are read by vmfs6-tools: names of every length and of
# many bytes, thousands in one directory, after some were moved, replaced and removed.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmfs-fuse fusermount3
[ -w /dev/fuse ] || skip_all "no /dev/fuse"
theirs=/usr/sbin/vmfs6-fuse
[ -x "$theirs" ] || skip_all "no vmfs6-fuse of vmfs6-tools"

ds=$T/ds
truncate -s 4G "$ds"
mkfs.vmfs -V 6 -q -L hashed "$ds"
mkdir "$T/ours" "$T/theirs"
at_exit fusermount3 -q -u -z "$T/ours"
at_exit fusermount3 -q -u -z "$T/theirs"
vmfs-fuse -f -o rw "$ds" "$T/ours" &
pid=$!
mounted() { mountpoint -q "$T/ours"; }
ok "we mount it read-write" wait_for 20 mounted
cd "$T/ours" || exit 1
mkdir many names deep gone
for ((i = 0; i < 1500; i++)); do
	: >"many/file-$i"
done
for ((i = 1; i <= 127; i++)); do
	: >"names/$(printf 'n%.0s' $(seq "$i"))"
done
printf 'x' >"names/$(printf '\303\244%.0s' $(seq 63))"
ok "a name of 127 bytes is the longest" test ! -e "names/$(printf 'n%.0s' $(seq 128))"
mkdir -p deep/1/2/3/4/5
ln -s ../many deep/1/2/link
for ((i = 0; i < 1500; i += 3)); do
	rm "many/file-$i"
done
for ((i = 1; i < 300; i += 3)); do
	mv "many/file-$i" "many/moved-$i"
done
for ((i = 301; i < 400; i += 3)); do
	mv "many/file-$i" "many/file-$((i + 1))"
done
mv deep/1/2 deep/two
rmdir gone
find . -printf '%y %P\n' | grep -v '\.sf$' | sort >"$T/list.ours"
cd "$T" || exit 1
fusermount3 -u "$T/ours"
wait "$pid"
is $? 0 "and leave it"

run fsck.vmfs -n "$ds"
is "$rc" 0 "fsck finds nothing"
is "$(wc -l <"$T/list.ours")" 1105 "what should be there is there"
ok "they mount it" "$theirs" "$ds" "$T/theirs"
(cd "$T/theirs" && find . -printf '%y %P\n' | grep -v '\.sf$' | sort) >"$T/list.theirs"
ok "the same names" cmp "$T/list.ours" "$T/list.theirs"
is "$(readlink "$T/theirs/deep/two/link")" ../many "the same link"
fusermount3 -u "$T/theirs"
ok "we mount it read-only" vmfs-fuse "$ds" "$T/ours"
(cd "$T/ours" && find . -printf '%y %P\n' | grep -v '\.sf$' | sort) >"$T/list.again"
ok "and see the same" cmp "$T/list.ours" "$T/list.again"
fusermount3 -u "$T/ours"
