/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of key = "value". In a value |XX is the byte of that hexadecimal code: VMware
 * writes quotes, bars and control characters so.
 */
#include "vdisk/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"

#define BLANKS " \t\r"

struct line {
	char *text;	   /* as it is written, without the newline */
	char *key, *value; /* NULL: a comment, or empty */
};

struct settings {
	struct line *line;
	unsigned int count, capacity;
};

static void line_done(struct line *line)
{
	free(line->text);
	free(line->key);
	free(line->value);
}

void settings_free(struct settings *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < s->count; i++)
		line_done(&s->line[i]);
	free(s->line);
	free(s);
}

/* ---- values ---- */

/* len bytes of text, decoded: malloc'ed; NULL with *ret_error. */
static char *decode(const char *text, size_t len, int *ret_error)
{
	char *value = malloc(len + 1);
	size_t n = 0;
	*ret_error = value ? 0 : -ENOMEM;
	for (size_t i = 0; value && i < len; i++) {
		int high = i + 2 < len ? parse_hex_digit(text[i + 1]) : -1;
		int low = i + 2 < len ? parse_hex_digit(text[i + 2]) : -1;
		char c = text[i];
		if (c == '|') {
			c = high < 0 || low < 0 ? '\0' : (char)(high * 16 + low);
			i += 2;
		}
		if (!c) {
			*ret_error = -EUCLEAN;
			free(value);
			return NULL;
		}
		value[n++] = c;
	}
	if (value)
		value[n] = '\0';
	return value;
}

static void encode(const char *value, struct buf *out)
{
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;
		if (c < ' ' || c == '"' || c == '|' || c == 0x7f)
			buf_printf(out, "|%02X", c);
		else
			buf_add(out, value, 1);
	}
}

/* ---- parsing ---- */

static struct line *find(const struct settings *s, const char *key)
{
	for (unsigned int i = 0; i < s->count; i++) {
		if (s->line[i].key && !strcasecmp(s->line[i].key, key))
			return &s->line[i];
	}
	return NULL;
}

static struct line *add_line(struct settings *s)
{
	if (s->count == s->capacity) {
		unsigned int capacity = s->capacity ? 2 * s->capacity : 64;
		struct line *all = realloc(s->line, capacity * sizeof(*all));
		if (!all)
			return NULL;
		s->line = all;
		s->capacity = capacity;
	}
	s->line[s->count] = (struct line){ NULL, NULL, NULL };
	return &s->line[s->count++];
}

static size_t trimmed(const char *text, size_t len)
{
	while (len && strchr(BLANKS, text[len - 1]))
		len--;
	return len;
}

/* Finds key and value in line->text. 0; -EUCLEAN with *ret_why; -ENOMEM. */
static int split(struct line *line, const char **ret_why)
{
	const char *text = line->text + strspn(line->text, BLANKS);
	const char *equals = strchr(text, '=');
	*ret_why = "is not key = \"value\"";
	if (!*text || *text == '#')
		return 0;
	size_t key_len = equals ? trimmed(text, (size_t)(equals - text)) : 0;
	if (!key_len || memchr(text, '"', key_len))
		return -EUCLEAN;
	const char *value = equals + 1 + strspn(equals + 1, BLANKS);
	size_t len = trimmed(value, strlen(value));
	if (*value == '"') {
		if (len < 2 || value[len - 1] != '"')
			return -EUCLEAN;
		value++;
		len -= 2;
	}
	if (memchr(value, '"', len) || len > SETTINGS_MAX_VALUE)
		return -EUCLEAN;
	*ret_why = "has a bad |XX in its value";
	int rc;
	line->value = decode(value, len, &rc);
	if (rc < 0)
		return rc;
	line->key = strndup(text, key_len);
	return line->key ? 0 : -ENOMEM;
}

