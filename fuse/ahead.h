/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_AHEAD_H
#define FUSE_AHEAD_H

/* Names that are looked up in the order in which their folder has them. */
#include <stdint.h>

#include "vmfs/node.h"

struct ahead;

/* NULL: no memory. */
struct ahead *ahead_new(struct vmfs_volume *vol);
void ahead_free(struct ahead *a);
/*
 * As vmfs_node_lookup; what is returned was true *ret_age_ns ago, a fraction of a second.
 * From any task. Blocks.
 */
int ahead_lookup(struct ahead *a, struct vmfs_node dir, const char *name,
		 struct vmfs_stat *ret_st, uint64_t *ret_age_ns)
	__attribute__((warn_unused_result));

#endif
