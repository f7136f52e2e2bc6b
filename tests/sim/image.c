/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contents of a disk as a two-level table of counted pages: a clone copies the upper
 * level only and shares the rest until one side writes. A page or node that is NULL is
 * zeros.
 */
#include "tests/sim/image.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"

#define PAGE_SIZE 4096u
#define NODE_PAGES 512u
#define NODE_SIZE ((uint64_t)PAGE_SIZE * NODE_PAGES)

struct page {
	uint32_t users;
	uint8_t data[PAGE_SIZE];
};

struct node {
	uint32_t users;
	struct page *pages[NODE_PAGES];
};

struct image {
	uint64_t size, node_count;
	struct node **nodes;
};

static const uint8_t zeros[PAGE_SIZE];

static void *must_calloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);
	assert(p);
	return p;
}

struct image *image_new(uint64_t size)
{
	assert(size % 512 == 0);
	struct image *img = must_calloc(1, sizeof(*img));
	img->size = size;
	img->node_count = div_up(size, NODE_SIZE);
	img->nodes = must_calloc(img->node_count, sizeof(struct node *));
	return img;
}

static void page_put(struct page *p)
{
	if (p && --p->users == 0)
		free(p);
}

static void node_put(struct node *n)
{
	if (!n || --n->users)
		return;
	for (unsigned int i = 0; i < NODE_PAGES; i++)
		page_put(n->pages[i]);
	free(n);
}

struct image *image_clone(const struct image *img)
{
	struct image *copy = image_new(img->size);
	for (uint64_t i = 0; i < img->node_count; i++) {
		copy->nodes[i] = img->nodes[i];
		if (copy->nodes[i])
			copy->nodes[i]->users++;
	}
	return copy;
}

void image_free(struct image *img)
{
	if (!img)
		return;
	for (uint64_t i = 0; i < img->node_count; i++)
		node_put(img->nodes[i]);
	free(img->nodes);
	free(img);
}

uint64_t image_size(const struct image *img)
{
	return img->size;
}

/* The page at offset, or zeros. */
static const uint8_t *page_to_read(const struct image *img, uint64_t offset)
{
	const struct node *n = img->nodes[offset / NODE_SIZE];
	const struct page *p = n ? n->pages[offset % NODE_SIZE / PAGE_SIZE] : NULL;
	return p ? p->data : zeros;
}

/* The node at offset, with img as its only user. */
static struct node *node_to_write(struct image *img, uint64_t offset)
{
	struct node **slot = &img->nodes[offset / NODE_SIZE];
	if (*slot && (*slot)->users == 1)
		return *slot;
	struct node *n = must_calloc(1, sizeof(*n));
	n->users = 1;
	if (*slot) {
		memcpy(n->pages, (*slot)->pages, sizeof(n->pages));
		for (unsigned int i = 0; i < NODE_PAGES; i++) {
			if (n->pages[i])
				n->pages[i]->users++;
		}
		node_put(*slot);
	}
	*slot = n;
	return n;
}

static uint8_t *page_to_write(struct image *img, uint64_t offset)
{
	struct node *n = node_to_write(img, offset);
	struct page **slot = &n->pages[offset % NODE_SIZE / PAGE_SIZE];
	if (*slot && (*slot)->users == 1)
		return (*slot)->data;
	struct page *p = must_calloc(1, sizeof(*p));
	p->users = 1;
	if (*slot) {
		memcpy(p->data, (*slot)->data, PAGE_SIZE);
		page_put(*slot);
	}
	*slot = p;
	return p->data;
}

static void check_range(const struct image *img, uint64_t len, uint64_t offset)
{
	uint64_t end;
	assert(checked_add(len, offset, &end) && end <= img->size);
	(void)end;
	(void)img;
}

void image_read(const struct image *img, void *buf, uint64_t len, uint64_t offset)
{
	check_range(img, len, offset);
	uint8_t *to = buf;
	while (len) {
		uint64_t part = min_u64(len, PAGE_SIZE - offset % PAGE_SIZE);
		memcpy(to, page_to_read(img, offset) + offset % PAGE_SIZE, part);
		to += part;
		offset += part;
		len -= part;
	}
}

void image_write(struct image *img, const void *buf, uint64_t len, uint64_t offset)
{
	check_range(img, len, offset);
	const uint8_t *from = buf;
	while (len) {
		uint64_t part = min_u64(len, PAGE_SIZE - offset % PAGE_SIZE);
		/* Zeros over zeros stay a hole. */
		if (page_to_read(img, offset) != zeros || memcmp(from, zeros, part) != 0)
			memcpy(page_to_write(img, offset) + offset % PAGE_SIZE, from,
			       part);
		from += part;
		offset += part;
		len -= part;
	}
}

bool image_equal(const struct image *a, const struct image *b, uint64_t *ret_offset)
{
	assert(a->size == b->size);
	for (uint64_t at = 0; at < a->size; at += PAGE_SIZE) {
		if (at % NODE_SIZE == 0 &&
		    a->nodes[at / NODE_SIZE] == b->nodes[at / NODE_SIZE]) {
			at += NODE_SIZE - PAGE_SIZE;
			continue;
		}
		const uint8_t *pa = page_to_read(a, at), *pb = page_to_read(b, at);
		if (pa == pb || memcmp(pa, pb, PAGE_SIZE) == 0)
			continue;
		uint64_t i = 0;
		while (pa[i] == pb[i])
			i++;
		if (ret_offset)
			*ret_offset = at + i;
		return false;
	}
	return true;
}

static int write_all(int file_fd, const uint8_t *data, uint64_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = pwrite(file_fd, data, len, (off_t)offset);
		if (n < 0)
			return -errno;
		data += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int image_save(const struct image *img, const char *path)
{
	int file_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (file_fd < 0)
		return -errno;
	int err = ftruncate(file_fd, (off_t)img->size) < 0 ? -errno : 0;
	for (uint64_t at = 0; at < img->size && !err; at += PAGE_SIZE) {
		const uint8_t *page = page_to_read(img, at);
		if (page != zeros)
			err = write_all(file_fd, page, min_u64(PAGE_SIZE, img->size - at),
					at);
	}
	if (close(file_fd) < 0 && !err)
		err = -errno;
	return err;
}

static int load_data(int file_fd, struct image *img)
{
	uint8_t page[PAGE_SIZE];
	off_t at = 0;
	while ((at = lseek(file_fd, at, SEEK_DATA)) >= 0 && (uint64_t)at < img->size) {
		uint64_t part = min_u64(PAGE_SIZE - (uint64_t)at % PAGE_SIZE,
					img->size - (uint64_t)at);
		ssize_t n = pread(file_fd, page, part, at);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		image_write(img, page, (uint64_t)n, (uint64_t)at);
		at += n;
	}
	return at >= 0 || errno == ENXIO ? 0 : -errno;
}

int image_load(const char *path, struct image **ret_img)
{
	int file_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file_fd < 0)
		return -errno;
	struct stat st;
	int err = fstat(file_fd, &st) < 0 ? -errno : 0;
	struct image *img = NULL;
	if (!err) {
		img = image_new(round_down((uint64_t)st.st_size, 512));
		err = load_data(file_fd, img);
	}
	(void)close(file_fd);
	if (err)
		image_free(img);
	else
		*ret_img = img;
	return err;
}
