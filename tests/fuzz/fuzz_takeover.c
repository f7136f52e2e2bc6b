/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes in a lock sector, in the slots that it names, in who has claimed them and in
 * the journal that they name, met by a live member that wants the lock and takes over the
 * slot. Whatever stands there: what is damaged is named and left as it is; a lock is
 * taken only if it was free or all of its holders are over; a slot is cleared only if it
 * was LIVE and whole; a block of a file is neither written nor freed.
 *
 * Byte 0: bit 0 the lock says where it lies and what it is; 1 its holders are in slot V;
 * 2 V says where it lies; 3 V is LIVE; 4 V's checksum is right; 5 V's journal is where a
 * file's data are; 6 the journal has a header of V (in another block); 7 V is claimed by
 * slot C. Byte 1: bit 0 no global lock; 1 no list in an exclusive record; 2 V has a
 * liveness lock; 3 V is the owner that the lock names. Then a third each: lock, V,
 * journal; C has the bytes of V.
 */
#include <errno.h>
#include <isa-l/crc.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "tests/fuzz/target.h"
#include "tests/lib/collect.h"
#include "tests/lib/handmade.h"
#include "tests/lib/overlay.h"
#include "vmfs/heartbeat.h"
#include "vmfs/lockimage.h"
#include "vmfs/lock.h"
#include "vmfs/takeover.h"
#include "vmfs/volume.h"

#define SECTOR VMFS_SECTOR_SIZE
#define V 3u
#define C 4u

static struct handmade h;
static struct bdev *seen;
static struct vmfs_volume *vol;
static struct collect told;
/* Vol offsets: of blocks of files, of which the second may say that it is a journal. */
static uint64_t lock_off, data_off, journal_off;

static void note_write(void *arg, uint64_t off, uint64_t len)
{
	uint64_t from = *(const uint64_t *)arg; /* data_off: not before it is known */

	demand(!from || off + len <= LVM_DATA_OFF + from ||
	       off >= LVM_DATA_OFF + from + (1u << 20));
}

static void make(void)
{
	handmade_new(&h);
	seen = overlay_new(h.bd, note_write, &data_off);
	demand(seen != NULL);
	struct vmfs_open_options options = { .devices = &seen,
					     .device_count = 1,
					     .host_name = "live",
					     .reporter = collect_init(&told) };
	demand(vmfs_volume_open(&options, &vol) == 0);
	lock_off = handmade_fd_off(&h, HANDMADE_FILE_RESIDENT) - LVM_DATA_OFF;
	data_off = handmade_block_off(&h, 0) - LVM_DATA_OFF;
	journal_off = handmade_block_off(&h, 2) - LVM_DATA_OFF;
}

static void put(uint64_t vol_off, const void *sector)
{
	demand(bdev_write(h.bd, sector, SECTOR, LVM_DATA_OFF + vol_off) == 0);
}

static void get(uint64_t vol_off, void *ret_sector)
{
	demand(bdev_read(h.bd, ret_sector, SECTOR, LVM_DATA_OFF + vol_off) == 0);
}

/* ---- the input ---- */

struct input {
	struct vmfs_lock_disk lockd;
	struct vmfs_heartbeat_disk slotd, claimerd;
	uint8_t journal[3 * SECTOR];
};

static void fill(void *sector, const uint8_t *data, size_t size)
{
	memset(sector, 0, SECTOR);
	memcpy(sector, data, min_u64(size, SECTOR));
}

static void fill_slot(struct input *in, uint8_t flags, uint8_t more)
{
	struct vmfs_heartbeat_disk *v = &in->slotd;

	if (flags & 4)
		v->addr = le64_of(heartbeat_slot_off(V));
	if (flags & 8)
		v->state = le32_of(HEARTBEAT_LIVE);
	if (flags & 32) {
		uint64_t off = flags & 64 ? journal_off : data_off;
		uint64_t block = off / vol->block_size;

		v->journal_addr = le32_of(addr_fb((uint32_t)block, 0).raw);
		v->journal_vol_off = le64_of(off);
	}
	if (more & 4)
		v->fence |= 1u << 3;
	in->claimerd = *v;
	in->claimerd.addr = le64_of(heartbeat_slot_off(C));
	if (flags & 128)
		v->replay_hb = le64_of(heartbeat_slot_off(C));
	if (flags & 16) {
		v->xmagic = in->claimerd.xmagic = le32_of(HEARTBEAT_XMAGIC);
		heartbeat_seal(v);
		heartbeat_seal(&in->claimerd);
	}
}

