#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A VM's log in its own folder: there while it runs, one for each run with as many old
# ones as its .vmx file says, cut by size, through a vmkernel that is killed; and a volume
# without room for it does not stop the VM. It goes with the VM.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"

files() { "$BIN/vmkfstools" --dir "$T/lun:/idle" | sort | tr '\n' ' '; }
logs() { "$BIN/vmkfstools" --dir "$T/lun:/idle" | grep 'log$' | sort | tr '\n' ' '; }
read_log() { "$BIN/vmkfstools" --get "$T/lun:/idle/${1:-vmware.log}" /dev/stdout | cat; }
has_said() { read_log "${2:-vmware.log}" 2>/dev/null | grep -q "$1"; }
token() { grep -o 'export=disk0-[0-9a-f]*' | tail -n 1; }
local_log() { cat "$T/a/vms/1/vmware.log"; }
is_whole() { [ "$(read_log 2>/dev/null)" = "$(local_log)" ]; }
once() { ok "$1: it runs" vim vmsvc/power.on 1; ok "and ends" vim vmsvc/power.off 1; }

idle_vm 4M 'log.keepOld = "2"'
ok "the VM runs" vim vmsvc/power.on 1
ok "its folder has its log, while it runs" wait_for 30 has_said "the VM runs, QEMU"
is "$(logs)" "vmware.log " "under its name"
first=$(local_log | token)
ok "all of it" wait_for 30 is_whole
ok "vmkernel is killed" kill -9 "$(cat "$T/a/vmkernel.pid")"
ok "another takes its place" host
ok "and the VM back" wait_for 30 is_on
ok "it goes on with the log" wait_for 30 is_whole
is "$(logs)" "vmware.log " "the same one"
ok "the VM is reset" vim vmsvc/power.reset 1
ok "so says its log" wait_for 30 has_said RESET
ok "it is powered off" vim vmsvc/power.off 1
like "$(read_log | tail -n 1)" "the VM has ended: powered off" "the log has its end"
ok "it is whole" is_whole
ok "the next run" vim vmsvc/power.on 1
ok "has a log of its own" wait_for 30 is_whole
is "$(logs)" "vmware-1.log vmware.log " "beside that of the one before"
is "$(read_log vmware-1.log | token)" "$first" "which has its number"
is "$(local_log | grep -c 'the VM runs')" 1 "so it is in the run directory"
ok "it ends" vim vmsvc/power.off 1
once third
once fourth
is "$(logs)" "vmware-2.log vmware-3.log vmware.log " "two old ones are kept"

vmx >"$T/got.vmx"
sed -i 's/^log.keepOld.*/log.keepOld = "20"/' "$T/got.vmx"
printf 'log.rotateSize = "2000"\n' >>"$T/got.vmx"
ok "smaller ones" vmkfstools --put "$T/got.vmx" "$T/lun:/idle/idle.vmx"
once small
for f in $(logs); do
	case $f in
	vmware-[1234].log) ;;
	*) is "$(($(read_log "$f" | wc -c) > 2000))" 0 "$f is not larger" ;;
	esac
done
{
	for i in 5 6 7 8 9 10 11 12; do
		read_log vmware-$i.log 2>/dev/null
	done
	read_log
} >"$T/all"
ok "together they are the whole" diff "$T/all" "$T/a/vms/1/vmware.log"
like "$(logs)" "vmware-5.log vmware" "of several files"

sed -i '/^log/d' "$T/got.vmx"
printf 'logging = "FALSE"\n' >>"$T/got.vmx"
ok "none at all" vmkfstools --put "$T/got.vmx" "$T/lun:/idle/idle.vmx"
before=$(logs)
once unlogged
is "$(logs)" "$before" "is none at all"
sed -i '/^logging/d' "$T/got.vmx"
ok "as usual" vmkfstools --put "$T/got.vmx" "$T/lun:/idle/idle.vmx"

# Much of it: the run directory keeps the end, and what was not copied in time is said.
all_logs() { for f in $(logs); do read_log "$f"; done; }
is_small() { [ $(($(stat -c '%b * %B' "$T/a/vms/1/vmware.log"))) -lt 10000000 ]; }
ok "the VM runs" vim vmsvc/power.on 1
ok "with its log" wait_for 30 has_said "the VM runs, QEMU"
seq -f "%019.0f" 1000000 >>"$T/a/vms/1/vmware.log"
ok "20 MB of words: its end is in the VM's folder" wait_for 90 has_said "^0*1000000$"
ok "the run directory does not keep them all" is_small
ok "the VM ends" vim vmsvc/power.off 1
like "$(all_logs)" "^\([0-9]* bytes are left out" "what is missing is said"
all_logs | grep -o '^0[0-9]\{18\}$' | sort >"$T/got"
lost=$(all_logs | awk '/bytes are left out/ { n += substr($1, 2) } END { print n + 0 }')
is "$((20000000 - $(wc -c <"$T/got") - lost < 200))" 1 "and nothing else is"
is "$(uniq -d "$T/got" | wc -l)" 0 "nor is anything there twice"

# What vmx's user puts in the place of its log is not what vmkernel reads out.
ok "the VM runs" vim vmsvc/power.on 1
ok "with its log" wait_for 30 has_said "the VM runs, QEMU"
echo "a secret of the host" >"$T/secret"
ok "its log is a link now" ln -sf "$T/secret" "$T/a/vms/1/vmware.log"
sleep 3
ok "it is powered off" vim vmsvc/power.off 1
unlike "$(read_log)" "secret" "that is not followed"
like "$(cat "$T/a/vmkernel.log")" "its log cannot be written to its folder" "and said"
rm "$T/a/vms/1/vmware.log"

# No room.
head -c 64M /dev/zero >"$T/filler"
fill() {
	local i=0
	while vmkfstools --put "$T/filler" "$T/lun:/filler$i" 2>/dev/null; do
		i=$((i + 1))
	done
	head -c 1M /dev/zero >"$T/filler"
	while vmkfstools --put "$T/filler" "$T/lun:/fill1$i" 2>/dev/null; do
		i=$((i + 1))
	done
}
fill
ok "on a full volume the VM runs" vim vmsvc/power.on 1
sleep 3
ok "and is on" is_on
like "$(local_log)" "the VM runs, QEMU" "its log is in the run directory"
ok "it is powered off" vim vmsvc/power.off 1
for f in $(vmkfstools --dir "$T/lun:/" | grep '^fil'); do
	vmkfstools --rm "$T/lun:/$f" 2>/dev/null
done

ok "another VM's file in the folder" \
	vmkfstools --put "$T/got.vmx" "$T/lun:/idle/other.vmx"
once shared
like "$(files)" " idle.log " "the log has the VM's name"
ok "the VM is destroyed" vim vmsvc/destroy 1
unlike "$(files)" " idle.log " "with its log"
like "$(files)" "vmware-9.log" "those of nobody else stay"
idle_end
exit 0
