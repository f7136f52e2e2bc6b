#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vmfs-fuse -o rw: a file is what a file in memory says, through the page cache, past it
# and mapped; two mounts of one volume are two members; a mount that is killed loses
# nothing that was synced, and another goes on.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs fsck.vmfs
model=$BIN/../tests/mount/mount_model
[ -x "$model" ] || skip_all "$model is not built"

a=$T/a b=$T/b lun=$T/lun
mount_folder "$a"
mount_folder "$b"
truncate -s 3G "$lun"
mkfs.vmfs -L fuse "$lun" >"$T/log" 2>&1 || skip_all "$(cat "$T/log")"

# ---- one mount: what a file and a folder are

ok "it mounts read-write" vmfs-fuse -o rw "$lun" "$a"
ok "and says so" mounted "$a" rw,
seeds="1 2 3"
[ -z "${FULL:-}" ] || seeds=$(seq 20)
for seed in ${SEEDS:-$seeds}; do
	ok "a file is as its model says, seed $seed" \
		"$model" "$a/file.$seed" "$T/model.$seed" "$seed" "${FULL:+1}200"
done

# Many at a time: what is not waited for, and who gathers (fuse/loop.c).
depth=$BIN/../tests/mount/mount_depth
requests=${FULL:+200000}
for seed in ${SEEDS:-$seeds}; do
	ok "many requests at a time, seed $seed" \
		"$depth" "$a/deep" "$seed" "${requests:-3000}"
	rm -f "$a/deep"
done

umask 022
mkdir "$a/d" && echo hello >"$a/d/f" && ln -s f "$a/d/l"
is "$(cat "$a/d/l")" hello "a symbolic link"
is "$(stat -c '%a %h %F' "$a/d")" "755 2 directory" "a folder"
chmod 4711 "$a/d/f" && chown 12:34 "$a/d/f" && touch -d @86400 "$a/d/f"
is "$(stat -c '%u %g %Y' "$a/d/f")" "12 34 86400" "owner and time"
chmod 640 "$a/d/f"
is "$(stat -c %a "$a/d/f")" 640 "mode"
cp -p "$a/d/f" "$a/d/copy"
is "$(stat -c %Y "$a/d/copy")" 86400 "a time is kept that is set before the close"
ok "a file is moved over another" mv "$a/d/copy" "$a/d/f"
ok "or not, if that is wanted" bash -c "echo y >'$a/d/y' && mv -n '$a/d/y' '$a/d/f'"
is "$(cat "$a/d/f" "$a/d/y")" "$(printf 'hello\ny')" "then both are there"
rm "$a/d/y"
ok "no second name" fails "Operation not permitted" ln "$a/d/f" "$a/d/g"
ok "no pipe" fails "Operation not permitted" mkfifo "$a/d/p"
ok "no folder is removed that holds something" fails "not empty" rmdir "$a/d"
ok "no folder goes below itself" fails "itself" mv "$a/d" "$a/d/e"
name=$(printf 'n%.0s' {1..127})
ok "a name of 127 bytes" touch "$a/d/$name"
ok "no name of 128" fails "File name too long" touch "$a/d/${name}n"
ok "a file of 62 TiB" truncate -s 62T "$a/d/$name"
ok "no larger one" fails "File too large" truncate -s 65T "$a/d/$name"
for odd in $'a\nb' $'\xff\xfe' 'a b' '-x' $'\x01'; do
	echo "$odd" >"$a/d/$odd"
done
is "$(find "$a/d" -type f | wc -l)" 8 "names of odd bytes are listed"
getfattr() { # python3 is not everywhere, attr neither
	perl -e 'my ($f, $n) = @ARGV; my $v = " " x 65536;
		my $r = syscall(191, $f, $n, $v, 65536); exit 1 if $r < 0;
		print substr($v, 0, $r)' "$1" "$2"
}
if [ "$(uname -m)" = x86_64 ]; then
	like "$(getfattr "$a/d/f" user.vmfs.fd)" "^[0-9]+\.[0-9]+ generation [0-9]+$" \
		"its file descriptor as an attribute"
	unheld() {
		[ -z "$(getfattr "$a/d/f" user.vmfs.lock_owner)" ]
	}
	ok "nobody keeps its lock" wait_for 20 unheld
	exec 9>>"$a/d/f"
	like "$(getfattr "$a/d/f" user.vmfs.lock_owner)" "exclusive" \
		"who has it open for writing holds it"
	exec 9>&-
fi

# ---- names that go while the file is open

exec 8<>"$a/d/kept"
echo kept >&8
rm "$a/d/kept"
is "$(cat /proc/self/fd/8; ls "$a/d/kept" 2>/dev/null)" kept \
	"an open file loses its name"
is "$(ls "$a/.vmfs-unlinked" | wc -l)" 1 "and waits for its end"
exec 8>&-
is "$(ls "$a/.vmfs-unlinked" | wc -l)" 0 "which is when it is closed"
ok "it unmounts" unmount "$a"
clean "$lun" "after a mount"

# ---- what was written is there, read-only; nothing is written by that

