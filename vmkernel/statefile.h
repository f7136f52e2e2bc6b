/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_STATEFILE_H
#define VMKERNEL_STATEFILE_H

#include <sys/types.h>

/*
 * Puts text into the file at path in one step, synced: after a crash it is the old text
 * or the new one. 0 or -errno, and then the old one is still there. Blocks.
 */
int statefile_write(const char *path, const char *text, mode_t mode)
	__attribute__((warn_unused_result));
/* All of a small text file: malloc'ed; NULL and *ret_error (-EFBIG: over 16 MiB). */
char *statefile_read(const char *path, int *ret_error);

#endif
