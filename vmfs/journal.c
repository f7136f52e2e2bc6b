/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The redo log (LOCKING.md 10.3 to 10.6): one block of ours, a file block or, on VMFS-6,
 * one of .jbc.sf.
 *
 *   sector 0        state: all zero = empty; else nonce and the first sequence number
 *   sector 1, 2     header and its copy: whose log this is (volume, slot, generation,
 *                   owner)
 *   sector 3 ...    records: descriptor sector(s), payload, commit sector
 *
 * Invariants:
 *  1 a record is written, and durable (FLUSH), before any of its targets is written in
 *    place (journalcommit.c);
 *  2 the log is emptied only as a whole: in-place writes FLUSHed, then sector 0 zeroed
 *    and FLUSHed. So records are contiguous from sector 3 and there is no tail to find;
 *  3 sequence numbers grow over the whole mount: left-over records of an earlier filling
 *    never carry the expected one. The nonce is new at every mount and stands only here,
 *    so guest data cannot imitate a record;
 *  4 no lock is released while the log is not durably empty: so a replayer finds every
 *    lock of every record still held by the dead member, with the token that was logged.
 *
 * Sector 0 is written, then the first record, and one FLUSH makes both durable: sector 0
 * alone means "no valid record follows"; the record alone, with sector 0 zero, was never
 * committed. A torn record fails its CRC and means the same, rightly: in-place writes
 * begin after the FLUSH. The order is for readers beside us (logview.c): a record in its
 * place and sector 0 zero means that this filling is over.
 *
 * Replay: absolute sector images in order, a record only if all its locks show (slot,
 * generation, owner, token); the first that does not ends the log. By invariant 4 this
 * can only be the last one, never committed: its locks were taken, but the target lost
 * power before the FLUSH that would have made them, and it, durable, and it happened to
 * be on the medium already. Nothing replay reads can change while the slot is claimed, so
 * it can be interrupted and repeated by anybody, any number of times.
 */
#include <assert.h>
#include <errno.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vmfs/cache.h"
#include "vmfs/cluster.h"
#include "vmfs/cover.h"
#include "vmfs/gate.h"
#include "vmfs/member.h"
#include "vmfs/unflushed.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

#define SECTOR VMFS_SECTOR_SIZE
#define TARGETS_FIRST ((SECTOR - sizeof(struct vmfs_journal_desc_disk)) / \
		       sizeof(struct vmfs_journal_target_disk))
#define TARGETS_NEXT (SECTOR / sizeof(struct vmfs_journal_target_disk))
#define CLUSTER_PATIENCE_NS (5 * NS_PER_S)
#define WANT_NS (2 * NS_PER_S) /* a holder that lives hears of it within 1 s */
#define LOOK_NS (50 * NS_PER_MS)
#define PAGE_SIZE_MAX (64u << 10) /* of any kernel */

uint32_t journal_crc(const void *data, size_t len)
{
	union {
		const void *in;
		unsigned char *out;
	} p = { .in = data };

	return ~crc32_iscsi(p.out, (int)len, 0xffffffffu);
}

static bool is_zero(const void *data, size_t len)
{
	const uint8_t *b = data;

	return !b[0] && !memcmp(b, b + 1, len - 1);
}

uint32_t journal_desc_sectors(uint32_t count)
{
	if (count <= TARGETS_FIRST)
		return 1;
	return 1 + (uint32_t)div_up(count - TARGETS_FIRST, TARGETS_NEXT);
}

/* ---- the block of a member ---- */

/* Which kind of block is a journal. */
static enum vmfs_resource_type journal_kind(const struct vmfs_volume *vol)
{
	return vol->shape->version == 6 ? RESOURCE_JBC : RESOURCE_FBB;
}

static uint32_t journal_sectors(const struct vmfs_volume *vol)
{
	const struct vmfs_resource *res = &vol->resources[journal_kind(vol)];

	return (res->resource_size ? res->resource_size : vol->block_size) / SECTOR;
}

/*
 * A cluster of such blocks in the hand: locked, read, not logged, since there may be no
 * log.
 */
struct block_cluster {
	struct vmfs_lock_id id;
	struct cluster c;
	uint8_t page[VMFS6_PAGE];
};

