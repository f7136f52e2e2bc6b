/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_PROTO_H
#define ISCSI_PROTO_H

/* The basic header segments of RFC 7143, section 11, in the order of their bytes. */
#include <stdint.h>

#include "base/endian.h"

#define ISCSI_BHS_SIZE 48u
#define ISCSI_DIGEST_SIZE 4u
#define ISCSI_TAIL_MAX (3u + ISCSI_DIGEST_SIZE) /* behind the data: padding and digest */
#define ISCSI_AHS_MAX (255u * 4u)
#define ISCSI_TAG_NONE UINT32_MAX /* "reserved" ITT or TTT */
#define ISCSI_PORT 3260u
#define ISCSI_NAME_MAX 223u	   /* RFC 7143 4.2.7.1 */
#define ISCSI_LOGIN_DATA_MAX 8192u /* before MaxRecvDataSegmentLength is known */

/* RFC 7143 11.2.1.2 */
enum iscsi_opcode {
	ISCSI_NOP_OUT = 0x00,
	ISCSI_SCSI_COMMAND = 0x01,
	ISCSI_TASK_REQUEST = 0x02,
	ISCSI_LOGIN_REQUEST = 0x03,
	ISCSI_TEXT_REQUEST = 0x04,
	ISCSI_DATA_OUT = 0x05,
	ISCSI_LOGOUT_REQUEST = 0x06,
	ISCSI_NOP_IN = 0x20,
	ISCSI_SCSI_RESPONSE = 0x21,
	ISCSI_TASK_RESPONSE = 0x22,
	ISCSI_LOGIN_RESPONSE = 0x23,
	ISCSI_TEXT_RESPONSE = 0x24,
	ISCSI_DATA_IN = 0x25,
	ISCSI_LOGOUT_RESPONSE = 0x26,
	ISCSI_R2T = 0x31,
	ISCSI_ASYNC = 0x32,
	ISCSI_REJECT = 0x3f,
};
#define ISCSI_OPCODE_MASK 0x3fu
#define ISCSI_IMMEDIATE 0x40u

/* Flags of byte 1. */
#define ISCSI_FINAL 0x80u
#define ISCSI_CONTINUE 0x40u /* text and login: more keys follow */
#define ISCSI_TRANSIT 0x80u  /* login */
#define ISCSI_CMD_READ 0x40u
#define ISCSI_CMD_WRITE 0x20u
#define ISCSI_CMD_SIMPLE 0x01u
#define ISCSI_OVERFLOW 0x04u
#define ISCSI_UNDERFLOW 0x02u
#define ISCSI_DATA_STATUS 0x01u

/* Login stages, CSG and NSG (RFC 7143 11.12.3). */
#define ISCSI_STAGE_SECURITY 0u
#define ISCSI_STAGE_OPERATIONAL 1u
#define ISCSI_STAGE_FULL 3u

/* Status class and detail of a login answer (RFC 7143 11.13.5). */
#define ISCSI_MOVED_FOR_A_TIME 0x0101u
#define ISCSI_MOVED_FOR_GOOD 0x0102u

/* Task management (RFC 7143 11.5.1, 11.6.1). */
#define ISCSI_ABORT_TASK 1u
#define ISCSI_LUN_RESET 5u
#define ISCSI_TASK_DONE 0u
#define ISCSI_TASK_UNKNOWN 1u

/* Why a PDU is rejected (RFC 7143 11.17.1). */
enum iscsi_reject_reason {
	ISCSI_REJECT_DIGEST = 0x02,
	ISCSI_REJECT_SNACK = 0x03,
	ISCSI_REJECT_PROTOCOL = 0x04,
	ISCSI_REJECT_UNSUPPORTED = 0x05,
	ISCSI_REJECT_IMMEDIATE = 0x06, /* too many immediate commands */
	ISCSI_REJECT_IN_PROGRESS = 0x07,
	ISCSI_REJECT_DATA_ACK = 0x08,
	ISCSI_REJECT_FIELD = 0x09,
	ISCSI_REJECT_LONG = 0x0a,
	ISCSI_REJECT_NEGOTIATION = 0x0b,
	ISCSI_REJECT_LOGOUT_AWAITED = 0x0c,
};

/* Asynchronous events (RFC 7143 11.9.1). */
enum iscsi_async_event {
	ISCSI_ASYNC_SCSI = 0,
	ISCSI_ASYNC_LOGOUT = 1,
	ISCSI_ASYNC_DROP_CONNECTION = 2,
	ISCSI_ASYNC_DROP_SESSION = 3,
	ISCSI_ASYNC_NEGOTIATE = 4,
	ISCSI_ASYNC_TASKS_GONE = 5,
	ISCSI_ASYNC_VENDOR = 255,
};

/* What any target sends; the fields from stat_sn on are not in every one of them. */
struct iscsi_target_pdu {
	uint8_t opcode;	   /* 0 */
	uint8_t flags;	   /* 1 */
	uint8_t response;  /* 2 */
	uint8_t status;	   /* 3 */
	uint8_t ahs_words; /* 4 */
	be24 data_len;	   /* 5 */
	uint8_t lun[8];	   /* 8 */
	be32 itt;	   /* 16 */
	be32 ttt;	   /* 20 */
	be32 stat_sn;	   /* 24 */
	be32 exp_cmd_sn;   /* 28 */
	be32 max_cmd_sn;   /* 32 */
	be32 data_sn;	   /* 36 Data-In: DataSN; R2T: R2TSN; response: ExpDataSN */
	be32 offset;	   /* 40 Data-In, R2T */
	be32 length;	   /* 44 R2T: desired length; others: residual count */
};
ONDISK_SIZE(struct iscsi_target_pdu, ISCSI_BHS_SIZE);
ONDISK_AT(struct iscsi_target_pdu, lun, 8);
ONDISK_AT(struct iscsi_target_pdu, stat_sn, 24);
ONDISK_AT(struct iscsi_target_pdu, length, 44);

