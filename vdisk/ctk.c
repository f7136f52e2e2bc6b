/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Change tracking: which blocks of a disk have changed since a point in its life.
 *
 * The life of a disk is a row of epochs. One begins with the first write after the disk
 * was opened, and ends when it is closed. The file has a stamp for each block: the epoch
 * that changed it last. A point is the number of an epoch that has ended, with the UUID
 * of the row; what has changed since are the blocks with larger stamps. So one file
 * answers for all points at once, and a point costs nothing to remember.
 *
 * VMware's files of this name have a format that is not published. This one is ours
 * (docs/FORMAT.md); who does not know its magic must not believe it, nor we theirs.
 *
 *	CLEAN --ctk_begin--> OPEN --ctk_end--> CLEAN
 *			      |--the writer dies--> OPEN, not believed, until the next
 *						    ctk_begin makes a new UUID
 *
 * While it is OPEN the file only says so: what changes is noted in memory, a bit a block,
 * so that writes cost nothing; ctk_end() writes the stamps. A disk whose writer dies
 * loses its row and not a block: all points of that row are unknown from then on, and a
 * point that is not known means that everything has changed. The same if the file is
 * missing, damaged, of another size, or if the disk has another CID than when the file
 * became clean (somebody wrote it who does not track).
 *
 * A row has no branches: a point must mean one content. So a child (a snapshot's) copies
 * the stamps and goes on, and its parent is marked CONTINUED first: the next child, or
 * who writes the parent after all, begins a new row. When the child is merged into its
 * parent, the parent takes over the child's stamps and row (ctk_adopt).
 *
 * Order on disk, what each step has to wait for:
 *   begin: OPEN durable; then the disk is written
 *   end:   all is noted; stamps durable; then CLEAN, durable
 *   fork:  the child's file durable; CONTINUED durable; then the child gets its name
 *   hand on: CONTINUED durable; the stamps are copied; the child stays OPEN all the time
 *   ready: OPEN durable, with the other's row; its stamps; what is noted in memory goes
 *	    over as it is (the disk under another that is written takes its place)
 *   adopt: OPEN durable; then the parent is written; stamps durable; then CLEAN
 * A head is one sector, and has a checksum: one that is torn is not believed.
 */
#include "vdisk/ctk.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <isa-l/crc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/parse.h"

#define MAGIC "OVMFSCTK"
#define VERSION 1u
#define PAGE 1024u /* stamps that are read and written at a time */

struct ctk {
	struct diskfile file;
	uint64_t blocks; /* of the disk */
	struct mutex m;	 /* of the rest, but for changed */
	struct ctk_head_disk head;
	bool is_believed;
	bool is_begun;
	uint64_t first_new; /* blocks from here on are younger than the file */
	_Atomic uint64_t *changed; /* a bit a block, since ctk_begin() */
};

/* ---- points ---- */

/* What stands behind byte i of a UUID in text. */
static char separator(unsigned int i)
{
	return i == 7 ? '-' : i < 15 ? ' ' : '/';
}

void ctk_point_text(const struct ctk_point *p, char text[static CTK_POINT_TEXT_SIZE])
{
	char *at = text;
	for (unsigned int i = 0; i < 16; i++)
		at += sprintf(at, "%02x%c", p->uuid[i], separator(i));
	(void)sprintf(at, "%" PRIu32, p->epoch);
}

int ctk_point_parse(const char *text, struct ctk_point *ret_point)
{
	uint64_t epoch;
	for (unsigned int i = 0; i < 16; i++, text += 3) {
		int high = parse_hex_digit(text[0]);
		int low = high < 0 ? -1 : parse_hex_digit(text[1]);
		if (low < 0 || text[2] != separator(i))
			return -EINVAL;
		ret_point->uuid[i] = (uint8_t)(high << 4 | low);
	}
	if (*text < '0' || *text > '9' || parse_u64(text, UINT32_MAX, &epoch) < 0)
		return -EINVAL;
	ret_point->epoch = (uint32_t)epoch;
	return 0;
}

/* ---- the head ---- */

static uint32_t crc_of(struct ctk_head_disk *hd)
{
	return ~crc32_iscsi((unsigned char *)hd, offsetof(struct ctk_head_disk, crc),
			    0xffffffffu);
}

static int write_head(struct ctk *ctk, enum ctk_state state)
{
	ctk->head.state = le32_of(state);
	ctk->head.crc = le32_of(crc_of(&ctk->head));
	int rc = diskfile_write(&ctk->file, &ctk->head, sizeof(ctk->head), 0);
	return rc ? rc : diskfile_sync(&ctk->file);
}

/* A new row, with the blocks that a disk of so many sectors has. */
static void head_init(struct ctk_head_disk *hd, uint64_t sectors, uint32_t cid)
{
	uint32_t block = CTK_BLOCK_MIN;
	while (div_up(sectors, block) > CTK_BLOCKS_AIM)
		block *= 2;
	*hd = (struct ctk_head_disk){ .version = le32_of(VERSION),
				      .epoch = le32_of(1),
				      .cid = le32_of(cid),
				      .sectors = le64_of(sectors),
				      .block_sectors = le32_of(block) };
	memcpy(hd->magic, MAGIC, sizeof(hd->magic));
	random_bytes(hd->uuid, sizeof(hd->uuid));
}

static uint64_t block_bytes(const struct ctk *ctk)
{
	return (uint64_t)le32_get(ctk->head.block_sectors) * CTK_SECTOR;
}

static uint64_t blocks_of(const struct ctk_head_disk *hd, uint64_t sectors)
{
	return div_up(sectors, le32_get(hd->block_sectors));
}

/* Whole sectors: a host's file has no others. */
static uint64_t file_size(const struct ctk *ctk)
{
	return CTK_STAMPS + round_up(ctk->blocks * sizeof(le32), CTK_SECTOR);
}

/* Is it a clean head of a disk with that CID that has had at most so many sectors? */
static bool is_sound(struct ctk_head_disk *hd, uint64_t sectors, uint32_t cid)
{
	uint32_t block = le32_get(hd->block_sectors);
	return le32_get(hd->crc) == crc_of(hd) && le32_get(hd->version) == VERSION &&
	       le32_get(hd->state) == CTK_CLEAN && le32_get(hd->cid) == cid &&
	       block >= CTK_BLOCK_MIN && !(block & (block - 1)) &&
	       le64_get(hd->sectors) <= sectors && le64_get(hd->sectors) > 0 &&
	       div_up(sectors, block) <= CTK_BLOCKS_MAX;
}

/* ---- opening ---- */

static int open_file(const struct ctk_disk *disk, uint32_t flags,
		     struct diskfile *ret_file)
{
	const struct diskfile_options how = { .vol = disk->vol,
					      .path = disk->path,
					      .flags = flags,
					      .reporter = disk->reporter };
	return diskfile_open(&how, ret_file, NULL);
}

/* Reads and judges the head. */
static int look(struct ctk *ctk, const struct ctk_disk *disk)
{
	uint64_t size;
	int64_t n = diskfile_read(&ctk->file, &ctk->head, sizeof(ctk->head), 0);
	int rc = n < 0 ? (int)n : diskfile_size(&ctk->file, &size);
	if (rc < 0)
		return rc;
	if (n && memcmp(ctk->head.magic, MAGIC, min_u64(sizeof(ctk->head.magic),
							 (uint64_t)n)) != 0)
		return -EMEDIUMTYPE;
	ctk->is_believed = n == sizeof(ctk->head) &&
			   is_sound(&ctk->head, disk->sectors, disk->cid);
	if (ctk->is_believed) {
		uint64_t had = le64_get(ctk->head.sectors);
		uint64_t known = blocks_of(&ctk->head, had);
		ctk->is_believed = size >= CTK_STAMPS + known * sizeof(le32);
		/* The last block of a disk that has grown is not what it was. */
		ctk->first_new = had == disk->sectors ? known :
				 had / le32_get(ctk->head.block_sectors);
	}
	if (!ctk->is_believed) {
		head_init(&ctk->head, disk->sectors, disk->cid);
		ctk->first_new = 0;
	}
	ctk->blocks = blocks_of(&ctk->head, disk->sectors);
	ctk->head.sectors = le64_of(disk->sectors);
	return 0;
}

int ctk_open(const struct ctk_disk *disk, bool is_writer, struct ctk **ret_ctk)
{
	struct ctk *ctk = calloc(1, sizeof(*ctk));
	if (!ctk)
		return -ENOMEM;
	int rc = open_file(disk, is_writer ? VMFS_WRITE : VMFS_READ, &ctk->file);
	if (rc < 0) {
		free(ctk);
		return rc;
	}
	mutex_init(&ctk->m);
	rc = look(ctk, disk);
	if (rc < 0) {
		(void)ctk_close(ctk); /* was only read */
		return rc;
	}
	*ret_ctk = ctk;
	return 0;
}

int ctk_close(struct ctk *ctk)
{
	if (!ctk)
		return 0;
	int rc = diskfile_close(&ctk->file);
	mutex_done(&ctk->m);
	free(ctk->changed);
	free(ctk);
	return rc;
}

/* All stamps 0, behind a head that is not believed or not there. */
static int reset_stamps(struct ctk *ctk)
{
	int rc = diskfile_resize(&ctk->file, CTK_STAMPS);
	if (rc == 0)
		rc = diskfile_resize(&ctk->file, file_size(ctk));
	return rc;
}

int ctk_create(const struct ctk_disk *disk)
{
	struct ctk *ctk = calloc(1, sizeof(*ctk));
	if (!ctk)
		return -ENOMEM;
	int rc = open_file(disk, VMFS_CREATE | VMFS_WRITE, &ctk->file);
	if (rc < 0) {
		free(ctk);
		return rc;
	}
	mutex_init(&ctk->m);
	head_init(&ctk->head, disk->sectors, disk->cid);
	ctk->blocks = blocks_of(&ctk->head, disk->sectors);
	rc = diskfile_resize(&ctk->file, 0);
	if (rc == 0)
		rc = reset_stamps(ctk);
	if (rc == 0)
		rc = write_head(ctk, CTK_CLEAN);
	int err = ctk_close(ctk);
	return rc ? rc : err;
}

/* ---- writing the disk ---- */

static void begin_epoch(struct ctk *ctk)
{
	uint32_t epoch = le32_get(ctk->head.epoch);
	bool is_continued = le32_get(ctk->head.flags) & CTK_CONTINUED;
	if (is_continued)
		random_bytes(ctk->head.uuid, sizeof(ctk->head.uuid));
	ctk->head.epoch = le32_of(epoch + 1);
	ctk->head.flags =
		le32_of(le32_get(ctk->head.flags) & ~(uint32_t)CTK_CONTINUED);
}

int ctk_begin(struct ctk *ctk)
{
	assert(!ctk->is_begun);
	_Atomic uint64_t *changed = calloc(div_up(ctk->blocks, 64), sizeof(*changed));
	if (!changed)
		return -ENOMEM;
	mutex_lock(&ctk->m);
	bool is_row = ctk->is_believed && le32_get(ctk->head.epoch) < UINT32_MAX;
	if (is_row)
		begin_epoch(ctk);
	else
		head_init(&ctk->head, le64_get(ctk->head.sectors), 0);
	ctk->blocks = blocks_of(&ctk->head, le64_get(ctk->head.sectors));
	mutex_unlock(&ctk->m);
	int rc = write_head(ctk, CTK_OPEN);
	if (rc == 0 && !is_row)
		rc = reset_stamps(ctk);
	else if (rc == 0 && ctk->first_new < ctk->blocks)
		rc = diskfile_resize(&ctk->file, file_size(ctk));
	if (rc < 0) {
		free(changed);
		return rc;
	}
	mutex_lock(&ctk->m);
	ctk->is_believed = true;
	ctk->is_begun = true;
	ctk->changed = changed;
	mutex_unlock(&ctk->m);
	if (is_row && ctk->first_new < ctk->blocks)
		ctk_note(ctk, ctk->first_new * block_bytes(ctk),
			 (ctk->blocks - ctk->first_new) * block_bytes(ctk));
	return 0;
}

void ctk_note(struct ctk *ctk, uint64_t offset, uint64_t len)
{
	if (!len || !ctk->changed)
		return;
	uint64_t last = min_u64((offset + len - 1) / block_bytes(ctk), ctk->blocks - 1);
	for (uint64_t at = offset / block_bytes(ctk); at <= last;) {
		uint64_t end = min_u64(last, at | 63); /* of this word */
		uint64_t bits = UINT64_MAX << at % 64 & UINT64_MAX >> (63 - end % 64);
		_Atomic uint64_t *word = &ctk->changed[at / 64];
		if ((atomic_load_explicit(word, memory_order_relaxed) & bits) != bits)
			(void)atomic_fetch_or(word, bits);
		at = end + 1;
	}
}

static bool has_changed(const struct ctk *ctk, uint64_t block)
{
	return ctk->changed && atomic_load(&ctk->changed[block / 64]) >> block % 64 & 1;
}

static int read_page(struct ctk *ctk, uint64_t first, uint64_t count, le32 *ret_stamp)
{
	uint64_t len = count * sizeof(le32);
	int64_t n = diskfile_read(&ctk->file, ret_stamp, len,
				  CTK_STAMPS + first * sizeof(le32));
	if (n < 0)
		return (int)n;
	/* What the file has not, of a disk that has grown, is nobody's stamp. */
	memset((uint8_t *)ret_stamp + n, 0, len - (uint64_t)n);
	return 0;
}

static int write_page(struct ctk *ctk, uint64_t first, uint64_t count, const le32 *stamp)
{
	return diskfile_write(&ctk->file, stamp, count * sizeof(le32),
			      CTK_STAMPS + first * sizeof(le32));
}

/* The epoch, to the blocks of one page that have changed in it. */
static int stamp_page(struct ctk *ctk, uint64_t first, uint64_t count)
{
	le32 stamp[PAGE];
	bool is_any = false;
	for (uint64_t i = 0; i < count && !is_any; i++)
		is_any = has_changed(ctk, first + i);
	if (!is_any)
		return 0;
	int rc = read_page(ctk, first, count, stamp);
	if (rc < 0)
		return rc;
	for (uint64_t i = 0; i < count; i++) {
		if (has_changed(ctk, first + i))
			stamp[i] = ctk->head.epoch;
	}
	return write_page(ctk, first, count, stamp);
}

int ctk_end(struct ctk *ctk, uint32_t cid)
{
	int rc = 0;
	assert(ctk->is_begun);
	for (uint64_t first = 0; rc == 0 && first < ctk->blocks; first += PAGE)
		rc = stamp_page(ctk, first, min_u64(PAGE, ctk->blocks - first));
	if (rc == 0)
		rc = diskfile_sync(&ctk->file);
	if (rc < 0)
		return rc;
	ctk->head.cid = le32_of(cid);
	rc = write_head(ctk, CTK_CLEAN);
	ctk->is_begun = rc < 0;
	if (rc == 0)
		ctk->first_new = ctk->blocks; /* the file knows them all by now */
	return rc;
}

bool ctk_is_begun(const struct ctk *ctk)
{
	return ctk->is_begun;
}

/* ---- asking ---- */

bool ctk_point(struct ctk *ctk, struct ctk_point *ret_point)
{
	mutex_lock(&ctk->m);
	bool is_known = ctk->is_believed && !ctk->is_begun &&
			ctk->first_new == ctk->blocks;
	memcpy(ret_point->uuid, ctk->head.uuid, sizeof(ret_point->uuid));
	ret_point->epoch = le32_get(ctk->head.epoch);
	mutex_unlock(&ctk->m);
	return is_known;
}

int ctk_find(struct ctk *ctk, const struct ctk_point *since, uint64_t offset,
	     uint64_t *ret_len, bool *ret_is_changed)
{
	le32 stamp[PAGE];
	uint64_t bytes = block_bytes(ctk), first = offset / bytes;
	uint64_t end = le64_get(ctk->head.sectors) * CTK_SECTOR;
	mutex_lock(&ctk->m);
	bool is_known = ctk->is_believed &&
			memcmp(ctk->head.uuid, since->uuid, sizeof(since->uuid)) == 0 &&
			since->epoch <= le32_get(ctk->head.epoch);
	mutex_unlock(&ctk->m);
	assert(offset < end);
	*ret_is_changed = true;
	*ret_len = end - offset;
	if (!is_known)
		return 0;
	uint64_t count = min_u64(PAGE, ctk->blocks - first);
	int rc = read_page(ctk, first, count, stamp);
	for (uint64_t i = 0; i < count && rc == 0; i++) {
		bool is_new = first + i >= ctk->first_new && !ctk->is_begun;
		bool is_changed = is_new || le32_get(stamp[i]) > since->epoch ||
				  has_changed(ctk, first + i);
		if (i == 0)
			*ret_is_changed = is_changed;
		else if (is_changed != *ret_is_changed)
			count = i;
	}
	*ret_len = min_u64((first + count) * bytes, end) - offset;
	return rc;
}

/* ---- children ---- */

/* All stamps of one file to another that has as many and is all zeros. */
static int copy_stamps(struct ctk *from, struct ctk *to)
{
	static const le32 none[PAGE];
	le32 stamp[PAGE];
	int rc = 0;
	assert(from->blocks == to->blocks);
	for (uint64_t first = 0; rc == 0 && first < from->blocks; first += PAGE) {
		uint64_t count = min_u64(PAGE, from->blocks - first);
		rc = read_page(from, first, count, stamp);
		if (rc == 0 && memcmp(stamp, none, count * sizeof(le32)) != 0)
			rc = write_page(to, first, count, stamp);
	}
	return rc ? rc : diskfile_sync(&to->file);
}

/* to, which is open, gets from's row and stamps. */
static int take_over(struct ctk *to, struct ctk *from, uint32_t cid)
{
	struct ctk_head_disk head = from->head;
	head.cid = le32_of(cid);
	to->head = head;
	to->blocks = from->blocks;
	int rc = reset_stamps(to);
	if (rc == 0)
		rc = copy_stamps(from, to);
	return rc ? rc : write_head(to, CTK_CLEAN);
}

int ctk_distrust(struct ctk *ctk)
{
	mutex_lock(&ctk->m);
	ctk->is_believed = false;
	mutex_unlock(&ctk->m);
	return write_head(ctk, CTK_OPEN);
}

int ctk_adopt(struct ctk *ctk, struct ctk *from, uint32_t cid)
{
	if (from && from->is_believed && from->first_new == from->blocks)
		return take_over(ctk, from, cid);
	head_init(&ctk->head, le64_get(ctk->head.sectors), cid);
	ctk->blocks = blocks_of(&ctk->head, le64_get(ctk->head.sectors));
	int rc = reset_stamps(ctk);
	return rc ? rc : write_head(ctk, CTK_CLEAN);
}

int ctk_ready(struct ctk *to, struct ctk *from)
{
	if (!from)
		return ctk_begin(to);
	assert(from->is_begun);
	mutex_lock(&to->m);
	to->head = from->head;
	to->blocks = from->blocks;
	to->first_new = from->first_new;
	mutex_unlock(&to->m);
	int rc = write_head(to, CTK_OPEN);
	if (rc == 0)
		rc = reset_stamps(to);
	return rc ? rc : copy_stamps(from, to);
}

void ctk_switch(struct ctk *to, struct ctk *from)
{
	mutex_lock(&to->m);
	to->changed = from->changed;
	to->is_begun = true;
	to->is_believed = true;
	mutex_unlock(&to->m);
	from->changed = NULL;
}

/* Copies and marks; the parent's file is locked, so one child alone goes on. */
static int fork_from(struct ctk *parent, const struct ctk_disk *child)
{
	struct ctk *ctk;
	uint32_t flags = le32_get(parent->head.flags);
	bool goes_on = parent->is_believed && parent->first_new == parent->blocks &&
		       !(flags & CTK_CONTINUED);
	if (!goes_on)
		return 0;
	int rc = ctk_open(child, true, &ctk);
	if (rc < 0)
		return rc;
	rc = ctk_distrust(ctk);
	if (rc == 0)
		rc = take_over(ctk, parent, child->cid);
	int err = ctk_close(ctk);
	rc = rc ? rc : err;
	if (rc < 0)
		return rc;
	parent->head.flags = le32_of(flags | CTK_CONTINUED);
	return write_head(parent, CTK_CLEAN);
}

int ctk_hand_on(struct ctk *parent, struct ctk *child)
{
	uint32_t flags = le32_get(parent->head.flags);
	bool goes_on = parent->is_believed && parent->first_new == parent->blocks &&
		       !(flags & CTK_CONTINUED) && child->is_begun &&
		       block_bytes(parent) == block_bytes(child) &&
		       le32_get(parent->head.epoch) < UINT32_MAX;
	if (!goes_on)
		return 0;
	/* The mark first: if the copy fails nobody goes on, and that is allowed. */
	parent->head.flags = le32_of(flags | CTK_CONTINUED);
	int rc = write_head(parent, CTK_CLEAN);
	if (rc == 0)
		rc = copy_stamps(parent, child);
	if (rc < 0)
		return rc;
	mutex_lock(&child->m);
	memcpy(child->head.uuid, parent->head.uuid, sizeof(child->head.uuid));
	child->head.epoch = le32_of(le32_get(parent->head.epoch) + 1);
	mutex_unlock(&child->m);
	return write_head(child, CTK_OPEN);
}

int ctk_fork(const char *parent_path, const struct ctk_disk *child)
{
	struct ctk_disk above = *child;
	struct ctk *parent;
	int rc = ctk_create(child);
	if (rc < 0)
		return rc;
	above.path = parent_path; /* as large, and with the same CID */
	rc = ctk_open(&above, true, &parent);
	if (rc == -ENOENT || rc == -EMEDIUMTYPE)
		return 0;
	if (rc < 0)
		return rc;
	rc = fork_from(parent, child);
	int err = ctk_close(parent);
	return rc ? rc : err;
}
