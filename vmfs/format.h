/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_FORMAT_H
#define VMFS_FORMAT_H

/*
 * VMFS-3 and VMFS-5 on disk, in disk order (FORMAT.md). All integers little-endian, no
 * padding. Three address spaces: DEV offset (byte in the partition), VOL offset (byte in
 * the logical volume), FILE offset. Nothing but formats is in this file.
 */
#include "base/endian.h"

#define VMFS_SECTOR_SIZE 512u

/* ---- LVM: FORMAT.md 3 ---- */

#define LVM_MAGIC 0xC001D00Du
#define LVM3_MAJOR 3u /* VMFS-3, and VMFS-5 that was upgraded from it */
#define LVM4_MAJOR 4u /* never seen: read as those beside it */
#define LVM_HEADER_OFF 0x100000ull	/* dev offset of the device metadata */
#define LVM_VOLUME_OFF 0x100200ull	/* dev offset of the volume descriptor */
#define LVM_NAMES_OFF 0x17e200ull	/* dev offset of the device-name table */
#define LVM_NAME_SIZE 256u
#define LVM_NAMES_COUNT 32u
#define LVM_NAME_UUID_AT 240u		/* ours: device UUID of an added extent */
#define LVM_PE_MAP_OFF 0x180200ull	/* dev offset of PE bitmap and table, map 0 */
#define LVM_PE_BITMAP_SIZE 0x400u
#define LVM_PE_PER_MAP 8192u
#define LVM_PE_MAP_SIZE 0x100400ull	/* bitmap and table of one map */
#define LVM_MAPS_MAX 8u			/* in one metadata region: 16 TiB */
#define LVM_REGIONS_MAX 8u		/* that are looked at: 128 TiB */
#define LVM_DATA_OFF 0x1100000ull	/* dev offset of the first PE */
#define LVM_PE_SIZE 0x10000000ull	/* 256 MiB */
#define LVM_EXTENTS_MAX 32u

/*
 * The identity of a disk as ESXi compares it: FORMAT.md 3.2.1; also in RDM descriptors.
 */
struct vmfs_disk_identity_disk {
	uint8_t type;		/* 0x00  0 adapter path, 1 T10, 2 NAA/EUI binary */
	uint8_t len;		/* 0x01  valid bytes of id */
	le16 lun;		/* 0x02 */
	uint8_t device_type;	/* 0x04 */
	uint8_t scsi_level;	/* 0x05 */
	uint8_t vendor[8];	/* 0x06 */
	uint8_t model[16];	/* 0x0e */
	uint8_t revision[4];	/* 0x1e */
	uint8_t id[44];		/* 0x22 */
};
ONDISK_SIZE(struct vmfs_disk_identity_disk, 78);

/* Device metadata, dev 0x100000: FORMAT.md 3.2. */
struct vmfs_lvm_device_disk {
	le32 magic;		/* 0x00 */
	le32 major;		/* 0x04  3 or 5 */
	le32 minor;		/* 0x08  0x15 for LVM 5 */
	struct vmfs_disk_identity_disk identity; /* 0x0c */
	le32 block_size;	/* 0x5a  512 */
	le64 total_bytes;	/* 0x5e  partition size */
	le32 volume_count;	/* 0x66  1 */
	le32 pe_count;		/* 0x6a */
	le32 pe_last;		/* 0x6e */
	le64 generation;	/* 0x72  3 */
	le64 data_off;		/* 0x7a  dev offset of the first PE */
	uint8_t device_uuid[16]; /* 0x82 */
	le64 init_time_us;	/* 0x92 */
	le64 modified_time_us;	/* 0x9a */
	uint8_t locked_by[16];	/* 0xa2 */
	le64 locked_when_us;	/* 0xb2 */
	le32 unknown_ba;	/* 0xba */
	le32 pe_map_count;	/* 0xbe  0 on LVM 3: read as 1 */
	le64 extension_off;	/* 0xc2  devices over 16 TiB */
	le32 metadata_align;	/* 0xca  LVM 6 */
	le32 pe_count6;		/* 0xce  LVM 6 */
	le32 flags;		/* 0xd2 */
	uint8_t pad[0x200 - 0xd6];
};
ONDISK_AT(struct vmfs_lvm_device_disk, block_size, 0x5a);
ONDISK_AT(struct vmfs_lvm_device_disk, generation, 0x72);
ONDISK_AT(struct vmfs_lvm_device_disk, device_uuid, 0x82);
ONDISK_AT(struct vmfs_lvm_device_disk, pe_map_count, 0xbe);
ONDISK_AT(struct vmfs_lvm_device_disk, flags, 0xd2);
ONDISK_SIZE(struct vmfs_lvm_device_disk, 512);