static void fill_lock(struct input *in, uint8_t flags, uint8_t more)
{
	struct vmfs_lock_disk *l = &in->lockd;

	if (flags & 1) {
		l->type = le32_of(VMFS_LOCK_FD);
		l->addr = le64_of(lock_off);
		l->mode = le32_of(le32_get(l->mode) % 4);
		l->holder_count = le32_of(le32_get(l->holder_count) % 10);
	}
	if (more & 1) {
		l->global_holders = l->global_break = le32_of(0);
		l->global_generation = le64_of(0);
	}
	if (more & 2 && le32_get(l->mode) == LOCK_EXCLUSIVE)
		l->holder_count = le32_of(0);
	if (flags & 2) {
		l->hb_addr = le64_of(heartbeat_slot_off(V));
		for (unsigned int i = 0; i < VMFS_LOCK_HOLDERS_MAX; i++)
			l->holders[i].hb_addr = l->hb_addr;
	}
	if (more & 8) {
		l->hb_gen = l->holders[0].hb_gen = in->slotd.generation;
		memcpy(l->owner, in->slotd.owner, 16);
		memcpy(l->holders[0].owner, in->slotd.owner, 16);
	}
}

static void fill_header(struct input *in)
{
	struct vmfs_journal_header_disk head = {
		.magic = le32_of(JOURNAL_HEADER_MAGIC),
		.version = le32_of(1),
		.hb_addr = in->slotd.addr,
		.hb_gen = in->slotd.generation,
	};

	memcpy(head.volume_uuid, vol->descriptor.uuid, 16);
	memcpy(head.owner, in->slotd.owner, 16);
	head.crc = le32_of(~crc32_iscsi((unsigned char *)&head,
					offsetof(struct vmfs_journal_header_disk, crc),
					0xffffffffu));
	memcpy(in->journal + SECTOR, &head, SECTOR);
}

/* ---- what may be ---- */

static bool is_mode_sound(const struct vmfs_lock_disk *l)
{
	uint32_t mode = le32_get(l->mode), count = le32_get(l->holder_count);

	return le64_get(l->token) < UINT64_MAX && mode <= LOCK_MULTI_WRITER &&
	       count <= VMFS_LOCK_HOLDERS_MAX && (mode != LOCK_EXCLUSIVE || count == 0) &&
	       (mode < 2 || count > 0) && !le32_get(l->global_holders) &&
	       !le64_get(l->global_generation) && !le32_get(l->global_break) &&
	       le32_get(l->type) == VMFS_LOCK_FD && le64_get(l->addr) == lock_off;
}

/* Of a record and slots as they were: could all of its holders be over, or become so? */
static bool may_be_taken(const struct input *in)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];

	if (!is_mode_sound(&in->lockd))
		return false;
	unsigned int count = lock_holders_of(&in->lockd, holders);
	for (unsigned int i = 0; i < count; i++) {
		struct vmfs_heartbeat_disk slotd;
		uint64_t off = le64_get(holders[i].hb_addr);
		uint32_t slot;

		if (!heartbeat_slot_of(off, &slot))
			return false;
		get(off, &slotd);
		if (slot == V)
			slotd = in->slotd;
		bool is_sound = !heartbeat_verify(&slotd, off);
		uint64_t gen = le64_get(holders[i].hb_gen);
		bool is_over = le64_get(slotd.generation) > gen;
		bool is_his = le64_get(slotd.generation) == gen &&
			      le32_get(slotd.state) == HEARTBEAT_LIVE &&
			      !memcmp(slotd.owner, holders[i].owner, 16);
		if (!is_sound || (!is_over && !is_his))
			return false;
	}
	return true;
}

static void check_lock(const struct input *in, int err, bool may_take)
{
	struct vmfs_lock_id id = { .vol_off = lock_off, .type = VMFS_LOCK_FD };
	struct vmfs_lock_disk now;
	char place[32];

	get(lock_off, &now);
	if (!err) {
		demand(may_take && vmfs_lock_is_mine(vol, lock_off));
		demand(le32_get(now.mode) == LOCK_EXCLUSIVE);
		demand(le64_get(now.token) > le64_get(in->lockd.token));
		demand(!memcmp(now.unknown144, in->lockd.unknown144, 32));
		demand(!memcmp(now.pad, in->lockd.pad, sizeof(now.pad)));
		demand(vmfs_lock_release(vol, &id) == 0);
		return;
	}
	demand(!memcmp(&now, &in->lockd, SECTOR) && !vmfs_lock_is_mine(vol, lock_off));
	(void)snprintf(place, sizeof(place), "0x%llx", (unsigned long long)lock_off);
	if (!is_mode_sound(&in->lockd))
		demand(err == -EUCLEAN && collect_has(&told, place));
	if (!may_take)
		demand(err == -EUCLEAN && collect_count(&told, REPORT_ERROR) >= 1);
}

