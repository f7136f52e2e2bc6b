/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors are read by hypervisors, backup programs and people, and written by all
 * of them; so the parser is strict about what it uses (sizes, file names, CIDs) and
 * keeps everything else.
 *
 * Invariants of a struct descriptor:
 * 1. line[] holds every line in order; writing them gives the descriptor.
 * 2. line[extent_line[i]] is extent i; extent[i] points into that line's own strings.
 * 3. 1 <= extent_count <= DESCRIPTOR_MAX_EXTENTS, every extent has sectors > 0, and the
 *    sum of all sectors times 512 fits 64 bits.
 * 4. version, CID, parentCID and createType exist and are well-formed.
 * 5. No string holds a control character (but tabs) or, as a value, a double quote.
 *
 * Format: FORMAT.md, "VMDK descriptors".
 */
#include "vdisk/descriptor.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"

#define SECTOR 512u
#define BLANKS " \t"

enum line_kind { LINE_OTHER, LINE_ENTRY, LINE_EXTENT };

struct line {
	enum line_kind kind;
	char *text;	    /* as it is written, without the newline */
	char *key, *value;  /* LINE_ENTRY; LINE_EXTENT: type, file */
};

struct descriptor {
	struct line *line;
	unsigned int line_count, line_capacity;
	struct descriptor_extent *extent;
	unsigned int *extent_line;
	unsigned int extent_count;
	uint64_t sectors;
	uint32_t cid, parent_cid;
};

/* Where a parse is, for reports. */
struct place {
	struct reporter *r;
	const char *name;
	unsigned int line; /* from 1 */
};

static int wrong(const struct place *at, const char *what, const char *value)
{
	return report_error(at->r, -EUCLEAN, "%s: line %u: %s: '%.80s'", at->name,
			    at->line, what, value);
}

/* ---- lines ---- */

static void line_done(struct line *line)
{
	free(line->text);
	free(line->key);
	free(line->value);
}

/* Room for a line at index i; NULL without memory. */
static struct line *insert_line(struct descriptor *desc, unsigned int i)
{
	assert(i <= desc->line_count);
	if (desc->line_count == desc->line_capacity) {
		unsigned int old = desc->line_capacity;
		unsigned int capacity = old ? 2 * old : 32;
		struct line *line = realloc(desc->line, capacity * sizeof(*line));
		if (!line)
			return NULL;
		desc->line = line;
		desc->line_capacity = capacity;
	}
	memmove(desc->line + i + 1, desc->line + i,
		(desc->line_count - i) * sizeof(desc->line[0]));
	desc->line_count++;
	for (unsigned int e = 0; e < desc->extent_count; e++) {
		if (desc->extent_line[e] >= i)
			desc->extent_line[e]++;
	}
	desc->line[i] = (struct line){ .kind = LINE_OTHER };
	return &desc->line[i];
}

/* true if text may stand between quotes. */
static bool is_value(const char *text)
{
	size_t len = strlen(text);
	if (len > DESCRIPTOR_MAX_LINE_BYTES / 2)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if ((c < ' ' && c != '\t') || c == '"' || c == 0x7f)
			return false;
	}
	return true;
}

/* "key = value" or "key="value""; the key is known to be followed by a '='. */
static int parse_entry(struct line *line, const struct place *at)
{
	const char *text = line->text;
	size_t key_len = strcspn(text, "=");
	const char *value = text + key_len + 1;
	value += strspn(value, BLANKS);
	size_t value_len = strlen(value);
	while (value_len && strchr(BLANKS, value[value_len - 1]))
		value_len--;
	while (key_len && strchr(BLANKS, text[key_len - 1]))
		key_len--;
	if (key_len == 0)
		return wrong(at, "no key before '='", text);
	if (value_len && value[0] == '"') {
		if (value_len < 2 || value[value_len - 1] != '"')
			return wrong(at, "quote is not closed", text);
		value++;
		value_len -= 2;
	}
	line->key = strndup(text, key_len);
	line->value = strndup(value, value_len);
	if (!line->key || !line->value)
		return -ENOMEM;
	if (strchr(line->value, '"'))
		return wrong(at, "quote inside a value", text);
	line->kind = LINE_ENTRY;
	return 0;
}

