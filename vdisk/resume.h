/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_RESUME_H
#define VDISK_RESUME_H

/* How far an interrupted clone had come. Inside libvdisk. All but init and done block. */
#include "vdisk/extent.h"

struct resume {
	struct vmfs_volume *vol;
	char *path;
	const char *identity; /* of the source; borrowed */
};
/* Of the disk at path. resume_done() in any case. 0 or -ENOMEM. */
int resume_init(struct resume *r, struct vmfs_volume *vol, const char *path,
		const char *identity) __attribute__((warn_unused_result));
void resume_done(struct resume *r);
/* How the file of a disk of one is called until it is whole; malloc'ed or NULL. */
char *resume_file(const char *path);
bool resume_is_there(const struct resume *r);
/*
 * Bytes of the disk that are done, as who made the first extent, the file that `extent`
 * names, has noted; 0: none, or of another source or file. *ret_reach: the same whatever
 * the source. extent's lock is held.
 */
int resume_read(struct resume *r, const char *extent, uint64_t *ret_done,
		uint64_t *ret_reach) __attribute__((warn_unused_result));
/* So many bytes of the disk are durable, in that file and those behind it. */
int resume_write(const struct resume *r, const char *extent, uint64_t done)
	__attribute__((warn_unused_result));
int resume_remove(const struct resume *r) __attribute__((warn_unused_result));
/* The same after an error, which is the one to tell: a note of no extent harms nobody. */
void resume_forget(const struct resume *r);

#endif
