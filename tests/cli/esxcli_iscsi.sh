#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host that is told by esxcli where its storage is: it finds the targets there, proves
# itself to them, attaches what they hold, and knows all that again when it is restarted;
# its secrets stand in one file that nobody else can read, and nowhere else.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need mkfs.vmfs vmkernel esxcli python3 tgtd

rig=$ROOT/tests/rigs/tgt.sh
take_ports
iqn=iqn.2026-01.org.openvmfs:tgt
secret=s3cret-of-alice
export TGT_CHAP=alice%$secret
truncate -s 1G "$T/a" "$T/b"
url=$("$rig" up "$T" "$port" "$T/a" "$T/b" 2>"$T/why") || skip_all "$(cat "$T/why")"
at_exit "$rig" down "$T" "$port"
mkfs.vmfs -q -L san "$(sed -n 1p <<<"$url")"

at_exit host_down
adapter="iscsi adapter" discovery="iscsi adapter discovery" A="-A vmhba64"

# shellcheck disable=SC2086 # words are words
{
ok "a host without storage starts" host_up
shows "it has an adapter" "^vmhba64  iscsi_vmk  online  iqn\..*:host-" $adapter list
does "an address is added" $discovery sendtarget add $A -a "127.0.0.1:$port"
refused "but not twice" "127.0.0.1:$port is there already" \
	esxcli $discovery sendtarget add $A -a "127.0.0.1:$port"
shows "it is listed" "^vmhba64  127.0.0.1:$port$" $discovery sendtarget list
refused "a login without CHAP is one line" "$iqn/0: cannot connect: .*" \
	esxcli $discovery rediscover
shows "the target's row says so" "$iqn .*SENDTARGETS .*cannot connect" \
	$adapter target list
echo wrong-secret-of-alice >"$T/wrong"
echo $secret >"$T/right"
does "a secret is set" $adapter target portal auth chap set $A -n $iqn -N alice \
	--secret-file "$T/wrong"
refused "a wrong one is one line" "$iqn/0: cannot connect: .*" \
	esxcli $discovery rediscover
does "by standard input" $adapter target portal auth chap set $A -n $iqn -N alice \
	--secret-file - <"$T/right"
shows "it is not shown" "^uni +alice +preferred +false$" \
	$adapter target portal auth chap get $A -n $iqn
does "the targets are found" $discovery rediscover $A
shows "the datastore is there" " san .*true" storage filesystem list
shows "without an error" "$iqn .*No Error" $adapter target list
shows "the portal" "$iqn  127.0.0.1  $port" $adapter target portal list
shows "both LUNs" "LUN: 2" storage core device list
shows "a session for its data, one for its heartbeat" "Purpose: heartbeat" \
	iscsi session list
before=$(grep ISID <<<"$out")
shows "their connections" "RemoteAddress: 127.0.0.1" iscsi session connection list
refused "a session in use stays" "in use by datastore san" \
	esxcli iscsi session remove $A -n $iqn
does "a parameter is set" $adapter target portal param set $A -n $iqn \
	-k DataDigest -v preferred
shows "and shown" "^DataDigest +preferred +discouraged +true +false" \
	$adapter target portal param get $A -n $iqn
refused "an unknown one is not" "Colour: no such parameter" \
	esxcli $adapter param set $A -k Colour -v red
refused "nor a wrong value" "a digest is prohibited" \
	esxcli $adapter param set $A -k DataDigest -v red

ok "the host ends" host_down
is "$(stat -c %a "$T/state/iscsi.json")" 600 "only its owner reads the file of secrets"
ok "it starts again" host_up
shows "with its datastore" " san .*true" storage filesystem list
esx iscsi session list
is "$(grep ISID <<<"$out")" "$before" "on sessions of the same names"
shows "and its parameters" "^DataDigest +preferred" \
	$adapter target portal param get $A -n $iqn

ok "the host ends" host_down
"$rig" down "$T" "$port"
ok "it starts though its storage is away" host_up
esx storage filesystem list
unlike "$out" san "without it"
"$rig" up "$T" "$port" "$T/a" "$T/b" >/dev/null 2>&1
has_san() { esxcli storage filesystem list | grep -q " san "; }
ok "what comes is found by itself" wait_for 60 has_san
shows "what it can do" "ATS Status: " storage core device vaai status get
shows "the volume's device" "^san +[0-9a-f-]+ +0 +(naa|t10)\." storage vmfs extent list

does "the datastore is unmounted" storage filesystem unmount -l san
does "a rescan leaves it so" storage filesystem rescan
host_down && host_up
esx storage filesystem list
unlike "$out" san "and so does a restart"
does "until it is mounted" storage filesystem mount -l san
shows "then it is there" " san .*true" storage filesystem list

does "no more an address" $discovery sendtarget remove $A -a "127.0.0.1:$port"
does "a target behind a NAT" $discovery statictarget add $A -n $iqn -a 192.0.2.9
does "reached elsewhere" $adapter target portal override add $A -p 192.0.2.9 \
	-r "127.0.0.1:$port"
does "from an address of this machine" iscsi networkportal add $A -n 127.0.0.1
does "is found" $discovery rediscover
shows "where it says" "$iqn  192.0.2.9  3260" $adapter target portal list
does "no more from there" iscsi networkportal remove $A -n 127.0.0.1
does "from another one" iscsi networkportal add $A -n 192.0.2.77
refused "which is not ours" "$iqn/0: cannot connect: " esxcli $discovery rediscover
does "not from there either" iscsi networkportal remove $A -n 192.0.2.77
does "no more a NAT" $adapter target portal override remove $A -p 192.0.2.9
does "no more a target" $discovery statictarget remove $A -n $iqn -a 192.0.2.9

own=$ROOT/tests/rigs/own.sh near=127.0.0.1:$((port + 1))
if OWN_OPTIONS=--chap-discovery OWN_CHAP=bob%$secret OWN_MUTUAL=disk%$secret-too \
	"$own" up "$T" $((port + 1)) null:64M >"$T/why" 2>&1; then
	at_exit "$own" down "$T" $((port + 1))
	echo $secret-too >"$T/mutual"
	of=iqn.2026-01.org.openvmfs:own
	does "an address that demands CHAP" $discovery sendtarget add $A -a $near
	refused "tells nothing without it" "$near: discovery failed: login refused: " \
		esxcli $discovery rediscover
	does "it gets it" $discovery sendtarget auth chap set $A -a $near -N bob \
		--secret-file "$T/right"
	does "and has to prove itself" $discovery sendtarget auth chap set $A -a $near \
		-d mutual -N disk --secret-file "$T/wrong"
	refused "which it cannot" "$near: discovery failed: .*CHAP answer is wrong" \
		esxcli $discovery rediscover
	does "it gets the right one" $discovery sendtarget auth chap set $A -a $near \
		-d mutual -l required -N disk --secret-file "$T/mutual"
	does "and tells its targets" $discovery rediscover
	shows "who inherit all that" "^mutual +disk +required +true$" \
		$adapter target portal auth chap get $A -n $of
	shows "and have LUNs" "Target: $of" storage core device list
	refused "both secrets may not be one" "may not be the same" \
		esxcli $discovery sendtarget auth chap set $A -a $near -d mutual \
		-N disk --secret-file "$T/right"
	does "a target may be without" $adapter target portal auth chap set $A -n $of \
		-d mutual -l prohibited
	shows "by itself" "^mutual +prohibited +false$" \
		$adapter target portal auth chap get $A -n $of
	does "no more of it" $discovery sendtarget remove $A -a $near
else
	skip 13 "$(cat "$T/why")"
fi

refused "an unknown adapter" "vmhba7: no such adapter" esxcli $adapter get -A vmhba7
refused "no address" "a/b: not an address" \
	esxcli $discovery sendtarget add $A -a a/b
refused "no name" "x: not an iSCSI name" esxcli $adapter set $A -n x
esx $discovery sendtarget add $A
is "$rc:$(sed -n 1p <<<"$out")" "1:Error: Missing required parameter -a|--address" \
	"no address at all"
while read -r words; do
	esxcli --formatter=json $words >"$T/${words// /_}.json" || fail "$words as json"
done < <(esxcli esxcli command list | sed -n 's/ list.*/ list/p' |
	grep -v -e "^esxcli" -e "vmfs host"
	echo "storage core device vaai status get"
	echo "system version get")
ok "all lists are json" python3 -c 'import json, sys
for name in sys.argv[1:]: json.load(open(name))' "$T"/*.json
ok "the host ends" host_down
}
ok "no secret in what esxcli said" test "$(grep -c "$secret" "$T/said")" = 0
ok "nor in the log" test "$(grep -c "$secret" "$T/state/vmkernel.log")" = 0