/*
 * Where the PE maps go on of a device with more than LVM_MAPS_MAX: FORMAT.md 3.6. The
 * maps lie as far behind it as those of the device metadata behind those.
 */
struct vmfs_lvm_extension_disk {
	le32 magic;		/* 0x00  LVM_MAGIC */
	le32 map_count;		/* 0x04  of this one, at most LVM_MAPS_MAX */
	le64 data_off;		/* 0x08  dev offset of the first PE of its maps */
	le64 next_off;		/* 0x10  dev offset of the next one, or 0 */
};
ONDISK_SIZE(struct vmfs_lvm_extension_disk, 24);

/* Ours, on the first extent: what an unfinished resignature is to end with. */
#define RESIGNATURE_MAGIC 0x31475356u /* "VSG1" */

struct vmfs_resignature_disk {
	le32 magic;		/* 0x00 */
	uint8_t lv_uuid[16];	/* 0x04  the new ones */
	uint8_t fs_uuid[16];	/* 0x14 */
	uint8_t former_fs_uuid[16]; /* 0x24 */
	le32 label_number;	/* 0x34  of "snap-XXXXXXXX-" */
	uint8_t disk_type;	/* 0x38  of the disk that it is made for */
	uint8_t disk_len;	/* 0x39 */
	uint8_t disk_id[44];	/* 0x3a */
	le32 crc;		/* 0x66  CRC32C of 0x00..0x65 */
	uint8_t pad[0x80 - 0x6a];
};
ONDISK_AT(struct vmfs_resignature_disk, crc, 0x66);
ONDISK_SIZE(struct vmfs_resignature_disk, 128);

#define LVM_STATE_NORMAL 1u
#define LVM_STATE_RESIGNING 2u
#define LVM_STATE_RESIGNED 3u /* another system's: read, not written */

/* Volume descriptor, dev 0x100200: FORMAT.md 3.3. */
struct vmfs_lvm_volume_disk {
	le64 size;		/* 0x00  bytes, all extents */
	le64 generation;	/* 0x08  PEs + extents */
	le32 state;		/* 0x10  1 = normal */
	uint8_t name[64];	/* 0x14  volume UUID as text */
	uint8_t uuid[16];	/* 0x54  LV UUID */
	le32 snapshot_id;	/* 0x64  1 */
	le64 created_us;	/* 0x68 */
	le32 index;		/* 0x70  0 */
	le32 pe_count;		/* 0x74  on this device */
	le64 pe_first;		/* 0x78  global numbers */
	le64 pe_last;		/* 0x80  inclusive */
	le64 modified_us;	/* 0x88 */
	le32 extent_count;	/* 0x90 */
	uint8_t pad94[124];
	le32 consumed_pes;	/* 0x110 */
	uint8_t pad114[0x180 - 0x114];
	struct vmfs_resignature_disk resignature; /* 0x180  state 2 */
};
ONDISK_AT(struct vmfs_lvm_volume_disk, uuid, 0x54);
ONDISK_AT(struct vmfs_lvm_volume_disk, pe_first, 0x78);
ONDISK_AT(struct vmfs_lvm_volume_disk, consumed_pes, 0x110);
ONDISK_AT(struct vmfs_lvm_volume_disk, resignature, 0x180);
ONDISK_SIZE(struct vmfs_lvm_volume_disk, 512);