static int open_cluster(struct vmfs_volume *vol, uint32_t number, uint64_t deadline,
			struct block_cluster *ret)
{
	const struct vmfs_shape *shape = vol->shape;
	struct verify why;
	int err = resource_lock_id(vol, journal_kind(vol), number, &ret->id);

	if (!err)
		err = vmfs_lock_acquire(vol, &ret->id, LOCK_EXCLUSIVE, deadline, NULL);
	if (err)
		return err;
	err = vmfs_gate_read(vol, ret->id.vol_off + shape->cluster_meta_off, ret->page,
			     shape->cluster_meta_size);
	ret->c = cluster_of(vol, journal_kind(vol), number, ret->page);
	if (!err && cluster_verify(&ret->c, &why) < 0)
		err = vmfs_corrupt(vol, "cluster %u of blocks for journals: %s", number,
				   why.text);
	if (err) {
		int release_err = vmfs_lock_release(vol, &ret->id);
		(void)release_err; /* the first error counts */
	}
	return err;
}

/* State, count and hint are in the first sector, so they change as one. */
static int write_cluster(struct vmfs_volume *vol, struct block_cluster *c)
{
	cluster_seal(&c->c, &vol->member->hb.owner);
	int err = vmfs_gate_write(vol, c->id.vol_off + vol->shape->cluster_meta_off,
				  c->page, SECTOR, 0);
	return err ? err : vmfs_gate_flush(vol);
}

/* is_changed: writes it first. The lock goes back either way. */
static int close_cluster(struct vmfs_volume *vol, struct block_cluster *c,
			 bool is_changed)
{
	int err = is_changed ? write_cluster(vol, c) : 0;

	if (is_changed)
		resource_recount(&vol->resources[journal_kind(vol)], c->c.number);
	vmfs_cache_drop_lock(vol->cache, c->id.vol_off);
	int release_err = vmfs_lock_release(vol, &c->id);
	return err ? err : release_err;
}

int journal_write_header(struct vmfs_volume *vol)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;
	struct vmfs_journal *j = &vol->member->journal;
	uint8_t sectors[3][SECTOR];
	struct vmfs_journal_header_disk head = {
		.magic = le32_of(JOURNAL_HEADER_MAGIC),
		.version = le32_of(1),
		.hb_addr = le64_of(hb->vol_off),
		.hb_gen = le64_of(hb->generation),
		.nonce_low = le64_of(j->nonce_low),
		.nonce_high = le64_of(j->nonce_high),
	};

	memcpy(head.volume_uuid, vol->descriptor.uuid, 16);
	memcpy(head.owner, hb->owner.b, 16);
	head.crc = le32_of(
		journal_crc(&head, offsetof(struct vmfs_journal_header_disk, crc)));
	memset(sectors[0], 0, SECTOR);
	memcpy(sectors[1], &head, SECTOR);
	memcpy(sectors[2], &head, SECTOR);
	int err = vmfs_gate_write(vol, j->vol_off, sectors, sizeof(sectors), 0);
	return err ? err : vmfs_gate_flush(vol);
}

static vmfs_addr block_addr(const struct vmfs_volume *vol, uint32_t cluster,
			    uint32_t index)
{
	const struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];

	if (journal_kind(vol) == RESOURCE_JBC)
		return addr_of(ADDR_JB, cluster, index);
	return addr_fb(cluster * res->per_cluster + index, 0);
}

/* How many of its blocks we know of, and can reach: the volume may have grown. */
static uint32_t blocks_known(const struct vmfs_volume *vol, const struct cluster *c)
{
	const struct vmfs_resource *res = &vol->resources[journal_kind(vol)];
	uint64_t first = (uint64_t)c->number * res->per_cluster;
	uint64_t end = min_u64(res->count, res->reach);

	return end > first ? (uint32_t)min_u64(c->total, end - first) : 0;
}

/* The first free block of a cluster becomes the journal: header first, then the bit, so
 * a block lost by a crash in between shows what it is. -ENOSPC, -EBUSY: try another. */
