/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/mutate.h"

#include <assert.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/format.h"

#define SECTOR VMFS_SECTOR_SIZE
#define SECTORS_MAX 1024u
#define CHANGES_MAX 64u
#define CHANGE_SIZE 12u
#define SLOTS_WANTED 4u /* of 2,048 heartbeat slots */

struct mutator {
	struct handmade h;
	uint64_t sectors[SECTORS_MAX]; /* dev offsets */
	unsigned int sector_count;
	struct {
		uint64_t off;
		uint8_t bytes[SECTOR];
	} undo[CHANGES_MAX];
	unsigned int undo_count;
};

static bool is_zero(const uint8_t *p)
{
	return p[0] == 0 && memcmp(p, p + 1, SECTOR - 1) == 0;
}

static void read_sector(struct mutator *m, uint64_t off, uint8_t *buf)
{
	int err = bdev_read(m->h.bd, buf, SECTOR, off);
	assert(err == 0);
}

static void write_sector(struct mutator *m, uint64_t off, const uint8_t *buf)
{
	int err = bdev_write(m->h.bd, buf, SECTOR, off);
	assert(err == 0);
}

/* All sectors of a range that are not zero, but for data and most heartbeats. */
static void collect(struct mutator *m, uint64_t from, uint64_t to)
{
	uint64_t slots = LVM_DATA_OFF + VMFS_HEARTBEATS_OFF;
	uint8_t buf[SECTOR];
	for (uint64_t off = from; off < to && m->sector_count < SECTORS_MAX;
	     off += SECTOR) {
		if (off >= slots + SLOTS_WANTED * SECTOR &&
		    off < slots + VMFS_HEARTBEATS_COUNT * SECTOR)
			continue;
		read_sector(m, off, buf);
		if (!is_zero(buf))
			m->sectors[m->sector_count++] = off;
	}
}

struct mutator *mutator_new(void)
{
	struct mutator *m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	handmade_new(&m->h);
	collect(m, LVM_HEADER_OFF, LVM_HEADER_OFF + 2 * SECTOR);
	collect(m, LVM_PE_MAP_OFF, LVM_PE_MAP_OFF + 8 * SECTOR);
	collect(m, LVM_DATA_OFF, handmade_block_off(&m->h, 0));
	assert(m->sector_count > 100);
	return m;
}

/* A slot whose extension is marked valid gets the checksum that makes it so. */
static void seal(const struct mutator *m, uint64_t off, uint8_t *buf)
{
	uint64_t slots = LVM_DATA_OFF + VMFS_HEARTBEATS_OFF;
	struct vmfs_heartbeat_disk hbd;
	(void)m;
	if (off < slots || off >= slots + VMFS_HEARTBEATS_COUNT * SECTOR)
		return;
	memcpy(&hbd, buf, sizeof(hbd));
	hbd.xcrc = le32_of(0);
	uint32_t crc = ~crc32_iscsi((unsigned char *)&hbd, sizeof(hbd), 0xffffffffu);
	hbd.xcrc = le32_of(crc);
	if (le32_get(hbd.xmagic) == HEARTBEAT_XMAGIC)
		memcpy(buf, &hbd, sizeof(hbd));
}

static void change(struct mutator *m, const uint8_t *in)
{
	unsigned int which = (in[0] | in[1] << 8) % m->sector_count;
	unsigned int at = (in[2] | in[3] << 8) % SECTOR;
	uint64_t off = m->sectors[which];
	uint8_t buf[SECTOR];
	read_sector(m, off, buf);
	m->undo[m->undo_count].off = off;
	memcpy(m->undo[m->undo_count++].bytes, buf, SECTOR);
	if (in[2] >= 0xf0 && in[3] & 0x80) {
		read_sector(m, m->sectors[(in[4] | in[5] << 8) % m->sector_count], buf);
	} else {
		unsigned int len = 1u << (in[3] >> 5 & 3);
		for (unsigned int i = 0; i < len && at + i < SECTOR; i++)
			buf[at + i] = in[4 + i % 8];
	}
	seal(m, off, buf);
	write_sector(m, off, buf);
}

struct bdev *mutator_apply(struct mutator *m, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + CHANGE_SIZE <= size && m->undo_count < CHANGES_MAX;
	     i += CHANGE_SIZE)
		change(m, data + i);
	return m->h.bd;
}

void mutator_undo(struct mutator *m)
{
	while (m->undo_count) {
		m->undo_count--;
		write_sector(m, m->undo[m->undo_count].off, m->undo[m->undo_count].bytes);
	}
}
