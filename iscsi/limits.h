/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_LIMITS_H
#define ISCSI_LIMITS_H

/*
 * How large a command of a unit may be: what its VPD pages say (SBC-3 6.6), bounded by
 * what is good for us. Pure functions over bytes.
 */
#include <stdbool.h>
#include <stdint.h>

struct limits {
	/* Bytes. */
	uint32_t max_transfer; /* in one READ or WRITE */
	uint64_t max_zero;     /* in one WRITE SAME */
	uint64_t max_unmap;    /* in one UNMAP */
	/* Blocks are taken back in whole granules, which begin at first_granule. */
	uint64_t granule, first_granule;
	bool has_zero;	/* it tells how much one WRITE SAME may write */
	bool has_unmap; /* UNMAP, by page B2h */
	bool is_rotating;
};

/* The pages as they came, their lengths (0: it has not that page). */
struct limits_pages {
	const uint8_t *b0, *b1, *b2;
	uint32_t b0_len, b1_len, b2_len;
};

struct limits limits_read(const struct limits_pages *pages, uint32_t block_size);

/*
 * Of [offset, offset + len) the first part that one UNMAP of at most `most` bytes takes
 * back: cut where granules meet, if one fits at all.
 */
uint64_t limits_unmap_piece(const struct limits *l, uint64_t most, uint64_t offset,
			    uint64_t len);

#endif
