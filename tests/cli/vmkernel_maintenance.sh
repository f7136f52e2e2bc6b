#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Maintenance mode, and the keys of HA: what is refused, and in which words.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need mkfs.vmfs vmkfstools vmkernel vim-cmd

check() { # LINE...
	printf '%s\n' "$@" >"$T/conf"
	"$BIN/vmkernel" -c "$T/conf" --check-config
}
says() { # NAME REGEX LINE...
	refused "$1" "$2" check "${@:3}"
}

ok "all keys of HA" check "ha = yes" "ha_cluster = lab" "ha_poll_ms = 250" \
	"ha_grace_s = 30" "ha_restart_priority = high" "ha_restart_tries = 3" \
	"ha_retry_s = 10" "ha_admission = slots" "ha_failures = 2" "ha_percent = 30" \
	"ha_memory_mb = 4096" "ha_cpu_mhz = 8000" "ha_address = 10.0.0.1:8182" \
	"ha_isolation = shutdown" "ha_isolation_s = 20" \
	"ha_isolation_address = 10.0.0.254, fe80::1" \
	"ha_vm_monitoring = yes" "ha_vm_failure_s = 30" "ha_vm_uptime_s = 120" \
	"ha_vm_io_s = 120" "ha_vm_failures = 3" "ha_vm_window_s = 3600"
says "a word" 'conf:1: ha = maybe: not no or yes$' "ha = maybe"
says "one of three" 'ha_isolation = off: not leaveOn, shutdown or powerOff$' \
	"ha_isolation = off"
says "addresses" 'ha_isolation_address = gate: not 1 to 10 addresses$' \
	"ha_isolation_address = gate"
says "a number" 'ha_poll_ms = 5: not a number from 50 to 60000$' "ha_poll_ms = 5"
says "an address" 'ha_address = here: not ADDRESS:PORT$' "ha_address = here"
says "a name" 'ha_cluster = a/b: not a name of up to 63 bytes$' "ha_cluster = a/b"
says "a priority" 'ha_restart_priority = x: not disabled, lowest, .* or highest$' \
	"ha_restart_priority = x"
says "a number of resets" 'ha_vm_failures = 17: not a number from 1 to 16$' \
	"ha_vm_failures = 17"
says "a key" 'unknown key ha_foo$' "ha_foo = 1"

at_exit host_down
vim() { "$BIN/vim-cmd" "$@"; }
summary() { vim hostsvc/hostsummary; }
printf '%s\n' 'displayName = "vm"' 'memSize = "32"' >"$T/vm.vmx"
truncate -s 1G "$T/lun"
mkfs.vmfs -L store "$T/lun" >/dev/null
vmkfstools --put "$T/vm.vmx" "$T/lun:/vm.vmx"
ok "a host starts" host_up --device "$T/lun"
is "$(vim solo/registervm "[store] vm.vmx")" 1 "it registers a VM"
like "$(summary)" "inMaintenanceMode = false,$" "it is not in maintenance mode"
like "$(summary)" "dasHostState = <unset>$" "and HA is off"
ok "it enters" vim hostsvc/maintenance_mode_enter
like "$(summary)" "inMaintenanceMode = true,$" "it is in it"
refused "twice" "the host is in maintenance mode" vim hostsvc/maintenance_mode_enter
refused "no VM is powered on" "vm.vmx): the host is in maintenance mode$" \
	vim vmsvc/power.on 1
ok "vmkernel ends" host_down
ok "and starts again" host_up --device "$T/lun"
like "$(summary)" "inMaintenanceMode = true,$" "it is in it still"
ok "it leaves" vim hostsvc/maintenance_mode_exit
refused "twice is refused" "not in maintenance mode" vim hostsvc/maintenance_mode_exit
like "$(summary)" "inMaintenanceMode = false,$" "it is in it no more"
