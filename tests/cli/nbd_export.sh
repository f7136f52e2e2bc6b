#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The NBD server in the hands of other people's clients: libnbd's tools and QEMU's.

. "$(dirname "$0")/../lib/tap.sh"
need vdisk-nbd vmkfstools mkfs.vmfs nbdinfo nbdcopy qemu-io qemu-img

uri="nbd+unix:///?socket=$T/s"
server=
serve_ok() { # NAME ARGUMENT...
	rm -f "$T/uri"
	"$BIN/vdisk-nbd" "${@:2}" --socket "$T/s" >"$T/uri" 2>"$T/err" &
	server=$!
	ok "$1" wait_for 20 test -s "$T/uri"
}
stop_ok() { # NAME
	kill -TERM "$server" && wait "$server"
	is $? 0 "$1"
	server=
}
at_exit eval '[ -z "$server" ] || kill -9 $server'
qio() { qemu-io -f raw "nbd+unix:///?socket=$T/s" "$@"; }

head -c 16M /dev/urandom >"$T/raw"
serve_ok "serves a raw file" "$T/raw"
run nbdinfo "$uri"
like "$out" "protocol: newstyle-fixed without TLS" "nbdinfo: fixed newstyle"
like "$out" "export-size: 16777216" "nbdinfo: the size"
like "$out" "can_multi_conn: true" "nbdinfo: several connections"
like "$out" "block_size_minimum: 512" "nbdinfo: the block size"
run nbdinfo --list "$uri"
like "$out" 'export="raw"' "nbdinfo --list: the name"
run nbdinfo "nbd+unix:///wrong?socket=$T/s"
ok "an unknown export is refused" test "$rc" != 0
cp "$T/raw" "$T/before"
ok "nbdcopy reads it" nbdcopy "$uri" "$T/copy"
ok "the copy is the same" cmp "$T/raw" "$T/copy"
head -c 16M /dev/urandom >"$T/new"
ok "nbdcopy writes it, four connections" nbdcopy -C 4 "$T/new" "$uri"
ok "qemu-img finds no difference" qemu-img compare -f raw -F raw "$T/new" \
	"nbd+unix:///?socket=$T/s"
run qio -c "write -P 0x31 1M 64k" -c "read -P 0x31 1M 64k" -c "write -z 2M 1M" \
	-c "read -P 0 2M 1M" -c "discard 4M 1M" -c "flush" -c "write -f -P 0x32 512 512" \
	-c "read -P 0x32 512 512" -c "aio_write -P 0x33 8M 1M" -c "aio_read 9M 1M" \
	-c "aio_flush"
is "$rc" 0 "qemu-io: write, zeroes, discard, flush, FUA, aio"
unlike "$out" "failed|verification" "qemu-io: what it reads is what it wrote"
run qio -c "read 16M 512"
like "$out$rc" "failed|beyond|[1-9]" "reading behind the end fails"
ok "a client that died does not matter" bash -c '
	exec 3<>/dev/null
	timeout 0.2 qemu-io -f raw "'"$uri"'" -c "sleep 5000"; [ $? != 0 ]'
ok "it still answers" nbdinfo "$uri"
stop_ok "ends when told"
ok "the bytes are in the file" \
	cmp -n 512 -i 1048576:0 "$T/raw" <(head -c 512 /dev/zero | tr '\0' '1')

serve_ok "serves read-only" "$T/raw" --read-only
run nbdinfo "$uri"
like "$out" "is_read_only: true" "nbdinfo: read-only"
run qio -c "write 0 512"
ok "a write is refused" test "$rc" != 0
stop_ok "ends"

# A guest lives on when its server dies, and does not write again what was answered.
truncate -s 2G "$T/guest"
ok "a volume" mkfs.vmfs -L nbd "$T/guest"
for format in thin zeroedthick; do
	disk=$T/guest:/$format.vmdk
	ok "$format: a disk" vmkfstools -c 32m -d $format "$disk"
	serve_ok "$format: is served" "$disk"
	run bash -c 'qemu-io -t none -f raw "$1" -c "write -P 0x41 1M 4k" \
		-c "write -P 0x42 1052672 4k" -c "write -P 0x43 9M 4k" -c "sigraise 9" \
		2>&1 | grep -c wrote' _ "$uri"
	is "$out" 3 "$format: a guest has its answers, and flushes nothing"
	kill -9 "$server"
	wait "$server" 2>/dev/null
	rm -f "$T/s"
	serve_ok "$format: is served again" --wait 60 "$disk"
	run qio -c "read -P 0x41 1M 4k" -c "read -P 0x42 1052672 4k" \
		-c "read -P 0x43 9M 4k" -c "read -P 0 2M 4k"
	unlike "$out" "failed|verification" "$format: it was not lost"
	stop_ok "$format: ends"
done

refused "a disk that is not there" "$T/nothing" \
	vdisk-nbd "$T/nothing" --socket "$T/s2"
refused "a volume that is not there" "$T/nothing" \
	vdisk-nbd "$T/nothing:/d.vmdk" --socket "$T/s2"