static void check_slot(const struct input *in, int err)
{
	struct vmfs_heartbeat_disk now;
	bool is_sound = !heartbeat_verify(&in->slotd, heartbeat_slot_off(V));
	bool is_live = is_sound && le32_get(in->slotd.state) == HEARTBEAT_LIVE;

	get(heartbeat_slot_off(V), &now);
	if (!is_sound)
		demand(err == -EUCLEAN && collect_has(&told, "slot 3"));
	if (!is_live)
		demand(!memcmp(&now, &in->slotd, SECTOR));
	if (is_live && !err) {
		demand(le32_get(now.state) == HEARTBEAT_FREE);
		demand(le64_get(now.generation) > le64_get(in->slotd.generation));
	}
	if (err == -EOPNOTSUPP) /* a journal that is not ours: as it was */
		demand(!memcmp(&now, &in->slotd, SECTOR) &&
		       collect_has(&told, "in a journal that is not ours"));
}

static bool is_block_free(uint64_t vol_off)
{
	const struct vmfs_resource *fbb = &vol->resources[RESOURCE_FBB];
	uint32_t n = (uint32_t)(vol_off / vol->block_size);
	struct vmfs_cluster_disk clusterd;
	uint64_t off;

	demand(resource_cluster_off(vol, RESOURCE_FBB, n / fbb->per_cluster, &off) == 0);
	get(off + SECTOR, &clusterd);
	n %= fbb->per_cluster;
	return clusterd.bitmap[n / 8] >> n % 8 & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmfs_lock_id id = { .vol_off = lock_off, .type = VMFS_LOCK_FD };
	struct vmfs_heartbeat_disk old_slot, old_claimer;
	struct vmfs_lock_disk old_lock;
	uint8_t old_data[3 * SECTOR];
	struct input in;

	if (size < 2)
		return 0;
	if (!vol)
		make();
	id.vol_off = lock_off;
	size_t third = (size - 2) / 3;
	fill(&in.lockd, data + 2, third);
	fill(&in.slotd, data + 2 + third, third);
	memset(in.journal, 0, sizeof(in.journal));
	memcpy(in.journal, data + 2 + 2 * third, min_u64(third, sizeof(in.journal)));
	fill_slot(&in, data[0], data[1]);
	fill_lock(&in, data[0], data[1]);
	uint64_t off = data[0] & 64 ? journal_off : data_off;
	if (data[0] & 64)
		fill_header(&in);
	get(lock_off, &old_lock);
	get(heartbeat_slot_off(V), &old_slot);
	get(heartbeat_slot_off(C), &old_claimer);
	for (unsigned int i = 0; i < 3; i++) {
		get(off + i * SECTOR, old_data + i * SECTOR);
		put(off + i * SECTOR, in.journal + i * SECTOR);
	}
	put(heartbeat_slot_off(V), &in.slotd);
	put(heartbeat_slot_off(C), &in.claimerd);
	put(lock_off, &in.lockd);
	collect_clear(&told);
	bool may_take = may_be_taken(&in);
	check_lock(&in, vmfs_lock_acquire(vol, &id, LOCK_EXCLUSIVE, 0, NULL), may_take);
	put(heartbeat_slot_off(V), &in.slotd);
	put(heartbeat_slot_off(C), &in.claimerd);
	collect_clear(&told);
	(void)!vmfs_takeover_stated(vol, V, 1); /* it has been seen */
	check_slot(&in, vmfs_takeover_stated(vol, V, 1));
	demand(!is_block_free(data_off));
	for (unsigned int i = 0; i < 3; i++)
		put(off + i * SECTOR, old_data + i * SECTOR);
	put(lock_off, &old_lock);
	put(heartbeat_slot_off(V), &old_slot);
	put(heartbeat_slot_off(C), &old_claimer);
	return 0;
}
