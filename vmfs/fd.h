/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_FD_H
#define VMFS_FD_H

/*
 * File descriptors as transactions and views see them: one piece of three sectors behind
 * the lock sector (FORMAT.md 8). Pointers are into the transaction and valid until its
 * build function returns.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/addr.h"
#include "vmfs/format.h"
#include "vmfs/lock.h"
#include "vmfs/resource.h"
#include "vmfs/vmfs.h"

struct vmfs_txn;

/*
 * Sectors 1 to 3 of an FD of VMFS-3/5. The body of a VMFS-6 FD is longer (shape.h) and
 * agrees with it in meta and resident; its slots are elsewhere: shape_slots().
 */
struct fd_body_disk {
	struct vmfs_fd_meta_disk meta;	/* 0x000 */
	union {				/* 0x200 */
		le32 slots[VMFS_FD_SLOTS];
		uint8_t resident[VMFS_RESIDENT_MAX];
		struct vmfs_disk_identity_disk rdm;
	} u;
};
ONDISK_AT(struct fd_body_disk, u, 0x200);
ONDISK_SIZE(struct fd_body_disk, 1536);

/* Which FD, and what the one who names it knows about it. */
struct fd_ref {
	vmfs_addr addr;
	uint32_t generation;	/* 0: any */
	bool is_directory;	/* ranks before files: known from the directory entry */
};

/* Its lock. 0 or -EUCLEAN (reported: no such address). Never blocks. */
int fd_lock_id(struct vmfs_volume *vol, const struct fd_ref *ref,
	       struct vmfs_lock_id *ret_id) __attribute__((warn_unused_result));
/*
 * Reads an FD in use. -ENOENT: it is free, or of another generation: what named it is out
 * of date (in a view or after a retry) or wrong. -EUCLEAN (reported), -EBUSY as txn_read.
 */
int fd_read(struct vmfs_txn *t, const struct fd_ref *ref,
	    const struct fd_body_disk **ret_fdd) __attribute__((warn_unused_result));
/* The same, to be changed. */
int fd_edit(struct vmfs_txn *t, const struct fd_ref *ref, struct fd_body_disk **ret_fdd)
	__attribute__((warn_unused_result));
/*
 * Allocates an FD and initialises it: type, mode, links 1, times now, empty and resident;
 * lock flags as vmfs_txn_lock. parent: its directory. *ret_ref names it.
 */
int fd_create(struct vmfs_txn *t, vmfs_addr parent, uint32_t type, uint32_t mode,
	      uint32_t lock_flags, struct fd_ref *ret_ref, struct fd_body_disk **ret_fdd)
	__attribute__((warn_unused_result));
/*
 * It stands in another directory now. VMFS-6 notes that in the FD, if no other host has
 * it: nobody depends on it.
 */
int fd_move(struct vmfs_txn *t, const struct fd_ref *ref, vmfs_addr parent)
	__attribute__((warn_unused_result));
/*
 * Marks an FD free whose blocks are freed already, and says when (ctime). All else stays
 * in it; its lock is given back afterwards.
 */
int fd_free(struct vmfs_txn *t, const struct fd_ref *ref)
	__attribute__((warn_unused_result));

/* ---- fields ---- */

/* Mode, owner and times, as far as attr has them. */
void fd_set_attr(struct fd_body_disk *fdd, const struct vmfs_attr *attr);

/* True for directories, .sdd.sf (a "system" FD with directory mode) included. */
bool fd_is_directory(const struct vmfs_fd_meta_disk *metad);
uint64_t fd_length(const struct fd_body_disk *fdd);
uint64_t fd_tbz_count(const struct fd_body_disk *fdd);
/* No addresses and no resident data. */
void fd_clear_content(const struct vmfs_volume *vol, struct fd_body_disk *fdd);
/* Slot i, out of disk order, and back. */
vmfs_addr fd_slot(const struct vmfs_volume *vol, const struct fd_body_disk *fdd,
		  uint32_t i);
/* The owner that goes into a wish for resources of this type for the file. */
vmfs_addr fd_owner_of(const struct vmfs_volume *vol, const struct fd_body_disk *fdd,
		      enum vmfs_resource_type type);
/* Sets zla and what goes with it: block size, its shift, granularity of TBZ. */
void fd_set_form(struct vmfs_volume *vol, struct fd_body_disk *fdd, enum vmfs_zla zla);
/* Adds to the count of blocks (and of new blocks), and of those to be zeroed. */
void fd_add_counts(struct fd_body_disk *fdd, int64_t blocks, int64_t tbz);
/* Does it count blocks that it shares copy-on-write with another file? */
bool fd_has_shared(const struct fd_body_disk *fdd);
/*
 * The block at an address (0: some) is shared copy-on-write with another file, and only
 * read here. -EOPNOTSUPP, reported.
 */
int fd_refuse_shared(struct vmfs_volume *vol, const struct fd_ref *ref, vmfs_addr addr)
	__attribute__((warn_unused_result));
/* Marks as modified at that time: mtime and ctime. */
void fd_touch(struct fd_body_disk *fdd, uint32_t mtime_s);
void fd_stat(const struct fd_body_disk *fdd, struct vmfs_stat *ret_st);
/* Seconds since 1970, for the fields of an FD. */
uint32_t fd_now_s(void);

#endif
