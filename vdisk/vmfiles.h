/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_VMFILES_H
#define VDISK_VMFILES_H

/*
 * The .vmx and .vmsd files of a VM, under the lock of the first, and the names of disks
 * in them. Inside libvdisk. All block but those that say otherwise.
 */
#include "vdisk/vmsnap.h"

#define VMFILES_SUFFIX ".vmdk"
#define VMFILES_NODE_SIZE 32

/* A VM whose .vmx file is locked. */
struct vmfiles {
	const struct vmsnap_options *o;
	struct reporter *r;
	struct vmfs_file *lock; /* the .vmx file as it is now */
	struct settings *vmx;
	char *vmsd_path;
	struct vmsd vmsd;
};

/* Locks (unless it runs here) and reads. -EBUSY with *ret_holder; -errno (reported). */
int vmfiles_open(struct vmfiles *vm, const struct vmsnap_options *o,
		 struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
int vmfiles_close(struct vmfiles *vm);
/* "/vm/a.vmx": "/vm/a.vmsd", malloc'ed. Never blocks. */
char *vmfiles_vmsd_path(const char *vmx);
/* 0 also if there is none. */
int vmfiles_load_vmsd(struct vmfs_volume *vol, const char *path, struct reporter *r,
		      struct vmsd *ret_vmsd) __attribute__((warn_unused_result));

/* Each in one step, durable once it returns. */
int vmfiles_publish_vmsd(struct vmfiles *vm) __attribute__((warn_unused_result));
/* locked: as announce() of a VM that runs here has it; NULL: its disks stay as locked. */
int vmfiles_publish_vmx(struct vmfiles *vm, const char *const *locked)
	__attribute__((warn_unused_result));

/* Disk i of the .vmx file that snapshots are of; false past the last. Never blocks. */
bool vmfiles_disk(const struct vmfiles *vm, unsigned int i,
		  char node[static VMFILES_NODE_SIZE], const char **ret_file);
int vmfiles_set_disk(struct vmfiles *vm, const char *node, const char *file)
	__attribute__((warn_unused_result));
/* file, as the .vmx or .vmsd file says it, as a path of the volume. malloc'ed. */
char *vmfiles_path(const struct vmfiles *vm, const char *file);
/* path, as the .vmx and .vmsd files say it. */
const char *vmfiles_name(const struct vmfiles *vm, const char *path);
/* One of the VM's own: a parent in another folder is of those it was cloned from. */
bool vmfiles_is_own(const struct vmfiles *vm, const char *path);
/* The next free name of a child of the disk at parent, beside the .vmx file: a path. */
int vmfiles_child_path(struct vmfiles *vm, const char *parent, char **ret_path)
	__attribute__((warn_unused_result));
/* What is not needed any more: it stays, with a warning, if it cannot be removed. */
void vmfiles_remove_disk(struct vmfiles *vm, const char *path);
/* Index of the disk at path among those that are open here; -ENOENT. Never blocks. */
int vmfiles_running(const struct vmfiles *vm, const char *path);

/* The same of the disk that is made of the one at path, or is it. */
int vmfiles_running_on(const struct vmfiles *vm, const char *path);

/* ---- vmtree.c: who needs which disk ---- */

/* Removes the disk at path and its parents, up to the first that is needed. */
int vmtree_remove_unneeded(struct vmfiles *vm, const char *path)
	__attribute__((warn_unused_result));
/* Merges all that can be; then nothing is pending. */
int vmtree_consolidate(struct vmfiles *vm, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

#endif
