/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_VERIFY_H
#define VMFS_VERIFY_H

/*
 * One verifier per on-disk structure, run after each read and before each write. Each
 * returns 0, or -EUCLEAN and says in words which test failed; nothing is reported here.
 * Some return VERIFY_ODD, in words as well, for what is wrong and leads nobody astray who
 * only reads: such a volume is read, and not written. What a structure cannot know of
 * itself (is that block allocated? does the link count fit the tree?) is fsck's. Never
 * block.
 */
#include <stdint.h>

#include "vmfs/addr.h"
#include "vmfs/fd.h"
#include "vmfs/format.h"
#include "vmfs/resource.h"
#include "vmfs/shape.h"

#define VERIFY_ODD 1

struct verify {
	char text[192]; /* "block size 4096, not 1048576" */
};

/*
 * Device metadata of LVM 3, 5 and 6 on a device of device_size bytes: FORMAT.md 3.2. 0,
 * VERIFY_ODD, -EUCLEAN.
 */
int verify_lvm_device(const struct vmfs_lvm_device_disk *devd, uint64_t device_size,
		      struct verify *ret_why) __attribute__((warn_unused_result));
/* PEs (of 256 MiB) on a device, and where the first one begins. */
uint32_t lvm_pes(const struct vmfs_lvm_device_disk *devd);
uint64_t lvm_data_off(const struct vmfs_lvm_device_disk *devd);
/* Volume descriptor against its device metadata: FORMAT.md 3.3. */
int verify_lvm_volume(const struct vmfs_lvm_volume_disk *vold,
		      const struct vmfs_lvm_device_disk *devd, struct verify *ret_why)
	__attribute__((warn_unused_result));
/* Is it in state 2, with a sound record of what is to come? */
bool verify_is_resigning(const struct vmfs_lvm_volume_disk *vold);
/* The checksum that the record of a resignature has to carry. */
uint32_t verify_resignature_crc(const struct vmfs_resignature_disk *d);
/*
 * Where an entry of a PE table must lead: dev and volume offset, and bytes of the extent
 * before it.
 */
struct lvm_pe_place {
	uint64_t dev_off, vol_off, before;
};
/*
 * Entry i of the PE table of a device: FORMAT.md 3.5, 20.2. In a volume of several
 * extents it may lead further on in the volume. 0, VERIFY_ODD, -EUCLEAN.
 */
int verify_lvm_pe(const struct vmfs_lvm_pe_disk *ped, uint32_t i,
		  const struct lvm_pe_place *place,
		  const struct vmfs_lvm_device_disk *devd,
		  const struct vmfs_lvm_volume_disk *vold, struct verify *ret_why)
	__attribute__((warn_unused_result));
/* One of the magics of VMFS, its local-only variants among them: FORMAT.md 5. */
bool verify_is_magic(uint32_t magic);
/*
 * FS descriptor of a VMFS-3 or -5 volume of volume_size bytes: FORMAT.md 5. 0,
 * VERIFY_ODD (the place of FDs in .fdc.sf has to be taken from its header), -EUCLEAN.
 */
int verify_descriptor(const struct vmfs_descriptor_disk *fsd, uint64_t volume_size,
		      struct verify *ret_why) __attribute__((warn_unused_result));
/* A lock sector: type and own address; who only reads needs no more. FORMAT.md 7. */
int verify_lock_place(const struct vmfs_lock_disk *lockd, uint32_t type, uint64_t vol_off,
		      struct verify *ret_why) __attribute__((warn_unused_result));
/* The same, with mode and holders. */
int verify_lock(const struct vmfs_lock_disk *lockd, uint32_t type, uint64_t vol_off,
		struct verify *ret_why) __attribute__((warn_unused_result));
/* Header of a resource file: FORMAT.md 6.1, 6.3. 0, VERIFY_ODD, -EUCLEAN. */
int verify_resource_header(const struct vmfs_resource_header_disk *headerd,
			   enum vmfs_resource_type type,
			   const struct vmfs_descriptor_disk *fsd, struct verify *ret_why)
	__attribute__((warn_unused_result));
/* Metadata sector of cluster `number` with `total` items: FORMAT.md 6.2. */
int verify_cluster(const struct vmfs_cluster_disk *clusterd, uint32_t number,
		   uint32_t total, struct verify *ret_why)
	__attribute__((warn_unused_result));
/*
 * The same for VMFS-6: FORMAT.md 20.3, 20.4. The first two 0, VERIFY_ODD (of the
 * descriptor: what is not set is as ever), -EUCLEAN.
 */
int verify_descriptor6(const struct vmfs6_descriptor_disk *d6, struct verify *ret_why)
	__attribute__((warn_unused_result));
int verify_resource_header6(const struct vmfs6_resource_header_disk *headerd,
			    enum vmfs_resource_type type, struct verify *ret_why)
	__attribute__((warn_unused_result));
int verify_cluster6(const struct vmfs6_cluster_disk *clusterd, uint32_t number,
		    uint32_t total, struct verify *ret_why)
	__attribute__((warn_unused_result));
/*
 * An FD in use (links > 0) at this address: type, sizes, counts, and the kind of every
 * address in it: FORMAT.md 8. A free one fails. 0, VERIFY_ODD, -EUCLEAN.
 */
int verify_fd(const struct fd_body_disk *fdd, vmfs_addr addr,
	      const struct vmfs_shape *shape, uint32_t fs_block_size,
	      uint32_t sub_block_size, struct verify *ret_why)
	__attribute__((warn_unused_result));
/* An entry of a directory that is no hole: FORMAT.md 13. */
int verify_dirent(const struct vmfs_dirent_disk *entryd, struct verify *ret_why)
	__attribute__((warn_unused_result));

#endif
