/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_READBACK_H
#define TESTS_LIB_READBACK_H

/* What a file of a handmade volume must hold. */
#include "vmfs/vmfs.h"

/* The byte of a file, which is called by its file descriptor's number. */
typedef uint8_t readback_byte(unsigned int fd, uint64_t off);

/* [off, off + len) is what byte says of fd; NULL: zeros. Asserts. */
void readback_check(struct vmfs_volume *vol, const char *path, uint64_t off, uint64_t len,
		    readback_byte *byte, unsigned int fd);

#endif
