/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_DELTA_IMPL_H
#define VDISK_DELTA_IMPL_H

/* The inside of an open delta, shared by delta.c and deltacommit.c. */
#include <stdatomic.h>

#include "base/env.h"
#include "vdisk/delta.h"

struct note {
	uint64_t sector, count, at, order;
};

struct delta {
	const struct delta_format *format;
	struct delta_file *file;
	const char *name;
	struct reporter *reporter;
	struct delta_shape shape;
	uint32_t table_sectors;
	bool is_writer;
	void (*committed)(void *arg, uint64_t region);
	void *arg;
	uint8_t *directory;   /* of a writer */
	bool *is_changed;     /* by sector of it */
	bool is_marked;	      /* the head says that the file is open */
	_Atomic uint64_t backed; /* sectors; changes with growth held */
	atomic_bool is_short;	 /* less than a step of it is left */
	struct sleeplock commit; /* also guards directory, is_changed, is_marked */
	struct sleeplock room;	 /* next_sector, next_table */
	struct sleeplock growth; /* of the file; is_refused */
	bool is_refused;	 /* room ahead was, and none has been had since */
	struct mutex m;		 /* what follows */
	struct note *note;
	unsigned int note_count, note_capacity;
	uint64_t order, settled; /* notes so far; of these, found by others */
};

/* ---- delta.c; all block ---- */

int delta_read(struct delta *d, void *buf, uint64_t count, uint64_t at)
	__attribute__((warn_unused_result));
int delta_write(struct delta *d, const void *buf, uint64_t count, uint64_t at)
	__attribute__((warn_unused_result));
uint64_t delta_directory_sectors(const struct delta *d); /* never blocks */
/* Sector of a table by the directory, 0: there is none. -EUCLEAN (reported). */
int delta_find_table(struct delta *d, uint64_t table, uint64_t *ret_at)
	__attribute__((warn_unused_result));
/* Room for a table. As delta_allocate(). */
int delta_take_table(struct delta *d, uint64_t *ret_at)
	__attribute__((warn_unused_result));
/* The room that a file which will be written soon is given before, if there is any. */
void delta_first_room(struct delta *d);

#endif
