/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_NBD_STATUS_H
#define VDISK_NBD_STATUS_H

/* The answer to NBD_CMD_BLOCK_STATUS: a chunk for each context that was chosen. */
#include "base/endian.h"
#include "vdisk/nbd/haggle.h"

#define NBD_STATUS_EXTENTS 512u /* of one context in one answer */

struct nbd_status {
	const struct nbd_contexts *contexts;
	const uint64_t *key; /* of the contexts, by their number */
	unsigned int count;
	uint64_t offset, len; /* inside the export, len > 0 */
	bool is_one;	      /* one extent of each will do, and not past offset + len */
	be64 cookie;
};

/* Bytes that nbd_status_fill() may need. */
uint32_t nbd_status_size(unsigned int contexts);
/* Writes the chunks: their bytes, or -errno of find(). Blocks as find() does. */
int64_t nbd_status_fill(const struct nbd_status *s, uint8_t *out)
	__attribute__((warn_unused_result));

#endif
