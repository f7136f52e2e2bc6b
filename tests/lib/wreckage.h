/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_WRECKAGE_H
#define TESTS_LIB_WRECKAGE_H

/*
 * Random damage to the metadata of a volume: sectors zeroed, swapped, with some bits
 * changed, or as they were some time ago.
 *
 * Not among them, because what they say stands nowhere else, so that nothing could repair
 * it: the LVM headers and the FS descriptor, the headers of resource files, and the
 * descriptors and pointer blocks of system files.
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

#define WRECKAGE_SECTORS_MAX 16384u

struct wreckage {
	struct bdev *bd; /* borrowed */
	unsigned int count;
	struct wreckage_sector {
		uint64_t off;  /* dev offset */
		uint64_t file; /* address of the FD that is hurt with it; 0: of no file */
		uint8_t old[512];
		bool has_old;
	} sectors[WRECKAGE_SECTORS_MAX];
};

/* Finds all metadata sectors. keep_old: those of an earlier call are what a sector was
 * then. Asserts. */
void wreckage_find(struct wreckage *w, struct bdev *bd, bool keep_old);
/*
 * Damages some; the same for the same seed. Into ret_files go the addresses of
 * the FDs that are hurt; returns how many, at most 16.
 */
unsigned int wreckage_do(struct wreckage *w, struct bdev *bd, uint64_t seed,
			 uint64_t ret_files[16]);

#endif
