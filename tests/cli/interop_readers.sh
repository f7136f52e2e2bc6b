#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Independent readers (Debian's vmfs-tools, libblkid) agree with us: about fresh volumes
# of many sizes, about a volume with files of every kind, and about one that ESXi made.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmfs-fuse debugvmfs blkid fusermount3
theirs=/usr/sbin/vmfs-fuse
[ -x "$theirs" ] || theirs=/usr/bin/vmfs-fuse
[ -x "$theirs" ] || skip_all "no vmfs-fuse of vmfs-tools"
handmade=$BIN/../tests/unit/handmade_volume

image=$T/image
field() {
	sed -n "s/^ *$1 *: *\\([0-9]*\\).*/\\1/p" <<<"$out" | head -n 1
}

for size in 300M 2G 10G 126G 15T; do
	rm -f "$image"
	truncate -s "$size" "$image"
	mkfs.vmfs -q -L "of $size" "$image"
	run debugvmfs "$image" check_vol_bitmaps
	like "$out" '^Total errors: 0$' "$size: debugvmfs check_vol_bitmaps"
	run debugvmfs "$image" show
	like "$out" "label: of $size|of $size" "$size: debugvmfs shows the label"
	run debugvmfs "$image" df
	total=$(field 'Total blocks') free=$(field 'Free blocks')
	ours=$(vmfs-dump "$image" resources | grep '^\.fbb\.sf:')
	like "$ours" "^\.fbb\.sf: $total resources, $free free" "$size: df agrees"
	run blkid -p -o export "$image"
	like "$out" '^VERSION=5$' "$size: libblkid's version"
	like "$out" "^UUID=$(vmfs-dump "$image" lvm | sed -n 's/^ .*  uuid  *//p')$" \
		"$size: libblkid's UUID"
done

attributes() {
	stat -c '%s %Y %u %g %h %a' "$@"
}

# compare NAME DEVICE...: every file, as both mounts show it.
compare() {
	local name=$1 bad=0 count=0 file
	shift
	mkdir -p "$T/a" "$T/b"
	at_exit fusermount3 -q -u -z "$T/a"
	at_exit fusermount3 -q -u -z "$T/b"
	if ! vmfs-fuse "$@" "$T/a" || ! "$theirs" "$@" "$T/b"; then
		fail "$name: both mount"
		return
	fi
	while read -r file; do
		# Theirs has no double indirection, and shows .sdd.sf as a socket.
		case $file in
		*/double | */rdm | */.sdd.sf) continue ;;
		esac
		count=$((count + 1))
		if [ -L "$T/a/$file" ]; then
			[ "$(readlink "$T/a/$file")" = "$(readlink "$T/b/$file")" ]
		elif [ "$(stat -c %s "$T/a/$file")" -gt 1000000000 ]; then
			cmp <(tail -c 5M "$T/a/$file") <(tail -c 5M "$T/b/$file") &&
				cmp -n 3M "$T/a/$file" "$T/b/$file"
		else
			cmp "$T/a/$file" "$T/b/$file"
		fi || bad=$((bad + 1))
		if [ "$(attributes "$T/a/$file")" != "$(attributes "$T/b/$file")" ]; then
			diag "$file: $(attributes "$T/a/$file" "$T/b/$file")"
			bad=$((bad + 1))
		fi
	done < <(cd "$T/a" && find . -type f -o -type l)
	ok "$name: $count files are the same in both readers" \
		test "$bad" = 0 -a "$count" -gt 6
	is "$(cd "$T/a" && find . | sort)" "$(cd "$T/b" && find . | sort)" \
		"$name: the same names"
	fusermount3 -u "$T/a"
	fusermount3 -u "$T/b"
}

if [ -x "$handmade" ] && [ -w /dev/fuse ]; then
	touch "$T/one" "$T/first" "$T/second"
	"$handmade" "$T/one"
	"$handmade" "$T/first" "$T/second"
	compare "every kind of file" "$T/one"
	compare "two extents" "$T/first" "$T/second"
	compare "two extents, swapped" "$T/second" "$T/first"
	run debugvmfs "$T/one" check_vol_bitmaps
	like "$out" '^Total errors: 0$' "a volume in use: check_vol_bitmaps"
else
	skip 7 "no $handmade or no /dev/fuse"
fi

