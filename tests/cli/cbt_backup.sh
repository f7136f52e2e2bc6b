#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Incremental backups with other people's clients: a full copy and the disk's change id,
# writes as of a guest, and then only what changed since; the copy must be the disk, bit
# for bit. Also when the server is killed in between: then everything counts as changed.

. "$(dirname "$0")/../lib/tap.sh"
need vdisk-nbd vmkfstools mkfs.vmfs fsck.vmfs nbdinfo nbdcopy qemu-io qemu-img

server= uri=
at_exit eval '[ -z "$server" ] || kill -9 $server'
serve_ok() { # NAME ARGUMENT...
	rm -f "$T/uri"
	"$BIN/vdisk-nbd" "${@:2}" --socket "$T/s" >"$T/uri" 2>"$T/err" &
	server=$!
	ok "$1" wait_for 30 test -s "$T/uri"
	uri=$(cat "$T/uri")
}
stop_ok() { # NAME
	kill -TERM "$server" && wait "$server"
	is $? 0 "$1"
	server=
}
qio() { qemu-io -f raw "$uri" "$@" >"$T/qio" 2>&1; }
# The id that the list of contexts tells; empty: none.
told_id() { nbdinfo --list "$uri" | sed -n 's,^\t*openvmfs:cbt:\(.*/.*\)$,\1,p'; }
# "START LENGTH" of what has changed since, by the server.
changed() { nbdinfo --map="openvmfs:cbt:$1" "$uri" | awk '$3 == 1 { print $1, $2 }'; }
# Copies that, and nothing else, into the backup.
copy_changed() { # ID BACKUP
	local start len unit=65536
	changed "$1" >"$T/areas"
	while read -r start len; do
		qemu-img dd -f raw -O raw if="$uri" of="$T/part" bs=$unit \
			skip=$((start / unit)) count=$(((start + len) / unit)) &&
			dd if="$T/part" of="$2" bs=$unit seek=$((start / unit)) \
				conv=notrunc status=none || return 1
	done <"$T/areas"
}
copied() { awk '{ n += $2 } END { print n + 0 }' "$T/areas"; }
same() { qemu-img compare -f raw -F raw "$1" "$uri"; }

head -c 20M /dev/urandom >"$T/first"

# whole_story NAME DISK: on a tracked disk of 64 MiB.
whole_story() {
	local name=$1 disk=$2 id next
	ok "$name: tracking is on" vmkfstools --changeTracking on "$disk"
	serve_ok "$name: is served" "$disk"
	ok "$name: has contents" nbdcopy "$T/first" "$uri"
	is "$(told_id)" "" "$name: no id while it is written"
	stop_ok "$name: the server ends"
	serve_ok "$name: is served for a backup" -r "$disk"
	id=$(told_id)
	is "$id" "$(vmkfstools --changeId "$disk")" "$name: the list has its id"
	ok "$name: a full backup" nbdcopy "$uri" "$T/backup"
	is "$(changed "$id")" "" "$name: nothing has changed since"
	stop_ok "$name: the server ends"

	serve_ok "$name: goes on" "$disk"
	ok "$name: a guest writes" qio -c "write -P 1 1M 100k" -c "write -z 5M 1M" \
		-c "discard 9M 2M" -c "aio_write -P 2 40M 3M" -c "aio_flush" \
		-c "write -P 3 65535k 1k" -c flush
	is "$(changed "$id" | head -n 1)" "1048576 131072" "$name: seen while it runs"
	stop_ok "$name: the server ends"
	serve_ok "$name: an incremental backup" -r "$disk"
	ok "$name: copies what changed" copy_changed "$id" "$T/backup"
	is "$(copied)" $((131072 + 6 * 1048576 + 65536)) "$name: and only that"
	is "$(vmkfstools --queryChangedAreas "$id" "$disk" | sort)" \
		"$(sort "$T/areas")" "$name: vmkfstools tells the same"
	ok "$name: the backup is the disk" same "$T/backup"
	next=$(told_id)
	ok "$name: with an id of its own" test -n "$next" -a "$next" != "$id"
	stop_ok "$name: the server ends"

	serve_ok "$name: goes on" "$disk"
	ok "$name: a guest writes and flushes" qio -c "write -P 4 30M 64k" -c flush
	kill -9 "$server"
	wait "$server" 2>/dev/null
	server=
	serve_ok "$name: a backup after a crash" -r --wait 60 "$disk"
	is "$(told_id)" "" "$name: no id, what was written last is not known"
	ok "$name: copies" copy_changed "$next" "$T/backup"
	is "$(copied)" 67108864 "$name: everything"
	ok "$name: the backup is the disk" same "$T/backup"
	stop_ok "$name: the server ends"

	ok "$name: an id again" vmkfstools --changeTracking on "$disk"
	id=$(vmkfstools --changeId "$disk")
	ok "$name: of a new row" test "${id%/*}" != "${next%/*}"
	serve_ok "$name: goes on" "$disk"
	ok "$name: a guest writes" qio -c "write -P 5 50M 64k"
	is "$(changed "$next")" "0 67108864" "$name: an id of before: everything"
	stop_ok "$name: the server ends"
	serve_ok "$name: an incremental backup again" -r "$disk"
	ok "$name: copies what changed" copy_changed "$id" "$T/backup"
	is "$(copied)" 65536 "$name: and only that"
	ok "$name: the backup is the disk" same "$T/backup"
	stop_ok "$name: the server ends"
}

