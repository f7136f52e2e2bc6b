/* SPDX-License-Identifier: Apache-2.0 */
/*
 * esxcli vm, system, esxcli: what runs, who we are, what there is; and the list of
 * tables.
 */
#include "base/align.h"
#include "vmkernel/cli/commands.h"
#include "vmkernel/cli/tables.h"

static const struct field process_fields[] = {
	{ "World ID", "id", FIELD_INTEGER },
	{ "Process ID", "zero", FIELD_INTEGER },
	{ "VMX Cartel ID", "vmx_pid", FIELD_INTEGER },
	{ "Display Name", "name", FIELD_STRING },
	{ "Config File", "file", FIELD_STRING },
	{ 0 },
};
static const struct shape process_shape = {
	"VirtualMachine", LAYOUT_RECORDS, "name", "is_on", process_fields,
};

static const struct field migration_fields[] = {
	{ "VM", "vm", FIELD_STRING },
	{ "Direction", "direction", FIELD_STRING },
	{ "Host", "host", FIELD_STRING },
	{ "Phase", "phase", FIELD_STRING },
	{ "Percent", "percent", FIELD_INTEGER },
	{ "Transferred MiB", "transferred", FIELD_INTEGER },
	{ "Time ms", "ms", FIELD_INTEGER },
	{ "Switch us", "still_us", FIELD_INTEGER },
	{ "Lock us", "lock_us", FIELD_INTEGER },
	{ "Reason", "why", FIELD_STRING },
	{ 0 },
};
static const struct shape migration_shape = {
	"Migration", LAYOUT_RECORDS, "vm", NULL, migration_fields,
};

static const struct field resource_fields[] = {
	{ "Display Name", "name", FIELD_STRING },
	{ "VM ID", "id", FIELD_INTEGER },
	{ "VCPUs", "cpus", FIELD_INTEGER },
	{ "Used ms", "used_ms", FIELD_INTEGER },
	{ "Run ms", "run_ms", FIELD_INTEGER },
	{ "Ready ms", "ready_ms", FIELD_INTEGER },
	{ "CPU Shares", "cpu_shares", FIELD_INTEGER },
	{ "CPU Min MHz", "cpu_min", FIELD_INTEGER },
	{ "CPU Max MHz", "cpu_max", FIELD_STRING },
	{ "CPU Entitled MHz", "entitled", FIELD_INTEGER },
	{ "Memory MB", "memory", FIELD_INTEGER },
	{ "Memory Min MB", "memory_min", FIELD_INTEGER },
	{ "Memory Max MB", "memory_max", FIELD_STRING },
	{ "Resident MB", "resident", FIELD_INTEGER },
	{ "Balloon MB", "balloon", FIELD_INTEGER },
	{ "Balloon Target MB", "balloon_target", FIELD_INTEGER },
	{ 0 },
};
static const struct shape resource_shape = {
	"VMResource", LAYOUT_RECORDS, "name", NULL, resource_fields,
};

static const struct field disk_fields[] = {
	{ "VM", "vm", FIELD_STRING },
	{ "Disk", "disk", FIELD_STRING },
	{ "Reads", "reads", FIELD_INTEGER },
	{ "Writes", "writes", FIELD_INTEGER },
	{ "Read MB", "read_mb", FIELD_INTEGER },
	{ "Written MB", "written_mb", FIELD_INTEGER },
	{ "Device us", "device_us", FIELD_INTEGER },
	{ "Kernel us", "kernel_us", FIELD_INTEGER },
	{ "Queue us", "queue_us", FIELD_INTEGER },
	{ "Guest us", "guest_us", FIELD_INTEGER },
	{ 0 },
};
static const struct shape disk_shape = {
	"VMDisk", LAYOUT_RECORDS, "disk", NULL, disk_fields,
};

static const struct field version_fields[] = {
	{ "Product", "product", FIELD_STRING },
	{ "Version", "version", FIELD_STRING },
	{ "Build", "build", FIELD_STRING },
	{ "Update", "update", FIELD_STRING },
	{ "Patch", "patch", FIELD_STRING },
	{ 0 },
};
static const struct shape version_shape = {
	"VersionGet", LAYOUT_SINGLE, NULL, NULL, version_fields,
};

