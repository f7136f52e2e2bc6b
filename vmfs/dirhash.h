/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_DIRHASH_H
#define VMFS_DIRHASH_H

/* The hash of a name in VMFS-6 directories: FORMAT.md 20.6. */
#include <stdint.h>

/* name: at most VMFS_NAME_MAX bytes. Never blocks. */
uint64_t vmfs_dirhash(const char *name);

#endif