/* ---- extents ---- */

static const char *const access_names[] = {
	[EXTENT_RW] = "RW", [EXTENT_RDONLY] = "RDONLY", [EXTENT_NOACCESS] = "NOACCESS",
};

/* The access word that text begins with; -1 if it does not begin with one. */
static int access_of(const char *text)
{
	size_t len = strcspn(text, BLANKS);
	for (unsigned int i = 0; i < ARRAY_SIZE(access_names); i++) {
		const char *name = access_names[i];
		if (strlen(name) == len && !strncmp(text, name, len))
			return (int)i;
	}
	return -1;
}

/* Copies the word at *text, moves *text behind it and the blanks that follow. */
static char *take_word(const char **text)
{
	size_t len = strcspn(*text, BLANKS);
	char *word = strndup(*text, len);
	*text += len;
	*text += strspn(*text, BLANKS);
	return word;
}

static int take_number(const char **text, uint64_t *ret_n, const struct place *at)
{
	char *word = take_word(text);
	if (!word)
		return -ENOMEM;
	int rc = parse_u64(word, UINT64_MAX / SECTOR, ret_n);
	if (rc < 0)
		rc = wrong(at, "not a number of sectors", word);
	free(word);
	return rc;
}

/* The quoted name at *text. */
static int take_file(const char **text, char **ret_file, const struct place *at)
{
	const char *end = (*text)[0] == '"' ? strchr(*text + 1, '"') : NULL;
	if (!end)
		return wrong(at, "extent without a quoted file name", *text);
	if (end == *text + 1)
		return wrong(at, "extent with an empty file name", *text);
	char *file = strndup(*text + 1, (size_t)(end - *text - 1));
	if (!file)
		return -ENOMEM;
	*text = end + 1;
	*text += strspn(*text, BLANKS);
	*ret_file = file;
	return 0;
}

/* ACCESS SECTORS TYPE ["FILE" [OFFSET]] */
static int parse_extent(struct line *line, struct descriptor_extent *ret_extent,
			const struct place *at)
{
	struct descriptor_extent extent = { .access = (enum descriptor_access)access_of(
						    line->text) };
	const char *text = line->text + strcspn(line->text, BLANKS);
	text += strspn(text, BLANKS);
	int rc = take_number(&text, &extent.sectors, at);
	if (rc < 0)
		return rc;
	if (extent.sectors == 0)
		return wrong(at, "extent of no sectors", line->text);
	line->key = take_word(&text);
	if (!line->key)
		return -ENOMEM;
	if (!*line->key)
		return wrong(at, "extent without a type", line->text);
	if (strcmp(line->key, "ZERO") != 0)
		rc = take_file(&text, &line->value, at);
	else if ((line->value = strdup("")) == NULL)
		rc = -ENOMEM;
	if (rc == 0 && *text)
		rc = take_number(&text, &extent.offset_sectors, at);
	if (rc < 0)
		return rc;
	if (*text)
		return wrong(at, "extent with more than an offset", line->text);
	line->kind = LINE_EXTENT;
	extent.type = line->key;
	extent.file = line->value;
	*ret_extent = extent;
	return 0;
}

