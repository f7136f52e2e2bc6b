/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a dead member, with any records, replayed by a live one. Checksums are put
 * right, so that records are believed. Whatever the log says, nothing is written but
 * targets under locks that the dead member holds, in what these locks cover; never a
 * lock, a slot, a bitmap without its lock, or the volume's own descriptor.
 *
 * Byte 0: number of raw changes at the end of the input, 4 bytes each (sector of the log,
 * two of place, value). Then records: one byte (bits 0-1 targets - 1, bit 2 wrong
 * sequence number, bit 3 wrong commit checksum, bit 4 wrong payload count), and 6 bytes
 * per target: lock, place, two of distance, sectors, flags (bit 0 wrong token, bit 1
 * wrong checksum).
 */
#include <isa-l/crc.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "tests/fuzz/target.h"
#include "tests/lib/handmade.h"
#include "tests/lib/overlay.h"
#include "vmfs/heartbeat.h"
#include "vmfs/journal.h"
#include "vmfs/volume.h"

#define SECTOR VMFS_SECTOR_SIZE
#define SLOT 5u
#define SLOT_GENERATION 7u
#define TOKEN 40u
#define NONCE 0x1234567812345678ull
#define LOG_SECTORS 256u
#define HELD 3u /* the first locks */
#define TARGETS_MAX 1024u

static struct handmade h;
static struct bdev *seen;
static struct vmfs_volume *vol;
static struct vmfs_heartbeat_disk slotd;
static uint64_t log_off, locks[6], places[12];

/* What the replayer may write in this run. */
static struct {
	uint64_t off, len;
} allowed[TARGETS_MAX];
static unsigned int allowed_count;
static bool is_replaying;
static const struct task *replayer;

static uint32_t crc32c(const void *data, size_t len)
{
	union {
		const void *in;
		unsigned char *out;
	} p = { .in = data };
	return ~crc32_iscsi(p.out, (int)len, 0xffffffffu);
}

static void written(void *arg, uint64_t off, uint64_t len)
{
	if (task_self() != replayer || !is_replaying)
		return; /* the live member's own heartbeat */
	for (unsigned int i = 0; i < allowed_count; i++)
		if (off == allowed[i].off && len == allowed[i].len)
			return;
	overlay_forbid(arg, off, len);
}

static bool meets(uint64_t off, uint64_t len, uint64_t from, uint64_t size)
{
	return off < from + size && from < off + len;
}

/* Metadata that no file's lock covers: headers, cluster by cluster, and all FDs. */
static bool is_metadata(uint64_t off, uint64_t len)
{
	if (meets(off, len, 0, VMFS_FDC_OFF))
		return true;
	for (int i = 0; i < RESOURCE_COUNT; i++) {
		const struct vmfs_resource *res = &vol->resources[i];
		if (!res->block_count)
			continue; /* not of this version */
		if (meets(off, len, res->block_vol_off[0], VMFS_RESOURCE_GROUP_OFF))
			return true;
		for (uint32_t k = 0; i == RESOURCE_FDC && k < res->block_count; k++)
			if (meets(off, len, res->block_vol_off[k], vol->block_size))
				return true;
		for (uint32_t k = 0; k < res->cluster_count; k++) {
			uint64_t header;
			demand(resource_cluster_off(vol, i, k, &header) == 0);
			if (meets(off, len, header, VMFS_CLUSTER_HEADER_SIZE))
				return true;
		}
	}
	return false;
}

static bool is_covered(unsigned int lock, uint64_t off, uint64_t len)
{
	uint64_t end;
	if (!checked_add(off, len, &end) || end > vol->lvm.size_bytes)
		return false;
	if (lock == 2)
		return off == locks[2] + SECTOR && len == SECTOR;
	return (off > locks[lock] && end <= locks[lock] + VMFS_FD_SIZE) ||
	       !is_metadata(off, len);
}

static void hold(uint64_t off, uint32_t type)
{
	struct vmfs_lock_disk lockd = {
		.type = le32_of(type),
		.addr = le64_of(off),
		.hb_addr = slotd.addr,
		.hb_gen = slotd.generation,
		.token = le64_of(TOKEN),
		.mode = le32_of(LOCK_EXCLUSIVE),
	};
	memcpy(lockd.owner, slotd.owner, 16);
	demand(bdev_write(h.bd, &lockd, SECTOR, LVM_DATA_OFF + off) == 0);
}