/* PE table entry: FORMAT.md 3.5. */
struct vmfs_lvm_pe_disk {
	uint8_t used;		/* 0x00 */
	le32 number;		/* 0x01  on this device */
	le32 volume_index;	/* 0x05 */
	le64 dev_off;		/* 0x09 */
	le64 vol_off;		/* 0x11 */
	le64 length;		/* 0x19 */
	le32 version;		/* 0x21  1 */
	uint8_t pad[128 - 0x25];
};
ONDISK_AT(struct vmfs_lvm_pe_disk, version, 0x21);
ONDISK_SIZE(struct vmfs_lvm_pe_disk, 128);

/* ---- the volume: FORMAT.md 4, 5 ---- */

#define VMFS_MAGIC 0x2FABF15Eu
#define VMFSL_MAGIC 0x2FABF15Fu
#define VMFS6_MAGIC 0x2FABF160u	/* named by ESXi, on no volume that was seen */
#define VMFS6L_MAGIC 0x2FABF161u
#define VMFS_DESCRIPTOR_OFF 0x200000ull
#define VMFS_HEARTBEATS_OFF 0x300000ull
#define VMFS_HEARTBEATS_COUNT 2048u
#define VMFS_FDC_OFF 0x400000ull /* first block of .fdc.sf: max(1, this / bs) * bs */
#define VMFS_LABEL_SIZE 128u
#define VMFS_FB_MAX (1u << 26)	 /* file blocks of a volume: 64 TiB of 1 MiB */
#define VMFS_MAJOR_3 4u
#define VMFS_MAJOR_5 14u
#define VMFS_MAJOR_6 24u
#define VMFS_MINOR_5 81u

#define VMFS_CONFIG_ACCESS_MASK 0x3u
#define VMFS_CONFIG_PUBLIC 0x2u
#define VMFS_CONFIG_DENSE_SBC 0x4u

/* FS descriptor, vol 0x200000: FORMAT.md 5. */
struct vmfs_descriptor_disk {
	le32 magic;		/* 0x00 */
	le32 major;		/* 0x04 */
	uint8_t minor;		/* 0x08 */
	uint8_t uuid[16];	/* 0x09 */
	le32 config;		/* 0x19 */
	uint8_t label[128];	/* 0x1d */
	le32 disk_block_size;	/* 0x9d  512 */
	le64 block_size;	/* 0xa1  file block */
	le32 created_s;		/* 0xa9 */
	le32 snapshot_id;	/* 0xad  1 */
	uint8_t lv_uuid[16];	/* 0xb1 */
	le32 lv_snapshot_id;	/* 0xc1  1 */
	uint8_t padc5[12];
	le32 fdc_group_off;	/* 0xd1  0x10000 */
	le32 fdc_clusters_per_group; /* 0xd5 */
	le32 sub_block_size;	/* 0xd9 */
	le32 max_journal_slots;	/* 0xdd  8 */
	le64 pb2_fd_off;	/* 0xe1  vol offset of the FD of .pb2.sf */
	le32 pb2_fd_addr;	/* 0xe9 */
	uint8_t formatter[16];	/* 0xed  host UUID */
	le64 global_generation;	/* 0xfd */
	le64 sdd_fd_off;	/* 0x105 */
	le32 sdd_fd_addr;	/* 0x10d */
	uint8_t checksum_type;	/* 0x111  0 */
	uint8_t pad112[0x200 - 0x112];
};
ONDISK_AT(struct vmfs_descriptor_disk, label, 0x1d);
ONDISK_AT(struct vmfs_descriptor_disk, lv_uuid, 0xb1);
ONDISK_AT(struct vmfs_descriptor_disk, fdc_group_off, 0xd1);
ONDISK_AT(struct vmfs_descriptor_disk, pb2_fd_off, 0xe1);
ONDISK_AT(struct vmfs_descriptor_disk, global_generation, 0xfd);
ONDISK_AT(struct vmfs_descriptor_disk, checksum_type, 0x111);
ONDISK_SIZE(struct vmfs_descriptor_disk, 512);

/* ---- heartbeats: FORMAT.md 9; the extension from 0xc0 is ours: LOCKING.md 3.1 ---- */

