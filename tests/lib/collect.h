/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_COLLECT_H
#define TESTS_LIB_COLLECT_H

/*
 * A reporter that keeps what it is told, for assertions:
 *
 *	struct collect told;
 *	struct reporter *r = collect_init(&told);
 *	assert_true(collect_has(&told, "generation 7"));
 *	assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
 *	collect_done(&told);
 */
#include <stdbool.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/report.h"

struct collect {
	struct reporter base;
	struct mutex m;
	struct buf text; /* "error: ...\nwarn: ...\ninfo: ...\ndebug: ...\n" */
	unsigned int count[REPORT_DEBUG + 1];
};

struct reporter *collect_init(struct collect *c);
void collect_done(struct collect *c);
/* Forgets what was told. */
void collect_clear(struct collect *c);
/* Everything told, one line each, "" if nothing; valid until the next report. */
const char *collect_text(struct collect *c);
/* true if some report contains part. */
bool collect_has(struct collect *c, const char *part);
/* Reports of one level. */
unsigned int collect_count(struct collect *c, enum report_level level);

#endif
