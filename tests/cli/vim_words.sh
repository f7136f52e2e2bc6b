#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What vim-cmd says of a VM: its objects, from the .vmx file as it is now; what it
# refuses, in a line; what the shell completes. With FULL=1, a VM that esxcli ends.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need vim-cmd esxcli mkfs.vmfs vmkfstools vmkernel
chmod 755 "$T"

has() { # NAME REGEX WORD...
	run vim-cmd "${@:3}"
	like "$rc:$out" "$2" "$1"
}
put() { # the .vmx file anew
	vmkfstools --rm "$T/lun:/vm/a.vmx" 2>/dev/null
	vmkfstools --put "$T/a.vmx" "$T/lun:/vm/a.vmx"
}
cat >"$T/a.vmx" <<'END'
displayName = "a |22b|22"
guestOS = "debian11-64"
virtualHW.version = "19"
annotation = "two words"
memSize = "64"
numvcpus = "2"
uuid.bios = "56 4d 3c 11 22 33 44 55-66 77 88 99 aa bb cc dd"
scsi0.present = "TRUE"
scsi0:0.fileName = "a.vmdk"
scsi0:1.present = "FALSE"
scsi0:1.fileName = "not.vmdk"
sata0.present = "TRUE"
sata0:0.deviceType = "cdrom-image"
sata0:0.fileName = "a.iso"
sata0:0.startConnected = "FALSE"
ethernet0.present = "TRUE"
ethernet0.virtualDev = "vmxnet3"
ethernet0.networkName = "VM Network"
odd.key = "stays"
END
truncate -s 1G "$T/lun"
ok "makes the volume" mkfs.vmfs -q -L store "$T/lun"
ok "makes the disk" vmkfstools -c 8M -d thin "$T/lun:/vm/a.vmdk"
ok "puts the .vmx beside it" put
at_exit host_down
ok "the host starts" host_up --device "$T/lun"
is "$(vim-cmd solo/registervm "[store] vm/a.vmx")" 1 "registers"

# ---- objects ----
has "the summary has its state" '^      powerState = "poweredOff",$' vmsvc/get.summary 1
like "$out" '^   vm = .vim.VirtualMachine:1.,$' "its id"
like "$out" '^      name = "a \\"b\\"",$' "its name"
like "$out" '^      vmPathName = "\[store\] vm/a.vmx",$' "its file"
like "$out" '^      memorySizeMB = 64,$' "its memory"
like "$out" '^      numCpu = 2,$' "its processors"
like "$out" '^      numEthernetCards = 1,$' "its card"
like "$out" '^      numVirtualDisks = 1,$' \
	"its disk: neither the CD nor what is not present"
like "$out" '^      uuid = "564d3c11-2233-4455-6677-8899aabbccdd",$' "its UUID"
like "$out" '^      question = <unset>,$' "and no question"
has "the configuration has its version" '^   version = "vmx-19",$' vmsvc/get.config 1
like "$out" '^         key = "odd.key",$' "and all that its file says"
has "the devices have the disk" 'VirtualDisk' vmsvc/device.getdevices 1
like "$out" '^         fileName = "a.vmdk",$' "by its file"
like "$out" 'VirtualCdrom' "the CD"
like "$out" '^         deviceName = "VM Network",$' "and the card's network"
unlike "$out" 'not.vmdk' "not what is not present"
has "the runtime has its state" '^   powerState = "poweredOff",$' vmsvc/get.runtime 1
has "the guest does not run" '^   guestState = "notRunning",$' vmsvc/get.guest 1

# ---- read anew ----
sed -i 's/^displayName.*/displayName = "other"/; s/^memSize.*/memSize = "32"/' "$T/a.vmx"
ok "the file changes" put
has "the summary knows" '^      memorySizeMB = 32,$' vmsvc/get.summary 1
has "the list does not" 'a "b"' vmsvc/getallvms
ok "it is reloaded" vim-cmd vmsvc/reload 1
has "the list does" '^1 *other ' vmsvc/getallvms
echo 'no setting' >>"$T/a.vmx"
ok "the file is spoilt" put
refused "it is refused, with its line" "line 20 is not key" vim-cmd vmsvc/get.summary 1
refused "and is not reloaded" "line 20 is not key" vim-cmd vmsvc/reload 1
has "the list stays" '^1 *other ' vmsvc/getallvms
sed -i '$d' "$T/a.vmx"
ok "the file is good again" put

