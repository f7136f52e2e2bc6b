/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_CHECK_H
#define VDISK_CHECK_H

/* What a check of one disk shares. Inside libvdisk. */
#include "vdisk/extent.h"

struct checker {
	bool is_repair;
	struct vdisk_check_result found;
	struct vdisk_progress *progress;
	const struct vdisk_luns *luns;
	struct reporter *r;
};

/*
 * Tells of a finding; will_mend: a repair mends it. true: go and mend it. Never blocks.
 */
bool check_found(struct checker *c, bool will_mend, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Which sectors of a file are whose. */
struct check_use {
	uint64_t at, len; /* sectors */
	uint64_t owner;	  /* a grain; or: */
#define CHECK_TABLE UINT64_MAX
};
struct check_uses {
	struct check_use *use;
	size_t count, capacity;
};
/* 0 or -ENOMEM. */
int check_use(struct check_uses *uses, uint64_t at, uint64_t len, uint64_t owner)
	__attribute__((warn_unused_result));
void check_uses_sort(struct check_uses *uses);
void check_uses_done(struct check_uses *uses);

/*
 * Checks, and repairs, the hosted sparse extent that file is, which has `sectors` by its
 * descriptor. 0, findings told; -errno: it was not possible. Blocks.
 */
int check_sparse(struct checker *c, struct diskfile *file, uint64_t sectors)
	__attribute__((warn_unused_result));

#endif
