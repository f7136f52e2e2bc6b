/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders that are listed.
 *
 * On VMFS-5 the last entry takes the place of one that is removed. Who lists a folder
 * part by part from the disk, and removes what he has seen, would miss others. So who
 * opens a folder gets all its names as they were at one moment, when he reads from its
 * beginning: what was there then and stays is listed once, whatever goes or comes
 * meanwhile. They are kept until the folder is closed, one behind the other; a cookie is
 * the number of an entry, any that a caller may make up.
 *
 * Of one moment are folders of up to AT_ONCE_MAX names; larger ones are read in so large
 * parts. Attributes are looked at when they are asked for.
 */
#include "fuse/folders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "fuse/loop.h"
#include "fuse/reply.h"
#include "vmfs/format.h"

#define ENTRIES 64u /* that are looked at together */
#define PLUS_SIZE 160u /* of one with attributes and a short name */
#define BESIDE_IS_PUT (1ull << 62) /* in a cookie: vdisks.c */
#define AT_ONCE_LEAST 256u
#define AT_ONCE_MAX (256u << 10)

struct kept {
	vmfs_addr addr;
	uint32_t type, generation, len;
	char name[];
};

/* Open: fi->fh. */
struct folder {
	struct sleeplock sleeplock; /* guards all */
	bool is_loaded;
	uint8_t *names; /* struct kept, each followed by its name */
	size_t used, room;
	size_t *at; /* where each begins in names */
	size_t count, count_room;
};

static struct folder *folder_of(const struct fuse_file_info *fi)
{
	return (struct folder *)(uintptr_t)fi->fh;
}

/* ---- what is kept ---- */

/* At least `more` units behind `used`; 0 or -ENOMEM. */
static int make_room(void **memory, size_t *room, size_t used, size_t more, size_t unit)
{
	if (*room - used >= more)
		return 0;
	size_t wanted = max_u64(2 * *room, used + max_u64(more, 512));
	void *grown = reallocarray(*memory, wanted, unit);
	if (!grown)
		return -ENOMEM;
	*memory = grown;
	*room = wanted;
	return 0;
}

static int keep(struct folder *folder, const struct vmfs_dirent *entry)
{
	size_t len = strlen(entry->name);
	size_t size = round_up(sizeof(struct kept) + len, _Alignof(struct kept));
	void *names = folder->names, *at = folder->at;
	int err = make_room(&names, &folder->room, folder->used, size, 1);
	folder->names = names;
	if (!err)
		err = make_room(&at, &folder->count_room, folder->count, 1,
				sizeof(*folder->at));
	folder->at = at;
	if (err)
		return err;
	struct kept *kept = (void *)(folder->names + folder->used);
	kept->addr = entry->addr;
	kept->type = entry->type;
	kept->generation = entry->generation;
	kept->len = (uint32_t)len;
	(void)memcpy(kept->name, entry->name, len);
	folder->at[folder->count++] = folder->used;
	folder->used += size;
	return 0;
}

/* So many are there, about. */
static unsigned int count_about(struct mount *m, fuse_ino_t ino)
{
	struct vmfs_stat st;
	if (vmfs_node_stat(m->vol, node_of_ino(ino), &st) < 0)
		return AT_ONCE_LEAST; /* who reads it is told */
	uint64_t count = st.size_bytes / sizeof(struct vmfs_dirent_disk);
	return (unsigned int)min_u64(count + AT_ONCE_LEAST, AT_ONCE_MAX);
}

static int load(struct folder *folder, struct mount *m, fuse_ino_t ino)
{
	unsigned int max = count_about(m, ino);
	struct vmfs_dirent *entries = calloc(max, sizeof(*entries));
	int n = entries ? 1 : -ENOMEM, err = 0;
	uint64_t cookie = 0;
	folder->used = folder->count = 0;
	while (n > 0 && !err) {
		n = vmfs_node_readdir(m->vol, node_of_ino(ino), cookie, entries, max);
		for (int i = 0; i < n && !err; i++)
			err = keep(folder, &entries[i]);
		cookie = n > 0 ? entries[n - 1].cookie : 0;
	}
	free(entries);
	err = n < 0 ? n : err;
	folder->is_loaded = !err;
	return err;
}

/* Up to max from number `first` on; how many. */
static unsigned int recall(const struct folder *folder, uint64_t first,
			   struct vmfs_dirent *ret, unsigned int max)
{
	unsigned int n = 0;
	for (; n < max && first < folder->count; n++) {
		const struct kept *kept = (const void *)(folder->names +
							 folder->at[first++]);
		ret[n] = (struct vmfs_dirent){ .addr = kept->addr, .type = kept->type,
					       .generation = kept->generation,
					       .cookie = first };
		(void)memcpy(ret[n].name, kept->name, kept->len);
	}
	return n;
}

static void folder_free(struct folder *folder)
{
	sleeplock_done(&folder->sleeplock);
	free(folder->names);
	free(folder->at);
	free(folder);
}

void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct folder *folder = calloc(1, sizeof(*folder));
	(void)ino;
	if (!folder) {
		reply_error(req, -ENOMEM);
		return;
	}
	sleeplock_init(&folder->sleeplock);
	fi->fh = (uintptr_t)folder;
	if (fuse_reply_open(req, fi) == -ENOENT)
		folder_free(folder);
}

void do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	folder_free(folder_of(fi));
	reply_error(req, 0);
}

/* ---- answers ---- */

struct filling {
	fuse_req_t req;
	char *buf;
	size_t size, used;
	bool is_plus;	/* with attributes: */
	const struct vmfs_dirent *entries;
	unsigned int count;
	struct vmfs_stat st[ENTRIES];
	int err[ENTRIES];
};

