/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders that are gone, but of which somebody here still stands in one or has it open:
 * POSIX lets him ask for its attributes, and change them. The kernel holds such a number
 * until nobody needs it, and says so once. Till then its attributes are kept here, as
 * they were, with no link. (A file that loses its name while it is open keeps its
 * descriptor: files.c.) Without memory for that it is gone at once, as one is that
 * another host removes.
 */
#include <errno.h>
#include <stdlib.h>
#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

#include "fuse/ops.h"

struct removed {
	UT_hash_handle hh;
	fuse_ino_t ino;
	struct vmfs_stat st;
};

/* Under m. */
static struct removed *find(struct mount *m, fuse_ino_t ino)
{
	struct removed *r;
	HASH_FIND(hh, m->removed, &ino, sizeof(ino), r);
	return r;
}

static void drop(struct mount *m, struct removed *r)
{
	HASH_DEL(m->removed, r);
	free(r);
}

void removed_note(struct mount *m, const struct vmfs_stat *st)
{
	fuse_ino_t ino = ino_of_node(vmfs_node_of(st));
	mutex_lock(&m->m);
	struct removed *r = find(m, ino);
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (r) {
			r->ino = ino;
			HASH_ADD(hh, m->removed, ino, sizeof(r->ino), r);
		}
	}
	if (r) {
		r->st = *st;
		r->st.links = 0;
	}
	mutex_unlock(&m->m);
}

int removed_stat(struct mount *m, fuse_ino_t ino, struct vmfs_stat *ret_st)
{
	mutex_lock(&m->m);
	const struct removed *r = find(m, ino);
	if (r)
		*ret_st = r->st;
	mutex_unlock(&m->m);
	return r ? 0 : -ENOENT;
}

void removed_forget(struct mount *m, fuse_ino_t ino)
{
	mutex_lock(&m->m);
	struct removed *r = find(m, ino);
	if (r)
		drop(m, r);
	mutex_unlock(&m->m);
}

void removed_done(struct mount *m)
{
	struct removed *r, *next;
	HASH_ITER(hh, m->removed, r, next)
	drop(m, r);
}