refused "a socket and a port" "not both" vdisk-nbd "$T/raw" -p 3600 -k "$T/s2"
refused "a port that is none" "port no" vdisk-nbd "$T/raw" -p no
refused "no disk" "missing" vdisk-nbd -p 3600
refused "a socket where there is no folder" "no/s2" \
	vdisk-nbd "$T/raw" --socket "$T/no/s2"

command -v mkfs.vmfs >/dev/null && command -v vmkfstools >/dev/null || exit 0
truncate -s 1G "$T/lun"
ok "makes a volume" mkfs.vmfs -L nbd "$T/lun"
for format in thin zeroedthick eagerzeroedthick; do
	ok "makes a $format disk" vmkfstools -c 64m -d $format "$T/lun:/$format.vmdk"
	serve_ok "serves it" "$T/lun:/$format.vmdk"
	ok "writes it" nbdcopy "$T/new" "$uri"
	run qio -c "read -P 0 20M 4M" -c "write -P 0x44 63M 1M" -c "write -z 62M 512k" \
		-c "write -P 0x45 33M 512" -c "read -P 0 34603520 65024" \
		-c "read -P 0x45 33M 512" -c "read -P 0x44 63M 1M"
	is "$rc" 0 "reads and writes through QEMU"
	unlike "$out" "failed|verification" "holes are zeros, the rest is there"
	if [ $format = thin ]; then
		refused "a second one is refused" "$format.*held by host" timeout 60 \
			vdisk-nbd "$T/lun:/$format.vmdk" --wait 1 --socket "$T/s2"
	fi
	stop_ok "ends"
	serve_ok "serves it again, read-only" "$T/lun:/$format.vmdk" --read-only
	nbdcopy "$uri" "$T/copy"
	ok "it is all there" cmp -n 16777216 "$T/new" "$T/copy"
	if [ $format = thin ]; then
		refused "nobody writes it meanwhile" "$format.*held by host" \
			vdisk-nbd "$T/lun:/$format.vmdk" --wait 0 --socket "$T/s2"
		"$BIN/vdisk-nbd" -r "$T/lun:/$format.vmdk" -k "$T/s2" >"$T/uri2" &
		second=$!
		ok "another reads it, too" wait_for 20 test -s "$T/uri2"
		ok "the same bytes" qemu-img compare -f raw -F raw \
			"$(cat "$T/uri")" "$(cat "$T/uri2")"
		kill -TERM $second
		wait $second
	fi
	stop_ok "ends again"
done

# What is data, and what only zeros: by libnbd and by QEMU.
ok "makes a disk with a hole" vmkfstools -c 64m -d thin "$T/lun:/map.vmdk"
serve_ok "serves it" "$T/lun:/map.vmdk"
uri_told=$(cat "$T/uri")
is "$uri_told" "nbd+unix:///map.vmdk?socket=$T/s" "it says where"
qio -c "write -P 0x51 8M 2M" -c "write -P 0x52 63M 1M" >/dev/null
run nbdinfo --map "$uri_told"
map=$(awk '{ print $1, $2, $3 }' <<<"$out")
is "$map" $'0 8388608 3\n8388608 2097152 0\n10485760 55574528 3\n66060288 1048576 0' \
	"nbdinfo --map: the holes"
[ "$map" ] || diag "$out"
run nbdinfo --list "$uri_told"
like "$out" "base:allocation" "nbdinfo --list: the context"
like "$(qemu-img map --output=json -f raw "$uri_told")" \
	'"start": 8388608, "length": 2097152, "depth": 0, "present": true' \
	"qemu-img map agrees"
ok "nbdcopy makes holes of holes" nbdcopy "$uri_told" "$T/sparse"
ok "the copy is small" test "$(stat -c %b "$T/sparse")" -lt 16384
ok "and the same" qemu-img compare -f raw -F raw "$uri_told" "$T/sparse"
stop_ok "ends"
ok "makes a disk of this host" vmkfstools -i "$T/sparse" -d monolithicSparse "$T/h.vmdk"

# TCP, a disk of this host, and its reader.
rm -f "$T/uri"
"$BIN/vdisk-nbd" -r "$T/h.vmdk" -p 0 -x backup >"$T/uri" 2>"$T/err" &
server=$!
ok "listens on TCP" wait_for 20 test -s "$T/uri"
like "$(cat "$T/uri")" '^nbd://127\.0\.0\.1:[0-9]+/backup$' "a port, and a name"
ok "qemu-img converts it" qemu-img convert -f raw -O qcow2 "$(cat "$T/uri")" "$T/h.qcow2"
ok "the copy is the same" qemu-img compare "$T/h.qcow2" "$T/sparse"
run nbdinfo --map "$(cat "$T/uri")"
is "$(awk '{ print $1, $2, $3 }' <<<"$out")" "$map" "the same holes"
stop_ok "ends"
serve_ok "serves it for writing" "$T/h.vmdk"
qio -c "write -P 0x53 16M 64k" -c flush >/dev/null
stop_ok "ends"
ok "QEMU finds what was written" \
	qemu-io -f vmdk -r -c "read -P 0x53 16M 64k" "$T/h.vmdk"

run fsck.vmfs -n "$T/lun"
is "$rc" 0 "the volume is clean"
[ "$rc" = 0 ] || diag "$out"
exit 0
