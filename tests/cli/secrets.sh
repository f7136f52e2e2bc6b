#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The password of an iscsi:// URL is in nothing that a tool prints, be it a result or a
# refusal, and in no name of a file that it makes.

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
