/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SCRIPT_H
#define TESTS_LIB_SCRIPT_H

/*
 * Operations on a small tree, by chance, each durable when it has returned: the same on a
 * volume and on a model of it (model.h), and the judgement of a volume that somebody died
 * on: the tree of before or of after the operation that was under way; in the file that
 * was being changed each byte old, new or zero; never anything else.
 */
#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/model.h"
#include "vmfs/vmfs.h"

enum script_kind {
	SCRIPT_CREATE,
	SCRIPT_WRITE,
	SCRIPT_TRUNCATE,
	SCRIPT_PUNCH,
	SCRIPT_ALLOCATE, /* and zeroed on disk */
	SCRIPT_TBZ,	 /* allocated, to be zeroed */
	SCRIPT_MKDIR,
	SCRIPT_RMDIR,
	SCRIPT_UNLINK,
	SCRIPT_RENAME,
	SCRIPT_SYMLINK,
};

struct script_op {
	enum script_kind kind;
	char path[2][32];
	uint64_t offset, len;
	uint8_t byte;
};

/* Where the operations of one script are. All zero: in the root, with nobody else. */
struct script_place {
	const char *tree;	/* "/h1": below it all is ours; NULL: the root */
	const char *shared;	/* "/shared"; or NULL */
	const char *tag;	/* "h1-": how names of ours begin there */
};

/* Below n, from a state that moves on. */
uint64_t script_below(uint64_t *random, uint64_t n);
void script_make(uint64_t *random, const struct script_place *place,
		 struct script_op *ret_op);
/* One that changes something, as a rule, of what the model is; and the model with it. */
void script_make_next(uint64_t *random, const struct script_place *place,
		      struct model *m, struct script_op *ret_op);
/* On a volume; what it returned. A lock is waited for until deadline (0: one try). */
int script_apply(struct vmfs_volume *vol, const struct script_op *op, uint64_t deadline);
/* On a model. */
void script_model(struct model *m, const struct script_op *op);
bool script_is_file_op(enum script_kind kind);
const char *script_text(const struct script_op *op, char text[static 128]);

struct script_look {
	struct vmfs_volume *vol;
	const struct script_place *place;
	struct model *before, *after;
	const struct script_op *under_way; /* leads from before to after; NULL: none */
	char why[160];
	bool is_busy; /* something could not be looked at now: -EBUSY */
};
/* Is the volume as it may be? false: why says what is not. */
bool script_judge(struct script_look *l);

#endif
