/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_DATASTORE_H
#define VMKERNEL_DATASTORE_H

/* A VMFS volume that the host has attached as a member. */
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/report.h"
#include "base/uuid.h"
#include "vmfs/resign.h"
#include "vmfs/vmfs.h"

#define DATASTORE_EXTENTS_MAX 32u

struct ha_agent;
struct notice_board;

struct datastore_options {
	const char *device;	    /* "DEV[,DEV2...]" */
	unsigned int index;	    /* of this datastore on this host; makes its ISIDs */
	bool is_read_only;
	bool keeps_signature; /* the user vouches that it is a copy without original */
	struct uuid host;
	const char *host_name;
	const char *initiator_name;
	const char *proof_dir; /* of struct vmfs_open_options */
	struct reporter *reporter;
	struct guard *guard;	    /* or NULL */
	enum vmfs_lease_profile lease_profile;
	uint64_t unmap_rate; /* of struct vmfs_open_options */
	bool resets_units;   /* likewise */
	void (*on_lost)(void *arg); /* from the heartbeat's task; must not block */
	void *on_lost_arg;
};

struct datastore {
	TAILQ_ENTRY(datastore) link;
	/*
	 * Absolute paths and URLs, joined by commas; replaced when an extent is added by
	 * another member, and then kept until the end, since others may read it.
	 */
	char *device, *former[DATASTORE_EXTENTS_MAX];
	unsigned int former_count;
	struct datastore_options options; /* it was attached with */
	struct bdev *extents[DATASTORE_EXTENTS_MAX];
	unsigned int extent_count;
	struct bdev *heartbeat;	/* second session to extent 0 (iSCSI), or NULL */
	uint32_t notices[DATASTORE_EXTENTS_MAX]; /* enum bdev_notice; adapter/device.c */
	struct vmfs_volume *vol;
	char label[129];
	struct uuid uuid;
	char uuid_text[UUID_TEXT_SIZE];
	/*
	 * Owned by the loop's task. Nobody but the reattaching job touches vol if
	 * is_lost.
	 */
	bool is_lost, is_reattaching;
	unsigned int users;	/* jobs that use vol; VMs are counted apart */
	struct ha_agent *ha;	/* NULL: none, or not yet */
	struct sched *sched;	/* what its VMs' disks share */
	struct notice_board *notice; /* of vMotion; likewise */
};
TAILQ_HEAD(datastore_list, datastore);

/* Opens the devices and the volume. 0 or -errno, reported. Blocks. */
int datastore_attach(const struct datastore_options *options, struct datastore **ret_ds)
	__attribute__((warn_unused_result));
/*
 * Unmounts (gives locks and slot back) and frees. 0 or -errno. Blocks. NULL is allowed.
 */
int datastore_detach(struct datastore *ds);
/*
 * Closes volume and devices of lost (which stays as an empty shell) and attaches them
 * anew: until it works, or *is_stopping: -ECANCELED. Tries after 2 s, then less and less
 * often, at least every 30 s; each failure is reported. Blocks.
 */
int datastore_reattach(struct datastore *lost, const struct datastore_options *options,
		       const atomic_bool *is_stopping, struct datastore **ret_ds)
	__attribute__((warn_unused_result));
/* What the first extent says: label, UUIDs, whether it is a copy. As above. Blocks. */
int datastore_look(const struct datastore_options *options,
		   struct vmfs_signature *ret_signature)
	__attribute__((warn_unused_result));
/* Gives a copy that is not attached a signature of its own (vmfs/resign.h). Blocks. */
int datastore_resign(const struct datastore_options *options,
		     struct vmfs_resigned *ret_resigned)
	__attribute__((warn_unused_result));
/* By label or UUID: 0, -ENOENT, -ENOTUNIQ. */
int datastore_find(struct datastore_list *list, const char *name,
		   struct datastore **ret_ds) __attribute__((warn_unused_result));

#endif
