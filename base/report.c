/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentences on their way to whoever opened the handle. A sentence longer than the buffer
 * is cut; newlines in it (a name taken from a disk may hold one) become blanks, because
 * readers of reports count lines.
 */
#include "base/report.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define TEXT_SIZE 1024

__attribute__((format(printf, 3, 0)))
static void tell(struct reporter *r, enum report_level level, const char *fmt, va_list ap)
{
	char text[TEXT_SIZE];
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut sentence is still told */
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	}
	r->tell(r, level, text);
}

void report(struct reporter *r, enum report_level level, const char *fmt, ...)
{
	if (!r)
		return;
	va_list ap;
	va_start(ap, fmt);
	tell(r, level, fmt, ap);
	va_end(ap);
}

int report_error(struct reporter *r, int err, const char *fmt, ...)
{
	if (!r)
		return err;
	va_list ap;
	va_start(ap, fmt);
	tell(r, REPORT_ERROR, fmt, ap);
	va_end(ap);
	return err;
}

/* One write per line, so that lines of several tasks do not mix. */
static void stderr_tell(struct reporter *base, enum report_level level, const char *text)
{
	struct reporter_stderr *r = (struct reporter_stderr *)base;
	if (level > r->max_level)
		return;
	const char *kind = level == REPORT_WARN ? "warning: " : "";
	(void)fprintf(stderr, "%s: %s%s\n", r->prefix, kind, text);
}

struct reporter *reporter_stderr_init(struct reporter_stderr *r, const char *prefix,
				      enum report_level max_level)
{
	r->base.tell = stderr_tell;
	r->prefix = prefix;
	r->max_level = max_level;
	return &r->base;
}
