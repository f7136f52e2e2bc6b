/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STORM_TREE_H
#define TESTS_STORM_TREE_H

/*
 * A host's own tree in a storm, and names of its own in a directory that all share: the
 * model test (tests/lib/script.h) over many lives. What was done stands in a file that
 * SIGKILL does not touch, as numbers: the operations follow from a seed. So a host that
 * comes back knows what it must find, and which one operation was under way when it died.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/vmfs.h"

#define TREE_SHARED "/shared"

struct tree;

/*
 * Of the host of that number, whose state is in `path`; seed counts if it is new. NULL:
 * errno. The volume is not touched.
 */
struct tree *tree_open(const char *path, unsigned int number, uint64_t seed);
void tree_close(struct tree *t);
/* 0 at first; operations that were done, in all lives. */
uint64_t tree_done(const struct tree *t);
/*
 * After a mount: is everything as it must be? What was under way is done again. 0, or
 * -errno of the volume; -EPROTO: no, and *ret_why says what is not (valid until close).
 */
int tree_resume(struct tree *t, struct vmfs_volume *vol, const char **ret_why);
/* One operation. 0, or -errno of the volume. */
int tree_step(struct tree *t, struct vmfs_volume *vol);

#endif
