#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A host's processors and memory among its VMs: who is not powered on and why, what the
# kernel is told, what busy VMs then get, a balloon that a real guest fills, and a host
# whose daemon is killed with twelve VMs running.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "FULL=1 runs this"
. "$(dirname "$0")/../lib/host.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd esxcli qemu-system-x86_64
[ "$(id -u)" = 0 ] || skip_all "needs root"
chmod 755 "$T"

H=$T/state
vim() { "$BIN/vim-cmd" "$@"; }
qemu_of() { sed -n 's/.*QEMU is process //p' "$H/vms/$1/vmware.log" | tail -n 1; }
field() { # LIST NAME FIELD: of the VM NAME
	esxcli --formatter=csv vm "$1" list | awk -F, -v name="$2" -v field="$3" '
		NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
		$column["DisplayName"] == name { print $column[field] }'
}
at_exit eval 'kill -9 $(cat '"$H"'/vmkernel.pid) $(sed -n "s/.*QEMU is process //p" \
	'"$H"'/vms/*/vmware.log)'

# ---- guests: one that never stops to work, one that rests ----
boots() { # FILE CODE
	truncate -s 1M "$1"
	printf '%b' "$2" | dd of="$1" conv=notrunc status=none
	printf '\x55\xaa' | dd of="$1" bs=1 seek=510 conv=notrunc status=none
}
boots "$T/spin.raw" '\xeb\xfe'
boots "$T/rest.raw" '\xf4\xeb\xfd'
truncate -s 2G "$T/lun"
mkfs.vmfs -L store "$T/lun" >/dev/null
registered=0
vm() { # NAME DISK LINE...: registers it; its id is $registered
	printf '%s\n' "displayName = \"$1\"" 'scsi0.present = "TRUE"' \
		'scsi0.virtualDev = "pvscsi"' 'scsi0:0.present = "TRUE"' \
		"scsi0:0.fileName = \"$1.vmdk\"" "${@:3}" >"$T/vmx"
	vmkfstools -i "$2" -d thin "[store] $1/$1.vmdk" >/dev/null &&
		vmkfstools --put "$T/vmx" "[store] $1/$1.vmx" &&
		registered=$(vim solo/registervm "[store] $1/$1.vmx")
}
small='memSize = "16"'
printf '%s\n' "accel = tcg" "ha_cpu_mhz = 8000" "ha_memory_mb = 2000" >"$T/conf"
start() { "$BIN/vmkernel" -c "$T/conf" -d "$H" --device "$T/lun"; }
ok "a host of 8000 MHz and 2000 MB starts" start

# ---- admission ----
vm greedy "$T/spin.raw" "$small" 'sched.cpu.min = "9000"'
refused "more processor than there is" \
	"it reserves 9000 MHz .sched.cpu.min., and of the host's 8000 MHz 0 VMs" \
	vim vmsvc/power.on "$registered"
vm large "$T/spin.raw" 'memSize = "2048"' 'sched.mem.pin = "TRUE"'
refused "more memory than there is" \
	"it reserves 2048 MB .* and 96 MB for itself, and of the host's 2000 MB 0 VMs" \
	vim vmsvc/power.on "$registered"
vm odd "$T/spin.raw" "$small" 'sched.cpu.shares = "plenty"'
refused "shares that are none" 'understood: sched.cpu.shares = "plenty"$' \
	vim vmsvc/power.on "$registered"
vm first "$T/rest.raw" "$small" 'sched.cpu.min = "5000"'
first=$registered
ok "what fits is powered on" vim vmsvc/power.on $first
vm second "$T/rest.raw" "$small" 'sched.cpu.min = "4000"'
second=$registered
refused "and what does not fit beside it is not" \
	"host's 8000 MHz 1 VMs have reserved 5000" vim vmsvc/power.on $second
ok "the first goes" vim vmsvc/power.off $first
ok "then there is room" vim vmsvc/power.on $second
ok "and that one goes" vim vmsvc/power.off $second