truncate -s 1G "$T/lun"
ok "makes a volume" mkfs.vmfs -L cbt "$T/lun"
ok "makes a disk" vmkfstools -c 64m -d thin "$T/lun:/d.vmdk"
whole_story volume "$T/lun:/d.vmdk"
like "$(vmkfstools --get "$T/lun:/d.vmdk" -)" '^changeTrackPath="d-ctk.vmdk"$' \
	"the descriptor names the file"
if [ -n "${FULL:-}" ]; then
	ok "makes a disk of this host" vmkfstools -c 64m -d monolithicFlat "$T/h.vmdk"
	whole_story host "$T/h.vmdk"
fi

# What is not tracked, and words that are no ids.
id=$(vmkfstools --changeId "$T/lun:/d.vmdk")
refused "a bad id" "is no change id" vmkfstools --queryChangedAreas 12/3 "$T/lun:/d.vmdk"
refused "neither on nor off" "on or off" vmkfstools --changeTracking x "$T/lun:/d.vmdk"
serve_ok "is served" "$T/lun:/d.vmdk" -r
refused "a reader keeps it from changing" "held by" timeout 60 \
	vmkfstools --changeTracking off "$T/lun:/d.vmdk"
run nbdinfo --map="openvmfs:cbt:nonsense" "$uri"
ok "a context that is none is refused" test "$rc" != 0
stop_ok "the server ends"
ok "renames it" vmkfstools -E "$T/lun:/d.vmdk" "$T/lun:/e.vmdk"
is "$(vmkfstools --changeId "$T/lun:/e.vmdk")" "$id" "its id goes with it"
ok "makes it larger" vmkfstools -X 96m "$T/lun:/e.vmdk"
is "$(vmkfstools --queryChangedAreas "$id" "$T/lun:/e.vmdk")" "67108864 33554432" \
	"what is new has changed"
ok "tracking is off" vmkfstools --changeTracking off "$T/lun:/e.vmdk"
refused "it has no id then" "not tracked" vmkfstools --changeId "$T/lun:/e.vmdk"
unlike "$(vmkfstools --dir "$T/lun:/")" "ctk" "and its file is gone"
ok "on again" vmkfstools --changeTracking on "$T/lun:/e.vmdk"
ok "a disk goes" vmkfstools -U "$T/lun:/e.vmdk"
unlike "$(vmkfstools --dir "$T/lun:/")" "ctk" "with its file"
ok "makes a disk of one file" vmkfstools -c 1m "$T/one.vmdk"
refused "it has no room for an entry" "lies inside it" \
	vmkfstools --changeTracking on "$T/one.vmdk"
run fsck.vmfs -n "$T/lun"
is "$rc" 0 "the volume is clean"
[ "$rc" = 0 ] || diag "$out"