static int take_from(struct vmfs_volume *vol, uint32_t cluster, uint64_t deadline)
{
	struct vmfs_journal *j = &vol->member->journal;
	struct block_cluster c;
	int err = open_cluster(vol, cluster, deadline, &c);

	if (err)
		return err;
	uint32_t end = blocks_known(vol, &c.c);
	uint32_t at = cluster_next_free(&c.c, 0, end);
	if (at >= end)
		err = -ENOSPC;
	if (!err) {
		j->addr = block_addr(vol, cluster, at);
		err = resource_addr_off(vol, j->addr, &j->vol_off);
	}
	if (!err)
		err = journal_write_header(vol);
	if (!err) {
		cluster_take(&c.c, at, (vmfs_addr){ 0 });
		cluster_set_hint(&c.c, cluster_count_free(&c.c, c.c.total)
					       ? (at + 1) % c.c.total
					       : 0);
	}
	int close_err = close_cluster(vol, &c, !err);
	err = err ? err : close_err;
	if (err)
		j->addr = (vmfs_addr){ 0 };
	return err;
}

/* One look at all clusters, from where this host starts. */
static int take_round(struct vmfs_volume *vol, uint64_t deadline)
{
	const struct vmfs_resource *res = &vol->resources[journal_kind(vol)];
	int worst = -ENOSPC;

	for (uint32_t i = 0; i < res->cluster_count; i++) {
		int err = take_from(vol, (res->start_cluster + i) % res->cluster_count,
				    deadline);
		if (err == -EBUSY)
			worst = -EBUSY;
		else if (err != -ENOSPC)
			return err;
	}
	return worst;
}

/* Shows, or shows no more, that we wait for n clusters from the first-th on. */
static void want_clusters(struct vmfs_volume *vol, uint32_t first, uint32_t n,
			  bool is_wanted)
{
	const struct vmfs_resource *fbb = &vol->resources[RESOURCE_FBB];
	struct vmfs_lock_id id;

	for (uint32_t i = first; i < first + n; i++) {
		uint32_t at = (fbb->start_cluster + i) % fbb->cluster_count;

		if (!resource_lock_id(vol, RESOURCE_FBB, at, &id))
			heartbeat_want(&vol->member->hb, id.vol_off, is_wanted);
	}
}

/*
 * Others have all that has room. Waits for as many clusters at a time as a slot can show,
 * then for the next ones: who holds the first may have been stopped, or may be dead and
 * not known to be, while a host that lives gives one back within a second.
 */
static int take_whatever(struct vmfs_volume *vol, uint64_t deadline)
{
	const struct vmfs_resource *fbb = &vol->resources[RESOURCE_FBB];
	uint32_t n = (uint32_t)min_u64(HEARTBEAT_WANT_COUNT, fbb->cluster_count);
	int err = -EBUSY;

	for (uint32_t first = 0; err == -EBUSY && clock_now() < deadline; first += n) {
		uint64_t until = min_u64(clock_now() + WANT_NS, deadline);

		want_clusters(vol, first, n, true);
		do {
			task_sleep_until(clock_now() + LOOK_NS);
			err = take_round(vol, 0);
		} while (err == -EBUSY && clock_now() < until);
		want_clusters(vol, first, n, false);
	}
	return err;
}

/*
 * Where nobody is first; then also where others are: many hosts may join at once, and on
 * a small volume the dead may hold all that has room until they are taken over.
 */
static int take_block(struct vmfs_volume *vol)
{
	int err = take_round(vol, 0);

	if (err == -EBUSY)
		err = take_whatever(vol,
				    clock_now() + 2 * vol->member->hb.timing.dead_ns);
	if (err != -EBUSY && err != -ENOSPC)
		return err;
	return report_error(vol->reporter, err,
			    "volume %.128s: no block for this host's journal%s",
			    (const char *)vol->descriptor.label,
			    err == -EBUSY ? " (all with room are locked)"
					  : " (volume full)");
}

/*
 * A lazy log in a file is written into the kernel's memory, if it has whole pages; they
 * are read into it all at once, or each record would wait for the first sight of one.
 */
static void log_in_memory(struct vmfs_volume *vol)
{
	struct vmfs_journal *j = &vol->member->journal;
	uint64_t dev_off, run, len = (uint64_t)j->sector_count * SECTOR;
	struct bdev *bd;

	if (!j->is_lazy || lvm_map(&vol->lvm, j->vol_off, &bd, &dev_off, &run) ||
	    !bd->has_cached_write || run < len || (dev_off | len) % PAGE_SIZE_MAX)
		return;
	void *seen = io_alloc(len);
	if (seen) /* a hint: if it fails, records are slower, or fail themselves */
		(void)!lvm_read_cached(&vol->lvm, j->vol_off, seen, len);
	free(seen);
	j->record_flags = BDEV_CACHED;
}