#define HEARTBEAT_FREE 0xABCDEF01u
#define HEARTBEAT_LIVE 0xABCDEF02u
#define HEARTBEAT_XMAGIC 0x56484231u
#define HEARTBEAT_WANT_COUNT 4u
#define HEARTBEAT_PATHS_MAX 8

struct vmfs_heartbeat_disk {
	le32 state;		/* 0x00 */
	le64 addr;		/* 0x04  own vol offset, also in free slots */
	le64 generation;	/* 0x0c */
	le64 stamp_us;		/* 0x14  uptime of the owner */
	uint8_t owner[16];	/* 0x1c */
	le32 journal_addr;	/* 0x2c  FB address, 0 = none */
	le32 drive_major;	/* 0x30  = FS major */
	uint8_t drive_minor;	/* 0x34  = FS minor */
	uint8_t lock_impl;	/* 0x35  3 */
	uint8_t ip[46];		/* 0x36  text; host name for humans */
	le64 journal_vol_off;	/* 0x64 */
	uint8_t replay_host[16]; /* 0x6c  owner of the slot that claimed this one */
	uint8_t unknown7c[24];
	le64 replay_hb;		/* 0x94 */
	le64 replay_hb_gen;	/* 0x9c */
	uint8_t pada4[0xc0 - 0xa4];
	le32 xmagic;		/* 0xc0 */
	le32 xcrc;		/* 0xc4  CRC32C of the sector with this field zero */
	le64 pr_key;		/* 0xc8 */
	uint8_t isid[6];	/* 0xd0 */
	le16 tpgt;		/* 0xd6 */
	uint8_t initiator[128];	/* 0xd8 */
	le32 lease_ms;		/* 0x158 */
	le32 dead_ms;		/* 0x15c */
	le64 want[HEARTBEAT_WANT_COUNT]; /* 0x160 */
	uint8_t storage_class;	/* 0x180  1 ATS, 2 file locks, 3 reservation bracket */
	/* 0x181  bit 0 pr, 1 guard, 2 watchdog, 3 liveness lock */
	uint8_t fence;
	uint8_t paths; /* 0x182  sessions to extent 0; 0, 1: one */
	uint8_t pad183;
	uint8_t machine[16];	/* 0x184  machine id: "slot last used by this machine" */
	uint8_t boot[16];	/* 0x194  boot id */
	le16 path_tpgts[HEARTBEAT_PATHS_MAX - 1]; /* 0x1a4  of paths 1, 2, ... */
	uint8_t pad1b2[0x200 - 0x1b2];
};
ONDISK_AT(struct vmfs_heartbeat_disk, owner, 0x1c);
ONDISK_AT(struct vmfs_heartbeat_disk, journal_vol_off, 0x64);
ONDISK_AT(struct vmfs_heartbeat_disk, replay_hb, 0x94);
ONDISK_AT(struct vmfs_heartbeat_disk, xmagic, 0xc0);
ONDISK_AT(struct vmfs_heartbeat_disk, initiator, 0xd8);
ONDISK_AT(struct vmfs_heartbeat_disk, lease_ms, 0x158);
ONDISK_AT(struct vmfs_heartbeat_disk, want, 0x160);
ONDISK_AT(struct vmfs_heartbeat_disk, storage_class, 0x180);
ONDISK_AT(struct vmfs_heartbeat_disk, machine, 0x184);
ONDISK_AT(struct vmfs_heartbeat_disk, path_tpgts, 0x1a4);
ONDISK_SIZE(struct vmfs_heartbeat_disk, 512);

/* ---- locks: FORMAT.md 7, LOCKING.md 3.2 ---- */

#define VMFS_LOCK_FD 0x10C00001u
#define VMFS_LOCK_FBB 0x10C00002u
#define VMFS_LOCK_SBC 0x10C00003u
#define VMFS_LOCK_PBC 0x10C00004u
#define VMFS_LOCK_FDC 0x10C00005u
#define VMFS_LOCK_PB2 0x10C00006u
#define VMFS_LOCK_HOLDERS_MAX 8u

enum vmfs_lock_mode {
	LOCK_FREE = 0,
	LOCK_EXCLUSIVE = 1,
	LOCK_READ_ONLY = 2,
	LOCK_MULTI_WRITER = 3,
};

