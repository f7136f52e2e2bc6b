/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_FORMAT6_H
#define VMFS_FORMAT6_H

/*
 * What is different in VMFS-6, in disk order (FORMAT.md 20). The unit of metadata is a
 * page of 4096 bytes: every lock, cluster header, file descriptor and heartbeat slot
 * begins one. Fields whose meaning nobody outside VMware has published are named
 * unknownXX after their offset, and kept as found.
 */
#include "vmfs/format.h"

#define VMFS6_PAGE 4096u
#define VMFS6_MINOR 82u

/* ---- LVM 6: FORMAT.md 20.2 ---- */

#define LVM6_MAJOR 6u
#define LVM6_VOLUME_OFF 0x101000ull	/* dev offset of the one volume descriptor */
#define LVM6_NAMES_OFF 0x17f000ull
#define LVM6_PE_BITMAP_OFF 0x181000ull
#define LVM6_PE_TABLE_OFF 0x182000ull
#define LVM6_PE_LENGTH_MAX (1ull << 44) /* of one entry: 16 TiB */
#define LVM6_PES_MAX 8192u		/* entries in the table */

/* ---- the volume ---- */

#define VMFS6_HEARTBEATS_COUNT 1024u /* one to a page, from VMFS_HEARTBEATS_OFF on */
#define VMFS6_FDC_OFF 0x700000ull    /* first block of .fdc.sf */
#define VMFS6_BLOCK_SIZE 0x100000u   /* SFB */
#define VMFS6_SFB_PER_LFB 512u	     /* LFB: 512 MiB, the blocks of one SFB cluster */
#define VMFS6_SUB_BLOCK_SIZE 0x10000u
#define VMFS6_JOURNAL_SIZE 0x200000u

/* FS descriptor behind what VMFS-5 has of it. */
struct vmfs6_descriptor_disk {
	struct vmfs_checksum_disk {
		le64 value, generation;
	} checksum;		/* 0x120 */
	le32 physical_block_size; /* 0x130 */
	le32 metadata_align;	/* 0x134  the page */
	le16 lfb_shift;		/* 0x138  9 */
	le32 unknown13a;
	le16 pb_shift;		/* 0x13e  16 */
	le16 sfb_bits;		/* 0x140  44 */
	le16 unknown142;
	le32 tbz_granularity;	/* 0x144  0x100000 */
	le32 journal_block_size; /* 0x148  0x200000 */
	le32 lease_ms;		/* 0x14c  16,000 */
	le32 reclaim_ms;	/* 0x150  4,000 */
	uint8_t pad154[0x200 - 0x154];
};
#define VMFS6_DESCRIPTOR_AT 0x120u
ONDISK_AT(struct vmfs6_descriptor_disk, metadata_align, 0x134 - VMFS6_DESCRIPTOR_AT);
ONDISK_AT(struct vmfs6_descriptor_disk, pb_shift, 0x13e - VMFS6_DESCRIPTOR_AT);
ONDISK_AT(struct vmfs6_descriptor_disk, lease_ms, 0x14c - VMFS6_DESCRIPTOR_AT);
ONDISK_SIZE(struct vmfs6_descriptor_disk, 0x200 - VMFS6_DESCRIPTOR_AT);

/*
 * Ours, in the page of the FS descriptor, which is else zero: the volume was made here.
 */
#define VMFS6_MAKER_OFF (VMFS_DESCRIPTOR_OFF + 0xe00)
#define VMFS6_MAKER_MAGIC "OpenVMFS made it"
struct vmfs6_maker_disk {
	uint8_t magic[16];	/* 0x00 */
	le32 version;		/* 0x10  1 */
	le32 crc;		/* 0x14  CRC32C of what is before */
	uint8_t pad18[0x200 - 0x18];
};
ONDISK_SIZE(struct vmfs6_maker_disk, 512);

/* ---- resource files: FORMAT.md 20.4 ---- */

#define VMFS6_HEADER_SIGNATURE 0x72666D64u
#define VMFS6_CLUSTER_SIGNATURE 0x72636D64u
#define VMFS6_CLUSTER_HEADER_SIZE (2 * VMFS6_PAGE) /* lock page, meta page */
#define VMFS6_SFB_HEADER_OFF 0x1000u		   /* of the child in .fbb.sf */
#define VMFS_LOCK_JBC 0x10C00007u
#define VMFS_LOCK_LFB 0x10C00008u

