/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_OWNERS_H
#define FSCK_OWNERS_H

/* VMFS-6: whose each resource is, by its cluster and by the files. */
#include "fsck/state.h"

/* Takes over what the meta page of a cluster says. 0 or -ENOMEM. */
int fsck_owners_take(struct fsck *f, enum fsck_resource_index i, uint32_t c,
		     const uint8_t *meta) __attribute__((warn_unused_result));
/* A file names a resource, the first time. */
void fsck_owner_named(struct fsck *f, enum fsck_resource_index i, uint64_t number,
		      const struct fsck_file *file, const char *object);
/* The owner of a resource is to be another one. */
void fsck_owner_set(struct fsck *f, enum fsck_resource_index i, uint64_t number,
		    uint32_t fd);
/* What the meta page of a cluster is to say of owners; true: something else. */
bool fsck_owners_give(struct fsck *f, enum fsck_resource_index i, uint32_t c,
		      uint8_t *meta);
void fsck_owners_check(struct fsck *f);
void fsck_owners_done(struct fsck *f);

#endif
