/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders that are gone, but of which somebody here still stands in one or has it open:
 * POSIX lets him ask for its attributes, and change them. The kernel holds such a number
 * until nobody needs it, and says so once. Till then its attributes are kept here, as
 * they were, with no link. (A file that loses its name while it is open keeps its
 * descriptor: opened.c.) Without memory for that it is gone at once, as one is that
 * another host removes.
 */
#include "fuse/removed.h"

#include <errno.h>
#include <stdlib.h>
#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

struct removed {
	UT_hash_handle hh;
	fuse_ino_t ino;
	struct vmfs_stat st;
};

/* Under m. */
static struct removed *find(struct removed_table *t, fuse_ino_t ino)
{
	struct removed *r;
	HASH_FIND(hh, t->first, &ino, sizeof(ino), r);
	return r;
}

static void drop(struct removed_table *t, struct removed *r)
{
	HASH_DEL(t->first, r);
	free(r);
}

void removed_init(struct removed_table *t)
{
	mutex_init(&t->m);
	t->first = NULL;
}

void removed_done(struct removed_table *t)
{
	struct removed *r, *next;
	HASH_ITER(hh, t->first, r, next)
	drop(t, r);
	mutex_done(&t->m);
}

void removed_note(struct removed_table *t, const struct vmfs_stat *st)
{
	fuse_ino_t ino = ino_of_stat(st);
	mutex_lock(&t->m);
	struct removed *r = find(t, ino);
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (r) {
			r->ino = ino;
			HASH_ADD(hh, t->first, ino, sizeof(r->ino), r);
		}
	}
	if (r) {
		r->st = *st;
		r->st.links = 0;
	}
	mutex_unlock(&t->m);
}

int removed_stat(struct removed_table *t, fuse_ino_t ino, struct vmfs_stat *ret_st)
{
	mutex_lock(&t->m);
	const struct removed *r = find(t, ino);
	if (r)
		*ret_st = r->st;
	mutex_unlock(&t->m);
	return r ? 0 : -ENOENT;
}

void removed_forget(struct removed_table *t, fuse_ino_t ino)
{
	mutex_lock(&t->m);
	struct removed *r = find(t, ino);
	if (r)
		drop(t, r);
	mutex_unlock(&t->m);
}
