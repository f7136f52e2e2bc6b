/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CLI_TABLES_H
#define VMKERNEL_CLI_TABLES_H

/*
 * The tables of commands.h; each is sorted such that a namespace's words stand together.
 */
#include "vmkernel/cli/commands.h"

extern const struct command commands_storage[];
extern const struct command commands_iscsi[];
extern const struct command commands_host[];

#endif
