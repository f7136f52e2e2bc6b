/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which blocks a thin unit has not (GET LBA STATUS, SBC-3 5.5): who reads all of it, to
 * copy it, need not read them.
 *
 * Invariants:
 * 1. What is not surely a hole is data: all of a unit that is not thin, that does not say
 *    that such blocks read as zeros (LBPRZ), that refuses the command, does not answer,
 *    or answers what makes no sense.
 * 2. A hole is believed after bytes at both of its ends were read and were zeros. A unit
 *    that has called data a hole is not asked again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/lun_impl.h"

#define LOOK_SIZE (64u << 10) /* at each end */
#define IS_MAPPED 0u	      /* or nothing is known; 1: deallocated, 2: anchored */
#define IS_ANCHORED 2u

uint64_t scsi_lba_status(const uint8_t *answer, uint32_t len, uint64_t lba,
			 bool *ret_is_mapped)
{
	struct scsi_lba_status_pdu a;
	uint64_t end;

	if (len < sizeof(a))
		return 0;
	memcpy(&a, answer, sizeof(a));
	uint64_t from = be64_get(a.lba);
	uint8_t status = a.status & 0xf;
	/* more_len counts from behind itself. */
	if (be32_get(a.more_len) < sizeof(a) - sizeof(a.more_len) ||
	    status > IS_ANCHORED || from > lba ||
	    !checked_add(from, be32_get(a.blocks), &end) || end <= lba)
		return 0;
	*ret_is_mapped = status == IS_MAPPED;
	return end - lba;
}

static bool is_zero(const uint8_t *bytes, uint32_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

/* Of a hole: are there zeros at its ends? false: also if they cannot be read. */
static bool has_zero_ends(struct lun *lun, uint64_t offset, uint64_t len, bool *ret_lies)
{
	uint32_t look = (uint32_t)min_u64(len, LOOK_SIZE);
	uint8_t *bytes = malloc(look);
	int error = bytes ? 0 : -ENOMEM;

	*ret_lies = false;
	for (unsigned int i = 0; i < 2 && !error && !*ret_lies; i++) {
		error = bdev_read(&lun->bd, bytes, look,
				  i ? offset + len - look : offset);
		*ret_lies = !error && !is_zero(bytes, look);
	}
	free(bytes);
	return !error && !*ret_lies;
}

/* Asks; how many bytes from offset on have no blocks, 0: none, or it does not tell. */
static uint64_t ask_hole(struct lun *lun, uint64_t offset, uint64_t *ret_data)
{
	uint8_t answer[sizeof(struct scsi_lba_status_pdu)] = { 0 };
	struct plain_command p = { .data = answer,
				   .len = sizeof(answer),
				   .fails_on_conflict = true };
	uint64_t lba = offset / lun->bd.block_size, len;
	bool is_mapped = true;

	scsi_cdb_lba_status(p.cdb, lba, sizeof(answer));
	int error = lun_command(lun, &p);
	if (error == -EOPNOTSUPP)
		lun_trial_refused(lun, &lun->status, 0, p.ret_sense);
	if (error || !checked_mul(scsi_lba_status(answer, p.ret_len, lba, &is_mapped),
				  lun->bd.block_size, &len))
		return 0;
	len = min_u64(len, lun->bd.size - offset);
	*ret_data = is_mapped && len ? len : *ret_data;
	return is_mapped ? 0 : len;
}

void lun_piece(struct bdev *bd, uint64_t offset, uint64_t *ret_len, bool *ret_is_data)
{
	struct lun *lun = (struct lun *)bd;
	bool is_known = !lun_is_refused(&lun->status), lies = false;

	*ret_is_data = true;
	*ret_len = bd->size - offset;
	uint64_t hole = is_known ? ask_hole(lun, offset, ret_len) : 0;
	if (!hole)
		return;
	if (has_zero_ends(lun, offset, hole, &lies)) {
		lun_trial_done(&lun->status);
		*ret_is_data = false;
		*ret_len = hole;
	} else if (lies) {
		atomic_store(&lun->status.state, BDEV_OFFLOAD_NONE);
		report(bd->reporter, REPORT_WARN,
		       "%s: the unit says that it has no blocks where it has data "
		       "(GET LBA STATUS, at %llu): %s", lun->url.text,
		       (unsigned long long)offset, lun->status.instead);
	}
}
