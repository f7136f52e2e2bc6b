/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_SNAPSHOT_H
#define VMKERNEL_SNAPSHOT_H

/* Requests about devices of the configuration that hold copies of volumes. */
#include "vmkernel/msg/msg.h"
#include "vmkernel/vm.h"

/* MSG_SNAPSHOT_*: answered when it is done. name: "" for LIST. Loop's task only. */
void snapshot_request(struct host *h, struct requester who, enum msg_type type,
		      const char *name);

#endif