before=$(stat -c "%y %z" "$lun")
ok "it mounts read-only" vmfs-fuse "$lun" "$a"
for seed in ${SEEDS:-$seeds}; do
	ok "seed $seed is there" cmp "$a/file.$seed" "$T/model.$seed"
done
ok "nothing can be written" fails "Read-only" touch "$a/new"
ok "it unmounts" unmount "$a"
is "$(stat -c "%y %z" "$lun")" "$before" "the volume was not written to"

# ---- two members

ok "one member" vmfs-fuse -o rw "$lun" "$a"
ok "another" vmfs-fuse -o rw "$lun" "$b"
echo one >"$a/shared"
is "$(cat "$b/shared")" one "what one wrote the other reads"
echo two >"$b/shared"
sleep 1.2
is "$(cat "$a/shared")" two "and back, within a second"
exec 9>>"$a/shared"
echo three >&9
ok "a file that one has open for writing the other cannot write" \
	fails "busy" bash -c "echo four >>'$b/shared'"
ok "nor remove" fails "busy" rm "$b/shared"
ok "but read" grep -q two "$b/shared"
exec 9>&-
ok "closed, it can" bash -c "echo four >>'$b/shared'"
sleep 1.2
is "$(tr '\n' ' ' <"$a/shared")" "two three four " "nothing was lost"
# Each has the folder for a quarter of a second when both want it.
turns=$([ -n "${FULL:-}" ] && echo 20 || echo 8)
for i in $(seq "$turns"); do
	echo "$i" >"$a/from-a-$i" && echo "$i" >"$b/from-b-$i" || break
done
is "$(ls "$b" | grep -c from-)" $((2 * turns)) "both make files in one folder"

# ---- one is killed

pid=$(pgrep -f "vmfs-fuse .*$a\$")
dd if=/dev/urandom of="$T/data" bs=1M count=8 status=none
cp "$T/data" "$a/synced" && sync "$a/synced"
exec 9<>"$a/doomed"
echo doomed >&9
rm "$a/doomed"
kill -9 "$pid"
exec 9>&-
fusermount3 -q -u -z "$a"
ok "what was synced is there for the other" cmp "$b/synced" "$T/data"
ok "who can write to it" bash -c "echo more >>'$b/synced'"
ok "the other unmounts" unmount "$b"
# AddressSanitizer, else, keeps much of what was freed.
ok "a third member" env ASAN_OPTIONS="$ASAN_OPTIONS:quarantine_size_mb=1" \
	vmfs-fuse -o rw "$lun" "$a"
emptied() {
	[ -z "$(ls "$a/.vmfs-unlinked")" ]
}
ok "what the dead one had open without a name goes" wait_for 20 emptied
pid=$(pgrep -f "vmfs-fuse .*$a\$")
memory() { # NAME: kB
	sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$pid/status"
}
before=$(memory VmRSS)
all_end() { # the kernel sends eight at a time, which take new blocks side by side
	for _ in 1 2 3 4 5; do
		rm -f "$a/large"
		timeout -s KILL 60 dd if="$T/data" of="$a/large" bs=8M oflag=direct \
			status=none || return
	done
}
ok "large requests to a new file all end" all_end
dd if="$T/data" of="$a/large" bs=8M oflag=direct conv=notrunc status=none
dd if="$a/large" of=/dev/null bs=8M iflag=direct status=none
gives_back() { # more than half of what these requests of 1 MiB have used
	[ $((2 * ($(memory VmHWM) - $(memory VmRSS)))) -gt \
		$(($(memory VmHWM) - before)) ]
}
ok "they use memory" test "$(memory VmHWM)" -gt $((before + 1000))
ok "memory of large requests is given back" wait_for 20 gives_back
ok "and had again" cmp "$a/large" "$T/data"
exec 9<"$a/synced"
"$depth" "$a/deep" 1 10000000 2>"$T/deep" &
many=$!
wait_for 20 test -s "$a/deep" && sleep 1
kill -TERM "$pid"
ok "SIGTERM ends it, though a file is open" wait_for 20 gone "$a"
exec 9<&-
wait $many
like "$(cat "$T/deep")" "not connected|abort" "and many requests are under way"
clean "$lun" "after a kill"

# ---- a full volume

truncate -s 1G "$T/small"
mkfs.vmfs -L small "$T/small" >"$T/log" 2>&1
lun=$T/small
ok "a small volume" vmfs-fuse -o rw "$lun" "$a"
ok "it fills up" fails "No space left" dd if=/dev/zero of="$a/big" bs=1M count=2000
rm "$a/big"
ok "and what was removed can be filled again" \
	dd if=/dev/zero of="$a/big" bs=1M count=100 status=none
ok "it unmounts" unmount "$a"
clean "$lun" "after a full volume"

refused "rw,immutable" "who writes changes the volume" \
	vmfs-fuse -o rw,immutable "$lun" "$a"
refused "a bad uid" "uid=x: not a number" vmfs-fuse -o uid=x "$lun" "$a"
ok "owner and modes as told" vmfs-fuse -o ro,uid=7,gid=8,umask=027 "$lun" "$a"
is "$(stat -c '%u %g %a' "$a/big")" "7 8 750" "are shown"
ok "it unmounts" unmount "$a"
