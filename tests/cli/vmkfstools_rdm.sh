#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Raw device mappings (-r, -z, -q): a disk that is a LUN of a target is what the LUN is,
# is cloned, renamed and removed without harm to the LUN; another LUN under its name is
# refused.

. "$(dirname "$0")/../lib/tap.sh"

need fsck.vmfs vmfs-dump qemu-io
rig=$ROOT/tests/rigs/own.sh
take_ports
at_exit "$rig" down "$T" "$port"
truncate -s 300M "$T/lun"
mkfs.vmfs -q "$T/lun" || { echo "Bail out! mkfs.vmfs failed"; exit 1; }
for i in 1 2; do
	head -c 2M /dev/urandom >"$T/data$i"
	truncate -s 8M "$T/data$i"
done
urls=$("$rig" up "$T" "$port" "$T/data1" "$T/data2" 2>"$T/why")
case $? in
0) ;;
77) skip_all "$(cat "$T/why")" ;;
*) echo "Bail out! $(cat "$T/why")"; exit 1 ;;
esac
url=$(sed -n 1p <<<"$urls")
other=$(sed -n 2p <<<"$urls")
V=$T/lun:/v

ok "a virtual mapping" vmkfstools --mkdir "$V"
ok "of a LUN" vmkfstools -r "$url" "$V/a.vmdk"
ok "a physical one" vmkfstools -z "$url" "$V/p.vmdk"
run vmkfstools -q "$V/a.vmdk"
like "$out" "is a Non-passthrough Raw Device Mapping" "-q tells of it"
like "$out" "Maps to: naa\.[0-9a-f]*$" "by name"
like "$out" "Reached as: $url" "and by address"
run vmkfstools -q "$V/p.vmdk"
like "$out" "is a Passthrough Raw Device Mapping" "-q tells of the other"
ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$T/lun"
refused "a mapping that is there" "exists" vmkfstools -r "$url" "$V/a.vmdk"

ok "it is cloned" vmkfstools -i "$V/a.vmdk" -d monolithicFlat "$T/c.vmdk"
ok "and is the LUN" cmp "$T/data1" "$T/c-flat.vmdk"
"$rig" do "$T" "$port" stats-reset
ok "on a thin disk" vmkfstools -i "$V/a.vmdk" -d thin "$V/t.vmdk"
sent=$("$rig" do "$T" "$port" stat bytes_out)
# In pieces of 4 MiB, of which the second is all hole.
ok "of the LUN only what it has blocks for was read" [ "$sent" -lt $((5 << 20)) ]
ok "all of it" vmkfstools -i "$V/t.vmdk" -d monolithicFlat "$T/t.vmdk"
ok "is there" cmp "$T/data1" "$T/t-flat.vmdk"
ok "it goes" vmkfstools -U "$V/t.vmdk"
ok "it is checked" vmkfstools -x check "$V/a.vmdk"
refused "it does not grow" "does not grow" vmkfstools -X 20m "$V/a.vmdk"
ok "what is cloned to one" vmkfstools -i "$V/a.vmdk" -d "rdm:$other" "$V/o.vmdk"
ok "is on its LUN" cmp "$T/data1" "$T/data2"
ok "its mapping goes, and the LUN stays" vmkfstools -U "$V/o.vmdk"
ok "as it was" cmp "$T/data1" "$T/data2"
ok "it is renamed" vmkfstools -E "$V/a.vmdk" "$V/b.vmdk"
ok "it is wiped" vmkfstools -w "$V/b.vmdk"
ok "the LUN is zeros" cmp -n 8388608 "$T/data1" /dev/zero
ok "and that LUN alone" cmp "$T/data2" "$T/c-flat.vmdk"

# Its changes are tracked as any disk's; of a physical one nobody sees all of them.
ok "its changes are tracked" vmkfstools --changeTracking on "$V/b.vmdk"
id=$(vmkfstools --changeId "$V/b.vmdk")
like "$id" "^[0-9a-f ]*-[0-9a-f ]*/[0-9]*$" "it has a change id"
refused "a physical one's are not" "is a physical mapping" \
	vmkfstools --changeTracking on "$V/p.vmdk"

# It is served as any disk, and nobody else has it meanwhile.
vdisk-nbd "$V/b.vmdk" -k "$T/sock" >"$T/uri" 2>&1 &
nbd=$!
at_exit kill "$nbd"
for ((i = 0; i < 300; i++)); do
	! [ -s "$T/uri" ] || break
	sleep 0.1
done
ok "a guest writes" qemu-io -f raw -c "write -P 7 1M 1M" -c flush \
	"nbd+unix:///b.vmdk?socket=$T/sock"
kill "$nbd"
wait "$nbd"
is "$(vmkfstools --queryChangedAreas "$id" "$V/b.vmdk")" "1048576 1048576" \
	"what changed is what the guest wrote"
ok "it is on the LUN" qemu-io -r -f raw -c "read -P 7 1M 1M" -c "read -P 0 2M 6M" \
	"$T/data1"

# Another LUN under its name: nothing of it is read or written.
vmkfstools --get "$V/b.vmdk" "$T/d"
sed "s|$url|$other|" "$T/d" >"$T/e"
ok "a descriptor that leads elsewhere" vmkfstools --put "$T/e" "$V/b.vmdk"
cp "$T/data2" "$T/before"
refused "is refused" "is mapped to naa.*is another one, naa" \
	vmkfstools -i "$V/b.vmdk" -d monolithicFlat "$T/n.vmdk"
refused "to write, too" "is another one" vmkfstools -w "$V/b.vmdk"
ok "the other LUN is as it was" cmp "$T/data2" "$T/before"

ok "mappings are removed" vmkfstools -U "$V/b.vmdk"
ok "both" vmkfstools -U "$V/p.vmdk"
is "$(vmkfstools --dir "$V")" "" "nothing is left of them"
ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$T/lun"
