/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/mutate.h"

#include <assert.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "tests/lib/handmade.h"
#include "tests/lib/handmade3.h"
#include "tests/lib/handmade6.h"
#include "vmfs/format.h"

#define SECTOR VMFS_SECTOR_SIZE
#define SECTORS_MAX 4096u
#define PIECE (64u << 10)
#define FILE_PART (8u << 20) /* of a system file */
#define FILE_SECTORS 600u
#define FILE_PIECE (1u << 20) /* a block */
#define CHANGES_MAX 64u
#define CHANGE_SIZE 12u
#define SLOTS_WANTED 4u /* of 2,048 heartbeat slots */

struct mutator {
	struct bdev *bd;
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
	int err = bdev_read(m->bd, buf, SECTOR, off);
	assert(err == 0);
}

static void write_sector(struct mutator *m, uint64_t off, const uint8_t *buf)
{
	int err = bdev_write(m->bd, buf, SECTOR, off);
	assert(err == 0);
}

/* All sectors of a range that are not zero, but for data and most heartbeats. */
static void collect(struct mutator *m, uint64_t from, uint64_t to, unsigned int most)
{
	uint64_t slots = LVM_DATA_OFF + VMFS_HEARTBEATS_OFF;
	uint8_t *piece = malloc(PIECE);
	assert(piece && most <= SECTORS_MAX);
	for (uint64_t off = from; off < to && m->sector_count < most;
	     off += SECTOR) {
		if ((off - from) % PIECE == 0) {
			int err = bdev_read(m->bd, piece, min_u64(PIECE, to - off), off);
			assert(err == 0);
		}
		if (off >= slots + SLOTS_WANTED * SECTOR &&
		    off < slots + VMFS_HEARTBEATS_COUNT * SECTOR)
			continue;
		if (!is_zero(piece + (off - from) % PIECE))
			m->sectors[m->sector_count++] = off;
	}
	free(piece);
}

static void collect_file(struct mutator *m, const struct mkfs_file *f)
{
	uint64_t len = min_u64(f->length_bytes, FILE_PART);
	unsigned int most =
		(unsigned int)min_u64(SECTORS_MAX, m->sector_count + FILE_SECTORS);
	for (uint64_t at = 0; at < len; at += FILE_PIECE) {
		uint64_t off = LVM_DATA_OFF + mkfs_file_vol_off(f, at);
		collect(m, off, off + min_u64(len - at, FILE_PIECE), most);
	}
}

struct mutator *mutator_new(void)
{
	struct mutator *m = calloc(1, sizeof(*m));
	struct handmade h;
	if (!m)
		return NULL;
	handmade_new(&h);
	m->bd = h.bd;
	collect(m, LVM_HEADER_OFF, LVM_HEADER_OFF + 2 * SECTOR, SECTORS_MAX);
	collect(m, LVM_PE_MAP_OFF, LVM_PE_MAP_OFF + 8 * SECTOR, SECTORS_MAX);
	collect(m, LVM_DATA_OFF, handmade_block_off(&h, 0), SECTORS_MAX);
	assert(m->sector_count > 100);
	return m;
}

struct mutator *mutator3_new(void)
{
	struct mutator *m = calloc(1, sizeof(*m));
	struct handmade3 h = { .is_upgraded = true,
			       .is_wide = true,
			       .has_hole = true,
			       .block_size = 2u << 20 };
	if (!m || bdev_mem_new(HANDMADE3_SIZE, 512, NULL, &h.bd) != 0) {
		free(m);
		return NULL;
	}
	handmade3_write(&h);
	m->bd = h.bd;
	collect(m, LVM_HEADER_OFF, LVM_HEADER_OFF + 2 * SECTOR, SECTORS_MAX);
	collect(m, LVM_PE_MAP_OFF, LVM_PE_MAP_OFF + 8 * SECTOR, SECTORS_MAX);
	collect(m, LVM_DATA_OFF, LVM_DATA_OFF + (uint64_t)h.first_block * h.block_size,
		SECTORS_MAX);
	assert(m->sector_count > 100 && m->sector_count < SECTORS_MAX);
	return m;
}

/*
 * The LVM's own places, the volume's descriptor and slots, and of each system file what
 * stands at its beginning: header, first clusters, the handmade file's descriptors and
 * sub-blocks.
 */
struct mutator *mutator6_new(void)
{
	struct mutator *m = calloc(1, sizeof(*m));
	struct handmade6 h;
	if (!m || bdev_mem_new(HANDMADE6_SIZE, 512, NULL, &m->bd) != 0) {
		free(m);
		return NULL;
	}
	handmade6_write(&h, m->bd);
	collect(m, LVM_HEADER_OFF, LVM_DATA_OFF, SECTORS_MAX);
	collect(m, LVM_DATA_OFF, LVM_DATA_OFF + VMFS_FDC_OFF, SECTORS_MAX);
	for (uint32_t i = 0; i < h.layout.fd_count; i++)
		collect_file(m, &h.layout.files[i]);
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
	return m->bd;
}

void mutator_undo(struct mutator *m)
{
	while (m->undo_count) {
		m->undo_count--;
		write_sector(m, m->undo[m->undo_count].off, m->undo[m->undo_count].bytes);
	}
}
