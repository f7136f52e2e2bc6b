/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_MODEL_H
#define TESTS_LIB_MODEL_H

/*
 * A filesystem in memory that is too simple to be wrong: what a volume should look like
 * after the same operations. Each returns what the library should return. Symbolic links
 * lead nowhere. Paths are absolute.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define MODEL_CHUNK 65536u

struct model_chunk;

enum model_type { MODEL_DIRECTORY = 2, MODEL_FILE = 3, MODEL_SYMLINK = 4 };

struct model_node {
	LIST_ENTRY(model_node) link; /* of its parent's children */
	LIST_HEAD(, model_node) children;
	struct model_node *parent;
	enum model_type type;
	char name[128];
	char target[256];
	uint32_t mode;
	unsigned int open_count; /* with a lock, by the test: cannot be removed */
	uint64_t size;
	struct model_chunk *chunks; /* by number; absent: zeros */
};

struct model {
	struct model_node root;
};

void model_init(struct model *m);
void model_done(struct model *m);
/* NULL if there is nothing. */
struct model_node *model_find(struct model *m, const char *path);
unsigned int model_count(const struct model_node *directory);

int model_mkdir(struct model *m, const char *path, uint32_t mode);
int model_symlink(struct model *m, const char *target, const char *path);
/* As an open with VMFS_CREATE, and VMFS_EXCL if is_exclusive. */
int model_create(struct model *m, const char *path, uint32_t mode, bool is_exclusive,
		 struct model_node **ret_node);
int model_rmdir(struct model *m, const char *path);
int model_unlink(struct model *m, const char *path);
int model_rename(struct model *m, const char *from, const char *to);
void model_write(struct model_node *file, const void *buf, uint64_t len, uint64_t offset);
/* Bytes below the size; returns how many. */
uint64_t model_read(const struct model_node *file, void *buf, uint64_t len,
		    uint64_t offset);
void model_truncate(struct model_node *file, uint64_t size);
/* Zeroes what lies below the size. */
void model_zero(struct model_node *file, uint64_t offset, uint64_t len);

#endif
