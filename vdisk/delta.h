/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_DELTA_H
#define VDISK_DELTA_H

/*
 * One delta file of a chain: which sectors of the disk it has, and where. Two formats
 * (cowd.c, sesparse.c) describe themselves as a struct delta_format; everything that is
 * done with them is delta.c. Inside libvdisk.
 *
 * Sectors are of 512 bytes. A REGION is 2 MiB of the disk, the piece in which tables are
 * read and remembered.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "bdev/bdev.h"

#define DELTA_SECTOR 512u
#define REGION_SECTORS 4096u
#define DELTA_TABLE_GRAINS 4096u /* entries of a grain table, in both formats */
#define DELTA_HEAD_SECTORS 4u	 /* what a format's read_head() looks at */
#define DELTA_MAX_GRAIN 2048u	 /* sectors */

/* Where sectors of the disk are: a sector of the file, or one of these. */
#define DELTA_ABSENT UINT64_MAX
#define DELTA_ZERO (UINT64_MAX - 1)

/* What a verified header says. All in sectors, of the file but for capacity. */
struct delta_shape {
	uint64_t capacity;
	uint32_t grain;		 /* sectors; a power of two */
	uint64_t table_count;	 /* that the capacity needs */
	uint64_t directory_at;
	uint64_t tables_at;	 /* reserved for tables; 0: they lie among the grains */
	uint64_t grains_at;	 /* nothing of a grain lies before this */
	uint64_t limit;		 /* the file never grows past this */
	uint64_t next_sector;	 /* free from here on, if is_clean */
	uint64_t next_table;	 /* likewise, if tables_at */
	bool is_clean;		 /* was closed in order: next_ may be believed */
	bool is_foreign;	 /* not to be written here; why_foreign says it */
	const char *why_foreign;
};

struct delta_format {
	const char *extent_type; /* in a descriptor: "VMFSSPARSE" */
	const char *create_type; /* "vmfsSparse" */
	const char *suffix;	 /* of the file's name: "-delta.vmdk" */
	uint32_t entry_size;	 /* bytes, of tables and of the directory */
	bool has_zero;		 /* a grain can be said to be zeros */
	/*
	 * Verifies DELTA_HEAD_SECTORS sectors of a file of that many sectors. 0; -EUCLEAN
	 * or -EOPNOTSUPP with the sentence's end in *ret_why.
	 */
	int (*read_head)(const void *head, uint64_t file_sectors,
			 struct delta_shape *ret_shape, const char **ret_why);
	/*
	 * Brings a head that read_head() has passed to what shape says of its ends and
	 * its cleanness. Unknown fields stay.
	 */
	void (*write_head)(void *head, const struct delta_shape *shape);
	/* A new file's head, and its sectors. -EFBIG: too large for the format. */
	int (*make_head)(uint64_t capacity, void *ret_head, uint64_t *ret_sectors);
	/* Sector of a table by its directory entry, 0: none; DELTA_ABSENT: no entry. */
	uint64_t (*table_of)(const struct delta_shape *shape, const void *entry);
	void (*table_entry)(const struct delta_shape *shape, uint64_t sector,
			    void *ret_entry);
	/* A grain by its entry: a sector, DELTA_ZERO, DELTA_ABSENT, or 0: wrong. */
	uint64_t (*grain_of)(const struct delta_shape *shape, const void *entry);
	void (*grain_entry)(const struct delta_shape *shape, uint64_t sector,
			    void *ret_entry);
};
extern const struct delta_format delta_cowd, delta_sesparse;
/* Of an extent's type; NULL: none. */
const struct delta_format *delta_format_of(const char *extent_type);

/* The file under a delta: embed it. */
struct delta_file {
	struct bdev *bd;
	/* Makes it that many bytes long, backed by room. Blocks. */
	int (*grow)(struct delta_file *file, uint64_t size);
};

struct delta;

