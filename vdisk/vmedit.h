/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_VMEDIT_H
#define VDISK_VMEDIT_H

/* Changing settings in a VM's .vmx file, whether the VM runs here or is off. */
#include "vdisk/vmsnap.h"

struct vmedit {
	const char *key, *value; /* NULL: it goes, and all keys that begin like it */
};

/*
 * All of them in one step, under the lock of the file: after a crash it is the old file
 * or the new one, durable once this returns. What is not named stays byte for byte. Of
 * options: vol, vmx, reporter, running. 0; -EBUSY: somebody else has the file
 * (*ret_holder, may be NULL, says who); -EINVAL: a value is too long; -errno. Blocks.
 */
int vmedit_apply(const struct vmsnap_options *options, const struct vmedit *edits,
		 unsigned int count, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

#endif
