/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_SPARSEHEAD_H
#define VDISK_SPARSEHEAD_H

/* The header of a hosted sparse extent: read and checked; and its making. */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "vdisk/diskfile.h"
#include "vdisk/sparseformat.h"

#define SPARSE_GRAIN_SECTORS 128u /* of what is made here: 64 KiB */
#define SPARSE_DESCRIPTOR_SECTORS 20u
#define SPARSE_MAX_TABLES (1u << 20)
#define SPARSE_MAX_GRAIN_SECTORS 2048u

/* All in sectors; what was read has passed sparse_head_check(). */
struct sparse_head {
	uint32_t version, flags;
	uint64_t capacity, grain;
	uint64_t descriptor, descriptor_len;
	uint64_t rgd, gd; /* rgd 0: there is none */
	uint64_t overhead;
	uint32_t table_count;
	bool is_unclean, is_compressed;
};

/* true if these bytes begin a hosted sparse extent. */
bool sparse_is_head(const void *bytes, size_t len);
/*
 * Checks the header at headd, of a file of file_bytes. 0; -EUCLEAN: a value is wrong;
 * -EOPNOTSUPP: a version, flag or compression that is not known; both reported with the
 * value. Never blocks.
 */
int sparse_head_check(const struct sparse_header_disk *headd, uint64_t file_bytes,
		      const char *name, struct reporter *r, struct sparse_head *ret_head)
	__attribute__((warn_unused_result));
/*
 * Reads the header of file, and the footer where the header says so. Errors as above,
 * and of reading. Blocks.
 */
int sparse_head_read(const struct diskfile *file, struct reporter *r,
		     struct sparse_head *ret_head) __attribute__((warn_unused_result));
/* The bytes of it. */
void sparse_head_make(const struct sparse_head *head,
		      struct sparse_header_disk *ret_headd);
/*
 * Where everything lies in a new extent of capacity sectors; has_descriptor: room for it
 * behind the header. The tables of both directories are complete and in order.
 */
void sparse_head_plan(uint64_t capacity, bool has_descriptor,
		      struct sparse_head *ret_head);

#endif
