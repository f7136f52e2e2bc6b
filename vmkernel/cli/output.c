/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One reader of cells (cell_text) under all formats. Much of what is shown was read from
 * disks and targets: a control character in it never gets to a terminal.
 */
#include "vmkernel/cli/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"

#define FIELDS_MAX 32u
#define NAMESPACE_URI "http://www.vmware.com/Products/ESX/5.0/esxcli/"

int output_format_parse(const char *word, enum output_format *ret_format)
{
	static const char *const words[] = {
		[OUTPUT_TEXT] = "text", [OUTPUT_JSON] = "json",
		[OUTPUT_CSV] = "csv",	[OUTPUT_XML] = "xml",
		[OUTPUT_KEYVALUE] = "keyvalue",
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(word, words[i]) == 0) {
			*ret_format = (enum output_format)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- cells ---- */

static void add_safe(struct buf *out, const char *text)
{
	for (; *text; text++) {
		char c = (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text;
		buf_add(out, &c, 1);
	}
}

/* As text, malloc'ed. */
static char *cell_text(const json_t *row, const struct field *f)
{
	const json_t *value = json_object_get(row, f->key);
	struct buf out = { 0 };
	buf_add(&out, "", 0);
	if (f->type == FIELD_BOOLEAN)
		buf_printf(&out, "%s", json_is_true(value) ? "true" : "false");
	else if (f->type == FIELD_INTEGER)
		buf_printf(&out, "%lld", (long long)json_integer_value(value));
	else if (json_is_string(value))
		add_safe(&out, json_string_value(value));
	for (size_t i = 0; i < json_array_size(value); i++) {
		const char *one = json_string_value(json_array_get(value, i));
		buf_printf(&out, "%s", i ? ", " : "");
		add_safe(&out, one ? one : "");
	}
	return out.data ? out.data : strdup("");
}

static unsigned int count_fields(const struct shape *s)
{
	unsigned int n = 0;
	while (s->fields[n].head)
		n++;
	return n;
}

/* "Mount Point" -> "MountPoint"; malloc'ed. */
static char *squeezed(const char *head)
{
	struct buf out = { 0 };
	for (; *head; head++)
		if (*head != ' ')
			buf_add(&out, head, 1);
	return out.data ? out.data : strdup("");
}

/* ---- for people ---- */

static void print_cells(FILE *f, char *const *cells, const int *width, unsigned int n)
{
	for (unsigned int i = 0; i + 1 < n; i++)
		(void)fprintf(f, "%-*s  ", width[i], cells[i]);
	(void)fprintf(f, "%s\n", cells[n - 1]);
}

static void print_head(FILE *f, const struct shape *s, const int *width, unsigned int n)
{
	for (unsigned int i = 0; i + 1 < n; i++)
		(void)fprintf(f, "%-*s  ", width[i], s->fields[i].head);
	(void)fprintf(f, "%s\n", s->fields[n - 1].head);
	for (unsigned int i = 0; i < n; i++) {
		for (int k = 0; k < width[i]; k++)
			(void)fputc('-', f);
		(void)fputs(i + 1 < n ? "  " : "\n", f);
	}
}

/* Two passes over the rows: for the widths, then for the paper. */
static void print_table(FILE *f, const struct shape *s, const json_t *rows)
{
	int width[FIELDS_MAX];
	char *cells[FIELDS_MAX];
	unsigned int n = count_fields(s);
	for (unsigned int i = 0; i < n; i++)
		width[i] = (int)strlen(s->fields[i].head);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t row = 0; row < json_array_size(rows); row++) {
			for (unsigned int i = 0; i < n; i++) {
				cells[i] = cell_text(json_array_get(rows, row),
						     &s->fields[i]);
				width[i] = (int)max_u64((uint64_t)width[i],
							strlen(cells[i]));
			}
			if (pass)
				print_cells(f, cells, width, n);
			for (unsigned int i = 0; i < n; i++)
				free(cells[i]);
		}
		if (pass == 0)
			print_head(f, s, width, n);
	}
}

static void print_records(FILE *f, const struct shape *s, const json_t *rows)
{
	for (size_t row = 0; row < json_array_size(rows); row++) {
		const json_t *object = json_array_get(rows, row);
		if (s->layout == LAYOUT_RECORDS) {
			const struct field title = { "", s->title, FIELD_STRING };
			char *text = cell_text(object, &title);
			(void)fprintf(f, "%s%s\n", row ? "\n" : "", text);
			free(text);
		}
		for (const struct field *field = s->fields; field->head; field++) {
			char *text = cell_text(object, field);
			(void)fprintf(f, "   %s: %s\n", field->head, text);
			free(text);
		}
	}
}

static void print_value(FILE *f, const struct shape *s, const json_t *rows)
{
	for (size_t row = 0; row < json_array_size(rows); row++) {
		char *text = cell_text(json_array_get(rows, row), &s->fields[0]);
		(void)fprintf(f, "%s\n", text);
		free(text);
	}
}

/* ---- for programs ---- */

static void print_json(FILE *f, const struct shape *s, const json_t *rows)
{
	json_t *all = json_array();
	for (size_t row = 0; row < json_array_size(rows); row++) {
		json_t *out = json_object();
		for (const struct field *field = s->fields; field->head; field++) {
			json_t *value = json_object_get(json_array_get(rows, row),
							field->key);
			char *head = squeezed(field->head);
			if (field->type == FIELD_BOOLEAN)
				value = json_boolean(json_is_true(value));
			else if (field->type == FIELD_INTEGER)
				value = json_integer(json_integer_value(value));
			else
				value = value ? json_incref(value) : json_string("");
			json_object_set_new(out, head, value);
			free(head);
		}
		json_array_append_new(all, out);
	}
	const json_t *shown = s->layout >= LAYOUT_SINGLE ? json_array_get(all, 0) : all;
	(void)json_dumpf(shown, f, JSON_INDENT(2));
	(void)fputc('\n', f);
	json_decref(all);
}

static void print_quoted(FILE *f, const char *text)
{
	bool is_plain = !strpbrk(text, ",\"\r\n");
	if (!is_plain)
		(void)fputc('"', f);
	for (; *text; text++)
		(void)fputs((char[]){ *text, *text == '"' ? '"' : '\0', '\0' }, f);
	if (!is_plain)
		(void)fputc('"', f);
}

static void print_csv(FILE *f, const struct shape *s, const json_t *rows)
{
	for (const struct field *field = s->fields; field->head; field++) {
		char *head = squeezed(field->head);
		(void)fprintf(f, "%s%s", field == s->fields ? "" : ",", head);
		free(head);
	}
	(void)fputc('\n', f);
	for (size_t row = 0; row < json_array_size(rows); row++) {
		for (const struct field *field = s->fields; field->head; field++) {
			char *text = cell_text(json_array_get(rows, row), field);
			(void)fputs(field == s->fields ? "" : ",", f);
			print_quoted(f, text);
			free(text);
		}
		(void)fputc('\n', f);
	}
}

static const char *const type_words[] = {
	[FIELD_STRING] = "string",
	[FIELD_INTEGER] = "integer",
	[FIELD_BOOLEAN] = "boolean",
};

static void print_escaped(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '&')
			(void)fputs("&amp;", f);
		else if (*text == '<')
			(void)fputs("&lt;", f);
		else if (*text == '>')
			(void)fputs("&gt;", f);
		else
			(void)fputc(*text, f);
	}
}

