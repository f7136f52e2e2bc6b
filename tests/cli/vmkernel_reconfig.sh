#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a VM and its disk are given is changed while it runs: it counts at once, stands in
# the .vmx file with nothing else touched, and lives on when vmkernel is killed. What
# power-on would refuse is refused, and changes nothing. Of a VM that is off the file
# alone is changed.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/idle_host.sh"

esx() { "$BIN/esxcli" -s "$T/a/vmkernel.sock" "$@"; }
changed() { diff <(vmx) "$T/before" | grep '^[<>]'; }
resource() { esx vm resource list | sed -n "s/^ *$1: //p"; }
# Ten reads, one after the other, by another client of the disk: in ms.
ten_reads() {
	local sock="$T/a/vms/1/disk0.sock" name from args=() i
	name=$(tr '\0' '\n' <"/proc/$(sed -n 's/.*QEMU is process //p' \
		"$T/a/vms/1/vmware.log" | tail -n 1)/cmdline" |
		grep -o 'disk0-[0-9a-f]*' | head -n 1)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		args+=(-c "read ${i}k 1k")
	done
	from=$(date +%s%3N)
	qemu-io -f raw "${args[@]}" "nbd+unix:///$name?socket=$sock" >/dev/null || return
	echo $(($(date +%s%3N) - from))
}

idle_vm 4M '# a remark' 'odd.key = "stays"' 'sched.cpu.shares = "low"'
vmx >"$T/before"
ok "of a VM that is off" esx vm resource set -w 1 --cpu-shares high
is "$(changed)" '< sched.cpu.shares = "high"
> sched.cpu.shares = "low"' "one line changes"
ok "it runs" vim vmsvc/power.on 1
is "$(resource "CPU Shares")" 2000 "with that"

vmx >"$T/before"
ok "of one that runs, too" esx vm resource set -w 1 --cpu-shares 500 --cpu-max 900 \
	--mem-min 8
is "$(resource "CPU Shares") $(resource "CPU Max MHz") $(resource "Memory Min MB")" \
	"500 900 8" "it counts at once"
is "$(changed)" '< sched.cpu.shares = "500"
< sched.cpu.max = "900"
< sched.mem.min = "8"
> sched.cpu.shares = "high"' "and stands in its file, with nothing else"
diag "ten reads: $(ten_reads) ms"
ok "its disk gets a limit" esx vm disk set -w 1 -d scsi0:0 --iops-limit 4
ok "ten reads take seconds" test "$(ten_reads)" -ge 1500
like "$(vmx)" 'sched.scsi0:0.throughputCap = "4"' "it stands in its file"
kill -9 "$(cat "$T/a/vmkernel.pid")"
ok "vmkernel is killed, another starts" host
ok "it has the VM" wait_for 30 is_on
ok "with its limit" test "$(ten_reads)" -ge 1500
is "$(resource "CPU Shares")" 500 "and its shares"
ok "the limit goes" esx vm disk set -w 1 -d scsi0:0 --iops-limit off --shares high
diag "ten reads: $(ten_reads) ms"

# ---- what is refused ----
vmx >"$T/before"
refused "shares that are none" 'sched.cpu.shares = "plenty"$' \
	esx vm resource set -w 1 --cpu-shares plenty
refused "less than what is reserved" 'sched.cpu.max = "less than sched.cpu.min"$' \
	esx vm resource set -w 1 --cpu-min 1000 --cpu-max 10
refused "more than the host has" "admission control: it reserves 90000000 MHz" \
	esx vm resource set -w 1 --cpu-min 90000000 --cpu-max -1
refused "a limit that is none" "its shares or limits cannot be understood: quick" \
	esx vm disk set -w 1 -d scsi0:0 --iops-limit quick
refused "a disk that it has not" "has no disk scsi0:9" \
	esx vm disk set -w 1 -d scsi0:9 --shares low
refused "nothing" "nothing is to be changed" esx vm resource set -w 1
refused "of a VM that is not there" "no VM with this id" \
	esx vm resource set -w 7 --cpu-shares low
is "$(changed)" "" "and nothing has changed"
is "$(resource "CPU Shares")" 500 "nor for the VM"
ok "it is powered off" vim vmsvc/power.off 1
idle_end
exit 0
