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
bool resume_is_there(const struct resume *r);
/*
 * Bytes that are done in the file `extent` names; 0: none, or of another source or file.
 * extent's lock is held.
 */
int resume_read(struct resume *r, const char *extent, uint64_t *ret_done)
	__attribute__((warn_unused_result));
/* So many bytes are durable in that file. */
int resume_write(const struct resume *r, const char *extent, uint64_t done)
	__attribute__((warn_unused_result));
int resume_remove(const struct resume *r) __attribute__((warn_unused_result));
/* The same after an error, which is the one to tell: a note of no extent harms nobody. */
void resume_forget(const struct resume *r);

#endif