int journal_create(struct vmfs_volume *vol)
{
	struct vmfs_journal *j = &vol->member->journal;

	j->sector_count = journal_sectors(vol);
	j->next_sector = JOURNAL_FIRST_SECTOR;
	j->next_seq = j->durable_seq = 1;
	j->nonce_low = random_u64() | 1;
	j->nonce_high = random_u64();
	j->is_empty = true;
	int err = homes_init(&j->homes, j->sector_count);
	if (!err)
		err = take_block(vol);
	if (!err)
		err = heartbeat_publish_journal(&vol->member->hb,
						(uint32_t)j->addr.raw, j->vol_off);
	/* Renewals are not flushed; this one a replayer has to find. */
	if (!err)
		err = vmfs_gate_flush_device(vol, vol->member->hb.bd);
	if (!err)
		log_in_memory(vol);
	return err;
}

/* A block of the pool goes back as mkfs left it: no other host's journal begins there. */
static int clear_header(struct vmfs_volume *vol, vmfs_addr addr)
{
	uint8_t zero[JOURNAL_FIRST_SECTOR * SECTOR] = { 0 };
	uint64_t vol_off;

	if (journal_kind(vol) != RESOURCE_JBC)
		return 0;
	int err = resource_addr_off(vol, addr, &vol_off);
	return err ? err : vmfs_gate_write(vol, vol_off, zero, sizeof(zero), 0);
}

int journal_free_block(struct vmfs_volume *vol, vmfs_addr addr)
{
	const struct vmfs_resource *res = &vol->resources[journal_kind(vol)];
	bool is_pool = journal_kind(vol) == RESOURCE_JBC;
	uint32_t number = is_pool ? addr_cluster(addr) : addr_fb_number(addr);
	uint32_t index = is_pool ? addr_index(addr) : number % res->per_cluster;
	struct block_cluster c;

	if (resource_of_addr(addr) != journal_kind(vol) || !resource_has(vol, addr))
		return vmfs_corrupt(vol, "journal block 0x%llx: there is none",
				    addr_disk(addr));
	int err = open_cluster(vol, is_pool ? number : number / res->per_cluster,
			       clock_now() + CLUSTER_PATIENCE_NS, &c);
	if (err)
		return err;
	if (cluster_is_free(&c.c, index))
		err = vmfs_corrupt(vol, "journal block 0x%llx is free already",
				   addr_disk(addr));
	if (!err) {
		cluster_give(&c.c, index, (vmfs_addr){ 0 });
		err = write_cluster(vol, &c);
	}
	if (!err)
		err = clear_header(vol, addr);
	resource_recount(&vol->resources[journal_kind(vol)], c.c.number);
	int close_err = close_cluster(vol, &c, false);
	return err ? err : close_err;
}

void journal_tell_lost(struct vmfs_volume *vol, vmfs_addr addr, int err)
{
	report(vol->reporter, REPORT_WARN,
	       "volume %.128s: the journal block 0x%llx was not freed (%s): fsck will",
	       (const char *)vol->descriptor.label, addr_disk(addr), strerror(-err));
}

int journal_destroy(struct vmfs_volume *vol)
{
	struct vmfs_journal *j = &vol->member->journal;
	vmfs_addr addr = j->addr;

	if (addr_is_none(addr))
		return 0;
	sleeplock_acquire(&vol->txn_lock);
	int err = journal_empty(vol);
	sleeplock_release(&vol->txn_lock);
	if (!err)
		err = heartbeat_publish_journal(&vol->member->hb, 0, 0);
	j->addr = (vmfs_addr){ 0 };
	if (err)
		return err;
	err = journal_free_block(vol, addr);
	if (err && !heartbeat_dead(&vol->member->hb)) {
		journal_tell_lost(vol, addr, err);
		err = 0;
	}
	return err;
}

/* ---- another member's log ---- */

