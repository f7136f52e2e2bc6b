#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host whose target has two portals: esxcli shows both paths of the device, what went
# over them, and chooses among them; the choice holds over a restart.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need mkfs.vmfs vmkernel esxcli

rig=$ROOT/tests/rigs/own.sh
take_ports
truncate -s 1G "$T/a"
url=$(OWN_OPTIONS="-p $((port + 1)):1" "$rig" up "$T" "$port" "$T/a" 2>"$T/why") ||
	skip_all "$(cat "$T/why")"
at_exit "$rig" down "$T" "$port"
mkfs.vmfs -q -L san "$url"

at_exit host_down

host_up
does "the target is added" iscsi adapter discovery sendtarget add -A vmhba64 \
	-a "127.0.0.1:$port"
does "and found" iscsi adapter discovery rediscover
shows "with its datastore" " san .*true" storage filesystem list
active() { # COUNT: paths log in by themselves
	[ "$(esxcli storage core path list | grep -c "State: active")" = "$1" ]
}
ok "it has two paths" wait_for 60 active 2
run esxcli storage core path list
like "$out" "Runtime Name: vmhba64:C1:T0:L1" "with names"
device=$(sed -n 's/^   Device: //p' <<<"$out" | head -1)
run esxcli iscsi session connection list
is "$(grep -c "RemotePort: $((port + 1))" <<<"$out")" 2 \
	"each has a session for data, and one for the heartbeat"
is "$(grep ISID: <<<"$out" | sort -u | wc -l)" 4 "no two of one name"
shows "what went over them" "Successful Commands: [1-9]" storage core path stats get
notices() {
	esxcli storage core device list -d "$device" | grep -q "^   Notices:$1$"
}
ok "the unit says that its space is low" "$rig" do "$T" "$port" attention 1 3807
ok "which is shown with the device" wait_for 60 notices " .*space low"
no_news() { # each session is told once, at its next command
	esxcli storage core adapter rescan && notices " *"
}
ok "after a rescan it is no news any more" wait_for 60 no_news
does "a policy is set" storage nmp device set -d "$device" -P VMW_PSP_RR
does "with its turns" storage nmp psp roundrobin deviceconfig set -d "$device" \
	-t iops -I 7
shows "and shown" "Device Config: .policy=iops,iops=7.$" storage nmp device list
refused "an unknown one is not" "VMW_PSP_BEST: no such policy" \
	esxcli storage nmp device set -d "$device" -P VMW_PSP_BEST
refused "of no device either" "nothing: no attached device" \
	esxcli storage nmp device set -d nothing -P VMW_PSP_RR
ok "the host ends" host_down
host_up
shows "it holds again" "Device Config: .policy=iops,iops=7.$" storage nmp device list
does "one path is preferred" storage nmp psp fixed deviceconfig set -d "$device" \
	-p vmhba64:C1:T0:L1
shows "by another policy" "Policy: VMW_PSP_FIXED" storage nmp device list
refused "turns are of another" "the device's policy is not VMW_PSP_RR" \
	esxcli storage nmp psp roundrobin deviceconfig set -d "$device" -I 9
does "a path is taken out of use" storage core path set -p vmhba64:C0:T0:L1 --state off
shows "which is shown" "State: off" storage core path list -p vmhba64:C0:T0:L1
refused "the last one stays" "the last path that works stays" \
	esxcli storage core path set -p vmhba64:C1:T0:L1 --state off
does "and into it" storage core path set -p vmhba64:C0:T0:L1 --state active
ok "the host ends" host_down
[ -n "${FULL:-}" ] || exit 0

host_up
does "connections start from an address" iscsi networkportal add -A vmhba64 -n 127.0.0.1
does "and from another one" iscsi networkportal add -A vmhba64 -n 127.0.0.2
refused "not twice from one" "is there already" \
	esxcli iscsi networkportal add -A vmhba64 -n 127.0.0.2
ok "the host ends" host_down
host_up
ok "it has a path from each to each portal" wait_for 60 active 4
run esxcli storage core path list
is "$(grep -c "Vmknic: 127.0.0.2" <<<"$out")" 2 "as they say"

# What is shown is the same in each format: as many rows, of the same columns and cells.
# The names of columns are those that people read, without blanks.
cat >"$T/compare.py" <<'END'
import csv, json, sys, xml.etree.ElementTree as xml
name = sys.argv[1]
text = lambda kind: open(name + kind).read()
cell = lambda v: str(v).lower() if isinstance(v, bool) else str(v)
rows = [{k: ", ".join(map(cell, v)) if isinstance(v, list) else cell(v)
	for k, v in row.items()} for row in json.loads(text(".json"))]
def by_csv():
	return [{k: v for k, v in row.items() if k}
		for row in csv.DictReader(text(".csv").splitlines())]
def by_xml():
	local = lambda e: e.tag.split("}")[-1]
	return [{f.get("name"): ", ".join(v.text or "" for v in f.iter()
			if local(v) not in ("field", "list"))
			for f in s if local(f) == "field"}
		for s in xml.fromstring(text(".xml")).iter() if local(s) == "structure"]
def by_keys():
	found = {}
	for line in text(".keyvalue").splitlines():
		path, value = line.split("=", 1)
		parts = path.split(".")
		at = parts[0] if len(parts) > 2 else ""
		row = found.setdefault(at, {})
		key = parts[-2].split("[")[0]
		row[key] = row[key] + ", " + value if key in row else value
	return list(found.values())
for how, got in ("csv", by_csv()), ("xml", by_xml()), ("keyvalue", by_keys()):
	if got != rows:
		sys.exit(f"{name}: {how} has {got}, json {rows}")
print(len(rows), *(rows[0] if rows else []))
END
of=iqn.2026-01.org.openvmfs:own
count=0 filled=0
while read -r words; do
	help=$(esxcli $words --help)
	options=()
	for option in "A|--adapter=vmhba64" "a|--address=127.0.0.1:$port" "n|--name=$of" \
		"l|--volume-label=san"; do
		! grep -q -e "-${option%%=*}=.*(required)" <<<"$help" ||
			options+=("--${option#*--}")
	done
	for kind in json csv xml keyvalue; do
		esxcli --formatter=$kind $words "${options[@]}" >"$T/shown.$kind" ||
			fail "$words as $kind"
	done
	ok "$words: each format tells the same" python3 "$T/compare.py" "$T/shown"
	esxcli $words "${options[@]}" >"$T/shown.text"
	read -r rows columns < <(python3 "$T/compare.py" "$T/shown")
	plain=$(tr -d ' ' <"$T/shown.text")
	for column in $columns; do
		grep -qF -e "$column" <<<"$plain" || fail "$words: text shows $column"
	done
	count=$((count + 1)) filled=$((filled + (rows > 0)))
done < <(esxcli esxcli command list | grep -E '^(iscsi|storage) .* (list|get)( |$)' |
	sed 's/ --.*//')
ok "all of iscsi and storage ($count lists, $filled with rows)" [ "$filled" -ge 20 ]
ok "the host ends" host_down
