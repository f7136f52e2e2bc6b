#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The password of an iscsi:// URL is in nothing that a tool prints, be it a result or a
# refusal, and in no name of a file that it makes; nor, once it runs, in what others see
# of its command line (ps).

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs vmkfstools vmfsctl vmfs-dump
rig=$ROOT/tests/rigs/own.sh
take_ports
password=knownToNobody
at_exit "$rig" down "$T" "$port"
truncate -s 1G "$T/data"
urls=$(OWN_CHAP="me%$password" "$rig" up "$T" "$port" "$T/data" 2>"$T/why")
case $? in
0) ;;
77) skip_all "$(cat "$T/why")" ;;
*) echo "Bail out! $(cat "$T/why")"; exit 1 ;;
esac
url=$(sed -n 1p <<<"$urls")
like "$url" "$password" "the URL has a password"

hides() { # NAME CODE WORD...: ends with that code, and does not tell
	local name=$1 code=$2
	shift 2
	run "$@"
	is "$rc" "$code" "$name"
	unlike "$out" "$password" "$name, without a word of it"
}
hides "a volume is made" 0 mkfs.vmfs "$url"
hides "it is not made twice" 1 mkfs.vmfs "$url"
hides "it is checked" 0 fsck.vmfs -n "$url"
hides "and in JSON" 0 fsck.vmfs -n --json "$url"
hides "it is looked at" 0 vmfs-dump "$url" fs
hides "what is not there is told of" 1 vmfs-dump "$url" file /none
hides "compare-and-write is tried" 0 vmfsctl atstest -n 2 -c 20 "$url"
hides "keys are listed" 0 vmfsctl keys "$url"
hides "a disk is made" 0 vmkfstools -c 4m "$url:/a.vmdk"
hides "and not twice" 1 vmkfstools -c 4m "$url:/a.vmdk"
hides "nor removed twice" 0 vmkfstools -U "$url:/a.vmdk"
hides "it is gone" 1 vmkfstools -U "$url:/a.vmdk"
hides "the volume is told of" 0 vmkfstools -P "$url"
hides "a path without a volume" 1 vmkfstools -P "${url%/*}/77"

# While the target does not answer, each waits.
covers() { # NAME SECRET WORD...
	local name=$1 secret=$2 pid seen=
	shift 2
	"$@" </dev/null >"$T/said" 2>&1 &
	pid=$!
	for ((i = 0; i < 200; i++)); do
		seen=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")
		[[ $seen == *"**"* ]] && break # in an exec it is empty for a moment
		sleep 0.05
	done
	like "$seen" '[*]{5}' "$name covers it"
	unlike "$seen" "$secret" "all of it"
	kill -9 "$pid"
	wait "$pid" 2>/dev/null || return 0
}
"$rig" hang "$T" "$port"
plain=iscsi://${url#*@}
keyed="$plain?user=me&password=$password&target_user=it&target_password=other-$password"
two=$url,$keyed
mkdir "$T/mnt"
covers "mkfs.vmfs" "$password" mkfs.vmfs "$two"
covers "fsck.vmfs" "$password" fsck.vmfs -n "$url"
covers "vmfs-dump" "$password" vmfs-dump "$keyed" fs
covers "vmfsctl" "$password" vmfsctl keys "$url"
covers "vmkfstools" "$password" vmkfstools -P "$two:/"
covers "vmfs-rescue" "$password" vmfs-rescue list "$keyed"
covers "vdisk-nbd" "$password" vdisk-nbd "$url:/a.vmdk" -k "$T/sock"
if [ -x "$BIN/vmfs-fuse" ]; then
	covers "vmfs-fuse" "$password" vmfs-fuse -f "$two" "$T/mnt"
fi
"$rig" thaw "$T" "$port"

# A host that is called and does not answer.
perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 9)
	or die; sleep 60' "$T/host" &
host=$!
at_exit kill "$host"
wait_for 10 test -S "$T/host"
for how in "--secret=$password" "-S $password"; do
	# shellcheck disable=SC2086
	covers "esxcli ${how%%[= ]*}" "$password" esxcli -s "$T/host" \
		iscsi adapter auth chap set -A vmhba64 -N me -d uni -l preferred $how
done
