/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_WRECK_H
#define TESTS_LIB_WRECK_H

/*
 * For tests of fsck: a volume, a field of it that is changed, and what fsck then names.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fsck/check.h"
#include "vmfs/addr.h"

struct findings {
	unsigned int counts[PROBLEM_COUNT];
	char text[16384];
};

/* For struct fsck_options: collects into a struct findings. */
void wreck_found(void *arg, enum fsck_problem problem, const char *text);
/* fsck_check() of these devices from a clean sheet. */
int wreck_check(struct bdev **devices, unsigned int count, struct findings *ret_all,
		struct fsck_summary *ret_summary);
/* Asserts that nothing is found. */
void wreck_assert_clean(struct bdev *bd);

/* size bytes (1, 2, 4, 8 as a number; more: all of that value) at off of a place. */
struct poke {
	int place;
	uint32_t off, size;
	uint64_t value;
};

/* A volume that can be wrecked. */
struct wrecker {
	void *volume;
	struct bdev *bd;
	uint64_t (*place_off)(const void *volume, int place); /* dev offset */
	void (*write)(void *volume); /* makes it anew on bd */
	/* wreck_all() has each n-th of them repaired, too; FULL=1: all. 0: none */
	unsigned int mended;
};

void wreck_poke(const struct wrecker *w, const struct poke *p);

struct wreck {
	enum fsck_problem problem;
	struct poke pokes[6]; /* size 0 ends */
	bool is_alone;	      /* nothing else may be found */
};

/* Found, and nothing else; found first, with what follows from it. */
#define ALONE(code, ...)                                                                 \
	{                                                                                \
		PROBLEM_##code, { __VA_ARGS__ }, true                                    \
	}
#define FIRST(code, ...)                                                                 \
	{                                                                                \
		PROBLEM_##code, { __VA_ARGS__ }, false                                   \
	}

/* Offsets of fields that lie the same in all versions. */
#define DEV(field) offsetof(struct vmfs_lvm_device_disk, field)
#define VOL(field) offsetof(struct vmfs_lvm_volume_disk, field)
#define PE(field) offsetof(struct vmfs_lvm_pe_disk, field)
#define DESC(field) offsetof(struct vmfs_descriptor_disk, field)
#define HB(field) offsetof(struct vmfs_heartbeat_disk, field)
#define LOCK(field) offsetof(struct vmfs_lock_disk, field)

/*
 * Each of them on a fresh volume: asserts that it is named, and what mended_is_right()
 * says of its repair.
 */
void wreck_all(const struct wrecker *w, const struct wreck *wrecks, size_t count);
/* What only VMFS-6 can have. */
bool wreck_is_only_6(enum fsck_problem problem);
/* Asserts that each of the problems that `is_wanted` picks has a wreck. */
void wreck_assert_complete(const struct wreck *wrecks, size_t count,
			   bool (*is_wanted)(enum fsck_problem problem));

#endif
