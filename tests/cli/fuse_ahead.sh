#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A folder of many files, looked at one by one after the kernel has forgotten the listing:
# in the order of the folder the reads are of many files each, and what another mount
# changes is seen as soon as ever; out of order nothing is wrong. What a mount changes
# itself it sees at once.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs fsck.vmfs
COUNT=500
mnt=$T/mnt other=$T/other lun=$T/lun
mount_folder "$mnt"
mount_folder "$other"

forget() { sleep 1.2; } # 1 s is what the kernel keeps
reads() { sed -n 's/^syscr: //p' "/proc/$pid/io"; } # also of requests: one each
# looks NAMES: at those files, and the reads that it took
looks() {
	local before
	forget
	before=$(reads)
	(cd "$mnt/d" && xargs stat -c '%s %n' <"$1") >"$T/seen"
	took=$(($(reads) - before))
}

# own FOLDER NAMES: changes files as they are looked at in order; says what is wrong.
own() {
	local f i=0 names

	cd "$1" || return
	mapfile -t names <"$2"
	for f in "${names[@]}"; do
		test -e "$f" || echo "$f is missing"
		case $((i++ % 8)) in
		1)
			exec 8>>"$f" # goes to another folder as it is
			rm "$f" && test -e "$f" && echo "$f is there"
			exec 8>&-
			;;
		3)
			mv "$f" "${names[i]:-last}" && test -e "$f" &&
				echo "$f is there"
			;;
		5) rm "$f" && mkdir "$f" && ! test -d "$f" && echo "$f is no folder" ;;
		7) printf 12 >"$f" && [ "$(stat -c %s "$f")" != 2 ] && echo "$f: size" ;;
		esac
	done
	cd "$T" || return
}

# by_other_way FOLDER NAMES: changes a file that was read with others, not by its name.
by_other_way() {
	local names

	cd "$1" || return
	mapfile -t names < <(sed 12q "$2")
	exec 7<"${names[11]}"
	chmod 640 "${names[11]}"
	forget
	stat "${names[@]:0:8}" >/dev/null
	chmod 604 "/proc/$BASHPID/fd/7"
	stat -c %a "${names[11]}"
	exec 7<&-
	cd "$T" || return
}

for version in 5 6; do
	truncate -s 0 "$lun" && truncate -s 4G "$lun"
	ok "VMFS-$version" mkfs.vmfs -q -V "$version" "$lun"
	ok "is written" vmfs-fuse -o rw "$lun" "$other"
	mkdir "$other/d"
	(cd "$other/d" && seq -f 'file%04g' 1 $COUNT | xargs touch)
	ok "unmounted" unmount "$other"
	ok "and mounted read-only" vmfs-fuse "$lun" "$mnt"
	pid=$(pgrep -f "vmfs-fuse $lun $mnt\$")
	ls -U "$mnt/d" >"$T/names"
	is "$(wc -l <"$T/names")" $COUNT "all are listed"
	looks "$T/names"
	is "$(awk '{ print $2 }' "$T/seen" | cmp - "$T/names")" "" "each is looked at"
	is "$(cut -d' ' -f1 "$T/seen" | sort -u)" 0 "and is empty"
	diag "$took reads for $COUNT files"
	ok "some for many of them" test "$took" -lt $((2 * COUNT))
	shuf "$T/names" >"$T/mixed"
	looks "$T/mixed"
	is "$(awk '{ print $2 }' "$T/seen" | cmp - "$T/mixed")" "" "in any order, too"

	# Changed while it is looked at: what has changed over a second ago is seen.
	ok "is written again, beside it" vmfs-fuse -o rw "$lun" "$other"
	(cd "$other/d" &&
		for f in $(sed -n '1~7p' "$T/names"); do echo 12345 >"$f"; done &&
		sed -n '3~7p' "$T/names" | xargs rm) &
	(cd "$mnt/d" && for f in $(cat "$T/names"); do stat -c '%s %n' "$f"; done) \
		>"$T/during" 2>/dev/null
	wait $!
	is "$(cut -d' ' -f1 "$T/during" | sort -nu | grep -vx 0 | grep -vx 6)" "" \
		"during the changes each is empty or written"
	looks <(sed '3~7d' "$T/names")
	is "$(grep -c '^6 ' "$T/seen")" $(((COUNT + 6) / 7)) "what was written is seen"
	is "$(wc -l <"$T/seen")" $((COUNT - (COUNT + 4) / 7)) "what was left is there"
	is "$(cd "$mnt/d" && ls | wc -l)" $((COUNT - (COUNT + 4) / 7)) "and listed"
	ok "and what was removed is not" fails "No such file" stat \
		"$mnt/d/$(sed -n 3p "$T/names")"
	ok "the reader unmounts" unmount "$mnt"
	ok "the writer unmounts" unmount "$other"

	# A mount that writes: as few, and nothing of its own is seen too late.
	ok "mounted to be written" vmfs-fuse -o rw "$lun" "$mnt"
	pid=$(pgrep -f "vmfs-fuse -o rw $lun $mnt\$")
	ls -U "$mnt/d" >"$T/names"
	looks "$T/names"
	is "$(awk '{ print $2 }' "$T/seen" | cmp - "$T/names")" "" "each is looked at"
	diag "$took reads for $(wc -l <"$T/names") files"
	ok "some for many of them" test "$took" -lt $((2 * $(wc -l <"$T/names")))
	is "$(by_other_way "$mnt/d" "$T/names")" 604 \
		"what it changes by an open file it sees"
	forget
	own "$mnt/d" "$T/names" >"$T/wrong"
	is "$(head -n 3 "$T/wrong")" "" "what it changes itself it sees at once"
	ok "unmounted" unmount "$mnt"
	clean "$lun" "VMFS-$version"
done
