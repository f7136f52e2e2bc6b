/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy made by the unit (bdev_copy of a LUN): between two places of one unit, or of two
 * of one target that both have an NAA name of 16 bytes.
 *
 *	for each piece:  EXTENDED COPY to the unit that is written
 *	  GOOD       next piece; the first of all is read and compared
 *	  refused    smaller pieces from now on, or none (the trial of limits.c)
 *	  unknown    settled first; then the caller reads and writes
 *
 * Invariants:
 * 1. It is sent to the unit that is written, on the session of which everything else is
 *    written there: what ends that session's commands (ABORT TASK, reinstatement, a cut)
 *    ends a copy, too. It has no deadline once it is sent: only an answer, an abort or
 *    the end of its session ends it.
 * 2. One of unknown fate is not sent again. If it was not aborted, a command of a later
 *    session is waited for: none of an older one runs any more then. So what the caller
 *    writes instead cannot be overtaken by it.
 * 3. GOOD is believed after a piece in which the two places had differed has come out the
 *    same. Somebody who writes the source meanwhile can spoil that trial; then
 *    nothing is copied so, which harms nobody.
 * 4. Whatever else goes wrong, -EOPNOTSUPP: a read and a write of the same bytes tell the
 *    true reason.
 */
#include "iscsi/xcopy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "iscsi/lun_impl.h"

#define MAX_COPY_CHUNK (16u << 20)
#define TRIAL_SIZE (1u << 20)
#define PARAMETERS_SIZE 256u

enum {
	TYPE_SEGMENT = 0x02,
	TYPE_UNIT = 0xe4,
	NO_LIST_ID = 3 << 3, /* nobody asks for its results */
	DESTINATION_COUNTS = 1 << 1, /* the number of blocks is in those of the target */
	KEY_ILLEGAL = 0x5,
	KEY_COPY_ABORTED = 0xa,
	KEY_ABORTED = 0xb,
};

/* ---- what is sent ---- */

static struct xcopy_unit_pdu unit(const uint8_t *naa, uint32_t block_size)
{
	struct xcopy_unit_pdu u = {
		.type = TYPE_UNIT,
		.code_set = 1, /* binary */
		.kind = 3,     /* NAA, of the unit */
		.name_len = XCOPY_NAA_SIZE,
		.block_size = be24_of(block_size),
	};

	memcpy(u.name, naa, XCOPY_NAA_SIZE);
	return u;
}

struct xcopy_list_pdu xcopy_list(struct xcopy_place to, struct xcopy_place from,
				 uint32_t blocks, uint32_t block_size)
{
	return (struct xcopy_list_pdu){
		.flags = NO_LIST_ID,
		.units_len = be16_of(2 * sizeof(struct xcopy_unit_pdu)),
		.segments_len = be32_of(sizeof(struct xcopy_segment_pdu)),
		.from = unit(from.naa, block_size),
		.to = unit(to.naa, block_size),
		.segment = {
			.type = TYPE_SEGMENT,
			.flags = DESTINATION_COUNTS,
			.more_len = be16_of(sizeof(struct xcopy_segment_pdu) - 4),
			.from_unit = be16_of(0),
			.to_unit = be16_of(1),
			.blocks = be16_of((uint16_t)blocks),
			.from_lba = be64_of(from.lba),
			.to_lba = be64_of(to.lba),
		},
	};
}

static bool has_type(const uint8_t *types, uint64_t count, uint8_t type)
{
	return memchr(types, type, count);
}

uint64_t xcopy_most(const uint8_t *parameters, uint32_t len, uint32_t block_size,
		    uint64_t most)
{
	struct xcopy_parameters_pdu p;

	if (len < sizeof(p))
		return 0;
	memcpy(&p, parameters, sizeof(p));
	const uint8_t *types = parameters + sizeof(p);
	uint64_t count = min_u64(p.types_len, len - sizeof(p));
	uint32_t max_list = be32_get(p.max_list);
	if (be16_get(p.max_units) < 2 || be16_get(p.max_segments) < 1 ||
	    (max_list && max_list < sizeof(struct xcopy_list_pdu)) ||
	    !has_type(types, count, TYPE_SEGMENT) || !has_type(types, count, TYPE_UNIT))
		return 0;
	most = min_u64(most, (uint64_t)XCOPY_BLOCKS_MAX * block_size);
	if (be32_get(p.max_segment_size))
		most = min_u64(most, be32_get(p.max_segment_size));
	return round_down(most, block_size);
}

/* ---- what it can ---- */

/* NULL: its name is of another kind. */
static const uint8_t *naa_of(const struct lun *lun)
{
	const struct bdev_identity *id = &lun->bd.identity;

	return id->type == 2 && id->len == XCOPY_NAA_SIZE + 6 && id->id[0] >> 4 == 6 ?
		       id->id : NULL;
}

static void init_trial(struct lun_trial *t, const char *name, uint64_t most)
{
	*t = (struct lun_trial){
		.name = name,
		.instead = "copies are read and written",
		.most = most,
		.state = most ? BDEV_OFFLOAD_TOLD : BDEV_OFFLOAD_NONE,
	};
}

void lun_probe_copy(struct lun *lun)
{
	uint8_t answer[PARAMETERS_SIZE] = { 0 };
	struct plain_command p = { .data = answer, .len = sizeof(answer) };
	uint64_t most = 0;

	scsi_cdb_copy_parameters(p.cdb, sizeof(answer));
	if (naa_of(lun) && !lun_command(lun, &p))
		most = xcopy_most(answer, p.ret_len, lun->bd.block_size, MAX_COPY_CHUNK);
	init_trial(&lun->clone, "EXTENDED COPY", most);
	init_trial(&lun->clone_across, "EXTENDED COPY from another unit", most);
}

