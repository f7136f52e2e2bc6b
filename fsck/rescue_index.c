/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What there is to rescue: bitmaps, removed file descriptors, names (FORMAT.md 8.6).
 *
 * A removed file still has what it had if the resource is free now and no file that was
 * removed after it claims it: to have had it, that one must have got it when this one was
 * gone. So removed files are looked at from the last one on, and each claims what it had.
 *
 * Names are taken from the bytes of every directory, removed ones too, wherever an entry
 * can stand, and count for an FD by its address and generation. Memory grows with the
 * number of names, and by three bits for each block.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "fsck/rescue.h"
#include "vmfs/dirhash.h"

#define DIR_BYTES_MAX (4ull << 30) /* of one directory that are looked at */
#define DEPTH_MAX 128

/* ---- bitmaps ---- */

static int bitmap_load(struct rescue *s, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &s->v.resources[i];
	uint8_t meta[VMFS6_PAGE];
	uint32_t bad = 0;
	s->free[i] = calloc(1, res->count / 8 + 1);
	s->claimed[i] = calloc(1, res->count / 8 + 1);
	if (!s->free[i] || !s->claimed[i])
		return -ENOMEM;
	for (uint32_t c = 0; c < res->cluster_count; c++) {
		struct fsck_cluster h;
		bool is_divided = true;
		uint32_t total = fsck_cluster_total(res, c);
		uint64_t first = (uint64_t)c * res->per_cluster;
		int err = fsck_is_divided(&s->v, res, c, &is_divided);
		if (!err && is_divided)
			err = fsck_resource_read(&s->v, res,
						 fsck_cluster_off(res, c) + res->meta_off,
						 meta, res->meta_size);
		if (!err && is_divided)
			fsck_cluster_take(res, meta, &h);
		if (err || (is_divided && (h.number != c || h.total != total))) {
			bitmap_set_range(s->free[i], first, total);
			bad++;
			continue;
		}
		for (uint32_t k = 0; is_divided && k < total; k++)
			if (fsck_state(res, h.states, k) & FSCK_STATE_FREE)
				bitmap_set(s->free[i], first + k);
	}
	if (bad)
		report(&s->r->base, REPORT_WARN,
		       "%s: %u cluster headers are not usable: what they manage is "
		       "taken for free", res->name, bad);
	return 0;
}

bool rescue_is_own(const struct rescue *s, vmfs_addr addr)
{
	enum fsck_resource_index i;
	uint64_t number;
	if (!fsck_addr_number(&s->v, addr, &i, &number) || !s->free[i])
		return true;
	return bitmap_get(s->free[i], number) && !bitmap_get(s->claimed[i], number);
}

static int claim(void *arg, const struct rescue_run *run)
{
	struct rescue *s = arg;
	enum fsck_resource_index i;
	uint64_t number;
	if (run->state != RESCUE_DATA && run->state != RESCUE_POINTER)
		return 0;
	/* A pointer block that is another's now says nothing of this file. */
	if (run->state == RESCUE_POINTER && !rescue_is_own(s, run->addr))
		return 1;
	if (fsck_addr_number(&s->v, run->addr, &i, &number) && s->claimed[i])
		bitmap_set(s->claimed[i], number);
	return 0;
}

int rescue_claim(struct rescue *s, const struct fsck_file *file)
{
	return rescue_walk(&s->v, file, rescue_file_blocks(&s->v, file), claim, s);
}

int rescue_deleted_read(struct rescue *s, uint32_t i, struct fsck_file *ret_file)
{
	struct fsck_file before;
	vmfs_addr addr = { s->deleted[i].fd };
	if (i && fsck_fd_read(&s->v, (vmfs_addr){ s->deleted[i - 1].fd }, &before) == 0) {
		int err = rescue_claim(s, &before);
		if (err)
			return err;
	}
	return fsck_fd_read(&s->v, addr, ret_file);
}

/* ---- file descriptors ---- */

bool rescue_fd_is_sane(const struct fsck_volume *v, vmfs_addr addr,
		       const struct fsck_file *file)
{
	const struct vmfs_fd_meta_disk *m = &file->meta;
	uint32_t type = le32_get(m->type), zla = le32_get(m->zla);
	uint64_t length = le64_get(m->length), most = UINT64_MAX;
	if (le32_get(m->addr) != addr.raw || type < VMFS_TYPE_DIRECTORY ||
	    type > VMFS_TYPE_RDM || le32_get(m->generation) == 0)
		return false;
	if (v->shape->version == 6 && le32_get(m->signature) != VMFS6_FD_SIGNATURE)
		return false;
	if (type == VMFS_TYPE_RDM)
		return true;
	if (zla == VMFS_ZLA_RESIDENT)
		most = v->shape->resident_max;
	else if (fsck_zla_blocks_max(v, zla) == 0)
		return false;
	else
		(void)checked_mul(fsck_zla_blocks_max(v, zla),
				  fsck_file_block_size(v, file), &most);
	return length <= most;
}

/* ---- names ---- */

