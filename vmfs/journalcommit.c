/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of this member, written: records, and the places that they name. (The block,
 * its form and how another one's is read and replayed: journal.c.)
 *
 *   prompt: record -> FLUSH -> places ...................... FLUSH -> sector 0 zero
 *   late:   record  record  record ... -> FLUSH -> places -> FLUSH -> sector 0 zero
 *           '- their places are kept in memory (homes.c) -'   (journal_empty)
 *
 * Prompt, a transaction is durable when journal_commit() returns. Late, it is so when a
 * FLUSH that was sent behind it has ended: of journal_sync(), of journal_empty(), of a
 * prompt record, or of whatever else flushes. Records are written all the same, one by
 * one and at once: a process that is killed loses nothing, and hosts beside us read what
 * we committed (logview.c). A loss of power takes back the last ones. Those of a lazy log
 * that lies in a file go into the kernel's memory, where they wait for no device
 * (BDEV_CACHED): the log has whole pages, and only its host writes there. A loss of the
 * kernel takes back as much then as one of power.
 *
 * Late are all records of a lazy log, and those of others that nobody was promised
 * (vmfs_txn_may_wait: blocks that a first write takes). Behind a late one the places of
 * prompt ones are kept as well, until the log is emptied.
 *
 * Invariants, of both:
 *  1 a record is durable before any sector of it is written in place;
 *  2 the log is emptied only as a whole, after all places are written and flushed, and
 *    before any lock leaves us;
 *  3 if a record is not durable, no later one counts: replay ends where one is missing.
 *    So what a loss of power leaves is what was committed up to some moment, and that is
 *    not before the last FLUSH.
 * Of late ones:
 *  4 a sector that was logged and not yet written in place is read from homes: by
 *    ourselves through the gate; by others from the log, which they lay over the place;
 *  5 a block that was freed is not given to a file before its freeing is durable: what is
 *    written to it meanwhile would be in a file that a loss of power gives it back to
 *    (journal_before_reuse);
 *  6 nothing is older than some seconds: the maintenance task flushes (journal_sync_old);
 *  7 if a FLUSH fails, nobody knows which records stand: the volume dies with its locks
 *    held, and who takes it over replays what does. Homes die with it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vmfs/gate.h"
#include "vmfs/member.h"
#include "vmfs/unflushed.h"
#include "vmfs/volume.h"

#define SECTOR VMFS_SECTOR_SIZE
#define RUN_SECTORS 256u /* written in place at a time */

static struct vmfs_journal *log_of(struct vmfs_volume *vol)
{
	return &vol->member->journal;
}

/* ---- durable ---- */

/* Perhaps durable, perhaps not: nobody may act on either. */
static int lose(struct vmfs_volume *vol, const char *why)
{
	heartbeat_die(&vol->member->hb, -ESTALE, why);
	return -ESTALE;
}

/* Records before seq are durable. With txn_lock. */
static void note_durable(struct vmfs_journal *j, uint64_t seq)
{
	j->durable_seq = max_u64(j->durable_seq, seq);
	if (j->durable_seq == j->next_seq)
		__atomic_store_n(&j->is_late, false, __ATOMIC_RELEASE);
}

bool journal_is_late(const struct vmfs_volume *vol)
{
	return vol->member &&
	       __atomic_load_n(&vol->member->journal.is_late, __ATOMIC_ACQUIRE);
}

/* All records are durable then. With txn_lock. */
static int sync_held(struct vmfs_volume *vol)
{
	struct vmfs_journal *j = log_of(vol);

	if (j->durable_seq == j->next_seq)
		return 0;
	if (vmfs_gate_flush(vol))
		return lose(vol, "the journal could not be written");
	note_durable(j, j->next_seq);
	return 0;
}

int journal_sync(struct vmfs_volume *vol)
{
	struct vmfs_journal *j = log_of(vol);

	if (!journal_is_late(vol))
		return heartbeat_dead(&vol->member->hb);
	sleeplock_acquire(&vol->txn_lock);
	uint64_t seq = j->next_seq;
	bool is_durable = j->durable_seq == seq;
	sleeplock_release(&vol->txn_lock);
	if (is_durable)
		return heartbeat_dead(&vol->member->hb);
	/* Others go on meanwhile: what they log is for the next one. */
	if (vmfs_gate_flush(vol))
		return lose(vol, "the journal could not be written");
	sleeplock_acquire(&vol->txn_lock);
	note_durable(j, seq);
	sleeplock_release(&vol->txn_lock);
	return 0;
}

void journal_sync_old(struct vmfs_volume *vol, uint64_t age_ns)
{
	struct vmfs_journal *j = log_of(vol);

	if (!journal_is_late(vol))
		return;
	sleeplock_acquire(&vol->txn_lock);
	bool is_old = j->durable_seq != j->next_seq &&
		      clock_now() - j->oldest >= age_ns;
	sleeplock_release(&vol->txn_lock);
	if (is_old)
		(void)!journal_sync(vol); /* the volume is dead then, and says so */
}

void journal_note_freed(struct vmfs_volume *vol)
{
	log_of(vol)->freed_seq = log_of(vol)->next_seq;
}

int journal_before_reuse(struct vmfs_volume *vol)
{
	struct vmfs_journal *j = log_of(vol);

	return j->freed_seq > j->durable_seq ? sync_held(vol) : 0;
}

/* ---- in place ---- */

/* From home `at` on: as many runs as go at once, and have room; their sectors. */
static uint32_t gather_runs(const struct vmfs_homes *h, uint32_t at, uint8_t *buf,
			    struct gate_write *writes, unsigned int *ret_count)
{
	uint32_t sectors = 0;
	unsigned int count = 0;

	while (count < GATE_WRITES_MAX && sectors < RUN_SECTORS) {
		struct gate_write *w = &writes[count];
		uint8_t *to = buf + (size_t)sectors * SECTOR;
		uint32_t n = homes_gather(h, at + sectors, RUN_SECTORS - sectors, to,
					  &w->vol_off);

		if (!n)
			break;
		w->buf = to;
		w->len = (uint64_t)n * SECTOR;
		sectors += n;
		count++;
	}
	*ret_count = count;
	return sectors;
}

/* All that is kept: where it belongs. The records that have it are durable. */
static int write_homes(struct vmfs_volume *vol)
{
	struct vmfs_homes *h = &log_of(vol)->homes;
	uint8_t *buf = io_alloc(RUN_SECTORS * SECTOR);
	struct gate_write writes[GATE_WRITES_MAX];
	uint32_t at = 0, n;
	unsigned int count;
	int err = 0;

	if (!buf)
		return -ENOMEM;
	homes_sort(h);
	__atomic_store_n(&h->is_going_home, true, __ATOMIC_RELAXED);
	while (!err && (n = gather_runs(h, at, buf, writes, &count))) {
		err = vmfs_gate_write_all(vol, writes, count);
		at += n;
	}
	__atomic_store_n(&h->is_going_home, false, __ATOMIC_RELAXED);
	free(buf);
	if (err)
		return lose(vol, "committed transactions could not be written in place");
	homes_clear(h);
	return 0;
}

int journal_write_places(struct vmfs_volume *vol, const struct journal_target *targets,
			 unsigned int count)
{
	struct vmfs_journal *j = log_of(vol);
	/* Behind what is kept, too: an older image of a sector would go home later. */
	bool is_kept = j->homes.count || j->durable_seq != j->next_seq;

	for (unsigned int i = 0; is_kept && i < count; i++) {
		const uint8_t *data = targets[i].data;

		for (uint32_t k = 0; k < targets[i].sectors; k++)
			homes_put(&j->homes, targets[i].vol_off + (uint64_t)k * SECTOR,
				  data + (size_t)k * SECTOR);
	}
	for (unsigned int i = 0; !is_kept && i < count; i++) {
		if (vmfs_gate_write(vol, targets[i].vol_off, targets[i].data,
				    (uint64_t)targets[i].sectors * SECTOR, 0))
			return lose(vol, "a committed transaction could not be written "
					 "in place");
	}
	return 0;
}

int journal_empty(struct vmfs_volume *vol)
{
	struct vmfs_journal *j = log_of(vol);
	uint8_t zero[SECTOR] = { 0 };
	int err = 0;

	assert(sleeplock_is_mine(&vol->txn_lock));
	bool has_log = !addr_is_none(j->addr) && !j->is_empty;
	if (has_log && j->homes.count) {
		err = sync_held(vol);
		if (!err)
			err = write_homes(vol);
	}
	if (!err && (has_log || unflushed_has_any(vol)))
		err = vmfs_gate_flush(vol);
	if (err || !has_log)
		return err;
	err = vmfs_gate_write(vol, j->vol_off, zero, sizeof(zero), BDEV_FUA);
	if (err)
		return err;
	j->is_empty = true;
	j->has_freed = false;
	note_durable(j, j->next_seq);
	j->next_sector = JOURNAL_FIRST_SECTOR;
	return 0;
}

/* ---- records ---- */

static void put_targets(uint8_t *record, const struct journal_target *targets,
			unsigned int count)
{
	size_t at = sizeof(struct vmfs_journal_desc_disk);

	for (unsigned int i = 0; i < count; i++) {
		struct vmfs_journal_target_disk td = {
			.vol_off = le64_of(targets[i].vol_off),
			.lock_off = le64_of(targets[i].lock_off),
			.token = le64_of(targets[i].token),
			.sectors = le16_of((uint16_t)targets[i].sectors),
			.crc = le32_of(journal_crc(targets[i].data,
						   targets[i].sectors * SECTOR)),
		};

		memcpy(record + at, &td, sizeof(td));
		at += sizeof(td);
	}
}

static void put_record(const struct vmfs_journal *j, uint8_t *record,
		       const struct journal_target *targets, unsigned int count,
		       uint32_t payload)
{
	uint32_t desc = journal_desc_sectors(count);
	struct vmfs_journal_desc_disk head = {
		.magic = le32_of(JOURNAL_DESC_MAGIC),
		.nonce = le64_of(j->nonce_low),
		.seq = le64_of(j->next_seq),
		.target_count = le32_of(count),
		.payload_sectors = le32_of(payload),
		.desc_sectors = le32_of(desc),
	};
	uint8_t *at = record + desc * SECTOR;

	memcpy(record, &head, sizeof(head));
	put_targets(record, targets, count);
	for (unsigned int i = 0; i < count; i++) {
		memcpy(at, targets[i].data, targets[i].sectors * SECTOR);
		at += targets[i].sectors * SECTOR;
	}
	struct vmfs_journal_commit_disk tail = {
		.magic = le32_of(JOURNAL_COMMIT_MAGIC),
		.nonce = le64_of(j->nonce_low),
		.seq = le64_of(j->next_seq),
		.sectors = le32_of(desc + payload),
		.crc = le32_of(journal_crc(record, (desc + payload) * SECTOR)),
	};
	memcpy(at, &tail, sizeof(tail));
}

static int write_state(struct vmfs_volume *vol)
{
	const struct vmfs_journal *j = &vol->member->journal;
	struct vmfs_journal_state_disk state = {
		.magic = le32_of(JOURNAL_STATE_MAGIC),
		.nonce = le64_of(j->nonce_low),
		.first_seq = le64_of(j->next_seq),
	};

	state.crc = le32_of(
		journal_crc(&state, offsetof(struct vmfs_journal_state_disk, crc)));
	return vmfs_gate_write(vol, j->vol_off, &state, sizeof(state), 0);
}

int journal_commit(struct vmfs_volume *vol, const struct journal_target *targets,
		   unsigned int count, bool may_wait)
{
	struct vmfs_journal *j = log_of(vol);
	uint32_t payload = 0;
	int err = 0;

	assert(sleeplock_is_mine(&vol->txn_lock) && !addr_is_none(j->addr) && count);
	for (unsigned int i = 0; i < count; i++)
		payload += targets[i].sectors;
	uint32_t sectors = journal_desc_sectors(count) + payload + 1;
	if (payload > JOURNAL_PAYLOAD_MAX ||
	    j->sector_count < JOURNAL_FIRST_SECTOR + sectors)
		return -E2BIG;
	if (j->next_sector + sectors > j->sector_count)
		err = journal_empty(vol);
	if (err)
		return err;
	uint8_t *record = io_alloc(sectors * SECTOR);
	if (!record)
		return -ENOMEM;
	put_record(j, record, targets, count, payload);
	if (j->is_empty)
		err = write_state(vol);
	if (!err)
		err = vmfs_gate_write(vol,
				      j->vol_off + (uint64_t)j->next_sector * SECTOR,
				      record, (uint64_t)sectors * SECTOR,
				      j->record_flags);
	free(record);
	if (err)
		return lose(vol, "the journal could not be written");
	if (j->durable_seq == j->next_seq)
		j->oldest = clock_now();
	j->is_empty = false;
	j->next_sector += sectors;
	j->next_seq++;
	if (!j->is_lazy && !may_wait)
		return sync_held(vol);
	__atomic_store_n(&j->is_late, true, __ATOMIC_RELEASE);
	return 0;
}
