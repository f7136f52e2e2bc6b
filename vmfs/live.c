/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nobody may lose a volume under running hosts: before an old volume is destroyed, every
 * one of its heartbeat slots is looked at.
 *
 * A slot in use is decided in this order (LOCKING.md 5.1, 7.1):
 *   1. Its owner says that it holds the liveness lock (extension, fence bit 3) under this
 *      kernel (boot id): the lock is held = alive, can be had = dead.
 *   2. Otherwise the slot is watched: if its sector does not change for the owner's dead
 *      time, the owner is dead. Time counts from the completion of the first read.
 * The sectors are read as they lie, without the rest of the volume: damage elsewhere must
 * not make a live volume look dead.
 */
#include "vmfs/live.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "base/uuid.h"
#include "vmfs/fence.h"
#include "vmfs/format.h"
#include "vmfs/heartbeat.h"

#define LVM6_MAJOR 6u
#define LVM6_VOLUME_OFF 0x101000u
#define VMFS6_SLOT_SIZE 4096u
#define VMFS6_SLOTS 1024u
#define DEAD_MS_DEFAULT 24000u /* LOCKING.md 14, timed mode */
#define DEAD_MS_MIN 1000u
#define DEAD_MS_MAX 120000u
#define POLL_NS (500 * NS_PER_MS)
#define KEY_PREFIX 0x564Dull /* of every key of ours: LOCKING.md 3.1 */
#define KEY_OF_TOOL (KEY_PREFIX << 48 | 0xffffull << 32)

struct watched {
	uint64_t off; /* dev offset of the slot */
	uint32_t slot;
	uint32_t dead_ms;
	struct vmfs_heartbeat_disk first;
};

struct live {
	struct bdev *const *devices; /* all that are asked about */
	unsigned int device_count;
	struct bdev *bd; /* the one that is looked at */
	struct reporter *r;
	uint64_t region_off; /* dev offset of slot 0 */
	uint32_t slot_size, slot_count;
	struct watched *watched;
	uint32_t watched_count;
};

static bool extension_is_valid(const struct vmfs_heartbeat_disk *hbd)
{
	if (le32_get(hbd->xmagic) != HEARTBEAT_XMAGIC)
		return false;
	struct vmfs_heartbeat_disk copy = *hbd;
	copy.xcrc = le32_of(0);
	uint32_t crc = ~crc32_iscsi((unsigned char *)&copy, sizeof(copy), 0xffffffff);
	return crc == le32_get(hbd->xcrc);
}

static void report_alive(struct live *l, const struct vmfs_heartbeat_disk *hbd,
			 uint32_t slot)
{
	struct uuid owner;
	char text[UUID_TEXT_SIZE];
	memcpy(owner.b, hbd->owner, sizeof(owner.b));
	report(l->r, REPORT_ERROR,
	       "%s: refusing: host %.46s (%s) has the volume mounted, "
	       "heartbeat slot %u",
	       l->bd->name, hbd->ip[0] ? (const char *)hbd->ip : "without a name",
	       uuid_text(&owner, text), slot);
}

/* A slot in use: -EBUSY alive, 0 dead, or *ret_watch set to be watched. */
static int judge_slot(struct live *l, const struct vmfs_heartbeat_disk *hbd,
		      uint32_t slot, struct watched *ret_watch)
{
	uint64_t off = l->region_off + (uint64_t)slot * l->slot_size;
	bool is_extended = extension_is_valid(hbd);
	ret_watch->slot = slot;
	ret_watch->off = off;
	ret_watch->dead_ms = 0;
	ret_watch->first = *hbd;
	static const uint8_t unknown[16];
	bool is_elsewhere = memcmp(hbd->boot, unknown, 16) &&
			    !uuid_is_zero(&l->bd->kernel) &&
			    memcmp(hbd->boot, l->bd->kernel.b, 16);
	if (is_extended && (hbd->fence & FENCE_LIVENESS) && !is_elsewhere) {
		int err = bdev_liveness(l->bd, heartbeat_liveness_off(slot), true);
		if (err == -EBUSY) {
			report_alive(l, hbd, slot);
			return -EBUSY;
		}
		if (!err) {
			return bdev_liveness(l->bd, heartbeat_liveness_off(slot), false);
		}
	}
	uint32_t dead_ms = is_extended ? le32_get(hbd->dead_ms) : 0;
	if (!dead_ms)
		dead_ms = DEAD_MS_DEFAULT;
	dead_ms = dead_ms < DEAD_MS_MIN ? DEAD_MS_MIN : dead_ms;
	ret_watch->dead_ms = dead_ms > DEAD_MS_MAX ? DEAD_MS_MAX : dead_ms;
	return 0;
}

