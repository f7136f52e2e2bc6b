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

static const struct parameter kill_parameters[] = {
	{ 't', "type", PARAMETER_TEXT, true, "type",
	  "soft, hard, or force: its vmx process is killed" },
	{ 'w', "world-id", PARAMETER_NUMBER, true, "id",
	  "World ID, as vm process list shows it" },
	{ 0 },
};

const struct command commands_host[] = {
	{ "esxcli command list",
	  "List all commands with their options",
	  NULL, 0, NULL, NULL },
	{ "system hostname get",
	  "Show the host's name",
	  NULL, 0, NULL, &hostname_shape },
	{ "system uuid get",
	  "Show the host's UUID",
	  NULL, 0, NULL, &uuid_shape },
	{ "system version get",
	  "Show what runs here",
	  NULL, 0, NULL, &version_shape },
	{ "vm migration list",
	  "List the VMs that move between hosts, and the last ones that did",
	  NULL, MSG_MIGRATION_LIST, NULL, &migration_shape },
	{ "vm process kill",
	  "Power a VM off",
	  kill_parameters, MSG_VM_KILL, NULL, NULL },
	{ "vm process list",
	  "List the VMs that run",
	  NULL, MSG_VM_LIST, "vms", &process_shape },
	{ 0 },
};

const struct command *const command_tables[] = { commands_iscsi, commands_storage,
						 commands_host };
const unsigned int command_table_count = ARRAY_SIZE(command_tables);