struct vmfs6_resource_header_disk {
	struct vmfs_resource_geometry_disk geometry;
	le32 signature;		/* 0x20 */
	le32 version;		/* 0x24  1 */
	le32 flags;		/* 0x28 */
	le16 owners_per_cluster; /* 0x2c */
	le16 owners_per_resource; /* 0x2e */
	le32 bits_per_resource;	/* 0x30 */
	le32 child_off;		/* 0x34 */
	le32 parent_per_cluster; /* 0x38 */
	le32 parent_clusters_per_group; /* 0x3c */
	le32 parent_group_size;	/* 0x40 */
	uint8_t unknown44[16];
	le32 converted;		/* 0x54  LFBs that are SFB clusters */
	uint8_t pad58[0x200 - 0x58];
};
ONDISK_AT(struct vmfs6_resource_header_disk, flags, 0x28);
ONDISK_AT(struct vmfs6_resource_header_disk, parent_group_size, 0x40);
ONDISK_AT(struct vmfs6_resource_header_disk, converted, 0x54);
ONDISK_SIZE(struct vmfs6_resource_header_disk, 512);
/* As they are on all volumes that were seen. */
#define VMFS6_RESOURCE_FLAGS 4u /* of .jbc.sf: 0 */
#define VMFS6_LFB_FLAGS 0x35u
#define VMFS6_SFB_FLAGS 0x2au
#define VMFS6_LFB_OWNERS_DECLARED 0x348u /* per cluster */

/* Meta page of a cluster header: states at 0x80, owners at the end of the page. */
struct vmfs6_cluster_disk {
	struct vmfs_checksum_disk checksum; /* 0x00 */
	le32 signature;		/* 0x10 */
	le32 priority;		/* 0x14 */
	le64 number;		/* 0x18 */
	le16 total;		/* 0x20 */
	le16 free;		/* 0x22 */
	le16 unknown24;
	le16 owner_count;	/* 0x26 */
	le16 unknown28;
	le16 unknown2a;
	le32 unknown2c;
	le64 unknown30;		/* 1 in all that were seen */
	uint8_t pad38[0x58 - 0x38];
	le32 changes;		/* 0x58 */
	uint8_t mac[6];		/* 0x5c  of the host that changed it last */
	le32 changed_s;		/* 0x62 */
	uint8_t pad66[2];
	le32 fd_generation;	/* 0x68  .fdc.sf */
	uint8_t pad6c[0x7c - 0x6c];
	le32 hint;		/* 0x7c */
	uint8_t states[VMFS6_PAGE - 0x80]; /* 0x80 */
};
ONDISK_AT(struct vmfs6_cluster_disk, number, 0x18);
ONDISK_AT(struct vmfs6_cluster_disk, changes, 0x58);
ONDISK_AT(struct vmfs6_cluster_disk, fd_generation, 0x68);
ONDISK_AT(struct vmfs6_cluster_disk, states, 0x80);
ONDISK_SIZE(struct vmfs6_cluster_disk, VMFS6_PAGE);

/* An entry of the owner list of an SFB cluster; entry 0 is null. */
struct vmfs6_owner_disk {
	le32 fd;
	le32 count;
};
#define VMFS6_SFB_OWNERS_OFF 0x940u /* in the meta page */
#define VMFS6_SFB_OWNERS_MAX 216u

/* Clusters of large blocks: 16 to a cluster, 3 bits of state each. */
#define VMFS6_LFB_PER_CLUSTER 16u
#define VMFS6_LFB_CLUSTERS_PER_GROUP 8u
#define VMFS6_LFB_PER_GROUP (VMFS6_LFB_PER_CLUSTER * VMFS6_LFB_CLUSTERS_PER_GROUP)
#define VMFS6_LFB_HEADERS_SIZE (VMFS6_LFB_CLUSTERS_PER_GROUP * VMFS6_CLUSTER_HEADER_SIZE)
#define VMFS6_LFB_GROUP_SIZE                                                             \
	(VMFS6_LFB_HEADERS_SIZE + VMFS6_LFB_PER_GROUP * VMFS6_CLUSTER_HEADER_SIZE)
#define VMFS6_LFB_BITS 3u
#define VMFS6_LFB_FREE 1u
#define VMFS6_LFB_DIVIDED 4u	   /* made a cluster of small blocks */
#define VMFS6_LFB_WORDS_OFF 0xe0u  /* in the meta page: u64 each, 0xff where divided */
#define VMFS6_LFB_OWNERS_OFF 0x2e0u /* u32; */
#define VMFS6_LFB_OWNERS 0x34u	   /* so many for each; 0 where divided */
#define VMFS6_LFB_UNKNOWN2A 7u
#define VMFS6_SFB_UNKNOWN2A 0x100u

/* ---- file descriptors: FORMAT.md 20.5 ---- */

#define VMFS6_FD_SIZE (2 * VMFS6_PAGE) /* lock page, meta page */
#define VMFS6_FD_SIGNATURE 0x66646D64u
#define VMFS6_FD_SLOTS 320u
#define VMFS6_RESIDENT_MAX 3584u
#define VMFS6_PB_ENTRIES 8192u
#define VMFS6_FILE_BLOCKS_MAX (1ull << 26) /* 64 TiB */
#define VMFS6_PB_SIZE 0x10000u

/* FD 8 of cluster 0 behind those of VMFS-5; 9 and 10 exist on some volumes. */
#define VMFS6_FD_JBC 8u
#define VMFS6_FD_DFD 10u
#define VMFS6_FD_SYSTEM_COUNT 9u

