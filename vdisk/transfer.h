/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_TRANSFER_H
#define VDISK_TRANSFER_H

/* Plain files between a volume and the host's own filesystem. All of it blocks. */
#include "vdisk/vdisk.h"

/*
 * Copies a host file to path, replacing a file there in one step: readers see the old
 * contents or the new. A missing host file is reported (-ENOENT). -ECANCELED as said by
 * progress (may be NULL).
 */
int transfer_put(struct vmfs_volume *vol, const char *host_path, const char *path,
		 struct vdisk_progress *progress, struct reporter *r)
	__attribute__((warn_unused_result));
/* Writes path to an open file, pipe or terminal of the host, in order. */
int transfer_send(struct vmfs_volume *vol, const char *path, int file_fd,
		  struct vdisk_progress *progress, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * Copies path to a host file, holes kept, replacing a file there in one step. What is
 * there and no regular file (a block device, a pipe) is written to as it is. -ENOENT: no
 * such path.
 */
int transfer_get(struct vmfs_volume *vol, const char *path, const char *host_path,
		 struct vdisk_progress *progress, struct reporter *r)
	__attribute__((warn_unused_result));

#endif
