/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that were removed: which there are, how much of each is still its own, and one of
 * them brought back.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/parse.h"
#include "fsck/dump_find.h"
#include "fsck/rescue.h"

/* What became of the blocks of a removed file; in blocks. */
struct tally {
	const struct rescue *s;
	uint64_t own, reused, lost;
};

static int tally_run(void *arg, const struct rescue_run *run)
{
	struct tally *t = arg;
	if (run->state == RESCUE_POINTER)
		return rescue_is_own(t->s, run->addr) ? 0 : 1;
	if (run->state == RESCUE_LOST)
		t->lost += run->count;
	else if (run->state == RESCUE_REUSED ||
		 (run->state == RESCUE_DATA && !rescue_is_own(t->s, run->addr)))
		t->reused += run->count;
	else if (run->state == RESCUE_DATA)
		t->own += run->count;
	return 0;
}

static char type_char(uint32_t type)
{
	static const char chars[] = "??dfl?r";
	return type < sizeof(chars) - 1 ? chars[type] : '?';
}

static const char *time_text(uint32_t s, char buf[static 32])
{
	time_t at = s;
	struct tm tm;
	if (!gmtime_r(&at, &tm) || strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		(void)snprintf(buf, 32, "?");
	return buf;
}

/* What it had by its own count, and nothing leads to: its pointers are gone. */
static void tally_unreached(const struct fsck_volume *v, const struct fsck_file *file,
			    struct tally *t)
{
	uint64_t count = le64_get(file->meta.block_count);
	uint64_t seen = t->own + t->reused + t->lost;
	if (rescue_file_blocks(v, file) && seen < count)
		t->lost += min_u64(count, rescue_file_blocks(v, file)) - seen;
}

/* "all", or how much is left of what it had. */
static void state_text(const struct fsck_volume *v, const struct fsck_file *file,
		       const struct tally *t, char *text, size_t size)
{
	uint64_t unit = fsck_file_block_size(v, file);
	char own[32], reused[32], lost[32];
	if (t->reused == 0 && t->lost == 0) {
		(void)snprintf(text, size, "all its own");
		return;
	}
	int n = snprintf(text, size, "own %s", size_text(t->own * unit, own));
	if (t->reused && n > 0 && (size_t)n < size)
		n += snprintf(text + n, size - (size_t)n, ", given away %s",
			      size_text(t->reused * unit, reused));
	if (t->lost && n > 0 && (size_t)n < size)
		(void)snprintf(text + n, size - (size_t)n, ", unreadable %s",
			       size_text(t->lost * unit, lost));
}

static int list_one(struct rescue *s, uint32_t i)
{
	struct fsck_file file;
	struct tally t = { .s = s };
	char fd[48], gone[32], changed[32], state[128];
	const struct rescue_deleted *d = &s->deleted[i];
	int rc = rescue_deleted_read(s, i, &file);
	if (rc == -ENOMEM)
		return rc;
	if (rc == 0)
		rc = rescue_walk(&s->v, &file, rescue_file_blocks(&s->v, &file),
				 tally_run, &t);
	if (rc == -ENOMEM)
		return rc;
	tally_unreached(&s->v, &file, &t);
	state_text(&s->v, &file, &t, state, sizeof(state));
	char *path = rescue_path_of(s, d->fd, d->generation);
	(void)fsck_addr_text((vmfs_addr){ d->fd }, fd);
	printf("fd:%-8s %c %15" PRIu64 "  %s  %s  %s: %s\n", fd + strlen("FD "),
	       type_char(le32_get(file.meta.type)), le64_get(file.meta.length),
	       time_text(d->changed_s, changed), time_text(d->gone_s, gone),
	       path ? path : "?", state);
	free(path);
	return 0;
}

int rescue_list(struct rescue *s)
{
	int rc = rescue_index(s);
	if (rc == 0 && s->deleted_count)
		printf("FD        TYPE       BYTES  CHANGED (UTC)        "
		       "REMOVED              PATH: WHAT IS LEFT\n");
	for (uint32_t i = 0; rc == 0 && i < s->deleted_count; i++)
		rc = list_one(s, i);
	if (rc == 0)
		report(&s->r->base, REPORT_INFO, "%u removed files", s->deleted_count);
	return rc ? rc : s->deleted_count == 0;
}

/* ---- one brought back ---- */

/* Is this one meant, by address or by path? */
static bool is_meant(const struct rescue *s, uint32_t i, const char *what,
		     vmfs_addr addr)
{
	const struct rescue_deleted *d = &s->deleted[i];
	if (what[0] != '/')
		return addr.raw == d->fd;
	char *path = rescue_path_of(s, d->fd, d->generation);
	bool is = path && strcmp(path, what) == 0;
	free(path);
	return is;
}

static int find_deleted(struct rescue *s, const char *what, uint32_t *ret_i,
			struct fsck_file *ret_file)
{
	vmfs_addr addr = { 0 };
	int rc = what[0] == '/' ? 0 : dump_parse_address(&s->v, what, &addr);
	if (rc)
		return report_error(&s->r->base, rc,
				    "%s: neither a path from / on nor an FD (fd:0/12)",
				    what);
	for (uint32_t i = 0; i < s->deleted_count; i++) {
		rc = rescue_deleted_read(s, i, ret_file);
		if (rc == -ENOMEM)
			return rc;
		if (is_meant(s, i, what, addr)) {
			*ret_i = i;
			return rc;
		}
	}
	return report_error(&s->r->base, -ENOENT, "%s: no removed file (see list)", what);
}

/* One removed file; label: what it is called in lines about it. */
static int copy_deleted(struct rescue *s, const struct fsck_file *file, const char *out,
			const char *label, const struct rescue_options *options)
{
	struct rescue_job job = { .s = s,
				  .file = file,
				  .out = out,
				  .map_path = options->map_path,
				  .label = label,
				  .retries = options->retries,
				  .is_deleted = true };
	return rescue_copy_file(&job);
}

static bool is_file(const struct fsck_file *file)
{
	uint32_t type = le32_get(file->meta.type);
	return type == VMFS_TYPE_FILE || type == VMFS_TYPE_SYMLINK;
}

/* The folders of a path on the host. 0 or -errno, told. */
static int make_folders(struct rescue *s, char *path)
{
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		int rc = mkdir(path, 0700) != 0 && errno != EEXIST ? -errno : 0;
		*p = '/';
		if (rc)
			return report_error(&s->r->base, rc, "%s: %s", path,
					    strerror(-rc));
	}
	return 0;
}

