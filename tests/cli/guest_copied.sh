#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A VM's folder as VMware's hosts leave it, copied file by file: a .vmx file of many keys
# (most say nothing to us), a descriptor of VMware's, .nvram, .vmxf, .vmsd, old logs. It
# boots, its settings stay byte for byte, also those that a snapshot does not touch, and
# the other files as they are.

. "$(dirname "$0")/../lib/tap.sh"
need mkfs.vmfs vmkfstools vmkernel vmx vim-cmd fsck.vmfs qemu-system-x86_64 gcc ld
chmod 755 "$T"

vim() { "$BIN/vim-cmd" -s "$T/host/vmkernel.sock" "$@"; }
is_off() { vim vmsvc/power.getstate "$id" | grep -q "Powered off"; }
get() { rm -f "$T/got"; "$BIN/vmkfstools" --get "$T/lun:/Web Server 01/$1" "$T/got"; }
name="Web Server 01"
text="copied light"

mkdir "$T/$name"
ok "makes the guest" "$ROOT/tests/guest/bootsector.sh" "$T/$name/$name-flat.vmdk" "$text"
cat >"$T/$name/$name.vmdk" <<END
# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=fffffffe
parentCID=ffffffff
isNativeSnapshot="no"
createType="vmfs"

# Extent description
RW 2048 VMFS "$name-flat.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "1"
ddb.geometry.heads = "64"
ddb.geometry.sectors = "32"
ddb.longContentID = "0a0b0c0d0e0f00112233445566778899"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "12352"
ddb.uuid = "60 00 C2 9a 11 22 33 44-55 66 77 88 99 aa bb cc"
ddb.virtualHWVersion = "19"
END
cat >"$T/$name/$name.vmx" <<END
.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "19"
nvram = "$name.nvram"
svga.present = "TRUE"
svga.vramSize = "8388608"
pciBridge0.present = "TRUE"
pciBridge4.present = "TRUE"
pciBridge4.virtualDev = "pcieRootPort"
pciBridge4.functions = "8"
pciBridge5.present = "TRUE"
pciBridge5.virtualDev = "pcieRootPort"
pciBridge5.functions = "8"
vmci0.present = "TRUE"
hpet0.present = "TRUE"
floppy0.present = "FALSE"
RemoteDisplay.maxConnections = "-1"
numvcpus = "2"
cpuid.coresPerSocket = "2"
memSize = "32"
bios.bootRetry.delay = "10"
powerType.powerOff = "default"
powerType.suspend = "soft"
powerType.reset = "default"
tools.upgrade.policy = "manual"
sched.cpu.units = "mhz"
sched.cpu.affinity = "all"
sched.cpu.latencySensitivity = "normal"
vm.createDate = "1634567890123456"
scsi0.virtualDev = "pvscsi"
scsi0.present = "TRUE"
scsi1.virtualDev = "buslogic"
scsi1.present = "TRUE"
sata0.present = "TRUE"
usb_xhci.present = "TRUE"
scsi0:0.deviceType = "scsi-hardDisk"
scsi0:0.fileName = "$name.vmdk"
sched.scsi0:0.shares = "normal"
sched.scsi0:0.throughputCap = "off"
scsi0:0.present = "TRUE"
ethernet0.virtualDev = "vmxnet3"
ethernet0.networkName = "VM Network"
ethernet0.addressType = "vpx"
ethernet0.generatedAddress = "00:50:56:9a:12:34"
ethernet0.uptCompatibility = "TRUE"
ethernet0.present = "TRUE"
sata0:0.startConnected = "FALSE"
sata0:0.autodetect = "TRUE"
sata0:0.deviceType = "atapi-cdrom"
sata0:0.fileName = "emptyBackingString"
sata0:0.present = "TRUE"
serial0.fileType = "file"
serial0.fileName = "console"
serial0.present = "TRUE"
displayName = "$name |22production|22"
guestOS = "debian10-64"
toolScripts.afterPowerOn = "TRUE"
toolScripts.afterResume = "TRUE"
toolScripts.beforeSuspend = "TRUE"
toolScripts.beforePowerOff = "TRUE"
tools.syncTime = "FALSE"
uuid.bios = "42 1a 5c 6d 7e 8f 90 a1-b2 c3 d4 e5 f6 07 18 29"
uuid.location = "56 4d 11 22 33 44 55 66-77 88 99 aa bb cc dd ee"
vc.uuid = "50 1a 9d 3c 77 62 11 fe-0a 2b 4c 6d 8e 9f a0 b1"
sched.cpu.min = "0"
sched.cpu.shares = "normal"
sched.mem.min = "0"
sched.mem.minSize = "0"
sched.mem.shares = "normal"
sched.swap.derivedName = "/vmfs/volumes/5f3a-0001/$name/$name-1234abcd.vswp"
migrate.hostLog = "$name-1234abcd.hlog"
numa.autosize.cookie = "20012"
numa.autosize.vcpu.maxPerVirtualNode = "2"
pciBridge0.pciSlotNumber = "17"
pciBridge4.pciSlotNumber = "21"
scsi0.pciSlotNumber = "160"
ethernet0.pciSlotNumber = "192"
vmci0.id = "-1234567890"
vmci0.pciSlotNumber = "32"
monitor.phys_bits_used = "43"
vmotion.checkpointFBSize = "8388608"
vmotion.checkpointSVGAPrimarySize = "8388608"
vmotion.svga.mobMaxSize = "8388608"
cleanShutdown = "TRUE"
softPowerOff = "FALSE"
guestinfo.detailed.data = "architecture='X86' bitness='64' distroName='Debian'"
annotation = "first line|0Asecond line"
disk.EnableUUID = "TRUE"
extendedConfigFile = "$name.vmxf"
svga.guestBackedPrimaryAware = "TRUE"
tools.guest.desktop.autolock = "FALSE"
viv.moid = "c8d5:vm-1017:Xy"
END
head -c 270840 /dev/zero | tr '\0' M >"$T/$name/$name.nvram"
printf '.encoding = "UTF-8"\r\nsnapshot.lastUID = "0"\r\n' >"$T/$name/$name.vmsd"
echo '<?xml version="1.0"?><Foundry><VM></VM></Foundry>' >"$T/$name/$name.vmxf"
echo "old words" >"$T/$name/vmware-3.log"

