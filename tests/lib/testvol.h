/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_TESTVOL_H
#define TESTS_LIB_TESTVOL_H

/* A freshly made volume in memory (or on any device), mounted, checked, mounted again. */
#include "bdev/bdev.h"
#include "tests/lib/collect.h"
#include "vmfs/vmfs.h"

struct testvol {
	struct bdev *bd;
	struct vmfs_volume *vol; /* NULL while not mounted */
	struct collect told;
};

/* Formats memory of that many PEs and mounts it read-write. Asserts on failure. */
void testvol_new(struct testvol *tv, unsigned int pes);
/* The same on a device that the caller made; taken. */
void testvol_format(struct testvol *tv, struct bdev *bd);
void testvol_format_version(struct testvol *tv, uint32_t version, struct bdev *bd);
struct mkfs_counts;
/* As testvol_new(), with as many of each resource as said (mkfs/layout.h). */
void testvol_new_with(struct testvol *tv, unsigned int pes,
		      const struct mkfs_counts *counts);
/* As testvol_new(), of VMFS-5 or VMFS-6. */
void testvol_new_version(struct testvol *tv, uint32_t version, unsigned int pes);
/* The same of VMFS-5 that was VMFS-3 (handmade3.h, up to 24 PEs), with nothing on it. */
void testvol_new_upgraded(struct testvol *tv, uint32_t block_size, unsigned int pes);
void testvol_mount(struct testvol *tv, bool is_read_only);
/* Unmounts if it is mounted; asserts that nothing was reported as an error. */
void testvol_unmount(struct testvol *tv);
/* Unmounted: fsck finds nothing. Prints what it finds, and asserts. */
void testvol_check(struct testvol *tv);
/* Unmounts, frees. */
void testvol_free(struct testvol *tv);

#endif
