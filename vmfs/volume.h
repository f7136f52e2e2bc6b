/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_VOLUME_H
#define VMFS_VOLUME_H

/*
 * The mounted volume, as the files of this folder see it. All memory of a volume hangs
 * off this struct. Fields are set by volume.c while opening and constant afterwards
 * unless said otherwise.
 */
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/env.h"
#include "vmfs/lvm.h"
#include "vmfs/resource.h"
#include "vmfs/shape.h"
#include "vmfs/vmfs.h"

struct vmfs_cache;
struct vmfs_membership;
struct vmfs_unmapper;

#define VOLUME_CHANGES 1024u

struct vmfs_volume {
	struct reporter *reporter;
	struct lvm lvm;
	/* As on disk, verified; what is odd of .fdc.sf's geometry, as its header says. */
	struct vmfs_descriptor_disk descriptor;
	uint32_t major, minor;			/* 14.81 for VMFS-5.81 */
	const struct vmfs_shape *shape;		/* of this version */
	uint32_t block_size, block_shift;	/* file block, bytes and log2 */
	uint32_t sub_block_size, sub_block_shift;
	uint64_t block_count;
	/* or the UUID if there is none: for reports */
	char label[VMFS_LABEL_SIZE + 1];
	struct vmfs_resource resources[RESOURCE_COUNT];
	bool is_read_only, is_immutable;
	enum vmfs_signature_rule signature;
	/*
	 * The running member: slot, lease, locks, journal (member.h); NULL when
	 * read-only.
	 */
	struct vmfs_membership *member;
	/* Metadata seen under locks (cache.h). */
	struct vmfs_cache *cache;
	/* Files open with a lock, by this process; guarded by files_mutex. */
	LIST_HEAD(, vmfs_file) files;
	struct mutex files_mutex;
	/* Tasks whose reports of corruption are kept back; guarded by hush_mutex. */
	LIST_HEAD(, vmfs_hush) hushes;
	struct mutex hush_mutex;
	/*
	 * File blocks that transactions of this process freed, or were to free, since
	 * they were UNMAPped, under txn_lock; and whether there are any, atomic
	 * (unmap.c). NULL when read-only.
	 */
	struct vmfs_freed *freed;
	bool has_freed;
	/* Gives freed blocks back to the storage by itself (unmap.h); NULL: nobody. */
	struct vmfs_unmapper *unmapper;
	/*
	 * One transaction of this host at a time; first in the order of sleeplocks. Also
	 * for seeing that the volume has grown (refresh.h).
	 */
	struct sleeplock txn_lock;
	/* Of vmfs_open_options. */
	int (*extent_open)(void *arg, unsigned int extent, const char *name,
			   struct bdev **ret_bd);
	void *extent_open_arg;
	/* Of vmfs_node_changes(), by lock: volume_changes(). */
	_Atomic uint32_t changes[VOLUME_CHANGES];
};

/* The counter of changes under this lock, and under some others. */
static inline _Atomic uint32_t *volume_changes(struct vmfs_volume *vol, uint64_t lock_off)
{
	return &vol->changes[(lock_off / 512 * 0x9E3779B97F4A7C15ull >> 32) %
			     VOLUME_CHANGES];
}

/* A task that reads what may be half of one state and half of another: on its stack. */
struct vmfs_hush {
	LIST_ENTRY(vmfs_hush) link;
	const struct task *task;
	char text[384]; /* the first report that was kept back */
};
void vmfs_hush_begin(struct vmfs_volume *vol, struct vmfs_hush *h);
/* is_told: it was of one state, so what was kept back is reported. */
void vmfs_hush_end(struct vmfs_volume *vol, struct vmfs_hush *h, bool is_told);

/* Reports "LABEL: text" as an ERROR and returns -EUCLEAN. */
int vmfs_corrupt(struct vmfs_volume *vol, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/*
 * What is wrong and no matter to who only reads: the same if the volume is opened to be
 * written, else a WARN and 0.
 */
int vmfs_odd(struct vmfs_volume *vol, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), warn_unused_result));

#endif
