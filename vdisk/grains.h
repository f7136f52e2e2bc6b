/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_GRAINS_H
#define VDISK_GRAINS_H

/*
 * The grains of an open sparse extent, by its tables, which are kept in memory as they
 * are read: four bytes a grain, nothing for a table that is empty, and not more than so
 * much in all (graintables.h). Looking up takes no lock.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "vdisk/diskfile.h"
#include "vdisk/graintables.h"
#include "vdisk/sparsehead.h"

struct grains {
	struct diskfile *file;
	struct reporter *reporter;
	struct sparse_head head;
	uint32_t *gd, *rgd;		      /* sectors; rgd NULL: none */
	struct mutex m;			      /* what follows */
	struct grain_tables tables;	      /* but for looking */
	uint64_t next, room_end;	      /* sectors: the next grain, what is grown */
	uint32_t *dirty;		      /* tables with changes, in no order */
	uint32_t dirty_count, dirty_capacity;
	bool is_prompt;			      /* VDISK_PROMPT; set after opening */
	bool is_marked;			      /* the header says "unclean" */
	atomic_uint unwritten;		      /* changed sectors not durable yet */
	struct sleeplock io;		      /* reading tables, growing, flushing */
};

/*
 * Reads the directories of file, whose header is head. file is borrowed until
 * grains_close. -EUCLEAN reported. Blocks.
 */
int grains_open(struct grains *g, struct diskfile *file, const struct sparse_head *head,
		struct reporter *r) __attribute__((warn_unused_result));
/*
 * Writes what is due, cuts the file behind the last grain and marks it clean, unless
 * nothing was ever changed. Frees. A zero-filled g is allowed. Blocks.
 */
int grains_close(struct grains *g);

/* The entry of a grain; -EAGAIN: its table is not in memory. Never blocks. */
int grains_look(struct grains *g, uint64_t grain, uint32_t *ret_entry)
	__attribute__((warn_unused_result));
/*
 * Reads the table of a grain if it is not in memory, from where it may go again at any
 * time. -EUCLEAN: an entry is wrong. Blocks.
 */
int grains_load(struct grains *g, uint64_t grain) __attribute__((warn_unused_result));
/* The entry of a grain. As grains_load(). Blocks. */
int grains_find(struct grains *g, uint64_t grain, uint32_t *ret_entry)
	__attribute__((warn_unused_result));
/*
 * Grains from `grain` on, at most max and only of one table, that are all absent, all
 * zero, or one behind the other in the file; *ret_entry is the first one's. -EAGAIN: the
 * table is not in memory. Never blocks.
 */
int grains_run(struct grains *g, uint64_t grain, uint64_t max, uint32_t *ret_entry,
	       uint64_t *ret_count) __attribute__((warn_unused_result));
/* The same; reads the table if it must. As grains_load(). Blocks. */
int grains_find_run(struct grains *g, uint64_t grain, uint64_t max, uint32_t *ret_entry,
		    uint64_t *ret_count) __attribute__((warn_unused_result));
/*
 * Gives a grain a place at the end of the file, which reads as zeros; its entry is
 * written by the next flush. 0 (also if it has one by now); -EAGAIN: grains_load() and
 * grains_grow() first; -ENOSPC: its format ends. Never blocks.
 */
int grains_allocate(struct grains *g, uint64_t grain, uint32_t *ret_entry)
	__attribute__((warn_unused_result));
/* Makes room for grains_allocate, in the file and in memory. Blocks. */
int grains_grow(struct grains *g) __attribute__((warn_unused_result));
/* Makes an absent grain one of zeros (the head has SPARSE_ZERO_GRAIN). Never blocks. */
int grains_zero(struct grains *g, uint64_t grain) __attribute__((warn_unused_result));
/* true if a flush of the file alone makes all durable. Never blocks. */
bool grains_are_clean(struct grains *g);
/*
 * Everything that was written before is durable: first the data, then the entries, in the
 * redundant tables and then in the others. Blocks.
 */
int grains_flush(struct grains *g) __attribute__((warn_unused_result));

#endif
