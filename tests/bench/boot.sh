# SPDX-License-Identifier: Apache-2.0
#
# The Linux guest from power-on to its first number on stable storage: by vmkernel from a
# thin VMDK, beside plain QEMU on the raw file.

vim()
{
	"$bin/vim-cmd" -s "$work/host/vmkernel.sock" "$@" >"$work/log" 2>&1
}

boot_vm()
{
	local began console=$work/host/vms/1/serial0.txt

	began=$(now_ms)
	vim vmsvc/power.on 1 || return 1
	wait_for 60 grep -q "^COUNT" "$console" || return 1
	sample boot.ours "$(($(now_ms) - began))e-3"
	vim vmsvc/power.off 1 || return 1
	rm -f "$console"
}

boot_raw()
{
	local began console=$work/console

	rm -f "$console"
	began=$(now_ms)
	serve qemu-system-x86_64 -machine pc-q35-7.2 -accel tcg,thread=multi \
		-smp 1,maxcpus=2 -m 262136K -nodefaults -no-user-config -display none \
		-serial "file:$console" -device pvscsi \
		-device scsi-hd,drive=d,bootindex=0 \
		-drive "if=none,id=d,format=raw,file=$work/g.raw"
	wait_for 60 grep -q "^COUNT" "$console" || return 1
	sample boot.raw "$(($(now_ms) - began))e-3"
	kill -9 "$server"
	wait "$server" 2>/dev/null
	return 0
}

bench_boot()
{
	local image=$work/boot.img round turns=$(((rounds + 1) / 2))

	"$top/tests/guest/build.sh" "$work/g.raw" >"$work/log" 2>&1 &&
		truncate -s 4G "$image" &&
		"$bin/mkfs.vmfs" -L bench "$image" >"$work/log" 2>&1 &&
		"$bin/vmkfstools" -i "$work/g.raw" -d thin "$image:/vm1/vm1.vmdk" \
			>"$work/log" 2>&1 &&
		"$bin/vmkfstools" --put "$top/tests/guest/vm1.vmx" "$image:/vm1/vm1.vmx" \
			>"$work/log" 2>&1 &&
		"$bin/vmkernel" -d "$work/host" --device "$image" >"$work/log" 2>&1 &&
		children+=("$(cat "$work/host/vmkernel.pid")") &&
		vim solo/registervm "[bench] vm1/vm1.vmx" ||
		{ missing boot "$(tail -n 1 "$work/log")"; return; }
	for ((round = 0; round < turns; round++)); do
		boot_vm || { missing boot "$(tail -n 1 "$work/log")"; break; }
		boot_raw || { missing boot "raw: $(tail -n 1 "$work/console")"; break; }
	done
	line boot-to-first-count-vs-raw time boot.ours boot.raw "<=15" s
	kill -TERM "$(cat "$work/host/vmkernel.pid")"
	wait_for 20 test ! -S "$work/host/vmkernel.sock"
}
