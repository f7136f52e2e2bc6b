/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapfiles. A line of the file is "POS SIZE STATUS", numbers in hexadecimal or decimal;
 * "#" begins a comment; the first line that is none has the place where the program was
 * (position, status, pass) and is not a range. A mapfile is somebody's text: every number
 * is checked, and the number of ranges is bounded.
 */
#include "fsck/rescue_map.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/parse.h"

#define RANGES_MAX (1u << 22)
#define FILE_MAX (256l << 20)
#define LINE_MAX_BYTES 256u

int map_init(struct rescue_map *m, uint64_t size)
{
	*m = (struct rescue_map){ .size = size };
	m->ranges = malloc(16 * sizeof(*m->ranges));
	if (!m->ranges)
		return -ENOMEM;
	m->capacity = 16;
	if (size)
		m->ranges[m->count++] = (struct map_range){ 0, size, MAP_UNTRIED };
	return 0;
}

void map_done(struct rescue_map *m)
{
	free(m->ranges);
	*m = (struct rescue_map){ 0 };
}

/* Index of the range that holds pos. */
static uint32_t index_of(const struct rescue_map *m, uint64_t pos)
{
	uint32_t low = 0, high = m->count;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (m->ranges[middle].pos <= pos)
			low = middle;
		else
			high = middle;
	}
	return low;
}

struct map_range map_at(const struct rescue_map *m, uint64_t pos)
{
	struct map_range r = m->ranges[index_of(m, pos)];
	r.len -= pos - r.pos;
	r.pos = pos;
	return r;
}

static int make_room(struct rescue_map *m)
{
	if (m->count + 2 <= m->capacity)
		return 0;
	if (m->capacity >= RANGES_MAX)
		return -ENOMEM;
	struct map_range *more =
		reallocarray(m->ranges, m->capacity * 2ul, sizeof(*m->ranges));
	if (!more)
		return -ENOMEM;
	m->ranges = more;
	m->capacity *= 2;
	return 0;
}

/* Makes pos < size the beginning of a range; its index. There is room. */
static uint32_t split(struct rescue_map *m, uint64_t pos)
{
	uint32_t i = index_of(m, pos);
	struct map_range *r = &m->ranges[i];
	if (r->pos == pos)
		return i;
	memmove(r + 1, r, (m->count - i) * sizeof(*r));
	m->count++;
	r[1].len -= pos - r->pos;
	r[1].pos = pos;
	r->len = pos - r->pos;
	return i + 1;
}

static void merge(struct rescue_map *m, uint32_t i)
{
	if (i == 0 || i >= m->count || m->ranges[i - 1].status != m->ranges[i].status)
		return;
	m->ranges[i - 1].len += m->ranges[i].len;
	memmove(&m->ranges[i], &m->ranges[i + 1],
		(m->count - i - 1) * sizeof(*m->ranges));
	m->count--;
}

int map_set(struct rescue_map *m, uint64_t pos, uint64_t len, enum map_status status)
{
	if (pos >= m->size || len == 0)
		return 0;
	len = min_u64(len, m->size - pos);
	int rc = make_room(m);
	if (rc < 0)
		return rc;
	uint32_t first = split(m, pos);
	uint32_t end = pos + len < m->size ? split(m, pos + len) : m->count;
	m->ranges[first].len = len;
	m->ranges[first].status = status;
	memmove(&m->ranges[first + 1], &m->ranges[end],
		(m->count - end) * sizeof(*m->ranges));
	m->count -= end - first - 1;
	merge(m, first + 1);
	merge(m, first);
	return 0;
}

uint64_t map_bytes(const struct rescue_map *m, enum map_status status)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < m->count; i++)
		n += m->ranges[i].status == status ? m->ranges[i].len : 0;
	return n;
}

/* ---- text ---- */

static int take_range(struct rescue_map *m, const char *line)
{
	char from[32], count[32], status, extra;
	uint64_t pos, len, end;
	if (sscanf(line, " %31s %31s %c %c", from, count, &status, &extra) != 3 ||
	    parse_u64(from, UINT64_MAX, &pos) != 0 ||
	    parse_u64(count, UINT64_MAX, &len) != 0 || !strchr("?*/-+", status) ||
	    !checked_add(pos, len, &end) || end > m->size)
		return -EUCLEAN;
	return map_set(m, pos, len, (enum map_status)status);
}

int map_parse(struct rescue_map *m, const char *text)
{
	bool has_place = false;
	int rc = 0;
	while (rc == 0 && *text) {
		char line[LINE_MAX_BYTES];
		size_t len = strcspn(text, "\n");
		if (len >= sizeof(line) && text[0] != '#')
			return -EUCLEAN;
		if (len < sizeof(line) && text[0] != '#') {
			memcpy(line, text, len);
			line[len] = '\0';
			if (line[strspn(line, " \t\r")] == '\0')
				;
			else if (!has_place)
				has_place = true;
			else
				rc = take_range(m, line);
		}
		text += len;
		text += *text == '\n';
	}
	return rc == 0 && !has_place ? -EUCLEAN : rc;
}

int map_load(struct rescue_map *m, const char *path, struct reporter *r)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ENOENT
				       : report_error(r, -errno, "%s: %s", path,
						      strerror(errno));
	long size = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
	if (size < 0 || size > FILE_MAX || fseek(f, 0, SEEK_SET) != 0)
		return report_error(r, -EUCLEAN, "%s: is no mapfile", path);
	AUTO_FREE char *text = calloc(1, (size_t)size + 1);
	if (!text)
		return -ENOMEM;
	if (fread(text, 1, (size_t)size, f) != (size_t)size)
		return report_error(r, -EIO, "%s: cannot be read", path);
	int rc = map_parse(m, text);
	return rc == -EUCLEAN
		       ? report_error(r, rc, "%s: is no mapfile of %llu bytes", path,
				      (unsigned long long)m->size)
		       : rc;
}

int map_save(const struct rescue_map *m, const char *path, const char *note,
	     struct reporter *r)
{
	struct buf name = { 0 };
	buf_printf(&name, "%s.new", path);
	if (name.error)
		return name.error;
	FILE *f = fopen(name.data, "we");
	bool is_done = map_bytes(m, MAP_DONE) == m->size;
	if (f) {
		fprintf(f, "# Mapfile. Created by vmfs-rescue\n");
		if (note)
			fprintf(f, "# %s\n", note);
		fprintf(f, "# current_pos  current_status  current_pass\n"
			   "0x%08llX     %c               1\n"
			   "#      pos        size  status\n",
			(unsigned long long)m->size, is_done ? '+' : '?');
		for (uint32_t i = 0; i < m->count; i++)
			fprintf(f, "0x%08llX  0x%08llX  %c\n",
				(unsigned long long)m->ranges[i].pos,
				(unsigned long long)m->ranges[i].len,
				(char)m->ranges[i].status);
	}
	bool is_bad = !f || fflush(f) != 0 || fsync(fileno(f)) != 0;
	if (f)
		is_bad |= fclose(f) != 0;
	int rc = is_bad || rename(name.data, path) != 0
			 ? report_error(r, -EIO, "%s: cannot be written: %s", path,
					strerror(errno))
			 : 0;
	buf_done(&name);
	return rc;
}