/* Reads all slots and collects those to be watched. */
static int scan_slots(struct live *l)
{
	uint64_t size = (uint64_t)l->slot_size * l->slot_count;
	uint8_t *region = io_alloc(size);
	l->watched = calloc(l->slot_count, sizeof(*l->watched));
	int err = region && l->watched ? bdev_read(l->bd, region, size, l->region_off)
				       : -ENOMEM;
	if (err)
		err = report_error(l->r, err, "%s: cannot read the heartbeats: %s",
				   l->bd->name, strerror(-err));
	for (uint32_t i = 0; !err && i < l->slot_count; i++) {
		struct vmfs_heartbeat_disk hbd;
		memcpy(&hbd, region + (uint64_t)i * l->slot_size, sizeof(hbd));
		/* The owner's own offset stands in its slot; elsewhere it is user data.
		 */
		uint64_t addr = VMFS_HEARTBEATS_OFF + (uint64_t)i * l->slot_size;
		if (le32_get(hbd.state) != HEARTBEAT_LIVE || le64_get(hbd.addr) != addr)
			continue;
		err = judge_slot(l, &hbd, i, &l->watched[l->watched_count]);
		if (l->watched[l->watched_count].dead_ms)
			l->watched_count++;
	}
	free(region);
	return err;
}

/* Watches until each slot has changed (-EBUSY) or stood still for its dead time. */
static int watch_slots(struct live *l)
{
	uint32_t longest_ms = 0;
	for (uint32_t i = 0; i < l->watched_count; i++)
		longest_ms = l->watched[i].dead_ms > longest_ms ? l->watched[i].dead_ms
								: longest_ms;
	uint64_t now = clock_now();
	uint64_t end = now + longest_ms * NS_PER_MS;
	if (l->watched_count)
		report(l->r, REPORT_WARN,
		       "%s: watching %u heartbeat%s for %u s: is a host alive?",
		       l->bd->name, l->watched_count, l->watched_count == 1 ? "" : "s",
		       (longest_ms + 999) / 1000);
	while (l->watched_count && now < end) {
		now = min_u64(now + POLL_NS, end);
		task_sleep_until(now);
		for (uint32_t i = 0; i < l->watched_count; i++) {
			struct watched *w = &l->watched[i];
			uint8_t sector[VMFS6_SLOT_SIZE];
			int err = bdev_read(l->bd, sector, l->slot_size, w->off);
			if (err)
				return report_error(
					l->r, err,
					"%s: cannot read heartbeat slot %u: %s",
					l->bd->name, w->slot, strerror(-err));
			if (memcmp(sector, &w->first, sizeof(w->first)) == 0)
				continue;
			report_alive(l, &w->first, w->slot);
			return -EBUSY;
		}
	}
	return 0;
}

/* 1 with the volume descriptor of an extent, 0 if it is none, or reported -errno. */
static int read_volume(struct bdev *bd, struct reporter *r,
		       struct vmfs_lvm_volume_disk *ret_vol, bool *ret_is_6)
{
	struct vmfs_lvm_device_disk dev;
	if (bd->size < LVM_DATA_OFF + VMFS_FDC_OFF)
		return 0;
	int err = bdev_read(bd, &dev, sizeof(dev), LVM_HEADER_OFF);
	if (!err && le32_get(dev.magic) != LVM_MAGIC)
		return 0;
	*ret_is_6 = le32_get(dev.major) >= LVM6_MAJOR;
	if (!err)
		err = bdev_read(bd, ret_vol, sizeof(*ret_vol),
				*ret_is_6 ? LVM6_VOLUME_OFF : LVM_VOLUME_OFF);
	if (err)
		return report_error(r, err, "%s: cannot read the LVM header: %s",
				    bd->name, strerror(-err));
	return 1;
}

