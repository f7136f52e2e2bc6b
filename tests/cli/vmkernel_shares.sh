#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Sixteen VMs on one host, each with a disk of its own and a client (fio) that reads from
# it over the NBD socket that QEMU uses, 16 requests at a time; four sizes of shares. The
# storage takes 10 ms for a read and 32 of them at a time, so that there is something to
# share: each disk is within 5 % of its part.

. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/harm.sh"
. "$ROOT/tests/lib/idle.sh"
[ -n "${FULL:-}" ] || skip_all "sixteen guests and half a minute of reads (FULL=1)"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64 fio
take_ports

shares=(500 1000 2000 4000)
seconds=${SECONDS_EACH:-25}
lun=$T/lun
rig=$ROOT/tests/rigs/own.sh
idle_guest 64M
truncate -s 3G "$lun"
mkfs.vmfs -q -L vms "$lun"
make_vm() { # NUMBER
	{
		sed "s/idle/vm$1/" "$T/idle.vmx"
		echo "sched.scsi0:0.shares = \"${shares[$1 % 4]}\""
	} >"$T/vm$1.vmx"
	vmkfstools -i "$T/idle.raw" -d eagerzeroedthick "$lun:/vm$1/vm$1.vmdk" &&
		vmkfstools --put "$T/vm$1.vmx" "$lun:/vm$1/vm$1.vmx"
}
ok "sixteen VMs" eval 'for n in {0..15}; do make_vm $n || exit; done'

mkdir "$T/state"
at_exit "$rig" down "$T" "$port"
url=$(OWN_STATE=$T/state OWN_OPTIONS="-w 32" "$rig" up "$T" "$port" "$lun" 2>"$T/why")
[ $? != 77 ] || skip_all "$(cat "$T/why")"
echo "accel = tcg" >"$T/conf"
ok "a host" host a "$(tail -n 1 <<<"$url")" -c "$T/conf"
power_on() { # NUMBER
	local id
	id=$(register a "vm$1") && vim a vmsvc/power.on "$id"
}
ok "runs them all" eval 'for n in {0..15}; do power_on $n || exit; done'
for op in 28 88; do
	"$rig" do "$T" "$port" delay $op 10 always
done

jobs=()
for id in {1..16}; do
	qemu=$(sed -n 's/.*QEMU is process //p' "$T/a/vms/$id/vmware.log" | tail -n 1)
	name=$(tr "\0" "\n" <"/proc/$qemu/cmdline" |
		grep -o "disk0-[0-9a-f]*" | head -n 1)
	jobs+=(--name="vm$id" "--uri=nbd+unix:///$name?socket=$T/a/vms/$id/disk0.sock")
done
ok "their disks are read for $seconds s" eval 'fio --ioengine=nbd --rw=randread --bs=4k \
	--iodepth=16 --norandommap --randrepeat=0 --size=60m --runtime=$seconds \
	--time_based --output-format=terse "${jobs[@]}" >"$T/fio"'
"$rig" do "$T" "$port" clear
run awk -F ';' -v shares="${shares[*]}" '
	BEGIN { split(shares, part, " ") }
	/^3;/ { of[n++] = $8; all += $8; parts += part[(n - 1) % 4 + 1] }
	END {
		printf "%d of 16 disks, %d reads a second, off their parts by", n, all
		for (i = 0; i < n; i++) {
			off = 100 * (of[i] / all) / (part[i % 4 + 1] / parts) - 100
			printf " %+.1f", off
			worst = off * off > worst * worst ? off : worst
		}
		printf " %%\n"
		exit !(n == 16 && worst * worst <= 25)
	}' "$T/fio"
is "$rc" 0 "each has its part, within 5 %"
diag "$out"
ok "the host ends" host_ends a
"$rig" down "$T" "$port"
ok "the volume is sound" fsck.vmfs -n "$lun"
