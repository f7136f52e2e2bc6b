/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MKFS_WRITE_H
#define MKFS_WRITE_H

/*
 * Writes a fresh volume. What varies between two volumes of one size (names, UUIDs,
 * times) comes in as options, so that a volume can be made again byte for byte.
 */
#include "base/report.h"
#include "base/uuid.h"
#include "bdev/bdev.h"
#include "mkfs/layout.h"

/* What is told of the device of an extent. */
struct mkfs_part {
	char name[LVM_NAME_SIZE];      /* informative: "naa.6001...:1" */
	struct bdev_identity identity; /* of the disk, for the LVM header */
	struct uuid uuid;
};

struct mkfs_options {
	char label[VMFS_LABEL_SIZE]; /* NUL-padded UTF-8 */
	struct mkfs_part first;
	const struct mkfs_part *later; /* of extents 1, 2, ...; NULL: there are none */
	struct uuid lv_uuid, fs_uuid, formatter;
	uint64_t device_created_us, device_modified_us; /* since 1970 */
	uint64_t volume_created_us, volume_modified_us;
	uint32_t created_s;
	uint64_t first_mtime; /* of the lock written first: 512 as ESXi has it */
};

/* A new UUID, and what bd knows of itself. */
void mkfs_part_init(struct mkfs_part *part, const struct bdev *bd);
/* Fills all but the label, for one extent: new UUIDs, now. */
void mkfs_options_init(struct mkfs_options *options, const struct bdev *bd);

/*
 * Destroys whatever the devices hold, one for each extent of the layout, and writes the
 * volume; on stable storage when it returns 0. Interrupted at any point, they hold
 * nothing that any reader takes for a volume. Reports; 0 or -errno. Blocks.
 */
int mkfs_write_devices(struct bdev *const *devices, const struct mkfs_layout *layout,
		       const struct mkfs_options *options, struct reporter *r)
	__attribute__((warn_unused_result));
/* The same for a layout of one extent. */
int mkfs_write(struct bdev *bd, const struct mkfs_layout *layout,
	       const struct mkfs_options *options, struct reporter *r)
	__attribute__((warn_unused_result));

#endif