struct scan {
	struct rescue *s;
	uint32_t dir;
	uint64_t length; /* of the directory; 0: it is removed */
	uint32_t entry_capacity, deleted_capacity;
	uint64_t bad_count; /* file descriptors that cannot be read */
};

/* Makes room for one more in an array that has `count`. */
static int grow(void **array, uint32_t count, uint32_t *capacity, size_t size)
{
	if (count < *capacity)
		return 0;
	uint32_t more = *capacity ? *capacity * 2 : 256;
	void *larger = reallocarray(*array, more, size);
	if (!larger)
		return -ENOMEM;
	*array = larger;
	*capacity = more;
	return 0;
}

/* What is left of a name has to look like one; what stands in its place need not. */
static bool is_name(const char *name, size_t len, bool is_live)
{
	if (len == 0 || memchr(name, '/', len) != NULL || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < len && !is_live; i++)
		if ((unsigned char)name[i] < ' ')
			return false;
	return true;
}

/* Notes an entry if it can be one. name: size bytes, perhaps all of them. */
static int note_entry(struct scan *k, const struct rescue_entry *e, const char *name,
		      size_t size)
{
	struct rescue *s = k->s;
	char text[257];
	size_t len = strnlen(name, min_u64(size, sizeof(text) - 1));
	if (addr_type((vmfs_addr){ e->fd }) != ADDR_FD || e->generation == 0)
		return 0;
	memcpy(text, name, len);
	text[len] = '\0';
	if (!is_name(text, len, e->is_live))
		return 0;
	int rc = grow((void **)&s->entries, s->entry_count, &k->entry_capacity,
		      sizeof(*s->entries));
	if (rc < 0)
		return rc;
	struct rescue_entry *to = &s->entries[s->entry_count];
	*to = *e;
	to->dir = k->dir;
	to->name = strdup(text);
	if (!to->name)
		return -ENOMEM;
	s->entry_count++;
	return 0;
}

static int scan_packed(struct scan *k, const struct fsck_file *dir, uint64_t end)
{
	int rc = 0;
	for (uint64_t off = 0; rc == 0 && off + VMFS_DIRENT_SIZE <= end;
	     off += VMFS_DIRENT_SIZE) {
		struct vmfs_dirent_disk d;
		/* Over what is unreadable; entries stay where they are. */
		if (fsck_file_read(&k->s->v, dir, off, &d, sizeof(d)) != 0)
			continue;
		struct rescue_entry e = {
			.fd = le32_get(d.addr),
			.generation = le32_get(d.generation),
			.is_live = off + VMFS_DIRENT_SIZE <= k->length,
		};
		rc = note_entry(k, &e, (const char *)d.name, sizeof(d.name));
	}
	return rc;
}

static int scan_page(struct scan *k, const struct vmfs6_dir_block_disk *b)
{
	int rc = 0;
	for (uint32_t i = 0; rc == 0 && i < VMFS6_DIR_SLOTS; i++) {
		const struct vmfs6_dirent_disk *d = &b->u.entries[i];
		bool is_free = bitmap_get(b->head.bitmap, i);
		uint32_t addr = le32_get(is_free && !le32_get(d->addr) ? d->hash
								       : d->addr);
		struct rescue_entry e = { .fd = addr,
					  .generation = le32_get(d->generation),
					  .is_live = !is_free && k->length };
		rc = note_entry(k, &e, (const char *)d->name, sizeof(d->name));
	}
	return rc;
}

static int scan_hashed(struct scan *k, const struct fsck_file *dir, uint64_t end)
{
	struct vmfs6_dir_block_disk *b = malloc(sizeof(*b));
	int rc = b ? 0 : -ENOMEM;
	for (uint64_t off = VMFS6_DIR_HEADER_SIZE; rc == 0 && off + sizeof(*b) <= end;
	     off += sizeof(*b))
		if (fsck_file_read(&k->s->v, dir, off, b, sizeof(*b)) == 0 &&
		    le16_get(b->head.type) == DIR6_ENTRIES)
			rc = scan_page(k, b);
	free(b);
	return rc;
}

/* All that its blocks hold, behind its length too. */
static int scan_directory(struct scan *k, const struct fsck_file *dir, bool is_live)
{
	const struct fsck_volume *v = &k->s->v;
	uint64_t end = min_u64(rescue_file_blocks(v, dir) * fsck_file_block_size(v, dir),
			       DIR_BYTES_MAX);
	k->dir = le32_get(dir->meta.addr);
	k->length = is_live ? le64_get(dir->meta.length) : 0;
	return v->shape->version == 6 ? scan_hashed(k, dir, end)
				      : scan_packed(k, dir, end);
}

static int note_deleted(struct scan *k, const struct fsck_file *file)
{
	struct rescue *s = k->s;
	int rc = grow((void **)&s->deleted, s->deleted_count, &k->deleted_capacity,
		      sizeof(*s->deleted));
	if (rc == 0)
		s->deleted[s->deleted_count++] = (struct rescue_deleted){
			.fd = le32_get(file->meta.addr),
			.generation = le32_get(file->meta.generation),
			.gone_s = le32_get(file->meta.ctime_s),
			.changed_s = le32_get(file->meta.mtime_s),
		};
	return rc;
}

