/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading beside a writer. A member writes each transaction into its log before it writes
 * any of it in place. So, for whatever its locks cover:
 *
 *	committed state = what stands in place + all records of its log, in order
 *
 * A reader reads the log, then the pieces it needs, each with the records laid over it,
 * then looks at the log again (logview_follow). If the log is still of the same filling
 * and no record that came meanwhile touches a piece, then all pieces are of one committed
 * state: whatever was written in place between the two looks was of records that the
 * first one had seen. It does not matter whether the writer goes on, is slow, or died in
 * the middle.
 *
 * A record counts if all its locks are as it was logged under, like at a replay
 * (LOCKING.md 10.5): a storage that lost its power may have kept the record and not the
 * locks that were taken before it. There the log ends. If the locks had been given back
 * in between, the log was emptied before, which the second look sees.
 *
 * Is it the same filling? Sector 0 has a number of its own in each. While the log is
 * empty it is zero; then the place of the first record tells: sector 0 is written before
 * the first record of a filling, so a record there and sector 0 zero means that the
 * filling of that record is over, and if both looks see the same, none began in between.
 * For that the place of the first record is read first, sector 0 second.
 */
#include "vmfs/logview.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/gate.h"
#include "vmfs/heartbeat.h"
#include "vmfs/volume.h"

#define SECTOR VMFS_SECTOR_SIZE

static int read_marks(const struct logview *v, uint8_t marks[2][SECTOR])
{
	uint64_t at = le64_get(v->slot.journal_vol_off);

	memset(marks, 0, 2 * SECTOR);
	if (!le32_get(v->slot.journal_addr))
		return 0;
	int err = vmfs_gate_look(v->vol, at + JOURNAL_FIRST_SECTOR * SECTOR, marks[1]);
	return err ? err : vmfs_gate_look(v->vol, at, marks[0]);
}

int logview_holder(struct vmfs_volume *vol, const struct vmfs_lock_disk *lockd,
		   struct vmfs_heartbeat_disk *ret_slot)
{
	uint64_t at = le64_get(lockd->hb_addr);
	int err = vmfs_gate_read(vol, at, ret_slot, sizeof(*ret_slot));

	if (err)
		return err;
	if (heartbeat_verify(ret_slot, at))
		return vol->is_read_only
			       ? -EAGAIN /* of another system, and changing */
			       : vmfs_corrupt(vol,
					      "heartbeat slot at 0x%llx is damaged",
					      (unsigned long long)at);
	return le32_get(ret_slot->state) == HEARTBEAT_LIVE &&
			       le64_get(ret_slot->generation) == le64_get(lockd->hb_gen)
		       ? 0
		       : -EAGAIN;
}

/*
 * Calls `visit` for each target of a record. The record's CRC is right, not its author.
 */
static void each_target(const uint8_t *record,
			void (*visit)(const struct vmfs_journal_target_disk *td,
				      const uint8_t *data, void *arg),
			void *arg)
{
	struct vmfs_journal_desc_disk head;
	memcpy(&head, record, sizeof(head));
	uint32_t count = le32_get(head.target_count);
	uint32_t left = le32_get(head.payload_sectors);
	const uint8_t *data = record + journal_desc_sectors(count) * SECTOR;

	for (uint32_t i = 0; i < count; i++) {
		struct vmfs_journal_target_disk td;

		memcpy(&td, record + sizeof(head) + i * sizeof(td), sizeof(td));
		uint32_t sectors = le16_get(td.sectors);
		if (!sectors || sectors > left)
			return;
		visit(&td, data, arg);
		data += sectors * SECTOR;
		left -= sectors;
	}
}

/* ---- which records count ---- */

struct check {
	struct logview *v;
	int err;
	bool stands;
};

static bool is_known(const struct logview *v, uint64_t lock_off, uint64_t token)
{
	for (unsigned int i = 0; i < v->lock_count; i++)
		if (v->locks[i].vol_off == lock_off && v->locks[i].token == token)
			return true;
	return false;
}