struct vmfs_lock_holder_disk {
	le64 hb_addr;
	le64 hb_gen;
	uint8_t owner[16];
};
ONDISK_SIZE(struct vmfs_lock_holder_disk, 32);

struct vmfs_lock_disk {
	le32 type;		/* 0x00 */
	le64 addr;		/* 0x04  own vol offset */
	le64 hb_addr;		/* 0x0c  slot of the last (or current) holder */
	le64 hb_gen;		/* 0x14 */
	le64 token;		/* 0x1c  grows with every transition */
	le32 mode;		/* 0x24 */
	uint8_t owner[16];	/* 0x28 */
	le64 mtime;		/* 0x38  informative */
	le32 holder_count;	/* 0x40 */
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX]; /* 0x44 */
	uint8_t unknown144[32];
	le32 global_holders;	/* 0x164 */
	le64 global_generation;	/* 0x168 */
	le32 global_break;	/* 0x170 */
	uint8_t pad[0x200 - 0x174];
};
ONDISK_AT(struct vmfs_lock_disk, owner, 0x28);
ONDISK_AT(struct vmfs_lock_disk, holders, 0x44);
ONDISK_AT(struct vmfs_lock_disk, global_holders, 0x164);
ONDISK_SIZE(struct vmfs_lock_disk, 512);

/* ---- resource files: FORMAT.md 6 ---- */

#define VMFS_RESOURCE_GROUP_OFF 0x10000ull /* file offset of the first cluster group */
#define VMFS_CLUSTER_HEADER_SIZE 1024u	   /* lock sector + metadata sector */
#define VMFS_CLUSTER_RESOURCES_MAX 512u
#define VMFS_CLUSTERS_PER_GROUP_MAX 1024u /* more than any seen */

/* What the headers of all versions begin with. */
struct vmfs_resource_geometry_disk {
	le32 per_cluster;	/* 0x00 */
	le32 clusters_per_group; /* 0x04 */
	le32 group_off;		/* 0x08  0x10000 */
	le32 resource_size;	/* 0x0c  0 for .fbb.sf */
	le32 group_size;	/* 0x10 */
	le32 count_low;		/* 0x14 */
	le32 group_count;	/* 0x18 */
	le32 count_high;	/* 0x1c */
};
ONDISK_SIZE(struct vmfs_resource_geometry_disk, 0x20);

/* File offset 0 of a resource file. */
struct vmfs_resource_header_disk {
	struct vmfs_resource_geometry_disk geometry;
	uint8_t pad[0x200 - 0x20];
};
ONDISK_SIZE(struct vmfs_resource_header_disk, 512);

/* Second sector of a cluster header. */
struct vmfs_cluster_disk {
	le32 number;		/* 0x00 */
	le32 total;		/* 0x04 */
	le32 free;		/* 0x08 */
	le32 hint;		/* 0x0c */
	uint8_t bitmap[64];	/* 0x10  LSB first, 1 = free */
	le32 fd_generation;	/* 0x50  .fdc.sf only */
	uint8_t unknown54[12];
	le32 priority;		/* 0x60 */
	uint8_t pad[0x200 - 0x64];
};
ONDISK_AT(struct vmfs_cluster_disk, fd_generation, 0x50);
ONDISK_AT(struct vmfs_cluster_disk, priority, 0x60);
ONDISK_SIZE(struct vmfs_cluster_disk, 512);

/* ---- file descriptors: FORMAT.md 8 ---- */

#define VMFS_FD_SIZE 2048u
#define VMFS_FD_META_OFF 0x200u		/* of the metadata sector in the FD */
#define VMFS_FD_DATA_OFF 0x400u		/* of the 256 addresses, or the resident data */
#define VMFS_FD_SLOTS 256u
#define VMFS_RESIDENT_MAX 1024u
#define VMFS_PB_ENTRIES 1024u
/* All of .pbc.sf, 63 of its blocks above the others: 64,449 GiB in blocks of 1 MiB. */
#define VMFS_FILE_BLOCKS_MAX (64449ull << 10)
#define VMFS_PB_SIZE 4096u

