/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Findings: told at once, or, of a volume that members are writing, kept as suspicions
 * (suspects.c) with all that they rest on.
 */

#include "fsck/findings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fsck/marks.h"
#include "fsck/suspects.h"

unsigned int fsck_rests_on(struct fsck *f, enum fsck_key_kind kind,
			   enum fsck_resource_index i, uint64_t number)
{
	unsigned int was = f->key_count;
	if (was < FSCK_KEYS_MAX)
		f->keys[f->key_count++] = (struct fsck_key){ kind, i, number };
	return was;
}

void fsck_rests_no_more(struct fsck *f, unsigned int was)
{
	f->key_count = was;
}

void fsck_progress(const struct fsck *f, unsigned int pass, uint64_t done, uint64_t all)
{
	if (f->options->progress)
		f->options->progress(f->options->arg, pass, done, all);
}

bool fsck_found(struct fsck *f, enum fsck_problem problem, const char *fmt, ...)
{
	const struct fsck_options *o = f->options;
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (f->online) {
		fsck_suspect(f, problem, text);
		return false;
	}
	fsck_count(&f->summary, problem);
	if (fsck_problem(problem)->severity == FINDING_FAILURE) {
		f->is_partial = true;
		f->is_tree_partial = true;
		f->is_blind = true;
	}
	o->found(o->arg, problem, text);
	if (!o->plan || fsck_problem(problem)->how == REPAIR_NEVER ||
	    !o->may_repair(o->arg, problem, text))
		return false;
	f->summary.repaired++;
	return true;
}

int fsck_read_result(struct fsck *f, int err, const char *what)
{
	if (!err || err == -EUCLEAN || err == -ENOMEM)
		return err;
	fsck_found(f, PROBLEM_READ_ERROR, "%s: %s", what, strerror(-err));
	if (f->online) /* what is there is not known: nothing is absent */
		fsck_online_unstable(f);
	return err;
}

const char *fsck_name_text(const struct fsck_dir_entry *e, char buf[static 64])
{
	size_t i = 0;
	for (; i < 60 && e->name[i]; i++)
		buf[i] = e->name[i] >= ' ' && e->name[i] != 0x7f ? (char)e->name[i] : '?';
	buf[i] = '\0';
	return buf;
}