/* OUT/path.fd-0-12: several files may have had one path. */
static int copy_to_tree(struct rescue *s, uint32_t i, const struct fsck_file *file,
			const char *out, const struct rescue_options *options)
{
	vmfs_addr addr = { s->deleted[i].fd };
	char *path = rescue_path_of(s, s->deleted[i].fd, s->deleted[i].generation);
	struct buf to = { 0 };
	buf_printf(&to, "%s%s.fd-%u-%u", out, path ? path : "/?", addr_cluster(addr),
		   addr_index(addr));
	free(path);
	int rc = to.error ? to.error : make_folders(s, to.data);
	if (rc == 0)
		rc = copy_deleted(s, file, to.data, to.data, options);
	buf_done(&to);
	return rc;
}

static int undelete_all(struct rescue *s, const char *out,
			const struct rescue_options *options)
{
	unsigned int partial = 0, failed = 0, whole = 0;
	struct fsck_file file;
	if (mkdir(out, 0700) != 0 && errno != EEXIST)
		return report_error(&s->r->base, -errno, "%s: %s", out, strerror(errno));
	for (uint32_t i = 0; i < s->deleted_count; i++) {
		int rc = rescue_deleted_read(s, i, &file);
		if (rc == -ENOMEM)
			return rc;
		if (rc == 0 && !is_file(&file))
			continue;
		if (rc == 0)
			rc = copy_to_tree(s, i, &file, out, options);
		if (rc == -ENOSPC)
			return rc;
		failed += rc < 0;
		partial += rc == 1;
		whole += rc == 0;
	}
	report(&s->r->base, REPORT_INFO, "%u files whole, %u not whole, %u not at all",
	       whole, partial, failed);
	return partial || failed ? 1 : 0;
}

int rescue_undelete(struct rescue *s, const char *what, const char *out,
		    const struct rescue_options *options)
{
	struct fsck_file file;
	uint32_t i;
	int rc = rescue_out_check(s, out);
	if (rc == 0)
		rc = rescue_index(s);
	if (rc == 0 && !what)
		return undelete_all(s, out, options);
	if (rc == 0)
		rc = find_deleted(s, what, &i, &file);
	if (rc)
		return rc;
	if (!is_file(&file))
		return report_error(&s->r->base, -EINVAL, "%s: type '%c', not a file",
				    what, type_char(le32_get(file.meta.type)));
	return copy_deleted(s, &file, out, what, options);
}
