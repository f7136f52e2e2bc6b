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
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "base/uuid.h"
#include "bdev/bdev.h"
#include "vmfs/addr.h"
#include "vmfs/format.h"
#include "vmfs/format6.h"
#include "vmfs/shape.h"

/* Why something cannot be used: one clause, "" if nothing was said. */
struct fsck_why {
	char text[192];
};

enum fsck_resource_index {
	FSCK_FBB, /* VMFS-6: its small blocks */
	FSCK_FDC,
	FSCK_PBC,
	FSCK_SBC,
	FSCK_PB2,
	FSCK_JBC, /* VMFS-6 */
	FSCK_LFB, /* VMFS-6: the large blocks of .fbb.sf, each a cluster of small ones */
	FSCK_RESOURCE_COUNT,
};

/* A resource file, or a system file on the way to become one. */
struct fsck_resource {
	const char *name; /* ".fbb.sf" */
	uint32_t lock_type;
	enum vmfs_addr_type addr_type;
	bool is_usable; /* blocks and geometry below are set */
	bool is_damaged; /* it should be there, but cannot be used */
	vmfs_addr fd_addr;
	uint64_t length_bytes;
	uint32_t *blocks; /* FB number of each block; 0 = hole */
	uint32_t block_count;
	struct vmfs6_resource_header_disk header; /* as on disk; VMFS-5 has less of it */
	uint32_t per_cluster, clusters_per_group, resource_size;
	uint64_t group_size;
	uint32_t headers_off; /* of the cluster headers in their group */
	uint32_t header_size, meta_off, meta_size; /* of a cluster header */
	uint32_t state_bits; /* of a resource in the bitmap; bit 0: free */
	uint64_t count; /* resources */
	uint32_t cluster_count;
};

/* The maps lie so far behind an extension header, and behind the device metadata. */
#define FSCK_MAPS_BEHIND (LVM_PE_MAP_OFF - LVM_HEADER_OFF)
/* PEs that follow one another on a device: FORMAT.md 3.6. */
struct fsck_region {
	uint64_t map_off, data_off;
	uint32_t pe_count;
};

struct fsck_extent {
	struct bdev *bd; /* borrowed */
	struct vmfs_lvm_device_disk device;
	struct vmfs_lvm_volume_disk volume;
	uint64_t vol_off, size_bytes;
	struct fsck_region regions[LVM_REGIONS_MAX];
	unsigned int region_count;
	struct fsck_why regions_why; /* what is wrong with those behind the first */
};

struct fsck_volume;

/* Stands between who reads and the device: look.c. */
struct fsck_lens {
	int (*read)(struct fsck_lens *lens, const struct fsck_volume *v, uint64_t vol_off,
		    void *buf, uint64_t len);
};

struct fsck_volume {
	struct fsck_lens *lens; /* NULL: none */
	struct fsck_extent extents[LVM_EXTENTS_MAX]; /* in volume order */
	unsigned int extent_count;
	uint64_t size_bytes; /* what the extents hold together */
	struct vmfs_descriptor_disk descriptor;
	struct vmfs6_descriptor_disk descriptor6;
	uint32_t major; /* VMFS_MAJOR_3, _5 or _6 */
	const struct vmfs_shape *shape;
	uint32_t block_size, block_shift, sub_block_size, sub_block_shift;
	uint64_t block_count; /* FBs in size_bytes */
	/*
	 * NULL but for a rescue: the header of resource file i is not usable, its blocks
	 * are. Fills the header by other means; false: it cannot.
	 */
	bool (*guess)(struct fsck_volume *v, enum fsck_resource_index i);
	struct fsck_resource resources[FSCK_RESOURCE_COUNT];
};

/* A file descriptor: its lock, and the body as long as the version has it. */
struct fsck_file {
	struct vmfs_lock_disk lock;
	union {
		struct vmfs_fd_meta_disk meta;
		struct vmfs6_fd_body_disk body; /* slots: fsck_slot() */
	};
};

/*
 * Joins the devices, in any order. -EMEDIUMTYPE (a device is not VMFS), -EOPNOTSUPP
 * (another LVM), -ENODEV (an extent is missing), -EINVAL (they do not belong together):
 * reported. Blocks.
 */
