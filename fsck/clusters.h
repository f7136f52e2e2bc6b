/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_CLUSTERS_H
#define FSCK_CLUSTERS_H

/* Cluster headers of the resource files. */
#include "fsck/state.h"

/* Is a cluster of small blocks a large one still? Its header is nobody's then. */
bool fsck_is_part_of_large(const struct fsck *f, enum fsck_resource_index i, uint32_t c);
/* All headers of a resource file; fills its map. 0 or -ENOMEM. */
int fsck_check_clusters(struct fsck *f, enum fsck_resource_index i)
	__attribute__((warn_unused_result));

#endif
