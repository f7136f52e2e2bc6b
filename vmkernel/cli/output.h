/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CLI_OUTPUT_H
#define VMKERNEL_CLI_OUTPUT_H

/*
 * What a command shows: rows (JSON objects, as the host sends them) through a shape that
 * names their fields, to people or to programs.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum output_format {
	OUTPUT_TEXT,
	OUTPUT_JSON,
	OUTPUT_CSV,
	OUTPUT_XML,
	OUTPUT_KEYVALUE,
};

enum field_type { FIELD_STRING, FIELD_INTEGER, FIELD_BOOLEAN };

struct field {
	const char *head; /* "Mount Point"; programs get it without blanks */
	const char *key;  /* of the row */
	enum field_type type;
};

/*
 * As text: columns; or "   Head: value" lines below a title, or without one; or the value
 * of the first field alone.
 */
enum layout { LAYOUT_TABLE, LAYOUT_RECORDS, LAYOUT_SINGLE, LAYOUT_VALUE };

struct shape {
	const char *type_name; /* "FilesystemVolume" */
	enum layout layout;
	const char *title; /* key of the line above a record */
	const char *only;  /* key that must be true in a row that is shown; or NULL */
	const struct field *fields; /* up to one without a head */
};

/* "json" and so on: 0 or -EINVAL. */
int output_format_parse(const char *word, enum output_format *ret_format)
	__attribute__((warn_unused_result));
/*
 * Prints rows, an array, or a single object. A member that is missing is an empty text,
 * 0 or false; one that is an array of texts is shown with commas between.
 */
void output_rows(FILE *f, enum output_format format, const struct shape *shape,
		 const json_t *rows);

#endif
