/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying out of a damaged volume: a file, a tree, or all there is.
 *
 * The tree is built of the entries that are there (rescue_index.c), not by walking the
 * directories: an entry in a readable piece of a directory counts though another piece
 * is gone. What no entry names goes to lost+found under the name of its FD. What cannot
 * be used costs a line and is left out; the rest goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "fsck/rescue.h"

#define DEPTH_MAX 128
#define LINK_MAX_BYTES 4096u

struct tree {
	struct rescue *s;
	const struct rescue_options *options;
	const struct rescue_entry **by_dir; /* live entries, by directory and name */
	uint32_t count;
	uint8_t *seen; /* one bit per FD */
	uint64_t files, partial, skipped, there, orphans;
};

static int left_out(struct tree *t, const char *path, const char *why)
{
	t->skipped++;
	report(&t->s->r->base, REPORT_WARN, "%s: %s: left out", path, why);
	return 0;
}

/* After a failure that was told: of one file, which is left out, or of the output. */
static int go_on(struct tree *t, int rc)
{
	bool is_end = rc == -ENOSPC || rc == -EDQUOT || rc == -EROFS || rc == -ENOMEM ||
		      rc == -EIO;
	if (rc >= 0 || is_end || !t->options->is_all)
		return rc;
	t->skipped++;
	return 0;
}

static int by_dir(const void *a, const void *b)
{
	const struct rescue_entry *x = *(const struct rescue_entry *const *)a;
	const struct rescue_entry *y = *(const struct rescue_entry *const *)b;
	if (x->dir != y->dir)
		return x->dir < y->dir ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int tree_init(struct tree *t)
{
	const struct rescue *s = t->s;
	t->by_dir = calloc(s->entry_count + 1ul, sizeof(struct rescue_entry *));
	t->seen = calloc(1, s->v.resources[FSCK_FDC].count / 8 + 1);
	if (!t->by_dir || !t->seen)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->entry_count; i++)
		if (s->entries[i].is_live)
			t->by_dir[t->count++] = &s->entries[i];
	qsort(t->by_dir, t->count, sizeof(struct rescue_entry *), by_dir);
	return 0;
}

/* First entry of a directory. */
static uint32_t first_of(const struct tree *t, uint32_t dir)
{
	uint32_t low = 0, high = t->count;
	while (low < high) {
		uint32_t i = low + (high - low) / 2;
		if (t->by_dir[i]->dir < dir)
			low = i + 1;
		else
			high = i;
	}
	return low;
}

/* ---- one FD ---- */

static int copy_link(struct tree *t, const struct fsck_file *file, const char *out)
{
	AUTO_FREE char *text = calloc(1, LINK_MAX_BYTES + 1);
	uint64_t len = le64_get(file->meta.length);
	if (!text)
		return -ENOMEM;
	if (len == 0 || len > LINK_MAX_BYTES ||
	    fsck_file_read(&t->s->v, file, 0, text, len) != 0)
		return left_out(t, out, "its target cannot be read");
	if (symlink(text, out) != 0 && errno != EEXIST)
		return go_on(t, report_error(&t->s->r->base, -errno, "%s: %s", out,
					     strerror(errno)));
	t->files++;
	return 0;
}

/* Whole from an earlier run: it is there, its map is not. */
static bool is_there(const char *out, const struct fsck_file *file)
{
	struct stat st;
	struct buf map = { 0 };
	buf_printf(&map, "%s.map", out);
	bool is = !map.error && stat(out, &st) == 0 && S_ISREG(st.st_mode) &&
		  (uint64_t)st.st_size == le64_get(file->meta.length) &&
		  access(map.data, F_OK) != 0;
	buf_done(&map);
	return is;
}

static int copy_file(struct tree *t, const struct fsck_file *file, const char *out)
{
	struct rescue_job job = { .s = t->s,
				  .file = file,
				  .out = out,
				  .map_path = t->options->map_path,
				  .label = out,
				  .retries = t->options->retries };
	if (t->options->is_all && is_there(out, file)) {
		t->there++;
		return 0;
	}
	int rc = rescue_copy_file(&job);
	t->files += rc >= 0;
	t->partial += rc == 1;
	return rc < 0 ? go_on(t, rc) : 0;
}

static int copy_fd(struct tree *t, uint32_t fd, uint32_t generation, const char *out,
		   unsigned int depth);

static int copy_directory(struct tree *t, uint32_t fd, const char *out,
			  unsigned int depth)
{
	if (depth == 0)
		return left_out(t, out, "too deep");
	if (mkdir(out, 0700) != 0 && errno != EEXIST)
		return go_on(t, report_error(&t->s->r->base, -errno, "%s: %s", out,
					     strerror(errno)));
	int rc = 0;
	for (uint32_t i = first_of(t, fd); rc == 0 && i < t->count; i++) {
		const struct rescue_entry *e = t->by_dir[i];
		struct buf path = { 0 };
		if (e->dir != fd)
			break;
		buf_printf(&path, "%s/%s", out, e->name);
		rc = path.error ? path.error
				: copy_fd(t, e->fd, e->generation, path.data, depth - 1);
		buf_done(&path);
	}
	return rc;
}

