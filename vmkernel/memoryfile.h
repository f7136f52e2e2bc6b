/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_MEMORYFILE_H
#define VMKERNEL_MEMORYFILE_H

/*
 * A file on a datastore that holds the memory and the devices of a VM that stands still:
 * QEMU's stream, and facts about the VM. For one task at a time; all block.
 */
#include <jansson.h>

#include "vmfs/vmfs.h"

struct memoryfile;

/* Makes it, empty; what stood there before goes. Locked until it is closed. 0, -errno. */
int memoryfile_create(struct vmfs_volume *vol, const char *path, struct memoryfile **ret)
	__attribute__((warn_unused_result));
/* Takes all that comes out of the socket, to its end. 0 or -errno. */
int memoryfile_fill(struct memoryfile *f, int sock) __attribute__((warn_unused_result));
/*
 * It is whole, and durable, with facts (borrowed): from the 0 on it can be opened, and
 * not before.
 */
int memoryfile_finish(struct memoryfile *f, const json_t *facts)
	__attribute__((warn_unused_result));
/*
 * Opens one that is whole; *ret_facts: json_decref(). -ENOENT; -EMEDIUMTYPE: no file of
 * this kind, or not whole; -EUCLEAN: damaged; -errno.
 */
int memoryfile_open(struct vmfs_volume *vol, const char *path, struct memoryfile **ret,
		   json_t **ret_facts) __attribute__((warn_unused_result));
/*
 * Sends the stream into the socket. -EUCLEAN: what was sent is not what was once filled
 * in; -EPIPE and so on: the reader has gone, and the file is whole.
 */
int memoryfile_send(struct memoryfile *f, int sock) __attribute__((warn_unused_result));

#define MEMORYFILE_HEAD (64u << 10)
struct memoryfile_head {
	uint64_t stream_len, stream_sum;
	json_t *facts; /* an object */
};
/*
 * Reads the first len bytes of a file, which are MEMORYFILE_HEAD if it is one: their sum
 * is zeroed. 0, -EMEDIUMTYPE, -EUCLEAN.
 */
int memoryfile_read_head(void *bytes, size_t len, struct memoryfile_head *ret)
	__attribute__((warn_unused_result));
/* Sets the sum of MEMORYFILE_HEAD bytes. */
void memoryfile_seal_head(void *bytes);
/* NULL is allowed. */
void memoryfile_close(struct memoryfile *f);

#endif
