/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_SYSTEM_H
#define VMKERNEL_SYSTEM_H

/* esxcli system: what is asked of the host itself. Loop's task only. */
#include <jansson.h>

#include "vmkernel/host.h"

/* false: these words are not of it. Else the requester is answered, now or later. */
bool system_request(struct host *h, struct requester who, const char *words,
		    const json_t *body);
/*
 * Settings that were made by esxcli, over those of the configuration: 0 or -errno,
 * reported. With the state directory locked. Blocks.
 */
int system_read_settings(struct host *h, struct reporter *r)
	__attribute__((warn_unused_result));

#endif