static int add_extent(struct descriptor *desc, unsigned int line,
		      const struct descriptor_extent *extent, const struct place *at)
{
	unsigned int count = desc->extent_count;
	uint64_t sectors, bytes;
	if (count == DESCRIPTOR_MAX_EXTENTS)
		return wrong(at, "too many extents", desc->line[line].text);
	if (!checked_add(desc->sectors, extent->sectors, &sectors) ||
	    !checked_mul(sectors, SECTOR, &bytes))
		return wrong(at, "extents are too large in all", desc->line[line].text);
	struct descriptor_extent *all = realloc(desc->extent, (count + 1) * sizeof(*all));
	if (!all)
		return -ENOMEM;
	desc->extent = all;
	unsigned int *lines = realloc(desc->extent_line, (count + 1) * sizeof(*lines));
	if (!lines)
		return -ENOMEM;
	desc->extent_line = lines;
	all[count] = *extent;
	lines[count] = line;
	desc->extent_count = count + 1;
	desc->sectors = sectors;
	return 0;
}

/* ---- the whole text ---- */

static int parse_line(struct descriptor *desc, const char *text, size_t len,
		      const struct place *at)
{
	if (at->line > DESCRIPTOR_MAX_LINES || len > DESCRIPTOR_MAX_LINE_BYTES)
		return wrong(at, "too many lines, or a line too long", "");
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return wrong(at, "control character", "");
	}
	struct line *line = insert_line(desc, desc->line_count);
	if (!line || (line->text = strndup(text, len)) == NULL)
		return -ENOMEM;
	const char *first = line->text + strspn(line->text, BLANKS);
	if (!*first || *first == '#')
		return 0;
	if (first == line->text && access_of(first) >= 0) {
		struct descriptor_extent extent;
		int rc = parse_extent(line, &extent, at);
		return rc < 0 ? rc : add_extent(desc, desc->line_count - 1, &extent, at);
	}
	if (!strchr(line->text, '='))
		return wrong(at, "neither comment, entry nor extent", line->text);
	return parse_entry(line, at);
}

static int parse_cid(const struct descriptor *desc, const char *key, struct place *at,
		     uint32_t *ret_cid)
{
	const char *text = descriptor_get(desc, key);
	at->line = desc->line_count;
	if (!text)
		return wrong(at, "no such entry before the end", key);
	size_t len = strlen(text);
	if (len == 0 || len > 8 || strspn(text, "0123456789abcdefABCDEF") != len)
		return wrong(at, "CID is not a number of up to 8 hex digits", text);
	*ret_cid = (uint32_t)strtoul(text, NULL, 16);
	return 0;
}

/* Invariants 3 and 4. */
static int check_whole(struct descriptor *desc, struct place *at)
{
	int rc = parse_cid(desc, "CID", at, &desc->cid);
	if (rc == 0)
		rc = parse_cid(desc, "parentCID", at, &desc->parent_cid);
	if (rc < 0)
		return rc;
	const char *version = descriptor_get(desc, "version");
	uint64_t n;
	if (!version || parse_u64(version, 4, &n) < 0 || n == 0)
		return wrong(at, "version is not 1 to 4", version ? version : "");
	if (!descriptor_get(desc, "createType"))
		return wrong(at, "no such entry before the end", "createType");
	if (desc->extent_count == 0)
		return wrong(at, "no extent before the end", "");
	return 0;
}

static bool has_signature(const char *text, size_t len)
{
	static const char signature[] = "# Disk DescriptorFile";
	size_t blanks = 0;
	while (blanks < len && strchr(" \t\r\n", text[blanks]) && text[blanks])
		blanks++;
	return len - blanks >= sizeof(signature) - 1 &&
	       !strncasecmp(text + blanks, signature, sizeof(signature) - 1);
}

static int parse_lines(struct descriptor *desc, const char *text, size_t len,
		       struct place *at)
{
	while (len) {
		const char *newline = memchr(text, '\n', len);
		size_t step = newline ? (size_t)(newline - text) + 1 : len;
		size_t line_len = newline ? step - 1 : step;
		if (line_len && text[line_len - 1] == '\r')
			line_len--;
		at->line++;
		int rc = parse_line(desc, text, line_len, at);
		if (rc < 0)
			return rc;
		text += step;
		len -= step;
	}
	return check_whole(desc, at);
}

