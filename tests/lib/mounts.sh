# SPDX-License-Identifier: Apache-2.0
# Mounts of vmfs-fuse, for shell tests. Source it after tap.sh; it skips the script where
# nothing can be mounted.

need vmfs-fuse fusermount3
[ -w /dev/fuse ] || skip_all "no /dev/fuse"

# What a sanitizer says of a program in the background: clean() looks.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:log_path=$T/sanitizer"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:log_path=$T/sanitizer:print_stacktrace=1"
export TSAN_OPTIONS="${TSAN_OPTIONS:-}:log_path=$T/sanitizer"

# mount_folder FOLDER: makes it; what is mounted there goes at the end.
mount_folder() {
	mkdir "$1"
	at_exit fusermount3 -q -u -z "$1"
}

# mounted FOLDER [ro,|rw,]
mounted() {
	grep -q " $1 fuse.vmfs ${2:-}" /proc/mounts
}

# gone FOLDER: nothing is mounted there, and the program has ended.
gone() {
	! mounted "$1" && ! pgrep -f "vmfs-fuse .*$1( |\$)" >/dev/null
}

unmount() {
	local why

	why=$(fusermount3 -u "$1" 2>&1) && wait_for 60 gone "$1" && return
	diag "fusermount3: $why; of its programs: $(pgrep -af "vmfs-fuse .*$1")"
	return 1
}

# fails ERRNO-TEXT COMMAND...: what coreutils say of it.
fails() {
	local text=$1
	shift
	run "$@"
	[ "$rc" != 0 ] && grep -q "$text" <<<"$out"
}

# clean LUN WHEN: fsck finds nothing, nor does a sanitizer.
clean() {
	is "$(cat "$T"/sanitizer.* 2>/dev/null)" "" "$2: no sanitizer has a word"
	run fsck.vmfs -n "$1"
	is "$rc" 0 "$2: the volume is clean"
	[ "$rc" = 0 ] || diag "$out"
}
