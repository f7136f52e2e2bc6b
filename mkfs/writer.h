/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MKFS_WRITER_H
#define MKFS_WRITER_H

/*
 * The parts of a volume being written, for write.c, which knows their order. None of them
 * reports: what went wrong is in the joiner.
 */
#include "mkfs/joiner.h"
#include "mkfs/layout.h"
#include "mkfs/write.h"

struct mkfs {
	struct bdev *const *devices; /* of the extents */
	const struct mkfs_layout *layout;
	const struct mkfs_options *options;
	struct joiner out;
	uint64_t mtime; /* of the next lock written */
};

struct mkfs_system_fd {
	uint32_t type, mode, links;
};

/* write.c: for both versions */
void mkfs_put(struct mkfs *m, uint64_t vol_off, const void *data, uint64_t len);
/* A free lock of this object, with the next mtime: FORMAT.md 7. */
struct vmfs_lock_disk mkfs_lock_make(struct mkfs *m, uint32_t type, uint64_t vol_off);
/* What format makes of the FD of a system file: FORMAT.md 8.5. */
struct mkfs_system_fd mkfs_system_fd(uint32_t fd);
/* What the headers of resource files have in both: FORMAT.md 6.1. */
struct vmfs_resource_geometry_disk mkfs_geometry_make(const struct mkfs_resource *res);
/* The metadata of a system FD, without what only one version has. */
struct vmfs_fd_meta_disk mkfs_fd_meta_make(struct mkfs *m, uint32_t fd);
/* The FS descriptor, likewise. */
struct vmfs_descriptor_disk mkfs_descriptor_make(struct mkfs *m);

/* volume5.c, volume6.c: all metadata but the FS descriptor; the FS descriptor. */
void mkfs_put_volume5(struct mkfs *m);
void mkfs_put_descriptor5(struct mkfs *m);
void mkfs_put_volume6(struct mkfs *m);
void mkfs_put_descriptor6(struct mkfs *m);

/*
 * lvm.c, of one extent: volume descriptor, names and PE table; the device metadata with
 * its magic.
 */
void mkfs_put_lvm_volume(struct mkfs *m, uint32_t extent);
void mkfs_put_lvm_device(struct mkfs *m, uint32_t extent);

#endif
