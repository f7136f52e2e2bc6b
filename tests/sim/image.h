/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_IMAGE_H
#define TESTS_SIM_IMAGE_H

/*
 * The contents of a disk: sparse, cheap to copy (pages are shared until one side writes).
 * Offsets and lengths in bytes, any alignment, inside the size.
 */
#include <stdbool.h>
#include <stdint.h>

struct image;

/* size bytes of zeros; a multiple of 512. */
struct image *image_new(uint64_t size);
struct image *image_clone(const struct image *img);
/* NULL is allowed. */
void image_free(struct image *img);
uint64_t image_size(const struct image *img);
void image_read(const struct image *img, void *buf, uint64_t len, uint64_t offset);
void image_write(struct image *img, const void *buf, uint64_t len, uint64_t offset);
/*
 * Bytes of both are equal; if not, *ret_offset (may be NULL) is the first that differs.
 */
bool image_equal(const struct image *a, const struct image *b, uint64_t *ret_offset);
/* To and from a (sparse) file; 0 or -errno. */
int image_save(const struct image *img, const char *path)
	__attribute__((warn_unused_result));
int image_load(const char *path, struct image **ret_img)
	__attribute__((warn_unused_result));

#endif
