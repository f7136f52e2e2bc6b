/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VHOST_PROTO_H
#define VHOST_PROTO_H

/*
 * vhost-user as QEMU's virtio-blk speaks it, and the split ring and the requests of
 * virtio 1.x. Messages have the byte order of the machine, which is little-endian on all
 * that we run on; rings and requests are little-endian by their standard.
 */
#include "base/endian.h"

/* ---- messages ---- */

enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_RESET_OWNER = 4,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_LOG_BASE = 6,
	VHOST_SET_LOG_FD = 7,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_SET_VRING_ERR = 14,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SET_BACKEND_FD = 21,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG = 25,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD = 32,
	VHOST_GET_MAX_MEM_SLOTS = 36,
	VHOST_ADD_MEM_REG = 37,
	VHOST_REM_MEM_REG = 38,
};

/* The other way, on the socket of SET_BACKEND_FD. */
enum vhost_backend_request { VHOST_BACKEND_CONFIG_CHANGED = 2 };

enum vhost_message_flags {
	VHOST_VERSION = 1u,
	VHOST_VERSION_MASK = 3u,
	VHOST_REPLY = 1u << 2,
	VHOST_NEED_REPLY = 1u << 3,
};

/* Bits of protocol features. */
enum vhost_protocol_feature {
	VHOST_PROTOCOL_MQ = 0,
	VHOST_PROTOCOL_LOG_SHMFD = 1,
	VHOST_PROTOCOL_REPLY_ACK = 3,
	VHOST_PROTOCOL_BACKEND_REQ = 5,
	VHOST_PROTOCOL_CONFIG = 9,
	VHOST_PROTOCOL_INFLIGHT_SHMFD = 12,
	VHOST_PROTOCOL_MEM_SLOTS = 15,
};

/* Bits of (virtio) features. */
enum vhost_feature {
	BLK_F_SIZE_MAX = 1,
	BLK_F_SEG_MAX = 2,
	BLK_F_RO = 5,
	BLK_F_BLK_SIZE = 6,
	BLK_F_FLUSH = 9,
	BLK_F_CONFIG_WCE = 11,
	BLK_F_MQ = 12,
	BLK_F_DISCARD = 13,
	BLK_F_WRITE_ZEROES = 14,
	VHOST_F_LOG_ALL = 26,
	RING_F_INDIRECT_DESC = 28,
	RING_F_EVENT_IDX = 29,
	VHOST_F_PROTOCOL_FEATURES = 30,
	VIRTIO_F_VERSION_1 = 32,
};

#define VHOST_FDS_MAX 8u
#define VHOST_CONFIG_MAX 256u
#define VHOST_TABLE_MAX 8u /* regions in one SET_MEM_TABLE */

struct vhost_header_msg {
	le32 request;
	le32 flags;
	le32 size; /* of what follows */
};
ONDISK_SIZE(struct vhost_header_msg, 12);

struct vhost_state_msg {
	le32 index;
	le32 num;
};

struct vhost_addr_msg {
	le32 index;
	le32 flags; /* VHOST_ADDR_LOG */
	le64 desc;  /* these three in the front end's address space */
	le64 used;
	le64 avail;
	le64 log; /* guest address of the used ring */
};
ONDISK_SIZE(struct vhost_addr_msg, 40);
#define VHOST_ADDR_LOG 1u

struct vhost_region_msg {
	le64 guest; /* its address for the guest */
	le64 size;
	le64 user;   /* ... and for the front end */
	le64 offset; /* in the file */
};
ONDISK_SIZE(struct vhost_region_msg, 32);

struct vhost_table_msg {
	le32 count;
	le32 padding;
	struct vhost_region_msg regions[VHOST_TABLE_MAX];
};
ONDISK_SIZE(struct vhost_table_msg, 264);

struct vhost_slot_msg {
	le64 padding;
	struct vhost_region_msg region;
};
ONDISK_SIZE(struct vhost_slot_msg, 40);

struct vhost_log_msg {
	le64 size;
	le64 offset;
};

/* 20 bytes of fields; QEMU sends and wants the 4 behind them, too. */
struct vhost_inflight_msg {
	le64 size;
	le64 offset;
	le16 queues;
	le16 queue_size;
	le32 padding;
};
ONDISK_SIZE(struct vhost_inflight_msg, 24);