# VMFS-3 of all block sizes, and upgraded volumes. Debian's reader knows sub-blocks that
# cross blocks, too.
handmade3=$BIN/../tests/unit/handmade3_volume
if [ -x "$handmade3" ] && [ -w /dev/fuse ]; then
	for kind in "3 1" "3 2" "3 8" "5 2" "5 4"; do
		set -- $kind
		touch "$T/three"
		"$handmade3" "$1" "$2" "$T/three"
		compare "VMFS-$1 from VMFS-3, $2 MiB blocks" "$T/three"
		run debugvmfs "$T/three" check_vol_bitmaps
		like "$out" '^Total errors: 0$' "VMFS-$1, $2 MiB: check_vol_bitmaps"
		rm "$T/three"
	done
else
	skip 15 "no $handmade3 or no /dev/fuse"
fi

# VMFS-6. The other reader shows no zeros for blocks to be zeroed and stops at the first
# hole of direct pointers, so /blocks is left to our own test (tests/unit).
handmade6=$BIN/../tests/unit/handmade6_volume
part() { # part FILE SKIP COUNT, MiB
	dd if="$1" bs=1M skip="$2" count="$3" status=none | sha256sum
}
compare6() {
	local bad=0 file
	for file in large link dir/sub dir/resident dir/n0 dir/n49 .fbb.sf .sbc.sf; do
		cmp "$T/a/$file" "$T/b/$file" || bad=$((bad + 1))
	done
	for where in "single 0 2" "single 8192 3" "double 3145727 1"; do
		set -- $where
		[ "$(part "$T/a/$1" $2 $3)" = "$(part "$T/b/$1" $2 $3)" ] ||
			bad=$((bad + 1))
	done
	[ "$(cd "$T/a" && find . | sort)" = "$(cd "$T/b" && find . | sort)" ] ||
		bad=$((bad + 1))
	for file in blocks single double large dir dir/sub dir/n7; do
		[ "$(attributes "$T/a/$file")" = "$(attributes "$T/b/$file")" ] ||
			bad=$((bad + 1))
	done
	ok "VMFS-6, every kind of file: the same in both readers" test "$bad" = 0
}
# A large block written to, with a file of small ones behind it, alone, and divided.
gone6() { ! pgrep -f "vmfs-fuse .*$T/a\$" >/dev/null; }
compare_large() { # compare_large SIZE
	local bad=0
	vmfs-fuse -o rw "$T/six" "$T/a"
	head -c 5000 /dev/urandom |
		dd of="$T/a/large" bs=1M seek=100 conv=notrunc status=none
	truncate -s "$1" "$T/a/large"
	fusermount3 -u "$T/a"
	wait_for 30 gone6 || diag "vmfs-fuse has not left"
	run fsck.vmfs -n "$T/six"
	bad=$rc
	vmfs-fuse "$T/six" "$T/a" && vmfs6-fuse "$T/six" "$T/b"
	for where in "0 1" "99 3" "300 1" "510 4"; do
		set -- "$1" $where
		[ "$(part "$T/a/large" $2 $3)" = "$(part "$T/b/large" $2 $3)" ] ||
			bad=$((bad + 1))
	done
	[ "$(stat -c %s "$T/b/large")" = "$1" ] || bad=$((bad + 1))
	fusermount3 -u "$T/a"
	fusermount3 -u "$T/b"
	ok "VMFS-6, a large file of $1 bytes: the same in both readers" test "$bad" = 0
}
if command -v vmfs6-fuse debugvmfs6 >/dev/null && [ -w /dev/fuse ]; then
	for size in 300M 10G 1T; do
		rm -f "$image"
		truncate -s "$size" "$image"
		mkfs.vmfs -q -V 6 -L "six $size" "$image"
		run debugvmfs6 "$image" ls -l /
		is "$(grep -c '\.sf$' <<<"$out")" 8 "VMFS-6 of $size: 8 system files"
	done
	touch "$T/six"
	"$handmade6" "$T/six"
	mkdir -p "$T/a" "$T/b"
	at_exit fusermount3 -q -u -z "$T/a"
	at_exit fusermount3 -q -u -z "$T/b"
	vmfs-fuse "$T/six" "$T/a" && vmfs6-fuse "$T/six" "$T/b" && compare6
	fusermount3 -u "$T/a"
	fusermount3 -u "$T/b"
	for size in 536870913 536870912 536870911; do
		compare_large $size
	done
else
	skip 7 "no vmfs6-tools or no /dev/fuse"
fi

if [ -n "${VMFS_SAMPLES:-}" ] && [ -w /dev/fuse ]; then
	zcat "$VMFS_SAMPLES/vmfs5.raw.gz" |
		dd of="$T/s5" bs=1M conv=sparse iflag=fullblock status=none
	compare "a volume of ESXi" "$T/s5"
	run fsck.vmfs -n "$T/s5"
	is "$rc" 0 "a volume of ESXi is clean"
else
	skip 3 "VMFS_SAMPLES is not set"
fi
