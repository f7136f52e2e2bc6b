/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_FEATURE_H
#define VMFS_FEATURE_H

/*
 * What a volume may have that this library has never seen. Such a volume is read, as far
 * as its structures verify, and never written: nobody knows what else a writer would have
 * to keep right.
 */
#include "vmfs/volume.h"

/*
 * 0, or -EOPNOTSUPP, reported with the reason; of a volume that is opened read-only
 * always 0, with the reason as a warning. For versions that are written. Never blocks.
 */
int vmfs_feature_check(struct vmfs_volume *vol) __attribute__((warn_unused_result));

#endif
