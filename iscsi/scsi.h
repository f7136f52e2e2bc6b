/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_SCSI_H
#define ISCSI_SCSI_H

/* SCSI commands, their answers and their sense data (SPC-4, SBC-3). */
#include <stdbool.h>
#include <stdint.h>

#include "base/endian.h"

enum scsi_opcode {
	SCSI_TEST_UNIT_READY = 0x00,
	SCSI_INQUIRY = 0x12,
	SCSI_RESERVE6 = 0x16,
	SCSI_RELEASE6 = 0x17,
	SCSI_MODE_SENSE6 = 0x1a,
	SCSI_READ_CAPACITY10 = 0x25,
	SCSI_UNMAP = 0x42,
	SCSI_PR_IN = 0x5e,
	SCSI_PR_OUT = 0x5f,
	SCSI_EXTENDED_COPY = 0x83,
	SCSI_COPY_RESULTS = 0x84,
	SCSI_READ16 = 0x88,
	SCSI_COMPARE_AND_WRITE = 0x89,
	SCSI_WRITE16 = 0x8a,
	SCSI_SYNC_CACHE16 = 0x91,
	SCSI_WRITE_SAME16 = 0x93,
	/* READ CAPACITY (16) is its action 10h, GET LBA STATUS 12h */
	SCSI_SERVICE_IN16 = 0x9e,
	SCSI_REPORT_LUNS = 0xa0,
};

/* Service actions of PERSISTENT RESERVE IN and OUT. */
enum scsi_pr_in_action {
	SCSI_PR_READ_KEYS = 0,
	SCSI_PR_READ_RESERVATION = 1,
	SCSI_PR_READ_FULL_STATUS = 3,
};

enum scsi_pr_out_action {
	SCSI_PR_RESERVE = 1,
	SCSI_PR_RELEASE = 2,
	SCSI_PR_CLEAR = 3,
	SCSI_PR_PREEMPT = 4,
	SCSI_PR_PREEMPT_ABORT = 5,
	SCSI_PR_REGISTER_IGNORE = 6, /* REGISTER AND IGNORE EXISTING KEY */
};

#define SCSI_PR_APTPL 0x01u /* registrations outlive a loss of power */
#define SCSI_FUA 0x08u
#define SCSI_STANDARD_INQUIRY (-1)

enum scsi_status {
	SCSI_GOOD = 0x00,
	SCSI_CHECK_CONDITION = 0x02,
	SCSI_BUSY = 0x08,
	SCSI_RESERVATION_CONFLICT = 0x18,
	SCSI_TASK_SET_FULL = 0x28,
	SCSI_TASK_ABORTED = 0x40,
};

/* ---- command descriptor blocks; each fills all 16 bytes ---- */

void scsi_cdb_plain(uint8_t cdb[16], uint8_t opcode);
/* page: VPD page, or SCSI_STANDARD_INQUIRY. */
void scsi_cdb_inquiry(uint8_t cdb[16], int page, uint16_t len);
void scsi_cdb_mode_sense6(uint8_t cdb[16], uint8_t page, uint8_t len);
void scsi_cdb_read_capacity16(uint8_t cdb[16], uint32_t len);
void scsi_cdb_lba_status(uint8_t cdb[16], uint64_t lba, uint32_t len);
void scsi_cdb_report_luns(uint8_t cdb[16], uint32_t len);
/* READ, WRITE, WRITE SAME, SYNCHRONIZE CACHE (16): blocks, flags of byte 1. */
void scsi_cdb_blocks16(uint8_t cdb[16], uint8_t opcode, uint8_t flags, uint64_t lba,
		       uint32_t blocks);
/* One block. */
void scsi_cdb_compare_and_write(uint8_t cdb[16], uint64_t lba);
/* UNMAP of one range; fills its parameter list as well. */
void scsi_cdb_unmap(uint8_t cdb[16], uint8_t list[24], uint64_t lba, uint32_t blocks);

/* PERSISTENT RESERVE IN: at most len bytes; OUT: a list of len bytes, type of byte 2. */
void scsi_cdb_pr_in(uint8_t cdb[16], uint8_t action, uint16_t len);
void scsi_cdb_pr_out(uint8_t cdb[16], uint8_t action, uint8_t type, uint32_t len);

/* EXTENDED COPY, LID1, with a list of len bytes; its limits, at most len bytes. */
void scsi_cdb_extended_copy(uint8_t cdb[16], uint32_t len);
void scsi_cdb_copy_parameters(uint8_t cdb[16], uint32_t len);

/* LUN number < 16384 in the 8 bytes of SAM-5 4.7. */
void scsi_lun_bytes(uint16_t lun, uint8_t ret_bytes[8]);

/* ---- answers (wire structures) ---- */

struct scsi_inquiry_pdu {
	uint8_t device;	   /* 0 qualifier << 5 | device type */
	uint8_t removable; /* 1 */
	uint8_t version;   /* 2 */
	uint8_t format;	   /* 3 */
	uint8_t more_len;  /* 4 */
	uint8_t flags[3];  /* 5 */
	char vendor[8];	   /* 8 */
	char model[16];	   /* 16 */
	char revision[4];  /* 32 */
};
ONDISK_SIZE(struct scsi_inquiry_pdu, 36);
ONDISK_AT(struct scsi_inquiry_pdu, vendor, 8);

struct scsi_capacity16_pdu {
	be64 last_lba;	      /* 0 */
	be32 block_size;      /* 8 bytes */
	uint8_t protection;   /* 12 */
	uint8_t exponents;    /* 13 */
	uint8_t thin;	      /* 14 LBPME << 7 | LBPRZ << 6 */
	uint8_t reserved[17]; /* 15 */
};
ONDISK_SIZE(struct scsi_capacity16_pdu, 32);

