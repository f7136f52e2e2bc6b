/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The .vmx parser. The file comes from a datastore that others write too, so every length
 * has a limit and no line is guessed at.
 *
 *	line  = [ "#" anything ] | key "=" value
 *	value = quoted string | bare word(s), without blanks at the ends
 *
 * Inside a value |XX is the byte with hexadecimal code XX (VMware writes |22 for a quote
 * and |7C for a bar); |00 is refused. A key may stand only once, as VMware itself
 * demands.
 */
#include "vmkernel/vmx/vmxfile.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"

struct entry {
	char *key, *value;
};

struct vmxfile {
	struct entry *entries;
	unsigned int count, capacity;
};

/* A piece of the text. */
struct span {
	const char *at;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span s)
{
	while (s.len && is_blank(s.at[0])) {
		s.at++;
		s.len--;
	}
	while (s.len && is_blank(s.at[s.len - 1]))
		s.len--;
	return s;
}

static bool is_key_char(char c)
{
	return isalnum((unsigned char)c) || strchr("._:-", c);
}

static bool is_key(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!s.at[i] || !is_key_char(s.at[i]))
			return false;
	}
	return s.len > 0;
}

/*
 * The value between (or without) its quotes, decoded. malloc'ed; NULL: -EINVAL or memory.
 */
static char *decode(struct span s, int *ret_error)
{
	char *value = malloc(s.len + 1);
	size_t n = 0;
	*ret_error = value ? 0 : -ENOMEM;
	for (size_t i = 0; value && i < s.len; i++) {
		char c = s.at[i];
		if (c == '|') {
			int high = i + 2 < s.len ? parse_hex_digit(s.at[i + 1]) : -1;
			int low = i + 2 < s.len ? parse_hex_digit(s.at[i + 2]) : -1;
			bool is_hex = high >= 0 && low >= 0;
			c = is_hex ? (char)(high * 16 + low) : '\0';
			i += 2;
		}
		if (!c)
			*ret_error = -EINVAL;
		if (*ret_error) {
			free(value);
			return NULL;
		}
		value[n++] = c;
	}
	if (value)
		value[n] = '\0';
	return value;
}

static const struct entry *find(const struct vmxfile *f, const char *key)
{
	for (unsigned int i = 0; i < f->count; i++) {
		if (strcasecmp(f->entries[i].key, key) == 0)
			return &f->entries[i];
	}
	return NULL;
}

static int grow(struct vmxfile *f)
{
	if (f->count == VMXFILE_ENTRIES_MAX)
		return -EFBIG;
	if (f->count < f->capacity)
		return 0;
	unsigned int capacity = f->capacity ? f->capacity * 2 : 64;
	struct entry *entries = realloc(f->entries, capacity * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	f->entries = entries;
	f->capacity = capacity;
	return 0;
}

/* Finds key and value of a line that is not empty. */
static int split(struct span line, struct span *ret_key, struct span *ret_value)
{
	const char *equals = memchr(line.at, '=', line.len);
	if (!equals)
		return -EINVAL;
	size_t key_len = (size_t)(equals - line.at);
	struct span key = trim((struct span){ line.at, key_len });
	struct span value = trim((struct span){ equals + 1, line.len - key_len - 1 });
	if (!is_key(key))
		return -EINVAL;
	if (value.len && value.at[0] == '"') {
		if (value.len < 2 || value.at[value.len - 1] != '"')
			return -EINVAL;
		value.at++;
		value.len -= 2;
	}
	if (memchr(value.at, '"', value.len))
		return -EINVAL;
	*ret_key = key;
	*ret_value = value;
	return 0;
}

static int take_line(struct vmxfile *f, struct span line, const char **ret_why)
{
	struct span key, value;
	line = trim(line);
	if (!line.len || line.at[0] == '#')
		return 0;
	*ret_why = "is not key = \"value\"";
	int rc = split(line, &key, &value);
	if (rc < 0)
		return rc;
	*ret_why = "makes too many entries";
	rc = grow(f);
	if (rc < 0)
		return rc;
	struct entry e = { .key = strndup(key.at, key.len) };
	*ret_why = "has a bad |XX in its value";
	e.value = decode(value, &rc);
	if (e.key && e.value && find(f, e.key)) {
		*ret_why = "has a key that stood before";
		rc = -EINVAL;
	}
	if (!e.key || !e.value || rc < 0) {
		free(e.key);
		free(e.value);
		return rc < 0 ? rc : -ENOMEM;
	}
	f->entries[f->count++] = e;
	return 0;
}

int vmxfile_parse(const char *text, size_t len, const char *what, struct reporter *r,
		  struct vmxfile **ret_file)
{
	unsigned int number = 0;
	if (len > VMXFILE_MAX)
		return report_error(r, -EFBIG,
				    "%s: %zu bytes, a .vmx file has at most %u", what,
				    len, VMXFILE_MAX);
	struct vmxfile *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t line_len = end ? (size_t)(end - text) : len;
		size_t used = end ? line_len + 1 : len;
		const char *why = "";
		number++;
		int rc = take_line(f, (struct span){ text, line_len }, &why);
		if (rc < 0) {
			vmxfile_free(f);
			return report_error(r, rc, "%s: line %u %s", what, number, why);
		}
		text += used;
		len -= used;
	}
	*ret_file = f;
	return 0;
}

void vmxfile_free(struct vmxfile *f)
{
	if (!f)
		return;
	for (unsigned int i = 0; i < f->count; i++) {
		free(f->entries[i].key);
		free(f->entries[i].value);
	}
	free(f->entries);
	free(f);
}

const char *vmxfile_get(const struct vmxfile *f, const char *key)
{
	const struct entry *e = find(f, key);
	return e ? e->value : NULL;
}

const char *vmxfile_get_or(const struct vmxfile *f, const char *key, const char *fallback)
{
	const char *value = vmxfile_get(f, key);
	return value && *value ? value : fallback;
}

bool vmxfile_is_true(const struct vmxfile *f, const char *key)
{
	static const char *const yes[] = { "TRUE", "YES", "ON", "1", "T", "Y" };
	const char *value = vmxfile_get_or(f, key, "");
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcasecmp(value, yes[i]) == 0)
			return true;
	}
	return false;
}

bool vmxfile_entry(const struct vmxfile *f, unsigned int i, const char **ret_key,
		   const char **ret_value)
{
	if (i >= f->count)
		return false;
	*ret_key = f->entries[i].key;
	*ret_value = f->entries[i].value;
	return true;
}
