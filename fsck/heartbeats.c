/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heartbeat slots (FORMAT.md 9, LOCKING.md 3.1): who is there, for the locks that name
 * him; and the journals of those, once the files that manage journals are known.
 */
#include "fsck/heartbeats.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/uuid.h"
#include "fsck/ahead.h"
#include "fsck/findings.h"
#include "fsck/mend.h"
#include "vmfs/heartbeat.h"

#define SLOTS_PER_READ 64u
#define READS_AHEAD 8u
#define JOURNAL_6_MAGIC 0x46534A36u /* "6JSF": one that ESXi has initialised */

typedef unsigned long long ull;

static bool extension_is_good(const struct vmfs_heartbeat_disk *hbd)
{
	struct vmfs_heartbeat_disk copy = *hbd;
	if (le32_get(hbd->xmagic) != HEARTBEAT_XMAGIC)
		return true;
	copy.xcrc = le32_of(0);
	return ~crc32_iscsi((unsigned char *)&copy, sizeof(copy), 0xffffffffu) ==
	       le32_get(hbd->xcrc);
}

/* Nobody's: what a host leaves behind when it goes. */
static void free_slot(struct fsck *f, uint32_t k)
{
	const struct vmfs_shape *shape = f->volume.shape;
	uint64_t off = VMFS_HEARTBEATS_OFF + (uint64_t)k * shape->heartbeat_size;
	struct vmfs_heartbeat_disk slot = {
		.state = le32_of(HEARTBEAT_FREE),
		.addr = le64_of(off),
		.generation = le64_of(f->slots[k].generation + 1),
		.drive_major = le32_of(f->volume.major),
		.drive_minor = f->volume.descriptor.minor,
		.lock_impl = 3,
	};
	fsck_put(f, off, &slot, sizeof(slot), PLAN_HEADER);
	f->slots[k].journal.raw = 0;
	f->slots[k].is_damaged = true;
	f->slots[k].is_live = false;
}

static void free_claim(struct fsck *f, const struct vmfs_heartbeat_disk *hbd)
{
	struct vmfs_heartbeat_disk slot = *hbd;
	memset(slot.replay_host, 0, sizeof(slot.replay_host));
	slot.replay_hb = le64_of(0);
	slot.replay_hb_gen = le64_of(0);
	if (le32_get(slot.xmagic) == HEARTBEAT_XMAGIC)
		heartbeat_seal(&slot);
	fsck_put(f, le64_get(hbd->addr), &slot, sizeof(slot), PLAN_HEADER);
}

static void check_live_slot(struct fsck *f, const struct vmfs_heartbeat_disk *hbd,
			    uint32_t k)
{
	struct uuid owner;
	char text[UUID_TEXT_SIZE];
	uint32_t slot;
	memcpy(owner.b, hbd->owner, sizeof(owner.b));
	f->summary.is_live = true;
	f->slots[k].journal.raw = le32_get(hbd->journal_addr);
	f->slots[k].journal_said = le32_get(hbd->journal_addr);
	f->slots[k].journal_off = le64_get(hbd->journal_vol_off);
	if (uuid_is_zero(&owner) &&
	    fsck_found(f, PROBLEM_HB_OWNER, "heartbeat slot %u: in use, no owner", k)) {
		free_slot(f, k);
		return;
	}
	fsck_found(f, PROBLEM_HB_LIVE,
		   "heartbeat slot %u: in use by host %.46s (%s), generation %llu", k,
		   hbd->ip[0] ? (const char *)hbd->ip : "without a name",
		   uuid_text(&owner, text), (ull)le64_get(hbd->generation));
	if (!fsck_is_zero(hbd->replay_host, sizeof(hbd->replay_host)) &&
	    !fsck_slot_of(&f->volume, le64_get(hbd->replay_hb), &slot) &&
	    fsck_found(f, PROBLEM_HB_CLAIM,
		       "heartbeat slot %u: claimed by heartbeat 0x%llx, no slot", k,
		       (ull)le64_get(hbd->replay_hb)))
		free_claim(f, hbd);
}

static void check_slot(struct fsck *f, const struct vmfs_heartbeat_disk *hbd, uint32_t k)
{
	uint64_t off =
		VMFS_HEARTBEATS_OFF + (uint64_t)k * f->volume.shape->heartbeat_size;
	uint32_t state = le32_get(hbd->state);
	struct fsck_slot *slot = &f->slots[k];
	slot->generation = le64_get(hbd->generation);
	memcpy(slot->owner, hbd->owner, sizeof(slot->owner));
	slot->is_damaged = true;
	if (state != HEARTBEAT_FREE && state != HEARTBEAT_LIVE) {
		if (fsck_found(f, PROBLEM_HB_STATE, "heartbeat slot %u: state 0x%08x", k,
			   state))
			free_slot(f, k);
		return;
	}
	if (le64_get(hbd->addr) != off) {
		if (fsck_found(f, PROBLEM_HB_ADDRESS,
			   "heartbeat slot %u: carries offset 0x%llx, lies at 0x%llx", k,
			   (ull)le64_get(hbd->addr), (ull)off))
			free_slot(f, k);
		return;
	}
	if (!extension_is_good(hbd)) {
		if (fsck_found(f, PROBLEM_HB_EXTENSION,
			   "heartbeat slot %u: checksum 0x%08x is wrong", k,
			   le32_get(hbd->xcrc)))
			free_slot(f, k);
		return;
	}
	slot->is_damaged = false;
	slot->is_live = state == HEARTBEAT_LIVE;
	if (slot->is_live)
		check_live_slot(f, hbd, k);
	else if (!fsck_is_zero(hbd->owner, sizeof(hbd->owner)) &&
		 fsck_found(f, PROBLEM_HB_OWNER,
			    "heartbeat slot %u: free, but has an owner", k))
		free_slot(f, k);
}