/* The answer to GET LBA STATUS (SBC-3 5.5.2): its head, and the first range. */
struct scsi_lba_status_pdu {
	be32 more_len;	       /* 0 */
	uint8_t reserved4[4];  /* 4 */
	be64 lba;	       /* 8 */
	be32 blocks;	       /* 16 */
	uint8_t status;	       /* 20 low half: 0 mapped, 1 deallocated, 2 anchored */
	uint8_t reserved21[3]; /* 21 */
};
ONDISK_SIZE(struct scsi_lba_status_pdu, 24);

/*
 * Of that answer (len bytes came): how many blocks from lba on are all mapped, or all
 * not, as its first range tells; 0: it does not.
 */
uint64_t scsi_lba_status(const uint8_t *answer, uint32_t len, uint64_t lba,
			 bool *ret_is_mapped);

/* VPD page B0h, block limits (SBC-3 6.6.4). */
struct scsi_limits_pdu {
	uint8_t device, page;	/* 0 */
	be16 more_len;		/* 2 */
	uint8_t flags;		/* 4 */
	uint8_t max_caw;	/* 5 blocks; not to be trusted */
	be16 granularity;	/* 6 */
	be32 max_transfer;	/* 8 blocks; 0: no limit told */
	be32 best_transfer;	/* 12 */
	be32 max_prefetch;	/* 16 */
	be32 max_unmap;		/* 20 blocks */
	be32 max_unmap_ranges;	/* 24 */
	be32 unmap_granularity; /* 28 */
	be32 unmap_alignment;	/* 32 */
	be64 max_write_same;	/* 36 blocks */
};
ONDISK_SIZE(struct scsi_limits_pdu, 44);
ONDISK_AT(struct scsi_limits_pdu, max_write_same, 36);

/* PERSISTENT RESERVE IN, both (SPC-4 6.15): the head; then keys of 8 bytes each. */
struct scsi_pr_in_pdu {
	be32 generation; /* 0 */
	be32 more_len;	 /* 4 */
};
ONDISK_SIZE(struct scsi_pr_in_pdu, 8);

/* READ RESERVATION; more_len 0: there is none. */
struct scsi_pr_reservation_pdu {
	struct scsi_pr_in_pdu head; /* 0 */
	be64 key;		    /* 8 */
	uint8_t obsolete16[4];	    /* 16 */
	uint8_t reserved20;	    /* 20 */
	uint8_t scope_type;	    /* 21 */
	uint8_t obsolete22[2];	    /* 22 */
};
ONDISK_SIZE(struct scsi_pr_reservation_pdu, 24);
ONDISK_AT(struct scsi_pr_reservation_pdu, scope_type, 21);

/* The list of PERSISTENT RESERVE OUT (SPC-4 6.16.3). */
struct scsi_pr_out_pdu {
	be64 key;		/* 0 */
	be64 action_key;	/* 8 */
	uint8_t obsolete16[4];	/* 16 */
	uint8_t flags;		/* 20 */
	uint8_t reserved21;	/* 21 */
	uint8_t obsolete22[2];	/* 22 */
};
ONDISK_SIZE(struct scsi_pr_out_pdu, 24);
ONDISK_AT(struct scsi_pr_out_pdu, flags, 20);

/*
 * The best name of the logical unit in VPD page 83h (len bytes): NAA of 16 bytes, else
 * any NAA, else EUI-64, else T10 text. Returns its length (at most 32) or 0;
 * *ret_is_binary.
 */
uint32_t scsi_vpd83_name(const uint8_t *page, uint32_t len, uint8_t ret_name[32],
			 bool *ret_is_binary);

/* The bytes of a VPD page that count, of len that came; 0: it has no head. */
uint32_t scsi_vpd_len(const uint8_t *page, uint32_t len);

/* The target port group that VPD page 83h tells (the port's own); 0: none. */
uint32_t scsi_vpd83_group(const uint8_t *page, uint32_t len);

/* ---- sense ---- */

struct scsi_sense {
	uint8_t key, asc, ascq;
};

/* Fixed and descriptor format (SPC-4 4.5); zeros if it is neither. */
struct scsi_sense scsi_sense_parse(const uint8_t *sense, uint32_t len);
/* The block that it is about, if it tells one. */
bool scsi_sense_lba(const uint8_t *sense, uint32_t len, uint64_t *ret_lba);
/* "medium error" and the like for a sense key. */
const char *scsi_sense_text(struct scsi_sense sense);
/* What its codes mean in words; NULL: nothing that is known here. */
const char *scsi_sense_detail(struct scsi_sense sense);
#define SCSI_CODES_SIZE 80
/* "03/11/00: a block cannot be read"; returns text. */
const char *scsi_sense_codes(struct scsi_sense sense, char text[static SCSI_CODES_SIZE]);

enum scsi_verdict {
	SCSI_DONE,	/* executed (recovered error) */
	SCSI_LATER,	/* not executed; may be sent again after a while */
	SCSI_CONFLICT,	/* not executed: another initiator's reservation */
	SCSI_ATTENTION, /* not executed: unit attention, something has happened before */
	SCSI_UNKNOWN,	/* aborted on the way */
	SCSI_FAILED,	/* *ret_error says how */
};

/* What a status other than GOOD means for the command; *ret_error as in bdev/bdev.h. */
enum scsi_verdict scsi_judge(uint8_t status, struct scsi_sense sense, int *ret_error);

#endif