# ---- what is refused ----
refused "a VM that is not there" "no VM with this id" vim-cmd vmsvc/get.summary 9
refused "one that is off is not rebooted" "does not run" vim-cmd vmsvc/power.reboot 1
refused "one that is off is not ended" "powered off already" \
	esxcli vm process kill -t soft -w 1
refused "in no other way" "maybe: not a way to end a VM" \
	esxcli vm process kill -t maybe -w 1
refused "nor one that is not there" "no VM with this id" \
	esxcli vm process kill -t force -w 9

# ---- the host ----
has "a host without networks" '^   portgroup = .vim.host.PortGroup. .$' hostsvc/net/info
has "its backup is made" '^0:Bundle can be downloaded at : '"$T"'/state/[A-Za-z.]*$' \
	hostsvc/firmware/backup_config
bundle=${out#*: }
is "$(stat -c %a "$bundle")" 600 "for its owner alone"
cp "$bundle" "$T/bundle"
refused "it is restored in maintenance mode alone" "is not in maintenance mode" \
	vim-cmd hostsvc/firmware/restore_config "$T/bundle"
ok "which is entered" vim-cmd hostsvc/maintenance_mode_enter
sed 's/a.vmx/c.vmx/' "$T/bundle" >"$T/bad"
refused "a damaged one is not" "bad: the backup is damaged" \
	vim-cmd hostsvc/firmware/restore_config "$T/bad"
refused "nor one that is not there" "nothing: No such file" \
	vim-cmd hostsvc/firmware/restore_config "$T/nothing"
has "a good one is" "^0:Restored when vmkernel starts" \
	hostsvc/firmware/restore_config "$T/bundle"
ok "the VM is forgotten meanwhile" vim-cmd vmsvc/unregister 1
ok "the host ends" host_down
printf 'network = VM Network, br7\n' >"$T/conf"
ok "and starts" vmkernel -c "$T/conf" -d "$T/state" --device "$T/lun"
has "it has its VM" '^1 *other ' vmsvc/getallvms
like "$(esxcli system maintenanceMode get)" Disabled "and is as it was then"
ok "what was restored is not restored again" [ ! -e "$T/state/restore.json" ]
has "a network has its bridge" '^            vswitchName = "br7"$' hostsvc/net/info
like "$out" '^            name = "VM Network",$' "and its name"

# ---- the shell ----
completes() { # WORD...: what it would offer
	bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vim_cmd
		echo "${COMPREPLY[*]}"' - "$ROOT/vmkernel/cli/vim-cmd.bash" "$@"
}
is "$(completes vim-cmd vmsvc/get.s)" "vmsvc/get.summary" "it completes a command"
is "$(completes vim-cmd vmsvc/power.on "")" "1" "and an id"
is "$(completes vim-cmd -s "$VMKERNEL_SOCKET" hostsvc/maintenance_mode_en)" \
	"hostsvc/maintenance_mode_enter" "behind an option, too"

# ---- destroyed ----
cat >"$T/b.vmx" <<'END'
displayName = "b"
scsi0.present = "TRUE"
scsi0:0.fileName = "b.vmdk"
END
ok "makes another disk" vmkfstools -c 8M -d thin "$T/lun:/b/b.vmdk"
ok "and a .vmx" vmkfstools --put "$T/b.vmx" "$T/lun:/b/b.vmx"
is "$(vim-cmd solo/registervm "[store] b/b.vmx")" 2 "registers"
ok "a snapshot" vim-cmd vmsvc/snapshot.create 2 one
ok "it is destroyed" vim-cmd vmsvc/destroy 2
unlike "$(vmkfstools --ls "$T/lun:/")" '\bb\b' "its folder is gone"
unlike "$(vim-cmd vmsvc/getallvms)" "^2" "it is forgotten"
refused "and cannot be destroyed again" "no VM with this id" vim-cmd vmsvc/destroy 2

# ---- ended ----
[ -n "${FULL:-}" ] && command -v qemu-system-x86_64 >/dev/null || exit 0
for how in soft hard force; do
	ok "it is powered on" vim-cmd vmsvc/power.on 1
	has "the summary says so" '^      powerState = "poweredOn",$' vmsvc/get.summary 1
	like "$(esxcli vm process list)" "World ID: 1" "it is in the list"
	refused "and is not destroyed" "is powered on" vim-cmd vmsvc/destroy 1
	ok "it is ended ($how)" esxcli vm process kill -t $how -w 1
	has "it is off" "Powered off" vmsvc/power.getstate 1
	unlike "$(esxcli vm process list)" "World ID" "and not in the list"
done
exit 0