bool journal_is_in_place(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot)
{
	vmfs_addr addr = { le32_get(slot->journal_addr) };
	uint64_t off;

	/* .fbb.sf itself is being opened. */
	if (journal_kind(vol) == RESOURCE_FBB && !vol->resources[RESOURCE_FBB].is_present)
		return addr_type(addr) == ADDR_FB &&
		       addr_fb_number(addr) < vol->lvm.size_bytes / vol->block_size &&
		       (uint64_t)addr_fb_number(addr) * vol->block_size ==
			       le64_get(slot->journal_vol_off);
	return resource_of_addr(addr) == journal_kind(vol) && resource_has(vol, addr) &&
	       resource_addr_off(vol, addr, &off) == 0 &&
	       off == le64_get(slot->journal_vol_off);
}

static bool is_header(const struct vmfs_journal_header_disk *head)
{
	return le32_get(head->magic) == JOURNAL_HEADER_MAGIC &&
	       le32_get(head->version) == 1 &&
	       le32_get(head->crc) ==
		       journal_crc(head, offsetof(struct vmfs_journal_header_disk, crc));
}

/* Who died while he gave the volume a new signature has a log with the former one. */
static bool is_of_volume(const struct vmfs_journal_header_disk *head,
			 const struct vmfs_volume *vol)
{
	return !memcmp(head->volume_uuid, vol->descriptor.uuid, 16) ||
	       (vol->lvm.is_resigning &&
		!memcmp(head->volume_uuid, vol->lvm.resignature.former_fs_uuid, 16));
}

static bool header_is_of(const struct vmfs_journal_header_disk *head,
			 struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot)
{
	return is_header(head) && is_of_volume(head, vol) &&
	       !memcmp(head->owner, slot->owner, 16) &&
	       le64_get(head->hb_addr) == le64_get(slot->addr) &&
	       le64_get(head->hb_gen) == le64_get(slot->generation);
}

int journal_log_open(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
		     struct journal_log *l, enum journal_state *ret_state)
{
	uint8_t sectors[3][SECTOR];
	struct vmfs_journal_state_disk state;
	struct vmfs_journal_header_disk head;

	*ret_state = JOURNAL_EMPTY;
	if (!le32_get(slot->journal_addr))
		return 0;
	if (!journal_is_in_place(vol, slot))
		return vmfs_corrupt(vol, "slot at 0x%llx: journal address 0x%x at 0x%llx",
				    (unsigned long long)le64_get(slot->addr),
				    le32_get(slot->journal_addr),
				    (unsigned long long)le64_get(slot->journal_vol_off));
	int err = vmfs_gate_read(vol, le64_get(slot->journal_vol_off), sectors,
			   sizeof(sectors));
	if (err || is_zero(sectors[0], SECTOR))
		return err;
	memcpy(&state, sectors[0], SECTOR);
	memcpy(&head, sectors[1], SECTOR);
	if (!header_is_of(&head, vol, slot))
		memcpy(&head, sectors[2], SECTOR);
	*ret_state = JOURNAL_FOREIGN;
	if (!header_is_of(&head, vol, slot) ||
	    le32_get(state.magic) != JOURNAL_STATE_MAGIC ||
	    le64_get(state.nonce) != le64_get(head.nonce_low) ||
	    le32_get(state.crc) !=
		    journal_crc(&state, offsetof(struct vmfs_journal_state_disk, crc)))
		return 0;
	*ret_state = JOURNAL_OURS;
	*l = (struct journal_log){
		.vol = vol,
		.slot = slot,
		.vol_off = le64_get(slot->journal_vol_off),
		.sector_count = journal_sectors(vol),
		.nonce = le64_get(head.nonce_low),
		.seq = le64_get(state.first_seq),
		.next_sector = JOURNAL_FIRST_SECTOR,
	};
	return 0;
}

int journal_look(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
		 enum journal_state *ret_state)
{
	struct journal_log l;

	return journal_log_open(vol, slot, &l, ret_state);
}

bool journal_is_of(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot)
{
	struct vmfs_journal_header_disk heads[2];

	if (!le32_get(slot->journal_addr) || !journal_is_in_place(vol, slot) ||
	    vmfs_gate_read(vol, le64_get(slot->journal_vol_off) + SECTOR, heads,
			   sizeof(heads)))
		return false;
	return header_is_of(&heads[0], vol, slot) || header_is_of(&heads[1], vol, slot);
}