# ---- shares and limits ----
group=/sys/fs/cgroup/cpu/vmkernel/$(cat "$H/host.uuid")
if [ -e /sys/fs/cgroup/cpu/cpu.shares ]; then
	for name in low1 low2; do
		vm $name "$T/spin.raw" "$small" 'sched.cpu.shares = "low"'
		vim vmsvc/power.on "$registered" >/dev/null
	done
	low=$registered
	for name in high1 high2; do
		vm $name "$T/spin.raw" "$small" 'sched.cpu.shares = "high"'
		vim vmsvc/power.on "$registered" >/dev/null
	done
	ok "its QEMU is in its group" \
		grep -qx "$(qemu_of "$low")" "$group/vm-$low/cgroup.procs"
	is "$(cat "$group/vm-$low/cpu.shares")" 1000 "a tenth of the host for low"
	is "$(cat "$group/vm-$registered/cpu.shares")" 4000 "four times that for high"
	at() { field resource "$1" Runms; }
	was="$(at low1) $(at low2) $(at high1) $(at high2)"
	sleep 10
	now="$(at low1) $(at low2) $(at high1) $(at high2)"
	read -r l h <<<"$(echo "$was $now" | awk '{ print $5 + $6 - $1 - $2,
		$7 + $8 - $3 - $4 }')"
	diag "in 10 s low had $l ms, high $h ms; low was ready and waited" \
		"$(field resource low1 Readyms) ms"
	ok "high gets more than twice what low gets" test "$h" -gt $((2 * l))
	ok "low waits, and that is counted" test "$(field resource low1 Readyms)" -gt 0
	for id in $((low - 1)) "$low" $((registered - 1)) "$registered"; do
		vim vmsvc/power.off "$id" >/dev/null
	done
	ok "their groups go with them" [ ! -e "$group/vm-$low" ]
	mhz=$(awk '/^cpu MHz/ { print int($4); exit }' /proc/cpuinfo)
	vm capped "$T/spin.raw" "$small" "sched.cpu.max = \"$((mhz / 5))\""
	ok "one with a limit" vim vmsvc/power.on "$registered"
	near() { [ "$1" -gt $(($2 - 100)) ] && [ "$1" -le "$2" ]; }
	ok "the kernel knows it: a fifth of a processor" \
		near "$(cat "$group/vm-$registered/cpu.cfs_quota_us")" 20000
	was=$(field resource capped Usedms)
	sleep 5
	used=$(($(field resource capped Usedms) - was))
	ok "it had $used ms in 5 s" test "$used" -le 1300
	kill -9 "$(cat "$H/vmkernel.pid")"
	ok "vmkernel is killed and starts again" start
	on() { vim vmsvc/power.getstate "$1" | grep -q "Powered on"; }
	ok "it has the VM" wait_for 20 on "$registered"
	ok "with its limit" \
		near "$(cat "$group/vm-$registered/cpu.cfs_quota_us")" 20000
	like "$(field resource capped CPUMaxMHz)" "^$((mhz / 5))$" "which is shown"
	like "$(esxcli vm disk stats list)" "Disk: /capped/capped-flat.vmdk" \
		"its disk too"
	vim vmsvc/power.off "$registered" >/dev/null
else
	skip 12 "no control groups of version 1"
fi

# ---- twelve ----
ids=()
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	vm "twelve$i" "$T/rest.raw" "$small"
	vim vmsvc/power.on "$registered" >/dev/null && ids+=("$registered")
done
is ${#ids[@]} 12 "twelve VMs run"
qemus() { for i in "${ids[@]}"; do qemu_of "$i"; done; }
before=$(qemus)
kill -9 "$(cat "$H/vmkernel.pid")"
ok "vmkernel is killed and starts again" start
all_on() {
	[ "$(esxcli vm resource list | grep -c "Display Name: twelve")" = 12 ]
}
ok "it has all twelve" wait_for 60 all_on
is "$(qemus)" "$before" "of the same QEMUs"
ok "which live" kill -0 $before
for i in "${ids[@]}"; do
	vim vmsvc/power.off "$i" >/dev/null
done

# ---- a balloon ----
if "$ROOT/tests/guest/build.sh" "$T/guest.raw" 2>"$T/why"; then
	vm linux "$T/guest.raw" 'memSize = "256"' 'sched.mem.max = "208"' \
		'virtualHW.version = "21"'
	ok "a real guest with less memory than it thinks" vim vmsvc/power.on "$registered"
	full() { [ "$(field resource linux BalloonMB)" = 48 ]; }
	ok "its balloon takes the difference" wait_for 300 full
	diag "resident: $(field resource linux ResidentMB) MB"
	vim vmsvc/power.off "$registered" >/dev/null
else
	skip 2 "$(tail -n 1 "$T/why")"
fi
ok "the host ends" host_down
ok "and leaves no groups" [ ! -e "$group" ]
exit 0
