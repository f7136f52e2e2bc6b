/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock sector and a heartbeat slot of any bytes, as vmkfstools -D and a joining host
 * read them. Byte 0: bit 0 the lock says where it lies and what it is; bit 1 the same of
 * the slot; bit 2 the slot's checksum is right; bit 3 the lock's holders are in that
 * slot. Then the bytes of the lock, and from the middle on those of the slot.
 */
#include <string.h>

#include "base/align.h"
#include "tests/fuzz/target.h"
#include "tests/lib/handmade.h"
#include "tests/lib/overlay.h"
#include "vmfs/heartbeat.h"
#include "vmfs/lock.h"
#include "vmfs/verify.h"

#define SECTOR VMFS_SECTOR_SIZE
#define SLOT 3u

static struct handmade h;
static struct bdev *seen;
static struct vmfs_volume *vol;
static uint64_t lock_off; /* vol offset */

static void make(void)
{
	handmade_new(&h);
	seen = overlay_new(h.bd, overlay_forbid, NULL);
	demand(seen != NULL);
	struct vmfs_open_options options = { .devices = &seen,
					     .device_count = 1,
					     .is_read_only = true };
	demand(vmfs_volume_open(&options, &vol) == 0);
	lock_off = handmade_fd_off(&h, HANDMADE_FILE_RESIDENT) - LVM_DATA_OFF;
}

static void fill(void *sector, const uint8_t *data, size_t size)
{
	uint8_t *bytes = sector;
	memset(bytes, 0, SECTOR);
	for (size_t i = 0; i < size && i < SECTOR; i++)
		bytes[i] = data[i];
}

static void look_at_members(void)
{
	struct vmfs_member members[8];
	int n = vmfs_volume_members(vol, members, ARRAY_SIZE(members));
	demand(n <= (int)VMFS_HEARTBEATS_COUNT);
	for (int i = 0; i < n && i < (int)ARRAY_SIZE(members); i++)
		demand(strnlen(members[i].host_name, 47) < 47);
}

static void look_at_lock(void)
{
	struct vmfs_lock_id id = { .vol_off = lock_off, .type = VMFS_LOCK_FD };
	struct vmfs_lock_info info;
	char text[VMFS_HOLDER_TEXT_SIZE];
	if (vmfs_lock_look(vol, &id, &info) < 0)
		return;
	demand(info.holder_count <= ARRAY_SIZE(info.holders));
	for (unsigned int i = 0; i < info.holder_count; i++) {
		demand(strnlen(info.holders[i].host_name, 47) < 47);
		demand(strlen(vmfs_holder_text(&info.holders[i], text)) < sizeof(text));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmfs_lock_disk lockd, old_lock;
	struct vmfs_heartbeat_disk slotd, old_slot;
	struct verify why;
	uint64_t slot_off = heartbeat_slot_off(SLOT);

	if (!vol)
		make();
	if (size < 1)
		return 0;
	size_t half = (size - 1) / 2;
	fill(&lockd, data + 1, half);
	fill(&slotd, data + 1 + half, size - 1 - half);
	if (data[0] & 1) {
		lockd.type = le32_of(VMFS_LOCK_FD);
		lockd.addr = le64_of(lock_off);
	}
	if (data[0] & 8) {
		lockd.hb_addr = le64_of(slot_off);
		for (unsigned int i = 0; i < VMFS_LOCK_HOLDERS_MAX; i++)
			lockd.holders[i].hb_addr = le64_of(slot_off);
	}
	if (data[0] & 2)
		slotd.addr = le64_of(slot_off);
	if (data[0] & 4) {
		slotd.xmagic = le32_of(HEARTBEAT_XMAGIC);
		heartbeat_seal(&slotd);
	}
	demand(verify_lock(&lockd, VMFS_LOCK_FD, lock_off, &why) <= 0);
	demand(heartbeat_verify(&slotd, slot_off) <= 0);
	uint64_t lock_dev = LVM_DATA_OFF + lock_off, slot_dev = LVM_DATA_OFF + slot_off;
	demand(bdev_read(h.bd, &old_lock, SECTOR, lock_dev) == 0);
	demand(bdev_read(h.bd, &old_slot, SECTOR, slot_dev) == 0);
	demand(bdev_write(h.bd, &lockd, SECTOR, lock_dev) == 0);
	demand(bdev_write(h.bd, &slotd, SECTOR, slot_dev) == 0);
	look_at_lock();
	if (data[0] & 16) /* all slots are read */
		look_at_members();
	demand(bdev_write(h.bd, &old_lock, SECTOR, lock_dev) == 0);
	demand(bdev_write(h.bd, &old_slot, SECTOR, slot_dev) == 0);
	return 0;
}
