/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seSparse: the delta file of VMFS-6 and of disks past 2 TiB. What is known of it:
 * FORMAT.md, "Delta disks". Sizes and places are sectors, entries 64 bits:
 *
 *	0	constant header	   1	volatile header	   2	journal header
 *	then, each from a multiple of 1 MiB: journal, directory, tables, bitmap of free
 *	grains, back map (which table a grain belongs to), grains
 *
 * Tables and grains are counted, not addressed: table i is at tables_at + 64 i, grain i
 * at grains_at + 8 i. The highest four bits of an entry are its state.
 *
 * How ESXi keeps journal, bitmap and back map is not known outside. So:
 * 1. A file whose journal has to be replayed is refused: what its tables say may be half.
 * 2. A file is written only if it was made here. Those carry a mark of our own in place
 *    of the journal header, with what we have to remember; ESXi finds no journal that it
 *    knows there and has no reason to believe the bitmap. A file of ESXi's is read, and
 *    gets a new delta on top to be written to.
 * 3. A discarded grain becomes a zero grain: the entry that ESXi uses for an unmapped one
 *    points to a grain that is still its own, ours do not.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "vdisk/delta.h"

#define SE_CONST_MAGIC 0xcafebabeull
#define SE_VOLATILE_MAGIC 0xcafecafeull
#define SE_VERSION 0x0000000200000001ull
#define SE_GRAIN 8u
#define SE_TABLE 64u
#define SE_ALIGN 2048u
#define SE_JOURNAL 2048u
#define SE_MAX_CAPACITY (64ull << 31) /* 64 TiB */
#define SE_MAX_TABLES (1ull << 32)
#define SE_MARK "OpenVMFS delta 1"

#define STATE(entry) ((entry) >> 60)
#define STATE_UNMAPPED 1ull
#define STATE_ZERO 2ull
#define STATE_DATA 3ull
#define TABLE_VALID 0x10000000ull /* of an entry's upper half */

struct se_const_disk {
	le64 magic;		/* 0x000 */
	le64 version;		/* 0x008 */
	le64 capacity;		/* 0x010 */
	le64 grain;		/* 0x018 */
	le64 table;		/* 0x020  sectors of one */
	le64 flags;		/* 0x028 */
	le64 reserved[4];	/* 0x030 */
	le64 volatile_at, volatile_size;	     /* 0x050 */
	le64 journal_header_at, journal_header_size; /* 0x060 */
	le64 journal_at, journal_size;		     /* 0x070 */
	le64 directory_at, directory_size;	     /* 0x080 */
	le64 tables_at, tables_size;		     /* 0x090 */
	le64 bitmap_at, bitmap_size;		     /* 0x0a0 */
	le64 backmap_at, backmap_size;		     /* 0x0b0 */
	le64 grains_at, grains_size;		     /* 0x0c0 */
	uint8_t padding[304];	/* 0x0d0 */
};
ONDISK_AT(struct se_const_disk, volatile_at, 0x50);
ONDISK_AT(struct se_const_disk, grains_at, 0xc0);
ONDISK_SIZE(struct se_const_disk, DELTA_SECTOR);

struct se_volatile_disk {
	le64 magic;		/* 0x000 */
	le64 next_table;	/* 0x008  first free one */
	le64 next_transaction;	/* 0x010 */
	le64 must_replay;	/* 0x018 */
	uint8_t padding[480];	/* 0x020 */
};
ONDISK_SIZE(struct se_volatile_disk, DELTA_SECTOR);

/* Ours, where the journal header would be. */
struct se_mark_disk {
	char text[16];		/* 0x000  SE_MARK, without its NUL */
	le64 is_unclean;	/* 0x010 */
	le64 next_grain;	/* 0x018  first free one, if it is not unclean */
	uint8_t padding[480];	/* 0x020 */
};
ONDISK_SIZE(struct se_mark_disk, DELTA_SECTOR);

/* The head as it is made, and as every known file has it. */
struct se_head_disk {
	struct se_const_disk fixed;
	struct se_volatile_disk moving;
	struct se_mark_disk mark;
	uint8_t rest[DELTA_SECTOR];
};
ONDISK_SIZE(struct se_head_disk, DELTA_HEAD_SECTORS * DELTA_SECTOR);

static uint64_t tables_for(uint64_t capacity)
{
	return div_up(capacity, (uint64_t)SE_GRAIN * DELTA_TABLE_GRAINS);
}

