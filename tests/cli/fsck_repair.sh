#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fsck.vmfs repairs, as a program: -p, -y, questions on a terminal, exit codes, the undo
# file, and who is kept away. That it repairs what it finds: tests/unit/fsck_wreck.c.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmkfstools python3

image=$T/image
truncate -s 1G "$image"
mkfs.vmfs -q -L one "$image"
head -c 3000000 /dev/urandom >"$T/raw"
vmkfstools -i "$T/raw" -d thin "$image:/disk.vmdk" >/dev/null
cp --sparse=always "$image" "$T/good"

# poke OFFSET BYTES: printf's escapes at a byte of the image.
poke() {
	printf "$2" | dd of="$image" bs=1 seek=$(($1)) conv=notrunc status=none
}
FREE_COUNT=$((0x1710000 + 0x208)) # FBB cluster 0
SLOT_STATE=$((0x1400000 + 5 * 512))
again() {
	cp --sparse=always "$T/good" "$image"
	rm -f "$T/undo"
}

before=$(stat -c "%y" "$image")
run fsck.vmfs -y -z "$T/undo" "$image"
is "$rc" 0 "a clean volume: 0"
is "$(stat -c "%y" "$image")" "$before" "and is not written to"
ok "and nothing is kept" test ! -e "$T/undo"

# What is safe, and what is not.
poke $FREE_COUNT '\x07'
cp --sparse=always "$image" "$T/bad"
run fsck.vmfs -p -z "$T/undo" "$image"
is "$rc" 1 "-p repairs a count: 1"
like "$out" "^CLUSTER_FREE: .*7 free" "which it names"
run fsck.vmfs -n "$image"
is "$rc" 0 "then it is clean"
run fsck.vmfs --undo "$T/undo" "$image"
is "$rc" 0 "--undo"
ok "puts it back, bit for bit" cmp "$image" "$T/bad"
run fsck.vmfs --undo "$T/undo" "$image"
is "$rc" 0 "again: nothing to do"
poke $SLOT_STATE '\x09'
run fsck.vmfs -p -z "$T/undo2" "$image"
is "$rc" 5 "-p repairs the one and leaves the other: 5"
run fsck.vmfs -n "$image"
is "$rc:$(grep -cE '^[A-Z_]+: ' <<<"$out")" 4:1 "that stays"
run fsck.vmfs -y -z "$T/undo2" "$image"
is "$rc" 8 "an undo file is not written over: 8"
like "$out" "undo2: cannot save" "and says so"
run fsck.vmfs -y -z "$T/undo3" "$image"
is "$rc" 1 "-y repairs it: 1"
run fsck.vmfs --undo "$T/undo2" "$image"
is "$rc" 8 "an older undo file is not believed: 8"
run fsck.vmfs --undo "$T/undo3" "$image"
run fsck.vmfs --undo "$T/undo2" "$image"
is "$rc" 0 "one after the other, the last first, they are"

# Somebody has used the volume since.
again
poke $FREE_COUNT '\x07'
fsck.vmfs -y -z "$T/undo" "$image" >/dev/null 2>&1
vmkfstools -c 1m "$image:/new.vmdk" >/dev/null
cp --sparse=always "$image" "$T/used"
run fsck.vmfs --undo "$T/undo" "$image"
is "$rc" 8 "after a host has used the volume nothing is undone: 8"
like "$out" "hosts have used the volume since" "it says why"
ok "and it stays as it was" cmp "$image" "$T/used"
printf X | dd of="$T/undo" bs=1 seek=5000 conv=notrunc status=none
run fsck.vmfs --undo "$T/undo" "$image"
like "$out" "it is damaged" "a damaged undo file is named"

# On a terminal.
ask() { # ask ANSWERS: rc and output of fsck.vmfs with these lines typed
	python3 - "$1" "$image" <<'PY'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp("fsck.vmfs", ["fsck.vmfs", "-z", sys.argv[2] + ".undo", sys.argv[2]])
out = b""
answers = list(sys.argv[1])
while True:
    try:
        data = os.read(fd, 4096)
    except OSError:
        break
    if not data:
        break
    out += data
    if out.count(b"yes to all)?") > len(sys.argv[1]) - len(answers) and answers:
        a = answers.pop(0)
        os.write(fd, b"\x04" if a == "." else a.encode() + b"\n")
_, status = os.waitpid(pid, 0)
print(out.decode().replace("\r", ""))
sys.exit(os.waitstatus_to_exitcode(status))
PY
}
again
poke $FREE_COUNT '\x07'
poke $SLOT_STATE '\x09'
cp --sparse=always "$image" "$T/bad"
run ask .
is "$rc" 32 "the input ends at the first question: 32"
ok "and nothing is written" cmp "$image" "$T/bad"
run ask nn
is "$rc" 4 "no to both: 4"
ok "and nothing is written" cmp "$image" "$T/bad"
run ask yn
is "$rc" 5 "yes and no: 5"
like "$out" "becomes a free one: nobody lives: repair" "it says what would be done"
again
poke $FREE_COUNT '\x07'
poke $SLOT_STATE '\x09'
rm -f "$image.undo"
run ask a
is "$rc" 1 "yes to all: 1"

# A repair that was interrupted: nobody mounts, a further one ends it.
again
poke $FREE_COUNT '\x07'
poke $((0x100000 + 0xa2)) '\x11\x22\x33'
run vmkfstools -c 1m "$image:/new.vmdk"
ok "a volume whose repair was interrupted is not mounted" test "$rc" != 0
like "$out" "a repair was interrupted" "it says why"
run fsck.vmfs -y -z "$T/undo" "$image"
is "$rc" 1 "a further repair"
run vmkfstools -c 1m "$image:/new.vmdk"
is "$rc" 0 "makes it usable"


# Headers: a descriptor that names its logical volume keeps label and UUID.
DESCRIPTOR=$((0x1300000))
again
uuid() {
	dd if="$image" bs=1 skip=$((DESCRIPTOR + 9)) count=16 status=none | od -An -tx1
}
was=$(uuid)
poke $DESCRIPTOR '\x01\x02\x03\x04'
run fsck.vmfs -p -z "$T/undo" "$image"
is "$rc" 4 "-p makes no header anew"
run fsck.vmfs -y -z "$T/undo" "$image"
is "$rc:$(uuid)" "1:$was" "-y does, with the UUID that was"
like "$out" "'one', VMFS-5" "and the label"
rm -f "$T/undo"
dd if=/dev/zero of="$image" bs=512 seek=$((DESCRIPTOR / 512)) count=1 conv=notrunc \
	status=none
run fsck.vmfs -y -z "$T/undo" "$image"
is "$rc" 1 "one that is gone is made anew"
like "$out" "the label and the UUID of the volume are lost" "it says what is lost"
run vmkfstools -c 1m "$image:/new.vmdk"
is "$rc" 0 "hosts use the volume"

run fsck.vmfs -n "$image"
is "$rc" 0 "all is clean"
