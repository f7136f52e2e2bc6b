/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_SPARSEFORMAT_H
#define VDISK_SPARSEFORMAT_H

/*
 * Hosted sparse extents on disk (VMware, Virtual Disk Format 5.0): header, the directory
 * that points to tables, the tables that point to grains, all in sectors of 512 bytes;
 * and the markers between the parts of a stream-optimized extent.
 */
#include "base/endian.h"

#define SPARSE_MAGIC 0x564d444bu /* "KDMV" */
#define SPARSE_ENTRIES 512u	 /* of a grain table */
#define SPARSE_TABLE_SECTORS 4u
#define SPARSE_GD_AT_END UINT64_MAX /* a stream's header: see the footer */

enum sparse_flags {
	SPARSE_NEWLINES = 1u << 0,   /* the four newline bytes are to be checked */
	SPARSE_REDUNDANT = 1u << 1,  /* rgd_offset is valid */
	SPARSE_ZERO_GRAIN = 1u << 2, /* entry 1 means zeros */
	SPARSE_COMPRESSED = 1u << 16,
	SPARSE_MARKERS = 1u << 17,
};

enum sparse_entry { SPARSE_ABSENT = 0, SPARSE_ZERO = 1 };

#define SPARSE_DEFLATE 1u /* compression */

struct sparse_header_disk {
	le32 magic;		 /* 0x00 */
	le32 version;		 /* 0x04 1; 2 with zero grains; 3 of streams */
	le32 flags;		 /* 0x08 enum sparse_flags */
	le64 capacity;		 /* 0x0c sectors */
	le64 grain_sectors;	 /* 0x14 a power of two */
	le64 descriptor_offset;	 /* 0x1c 0: in a file of its own */
	le64 descriptor_sectors; /* 0x24 */
	le32 table_entries;	 /* 0x2c 512 */
	le64 rgd_offset;	 /* 0x30 the redundant directory */
	le64 gd_offset;		 /* 0x38 */
	le64 overhead;		 /* 0x40 sectors before the first grain */
	uint8_t is_unclean;	 /* 0x48 */
	uint8_t newlines[4];	 /* 0x49 "\n \r\n" */
	le16 compression;	 /* 0x4d */
	uint8_t unused[433];	 /* 0x4f */
};
ONDISK_AT(struct sparse_header_disk, capacity, 0x0c);
ONDISK_AT(struct sparse_header_disk, table_entries, 0x2c);
ONDISK_AT(struct sparse_header_disk, is_unclean, 0x48);
ONDISK_AT(struct sparse_header_disk, compression, 0x4d);
ONDISK_SIZE(struct sparse_header_disk, 512);

enum sparse_marker_type { MARKER_END = 0, MARKER_TABLE = 1, MARKER_DIRECTORY = 2,
			  MARKER_FOOTER = 3 };

/* In front of a table, a directory, the footer, and at the end: a sector. */
struct sparse_marker_disk {
	le64 sectors;	     /* 0x00 of what follows */
	le32 size;	     /* 0x08 0: not a grain */
	le32 type;	     /* 0x0c enum sparse_marker_type */
	uint8_t unused[496]; /* 0x10 */
};
ONDISK_SIZE(struct sparse_marker_disk, 512);

/* In front of a compressed grain, whose bytes follow at once. */
struct sparse_grain_disk {
	le64 sector; /* 0x00 of the disk */
	le32 size;   /* 0x08 compressed bytes */
};
ONDISK_SIZE(struct sparse_grain_disk, 12);

#endif