int descriptor_parse(const char *text, size_t len, const char *name, struct reporter *r,
		     struct descriptor **ret_desc)
{
	struct place at = { r, name, 0 };
	const char *nul = len ? memchr(text, '\0', len) : NULL;
	if (nul)
		len = (size_t)(nul - text);
	if (!has_signature(text, len))
		return report_error(r, -EMEDIUMTYPE, "%s: is not a VMDK descriptor",
				    name);
	if (len > DESCRIPTOR_MAX_BYTES)
		return report_error(r, -EUCLEAN,
				    "%s: descriptor of %zu bytes, at most %d", name, len,
				    DESCRIPTOR_MAX_BYTES);
	struct descriptor *desc = calloc(1, sizeof(*desc));
	if (!desc)
		return -ENOMEM;
	int rc = parse_lines(desc, text, len, &at);
	if (rc < 0) {
		descriptor_free(desc);
		return rc;
	}
	*ret_desc = desc;
	return 0;
}

void descriptor_free(struct descriptor *desc)
{
	if (!desc)
		return;
	for (unsigned int i = 0; i < desc->line_count; i++)
		line_done(&desc->line[i]);
	free(desc->line);
	free(desc->extent);
	free(desc->extent_line);
	free(desc);
}

void descriptor_text(const struct descriptor *desc, struct buf *out)
{
	for (unsigned int i = 0; i < desc->line_count; i++) {
		buf_add(out, desc->line[i].text, strlen(desc->line[i].text));
		buf_add(out, "\n", 1);
	}
}

int descriptor_copy(const struct descriptor *desc, struct descriptor **ret_desc)
{
	struct buf text = { 0 };
	descriptor_text(desc, &text);
	int rc = text.error ? text.error : descriptor_parse(text.data, text.len, "a copy",
							    NULL, ret_desc);
	buf_done(&text);
	return rc;
}

/* ---- asking and changing ---- */

uint32_t descriptor_cid(const struct descriptor *desc)
{
	return desc->cid;
}

uint32_t descriptor_parent_cid(const struct descriptor *desc)
{
	return desc->parent_cid;
}

bool descriptor_is_encrypted(const struct descriptor *desc)
{
	return !strncmp(descriptor_get(desc, "createType"), DESCRIPTOR_ENCRYPTED,
			strlen(DESCRIPTOR_ENCRYPTED));
}

const char *descriptor_create_type(const struct descriptor *desc)
{
	size_t skip = descriptor_is_encrypted(desc) ? strlen(DESCRIPTOR_ENCRYPTED) : 0;
	return descriptor_get(desc, "createType") + skip;
}

uint64_t descriptor_sectors(const struct descriptor *desc)
{
	return desc->sectors;
}

unsigned int descriptor_extent_count(const struct descriptor *desc)
{
	return desc->extent_count;
}

const struct descriptor_extent *descriptor_extent(const struct descriptor *desc,
						   unsigned int i)
{
	assert(i < desc->extent_count);
	return &desc->extent[i];
}

static struct line *find_entry(const struct descriptor *desc, const char *key)
{
	for (unsigned int i = 0; i < desc->line_count; i++) {
		struct line *line = &desc->line[i];
		if (line->kind == LINE_ENTRY && !strcasecmp(line->key, key))
			return line;
	}
	return NULL;
}

const char *descriptor_get(const struct descriptor *desc, const char *key)
{
	const struct line *line = find_entry(desc, key);
	return line ? line->value : NULL;
}

static bool is_ddb(const char *key)
{
	return !strncasecmp(key, "ddb.", 4);
}

/* What was checked at parsing is not changed through descriptor_set. */
static bool is_checked_key(const char *key)
{
	return !strcasecmp(key, "CID") || !strcasecmp(key, "parentCID") ||
	       !strcasecmp(key, "version") || !strcasecmp(key, "createType");
}