static void make_places(void)
{
	uint64_t fd = handmade_fd_off(&h, HANDMADE_DIR) - LVM_DATA_OFF;
	uint64_t data = handmade_block_off(&h, 10) - LVM_DATA_OFF;
	locks[0] = fd;
	locks[1] = handmade_fd_off(&h, HANDMADE_FILE_BLOCKS) - LVM_DATA_OFF;
	locks[2] = handmade_cluster_off(&h, MKFS_FBB, 0) - LVM_DATA_OFF;
	locks[3] = handmade_fd_off(&h, HANDMADE_FILE_SUB) - LVM_DATA_OFF;
	locks[4] = data; /* a guest's bytes that look like a lock */
	locks[5] = VMFS_HEARTBEATS_OFF + SLOT * SECTOR;
	for (unsigned int i = 0; i < 4; i++)
		places[i] = locks[i];
	places[4] = data + (1u << 20);
	places[5] = VMFS_DESCRIPTOR_OFF;
	places[6] = VMFS_HEARTBEATS_OFF + 32 * SECTOR;
	places[7] = handmade_cluster_off(&h, MKFS_FDC, 0) - LVM_DATA_OFF;
	places[8] = handmade_item_off(&h, MKFS_SBC, 0, 0) - LVM_DATA_OFF;
	places[9] = handmade_item_off(&h, MKFS_PBC, 0, 0) - LVM_DATA_OFF;
	places[10] = vol->lvm.size_bytes - 64 * SECTOR;
	places[11] = UINT64_MAX - 511;
}

static void make(void)
{
	replayer = task_self();
	handmade_new(&h);
	seen = overlay_new(h.bd, written, NULL);
	demand(seen != NULL);
	struct vmfs_open_options options = { .devices = &seen,
					     .device_count = 1,
					     .host_name = "live",
					     .time_divisor = 8 };
	demand(vmfs_volume_open(&options, &vol) == 0);
	make_places();
	log_off = (uint64_t)(vol->block_count - 2) * vol->block_size;
	slotd = (struct vmfs_heartbeat_disk){
		.state = le32_of(HEARTBEAT_LIVE),
		.addr = le64_of(heartbeat_slot_off(SLOT)),
		.generation = le64_of(SLOT_GENERATION),
		.owner = "a dead member",
		.journal_addr = le32_of(addr_fb((uint32_t)vol->block_count - 2, 0).raw),
		.journal_vol_off = le64_of(log_off),
		.drive_major = le32_of(14),
		.xmagic = le32_of(HEARTBEAT_XMAGIC),
	};
	heartbeat_seal(&slotd);
	for (unsigned int i = 0; i < 5; i++)
		if (i != 3)
			hold(locks[i], i == 2 ? VMFS_LOCK_FBB : VMFS_LOCK_FD);
}

static void make_head(uint8_t *log)
{
	struct vmfs_journal_state_disk state = {
		.magic = le32_of(JOURNAL_STATE_MAGIC),
		.nonce = le64_of(NONCE),
		.first_seq = le64_of(1),
	};
	struct vmfs_journal_header_disk head = {
		.magic = le32_of(JOURNAL_HEADER_MAGIC),
		.version = le32_of(1),
		.hb_addr = slotd.addr,
		.hb_gen = slotd.generation,
		.nonce_low = le64_of(NONCE),
	};
	memcpy(head.volume_uuid, vol->descriptor.uuid, 16);
	memcpy(head.owner, slotd.owner, 16);
	state.crc =
		le32_of(crc32c(&state, offsetof(struct vmfs_journal_state_disk, crc)));
	head.crc = le32_of(crc32c(&head, offsetof(struct vmfs_journal_header_disk, crc)));
	memcpy(log, &state, SECTOR);
	memcpy(log + SECTOR, &head, SECTOR);
	memcpy(log + 2 * SECTOR, &head, SECTOR);
}