void lun_copy_probed_as(struct lun *lun, const struct lun *like)
{
	init_trial(&lun->clone, like->clone.name, like->clone.most);
	init_trial(&lun->clone_across, like->clone_across.name, like->clone_across.most);
}

static bool are_of_one_target(const struct lun *a, const struct lun *b)
{
	return a == b || (strcmp(a->url.target, b->url.target) == 0 && naa_of(b) &&
			  a->bd.block_size == b->bd.block_size);
}

/* ---- one piece ---- */

struct piece {
	struct lun *to, *from;
	struct lun_trial *trial;
	uint64_t to_offset, from_offset, len;
};

/* Unknown, and not aborted: until nothing of its session can run. */
static int settle(struct lun *lun)
{
	struct plain_command p = { 0 };

	scsi_cdb_plain(p.cdb, SCSI_TEST_UNIT_READY);
	int error = lun_command(lun, &p);
	/* One path of several does not wait for its next session: pathcopy.c does. */
	if (error == -EBUSY && atomic_load(&lun->watch))
		error = -ETIMEDOUT;
	return error == -ETIMEDOUT || error == -ESTALE ? error : 0;
}

/*
 * What the answer says of the unit. One that has never copied and aborts it will not copy
 * the next: so does LIO where there is a persistent reservation, which its own reads and
 * writes have no key for.
 */
static void note_refusal(const struct piece *piece, struct scsi_sense s)
{
	bool is_new = atomic_load(&piece->trial->state) != BDEV_OFFLOAD_PROVED;

	if (s.key == KEY_ILLEGAL || s.key == KEY_COPY_ABORTED ||
	    (is_new && s.key == KEY_ABORTED))
		lun_trial_refused(piece->to, piece->trial, piece->len, s);
}

/* 0: it has done it. */
static int copy_piece(const struct piece *piece)
{
	uint32_t block_size = piece->to->bd.block_size;
	struct xcopy_list_pdu list = xcopy_list(
		(struct xcopy_place){ naa_of(piece->to), piece->to_offset / block_size },
		(struct xcopy_place){ naa_of(piece->from),
				      piece->from_offset / block_size },
		(uint32_t)(piece->len / block_size), block_size);
	struct plain_command p = { .data = &list,
				   .len = sizeof(list),
				   .is_write = true,
				   .is_unique = true,
				   .is_awaited = true,
				   .fails_on_conflict = true };

	scsi_cdb_extended_copy(p.cdb, sizeof(list));
	int error = lun_command(piece->to, &p);
	if (error == -ETIMEDOUT) {
		lun_trial_late(piece->trial, piece->len);
		note_refusal(piece, p.ret_sense);
		error = p.ret_is_settled ? 0 : settle(piece->to);
		return error ? error : -EOPNOTSUPP;
	}
	if (!error || error == -ESTALE || error == -ENODEV)
		return error;
	note_refusal(piece, p.ret_sense);
	return -EOPNOTSUPP;
}

/* ---- the trial ---- */

static int read_both(const struct piece *piece, uint8_t *to, uint8_t *from)
{
	int error = bdev_read(&piece->from->bd, from, piece->len, piece->from_offset);

	return error ? error
		     : bdev_read(&piece->to->bd, to, piece->len, piece->to_offset);
}

/* The first piece is looked at. */
static int try_piece(const struct piece *piece)
{
	static const struct scsi_sense nothing = { 0, 0, 0 };
	AUTO_FREE uint8_t *to = malloc(piece->len), *from = malloc(piece->len);

	if (!to || !from)
		return -ENOMEM;
	int error = read_both(piece, to, from);
	if (error || memcmp(to, from, piece->len) == 0)
		return error; /* nothing to copy */
	error = copy_piece(piece);
	error = error ? error : read_both(piece, to, from);
	if (error)
		return error;
	if (memcmp(to, from, piece->len) == 0) {
		lun_trial_done(piece->trial);
		return 0;
	}
	lun_trial_refused(piece->to, piece->trial, 0, nothing);
	return -EOPNOTSUPP;
}

/* ---- the whole ---- */

int lun_copy(struct bdev *to_bd, uint64_t to_offset, struct bdev *from_bd,
	     uint64_t from_offset, uint64_t len)
{
	struct piece piece = { .to = (struct lun *)to_bd,
			       .from = (struct lun *)from_bd,
			       .to_offset = to_offset,
			       .from_offset = from_offset };
	struct lun_trial *t = to_bd == from_bd ? &piece.to->clone
					       : &piece.to->clone_across;

	if (!are_of_one_target(piece.to, piece.from))
		return -EOPNOTSUPP;
	piece.trial = t;
	while (len) {
		if (lun_is_refused(t))
			return -EOPNOTSUPP;
		bool is_trial = atomic_load(&t->state) != BDEV_OFFLOAD_PROVED;
		piece.len = min_u64(len, t->most);
		if (is_trial)
			piece.len = min_u64(piece.len, TRIAL_SIZE);
		int error = is_trial ? try_piece(&piece) : copy_piece(&piece);
		if (error)
			return error;
		piece.to_offset += piece.len;
		piece.from_offset += piece.len;
		len -= piece.len;
	}
	return 0;
}