struct iscsi_login_response_pdu {
	uint8_t opcode;		/* 0 */
	uint8_t flags;		/* 1 */
	uint8_t version_max;	/* 2 */
	uint8_t version_active; /* 3 */
	uint8_t ahs_words;	/* 4 */
	be24 data_len;		/* 5 */
	uint8_t isid[6];	/* 8 */
	be16 tsih;		/* 14 */
	be32 itt;		/* 16 */
	be32 reserved;		/* 20 */
	be32 stat_sn;		/* 24 */
	be32 exp_cmd_sn;	/* 28 */
	be32 max_cmd_sn;	/* 32 */
	uint8_t status_class;	/* 36 */
	uint8_t status_detail;	/* 37 */
	uint8_t reserved2[10];	/* 38 */
};
ONDISK_SIZE(struct iscsi_login_response_pdu, ISCSI_BHS_SIZE);
ONDISK_AT(struct iscsi_login_response_pdu, tsih, 14);
ONDISK_AT(struct iscsi_login_response_pdu, status_class, 36);

struct iscsi_async_pdu {
	uint8_t opcode;	     /* 0 */
	uint8_t flags;	     /* 1 */
	uint8_t reserved[2]; /* 2 */
	uint8_t ahs_words;   /* 4 */
	be24 data_len;	     /* 5 */
	uint8_t lun[8];	     /* 8 */
	be32 itt;	     /* 16 */
	be32 reserved2;	     /* 20 */
	be32 stat_sn;	     /* 24 */
	be32 exp_cmd_sn;     /* 28 */
	be32 max_cmd_sn;     /* 32 */
	uint8_t event;	     /* 36 */
	uint8_t vendor_code; /* 37 */
	be16 parameter[3];   /* 38 */
	be32 reserved3;	     /* 44 */
};
ONDISK_SIZE(struct iscsi_async_pdu, ISCSI_BHS_SIZE);
ONDISK_AT(struct iscsi_async_pdu, event, 36);

/* What an initiator sends, other than the ones below. */
struct iscsi_initiator_pdu {
	uint8_t opcode;	     /* 0 with ISCSI_IMMEDIATE */
	uint8_t flags;	     /* 1 */
	uint8_t reserved[2]; /* 2 */
	uint8_t ahs_words;   /* 4 */
	be24 data_len;	     /* 5 */
	uint8_t lun[8];	     /* 8 */
	be32 itt;	     /* 16 */
	be32 ttt;	     /* 20 command: expected length; abort: referenced tag */
	be32 cmd_sn;	     /* 24 */
	be32 exp_stat_sn;    /* 28 */
	be32 ref_cmd_sn;     /* 32 task management */
	be32 data_sn;	     /* 36 Data-Out */
	be32 offset;	     /* 40 Data-Out */
	be32 reserved2;	     /* 44 */
};
ONDISK_SIZE(struct iscsi_initiator_pdu, ISCSI_BHS_SIZE);
ONDISK_AT(struct iscsi_initiator_pdu, cmd_sn, 24);
ONDISK_AT(struct iscsi_initiator_pdu, data_sn, 36);

struct iscsi_command_pdu {
	uint8_t opcode;	     /* 0 */
	uint8_t flags;	     /* 1 */
	uint8_t reserved[2]; /* 2 */
	uint8_t ahs_words;   /* 4 */
	be24 data_len;	     /* 5 */
	uint8_t lun[8];	     /* 8 */
	be32 itt;	     /* 16 */
	be32 expected_len;   /* 20 */
	be32 cmd_sn;	     /* 24 */
	be32 exp_stat_sn;    /* 28 */
	uint8_t cdb[16];     /* 32 */
};
ONDISK_SIZE(struct iscsi_command_pdu, ISCSI_BHS_SIZE);
ONDISK_AT(struct iscsi_command_pdu, cdb, 32);

struct iscsi_login_request_pdu {
	uint8_t opcode;	       /* 0 with ISCSI_IMMEDIATE */
	uint8_t flags;	       /* 1 */
	uint8_t version_max;   /* 2 */
	uint8_t version_min;   /* 3 */
	uint8_t ahs_words;     /* 4 */
	be24 data_len;	       /* 5 */
	uint8_t isid[6];       /* 8 */
	be16 tsih;	       /* 14 */
	be32 itt;	       /* 16 */
	be16 cid;	       /* 20 */
	be16 reserved;	       /* 22 */
	be32 cmd_sn;	       /* 24 */
	be32 exp_stat_sn;      /* 28 */
	uint8_t reserved2[16]; /* 32 */
};
ONDISK_SIZE(struct iscsi_login_request_pdu, ISCSI_BHS_SIZE);
ONDISK_AT(struct iscsi_login_request_pdu, cid, 20);

#endif
