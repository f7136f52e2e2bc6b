/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_NBD_PROTO_H
#define VDISK_NBD_PROTO_H

/*
 * The NBD protocol on the wire: fixed newstyle negotiation, simple and structured
 * replies, metadata contexts (the NBD project's doc/proto.md; section names are given
 * where a fact needs one). All integers are big-endian.
 */
#include "base/endian.h"

#define NBD_MAGIC 0x4e42444d41474943ull	       /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC 0x49484156454f5054ull /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC 0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu

#define NBD_NAME_MAX 4096u	       /* "Strings": at most 4096 bytes */
#define NBD_OPTION_MAX (64u << 10)     /* ours: longer options end the connection */
#define NBD_PAYLOAD_MAX                                                                  \
	(32u << 20) /* "Block size constraints": what all clients assume */
#define NBD_EXPORT_NAME_PAD 124u

enum nbd_handshake_flags {
	NBD_FLAG_FIXED_NEWSTYLE = 1u << 0,
	NBD_FLAG_NO_ZEROES = 1u << 1,
};

enum nbd_transmission_flags {
	NBD_FLAG_HAS_FLAGS = 1u << 0,
	NBD_FLAG_READ_ONLY = 1u << 1,
	NBD_FLAG_SEND_FLUSH = 1u << 2,
	NBD_FLAG_SEND_FUA = 1u << 3,
	NBD_FLAG_SEND_TRIM = 1u << 5,
	NBD_FLAG_SEND_WRITE_ZEROES = 1u << 6,
	NBD_FLAG_SEND_DF = 1u << 7,
	NBD_FLAG_CAN_MULTI_CONN = 1u << 8,
};

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

enum nbd_option_reply {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR_UNSUP 0x80000001u
#define NBD_REP_ERR_INVALID 0x80000003u
#define NBD_REP_ERR_UNKNOWN 0x80000006u

enum nbd_info {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_BLOCK_SIZE = 3,
};

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

enum nbd_command_flags {
	NBD_CMD_FLAG_FUA = 1u << 0,
	NBD_CMD_FLAG_NO_HOLE = 1u << 1,
	NBD_CMD_FLAG_DF = 1u << 2,
	NBD_CMD_FLAG_REQ_ONE = 1u << 3,
};

enum nbd_chunk_flags {
	NBD_CHUNK_DONE = 1u << 0, /* the last one of a reply */
};

enum nbd_chunk_type {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_OFFSET_DATA = 1,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = (1 << 15) + 1,
};

/* Of "base:allocation". */
enum nbd_allocation {
	NBD_STATE_HOLE = 1u << 0,
	NBD_STATE_ZERO = 1u << 1,
};

enum nbd_error {
	NBD_OK = 0,
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

/* What the server says first. */
struct nbd_greeting_msg {
	be64 magic;	   /* 0x00 */
	be64 option_magic; /* 0x08 */
	be16 flags;	   /* 0x10  enum nbd_handshake_flags */
};
ONDISK_SIZE(struct nbd_greeting_msg, 18);

struct nbd_option_msg {
	be64 magic;  /* 0x00  NBD_OPTION_MAGIC */
	be32 option; /* 0x08 */
	be32 len;    /* 0x0c  of the data that follows */
};
ONDISK_SIZE(struct nbd_option_msg, 16);

struct nbd_option_reply_msg {
	be64 magic;  /* 0x00  NBD_OPTION_REPLY_MAGIC */
	be32 option; /* 0x08 */
	be32 type;   /* 0x0c */
	be32 len;    /* 0x10 */
};
ONDISK_SIZE(struct nbd_option_reply_msg, 20);

struct nbd_info_export_msg {
	be16 type;  /* 0x00  NBD_INFO_EXPORT */
	be64 size;  /* 0x02 */
	be16 flags; /* 0x0a  enum nbd_transmission_flags */
};
ONDISK_SIZE(struct nbd_info_export_msg, 12);

struct nbd_info_block_size_msg {
	be16 type;	/* 0x00  NBD_INFO_BLOCK_SIZE */
	be32 minimum;	/* 0x02 */
	be32 preferred; /* 0x06 */
	be32 maximum;	/* 0x0a */
};
ONDISK_SIZE(struct nbd_info_block_size_msg, 14);

/* The answer to NBD_OPT_EXPORT_NAME, and 124 zeros unless both sides said NO_ZEROES. */
struct nbd_export_msg {
	be64 size;  /* 0x00 */
	be16 flags; /* 0x08 */
};
ONDISK_SIZE(struct nbd_export_msg, 10);

struct nbd_request_msg {
	be32 magic;  /* 0x00  NBD_REQUEST_MAGIC */
	be16 flags;  /* 0x04  enum nbd_command_flags */
	be16 type;   /* 0x06  enum nbd_command */
	be64 cookie; /* 0x08  the client's; given back */
	be64 offset; /* 0x10 */
	be32 len;    /* 0x18 */
};
ONDISK_SIZE(struct nbd_request_msg, 28);

struct nbd_simple_reply_msg {
	be32 magic;  /* 0x00  NBD_SIMPLE_REPLY_MAGIC */
	be32 error;  /* 0x04  enum nbd_error */
	be64 cookie; /* 0x08 */
};
ONDISK_SIZE(struct nbd_simple_reply_msg, 16);

struct nbd_chunk_msg {
	be32 magic;  /* 0x00  NBD_STRUCTURED_REPLY_MAGIC */
	be16 flags;  /* 0x04  enum nbd_chunk_flags */
	be16 type;   /* 0x06  enum nbd_chunk_type */
	be64 cookie; /* 0x08 */
	be32 len;    /* 0x10  of what follows */
};
ONDISK_SIZE(struct nbd_chunk_msg, 20);

/* Follows an NBD_CHUNK_ERROR: no text, so nothing follows it. */
struct nbd_chunk_error_msg {
	be32 error; /* 0x00  enum nbd_error */
	be16 len;   /* 0x04  of the text */
};
ONDISK_SIZE(struct nbd_chunk_error_msg, 6);

/* Of an NBD_CHUNK_BLOCK_STATUS there are as many as its length says, behind a be32: the
 * context. */
struct nbd_extent_msg {
	be32 len;   /* 0x00 */
	be32 flags; /* 0x04  by the context */
};
ONDISK_SIZE(struct nbd_extent_msg, 8);

#endif