/* Where a new entry goes: a ddb. key to the end, others behind the last of the head. */
static unsigned int place_for(const struct descriptor *desc, const char *key)
{
	unsigned int place = 1;
	if (is_ddb(key))
		return desc->line_count;
	for (unsigned int i = 0; i < desc->line_count; i++) {
		if (desc->line[i].kind == LINE_ENTRY && !is_ddb(desc->line[i].key))
			place = i + 1;
	}
	return place;
}

/* Writes line anew as key and value; takes nothing on failure. */
static int fill_entry(struct line *line, const char *key, const char *value)
{
	char *text = NULL;
	char *own_key = strdup(key);
	char *own_value = strdup(value);
	int len = is_ddb(key) ? asprintf(&text, "%s = \"%s\"", key, value) :
				asprintf(&text, "%s=\"%s\"", key, value);
	if (len < 0 || !own_key || !own_value) {
		if (len >= 0)
			free(text);
		free(own_key);
		free(own_value);
		return -ENOMEM;
	}
	line_done(line);
	*line = (struct line){ LINE_ENTRY, text, own_key, own_value };
	return 0;
}

int descriptor_set(struct descriptor *desc, const char *key, const char *value)
{
	assert(!is_checked_key(key));
	if (!is_value(key) || !is_value(value) || !*key || strchr(key, '='))
		return -EINVAL;
	struct line *line = find_entry(desc, key);
	if (line)
		return fill_entry(line, key, value);
	struct line fresh = { .kind = LINE_OTHER };
	int rc = fill_entry(&fresh, key, value);
	if (rc < 0)
		return rc;
	line = insert_line(desc, place_for(desc, key));
	if (!line) {
		line_done(&fresh);
		return -ENOMEM;
	}
	*line = fresh;
	return 0;
}

/* Of an entry that is there. */
static int set_bare(struct descriptor *desc, const char *key, const char *value)
{
	struct line *line = find_entry(desc, key);
	char *own = strdup(value), *text = NULL;
	/* As everybody writes it: without quotes. */
	if (!own || asprintf(&text, "%s=%s", key, value) < 0) {
		free(own);
		return -ENOMEM;
	}
	free(line->text);
	free(line->value);
	line->text = text;
	line->value = own;
	return 0;
}

static int set_number(struct descriptor *desc, const char *key, uint32_t n)
{
	char value[16];
	(void)snprintf(value, sizeof(value), "%08" PRIx32, n);
	return set_bare(desc, key, value);
}

static void remove_entry(struct descriptor *desc, const char *key)
{
	struct line *line = find_entry(desc, key);
	if (!line)
		return;
	line_done(line);
	*line = (struct line){ .kind = LINE_OTHER };
	unsigned int at = (unsigned int)(line - desc->line);
	memmove(line, line + 1, (desc->line_count - at - 1) * sizeof(*line));
	desc->line_count--;
	for (unsigned int e = 0; e < desc->extent_count; e++)
		desc->extent_line[e] -= desc->extent_line[e] > at;
}

int descriptor_set_tracking(struct descriptor *desc, const char *file)
{
	if (!file)
		remove_entry(desc, "changeTrackPath");
	int rc = file ? descriptor_set(desc, "changeTrackPath", file) : 0;
	return rc ? rc : set_bare(desc, "version", file ? "3" : "1");
}

int descriptor_set_cid(struct descriptor *desc, uint32_t cid)
{
	int rc = set_number(desc, "CID", cid);
	if (rc == 0)
		desc->cid = cid;
	return rc;
}

int descriptor_set_parent_cid(struct descriptor *desc, uint32_t cid)
{
	int rc = set_number(desc, "parentCID", cid);
	if (rc == 0)
		desc->parent_cid = cid;
	return rc;
}

