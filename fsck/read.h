/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_READ_H
#define FSCK_READ_H

/*
 * Reading a volume that may be damaged, for fsck.vmfs and vmfs-dump: extents joined as
 * far as they are there, structures found one from the other, every number from the disk
 * checked before it is used as an offset or a size. It shares the format's types and
 * sizes with libvmfs and nothing else, so that one can be held against the other. Writes
 * nothing.
 *
 * Errors: -EUCLEAN with the reason in struct fsck_why; other -errno from the device.
 */
#include "fsck/readdir.h"
#include "fsck/readfile.h"
#include "fsck/readlvm.h"
#include "fsck/readres.h"

/* Reads the FS descriptor and takes the sizes from it. */
int fsck_volume_descriptor(struct fsck_volume *v, struct fsck_why *ret_why)
	__attribute__((warn_unused_result));
/* The same from the bytes of v->descriptor, wherever they are from. */
int fsck_volume_sizes(struct fsck_volume *v, struct fsck_why *ret_why)
	__attribute__((warn_unused_result));
/*
 * VMFS-3 has no .pb2.sf and no .sdd.sf; nor may VMFS-5 that was VMFS-3 (its LVM still
 * is): then its FS descriptor leaves their places empty, addr and off.
 */
bool fsck_volume_lacks(const struct fsck_volume *v, le32 addr, le64 off);
/* The order in which resource files can be found: each needs at most those before it. */
extern const enum fsck_resource_index fsck_resource_order[FSCK_RESOURCE_COUNT];
/*
 * Finds a resource file and its geometry. -ENOENT: one that the version or the volume
 * does not have, or one without resources.
 */
int fsck_volume_resource(struct fsck_volume *v, enum fsck_resource_index i,
			 struct fsck_why *ret_why) __attribute__((warn_unused_result));
/*
 * The same in two: the FD of the file and where it lies; then the rest, with an FD that
 * may be another one than is there.
 */
int fsck_resource_fd(struct fsck_volume *v, enum fsck_resource_index i,
		     struct fsck_file *ret_file, uint64_t *ret_vol_off)
	__attribute__((warn_unused_result));
int fsck_resource_load(struct fsck_volume *v, enum fsck_resource_index i,
		       const struct fsck_file *file, struct fsck_why *ret_why)
	__attribute__((warn_unused_result));
/* It is called damaged, and not used. */
void fsck_resource_close(struct fsck_resource *res);
/* Frees what hangs off v. Devices stay open. */
void fsck_volume_done(struct fsck_volume *v);
/* A heartbeat slot. */
int fsck_slot_read(const struct fsck_volume *v, uint32_t slot,
		   struct vmfs_heartbeat_disk *ret_hb)
	__attribute__((warn_unused_result));
/* The slot with this vol offset; false: it is none. */
bool fsck_slot_of(const struct fsck_volume *v, uint64_t vol_off, uint32_t *ret_slot);

#endif