/* Attributes of all that were read from the folder at a time. */
static void look_at_entries(struct filling *f, const struct vmfs_dirent *entries,
			    unsigned int count)
{
	struct vmfs_node nodes[ENTRIES];
	f->entries = entries;
	f->count = f->is_plus ? count : 0;
	for (unsigned int i = 0; i < f->count; i++)
		nodes[i] = (struct vmfs_node){ entries[i].addr, entries[i].generation };
	vmfs_node_stat_many(mount_of(f->req)->vol, nodes, f->count, f->st, f->err);
}

static fuse_ino_t ino_of_entry(const struct vmfs_dirent *entry)
{
	return ino_of_node((struct vmfs_node){ entry->addr, entry->generation });
}

/* One of those that were looked at, or of the view. */
static int stat_entry(struct filling *f, const struct vmfs_dirent *entry,
		      struct vmfs_stat *ret_st)
{
	for (unsigned int i = 0; i < f->count; i++) {
		if (entry != &f->entries[i])
			continue;
		if (!f->err[i])
			*ret_st = f->st[i];
		return f->err[i];
	}
	return vdisks_stat(&mount_of(f->req)->vdisks, ino_of_entry(entry), ret_st);
}

/* 0: it does not fit; -ENOENT: it is gone meanwhile. */
static int64_t add_entry(struct filling *f, const struct vmfs_dirent *entry)
{
	struct mount *m = mount_of(f->req);
	char *at = f->buf + f->used;
	size_t room = f->size - f->used, len;
	bool is_bare = strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0;
	struct vmfs_stat st = { .addr = entry->addr, .type = entry->type };
	off_t next = (off_t)entry->cookie;
	if (f->is_plus && !is_bare) {
		int err = stat_entry(f, entry, &st);
		if (err == -ENOENT)
			return err;
		is_bare = err; /* the name is there: who looks at it is told */
	}
	struct fuse_entry_param e = entry_of(m, &st);
	if (is_bare)
		e.ino = 0; /* not looked up */
	len = f->is_plus ? fuse_add_direntry_plus(f->req, at, room, entry->name, &e, next)
			 : fuse_add_direntry(f->req, at, room, entry->name, &e.attr,
					     next);
	return len > room ? 0 : (int64_t)len;
}

/* Adds it; false: there is no room for it. */
static bool put_entry(struct filling *f, const struct vmfs_dirent *entry)
{
	int64_t len = add_entry(f, entry);
	f->used += len > 0 ? (size_t)len : 0;
	return len != 0;
}

/* A listing without attributes is no look of the kernel's, nor is what it did not get. */
static bool put_beside(struct filling *f, const struct vmfs_dirent *beside)
{
	int64_t len = add_entry(f, beside);
	f->used += len > 0 ? (size_t)len : 0;
	if (len <= 0 || !f->is_plus)
		vdisks_forget(&mount_of(f->req)->vdisks, ino_of_entry(beside), 1);
	return len != 0;
}

/*
 * An entry, and before it what the view has beside it: who goes on between the two goes
 * on from where the entry begins, with a mark.
 */
static bool put_entries(struct filling *f, fuse_ino_t ino, uint64_t begin,
			const struct vmfs_dirent *entry)
{
	struct vmfs_dirent beside;
	if (!(begin & BESIDE_IS_PUT) &&
	    vdisks_entry(&mount_of(f->req)->vdisks, ino, entry, &beside)) {
		beside.cookie = begin | BESIDE_IS_PUT;
		if (!put_beside(f, &beside))
			return false;
	}
	return put_entry(f, entry);
}

/* So many are read that about all of them fit: the rest would be read again. */
static unsigned int entries_that_fit(const struct filling *f)
{
	return f->is_plus ? (unsigned int)min_u64(ENTRIES,
						  (f->size - f->used) / PLUS_SIZE + 1)
			  : ENTRIES;
}

/* Entries from `cookie` on; 0 or -ENOMEM. */
static int fill_entries(struct filling *f, const struct folder *folder, fuse_ino_t ino,
			uint64_t cookie)
{
	struct vmfs_dirent *entries = calloc(ENTRIES, sizeof(*entries));
	unsigned int n = entries ? 1 : 0;
	bool is_full = false;
	while (n > 0 && !is_full) {
		n = recall(folder, cookie & ~BESIDE_IS_PUT, entries,
			   entries_that_fit(f));
		look_at_entries(f, entries, n);
		for (unsigned int i = 0; i < n && !is_full; i++) {
			is_full = !put_entries(f, ino, cookie, &entries[i]);
			cookie = is_full ? cookie : entries[i].cookie;
		}
	}
	int err = entries ? 0 : -ENOMEM;
	free(entries);
	return err;
}

static int fill(struct filling *f, struct folder *folder, fuse_ino_t ino, off_t off)
{
	sleeplock_acquire(&folder->sleeplock);
	int err = off && folder->is_loaded ? 0 : load(folder, mount_of(f->req), ino);
	if (!err)
		err = fill_entries(f, folder, ino, (uint64_t)off);
	sleeplock_release(&folder->sleeplock);
	return err;
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		 struct fuse_file_info *fi, bool is_plus)
{
	struct filling f = { .req = req, .size = min_u64(size, LOOP_DATA_MAX),
			     .is_plus = is_plus };
	f.buf = malloc(f.size);
	int err = f.buf ? fill(&f, folder_of(fi), ino, off) : -ENOMEM;
	if (err)
		reply_error(req, err);
	else
		fuse_reply_buf(req, f.buf, f.used);
	free(f.buf);
}

void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		struct fuse_file_info *fi)
{
	list(req, ino, size, off, fi, false);
}

void do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	list(req, ino, size, off, fi, true);
}
