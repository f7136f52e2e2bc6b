/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_XCOPY_H
#define ISCSI_XCOPY_H

/*
 * EXTENDED COPY, LID1 (SPC-4 6.4): a unit copies blocks by itself. Wire structures, and
 * pure functions over them.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/endian.h"

#define XCOPY_NAA_SIZE 16u
#define XCOPY_BLOCKS_MAX 65535u /* of one segment */

/* Which unit: identification descriptor E4h. */
struct xcopy_unit_pdu {
	uint8_t type, device;		  /* 0 */
	be16 port;			  /* 2 */
	uint8_t code_set, kind;		  /* 4 */
	uint8_t reserved6;		  /* 6 */
	uint8_t name_len;		  /* 7 */
	uint8_t name[XCOPY_NAA_SIZE];	  /* 8 */
	uint8_t reserved24[5];		  /* 24 */
	be24 block_size;		  /* 29 */
};
ONDISK_SIZE(struct xcopy_unit_pdu, 32);
ONDISK_AT(struct xcopy_unit_pdu, block_size, 29);

/* What: segment descriptor 02h, from blocks to blocks. */
struct xcopy_segment_pdu {
	uint8_t type, flags;	 /* 0 */
	be16 more_len;		 /* 2 */
	be16 from_unit, to_unit; /* 4; numbers of units in the list */
	uint8_t reserved8[2];	 /* 8 */
	be16 blocks;		 /* 10 */
	be64 from_lba, to_lba;	 /* 12 */
};
ONDISK_SIZE(struct xcopy_segment_pdu, 28);
ONDISK_AT(struct xcopy_segment_pdu, from_lba, 12);

/* The list of a command: two units, one segment, as even LIO takes it. */
struct xcopy_list_pdu {
	uint8_t id, flags;	       /* 0 */
	be16 units_len;		       /* 2 */
	uint8_t reserved4[4];	       /* 4 */
	be32 segments_len, inline_len; /* 8 */
	struct xcopy_unit_pdu from, to;	  /* 16 */
	struct xcopy_segment_pdu segment; /* 80 */
};
ONDISK_SIZE(struct xcopy_list_pdu, 108);
ONDISK_AT(struct xcopy_list_pdu, segment, 80);

/* RECEIVE COPY RESULTS, operating parameters (SPC-4 6.20.5); a list of types follows. */
struct xcopy_parameters_pdu {
	be32 more_len;				  /* 0 */
	uint8_t flags, reserved5[3];		  /* 4 */
	be16 max_units, max_segments;		  /* 8 */
	be32 max_list, max_segment_size;	  /* 12 */
	be32 max_inline, held_limit, max_stream;  /* 20 */
	be16 reserved32, total_copies;		  /* 32 */
	uint8_t max_copies, granularity[3];	  /* 36 */
	uint8_t reserved40[3];			  /* 40 */
	uint8_t types_len;			  /* 43 */
};
ONDISK_SIZE(struct xcopy_parameters_pdu, 44);
ONDISK_AT(struct xcopy_parameters_pdu, max_segment_size, 16);

/* One end of a copy. */
struct xcopy_place {
	const uint8_t *naa; /* XCOPY_NAA_SIZE bytes */
	uint64_t lba;
};

/*
 * The bytes that one command may copy by the answer of len bytes, a multiple of
 * block_size and at most most; 0: it does not take what we send.
 */
uint64_t xcopy_most(const uint8_t *parameters, uint32_t len, uint32_t block_size,
		    uint64_t most);
/* blocks (at most XCOPY_BLOCKS_MAX) of block_size bytes. */
struct xcopy_list_pdu xcopy_list(struct xcopy_place to, struct xcopy_place from,
				 uint32_t blocks, uint32_t block_size);

#endif
