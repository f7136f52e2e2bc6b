/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_DATASTORE_H
#define VMKERNEL_DATASTORE_H

/* A VMFS volume that the host has attached as a member. */
#include <stdbool.h>
#include <sys/queue.h>

#include "base/report.h"
#include "base/uuid.h"
#include "vmfs/vmfs.h"

#define DATASTORE_EXTENTS_MAX 32u

struct datastore {
	TAILQ_ENTRY(datastore) link;
	char *device;		/* absolute paths and URLs, joined by commas */
	struct bdev *extents[DATASTORE_EXTENTS_MAX];
	unsigned int extent_count;
	struct bdev *heartbeat;	/* second session to extent 0 (iSCSI), or NULL */
	struct vmfs_volume *vol;
	char label[129];
	struct uuid uuid;
	char uuid_text[UUID_TEXT_SIZE];
	bool is_lost;		/* owned by the loop's task */
};
TAILQ_HEAD(datastore_list, datastore);

struct datastore_options {
	const char *device;	    /* "DEV[,DEV2...]" */
	unsigned int index;	    /* of this datastore on this host; makes its ISIDs */
	bool is_read_only;
	struct uuid host;
	const char *host_name;
	const char *initiator_name; /* NULL: made from the host's UUID */
	struct reporter *reporter;
	void (*on_lost)(void *arg); /* from the heartbeat's task; must not block */
	void *on_lost_arg;
};

/* Opens the devices and the volume. 0 or -errno, reported. Blocks. */
int datastore_attach(const struct datastore_options *options, struct datastore **ret_ds)
	__attribute__((warn_unused_result));
/*
 * Unmounts (gives locks and slot back) and frees. 0 or -errno. Blocks. NULL is allowed.
 */
int datastore_detach(struct datastore *ds);
/* By label or UUID: 0, -ENOENT, -ENOTUNIQ. */
int datastore_find(struct datastore_list *list, const char *name,
		   struct datastore **ret_ds) __attribute__((warn_unused_result));

#endif
