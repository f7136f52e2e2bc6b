/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the limits of a unit mean, and the trial of its commands.
 *
 * Invariants:
 * 1. A page is believed as far as its own length reaches; what is behind it counts as
 *    not told. A limit that is not told is ours.
 * 2. One UNMAP has one descriptor, so it obeys every number of descriptors, and no
 *    descriptor reaches 4 GiB: there are targets that answer GOOD to such a one and do
 *    nothing.
 * 3. WRITE SAME has never zero blocks (WSNZ), and always its block of zeros: NDOB saves
 *    512 bytes of a command that fit beside it, and a target that does not know it may
 *    answer with a medium error, which says nothing.
 *
 * Trial of a command, each on its own:
 *
 *	UNKNOWN, TOLD -- done ----------------------------------> PROVED
 *	   |   refused, field invalid: at most SMALL bytes from now on, once
 *	   |   no answer in time: half of that from now on, down to SMALL
 *	   '-- refused again, or opcode unknown: said once -----> NONE
 *
 * A unit that has proved it may refuse it later all the same: it is NONE then.
 */
#include "iscsi/limits.h"

#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/lun_impl.h"

#define SMALL (1u << 20)
#define ASC_OPCODE 0x20

/* ---- pages ---- */

/* limit blocks as bytes, 0 being no limit, but at most most. */
static uint64_t limit_bytes(uint64_t blocks, uint32_t block_size, uint64_t most)
{
	uint64_t bytes;

	if (blocks == 0 || !checked_mul(blocks, block_size, &bytes))
		return most;
	return min_u64(bytes, most);
}

/* Copies what counts of a page; the rest of size is zeros. */
static void take_page(void *ret_page, uint32_t size, const uint8_t *page, uint32_t len,
		      uint8_t code)
{
	memset(ret_page, 0, size);
	uint32_t told = scsi_vpd_len(page, len);
	if (told && page[1] == code)
		memcpy(ret_page, page, min_u64(size, told));
}

struct limits limits_read(const struct limits_pages *pages, uint32_t block_size)
{
	struct scsi_limits_pdu b0;
	uint8_t b1[6], b2[6];

	take_page(&b0, sizeof(b0), pages->b0, pages->b0_len, 0xb0);
	take_page(b1, sizeof(b1), pages->b1, pages->b1_len, 0xb1);
	take_page(b2, sizeof(b2), pages->b2, pages->b2_len, 0xb2);
	uint32_t alignment = be32_get(b0.unmap_alignment);
	uint64_t granule = be32_get(b0.unmap_granularity);
	uint64_t first = alignment >> 31 && granule ? (alignment & 0x7fffffff) % granule
						    : 0; /* bit 31: it is valid */
	return (struct limits){
		.max_transfer = (uint32_t)limit_bytes(be32_get(b0.max_transfer),
						      block_size, MAX_CHUNK),
		.max_zero = limit_bytes(be64_get(b0.max_write_same), block_size,
					MAX_ZERO_CHUNK),
		.max_unmap = limit_bytes(be32_get(b0.max_unmap), block_size,
					 MAX_UNMAP_CHUNK),
		.granule = granule * block_size,
		.first_granule = first * block_size,
		.has_zero = be64_get(b0.max_write_same) > 0 || b2[5] & 0x60,
		.has_unmap = b2[5] & 0x80,
		.is_rotating = (b1[4] << 8 | b1[5]) > 1,
	};
}

uint64_t limits_unmap_piece(const struct limits *l, uint64_t most, uint64_t offset,
			    uint64_t len)
{
	if (len <= most || l->granule == 0)
		return min_u64(len, most);
	uint64_t end = offset + most;
	if (end < l->first_granule)
		return most;
	end -= (end - l->first_granule) % l->granule;
	return end > offset ? end - offset : most;
}

/* ---- trials ---- */

struct lun_trial *lun_trial_of(struct command *c)
{
	switch (c->task.cdb[0]) {
	case SCSI_WRITE_SAME16:
		return &c->lun->zero;
	case SCSI_UNMAP:
		return &c->lun->delete;
	default:
		return NULL;
	}
}

bool lun_is_refused(const struct lun_trial *t)
{
	return atomic_load(&t->state) == BDEV_OFFLOAD_NONE;
}

void lun_trial_done(struct lun_trial *t)
{
	atomic_store(&t->state, BDEV_OFFLOAD_PROVED);
}

void lun_trial_late(struct lun_trial *t, uint64_t chunk)
{
	if (chunk > SMALL)
		t->most = min_u64(t->most, max_u64(round_down(chunk / 2, SMALL), SMALL));
}

void lun_trial_refused(struct lun *lun, struct lun_trial *t, uint64_t chunk,
		       struct scsi_sense s)
{
	if (lun_is_refused(t))
		return;
	if (s.asc != ASC_OPCODE && chunk > SMALL) {
		t->most = min_u64(t->most, SMALL);
		return;
	}
	atomic_store(&t->state, BDEV_OFFLOAD_NONE);
	report(lun->bd.reporter, REPORT_INFO,
	       "%s: the unit refuses %s (%02x/%02x/%02x): %s", lun->url.text, t->name,
	       s.key, s.asc, s.ascq, t->instead);
}

void lun_trials_init(struct lun *lun)
{
	const struct limits *l = &lun->limits;
	bool has_unmap = lun->is_thin && l->has_unmap;

	lun->zero = (struct lun_trial){
		.name = "WRITE SAME",
		.instead = "zeros are written block by block",
		.most = l->max_zero,
		.state = l->has_zero ? BDEV_OFFLOAD_TOLD : BDEV_OFFLOAD_UNKNOWN,
	};
	lun->delete = (struct lun_trial){
		.name = "UNMAP",
		.instead = "free blocks are not given back to it",
		.most = l->max_unmap,
		.state = has_unmap ? BDEV_OFFLOAD_TOLD : BDEV_OFFLOAD_NONE,
	};
	lun->status = (struct lun_trial){
		.name = "GET LBA STATUS",
		.instead = "all of it is taken for data",
		.state = lun->is_thin && lun->reads_zeros ? BDEV_OFFLOAD_UNKNOWN
							   : BDEV_OFFLOAD_NONE,
	};
}

int lun_offloads(struct bdev *bd, struct bdev_offloads *ret_offloads)
{
	struct lun *lun = (struct lun *)bd;

	*ret_offloads = (struct bdev_offloads){
		.ats = bd->caw != BDEV_CAW_ATS		     ? BDEV_OFFLOAD_NONE
		       : atomic_load(&lun->is_caw_proved) ? BDEV_OFFLOAD_PROVED
							     : BDEV_OFFLOAD_UNKNOWN,
		.clone = atomic_load(&lun->clone.state),
		.zero = atomic_load(&lun->zero.state),
		.delete = atomic_load(&lun->delete.state),
		.is_thin = lun->is_thin,
		.is_rotating = lun->limits.is_rotating,
	};
	return 0;
}
