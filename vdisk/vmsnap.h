/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_VMSNAP_H
#define VDISK_VMSNAP_H

/*
 * Snapshots of a whole VM: of all disks that its .vmx file names and
 * that are not independent. Their list is the .vmsd file beside it (vmsd.h). A snapshot
 * is of disks, and may have the VM's memory; the settings of the VM are not part of it.
 *
 * Each call holds the lock of the .vmx file, so that nobody powers the VM on meanwhile.
 * Of a VM that runs, who runs it has that lock, and says so (struct vmsnap_running).
 * All block. Errors, beside those of vdisk.h: -EBUSY: the VM runs, or somebody has a disk
 * of it (*ret_holder, may be NULL, says who); -ENOENT: no such snapshot (reported).
 */
#include "vdisk/vdisk.h"
#include "vdisk/vmsd.h"

/* A VM that runs here. All is its owner's; the functions are called by vmsnap's task. */
struct vmsnap_running {
	struct vmfs_file **vmx; /* open for writing; another after each change */
	struct vdisk *const *disks; /* open for writing; some may be NULL */
	unsigned int disk_count;
	/*
	 * The file at path vmx, locked by us, is about to be the .vmx file, and
	 * locked[i], if it is not NULL, the file whose lock is held for disk i (as many
	 * as disks). 0, or -errno: it stays as it is. Blocks.
	 */
	int (*announce)(void *arg, const char *vmx, const char *const *locked);
	void (*confirm)(void *arg); /* and so it is. Blocks */
	/* Calls fn while no I/O to disk i is under way. Blocks. */
	void (*quiet)(void *arg, unsigned int i, void (*fn)(void *fn_arg), void *fn_arg);
	void *arg;
};

struct vmsnap_options {
	struct vmfs_volume *vol;
	const char *vmx; /* path of the .vmx file */
	enum vdisk_delta_kind kind; /* of create and revert */
	struct vdisk_progress *progress; /* of merging; may be NULL */
	struct reporter *reporter;
	const struct vmsnap_running *running; /* NULL: it is powered off */
	/* Of create: a file beside the .vmx file that holds its memory, or NULL. */
	const char *memory;
};

/*
 * Of the .vmx file: the file beside it that holds the memory of the VM, with which it
 * goes on when it is powered on. Set by a revert to a snapshot that has it; else removed.
 */
#define VMSNAP_STATE_KEY "checkpoint.vmState"

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
/*
 * Removes the VM, which is off: its disks (but CDs, and what lies in other folders), its
 * snapshots, what is kept of its memory, .nvram, logs, .vmsd and at last .vmx file, and
 * its folder, if nothing else is in there. Nothing is removed if a disk of it is in use
 * or is what a linked clone is made on: -EBUSY (reported, or *ret_holder). Interrupted at
 * any point, it can be called again.
 */
int vmsnap_destroy(const struct vmsnap_options *options, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

#endif