/* 1: the first extent of the volume of this one is looked at too; 0; reported -errno. */
static int has_head(struct live *l, const struct vmfs_lvm_volume_disk *later)
{
	struct vmfs_lvm_volume_disk vol;
	bool is_6;
	for (unsigned int i = 0; i < l->device_count; i++) {
		int rc = read_volume(l->devices[i], l->r, &vol, &is_6);
		if (rc < 0)
			return rc;
		if (rc && le64_get(vol.pe_first) == 0 &&
		    !memcmp(vol.uuid, later->uuid, sizeof(vol.uuid)))
			return 1;
	}
	return 0;
}

/* Where the heartbeats are: 1 if there are any to look at, 0 if not, or reported -errno.
 */
static int find_region(struct live *l)
{
	struct vmfs_lvm_volume_disk vol;
	bool is_6;
	int rc = read_volume(l->bd, l->r, &vol, &is_6);
	if (rc <= 0)
		return rc;
	if (le64_get(vol.pe_first) != 0) {
		rc = has_head(l, &vol);
		if (rc)
			return rc < 0 ? rc : 0;
		return report_error(
			l->r, -EBUSY,
			"%s: refusing: it is a later extent of volume %.35s, whose "
			"heartbeats are on the first one (wipefs -a makes it forget)",
			l->bd->name, (const char *)vol.name);
	}
	l->region_off = LVM_DATA_OFF + VMFS_HEARTBEATS_OFF;
	l->slot_size = is_6 ? VMFS6_SLOT_SIZE : VMFS_SECTOR_SIZE;
	l->slot_count = is_6 ? VMFS6_SLOTS : VMFS_HEARTBEATS_COUNT;
	return l->region_off + (uint64_t)l->slot_size * l->slot_count <= l->bd->size;
}

static int check_device(struct live *l)
{
	int err = find_region(l);
	if (err <= 0)
		return err;
	err = scan_slots(l);
	if (!err)
		err = watch_slots(l);
	free(l->watched);
	return err;
}

int vmfs_check_not_live(struct bdev *const *devices, unsigned int count,
			struct reporter *r)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < count; i++) {
		struct live l = { .devices = devices,
				  .device_count = count,
				  .bd = devices[i],
				  .r = r };
		err = check_device(&l);
	}
	return err;
}

/* 0: all keys are ours; else reported. */
static int check_keys(struct bdev *bd, const struct bdev_pr_state *state,
		      struct reporter *r)
{
	for (uint32_t i = 0; i < state->key_count; i++)
		if (state->keys[i] >> 48 != KEY_PREFIX)
			return report_error(
				r, -EBUSY,
				"%s: refusing: it is reserved, and the key %016llx is "
				"no VMFS host's",
				bd->name, (unsigned long long)state->keys[i]);
	return 0;
}

int vmfs_end_reservation(struct bdev *bd, struct reporter *r)
{
	const uint64_t key = KEY_OF_TOOL | (uint32_t)random_u64();
	struct bdev_pr_state *state = malloc(sizeof(*state));
	int err = state ? bdev_pr_read(bd, state) : -ENOMEM;

	if (!err && state->is_reserved) {
		err = check_keys(bd, state, r);
		if (err)
			goto out;
		err = bdev_pr(bd, BDEV_PR_REGISTER, key, 0);
		if (!err)
			err = bdev_pr(bd, BDEV_PR_CLEAR, key, 0);
	}
	if (err == -EOPNOTSUPP)
		err = 0; /* no such thing here */
	else if (err)
		report(r, REPORT_ERROR,
		       "%s: the reservation of hosts that are gone cannot be ended: %s",
		       bd->name, strerror(-err));
out:
	free(state);
	return err;
}