struct vhost_config_msg {
	le32 offset;
	le32 size;
	le32 flags;
	uint8_t bytes[VHOST_CONFIG_MAX];
};
ONDISK_SIZE(struct vhost_config_msg, 268);

/* KICK, CALL and ERR: index in the low byte. */
#define VHOST_FD_INDEX 0xffu
#define VHOST_FD_NONE 0x100u

#define VHOST_PAYLOAD_MAX sizeof(struct vhost_config_msg)

/* ---- in flight (shared memory that outlives us) ---- */

struct vhost_inflight_desc_shm {
	uint8_t is_inflight; /* 0x00 */
	uint8_t padding[5];
	le16 next;    /* 0x06  ended before this one */
	le64 counter; /* 0x08  order of arrival */
};
ONDISK_SIZE(struct vhost_inflight_desc_shm, 16);

struct vhost_inflight_shm {
	le64 features;	 /* 0x00  0 */
	le16 version;	 /* 0x08  1 */
	le16 count;	 /* 0x0a  of descs */
	le16 last_ended; /* 0x0c  index of the one that ended last */
	le16 used;	 /* 0x0e  index of the used ring, as far as descs go along */
	struct vhost_inflight_desc_shm descs[];
};
ONDISK_SIZE(struct vhost_inflight_shm, 16);

/* ---- the split ring ---- */

enum ring_desc_flags { DESC_NEXT = 1u, DESC_WRITE = 2u, DESC_INDIRECT = 4u };

struct ring_desc_shm {
	le64 at; /* guest address */
	le32 len;
	le16 flags;
	le16 next;
};
ONDISK_SIZE(struct ring_desc_shm, 16);

#define RING_AVAIL_NO_INTERRUPT 1u
#define RING_USED_NO_NOTIFY 1u

struct ring_avail_shm {
	le16 flags;
	le16 index;
	le16 heads[]; /* and behind them used_event */
};

struct ring_used_elem_shm {
	le32 head;
	le32 len; /* written */
};

struct ring_used_shm {
	le16 flags;
	le16 index;
	struct ring_used_elem_shm elems[]; /* and behind them avail_event, a le16 */
};

/* ---- block requests ---- */

enum blk_type {
	BLK_IN = 0,
	BLK_OUT = 1,
	BLK_FLUSH = 4,
	BLK_GET_ID = 8,
	BLK_DISCARD = 11,
	BLK_WRITE_ZEROES = 13,
};

enum blk_status { BLK_OK = 0, BLK_IOERR = 1, BLK_UNSUPP = 2 };

#define BLK_SECTOR 512u
#define BLK_ID_LEN 20u

struct blk_header_msg {
	le32 type;
	le32 priority;
	le64 sector;
};
ONDISK_SIZE(struct blk_header_msg, 16);

#define BLK_RANGE_UNMAP 1u /* WRITE_ZEROES: may be unmapped; DISCARD: not allowed */

struct blk_range_msg {
	le64 sector;
	le32 sectors;
	le32 flags;
};
ONDISK_SIZE(struct blk_range_msg, 16);

struct blk_config_msg {
	le64 capacity;	  /* 0x00  sectors */
	le32 size_max;	  /* 0x08  bytes of a segment */
	le32 seg_max;	  /* 0x0c */
	le32 geometry;	  /* 0x10 */
	le32 block_size;  /* 0x14 */
	le32 topology[2]; /* 0x18 */
	uint8_t wce;	  /* 0x20  writes are cached until FLUSH */
	uint8_t unused;
	le16 queues;		       /* 0x22 */
	le32 discard_sectors_max;      /* 0x24 */
	le32 discard_ranges_max;       /* 0x28 */
	le32 discard_alignment;	       /* 0x2c */
	le32 write_zeroes_sectors_max; /* 0x30 */
	le32 write_zeroes_ranges_max;  /* 0x34 */
	uint8_t write_zeroes_unmaps;   /* 0x38 */
	uint8_t unused2[3];
};
ONDISK_AT(struct blk_config_msg, wce, 0x20);
ONDISK_AT(struct blk_config_msg, write_zeroes_unmaps, 0x38);
ONDISK_SIZE(struct blk_config_msg, 60);

#endif
