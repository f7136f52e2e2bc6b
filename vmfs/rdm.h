/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_RDM_H
#define VMFS_RDM_H

/*
 * Raw device mappings: files without content that name a whole LUN by its identity
 * (FORMAT.md 8.3). Who uses the LUN holds the mapping's lock: vmfs_file_open() with
 * VMFS_MAPPING. All block; errors are those of vmfs.h.
 */
#include "vmfs/signature.h"

struct vmfs_mapping {
	struct vmfs_disk_identity_disk identity;
	uint64_t size_bytes; /* of the LUN */
};

/* Makes a mapping of the device bd. -EEXIST. */
int vmfs_mapping_create(struct vmfs_volume *vol, const char *path, const struct bdev *bd)
	__attribute__((warn_unused_result));
/* -EMEDIUMTYPE: path is no mapping. */
int vmfs_mapping_read(struct vmfs_volume *vol, const char *path,
		      struct vmfs_mapping *ret_mapping)
	__attribute__((warn_unused_result));

#endif