static int scan_fd(struct scan *k, uint64_t number, const struct fsck_file *file)
{
	struct rescue *s = k->s;
	bool is_live = le32_get(file->meta.links) != 0;
	int rc = 0;
	if (!rescue_fd_is_sane(&s->v, fsck_addr_of(&s->v, FSCK_FDC, number), file))
		return 0;
	if (!is_live && bitmap_get(s->free[FSCK_FDC], number))
		rc = note_deleted(k, file);
	return rc == 0 && fsck_is_directory(&s->v, file)
		       ? scan_directory(k, file, is_live)
		       : rc;
}

/* A cluster at once; one by one where that fails. fds: room for a cluster. */
static int scan_fds(struct scan *k, uint8_t *fds)
{
	const struct fsck_volume *v = &k->s->v;
	const struct fsck_resource *fdc = &v->resources[FSCK_FDC];
	int rc = 0;
	for (uint32_t c = 0; rc == 0 && c < fdc->cluster_count; c++) {
		uint32_t total = fsck_cluster_total(fdc, c);
		uint64_t first = (uint64_t)c * fdc->per_cluster;
		int err = fsck_resource_read(v, fdc, fsck_item_off(fdc, c, 0), fds,
					     (uint64_t)total * fdc->resource_size);
		for (uint32_t i = 0; rc == 0 && i < total; i++) {
			struct fsck_file file;
			if (!err)
				fsck_fd_take(v, fds + (size_t)i * fdc->resource_size,
					     &file);
			if (!err || fsck_fd_read(v, fsck_addr_of(v, FSCK_FDC, first + i),
						 &file) == 0)
				rc = scan_fd(k, first + i, &file);
			else
				k->bad_count++;
		}
	}
	return rc;
}

static int by_fd(const void *a, const void *b)
{
	const struct rescue_entry *x = a, *y = b;
	if (x->fd != y->fd)
		return x->fd < y->fd ? -1 : 1;
	if (x->generation != y->generation)
		return x->generation < y->generation ? -1 : 1;
	if (x->is_live != y->is_live)
		return x->is_live ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int by_end(const void *a, const void *b)
{
	const struct rescue_deleted *x = a, *y = b;
	if (x->gone_s != y->gone_s)
		return x->gone_s > y->gone_s ? -1 : 1;
	if (x->changed_s != y->changed_s)
		return x->changed_s > y->changed_s ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

int rescue_index(struct rescue *s)
{
	struct scan k = { .s = s };
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && i < FSCK_RESOURCE_COUNT; i++)
		if (s->v.resources[i].is_usable)
			rc = bitmap_load(s, (enum fsck_resource_index)i);
	const struct fsck_resource *fdc = &s->v.resources[FSCK_FDC];
	uint8_t *fds = calloc(fdc->per_cluster, fdc->resource_size);
	s->r->is_quiet = true;
	if (rc == 0)
		rc = fds ? scan_fds(&k, fds) : -ENOMEM;
	s->r->is_quiet = false;
	free(fds);
	if (k.bad_count)
		report(&s->r->base, REPORT_WARN, "%llu file descriptors cannot be read",
		       (unsigned long long)k.bad_count);
	if (s->entry_count)
		qsort(s->entries, s->entry_count, sizeof(*s->entries), by_fd);
	if (s->deleted_count)
		qsort(s->deleted, s->deleted_count, sizeof(*s->deleted), by_end);
	return rc;
}

const struct rescue_entry *rescue_entry_of(const struct rescue *s, uint32_t fd,
					   uint32_t generation)
{
	uint32_t low = 0, high = s->entry_count;
	while (low < high) {
		uint32_t i = low + (high - low) / 2;
		const struct rescue_entry *e = &s->entries[i];
		if (e->fd < fd || (e->fd == fd && e->generation < generation))
			low = i + 1;
		else
			high = i;
	}
	if (low == s->entry_count || s->entries[low].fd != fd ||
	    s->entries[low].generation != generation)
		return NULL;
	return &s->entries[low];
}

char *rescue_path_of(const struct rescue *s, uint32_t fd, uint32_t generation)
{
	const uint32_t root = (uint32_t)addr_of(ADDR_FD, 0, VMFS_FD_ROOT).raw;
	struct buf path = { 0 };
	for (unsigned int depth = 0; fd != root && depth < DEPTH_MAX; depth++) {
		const struct rescue_entry *e = rescue_entry_of(s, fd, generation);
		struct buf longer = { 0 };
		struct fsck_file dir;
		buf_printf(&longer, "/%s%s", e ? e->name : "?",
			   path.data ? path.data : "");
		buf_done(&path);
		path = longer;
		if (!e || fsck_fd_read(&s->v, (vmfs_addr){ e->dir }, &dir) != 0)
			break;
		fd = e->dir;
		generation = le32_get(dir.meta.generation);
	}
	if (!path.data)
		buf_printf(&path, "/");
	return path.error ? NULL : path.data;
}