/* One target from 6 bytes; its payload's sectors. */
static uint32_t make_target(const uint8_t *in, uint8_t *td_at, uint8_t *payload)
{
	unsigned int lock = in[0] % ARRAY_SIZE(locks);
	uint32_t sectors = in[4] & 0x80 ? in[4] % 64u : 1;
	uint64_t off = places[in[1] % ARRAY_SIZE(places)] +
		       (uint64_t)(in[2] | in[3] << 8) * (in[1] & 0x80 ? 1 : SECTOR);
	memset(payload, 0xa5, sectors * SECTOR);
	struct vmfs_journal_target_disk td = {
		.vol_off = le64_of(off),
		.lock_off = le64_of(locks[lock]),
		.token = le64_of(TOKEN + (in[5] & 1)),
		.sectors = le16_of((uint16_t)sectors),
		.crc = le32_of(crc32c(payload, sectors * SECTOR) + (in[5] >> 1 & 1u)),
	};
	memcpy(td_at, &td, sizeof(td));
	uint64_t len = (uint64_t)sectors * SECTOR;
	if (lock < HELD && !(in[5] & 1) && off % SECTOR == 0 &&
	    is_covered(lock, off, len) && allowed_count < TARGETS_MAX) {
		allowed[allowed_count].off = LVM_DATA_OFF + off;
		allowed[allowed_count++].len = len;
	}
	return sectors;
}

/* Sectors of the record made at `at`, and the input that it took. */
static uint32_t make_record(const uint8_t *in, size_t size, uint8_t *at, uint64_t seq,
			    size_t *ret_used)
{
	uint32_t count = 1 + (in[0] & 3u), payload = 0;
	*ret_used = 1 + 6 * count;
	if (size < *ret_used)
		return 0;
	for (uint32_t i = 0; i < count; i++)
		payload += make_target(in + 1 + 6 * i, at + 32 + 32 * i,
				       at + (1 + payload) * SECTOR);
	struct vmfs_journal_desc_disk head = {
		.magic = le32_of(JOURNAL_DESC_MAGIC),
		.nonce = le64_of(NONCE),
		.seq = le64_of(seq + (in[0] >> 2 & 1)),
		.target_count = le32_of(count),
		.payload_sectors = le32_of(payload + (in[0] >> 4 & 1)),
		.desc_sectors = le32_of(1),
	};
	memcpy(at, &head, sizeof(head));
	payload = le32_get(head.payload_sectors);
	struct vmfs_journal_commit_disk tail = {
		.magic = le32_of(JOURNAL_COMMIT_MAGIC),
		.nonce = le64_of(NONCE),
		.seq = head.seq,
		.sectors = le32_of(1 + payload),
		.crc = le32_of(crc32c(at, (1 + payload) * SECTOR) + (in[0] >> 3 & 1u)),
	};
	memcpy(at + (1 + payload) * SECTOR, &tail, SECTOR);
	return payload + 2;
}

static void make_log(uint8_t *log, const uint8_t *data, size_t size)
{
	size_t changes = min_u64(data[0] & 7u, (size - 1) / 4);
	const uint8_t *raw = data + size - 4 * changes;
	uint32_t next = JOURNAL_FIRST_SECTOR;
	uint64_t seq = 1;
	data++;
	make_head(log);
	while (data < raw && next + 4 * 64 + 4 < LOG_SECTORS * 2) {
		size_t used;
		uint32_t sectors = make_record(data, (size_t)(raw - data),
					       log + next * SECTOR, seq++, &used);
		if (!sectors)
			break;
		next += sectors;
		data += used;
	}
	for (size_t i = 0; i < changes; i++, raw += 4)
		log[(raw[0] % next) * SECTOR + (raw[1] | raw[2] << 8) % SECTOR] = raw[3];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t log[2 * LOG_SECTORS * SECTOR];
	enum journal_state state;
	unsigned int records;

	if (size < 1)
		return 0;
	if (!vol)
		make();
	memset(log, 0, sizeof(log));
	allowed_count = 0;
	make_log(log, data, size);
	demand(bdev_write(h.bd, log, sizeof(log), LVM_DATA_OFF + log_off) == 0);
	is_replaying = true;
	if (journal_look(vol, &slotd, &state) == 0)
		(void)!journal_replay(vol, &slotd, &records);
	allowed[0].off = LVM_DATA_OFF + log_off;
	allowed[0].len = SECTOR;
	allowed_count = 1;
	demand(journal_wipe(vol, &slotd) == 0);
	is_replaying = false;
	overlay_undo(seen, LVM_DATA_OFF + VMFS_FDC_OFF, UINT64_MAX);
	return 0;
}
