/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_VMSNAP_H
#define VDISK_VMSNAP_H

/*
 * Snapshots of a whole VM that is powered off: of all disks that its .vmx file names and
 * that are not independent. Their list is the .vmsd file beside it (vmsd.h). A snapshot
 * is of disks; the settings of the VM are not part of it.
 *
 * Each call holds the lock of the .vmx file, so that nobody powers the VM on meanwhile.
 * All block. Errors, beside those of vdisk.h: -EBUSY: the VM runs, or somebody has a disk
 * of it (*ret_holder, may be NULL, says who); -ENOENT: no such snapshot (reported).
 */
#include "vdisk/vdisk.h"
#include "vdisk/vmsd.h"

struct vmsnap_options {
	struct vmfs_volume *vol;
	const char *vmx; /* path of the .vmx file */
	enum vdisk_delta_kind kind; /* of create and revert */
	struct vdisk_progress *progress; /* of merging; may be NULL */
	struct reporter *reporter;
};

/* The list; no lock. 0 also if there is none yet. vmsd_done() it. */
int vmsnap_list(const struct vmsnap_options *options, struct vmsd *ret_vmsd)
	__attribute__((warn_unused_result));
int vmsnap_create(const struct vmsnap_options *options, const char *name,
		  const char *description, uint32_t *ret_uid,
		  struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* The disks are again as they were at the snapshot; what was written since is gone. */
int vmsnap_revert(const struct vmsnap_options *options, uint32_t uid,
		  struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* uid 0: all. The disks stay as they are; what only the snapshot needed is merged. */
int vmsnap_remove(const struct vmsnap_options *options, uint32_t uid,
		  struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* Merges what a removal that was interrupted has left. */
int vmsnap_consolidate(const struct vmsnap_options *options,
		       struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

#endif
