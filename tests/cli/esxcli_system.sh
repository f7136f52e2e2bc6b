#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# esxcli system: who the host is, its clocks, maintenance mode, and settings that are kept
# over restarts; what is wrong with a value is said, and changes nothing.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/host.sh"
need esxcli vmkernel python3
at_exit host_down
ok "a host" host_up --host-name one.example.net
shows "its name" '0: *Domain Name: example.net' system hostname get
shows "its clock" '^0:20[0-9-]+T[0-9:]+Z$' system time get
shows "for how long the machine is up" '^0:[0-9]{6,}$' system stats uptime get
is "$(esxcli --formatter=json system time get | python3 -c '
import json, sys; print(list(json.load(sys.stdin)))')" "['Time']" "the same for programs"
is "$(esxcli --formatter=csv system stats uptime get | sed -n 1p)" "Uptimeus" "and csv"

shows "it is not in maintenance mode" '^0:Disabled$' system maintenanceMode get
refused "true or false" ": maybe: not true or false$" \
	esxcli system maintenanceMode set --enable=maybe
refused "a way" ": fly: not vmotion, " \
	esxcli system maintenanceMode set -e true --evacuate=fly
does "it enters" system maintenanceMode set --enable=true --timeout=60
shows "it is in it" '^0:Enabled$' system maintenanceMode get
does "it leaves" system maintenanceMode set -e false
shows "it is in it no more" '^0:Disabled$' system maintenanceMode get

value() { # PATH: as a program reads it
	esxcli --formatter=json system settings advanced list -o "$1" | python3 -c '
import json, sys
row = json.load(sys.stdin)[0]
print(row["StringValue"] if row["Type"] == "string" else row["IntValue"])'
}
is "$(value /Migrate/BandwidthCap)" 0 "no limit by itself"
is "$(value /VMFS3/OnFence)" kill "what becomes of VMs without their storage"
does "a number is set" system settings advanced set -o /Migrate/BandwidthCap -i 1000000
does "a text" system settings advanced set -o /VMFS3/OnFence -s freeze
does "a switch" system settings advanced set -o /Disk/ResetUnits -i 1
is "$(value /Migrate/BandwidthCap)" 1000000 "it counts at once"
is "$(value /Disk/ResetUnits)" 0 "this one later"
refused "an option that there is not" ": /No/Such: there is no such option$" \
	esxcli system settings advanced list -o /No/Such
refused "a word that is none" "esxcli: on_fence = burn: not kill, freeze or eio$" \
	esxcli system settings advanced set -o /VMFS3/OnFence -s burn
refused "a text for a number" "/Power/OnWait: its value is a number: --int-value$" \
	esxcli system settings advanced set -o /Power/OnWait -s soon
refused "too much" "power_on_wait_s = 999999: not a number up to 3600$" \
	esxcli system settings advanced set -o /Power/OnWait -i 999999
refused "a name that is none" ": a/b: not a host name$" \
	esxcli system hostname set --host=a/b
does "a name" system hostname set --fqdn=two.example.org
shows "it is the old one until" 'Host Name: one$' system hostname get
ok "it ends" host_down
ok "and starts again" host_up --host-name one.example.net
shows "it has the new name" 'Host Name: two$' system hostname get
is "$(value /Migrate/BandwidthCap)" 1000000 "the number"
is "$(value /VMFS3/OnFence)" freeze "the text"
is "$(value /Disk/ResetUnits)" 1 "and the switch"
does "set again" system settings advanced set -o /Migrate/BandwidthCap -i 7
is "$(grep -c vmotion_limit "$T/state/settings.conf")" 1 "it is kept once"