int journal_is_any_of_ours(struct vmfs_volume *vol, vmfs_addr addr, bool *ret_is_ours)
{
	struct vmfs_journal_header_disk heads[2];
	uint64_t off;
	int err = resource_addr_off(vol, addr, &off);

	if (!err)
		err = vmfs_gate_read(vol, off + SECTOR, heads, sizeof(heads));
	*ret_is_ours = !err && (is_header(&heads[0]) || is_header(&heads[1]));
	return err;
}

/* Is the next record's place within the log? */
static bool has_room(const struct journal_log *l)
{
	return l->next_sector + 3 <= l->sector_count;
}

static uint64_t next_place(const struct journal_log *l)
{
	return l->vol_off + (uint64_t)l->next_sector * SECTOR;
}

/* Is this sector the head of the next record? */
static bool is_next(const struct journal_log *l, const uint8_t *sector,
		    struct vmfs_journal_desc_disk *ret_head)
{
	memcpy(ret_head, sector, sizeof(*ret_head));
	uint32_t count = le32_get(ret_head->target_count),
		 payload = le32_get(ret_head->payload_sectors);
	return le32_get(ret_head->magic) == JOURNAL_DESC_MAGIC &&
	       le64_get(ret_head->nonce) == l->nonce &&
	       le64_get(ret_head->seq) == l->seq && count &&
	       count <= JOURNAL_PAYLOAD_MAX && payload &&
	       payload <= JOURNAL_PAYLOAD_MAX &&
	       le32_get(ret_head->desc_sectors) == journal_desc_sectors(count);
}

int journal_log_has_next(const struct journal_log *l, bool *ret_has)
{
	struct vmfs_journal_desc_disk head;
	uint8_t first[SECTOR];

	*ret_has = false;
	if (!has_room(l))
		return 0;
	int err = vmfs_gate_look(l->vol, next_place(l), first);
	*ret_has = !err && is_next(l, first, &head);
	return err;
}

int journal_log_next(struct journal_log *l, uint8_t **ret_record)
{
	struct vmfs_journal_desc_disk head;
	struct vmfs_journal_commit_disk tail;
	uint64_t at = next_place(l);
	uint8_t first[SECTOR];

	*ret_record = NULL;
	if (!has_room(l))
		return 0;
	int err = vmfs_gate_read(l->vol, at, first, sizeof(first));
	if (err || !is_next(l, first, &head))
		return err;
	uint32_t sectors = le32_get(head.desc_sectors) + le32_get(head.payload_sectors);
	if (l->next_sector + sectors + 1 > l->sector_count)
		return 0;
	uint8_t *record = io_alloc((sectors + 1) * SECTOR);
	if (!record)
		return -ENOMEM;
	err = vmfs_gate_read(l->vol, at, record, (sectors + 1) * SECTOR);
	memcpy(&tail, record + sectors * SECTOR, sizeof(tail));
	if (err || le32_get(tail.magic) != JOURNAL_COMMIT_MAGIC ||
	    le64_get(tail.nonce) != l->nonce || le64_get(tail.seq) != l->seq ||
	    le32_get(tail.sectors) != sectors ||
	    le32_get(tail.crc) != journal_crc(record, sectors * SECTOR)) {
		free(record);
		return err;
	}
	l->next_sector += sectors + 1;
	l->seq++;
	*ret_record = record;
	return 0;
}

int journal_lock_stands(struct journal_log *l, const struct vmfs_journal_target_disk *td,
			uint32_t lock_type, bool *ret_stands)
{
	struct vmfs_lock_disk lockd;
	uint64_t lock_off = le64_get(td->lock_off);
	int err = vmfs_gate_read(l->vol, lock_off, &lockd, sizeof(lockd));

	*ret_stands = !err && (!lock_type || le32_get(lockd.type) == lock_type) &&
		      le64_get(lockd.addr) == lock_off &&
		      le32_get(lockd.mode) == LOCK_EXCLUSIVE &&
		      le64_get(lockd.hb_addr) == le64_get(l->slot->addr) &&
		      le64_get(lockd.hb_gen) == le64_get(l->slot->generation) &&
		      !memcmp(lockd.owner, l->slot->owner, 16) &&
		      le64_get(lockd.token) == le64_get(td->token);
	return err;
}

