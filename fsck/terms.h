/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_TERMS_H
#define FSCK_TERMS_H

/* What is asked of a check, and what comes of it. */
#include "fsck/plan.h"
#include "fsck/problem.h"
#include "vmfs/format.h"

struct fsck_options {
	struct bdev **devices; /* borrowed; any order */
	unsigned int device_count;
	struct reporter *reporter; /* why the check could not be done */
	/* Each finding; text is one sentence, borrowed. Notes too. */
	void (*found)(void *arg, enum fsck_problem problem, const char *text);
	void *arg;
	/*
	 * NULL: nothing is repaired. Else devices are those of the plan, and what is to
	 * be changed goes into it: a check of the same plan then sees it done.
	 */
	struct plan *plan;
	/* After found(): is this to be repaired? */
	bool (*may_repair)(void *arg, enum fsck_problem problem, const char *text);
	/* What another system made is repaired, too. */
	bool is_forced;
	bool is_online; /* members may be writing: suspects.c; nothing is repaired */
	/* How far a pass is, or NULL. Often called; online, passes come again. */
	void (*progress)(void *arg, unsigned int pass, uint64_t done, uint64_t all);
};

struct fsck_summary {
	unsigned int errors, warnings, notes;
	bool has_failed;     /* something could not be read */
	bool is_live;	     /* a heartbeat slot is in use */
	bool needs_recovery; /* a journal is not empty */
	bool has_foreign_journal; /* or one of another system may not be */
	bool is_resigning; /* a new signature was not finished: vmfs/resign.h */
	bool has_no_room; /* for all repairs */
	bool is_disputed; /* with a plan: whose a block is, is not known: strays.c */
	char label[VMFS_LABEL_SIZE + 1];
	uint32_t version, minor; /* 5, 81 */
	uint64_t file_count, directory_count;
	uint64_t block_count, used_block_count;
	unsigned int first; /* which of the devices is the first extent */
	unsigned int repaired; /* findings that went into the plan */
	unsigned int changed_count; /* online: places that changed while looked at */
};

/* Counts a finding by its severity. */
void fsck_count(struct fsck_summary *s, enum fsck_problem problem);

#endif