truncate -s 1G "$T/lun"
ok "makes the volume" mkfs.vmfs -L vms "$T/lun"
ok "and a folder" vmkfstools --mkdir "$T/lun:/$name"
for f in "$T/$name"/*; do
	ok "copies ${f##*/}" vmkfstools --put "$f" "$T/lun:/$name/${f##*/}"
done
echo "accel = tcg" >"$T/conf"
ok "the host starts" "$BIN/vmkernel" -c "$T/conf" -d "$T/host" --device "$T/lun"
at_exit eval 'kill -9 $(cat '"$T"'/host/vmkernel.pid)'
id=$(vim solo/registervm "[vms] $name/$name.vmx" | tr -dc 0-9)
like "$(vim vmsvc/getallvms)" "$name \"production\"" "it is known by its name"
ok "it is powered on" vim vmsvc/power.on "$id"
ok "it boots, reads and writes" wait_for 60 grep -q "^SAME" "$T/host/vms/$id/console"
like "$(cat "$T/host/vms/$id/console")" "^$text" "what was copied"
ok "it powers itself off" wait_for 60 is_off
for f in "$name.vmx" "$name.nvram" "$name.vmxf" "$name.vmsd" "vmware-3.log"; do
	ok "$f is there" get "$f"
	ok "and as it was" cmp "$T/got" "$T/$name/$f"
done
ok "a snapshot is made" vim vmsvc/snapshot.create "$id" one
ok "the .vmx file" get "$name.vmx"
is "$(diff "$T/$name/$name.vmx" "$T/got" | grep -c '^[<>]')" 2 "differs in one line"
like "$(diff "$T/$name/$name.vmx" "$T/got")" \
	"^> scsi0:0.fileName = \"$name-000001.vmdk\"" "which names the disk's child"
ok "and goes" vim vmsvc/snapshot.removeall "$id"
ok "the host ends" kill -TERM "$(cat "$T/host/vmkernel.pid")"
ok "and is gone" wait_for 20 test ! -S "$T/host/vmkernel.sock"
ok "fsck.vmfs finds nothing wrong" fsck.vmfs -n "$T/lun"