/* Page 1 of an FD. The fields of meta are those of VMFS-5; 0x74 to 0x8f are new. */
struct vmfs6_fd_body_disk {
	struct vmfs_fd_meta_disk meta; /* 0x000 */
	union {
		struct vmfs_disk_identity_disk rdm; /* 0x200 */
		uint8_t resident[VMFS6_RESIDENT_MAX]; /* 0x200 */
		struct {
			uint8_t unknown200[0x400];
			le64 slots[VMFS6_FD_SLOTS]; /* 0x600 */
		};
	} u;
};
ONDISK_AT(struct vmfs6_fd_body_disk, u.slots, 0x600);
ONDISK_SIZE(struct vmfs6_fd_body_disk, VMFS6_PAGE);

/* ---- directories: FORMAT.md 20.6 ---- */

#define VMFS6_DIR_HEADER_SIZE 0x10000u
#define VMFS6_DIR_VERSION 0x00F50001u
#define VMFS6_DIR_VERSION_DEBUG 0x00FDC001u
#define VMFS6_DIR_HASHES 16001u
#define VMFS6_DIR_ROOT_HASHES 15973u /* of the root; its system files lie behind */
#define VMFS6_DIR_ROOT_SYSTEM 15974u
#define VMFS6_DIR_SLOTS 14u /* entries in a block */
#define VMFS6_DIR_MAPS_MAX 128u
#define VMFS6_DIR_LINK_GROUPS 48u /* in a block */
#define VMFS6_DIR_LINKS 12u	  /* in a group */

struct vmfs6_dirent_disk {
	le32 type;		/* 0x00 */
	le32 addr;		/* 0x04 */
	le32 generation;	/* 0x08 */
	le32 hash;		/* 0x0c  low half of the name's */
	le64 file_off;		/* 0x10  own offset in the directory file */
	uint8_t name[256];	/* 0x18 */
	le64 unknown118;
};
ONDISK_SIZE(struct vmfs6_dirent_disk, 0x120);

struct vmfs6_dir_header_disk {
	le32 version;		/* 0x000 */
	le32 entry_count;	/* 0x004  with "." and ".." */
	le32 allocated;		/* 0x008 */
	le32 map_count;		/* 0x00c */
	le32 maps[VMFS6_DIR_MAPS_MAX]; /* 0x010 */
	uint8_t pad210[0x3a8 - 0x210];
	struct vmfs_checksum_disk checksum; /* 0x3a8 */
	struct vmfs6_dirent_disk dot, dotdot; /* 0x3b8, 0x4d8 */
	le32 table[VMFS6_DIR_HASHES]; /* 0x5f8  locations */
	uint8_t padfffc[4];
};
ONDISK_AT(struct vmfs6_dir_header_disk, dot, 0x3b8);
ONDISK_AT(struct vmfs6_dir_header_disk, table, 0x5f8);
ONDISK_SIZE(struct vmfs6_dir_header_disk, VMFS6_DIR_HEADER_SIZE);

enum vmfs6_dir_block_type {
	DIR6_ENTRIES = 1,
	DIR6_LINKS = 2,
	DIR6_MAP = 3,
};
/* A nibble of the map, the high one first: type, and these. */
#define DIR6_HAS_ROOM 4u
#define DIR6_UNWRITTEN 8u
#define DIR6_BLOCKS_PER_MAP (2 * (VMFS6_PAGE - 64))

struct vmfs6_dir_block_head_disk {
	le16 version;		/* 0x00  1; 0 of a map */
	le16 type;		/* 0x02 */
	le16 slots;		/* 0x04 */
	le16 free;		/* 0x06 */
	uint8_t bitmap[56];	/* 0x08  1 = free */
};
ONDISK_SIZE(struct vmfs6_dir_block_head_disk, 64);

struct vmfs6_dir_block_disk {
	struct vmfs6_dir_block_head_disk head;
	union {
		struct vmfs6_dirent_disk entries[VMFS6_DIR_SLOTS]; /* 0x40 */
		uint8_t map[VMFS6_PAGE - 64];
	} u;
};
/* Entries whose hashes have one index: links to them, the first ones in use. */
struct vmfs6_dir_links_disk {
	le16 index;		/* 0x00  in the table */
	uint8_t total;		/* 0x02  12 */
	uint8_t free;		/* 0x03 */
	uint8_t next_free;	/* 0x04 */
	uint8_t pad5;
	struct {
		le32 location;
		le16 hash;	/* bits 16..31 of the name's */
	} links[VMFS6_DIR_LINKS]; /* 0x06 */
	le32 next;		/* 0x4e  location of the next group, or 0 */
	uint8_t pad52[2];
};
ONDISK_AT(struct vmfs6_dir_links_disk, next, 0x4e);
ONDISK_SIZE(struct vmfs6_dir_links_disk, 0x54);
ONDISK_AT(struct vmfs6_dir_block_disk, u, 64);
ONDISK_SIZE(struct vmfs6_dir_block_disk, VMFS6_PAGE);

#endif
