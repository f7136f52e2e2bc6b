/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CLI_VIM_SHOW_H
#define VMKERNEL_CLI_VIM_SHOW_H

/* What vim-cmd shows of one VM: reply is that of MSG_VM_DETAILS. On standard output. */
#include <jansson.h>

void show_summary(const json_t *reply);
void show_config(const json_t *reply);
void show_runtime(const json_t *reply);
void show_guest(const json_t *reply);
void show_devices(const json_t *reply);

/* What VMs are plugged into here: [{name, bridge}]. */
void show_networks(const json_t *rows);

#endif
