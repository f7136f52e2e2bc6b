/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_VMLOGS_H
#define VDISK_VMLOGS_H

/*
 * The logs in a VM's folder: vmware.log of its present run, vmware-1.log and so on of
 * those before, the one with the highest number the latest. All block.
 */
#include "vmfs/vmfs.h"

#define VMLOGS_KEEP_MAX 1000u

/*
 * "/vm/vmware" for the VM with the .vmx file /vm/a.vmx, but "/vm/a" if the folder has
 * the .vmx files of other VMs, too: each has its own log. malloc'ed; -errno.
 */
int vmlogs_stem(struct vmfs_volume *vol, const char *vmx, char **ret_stem)
	__attribute__((warn_unused_result));
/*
 * What is called stem.log gets the next number, if it is there; of all with a number the
 * latest keep stay. 0 or -errno: stem.log may still be there. A crash leaves either name,
 * and at most one log too many.
 */
int vmlogs_rotate(struct vmfs_volume *vol, const char *stem, unsigned int keep)
	__attribute__((warn_unused_result));
/* All of them go; what cannot be removed stays, silently. */
void vmlogs_remove(struct vmfs_volume *vol, const char *stem);

#endif