/* generation 0: whatever it is. */
static int copy_fd(struct tree *t, uint32_t fd, uint32_t generation, const char *out,
		   unsigned int depth)
{
	const struct fsck_volume *v = &t->s->v;
	vmfs_addr addr = { fd };
	enum fsck_resource_index i;
	uint64_t number;
	struct fsck_file file;
	if (!fsck_addr_number(v, addr, &i, &number) || i != FSCK_FDC)
		return left_out(t, out, "its file descriptor does not exist");
	int err = fsck_fd_read(v, addr, &file);
	if (err)
		return left_out(t, out, "its file descriptor cannot be read");
	if (!rescue_fd_is_sane(v, addr, &file) || le32_get(file.meta.links) == 0 ||
	    (generation && le32_get(file.meta.generation) != generation))
		return left_out(t, out, "its file descriptor is damaged");
	/* The files of the system are what the volume is made of. */
	if (le32_get(file.meta.type) == VMFS_TYPE_SYSTEM && t->options->is_all)
		return 0;
	bool is_again = bitmap_get(t->seen, number);
	bitmap_set(t->seen, number);
	if (fsck_is_directory(v, &file))
		return is_again ? left_out(t, out, "a directory that was copied already")
				: copy_directory(t, fd, out, depth);
	switch (le32_get(file.meta.type)) {
	case VMFS_TYPE_SYMLINK:
		return copy_link(t, &file, out);
	case VMFS_TYPE_RDM:
		return left_out(t, out, "a raw device mapping, which has no bytes");
	default:
		return copy_file(t, &file, out);
	}
}

/* In use, and no entry led to it; is_top: none names it either. */
static bool is_orphan(const struct tree *t, uint64_t number, bool is_top)
{
	const struct fsck_volume *v = &t->s->v;
	vmfs_addr addr = fsck_addr_of(v, FSCK_FDC, number);
	struct fsck_file file;
	if (bitmap_get(t->seen, number) || bitmap_get(t->s->free[FSCK_FDC], number) ||
	    fsck_fd_read(v, addr, &file) != 0 || !rescue_fd_is_sane(v, addr, &file) ||
	    le32_get(file.meta.links) == 0 ||
	    le32_get(file.meta.type) == VMFS_TYPE_SYSTEM)
		return false;
	const struct rescue_entry *e = rescue_entry_of(t->s, (uint32_t)addr.raw,
						       le32_get(file.meta.generation));
	return !is_top || !e || !e->is_live;
}

static int copy_orphan(struct tree *t, const char *folder, uint64_t number)
{
	vmfs_addr addr = fsck_addr_of(&t->s->v, FSCK_FDC, number);
	struct buf path = { 0 };
	t->orphans++;
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return report_error(&t->s->r->base, -errno, "%s: %s", folder,
				    strerror(errno));
	buf_printf(&path, "%s/fd-%u-%u", folder, addr_cluster(addr), addr_index(addr));
	int rc = path.error ? path.error
			    : copy_fd(t, (uint32_t)addr.raw, 0, path.data, DEPTH_MAX);
	buf_done(&path);
	return rc;
}

/* What no entry led to: first what none names, with all below it; then the rest. */
static int copy_orphans(struct tree *t, const char *out)
{
	uint64_t count = t->s->v.resources[FSCK_FDC].count;
	struct buf folder = { 0 };
	buf_printf(&folder, "%s/lost+found", out);
	int rc = folder.error;
	for (int round = 0; round < 2; round++)
		for (uint64_t i = VMFS_FD_SYSTEM_COUNT; rc == 0 && i < count; i++)
			if (is_orphan(t, i, round == 0))
				rc = copy_orphan(t, folder.data, i);
	buf_done(&folder);
	return rc;
}

/* ---- what is asked for ---- */

/* The FD at a path, by the names in the index. */
static int find_path(const struct tree *t, const char *path, uint32_t *ret_fd,
		     uint32_t *ret_generation)
{
	uint32_t fd = (uint32_t)addr_of(ADDR_FD, 0, VMFS_FD_ROOT).raw, generation = 0;
	while (*path) {
		size_t len = strcspn(path, "/");
		uint32_t i = first_of(t, fd);
		while (len && i < t->count && t->by_dir[i]->dir == fd &&
		       (strlen(t->by_dir[i]->name) != len ||
			memcmp(t->by_dir[i]->name, path, len) != 0))
			i++;
		if (len) {
			if (i == t->count || t->by_dir[i]->dir != fd)
				return -ENOENT;
			fd = t->by_dir[i]->fd;
			generation = t->by_dir[i]->generation;
		}
		path += len;
		path += strspn(path, "/");
	}
	*ret_fd = fd;
	*ret_generation = generation;
	return 0;
}

static int run(struct tree *t, const char *path, const char *out)
{
	uint32_t fd, generation;
	int rc = rescue_out_check(t->s, out);
	if (rc == 0)
		rc = rescue_index(t->s);
	if (rc == 0)
		rc = tree_init(t);
	if (rc)
		return rc;
	rc = find_path(t, path ? path : "/", &fd, &generation);
	if (rc)
		return report_error(&t->s->r->base, rc, "%s: no such file", path);
	/* The root, whatever became of its own FD. */
	rc = path ? copy_fd(t, fd, generation, out, DEPTH_MAX)
		  : copy_directory(t, fd, out, DEPTH_MAX);
	if (!path)
		bitmap_set(t->seen, 0);
	return rc || path ? rc : copy_orphans(t, out);
}

int rescue_copy(struct rescue *s, const char *path, const char *out,
		const struct rescue_options *options)
{
	struct tree t = { .s = s, .options = options };
	int rc = run(&t, path, out);
	free(t.by_dir);
	free(t.seen);
	if (rc < 0)
		return rc;
	report(&s->r->base, REPORT_INFO,
	       "%llu files copied, %llu of them not whole; %llu left out, %llu there "
	       "already, %llu without a name in lost+found",
	       (unsigned long long)t.files, (unsigned long long)t.partial,
	       (unsigned long long)t.skipped, (unsigned long long)t.there,
	       (unsigned long long)t.orphans);
	return t.partial || t.skipped ? 1 : 0;
}