static void check_lock(const struct vmfs_journal_target_disk *td, const uint8_t *data,
		       void *arg)
{
	struct check *c = arg;
	struct logview *v = c->v;
	struct logview_lock lock = { le64_get(td->lock_off), le64_get(td->token) };

	(void)data;
	if (c->err || !c->stands || is_known(v, lock.vol_off, lock.token))
		return;
	if (v->lock_count == v->lock_room) {
		unsigned int room = v->lock_room ? 2 * v->lock_room : 8;
		struct logview_lock *more = reallocarray(v->locks, room, sizeof(*more));
		if (!more) {
			c->err = -ENOMEM;
			return;
		}
		v->locks = more;
		v->lock_room = room;
	}
	c->err = journal_lock_stands(&v->log, td, 0, &c->stands);
	if (!c->err && c->stands)
		v->locks[v->lock_count++] = lock;
}

static int check_record(struct logview *v, const uint8_t *record)
{
	struct check c = { .v = v, .stands = true };

	each_target(record, check_lock, &c);
	v->is_cut = !c.err && !c.stands;
	return c.err;
}

static int make_room(struct logview *v)
{
	if (v->count < v->room)
		return 0;
	unsigned int room = v->room ? 2 * v->room : 8;
	uint8_t **bigger = reallocarray(v->records, room, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	v->records = bigger;
	v->room = room;
	return 0;
}

/* All records from where we are to the end. */
static int read_on(struct logview *v)
{
	int err = 0;

	while (!err && v->state == JOURNAL_OURS && !v->is_cut) {
		uint8_t *record = NULL;

		err = make_room(v);
		if (!err)
			err = journal_log_next(&v->log, &record);
		if (err || !record)
			break;
		err = check_record(v, record);
		if (err || v->is_cut)
			free(record);
		else
			v->records[v->count++] = record;
	}
	return err;
}

static int begin(struct logview *v)
{
	int err = journal_log_open(v->vol, &v->slot, &v->log, &v->state);

	v->log.slot = &v->slot;
	return err ? err : read_on(v);
}

int logview_open(struct logview *v, struct vmfs_volume *vol,
		 const struct vmfs_heartbeat_disk *slot)
{
	*v = (struct logview){ .vol = vol, .slot = *slot };
	/* Of another system, and perhaps an address that is not known here: no log. */
	if (le32_get(slot->xmagic) != HEARTBEAT_XMAGIC &&
	    !journal_is_in_place(vol, slot))
		v->slot.journal_addr = le32_of(0);
	int err = read_marks(v, v->marks);
	return err ? err : begin(v);
}

static void drop_records(struct logview *v)
{
	while (v->count)
		free(v->records[--v->count]);
}

void logview_done(struct logview *v)
{
	drop_records(v);
	free(v->records);
	free(v->locks);
	*v = (struct logview){ .vol = v->vol, .slot = v->slot };
}

static int has_next(const struct logview *v, bool *ret_has)
{
	*ret_has = false;
	return v->state == JOURNAL_OURS && !v->is_cut ?
		       journal_log_has_next(&v->log, ret_has) : 0;
}

int logview_follow(struct logview *v, bool *ret_is_same)
{
	static const uint8_t zero[SECTOR];
	uint8_t marks[2][SECTOR];
	int err = read_marks(v, marks);

	if (err)
		return err;
	bool was_empty = !memcmp(v->marks[0], zero, SECTOR);
	*ret_is_same = was_empty ? !memcmp(v->marks[1], marks[1], SECTOR)
				 : !memcmp(v->marks[0], marks[0], SECTOR);
	if (!*ret_is_same)
		return 0;
	bool is_begun = was_empty && memcmp(marks[0], zero, SECTOR) != 0;
	bool has_more = false;
	if (is_begun)
		err = begin(v);
	else
		err = has_next(v, &has_more);
	if (!err && has_more)
		err = read_on(v);
	if (!err) /* else the next look finds again what this one did not come to */
		memcpy(v->marks, marks, sizeof(v->marks));
	return err;
}

/* Does all that this member changes come by its log, as far as is known? */
static bool tells_all(const struct logview *v)
{
	return le32_get(v->slot.xmagic) == HEARTBEAT_XMAGIC &&
	       le32_get(v->slot.journal_addr) && v->state != JOURNAL_FOREIGN &&
	       !v->is_cut;
}

struct span {
	uint64_t vol_off, lock_off, token;
	uint32_t len;
	uint8_t *buf;
	bool is_touched;
};

/* What a target and a span have in common: [*from, *to) of the volume. */
static bool overlap(const struct vmfs_journal_target_disk *td, const struct span *s,
		    uint64_t *from, uint64_t *to)
{
	uint64_t off = le64_get(td->vol_off);
	uint64_t end = off + (uint64_t)le16_get(td->sectors) * SECTOR;

	*from = max_u64(off, s->vol_off);
	*to = min_u64(end, s->vol_off + s->len);
	return end > off && *from < *to;
}

static void copy_common(const struct vmfs_journal_target_disk *td, const uint8_t *data,
			void *arg)
{
	struct span *s = arg;
	uint64_t from, to;

	if (le64_get(td->lock_off) == s->lock_off && le64_get(td->token) == s->token &&
	    overlap(td, s, &from, &to))
		memcpy(s->buf + (from - s->vol_off),
		       data + (from - le64_get(td->vol_off)), to - from);
}

static void note_common(const struct vmfs_journal_target_disk *td, const uint8_t *data,
			void *arg)
{
	struct span *s = arg;
	uint64_t from, to;

	(void)data;
	s->is_touched |= overlap(td, s, &from, &to);
}

void logview_apply(const struct logview *v, uint64_t lock_off, uint64_t token,
		   uint64_t vol_off, uint32_t len, uint8_t *buf)
{
	struct span s = { vol_off, lock_off, token, len, buf, false };

	for (unsigned int i = 0; i < v->count; i++)
		each_target(v->records[i], copy_common, &s);
}

static void note_lock(const struct vmfs_journal_target_disk *td, const uint8_t *data,
		      void *arg)
{
	struct span *s = arg;

	(void)data;
	s->is_touched |= le64_get(td->lock_off) == s->lock_off;
}

int logview_watch(struct logview *v, uint64_t lock_off, bool *ret_is_same)
{
	struct span s = { .lock_off = lock_off };
	int err = logview_follow(v, ret_is_same);

	if (err || !*ret_is_same)
		return err;
	for (unsigned int i = 0; i < v->count; i++)
		each_target(v->records[i], note_lock, &s);
	*ret_is_same = !s.is_touched && tells_all(v);
	if (*ret_is_same)
		drop_records(v); /* else it is said again */
	return 0;
}

int logview_peek(const struct logview *v, bool *ret_is_same)
{
	uint8_t marks[2][SECTOR];
	bool has_more = false;
	int err = read_marks(v, marks);

	if (!err)
		err = has_next(v, &has_more);
	*ret_is_same = !err && !memcmp(v->marks, marks, sizeof(marks)) && !has_more &&
		       !v->count && tells_all(v);
	return err;
}

int logview_open_watch(struct logview *v, struct vmfs_volume *vol,
		       const struct vmfs_heartbeat_disk *slot)
{
	int err = logview_open(v, vol, slot);

	drop_records(v);
	return !err && !tells_all(v) ? -EAGAIN : err;
}

bool logview_touches(const struct logview *v, unsigned int first, uint64_t vol_off,
		     uint32_t len)
{
	struct span s = { .vol_off = vol_off, .len = len };

	for (unsigned int i = first; i < v->count; i++)
		each_target(v->records[i], note_common, &s);
	return s.is_touched;
}
