/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a clone has come: a small file beside the disk that is being made,
 * ".d.vmdk.clone~", from before its extent is there until it is whole. It names the
 * source as it was (size, content id, times of its files), the kind of the disk, the
 * first extent's own file, and how many bytes of the disk are in the extents, durably: it
 * is replaced in one step after they were synced. Who is asked for the same clone again
 * goes on from there; if anything is another one, it begins anew, in the same extents.
 * An extent is begun behind a note that says that all before it is done: so which of the
 * files that are there were left by an interrupted run is known from the note.
 *
 * Only who holds the first extent's lock reads or writes it. It is removed before the
 * descriptor gets its name, or before the lock of a disk that is one file goes: what is
 * finished has none, and a disk that is made otherwise under that name takes it away
 * first. So it never speaks of an extent that it was not written for.
 */
#include "vdisk/resume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

#define STATE_MAX 1024u

int resume_init(struct resume *r, struct vmfs_volume *vol, const char *path,
		const char *identity)
{
	const char *slash = strrchr(path, '/');
	char *name = NULL;
	*r = (struct resume){ .vol = vol, .identity = identity };
	if (asprintf(&name, ".%.112s.clone~", slash ? slash + 1 : path) < 0)
		return -ENOMEM;
	r->path = vdisk_sibling(path, name);
	free(name);
	return r->path ? 0 : -ENOMEM;
}

/* A component has 127 bytes. */
char *resume_file(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *name, *beside = NULL;
	if (asprintf(&name, ".%.112s.part~", slash ? slash + 1 : path) < 0)
		return NULL;
	beside = vdisk_sibling(path, name);
	free(name);
	return beside;
}

void resume_done(struct resume *r)
{
	free(r->path);
}

/* All but the number. */
static void add_head(struct buf *text, const struct resume *r, const char *extent)
{
	buf_printf(text, "OpenVMFS clone 1\nsource %s\nextent %s\ndone ", r->identity,
		   extent);
}

bool resume_is_there(const struct resume *r)
{
	return diskfile_look(r->vol, r->path) == 0;
}

/* The number behind the head of so many bytes, if that is all there is. */
static uint64_t number_in(char *text, size_t len, size_t head_len)
{
	uint64_t done;
	if (len <= head_len + 1 || text[len - 1] != '\n')
		return 0;
	text[len - 1] = '\0';
	const char *digits = text + head_len;
	size_t count = strspn(digits, "0123456789");
	bool is_number = head_len + count + 1 == len &&
			 parse_u64(digits, UINT64_MAX, &done) == 0;
	return is_number ? done : 0;
}

/* The number of a note on this extent, whatever its source. */
static uint64_t number_of(char *text, size_t len, const char *extent)
{
	struct buf line = { 0 };
	uint64_t done = 0;
	buf_printf(&line, "\nextent %s\ndone ", extent);
	const char *at = line.error ? NULL : memmem(text, len, line.data, line.len);
	if (at)
		done = number_in(text, len, (size_t)(at - text) + line.len);
	buf_done(&line);
	return done;
}

int resume_read(struct resume *r, const char *extent, uint64_t *ret_done,
		uint64_t *ret_reach)
{
	const struct diskfile_options how = { .vol = r->vol, .path = r->path };
	struct buf head = { 0 };
	struct diskfile file;
	char text[STATE_MAX];
	*ret_done = *ret_reach = 0;
	int rc = diskfile_open(&how, &file, NULL);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	int64_t n = diskfile_read(&file, text, sizeof(text) - 1, 0);
	(void)diskfile_close(&file); /* was only read */
	add_head(&head, r, extent);
	if (n > 0 && !head.error)
		*ret_reach = number_of(text, (size_t)n, extent);
	if (*ret_reach && (size_t)n > head.len && !memcmp(text, head.data, head.len))
		*ret_done = *ret_reach;
	rc = n < 0 ? (int)n : head.error;
	buf_done(&head);
	return rc;
}

int resume_write(const struct resume *r, const char *extent, uint64_t done)
{
	struct buf text = { 0 };
	add_head(&text, r, extent);
	buf_printf(&text, "%" PRIu64 "\n", done);
	int rc = text.error ? text.error : vdisk_publish(r->vol, r->path, &text, NULL);
	buf_done(&text);
	return rc;
}

int resume_remove(const struct resume *r)
{
	int rc = diskfile_unlink(r->vol, r->path);
	return rc == -ENOENT ? 0 : rc;
}

void resume_forget(const struct resume *r)
{
	vdisk_unlink_leftover(r->vol, r->path);
}
