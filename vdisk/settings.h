/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_SETTINGS_H
#define VDISK_SETTINGS_H

/*
 * A file of lines key = "value", as .vmx and .vmsd files are, to be changed: what is not
 * touched stays byte for byte (line ends become "\n"). Keys are compared without case.
 * Nothing here blocks.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/report.h"

enum settings_limits {
	SETTINGS_MAX_BYTES = 1 << 20,
	SETTINGS_MAX_LINES = 8192,
	SETTINGS_MAX_VALUE = 4096, /* bytes, as it is written */
};

struct settings;

/*
 * Parses len bytes; name is for reports. 0; -EUCLEAN (reported, with the line): too
 * large, a line that is neither comment nor key = value, a key twice, a bad |XX; -ENOMEM.
 */
int settings_parse(const char *text, size_t len, const char *name, struct reporter *r,
		   struct settings **ret_settings) __attribute__((warn_unused_result));
/* NULL is allowed. */
void settings_free(struct settings *s);
/* Appends the text to out (whose error the caller checks). */
void settings_text(const struct settings *s, struct buf *out);

/* The decoded value, NULL if there is none. Valid until the next change. */
const char *settings_get(const struct settings *s, const char *key);
/* Entry i of settings, in the file's order; false past the last. */
bool settings_entry(const struct settings *s, unsigned int i, const char **ret_key,
		    const char **ret_value);
/* Changes the entry, or adds one at the end. 0; -EINVAL: too long; -ENOMEM. */
int settings_set(struct settings *s, const char *key, const char *value)
	__attribute__((warn_unused_result));
/* Removes all entries whose keys begin with prefix. */
void settings_remove(struct settings *s, const char *prefix);
/* In all keys that begin with from, that becomes to. 0 or -ENOMEM (some are changed). */
int settings_rename(struct settings *s, const char *from, const char *to)
	__attribute__((warn_unused_result));

#endif
