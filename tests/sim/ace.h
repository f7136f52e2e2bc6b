/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_ACE_H
#define TESTS_SIM_ACE_H

/*
 * Short workloads, all of them (TESTING.md 3.3): every sequence of one and of two
 * operations over two files and two directories, but for those that make no sense, and
 * what a volume may show when the power fails in one. What must be there is said by the
 * model (tests/lib/model.h) alone:
 *
 *  - names, types, modes and targets are those of before or of after the operation under
 *    way, as a whole;
 *  - a file that was synced, or closed, since it was last changed has exactly its bytes;
 *  - in one that was changed since, each byte is one that it had since the last sync, and
 *    the length lies between those it had.
 *
 * A volume whose log is lazy may show the names of any moment since the last sync.
 *
 * The volume:	/foo	1 MiB and 100 KiB in blocks
 *		/A/bar	700 bytes in its file descriptor
 *		/A, /B	directories; /B is empty
 */
#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/model.h"
#include "vmfs/vmfs.h"

#define ACE_OPS_MAX 2u
#define ACE_POISON 0xee /* no operation writes it: bytes of files long deleted */

enum ace_kind {
	ACE_CREATE,
	ACE_WRITE,
	ACE_TRUNCATE,
	ACE_ALLOCATE,	/* to be zeroed */
	ACE_ZERO,	/* allocate and zero */
	ACE_PUNCH,
	ACE_FSYNC,
	ACE_RENAME,
	ACE_UNLINK,
	ACE_MKDIR,
	ACE_RMDIR,
	ACE_SYMLINK,
	ACE_SETATTR,
};

struct ace_op {
	enum ace_kind kind;
	const char *path, *other;
	uint64_t at, n;
	uint8_t byte; /* what it writes */
};

struct ace_sequence {
	unsigned int count;
	const struct ace_op *ops[ACE_OPS_MAX];
};

/* All sequences, numbered. */
unsigned int ace_sequence_count(void);
void ace_sequence_get(unsigned int number, struct ace_sequence *ret);
/* "write /foo 10+300; fsync /foo" into buf; returns buf. */
const char *ace_sequence_text(const struct ace_sequence *s, char buf[static 160]);

/* ---- on a volume ---- */

/*
 * Files stay open from their first change to the end, or to an operation on their name.
 */
struct ace_life {
	struct vmfs_volume *vol;
	struct vmfs_file *files[2];
	const char *paths[2];
};
/* Makes the files that all begin with. */
void ace_populate(struct vmfs_volume *vol);
/* 0 or -errno; -EBUSY never. */
int ace_apply(struct ace_life *life, const struct ace_op *op);
/* Closes (and so syncs) what is open. 0 or -errno. */
int ace_close(struct ace_life *life);

/* ---- judging ---- */

struct ace_models {
	struct ace_sequence sequence;
	struct model after[ACE_OPS_MAX + 1]; /* after so many operations */
};
void ace_models_init(struct ace_models *m, const struct ace_sequence *s);
void ace_models_done(struct ace_models *m);
struct ace_moment {
	unsigned int done; /* so many operations had ended */
	bool is_closed;	   /* and all files were closed, durably */
	/*
	 * So many had ended when all was made durable: as many, but on a lazy volume.
	 * There what had been done since is taken back from the end, operation by
	 * operation, and the bytes of a file may be newer than what is left of its name.
	 */
	unsigned int durable;
};
/* vol shows what it may after a power failure. If not: fails with sim_fail(). */
void ace_judge(const struct ace_models *m, struct vmfs_volume *vol,
	       const struct ace_moment *at);

#endif