/* Without the line's end. */
static void add_extent_text(struct buf *out, const struct descriptor_extent *extent)
{
	buf_printf(out, "%s %" PRIu64 " %s \"%s\"", access_names[extent->access],
		   extent->sectors, extent->type, extent->file);
	if (extent->offset_sectors || !strcmp(extent->type, "FLAT"))
		buf_printf(out, " %" PRIu64, extent->offset_sectors);
}

/* The line of extent i anew, as the extent is now. */
static int write_extent_line(struct descriptor *desc, unsigned int i)
{
	struct line *line = &desc->line[desc->extent_line[i]];
	struct buf text = { 0 };
	add_extent_text(&text, &desc->extent[i]);
	if (text.error) {
		buf_done(&text);
		return -ENOMEM;
	}
	free(line->text);
	line->text = text.data;
	return 0;
}

int descriptor_set_file(struct descriptor *desc, unsigned int i, const char *file)
{
	assert(i < desc->extent_count);
	if (!is_value(file) || !*file)
		return -EINVAL;
	struct line *line = &desc->line[desc->extent_line[i]];
	const char *before = desc->extent[i].file;
	char *own = strdup(file);
	if (!own)
		return -ENOMEM;
	desc->extent[i].file = own;
	int rc = write_extent_line(desc, i);
	if (rc < 0) {
		desc->extent[i].file = before;
		free(own);
		return rc;
	}
	free(line->value);
	line->value = own;
	return 0;
}

int descriptor_set_sectors(struct descriptor *desc, unsigned int i, uint64_t sectors)
{
	uint64_t before = desc->extent[i].sectors, all, bytes;
	assert(i < desc->extent_count && sectors > 0);
	if (!checked_add(desc->sectors - before, sectors, &all) ||
	    !checked_mul(all, SECTOR, &bytes))
		return -EINVAL;
	desc->extent[i].sectors = sectors;
	int rc = write_extent_line(desc, i);
	if (rc < 0)
		desc->extent[i].sectors = before;
	else
		desc->sectors = all;
	return rc;
}

int descriptor_add_extent(struct descriptor *desc, const struct descriptor_extent *extent)
{
	const struct place at = { NULL, "new extent", 0 };
	unsigned int last = desc->extent_line[desc->extent_count - 1];
	struct buf text = { 0 };
	if (!is_value(extent->file) || !*extent->file)
		return -EINVAL;
	add_extent_text(&text, extent);
	struct line *line = text.error ? NULL : insert_line(desc, last + 1);
	if (!line) {
		buf_done(&text);
		return -ENOMEM;
	}
	line->text = text.data;
	struct descriptor_extent own;
	int rc = parse_extent(line, &own, &at);
	return rc < 0 ? rc : add_extent(desc, last + 1, &own, &at);
}

/* ---- a new one ---- */

struct geometry {
	uint64_t cylinders;
	unsigned int heads, sectors;
};

/* As ESXi chooses it: IDE as the BIOS sees it, SCSI by size. */
static struct geometry geometry_for(uint64_t sectors, const char *adapter)
{
	const uint64_t gib = 1024 * 1024 * 1024 / SECTOR;
	struct geometry g = { 0, 255, 63 };
	bool is_ide = !strcmp(adapter, "ide");
	if (is_ide)
		g.heads = 16;
	else if (sectors < gib)
		g = (struct geometry){ 0, 64, 32 };
	else if (sectors < 2 * gib)
		g = (struct geometry){ 0, 128, 32 };
	g.cylinders = max_u64(sectors / (g.heads * g.sectors), 1);
	if (is_ide)
		g.cylinders = min_u64(g.cylinders, 16383);
	return g;
}

int descriptor_fit_geometry(struct descriptor *desc)
{
	const char *adapter = descriptor_get(desc, "ddb.adapterType");
	struct geometry g = geometry_for(desc->sectors, adapter ? adapter : "lsilogic");
	const struct {
		const char *key;
		uint64_t value;
	} entry[] = { { "ddb.geometry.cylinders", g.cylinders },
		      { "ddb.geometry.heads", g.heads },
		      { "ddb.geometry.sectors", g.sectors } };
	int rc = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(entry) && rc == 0; i++) {
		char value[24];
		(void)snprintf(value, sizeof(value), "%" PRIu64, entry[i].value);
		rc = descriptor_set(desc, entry[i].key, value);
	}
	return rc;
}