static int take_line(struct settings *s, const char *text, size_t len,
		     const char **ret_why)
{
	*ret_why = "is one too many";
	if (s->count == SETTINGS_MAX_LINES)
		return -EUCLEAN;
	*ret_why = "has a NUL in it";
	if (memchr(text, '\0', len))
		return -EUCLEAN;
	struct line *line = add_line(s);
	if (!line || (line->text = strndup(text, trimmed(text, len))) == NULL)
		return -ENOMEM;
	int rc = split(line, ret_why);
	if (rc < 0 || !line->key)
		return rc;
	*ret_why = "has a key that stood before";
	return find(s, line->key) == line ? 0 : -EUCLEAN;
}

int settings_parse(const char *text, size_t len, const char *name, struct reporter *r,
		   struct settings **ret_settings)
{
	if (len > SETTINGS_MAX_BYTES)
		return report_error(r, -EUCLEAN, "%s: %zu bytes, at most %d", name, len,
				    SETTINGS_MAX_BYTES);
	struct settings *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	for (unsigned int number = 1; len; number++) {
		const char *end = memchr(text, '\n', len);
		size_t line_len = end ? (size_t)(end - text) : len;
		size_t used = end ? line_len + 1 : len;
		const char *why = "";
		int rc = take_line(s, text, line_len, &why);
		if (rc < 0) {
			settings_free(s);
			return rc == -ENOMEM ? rc : report_error(r, rc, "%s: line %u %s",
								 name, number, why);
		}
		text += used;
		len -= used;
	}
	*ret_settings = s;
	return 0;
}

void settings_text(const struct settings *s, struct buf *out)
{
	for (unsigned int i = 0; i < s->count; i++)
		buf_printf(out, "%s\n", s->line[i].text);
}

/* ---- asking and changing ---- */

const char *settings_get(const struct settings *s, const char *key)
{
	const struct line *line = find(s, key);
	return line ? line->value : NULL;
}

bool settings_entry(const struct settings *s, unsigned int i, const char **ret_key,
		    const char **ret_value)
{
	for (unsigned int at = 0; at < s->count; at++) {
		if (!s->line[at].key || i--)
			continue;
		*ret_key = s->line[at].key;
		*ret_value = s->line[at].value;
		return true;
	}
	return false;
}

/* Makes a line anew; on failure it is as it was. */
static int fill_line(struct line *line, const char *key, const char *value)
{
	struct buf text = { 0 };
	buf_printf(&text, "%s = \"", key);
	size_t before = text.len;
	encode(value, &text);
	bool is_long = text.len - before > SETTINGS_MAX_VALUE;
	buf_printf(&text, "\"");
	struct line fresh = { text.data, strdup(key), strdup(value) };
	if (text.error || is_long || !fresh.key || !fresh.value) {
		line_done(&fresh);
		return is_long ? -EINVAL : -ENOMEM;
	}
	line_done(line);
	*line = fresh;
	return 0;
}

int settings_set(struct settings *s, const char *key, const char *value)
{
	struct line *line = find(s, key);
	bool is_new = !line;
	if (is_new)
		line = add_line(s);
	int rc = line ? fill_line(line, key, value) : -ENOMEM;
	if (rc < 0 && line && is_new)
		s->count--;
	return rc;
}

static bool has_prefix(const struct line *line, const char *prefix)
{
	return line->key && !strncasecmp(line->key, prefix, strlen(prefix));
}

void settings_remove(struct settings *s, const char *prefix)
{
	unsigned int kept = 0;
	for (unsigned int i = 0; i < s->count; i++) {
		if (has_prefix(&s->line[i], prefix))
			line_done(&s->line[i]);
		else
			s->line[kept++] = s->line[i];
	}
	s->count = kept;
}

int settings_rename(struct settings *s, const char *from, const char *to)
{
	int rc = 0;
	for (unsigned int i = 0; i < s->count && rc == 0; i++) {
		struct line *line = &s->line[i];
		char *key;
		if (!has_prefix(line, from))
			continue;
		if (asprintf(&key, "%s%s", to, line->key + strlen(from)) < 0)
			return -ENOMEM;
		char *value = strdup(line->value);
		rc = value ? fill_line(line, key, value) : -ENOMEM;
		free(value);
		free(key);
	}
	return rc;
}
