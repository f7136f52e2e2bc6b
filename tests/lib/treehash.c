/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/treehash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/align.h"
#include "vmfs/format.h"
#include "vmfs/vmfs.h"

#define PIECE (1u << 20)

struct walk {
	struct vmfs_volume *vol;
	struct treehash *t;
	XXH3_state_t *hash;
	uint8_t *buf;
};

static void hash_data(struct walk *w, struct vmfs_file *file, uint64_t size)
{
	uint64_t len;
	bool is_data;
	for (uint64_t off = 0; off < size; off += len) {
		if (vmfs_file_extent(file, off, &len, &is_data) != 0 || len == 0) {
			XXH3_64bits_update(w->hash, "?", 1);
			return;
		}
		len = min_u64(len, size - off);
		if (!is_data)
			continue;
		len = min_u64(len, PIECE);
		int64_t n = vmfs_file_read(file, w->buf, (uint32_t)len, off);
		XXH3_64bits_update(w->hash, &off, sizeof(off));
		XXH3_64bits_update(w->hash, &n, sizeof(n));
		XXH3_64bits_update(w->hash, w->buf, n > 0 ? (size_t)n : 0);
	}
}

static void hash_file(struct walk *w, const char *path, const struct vmfs_stat *st)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	char target[256] = "";
	XXH3_64bits_reset(w->hash);
	XXH3_64bits_update(w->hash, &st->type, sizeof(st->type));
	XXH3_64bits_update(w->hash, &st->size_bytes, sizeof(st->size_bytes));
	if (st->type == VMFS_TYPE_SYMLINK &&
	    vmfs_readlink(w->vol, path, target, sizeof(target)) >= 0)
		XXH3_64bits_update(w->hash, target, strlen(target));
	if (st->type == VMFS_TYPE_FILE &&
	    vmfs_file_open(w->vol, path, &options, &file, NULL) == 0) {
		hash_data(w, file, st->size_bytes);
		(void)!vmfs_file_close(file);
	}
	if (w->t->count == TREEHASH_MAX || st->type == VMFS_TYPE_SYSTEM)
		return;
	struct treehash_file *f = &w->t->files[w->t->count++];
	(void)snprintf(f->path, sizeof(f->path), "%s", path);
	f->hash = XXH3_64bits_digest(w->hash);
}

static void walk_dir(struct walk *w, const char *path, unsigned int depth)
{
	struct vmfs_stat st;
	struct vmfs_dirent e;
	uint64_t cookie = 0;
	char child[512];
	if (depth > 8 || vmfs_stat(w->vol, *path ? path : "/", &st) != 0)
		return;
	vmfs_addr dir = st.addr;
	while (vmfs_readdir(w->vol, dir, cookie, &e, 1) == 1) {
		cookie = e.cookie;
		if (strcmp(e.name, ".") == 0 || strcmp(e.name, "..") == 0 ||
		    (size_t)snprintf(child, sizeof(child), "%s/%s", path, e.name) >=
			    sizeof(child) ||
		    vmfs_stat(w->vol, child, &st) != 0)
			continue;
		if (st.type == VMFS_TYPE_DIRECTORY)
			walk_dir(w, child, depth + 1);
		else
			hash_file(w, child, &st);
	}
}

int treehash_take(struct bdev *bd, struct treehash *ret)
{
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .is_read_only = true,
					     .is_immutable = true };
	struct walk w = { .t = ret, .hash = XXH3_createState(), .buf = malloc(PIECE) };
	ret->count = 0;
	int err = vmfs_volume_open(&options, &w.vol);
	if (!err) {
		walk_dir(&w, "", 0);
		err = vmfs_volume_close(w.vol);
	}
	XXH3_freeState(w.hash);
	free(w.buf);
	return err;
}

const struct treehash_file *treehash_find(const struct treehash *t, uint64_t hash)
{
	for (unsigned int i = 0; i < t->count; i++)
		if (t->files[i].hash == hash)
			return &t->files[i];
	return NULL;
}