enum vmfs_fd_type {
	VMFS_TYPE_INVALID = 0,
	VMFS_TYPE_VOLUME = 1,
	VMFS_TYPE_DIRECTORY = 2,
	VMFS_TYPE_FILE = 3,
	VMFS_TYPE_SYMLINK = 4,
	VMFS_TYPE_SYSTEM = 5,
	VMFS_TYPE_RDM = 6,
};

enum vmfs_zla {
	VMFS_ZLA_FB = 1,		/* slots hold FB addresses */
	VMFS_ZLA_SB = 2,		/* slots hold SB addresses */
	VMFS_ZLA_PB = 3,		/* slots hold PB addresses */
	VMFS_ZLA_PB2 = 5,		/* like 3, PB2 addresses (system files) */
	VMFS_ZLA_DOUBLE = 0x10D0,	/* slot -> PB -> PB -> FB */
	VMFS_ZLA_RESIDENT = 0x10D1,	/* data in the FD */
};

/* FD sector 1. */
struct vmfs_fd_meta_disk {
	le32 addr;		/* 0x00  own FD address */
	le32 generation;	/* 0x04 */
	le32 links;		/* 0x08  0 = FD not in use */
	le32 type;		/* 0x0c */
	le32 flags;		/* 0x10 */
	le64 length;		/* 0x14  bytes */
	le64 block_size;	/* 0x1c */
	le64 block_count;	/* 0x24  data blocks */
	le32 mtime_s;		/* 0x2c */
	le32 ctime_s;		/* 0x30 */
	le32 atime_s;		/* 0x34 */
	le32 uid;		/* 0x38 */
	le32 gid;		/* 0x3c */
	le32 mode;		/* 0x40 */
	le32 zla;		/* 0x44 */
	le32 tbz_low;		/* 0x48  blocks to be zeroed */
	le32 cow_low;		/* 0x4c */
	/* 0x50  blocks new since epoch: = block_count on VMFS-5 */
	le32 new_low;
	le32 tbz_high;		/* 0x54 */
	le32 cow_high;		/* 0x58 */
	le32 pb_count;		/* 0x5c  0 on VMFS-5 */
	le32 new_high;		/* 0x60 */
	le32 signature;		/* 0x64  0 on VMFS-5 */
	le32 affinity;		/* 0x68  own FD address */
	le32 tbz_shift;		/* 0x6c  20 or 13 */
	le32 parent;		/* 0x70  0 */
	uint8_t pad74[0x14];
	uint8_t unknown88;	/* 0x88 */
	uint8_t block_shift;	/* 0x89  log2(block_size) */
	uint8_t pad8a[2];
	le32 lfb_count;		/* 0x8c  VMFS-6: large blocks */
	uint8_t pad90[0x200 - 0x90];
};
ONDISK_AT(struct vmfs_fd_meta_disk, block_count, 0x24);
ONDISK_AT(struct vmfs_fd_meta_disk, zla, 0x44);
ONDISK_AT(struct vmfs_fd_meta_disk, signature, 0x64);
ONDISK_AT(struct vmfs_fd_meta_disk, parent, 0x70);
ONDISK_AT(struct vmfs_fd_meta_disk, unknown88, 0x88);
ONDISK_AT(struct vmfs_fd_meta_disk, lfb_count, 0x8c);
ONDISK_SIZE(struct vmfs_fd_meta_disk, 512);

/* A whole FD. */
struct vmfs_fd_disk {
	struct vmfs_lock_disk lock;	/* 0x000 */
	struct vmfs_fd_meta_disk meta;	/* 0x200 */
	union {				/* 0x400 */
		le32 slots[VMFS_FD_SLOTS];
		uint8_t resident[VMFS_RESIDENT_MAX];
		struct vmfs_disk_identity_disk rdm;
	} u;
};
ONDISK_AT(struct vmfs_fd_disk, u, VMFS_FD_DATA_OFF);
ONDISK_SIZE(struct vmfs_fd_disk, VMFS_FD_SIZE);