bool fsck_journal_header(const struct fsck_volume *v, uint64_t vol_off,
			 struct vmfs_journal_header_disk *ret_header)
{
	unsigned char bytes[sizeof(*ret_header)]; /* the library takes no const */
	if (fsck_read(v, vol_off + VMFS_SECTOR_SIZE, ret_header, sizeof(bytes)) != 0)
		return false;
	memcpy(bytes, ret_header, sizeof(bytes));
	const int covered = offsetof(struct vmfs_journal_header_disk, crc);
	return le32_get(ret_header->magic) == JOURNAL_HEADER_MAGIC &&
	       le32_get(ret_header->crc) == ~crc32_iscsi(bytes, covered, 0xffffffffu);
}

int fsck_check_heartbeats(struct fsck *f)
{
	const struct vmfs_shape *shape = f->volume.shape;
	uint64_t size = (uint64_t)SLOTS_PER_READ * shape->heartbeat_size;
	uint8_t *region = malloc(size);
	if (!region)
		return -ENOMEM;
	int err = 0;
	for (uint32_t k = 0; !err && k < shape->heartbeat_count; k++) {
		struct vmfs_heartbeat_disk hbd;
		uint64_t at = (uint64_t)(k % SLOTS_PER_READ) * shape->heartbeat_size;
		for (uint64_t next = 0; at == 0 && next < READS_AHEAD * size;
		     next += size)
			(void)fsck_ahead_want(
				f->ahead,
				VMFS_HEARTBEATS_OFF +
					(uint64_t)k * shape->heartbeat_size + next,
				size);
		if (at == 0)
			err = fsck_read(&f->volume,
					VMFS_HEARTBEATS_OFF +
						(uint64_t)k * shape->heartbeat_size,
					region, size);
		if (fsck_read_result(f, err, "heartbeats") != 0)
			break;
		memcpy(&hbd, region + at, sizeof(hbd));
		check_slot(f, &hbd, k);
	}
	free(region);
	return 0;
}

/* ---- journals ---- */

/* Is there anything in the journal of slot k? */
static void check_content(struct fsck *f, uint32_t k)
{
	uint8_t sector[VMFS_SECTOR_SIZE];
	struct vmfs_journal_state_disk state;
	char text[48];
	int err = fsck_read(&f->volume, f->slots[k].journal_off, sector, sizeof(sector));
	if (fsck_read_result(f, err, "journal") != 0)
		return;
	memcpy(&state, sector, sizeof(state));
	if (fsck_is_zero(sector, sizeof(sector)))
		return;
	(void)fsck_addr_text(f->slots[k].journal, text);
	if (le32_get(state.magic) == JOURNAL_6_MAGIC) {
		fsck_found(f, PROBLEM_HB_RECOVERY,
			   "heartbeat slot %u: journal in %s is not ours: whether its "
			   "host left anything in it is not known",
			   k, text);
		f->summary.has_foreign_journal = true;
		return;
	}
	f->summary.needs_recovery = true;
	f->summary.has_foreign_journal |= le32_get(state.magic) != JOURNAL_STATE_MAGIC;
	fsck_found(f, PROBLEM_HB_RECOVERY,
		   le32_get(state.magic) == JOURNAL_STATE_MAGIC
			   ? "heartbeat slot %u: journal in %s is not empty: needs "
			     "recovery by mounting"
			   : "heartbeat slot %u: journal in %s is not empty and not "
			     "ours: its host must recover it",
		   k, text);
}

void fsck_check_journals(struct fsck *f)
{
	bool is_6 = f->volume.shape->version == 6;
	for (uint32_t k = 0; k < f->volume.shape->heartbeat_count; k++) {
		vmfs_addr addr = f->slots[k].journal;
		uint64_t off = f->slots[k].journal_off, vol_off, size;
		if (addr_is_none(addr))
			continue;
		unsigned int was = fsck_rests_on(f, KEY_SLOT, FSCK_FBB, k);
		if (addr_type(addr) != (is_6 ? ADDR_JB : ADDR_FB) ||
		    fsck_addr_vol_off(&f->volume, addr, &vol_off, &size) != 0 ||
		    off != vol_off) {
			f->slots[k].journal.raw = 0;
			if (fsck_found(f, PROBLEM_HB_JOURNAL,
				       "heartbeat slot %u: journal 0x%08llx at 0x%llx is "
				       "no block for one",
				       k, addr_disk(addr), (ull)off))
				free_slot(f, k);
			fsck_rests_no_more(f, was);
			continue;
		}
		fsck_rests_no_more(f, was);
		check_content(f, k);
	}
}
