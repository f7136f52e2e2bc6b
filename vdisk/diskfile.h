/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_DISKFILE_H
#define VDISK_DISKFILE_H

/*
 * The files that disks are made of: on a VMFS volume or on the host's own filesystem,
 * with one face. A path with a volume is absolute inside it; with none (NULL) it is the
 * host's. All functions block; errors are those of vmfs/vmfs.h.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "bdev/bdev.h"
#include "vmfs/vmfs.h"

/* Embed it; zero-filled: not open. */
struct diskfile {
	struct vmfs_file *vmfs; /* NULL: a file of the host */
	int host_fd;		/* of that; -1 on a volume */
	/* The file's bytes; of a volume's file a translating device, else a leaf. */
	struct bdev *bd;
	bool has_unzeroed; /* a volume's: blocks to be zeroed, as found at open */
	char *path;
};

struct diskfile_options {
	struct vmfs_volume *vol; /* NULL: the host */
	const char *path;
	uint32_t flags;	   /* enum vmfs_file_flags */
	uint64_t deadline; /* for the lock; a host's file: one try */
	struct reporter *reporter;
};

/*
 * Opens or creates (mode 0600) and locks. A host's file is locked against other openers
 * of this library and against QEMU, on this machine alone. -EBUSY: the lock is held;
 * *ret_holder (may be NULL) says by whom on a volume. Not reported on a volume; on a host
 * all but -ENOENT, -EEXIST and -EBUSY is.
 */
int diskfile_open(const struct diskfile_options *options, struct diskfile *ret_file,
	       struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* A zero-filled file is allowed. Not durable by itself: diskfile_sync. */
int diskfile_close(struct diskfile *file);

int diskfile_size(const struct diskfile *file, uint64_t *ret_size)
	__attribute__((warn_unused_result));
/* Adds the bytes that it takes on its volume; nothing for one of the host, or none. */
int diskfile_room(const struct diskfile *file, uint64_t *total)
	__attribute__((warn_unused_result));
/* What is new reads as zeros and takes no room. file->bd follows. */
int diskfile_resize(struct diskfile *file, uint64_t size)
	__attribute__((warn_unused_result));
/* Bytes read, fewer only at the end of the file, or -errno. Any alignment. */
int64_t diskfile_read(const struct diskfile *file, void *buf, uint64_t len,
		   uint64_t offset) __attribute__((warn_unused_result));
/* All of it, growing the file. Not to be mixed with I/O to file->bd. */
int diskfile_write(struct diskfile *file, const void *buf, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
/*
 * The same for the large pieces of a file that is being made, in whole sectors: a host's
 * go past its cache, and the file may become longer than that; diskfile_resize() ends it.
 */
int diskfile_put(struct diskfile *file, const void *buf, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
/*
 * Copies bytes of another file of the same place, as diskfile_put(), without our reading
 * them: as vmfs_file_clone() on a volume; on the host the filesystem shares their blocks,
 * or the kernel copies what goes through its page cache anyway. How many it were; those
 * behind are to be read and written. 0: none could be, or not so. Or -errno.
 */
int64_t diskfile_clone(struct diskfile *to, uint64_t to_offset,
		       const struct diskfile *from, uint64_t from_offset, uint64_t len)
	__attribute__((warn_unused_result));
/* As vmfs_file_extent: the uniform piece at offset; *ret_len > 0. */
int diskfile_extent(const struct diskfile *file, uint64_t offset, uint64_t *ret_len,
		 bool *ret_is_data) __attribute__((warn_unused_result));
/*
 * A volume's file, locked read-only, is locked for us alone and can be written; and back,
 * after everything is durable. As vmfs_file_upgrade(), once; of a host's: -EOPNOTSUPP.
 */
int diskfile_upgrade(struct diskfile *file, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
int diskfile_downgrade(struct diskfile *file) __attribute__((warn_unused_result));
int diskfile_sync(struct diskfile *file) __attribute__((warn_unused_result));

/* 0 or -ENOENT, ... */
int diskfile_look(struct vmfs_volume *vol, const char *path)
	__attribute__((warn_unused_result));
/* Calls fn with each name in the folder that path stands in until it is not 0. */
int diskfile_each_beside(struct vmfs_volume *vol, const char *path,
			 int (*fn)(void *arg, const char *name), void *arg)
	__attribute__((warn_unused_result));
/* Replaces `to`, if it is there. Durable once it returns, as far as the place can. */
int diskfile_rename(struct vmfs_volume *vol, const char *from, const char *to)
	__attribute__((warn_unused_result));
int diskfile_unlink(struct vmfs_volume *vol, const char *path)
	__attribute__((warn_unused_result));

#endif
