#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# esxcli's words: each level says what is below it, what is wrong is said in one sentence
# with the usage below, every list comes in the formats that programs read, and the shell
# completes what there is. And a datastore that was unmounted stays so.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need esxcli mkfs.vmfs vmkernel python3

while read -r command; do
	words=${command%% --*}
	# shellcheck disable=SC2086
	run esxcli $words --help
	is "$rc:$(sed -n 1p <<<"$out")" "0:Usage: esxcli $words [cmd options]" \
		"$words --help"
	for option in $(grep -o -e '--[a-z-]*' <<<"${command#"$words"}"); do
		grep -q -e "$option" <<<"$out" || fail "$words --help names $option"
	done
done < <(esxcli esxcli command list)

# The page names each command in a tag, and each of its options there or below.
cat >"$T/page.py" <<'END'
import re, subprocess, sys
page = re.sub(r"\\f[BIR]", "", open(sys.argv[1]).read()).replace("\\-", "-")
page = re.sub(r"^\.(B|I|BR|IR|RB|RI|BI|IB) ", "", page, flags=re.M)
blocks = [re.split(r"\n\.S[SH]", b)[0] for b in page.split("\n.TP\n")[1:]]
def tells_of(block, words):
	tag = " %s " % " ".join(re.split(r"[\s,|]+", block.split("\n")[0]))
	last = " %s " % words[-1]
	space = " %s " % " ".join(words[:-1])
	# Said once for all places:
	is_shared = space.endswith((" auth chap ", " param "))
	if is_shared and tag.startswith(" auth chap set "):
		return True
	return space in tag and last in tag
for line in sys.stdin:
	words, *options = re.split(" (?=--)", line.strip())
	words = words.split()
	text = " ".join(b for b in blocks if tells_of(b, words))
	if not text and words[0] != "esxcli":
		print("no", *words)
	usage = subprocess.run(["esxcli", *words, "--help"], stdout=-1, text=True).stdout
	for option in options:
		short = re.search(r"(-\w)\|%s\b" % option, usage)
		names = [option] + ([short.group(1)] if short else [])
		if not any(re.search(r"(?<![\w-])%s(?![\w-])" % n, text) for n in names):
			print("no", option, "of", *words)
END
is "$(esxcli esxcli command list | python3 "$T/page.py" "$ROOT/docs/man/esxcli.1")" "" \
	"esxcli(1) has all commands and their options"

run esxcli storage vmfs --help
like "$out" "^  snapshot" "a namespace lists what is below it"
run esxcli
is "$rc" 1 "nothing asked is an error"
refused "an unknown word" "^Error: Unknown command or namespace storage nothing$" \
	esxcli storage nothing
run esxcli storage vmfs host list
is "$rc:$(sed -n 1p <<<"$out")" "1:Error: Missing required parameter -l|--volume-label" \
	"a missing option"
run esxcli storage filesystem list --nothing
is "$rc:$(sed -n 1p <<<"$out")" "1:Error: Invalid option --nothing" "an unknown option"
run esxcli storage vmfs host list -l a -u b
like "$rc:$out" "1:Error: Parameter --volume-uuid is given twice" "one too many"
refused "an unknown formatter" "^Error: Unknown formatter yaml" \
	esxcli --formatter=yaml storage filesystem list

complete_words() { # WORD...: what the shell would offer
	bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _esxcli
		echo "${COMPREPLY[*]}"' - "$ROOT/vmkernel/cli/esxcli.bash" "$@"
}
is "$(complete_words esxcli storage vmfs sn)" "snapshot" "the shell completes a word"
is "$(complete_words esxcli -s x storage filesystem l)" "list" "behind an option, too"
is "$(complete_words esxcli storage vmfs host list --volume-u)" "--volume-uuid" \
	"and an option"

truncate -s 1G "$T/lun"
mkfs.vmfs -q -L 'a,"b"&<c>' "$T/lun"
at_exit host_down
host_up --device "$T/lun"
read_as() { # FORMAT PYTHON: what is in $text
	text=$(esxcli --formatter="$1" storage filesystem list) python3 -c "
import os, csv, json, xml.etree.ElementTree as xml
text = os.environ['text']
$2"
}
is "$(read_as json '
row = json.loads(text)[0]
print(row["VolumeName"], row["Mounted"])')" 'a,"b"&<c> True' "json"
is "$(read_as csv 'print(list(csv.DictReader(text.splitlines()))[0]["VolumeName"])')" \
	'a,"b"&<c>' "csv"
is "$(read_as xml '
print([s.text for f in xml.fromstring(text).iter() if f.get("name") == "VolumeName"
	for s in f][0])')" 'a,"b"&<c>' "xml"
like "$(esxcli --formatter keyvalue storage filesystem list)" \
	'^FilesystemVolume\[0\]\.VolumeName\.string=a,"b"&<c>$' "keyvalue"

run esxcli storage filesystem unmount -l 'a,"b"&<c>'
is "$rc:$out" "0:" "a datastore of the configuration is unmounted"
ok "the host ends" host_down
host_up --device "$T/lun"
run esxcli storage filesystem list
unlike "$out" 'a,"b"' "a host that starts again leaves it so"
mkdir "$T/state/iscsi.json.new"
refused "a mount that cannot be kept" "iscsi.json|vmkernel.log says more" \
	esxcli storage filesystem mount -l 'a,"b"&<c>'
rmdir "$T/state/iscsi.json.new"
run esxcli storage filesystem list
unlike "$out" 'a,"b"' "is none"
run esxcli storage filesystem mount -l 'a,"b"&<c>'
is "$rc:$out" "0:" "until it is mounted"
run esxcli storage filesystem list
like "$out" 'a,"b"&<c>.*true' "then it is there"
refused "what is there is not mounted again" "mounted already" \
	esxcli storage filesystem mount -l 'a,"b"&<c>'
ok "the host ends" host_down