/* System FDs, all in FDC cluster 0: FORMAT.md 8.5. */
enum vmfs_system_fd {
	VMFS_FD_ROOT = 0,
	VMFS_FD_FBB = 1,
	VMFS_FD_FDC = 2,
	VMFS_FD_PBC = 3,
	VMFS_FD_SBC = 4,
	VMFS_FD_VH = 5,
	VMFS_FD_PB2 = 6,
	VMFS_FD_SDD = 7,
	VMFS_FD_SYSTEM_COUNT = 8,
};

/* ---- directories: FORMAT.md 13 ---- */

#define VMFS_NAME_MAX 127u
#define VMFS_DIRENT_SIZE 140u

struct vmfs_dirent_disk {
	le32 type;		/* 0x00 */
	le32 addr;		/* 0x04  0 = a hole */
	le32 generation;	/* 0x08 */
	uint8_t name[128];	/* 0x0c */
};
ONDISK_SIZE(struct vmfs_dirent_disk, VMFS_DIRENT_SIZE);

/* ---- journal: ours, LOCKING.md 10.3 ---- */

#define JOURNAL_STATE_MAGIC 0x314C4A56u	 /* "VJL1" */
#define JOURNAL_HEADER_MAGIC 0x31484A56u /* "VJH1" */
#define JOURNAL_DESC_MAGIC 0x31444A56u	 /* "VJD1" */
#define JOURNAL_COMMIT_MAGIC 0x31434A56u /* "VJC1" */
#define JOURNAL_FIRST_SECTOR 3u		 /* 0 state, 1 header, 2 its copy */
#define JOURNAL_PAYLOAD_MAX 512u	 /* sectors in one record */

/* Sector 0: all zero = empty. */
struct vmfs_journal_state_disk {
	le32 magic;		/* 0x00 */
	le64 nonce;		/* 0x04  low half of the header's */
	le64 first_seq;		/* 0x0c */
	le32 crc;		/* 0x14  CRC32C of 0x00..0x13 */
	uint8_t pad[0x200 - 0x18];
};
ONDISK_SIZE(struct vmfs_journal_state_disk, 512);

struct vmfs_journal_header_disk {
	le32 magic;		/* 0x00 */
	le32 version;		/* 0x04  1 */
	uint8_t volume_uuid[16]; /* 0x08  FS UUID */
	uint8_t owner[16];	/* 0x18 */
	le64 hb_addr;		/* 0x28 */
	le64 hb_gen;		/* 0x30 */
	le64 nonce_low;		/* 0x38 */
	le64 nonce_high;	/* 0x40 */
	le32 crc;		/* 0x48  CRC32C of 0x00..0x47 */
	uint8_t pad[0x200 - 0x4c];
};
ONDISK_AT(struct vmfs_journal_header_disk, crc, 0x48);
ONDISK_SIZE(struct vmfs_journal_header_disk, 512);

struct vmfs_journal_target_disk {
	le64 vol_off;		/* 0x00  where the sectors go */
	le64 lock_off;		/* 0x08  the lock that covers them */
	le64 token;		/* 0x10  that lock's token */
	le16 sectors;		/* 0x18 */
	le16 flags;		/* 0x1a */
	le32 crc;		/* 0x1c  CRC32C of the payload of this target */
};
ONDISK_SIZE(struct vmfs_journal_target_disk, 32);

/* First descriptor sector: this, then targets; they go on in following sectors. */
struct vmfs_journal_desc_disk {
	le32 magic;		/* 0x00 */
	le64 nonce;		/* 0x04 */
	le64 seq;		/* 0x0c */
	le32 target_count;	/* 0x14 */
	le32 payload_sectors;	/* 0x18 */
	le32 desc_sectors;	/* 0x1c */
};
ONDISK_SIZE(struct vmfs_journal_desc_disk, 32);

struct vmfs_journal_commit_disk {
	le32 magic;		/* 0x00 */
	le64 nonce;		/* 0x04 */
	le64 seq;		/* 0x0c */
	le32 sectors;		/* 0x14  descriptor + payload */
	le32 crc;		/* 0x18  CRC32C over them */
	uint8_t pad[0x200 - 0x1c];
};
ONDISK_SIZE(struct vmfs_journal_commit_disk, 512);

#endif
