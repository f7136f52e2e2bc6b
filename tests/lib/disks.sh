# SPDX-License-Identifier: Apache-2.0
#
# Virtual disks of every format on a volume, by vmkfstools. Source it after tap.sh.

# put_disks VOLUME: thin.vmdk, zeroedthick.vmdk, eagerzeroedthick.vmdk with the bytes of
# $T/raw, 400 MiB with a hole of 300, so that they need pointer blocks and have gaps; an
# empty disk, and one that is gone again.
put_disks() {
	local format
	head -c 5000000 /dev/urandom >"$T/raw"
	truncate -s 400M "$T/raw"
	head -c 3000000 /dev/urandom |
		dd of="$T/raw" bs=1M seek=390 conv=notrunc status=none
	for format in thin zeroedthick eagerzeroedthick; do
		run vmkfstools -i "$T/raw" -d "$format" "$1:/$format.vmdk"
		is "$rc" 0 "vmkfstools -i, $format"
	done
	run vmkfstools -c 100m -d thin "$1:/empty.vmdk"
	is "$rc" 0 "vmkfstools -c"
	run vmkfstools -i "$T/raw" -d thin "$1:/gone.vmdk"
	run vmkfstools -U "$1:/gone.vmdk"
	is "$rc" 0 "vmkfstools -U"
}