int fsck_volume_join(struct fsck_volume *v, struct bdev **devices, unsigned int count,
		     struct reporter *r) __attribute__((warn_unused_result));
/* Reads the FS descriptor and takes the sizes from it. */
int fsck_volume_descriptor(struct fsck_volume *v, struct fsck_why *ret_why)
	__attribute__((warn_unused_result));
/* The same from the bytes of v->descriptor, wherever they are from. */
int fsck_volume_sizes(struct fsck_volume *v, struct fsck_why *ret_why)
	__attribute__((warn_unused_result));
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

/* LVM 6, whose PE table has entries of any length. */
bool fsck_extent_is_6(const struct fsck_extent *e);
/* PEs of 256 MiB on the device. */
uint32_t fsck_extent_pes(const struct fsck_extent *e);
/*
 * Where a range of the volume begins, and how much of it follows there. -EINVAL: outside
 * of it, or in no region.
 */
int fsck_place(const struct fsck_volume *v, uint64_t vol_off,
	       const struct fsck_extent **ret_extent, uint64_t *ret_dev_off,
	       uint64_t *ret_len) __attribute__((warn_unused_result));
/* Any range of the volume, through the lens; past it. -EINVAL outside of it. */
int fsck_read(const struct fsck_volume *v, uint64_t vol_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
int fsck_read_past(const struct fsck_volume *v, uint64_t vol_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/* A heartbeat slot. */
int fsck_slot_read(const struct fsck_volume *v, uint32_t slot,
		   struct vmfs_heartbeat_disk *ret_hb)
	__attribute__((warn_unused_result));
/* The slot with this vol offset; false: it is none. */
bool fsck_slot_of(const struct fsck_volume *v, uint64_t vol_off, uint32_t *ret_slot);
/* The size of one resource that a type must have; 0 where the volume itself is the data.
 */
uint32_t fsck_resource_size(const struct fsck_volume *v, const struct fsck_resource *res);
/* A range of a resource file. -EUCLEAN in a hole or past its blocks. */
int fsck_resource_read(const struct fsck_volume *v, const struct fsck_resource *res,
		       uint64_t file_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
int fsck_resource_vol_off(const struct fsck_volume *v, const struct fsck_resource *res,
			  uint64_t file_off, uint64_t *ret_vol_off)
	__attribute__((warn_unused_result));
/* File offset of a cluster header, and of one resource: FORMAT.md 6.3, 20.4. */
uint64_t fsck_cluster_off(const struct fsck_resource *res, uint32_t cluster);
uint64_t fsck_item_off(const struct fsck_resource *res, uint32_t cluster, uint32_t index);
/* The end of what its resources need of the file; there is at least one cluster. */
uint64_t fsck_resource_end(const struct fsck_resource *res);
/* Resources in one cluster. */
uint32_t fsck_cluster_total(const struct fsck_resource *res, uint32_t cluster);

/*
 * Has this cluster a header of its own? Not that of the small blocks of a large one that
 * is not divided (VMFS-6).
 */
int fsck_is_divided(const struct fsck_volume *v, const struct fsck_resource *res,
		    uint32_t cluster, bool *ret_is) __attribute__((warn_unused_result));

/* What all versions have of a cluster header, and the bytes that it was taken from. */
struct fsck_cluster {
	uint64_t number;
	uint32_t total, free, hint, fd_generation;
	const uint8_t *states; /* in the meta page given */
	uint32_t states_size;
};

void fsck_cluster_take(const struct fsck_resource *res, const void *meta,
		       struct fsck_cluster *ret_cluster);
/* The other way: numbers and counts into the page; the states are there. */
void fsck_cluster_give(const struct fsck_resource *res,
		       const struct fsck_cluster *cluster, void *meta);
/* The meta page of a cluster, and what it says. */
struct fsck_cluster_page {
	uint8_t meta[VMFS6_PAGE]; /* as long as the version has it */
	struct fsck_cluster found;
};
int fsck_cluster_read(const struct fsck_volume *v, enum fsck_resource_index i, uint32_t c,
		      struct fsck_cluster_page *ret_page)
	__attribute__((warn_unused_result));
/* State of resource i: state_bits of the bitmap. Bit 0: free. */
static inline uint32_t fsck_state(const struct fsck_resource *res, const uint8_t *states,
				  uint32_t i)
{
	uint32_t bit = i * res->state_bits, shift = bit % 8;
	uint32_t state = (uint32_t)states[bit / 8] >> shift;
	if (shift + res->state_bits > 8)
		state |= (uint32_t)states[bit / 8 + 1] << (8 - shift);
	return state & ((1u << res->state_bits) - 1);
}

#define FSCK_STATE_FREE 1u
#define FSCK_STATE_CONVERTED 4u /* of an LFB: a cluster of SFBs */

/*
 * The number of the resource that addr names, counted from 0 over all clusters, and the
 * file that manages it; false if there is no such resource.
 */
bool fsck_addr_number(const struct fsck_volume *v, vmfs_addr addr,
		      enum fsck_resource_index *ret_i, uint64_t *ret_number);
/* The address of a resource, by its number. */
vmfs_addr fsck_addr_of(const struct fsck_volume *v, enum fsck_resource_index i,
		       uint64_t number);
/* Where the resource lies and how long it is. -EUCLEAN if there is no such resource. */
int fsck_addr_vol_off(const struct fsck_volume *v, vmfs_addr addr, uint64_t *ret_vol_off,
		      uint64_t *ret_size) __attribute__((warn_unused_result));
/* Bytes of a resource; a sub-block may lie in two blocks of .sbc.sf. */
int fsck_addr_read(const struct fsck_volume *v, vmfs_addr addr, uint64_t off, void *buf,
		   uint64_t len) __attribute__((warn_unused_result));
/* "FB 13 to be zeroed", "SB 4/0", "none" into buf; returns buf. */
const char *fsck_addr_text(vmfs_addr addr, char buf[static 48]);

/* ---- files ---- */

int fsck_fd_read(const struct fsck_volume *v, vmfs_addr addr, struct fsck_file *ret_file)
	__attribute__((warn_unused_result));
/* Takes one out of shape->fd_size bytes as they lie on disk. */
void fsck_fd_take(const struct fsck_volume *v, const void *disk,
		  struct fsck_file *ret_file);
/* Slot i of the addresses. */
vmfs_addr fsck_slot(const struct fsck_volume *v, const struct fsck_file *file,
		    uint32_t i);
/* Can pointer blocks of a file with this zla have this address? */
bool fsck_is_pointer(const struct fsck_volume *v, uint32_t zla, vmfs_addr addr);
/* Address of the data block with this number in a file; none for holes. */
int fsck_file_block(const struct fsck_volume *v, const struct fsck_file *file,
		    uint64_t number, vmfs_addr *ret_addr)
	__attribute__((warn_unused_result));
/* Bytes of a file, holes and to-be-zeroed blocks as zeros, whatever its length is. */
int fsck_file_read(const struct fsck_volume *v, const struct fsck_file *file,
		   uint64_t off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/* Bytes in one block of a file that its zla and the volume agree on; 0 if the zla is
 * unknown. */
uint32_t fsck_file_block_size(const struct fsck_volume *v, const struct fsck_file *file);
/* Most data blocks that a zla can reach. */
uint64_t fsck_zla_blocks_max(const struct fsck_volume *v, uint32_t zla);
/* true if the FD holds directory entries: a directory, .sdd.sf, .dfd.sf. */
bool fsck_is_directory(const struct fsck_volume *v, const struct fsck_file *file);

/* ---- directories: readdir.c ---- */

/* An entry of either form. */
struct fsck_entry {
	uint64_t off; /* in the directory file */
	uint32_t type, generation;
	vmfs_addr addr;
	char name[257]; /* not checked in any way */
};

/*
 * Calls fn for each entry that is no hole, "." and ".." too, until it returns other than
 * 0, which is returned then. -EUCLEAN: it cannot be read as a directory. Blocks.
 */
int fsck_dir_each(const struct fsck_volume *v, const struct fsck_file *dir,
		  int (*fn)(void *arg, const struct fsck_entry *e), void *arg)
	__attribute__((warn_unused_result));

#endif
