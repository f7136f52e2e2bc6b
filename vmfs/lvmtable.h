/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LVMTABLE_H
#define VMFS_LVMTABLE_H

/* The PE tables of one device: which part of the volume lies where (lvmtable.c). */
#include "vmfs/lvm.h"

#define LVM_PE_PER_REGION (LVM_MAPS_MAX * LVM_PE_PER_MAP)

/*
 * regions[] and pieces[] of *e, by the headers devd and vold of bd, which have been
 * verified; what is wrong and no matter to who only reads goes to e->odd. Reports.
 * -EUCLEAN, -EOPNOTSUPP (too many pieces). Blocks.
 */
int lvm_table_read(struct bdev *bd, struct reporter *r,
		   const struct vmfs_lvm_device_disk *devd,
		   const struct vmfs_lvm_volume_disk *vold, struct lvm_extent *e)
	__attribute__((warn_unused_result));
/* What is wrong with the headers of *e, and no matter to who only reads. */
void lvm_note_odd(struct lvm_extent *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
