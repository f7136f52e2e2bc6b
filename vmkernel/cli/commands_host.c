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

const struct command commands_host[] = {
	{ "esxcli command list",
	  "List all commands with their options",
	  NULL, 0, NULL, NULL },
	{ "vm process list",
	  "List the VMs that run",
	  NULL, MSG_VM_LIST, "vms", &process_shape },
	{ 0 },
};

const struct command *const command_tables[] = { commands_storage, commands_host };
const unsigned int command_table_count = ARRAY_SIZE(command_tables);
