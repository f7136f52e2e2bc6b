/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_FOREIGN_H
#define VMFS_FOREIGN_H

/*
 * A VMFS-6 volume that others made or use is not written by mistake.
 */
#include <stdbool.h>

#include "vmfs/format6.h"

struct vmfs_volume;

/* The sector by which mkfs here marks what it made. */
struct vmfs6_maker_disk vmfs6_maker_make(void);
/*
 * May this VMFS-6 volume be written, as far as others are concerned? is_forced: though
 * another system made it. 0; -EOPNOTSUPP, -EBUSY (reported). Blocks.
 */
int vmfs6_foreign_check(struct vmfs_volume *vol, bool is_forced)
	__attribute__((warn_unused_result));
/* 0 if it was made here; else "LABEL: WHAT: ..." is reported. Blocks. */
int vmfs6_check_ours(struct vmfs_volume *vol, const char *what)
	__attribute__((warn_unused_result));

#endif