static const struct field hostname_fields[] = {
	{ "Domain Name", "domain", FIELD_STRING },
	{ "Fully Qualified Domain Name", "fqdn", FIELD_STRING },
	{ "Host Name", "host", FIELD_STRING },
	{ 0 },
};
static const struct shape hostname_shape = {
	"FullyQualifiedHostName", LAYOUT_SINGLE, NULL, NULL, hostname_fields,
};

static const struct field uuid_fields[] = {
	{ "UUID", "uuid", FIELD_STRING },
	{ 0 },
};
static const struct shape uuid_shape = {
	"HostUUID", LAYOUT_SINGLE, NULL, NULL, uuid_fields,
};

static const struct field maintenance_fields[] = {
	{ "Maintenance Mode", "mode", FIELD_STRING },
	{ 0 },
};
static const struct shape maintenance_shape = {
	"MaintenanceMode", LAYOUT_VALUE, NULL, NULL, maintenance_fields,
};

static const struct field time_fields[] = {
	{ "Time", "time", FIELD_STRING },
	{ 0 },
};
static const struct shape time_shape = {
	"Time", LAYOUT_VALUE, NULL, NULL, time_fields,
};

static const struct field uptime_fields[] = {
	{ "Uptime us", "us", FIELD_INTEGER },
	{ 0 },
};
static const struct shape uptime_shape = {
	"Uptime", LAYOUT_VALUE, NULL, NULL, uptime_fields,
};

static const struct field option_fields[] = {
	{ "Path", "path", FIELD_STRING },
	{ "Type", "type", FIELD_STRING },
	{ "Int Value", "int", FIELD_INTEGER },
	{ "Default Int Value", "int_default", FIELD_INTEGER },
	{ "String Value", "string", FIELD_STRING },
	{ "Default String Value", "string_default", FIELD_STRING },
	{ "Configuration Key", "key", FIELD_STRING },
	{ "Counts", "counts", FIELD_STRING },
	{ "Description", "help", FIELD_STRING },
	{ 0 },
};
static const struct shape option_shape = {
	"AdvancedOption", LAYOUT_RECORDS, "path", NULL, option_fields,
};

static const struct parameter name_parameters[] = {
	{ 'H', "host", PARAMETER_TEXT, true, "name", "The host's name" },
	{ 'f', "fqdn", PARAMETER_TEXT, true, "name", "The same, with its domain" },
	{ 0 },
};
static const struct parameter maintenance_parameters[] = {
	{ 'e', "enable", PARAMETER_TEXT, true, "enable", "true or false" },
	{ 't', "timeout", PARAMETER_NUMBER, false, "timeout",
	  "Seconds until it is left again if VMs are still on; 0: never" },
	{ 'v', "evacuate", PARAMETER_TEXT, false, "evacuate",
	  "What becomes of its VMs: vmotion, shutdown, suspend or none" },
	{ 0 },
};
static const struct parameter option_list_parameters[] = {
	{ 'o', "option", PARAMETER_TEXT, false, "option", "Only this one" },
	{ 0 },
};
static const struct parameter option_parameters[] = {
	{ 'o', "option", PARAMETER_TEXT, true, "option", "Its path, as list shows it" },
	{ 'i', "int-value", PARAMETER_NUMBER, false, "int", "The value of a number" },
	{ 's', "string-value", PARAMETER_TEXT, false, "string", "The value of a text" },
	{ 0 },
};

static const struct parameter kill_parameters[] = {
	{ 't', "type", PARAMETER_TEXT, true, "type",
	  "soft, hard, or force: its vmx process is killed" },
	{ 'w', "world-id", PARAMETER_NUMBER, true, "id",
	  "World ID, as vm process list shows it" },
	{ 0 },
};