/* Checks a target; *ret_matches: its lock is as logged. */
static int check_target(struct journal_log *l, const struct vmfs_journal_target_disk *td,
			const uint8_t *data, bool *ret_matches)
{
	uint64_t off = le64_get(td->vol_off);
	uint32_t len = le16_get(td->sectors) * SECTOR, lock_type;

	if (vmfs_cover_check(l->vol, le64_get(td->lock_off), off, len, &lock_type) < 0)
		return vmfs_corrupt(
			l->vol, "journal at 0x%llx: no lock at 0x%llx covers 0x%llx+%u",
			(unsigned long long)l->vol_off,
			(unsigned long long)le64_get(td->lock_off),
			(unsigned long long)off, len);
	if (le32_get(td->crc) != journal_crc(data, len))
		return vmfs_corrupt(
			l->vol,
			"journal at 0x%llx: checksum of target 0x%llx+%u is wrong",
			(unsigned long long)l->vol_off, (unsigned long long)off, len);
	return journal_lock_stands(l, td, lock_type, ret_matches);
}

/* Goes over the targets: is_check: *ret_matches = all locks match; else writes them. */
static int over_targets(struct journal_log *l, const uint8_t *record, bool is_check,
			bool *ret_matches)
{
	struct vmfs_journal_desc_disk head;
	size_t at = sizeof(head);
	int err = 0;

	memcpy(&head, record, sizeof(head));
	uint32_t count = le32_get(head.target_count);
	uint32_t left = le32_get(head.payload_sectors);
	const uint8_t *data = record + journal_desc_sectors(count) * SECTOR;
	*ret_matches = true;
	for (uint32_t i = 0; !err && *ret_matches && i < count; i++) {
		struct vmfs_journal_target_disk td;

		memcpy(&td, record + at, sizeof(td));
		at += sizeof(td);
		uint32_t sectors = le16_get(td.sectors);
		if (!sectors || sectors > left)
			return vmfs_corrupt(l->vol,
					    "journal at 0x%llx: target %u has %u sectors",
					    (unsigned long long)l->vol_off, i, sectors);
		if (is_check)
			err = check_target(l, &td, data, ret_matches);
		else
			err = vmfs_gate_write(l->vol, le64_get(td.vol_off), data,
					      (uint64_t)sectors * SECTOR, 0);
		data += sectors * SECTOR;
		left -= sectors;
	}
	return err;
}

/* All of a record or nothing. */
static int apply_record(struct journal_log *l, const uint8_t *record,
			bool *ret_is_applied)
{
	bool matches = false, ignored;
	int err = over_targets(l, record, true, &matches);

	*ret_is_applied = !err && matches;
	return *ret_is_applied ? over_targets(l, record, false, &ignored) : err;
}

int journal_replay(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
		   unsigned int *ret_records)
{
	enum journal_state state;
	struct journal_log l;
	unsigned int records = 0;
	int err = journal_log_open(vol, slot, &l, &state);

	if (!err && state == JOURNAL_FOREIGN)
		err = -EOPNOTSUPP;
	while (!err && state == JOURNAL_OURS) {
		uint8_t *record;
		bool is_applied;

		err = journal_log_next(&l, &record);
		if (err || !record)
			break;
		err = apply_record(&l, record, &is_applied);
		free(record);
		if (!err && !is_applied)
			report(vol->reporter, REPORT_INFO,
			       "journal at 0x%llx: record %u was not committed: left out",
			       (unsigned long long)l.vol_off, records + 1);
		if (err || !is_applied)
			break;
		records++;
	}
	if (!err)
		err = vmfs_gate_flush(vol);
	*ret_records = records;
	return err;
}

int journal_wipe(struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot)
{
	uint8_t zero[SECTOR] = { 0 };

	if (!journal_is_of(vol, slot))
		return 0; /* empty, or the take-over has refused it */
	int err = vmfs_gate_write(vol, le64_get(slot->journal_vol_off), zero,
				  sizeof(zero), BDEV_FUA);
	return err ? err : vmfs_gate_flush(vol);
}