/*
 * Reads and checks the head and the directory. capacity: sectors that the descriptor
 * says. is_writer: it will be written; a file that was not closed in order is read
 * through for its end. name: for reports, borrowed. file: borrowed until delta_close. 0;
 * -EUCLEAN, -EOPNOTSUPP (both reported), -errno. Blocks.
 */
struct delta_options {
	const struct delta_format *format;
	struct delta_file *file;
	const char *name;
	uint64_t capacity;
	bool is_writer;
	struct reporter *reporter;
	/* Is told, while it opens, of each region that has a table. NULL: no. */
	void (*has_table)(void *arg, uint64_t region);
	void *has_table_arg;
	/* Is told, once for each delta_note(), that it is durable. No lock is held. */
	void (*committed)(void *arg, uint64_t region);
	void *arg;
};
int delta_open(const struct delta_options *options, struct delta **ret_delta)
	__attribute__((warn_unused_result));
/* Commits, marks it closed in order, frees. 0 or -errno (freed all the same). */
int delta_close(struct delta *delta);
/* Gives up what is not committed: a crash would have done the same. */
void delta_abandon(struct delta *delta);

uint32_t delta_grain(const struct delta *delta); /* sectors */
bool delta_has_zero(const struct delta *delta);	 /* delta_note() takes DELTA_ZERO */
/*
 * Fills place[i] with where sector i of the region is, as the file says (what is not
 * committed is not in it). Past the capacity: DELTA_ABSENT. -EUCLEAN (reported). Blocks.
 */
int delta_places(struct delta *delta, uint64_t region,
		 uint64_t place[static REGION_SECTORS])
	__attribute__((warn_unused_result));

/*
 * count sectors in line in the file, for whole grains; nothing on disk says so before
 * delta_note() and delta_commit(). -ENOSPC, -EFBIG (reported), -errno. Blocks.
 */
int delta_allocate(struct delta *delta, uint64_t count, uint64_t *ret_at)
	__attribute__((warn_unused_result));
/*
 * Sectors [sector, sector + count) of the disk, whole grains within one region, are at
 * `at` of the file, where their data has been written, or DELTA_ZERO. Never blocks. 0 or
 * -ENOMEM.
 */
int delta_note(struct delta *delta, uint64_t sector, uint64_t count, uint64_t at)
	__attribute__((warn_unused_result));
/* true if delta_commit() has something to do. Never blocks. */
bool delta_is_dirty(struct delta *delta);
/* true if so much is noted that a writer should commit. Never blocks. */
bool delta_is_full(struct delta *delta);
/*
 * If little is left of what the file is backed by, backs it further, before anybody has
 * to wait for that; others allocate meanwhile. If that fails, who needs it finds out.
 * Never blocks unless it has something to do.
 */
void delta_add_room(struct delta *delta);
/*
 * Does what the first commit would do before all others, and what those who allocate
 * first would wait for, as far as there is room. Blocks.
 */
int delta_begin(struct delta *delta) __attribute__((warn_unused_result));
/*
 * After it everything written and noted before is durable. On an error it is all still
 * noted, and may be tried again. Blocks.
 */
int delta_commit(struct delta *delta) __attribute__((warn_unused_result));

/*
 * Commits, marks the file closed in order, durably; nothing is given to it any more, and
 * its lock may be shared. On an error it is as before. Blocks.
 */
int delta_finish(struct delta *delta) __attribute__((warn_unused_result));
/* Nobody is told of commits any more. */
void delta_mute(struct delta *delta);
/*
 * Who opens the file next finds what is noted, also if this process dies; of a power
 * failure a flush of the file protects it, or delta_commit(). Nothing to do if that has
 * been done. Errors as of that. Blocks.
 */
int delta_settle(struct delta *delta) __attribute__((warn_unused_result));

/* Writes an empty delta over file, which is empty and all of it a hole. Blocks. */
int delta_make(const struct delta_format *format, struct delta_file *file,
	       uint64_t capacity) __attribute__((warn_unused_result));

#endif
