/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_REPORT_H
#define BASE_REPORT_H

/*
 * Who is told what went wrong. A library never prints: each handle carries a reporter
 * given by whoever opened it. The function that FINDS a problem reports it once, in one
 * sentence that names object and value; whoever passes the code on says nothing. Expected
 * outcomes (-ENOENT, -EBUSY, -EEXIST) are not reported.
 */
enum report_level {
	REPORT_ERROR, /* somebody must act */
	REPORT_WARN,  /* wrong, but handled; says how */
	REPORT_INFO,  /* a state change that an operator wants to see */
	REPORT_DEBUG, /* for the ring in memory */
};

struct reporter {
	/* text: one line without newline, borrowed. May be called from any task. */
	void (*tell)(struct reporter *r, enum report_level level, const char *text);
};

/* r may be NULL: nothing is told. Never blocks for long. */
void report(struct reporter *r, enum report_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Reports an ERROR and returns err: `return report_error(r, -EUCLEAN, "...")`. */
int report_error(struct reporter *r, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A reporter that writes "PREFIX: [warning: ]text" lines to stderr up to a level. */
struct reporter_stderr {
	struct reporter base;
	const char *prefix;
	enum report_level max_level;
};
struct reporter *reporter_stderr_init(struct reporter_stderr *r, const char *prefix,
				      enum report_level max_level);

#endif