static void print_xml(FILE *f, const struct shape *s, const json_t *rows)
{
	bool is_list = s->layout < LAYOUT_SINGLE;
	(void)fprintf(f,
		      "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
		      "<output xmlns=\"%s\">\n<root>\n%s",
		      NAMESPACE_URI, is_list ? "<list type=\"structure\">\n" : "");
	for (size_t row = 0; row < json_array_size(rows); row++) {
		(void)fprintf(f, "<structure typeName=\"%s\">\n", s->type_name);
		for (const struct field *field = s->fields; field->head; field++) {
			char *text = cell_text(json_array_get(rows, row), field);
			char *head = squeezed(field->head);
			const char *word = type_words[field->type];
			(void)fprintf(f, "<field name=\"%s\"><%s>", head, word);
			print_escaped(f, text);
			(void)fprintf(f, "</%s></field>\n", word);
			free(head);
			free(text);
		}
		(void)fputs("</structure>\n", f);
	}
	(void)fprintf(f, "%s</root>\n</output>\n", is_list ? "</list>\n" : "");
}

static void print_keyvalue(FILE *f, const struct shape *s, const json_t *rows)
{
	for (size_t row = 0; row < json_array_size(rows); row++) {
		for (const struct field *field = s->fields; field->head; field++) {
			char *text = cell_text(json_array_get(rows, row), field);
			char *head = squeezed(field->head);
			(void)fprintf(f, "%s", s->type_name);
			if (s->layout < LAYOUT_SINGLE)
				(void)fprintf(f, "[%zu]", row);
			(void)fprintf(f, ".%s.%s=%s\n", head, type_words[field->type],
				      text);
			free(head);
			free(text);
		}
	}
}

void output_rows(FILE *f, enum output_format format, const struct shape *shape,
		 const json_t *rows)
{
	static void (*const printers[])(FILE *, const struct shape *, const json_t *) = {
		[OUTPUT_JSON] = print_json,
		[OUTPUT_CSV] = print_csv,
		[OUTPUT_XML] = print_xml,
		[OUTPUT_KEYVALUE] = print_keyvalue,
	};
	json_t *shown = json_array();
	size_t count = json_is_array(rows) ? json_array_size(rows) : 1;
	for (size_t i = 0; i < count; i++) {
		const json_t *row = json_is_array(rows) ? json_array_get(rows, i) : rows;
		json_t *copy = json_deep_copy(row);
		if (!shape->only || json_is_true(json_object_get(row, shape->only)))
			json_array_append(shown, copy);
		json_decref(copy);
	}
	if (format != OUTPUT_TEXT)
		printers[format](f, shape, shown);
	else if (shape->layout == LAYOUT_TABLE)
		print_table(f, shape, shown);
	else if (shape->layout == LAYOUT_VALUE)
		print_value(f, shape, shown);
	else
		print_records(f, shape, shown);
	json_decref(shown);
}
