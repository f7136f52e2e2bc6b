#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A read-only mount beside a writer sees what the writer does, whole, and writes nothing:
# its system calls are looked at, and the volume's bytes. With FULL: a folder of 100,000
# names (NAMES=n), made by the one, listed by the other.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs fsck.vmfs
a=$T/a b=$T/b lun=$T/lun
mount_folder "$a"
mount_folder "$b"
truncate -s "$([ -n "${FULL:-}" ] && echo 128 || echo 3)G" "$lun" # room for the names
mkfs.vmfs -q -L follow "$lun" 2>"$T/log" || skip_all "$(cat "$T/log")"

# ---- one writes, one follows

ok "a writer" vmfs-fuse -o rw "$lun" "$a"
ok "a follower" vmfs-fuse "$lun" "$b"
follows() { # NAME WANTED COMMAND...: in the end
	local name=$1 wanted=$2
	shift 2
	says() {
		[ "$("$@" 2>&1)" = "$wanted" ]
	}
	wait_for 30 says "$@" || diag "got: $("$@" 2>&1)"
	is "$("$@" 2>&1)" "$wanted" "$name"
}
ls "$b" >"$T/before"
mkdir "$a/d"
echo one >"$a/d/f"
sync "$a/d/f"
follows "a new file is seen" one cat "$b/d/f"
echo longer >"$a/d/f"
sync "$a/d/f"
follows "and what is new in it" longer cat "$b/d/f"
mv "$a/d/f" "$a/d/g"
follows "and another name" g ls "$b/d"
chmod 600 "$a/d/g"
follows "and another mode" 600 stat -c %a "$b/d/g"
rm "$a/d/g"
follows "and that it is gone" "" ls "$b/d"
# Two versions take turns under a name; the follower has seen one or the other.
head -c 300000 /dev/zero | tr '\0' x >"$T/x"
head -c 200000 /dev/zero | tr '\0' y >"$T/y"
torn=0
for i in $(seq 12); do
	v=$([ $((i % 2)) = 0 ] && echo x || echo y)
	cp "$T/$v" "$a/d/new" && sync "$a/d/new" && mv "$a/d/new" "$a/d/v"
	cat "$b/d/v" >"$T/seen" 2>/dev/null || continue
	cmp -s "$T/seen" "$T/x" || cmp -s "$T/seen" "$T/y" || torn=$((torn + 1))
done
is "$torn" 0 "of two versions one is seen, never both"

# ---- many read what one writes anew

beside=$BIN/../tests/mount/mount_beside
if [ -x "$beside" ]; then
	ok "of each piece, one writing" timeout 180 "$beside" "$a" "$b" \
		$([ -n "${FULL:-}" ] && echo 60000 || echo 4000) "${SEED:-1}"
	rm "$a/beside" "$a/other"
else
	skip 1 "$beside is not built"
fi

# ---- names in great number

count=${NAMES:-100000}
[ -n "${FULL:-}" ] || count=500
mkdir "$a/many"
ok "$count names are made" perl -e 'for (1..$ARGV[1]) {
	open(my $f, ">", "$ARGV[0]/name $_") or die "$_: $!\n"; }' "$a/many" "$count"
sync "$a/many"
is "$(find "$a/many" -type f | sort -u | wc -l)" "$count" "all are listed"
follows "by the follower, too" "$count" sh -c "ls -f '$b/many' | grep -c name"
ok "each is found" perl -e 'for (1..$ARGV[1]) {
	-f "$ARGV[0]/name $_" or die "$_: $!\n"; }' "$a/many" "$count"
ok "half of them go" perl -e 'for (1..$ARGV[1]/2) {
	unlink "$ARGV[0]/name $_" or die "$_: $!\n"; }' "$a/many" "$count"
is "$(ls -f "$a/many" | grep -c name)" $((count / 2)) "the others are there"
ok "the writer unmounts" unmount "$a"
follows "and are followed" $((count / 2)) sh -c "ls -f '$b/many' | grep -c name"
ok "the follower unmounts" unmount "$b"
clean "$lun" "after both"

# ---- nothing is written

# fingerprint FILE: of what in it is not zero, and where; the holes of 128 GiB would take
# many minutes. What counts as a hole may change, as blocks without data are read.
fingerprint() {
	# A pattern would take a minute where the file has no holes.
	perl -e 'my $zeros = "\0" x 65536;
		open(my $f, "<", $ARGV[0]) or die "$ARGV[0]: $!\n";
		for (my $at = 0; defined($at = sysseek($f, $at, 3)); ) {
			my $end = sysseek($f, $at, 4);
			$at -= $at % 65536;
			sysseek($f, $at, 0);
			for (; $at < $end; $at += 65536) {
				sysread($f, my $part, 65536) or die "$!\n";
				print "$at\n", $part
					if $part ne substr($zeros, 0, length $part);
			} }' "$1" | sha256sum
}

if command -v strace >/dev/null; then
	before=$(fingerprint "$lun")
	strace -f -qq -o "$T/calls" -e trace=all vmfs-fuse -f "$lun" "$b" &
	ok "a mount that is watched" wait_for 60 mounted "$b"
	ls -lR "$b" >/dev/null
	cp -r "$b/d" "$T/copy"
	stat -f "$b" >/dev/null
	! touch "$b/new" 2>/dev/null
	ok "it unmounts" fusermount3 -u "$b"
	wait $!
	opened=$(grep -F "\"$lun\"" "$T/calls" | grep -E "open(at)?\(")
	like "$opened" "O_RDONLY" "the volume is opened for reading"
	unlike "$opened" "O_RDWR|O_WRONLY" "and for nothing else"
	writes="pwritev?2?\(|pwrite64\(|fallocate\(|IOCB_CMD_PW|F_OFD_SETLK"
	unlike "$(cat "$T/calls")" "$writes" "no call writes it or takes a lock"
	is "$(fingerprint "$lun")" "$before" "it is the same"
else
	skip 6 "no strace"
fi