/* [at, at + size) lies inside the file and not in the first four sectors. */
static bool is_area(le64 at, le64 size, uint64_t file_sectors)
{
	uint64_t end;
	return le64_get(at) >= DELTA_HEAD_SECTORS &&
	       checked_add(le64_get(at), le64_get(size), &end) && end <= file_sectors;
}

static const char *what_is_wrong(const struct se_head_disk *hd, uint64_t file_sectors)
{
	const struct se_const_disk *cd = &hd->fixed;
	uint64_t capacity = le64_get(cd->capacity);
	if (le64_get(cd->magic) != SE_CONST_MAGIC)
		return "is not a seSparse file";
	if (!capacity || capacity > SE_MAX_CAPACITY)
		return "its capacity is not 1 sector to 64 TiB";
	if (le64_get(hd->moving.magic) != SE_VOLATILE_MAGIC)
		return "its volatile header is not one";
	if (!is_area(cd->directory_at, cd->directory_size, file_sectors) ||
	    !is_area(cd->tables_at, cd->tables_size, file_sectors) ||
	    !is_area(cd->grains_at, (le64){ { 0 } }, file_sectors))
		return "its areas are not inside the file";
	if (le64_get(cd->directory_size) * DELTA_SECTOR / sizeof(le64) <
	    tables_for(capacity))
		return "its directory is too small for its capacity";
	if (le64_get(cd->tables_size) / SE_TABLE < tables_for(capacity))
		return "its room for tables is too small for its capacity";
	if (le64_get(cd->grains_at) <
	    le64_get(cd->tables_at) + le64_get(cd->tables_size))
		return "its grains lie in its tables";
	return NULL;
}

static const char *what_is_unknown(const struct se_head_disk *hd)
{
	const struct se_const_disk *cd = &hd->fixed;
	static const le64 none[4];
	if (le64_get(cd->version) != SE_VERSION)
		return "its version of seSparse is not 2.1";
	if (le64_get(cd->grain) != SE_GRAIN || le64_get(cd->table) != SE_TABLE)
		return "its grains or tables are not of the known size";
	if (le64_get(cd->flags) || memcmp(cd->reserved, none, sizeof(none)) != 0)
		return "it has flags that are not known";
	if (le64_get(cd->volatile_at) != 1)
		return "its volatile header is not where it is known to be";
	if (le64_get(hd->moving.must_replay))
		return "its journal has to be replayed, which ESXi alone can do";
	return NULL;
}

static int se_read(const void *head, uint64_t file_sectors,
		   struct delta_shape *ret_shape, const char **ret_why)
{
	const struct se_head_disk *hd = head;
	const struct se_const_disk *cd = &hd->fixed;
	*ret_why = what_is_wrong(hd, file_sectors);
	if (*ret_why)
		return -EUCLEAN;
	*ret_why = what_is_unknown(hd);
	if (*ret_why)
		return -EOPNOTSUPP;
	uint64_t room;
	uint64_t grains_at = le64_get(cd->grains_at);
	uint64_t next = le64_get(hd->mark.next_grain);
	bool is_ours = !memcmp(hd->mark.text, SE_MARK, sizeof(hd->mark.text));
	bool is_sane = next <= le64_get(cd->capacity) &&
		       le64_get(hd->moving.next_table) <= SE_MAX_TABLES;
	*ret_shape = (struct delta_shape){
		.capacity = le64_get(cd->capacity),
		.grain = SE_GRAIN,
		.table_count = tables_for(le64_get(cd->capacity)),
		.directory_at = le64_get(cd->directory_at),
		.tables_at = le64_get(cd->tables_at),
		.grains_at = grains_at,
		/* grain numbers have 60 bits: a file ends far before */
		.limit = checked_add(grains_at, SE_MAX_CAPACITY * 4, &room) ? room :
									      UINT64_MAX,
		.next_sector = grains_at + (is_sane ? next * SE_GRAIN : 0),
		.next_table = le64_get(hd->moving.next_table),
		.is_clean = is_ours && is_sane && !le64_get(hd->mark.is_unclean),
		.is_foreign = !is_ours,
		.why_foreign = "was made by ESXi, which alone knows how to change it; it"
			       " can be read, cloned, and written to through a snapshot",
	};
	return 0;
}

static void se_write(void *head, const struct delta_shape *shape)
{
	struct se_head_disk *hd = head;
	hd->moving.next_table = le64_of(shape->next_table);
	hd->mark.is_unclean = le64_of(!shape->is_clean);
	hd->mark.next_grain =
		le64_of((shape->next_sector - shape->grains_at) / SE_GRAIN);
}

