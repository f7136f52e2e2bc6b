/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_SIGNATURE_H
#define VMFS_SIGNATURE_H

/*
 * Is a volume on the disk that it was made on, or a copy: a snapshot or a replica of a
 * LUN, an image of one? Its signature, the UUIDs, is the original's then.
 */
#include "vmfs/lvm.h"
#include "vmfs/vmfs.h"

enum signature_verdict {
	SIGNATURE_UNKNOWN, /* one of the two has no name that could be compared */
	SIGNATURE_OWN,	   /* the disk that the LVM header names */
	SIGNATURE_COPY,	   /* another one */
};

/* made_on: as an LVM header has it. Never blocks. */
enum signature_verdict signature_judge(const struct vmfs_disk_identity_disk *made_on,
				       const struct bdev_identity *disk);

#define SIGNATURE_TEXT_SIZE 96
/* "naa.6001405...", "serial ABC", "a plain file", "a disk without a name". */
const char *signature_disk_text(const struct vmfs_disk_identity_disk *disk,
				char text[static SIGNATURE_TEXT_SIZE]);

/*
 * May the volume be used as it was opened? 0, or -EREMCHG, reported. What is only said
 * of a read-only one is an INFO (a copy) or a WARN (half a signature). Never blocks.
 */
int signature_check(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * By a member that has its slot: is the signature still as it was read before that?
 * 0, -EREMCHG (reported), -errno. Blocks.
 */
int signature_check_again(struct vmfs_volume *vol) __attribute__((warn_unused_result));

#endif
