/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_DIRS6_H
#define FSCK_DIRS6_H

/* Hashed directories (VMFS-6). */
#include "fsck/directory.h"

/*
 * Takes the entries of a hashed directory and checks all that is around them.
 * 0, also if it cannot be read (told), or -ENOMEM.
 */
int fsck_dir6_load(struct fsck_dir *d) __attribute__((warn_unused_result));
/* Where in the table a name belongs; system files of the root have no hash. */
uint32_t fsck_dir6_place(struct fsck_dir *d, const char *name, bool *ret_has_hash);
/* All of a hashed directory from its entries. false: there is no room. */
bool fsck_dir6_build(struct fsck_dir *d);

#endif