/* Sixteen bytes in the form of an NAA name of VMware's (60 00 C2 9.). */
static void add_uuid(struct buf *out)
{
	uint8_t id[16];
	random_bytes(id, sizeof(id));
	id[0] = 0x60;
	id[1] = 0x00;
	id[2] = 0xc2;
	id[3] = (uint8_t)(0x90 | (id[3] & 0x0f));
	buf_printf(out, "ddb.uuid = \"");
	for (unsigned int i = 0; i < sizeof(id); i++)
		buf_printf(out, "%s%02x", i == 0 ? "" : i == 8 ? "-" : " ", id[i]);
	buf_printf(out, "\"\n");
}

/* -EINVAL if a name of the plan cannot stand between quotes. */
static int check_plan(const struct descriptor_plan *plan,
		      const struct descriptor_extent *extent, unsigned int count)
{
	bool is_fit = is_value(plan->adapter) && plan->sectors > 0;
	for (unsigned int i = 0; i < count; i++)
		is_fit = is_fit && is_value(extent[i].file);
	return is_fit ? 0 : -EINVAL;
}

int descriptor_new(const struct descriptor_plan *plan, struct descriptor **ret_desc)
{
	const struct descriptor_extent one = { .sectors = plan->sectors,
					       .type = "VMFS",
					       .file = plan->extent_file };
	const struct descriptor_extent *extent = plan->extent ? plan->extent : &one;
	unsigned int count = plan->extent ? plan->extent_count : 1;
	if (check_plan(plan, extent, count) < 0)
		return -EINVAL;
	struct geometry g = geometry_for(plan->sectors, plan->adapter);
	struct buf text = { 0 };
	buf_printf(&text, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\n");
	buf_printf(&text, "CID=%08" PRIx32 "\nparentCID=%08" PRIx32 "\n", plan->cid,
		   DESCRIPTOR_NO_PARENT);
	buf_printf(&text, "isNativeSnapshot=\"no\"\ncreateType=\"%s%s\"\n\n",
		   plan->is_encrypted ? DESCRIPTOR_ENCRYPTED : "",
		   plan->create_type ? plan->create_type : "vmfs");
	buf_printf(&text, "# Extent description\n");
	for (unsigned int i = 0; i < count; i++) {
		add_extent_text(&text, &extent[i]);
		buf_add(&text, "\n", 1);
	}
	buf_printf(&text, "\n# The Disk Data Base \n#DDB\n\n");
	buf_printf(&text, "ddb.adapterType = \"%s\"\n", plan->adapter);
	buf_printf(&text, "ddb.geometry.cylinders = \"%" PRIu64 "\"\n", g.cylinders);
	buf_printf(&text, "ddb.geometry.heads = \"%u\"\n", g.heads);
	buf_printf(&text, "ddb.geometry.sectors = \"%u\"\n", g.sectors);
	uint64_t high = random_u64();
	uint32_t middle = (uint32_t)random_u64();
	buf_printf(&text, "ddb.longContentID = \"%016" PRIx64 "%08" PRIx32, high, middle);
	buf_printf(&text, "%08" PRIx32 "\"\n", plan->cid);
	if (plan->is_thin)
		buf_printf(&text, "ddb.thinProvisioned = \"1\"\n");
	add_uuid(&text);
	buf_printf(&text, "ddb.virtualHWVersion = \"8\"\n");
	int rc = text.error;
	if (rc == 0)
		rc = descriptor_parse(text.data, text.len, "new descriptor", NULL,
				      ret_desc);
	buf_done(&text);
	return rc;
}