/* Takes size sectors, rounded up, at *end. */
static void take_area(uint64_t *end, uint64_t size, le64 *ret_at, le64 *ret_size)
{
	size = round_up(size, SE_ALIGN);
	*ret_at = le64_of(*end);
	*ret_size = le64_of(size);
	*end += size;
}

static int se_make(uint64_t capacity, void *ret_head, uint64_t *ret_sectors)
{
	struct se_head_disk *hd = ret_head;
	struct se_const_disk *cd = &hd->fixed;
	uint64_t tables = tables_for(capacity);
	uint64_t grains = div_up(capacity, SE_GRAIN);
	uint64_t end = SE_ALIGN;
	if (capacity > SE_MAX_CAPACITY)
		return -EFBIG;
	*hd = (struct se_head_disk){
		.fixed = { .magic = le64_of(SE_CONST_MAGIC),
			   .version = le64_of(SE_VERSION),
			   .capacity = le64_of(capacity),
			   .grain = le64_of(SE_GRAIN),
			   .table = le64_of(SE_TABLE),
			   .volatile_at = le64_of(1),
			   .volatile_size = le64_of(1),
			   .journal_header_at = le64_of(2),
			   .journal_header_size = le64_of(2) },
		.moving = { .magic = le64_of(SE_VOLATILE_MAGIC) },
	};
	(void)memcpy(hd->mark.text, SE_MARK, sizeof(hd->mark.text));
	take_area(&end, SE_JOURNAL, &cd->journal_at, &cd->journal_size);
	take_area(&end, div_up(tables * sizeof(le64), DELTA_SECTOR), &cd->directory_at,
		  &cd->directory_size);
	take_area(&end, tables * SE_TABLE, &cd->tables_at, &cd->tables_size);
	take_area(&end, div_up(grains, 8ull * DELTA_SECTOR), &cd->bitmap_at,
		  &cd->bitmap_size);
	take_area(&end, div_up(grains * sizeof(le64), DELTA_SECTOR), &cd->backmap_at,
		  &cd->backmap_size);
	cd->grains_at = le64_of(end);
	cd->grains_size = le64_of(capacity);
	*ret_sectors = end;
	return 0;
}

static uint64_t se_table_of(const struct delta_shape *shape, const void *entry)
{
	uint64_t n = le64_get(*(const le64 *)entry);
	uint64_t index = n & UINT32_MAX;
	if (!n)
		return 0;
	if (n >> 32 != TABLE_VALID ||
	    index >= (shape->grains_at - shape->tables_at) / SE_TABLE)
		return DELTA_ABSENT;
	return shape->tables_at + index * SE_TABLE;
}

static void se_table_entry(const struct delta_shape *shape, uint64_t sector,
			   void *ret_entry)
{
	uint64_t index = (sector - shape->tables_at) / SE_TABLE;
	*(le64 *)ret_entry = le64_of(TABLE_VALID << 32 | index);
}

/* A grain's number: its low 12 bits stand above the other 48. */
static uint64_t se_grain_of(const struct delta_shape *shape, const void *entry)
{
	uint64_t n = le64_get(*(const le64 *)entry);
	uint64_t grain = (n >> 48 & 0xfff) | (n & 0xffffffffffffull) << 12;
	switch (STATE(n)) {
	case 0:
		return n ? 0 : DELTA_ABSENT;
	case STATE_UNMAPPED:
	case STATE_ZERO:
		return DELTA_ZERO;
	case STATE_DATA:
		return grain < shape->limit / SE_GRAIN ?
			       shape->grains_at + grain * SE_GRAIN : 0;
	default:
		return 0;
	}
}

static void se_grain_entry(const struct delta_shape *shape, uint64_t sector,
			   void *ret_entry)
{
	uint64_t grain = (sector - shape->grains_at) / SE_GRAIN;
	uint64_t n = sector == DELTA_ZERO ? STATE_ZERO << 60 :
					    STATE_DATA << 60 | (grain & 0xfff) << 48 |
						    grain >> 12;
	*(le64 *)ret_entry = le64_of(n);
}

const struct delta_format delta_sesparse = {
	.extent_type = "SESPARSE",
	.create_type = "seSparse",
	.suffix = "-sesparse.vmdk",
	.entry_size = sizeof(le64),
	.has_zero = true,
	.read_head = se_read,
	.write_head = se_write,
	.make_head = se_make,
	.table_of = se_table_of,
	.table_entry = se_table_entry,
	.grain_of = se_grain_of,
	.grain_entry = se_grain_entry,
};
