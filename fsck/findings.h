/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_FINDINGS_H
#define FSCK_FINDINGS_H

/* How a pass tells of what it finds, and of how far it is. */
#include "fsck/directory.h"

/*
 * What is found from here on rests on this, too; the return value is for
 * fsck_rests_no_more(), which takes it back.
 */
unsigned int fsck_rests_on(struct fsck *f, enum fsck_key_kind kind,
			   enum fsck_resource_index i, uint64_t number);
void fsck_rests_no_more(struct fsck *f, unsigned int was);
/* Tells how far pass `pass` is. */
void fsck_progress(const struct fsck *f, unsigned int pass, uint64_t done, uint64_t all);
/* Tells of a finding and counts it. true: it is to be repaired. */
bool fsck_found(struct fsck *f, enum fsck_problem problem, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * For the result of a read: 0 passes; -EUCLEAN and -ENOMEM too; an I/O error is told as
 * READ_ERROR with what was to be read.
 */
int fsck_read_result(struct fsck *f, int err, const char *what);
/* Name for messages: at most 60 characters, anything odd as '?'. */
const char *fsck_name_text(const struct fsck_dir_entry *e, char buf[static 64]);

#endif