static const struct parameter resource_parameters[] = {
	{ 'w', "world-id", PARAMETER_NUMBER, true, "id",
	  "World ID, as vm process list shows it" },
	{ 0, "cpu-shares", PARAMETER_TEXT, false, "cpu_shares",
	  "low, normal, high, or a number" },
	{ 0, "cpu-min", PARAMETER_TEXT, false, "cpu_min", "MHz that are reserved" },
	{ 0, "cpu-max", PARAMETER_TEXT, false, "cpu_max", "MHz at most, or -1" },
	{ 0, "mem-shares", PARAMETER_TEXT, false, "memory_shares",
	  "low, normal, high, or a number" },
	{ 0, "mem-min", PARAMETER_TEXT, false, "memory_min", "MB that are reserved" },
	{ 0, "mem-max", PARAMETER_TEXT, false, "memory_max", "MB at most, or -1" },
	{ 0 },
};
static const struct parameter disk_parameters[] = {
	{ 'w', "world-id", PARAMETER_NUMBER, true, "id",
	  "World ID, as vm process list shows it" },
	{ 'd', "disk", PARAMETER_TEXT, true, "disk", "Its place: scsi0:0" },
	{ 0, "shares", PARAMETER_TEXT, false, "shares",
	  "low, normal, high, or a number" },
	{ 0, "iops-limit", PARAMETER_TEXT, false, "iops",
	  "Requests a second at most, or off" },
	{ 0, "bandwidth-limit", PARAMETER_TEXT, false, "bandwidth",
	  "Bytes a second at most (10MBps), or off" },
	{ 0 },
};

const struct command commands_host[] = {
	{ "esxcli command list",
	  "List all commands with their options",
	  NULL, 0, NULL, NULL },
	{ "system hostname get",
	  "Show the host's name",
	  NULL, 0, NULL, &hostname_shape },
	{ "system hostname set",
	  "Change the host's name, from the next start of vmkernel on",
	  name_parameters, 0, NULL, NULL },
	{ "system maintenanceMode get",
	  "Show whether the host is in maintenance mode",
	  NULL, 0, NULL, &maintenance_shape },
	{ "system maintenanceMode set",
	  "Enter maintenance mode, or leave it",
	  maintenance_parameters, 0, NULL, NULL },
	{ "system settings advanced list",
	  "List the host's settings that can be changed here",
	  option_list_parameters, 0, NULL, &option_shape },
	{ "system settings advanced set",
	  "Change one of them",
	  option_parameters, 0, NULL, NULL },
	{ "system stats uptime get",
	  "Show for how many microseconds the machine has been up",
	  NULL, 0, NULL, &uptime_shape },
	{ "system time get",
	  "Show the host's clock",
	  NULL, 0, NULL, &time_shape },
	{ "system uuid get",
	  "Show the host's UUID",
	  NULL, 0, NULL, &uuid_shape },
	{ "system version get",
	  "Show what runs here",
	  NULL, 0, NULL, &version_shape },
	{ "vm disk set",
	  "Change what a VM's disk is given of its datastore, at once if it runs",
	  disk_parameters, MSG_VM_RECONFIG, NULL, NULL },
	{ "vm disk stats list",
	  "Show what running VMs ask of their disks, and how long that takes",
	  NULL, MSG_VM_DISKS, NULL, &disk_shape },
	{ "vm migration list",
	  "List the VMs that move between hosts, and the last ones that did",
	  NULL, MSG_MIGRATION_LIST, NULL, &migration_shape },
	{ "vm process kill",
	  "Power a VM off",
	  kill_parameters, MSG_VM_KILL, NULL, NULL },
	{ "vm process list",
	  "List the VMs that run",
	  NULL, MSG_VM_LIST, "vms", &process_shape },
	{ "vm resource list",
	  "Show what running VMs are given of processors and memory, and what they use",
	  NULL, MSG_VM_RESOURCES, NULL, &resource_shape },
	{ "vm resource set",
	  "Change what a VM is given of processors and memory, at once if it runs",
	  resource_parameters, MSG_VM_RECONFIG, NULL, NULL },
	{ 0 },
};

const struct command *const command_tables[] = { commands_iscsi, commands_storage,
						 commands_host };
const unsigned int command_table_count = ARRAY_SIZE(command_tables);
