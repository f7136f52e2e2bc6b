/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_ADAPTER_ADAPTER_H
#define VMKERNEL_ADAPTER_ADAPTER_H

/* The host's iSCSI adapter: its configuration, and what it has found with it. */
#include <jansson.h>

#include "vmkernel/host.h"
#include "vmkernel/vm.h"

#define ADAPTER_NAME "vmhba64"

struct adapter {
	struct host *host;
	json_t *doc;	 /* adapter/config.h */
	json_t *devices; /* the LUNs of the last rescan: rows for `device list` */
	bool is_busy;	 /* a rescan, mount or unmount is at work */
	bool is_waiting; /* for what did not answer */
	uint64_t pause_ns; /* before that is looked for again; 0: nothing is away */
};

/* Reads the configuration. 0 or -errno, reported. Blocks. */
int adapter_open(struct host *h, struct reporter *r) __attribute__((warn_unused_result));
/* Could a host of this configuration read its own? 0 or -errno, reported. Blocks. */
int adapter_check(const struct config *config, struct reporter *r)
	__attribute__((warn_unused_result));
void adapter_close(struct adapter *a);
/* Writes the configuration. 0 or -errno, reported. Blocks for a file of some KiB. */
int adapter_save(struct adapter *a) __attribute__((warn_unused_result));
/*
 * At the host's start: finds the targets and attaches what they hold. What is away is
 * reported, and no reason not to start. Blocks.
 */
void adapter_start(struct adapter *a, struct reporter *r);
/* Of MSG_ADMIN: false if the words are none of ours. */
bool adapter_request(struct adapter *a, struct requester who, const char *words,
		     const json_t *body);
/* A datastore was attached: its devices' paths are chosen as an admin has said. */
void adapter_attached(const struct adapter *a, struct datastore *ds);
/* Is the volume to be left alone, because it was unmounted for good? */
bool adapter_is_unmounted(const struct adapter *a, const char *uuid);
/* Is there any such volume? */
bool adapter_has_unmounted(const struct adapter *a);

#endif
