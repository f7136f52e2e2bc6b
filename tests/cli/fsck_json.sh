#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fsck.vmfs for programs: --json of VMFS-5 and VMFS-6, clean and damaged; --list-findings,
# and the manual page made from it.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs fsck.vmfs python3

image=$T/image
values() { # values KEY..., of the object in $out or of its first finding
	python3 -c '
import json, sys
d = json.load(sys.stdin)
first = d["findings"][0] if d["findings"] else {}
print(*[d.get(k, first.get(k)) for k in sys.argv[1:]], sep=":")' "$@" <<<"$out"
}

for version in 5 6; do
	rm -f "$image"
	truncate -s 2G "$image"
	mkfs.vmfs -q -V $version -L "json $version" "$image"
	run fsck.vmfs -n --json "$image"
	is "$rc" 0 "VMFS-$version: a clean volume: 0"
	is "$(values version label errors findings complete)" \
		"$version:json $version:0:[]:True" "and an object without findings"
	# The first heartbeat slot: in a state that is none.
	printf '\x09' | dd of="$image" bs=1 seek=$((0x1400000)) conv=notrunc status=none
	run fsck.vmfs -n --json "$image"
	is "$rc" 4 "damaged: 4"
	is "$(values errors code severity)" "1:HB_STATE:error" \
		"and a finding with code and severity"
done

run fsck.vmfs --list-findings
is "$rc" 0 "--list-findings"
is "$(grep -cvE '^[A-Z0-9_]+: .+' <<<"$out")" 0 "is code and sentence, one a line"
is "$(sort -u <<<"$out" | wc -l)" "$(wc -l <<<"$out")" "each of them once"
is "$(cd "$ROOT" && scripts/findings | sha256sum)" \
	"$(sha256sum <"$ROOT/docs/man/vmfs-fsck-findings.8")" \
	"the manual page is made from it (make findings)"
