/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_PLAN_H
#define FSCK_PLAN_H

/*
 * What a repair is going to write: sectors in memory over the devices. The passes read
 * through it, so that they see the volume as it will be; nothing reaches a device before
 * plan_apply(), and then in an order that is safe against a crash (plan.c).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "bdev/bdev.h"

/* What a sector is, for the order of writes. */
enum plan_step {
	/* in a block that nothing referred to: needs no order of its own */
	PLAN_NEW,
	PLAN_NEW_FD,   /* a descriptor that nobody names, behind what it names */
	PLAN_ENTRIES,  /* of directories */
	PLAN_POINTERS, /* of pointer blocks */
	PLAN_FD,
	PLAN_HEADER,  /* of anything, locks, heartbeat slots */
	PLAN_CLUSTER, /* states of resources: plan_states() */
	PLAN_STEPS,
};

struct plan;

/* An empty one over count devices, which are borrowed. NULL: no memory. */
struct plan *plan_new(struct bdev *const *devices, unsigned int count);
void plan_free(struct plan *p);
/*
 * An entry on the disk names the file descriptor of this number, which is free: until the
 * entry is gone, in step 3, nothing new may lie there. Kept until plan_free(). 0 or
 * -ENOMEM.
 */
int plan_note_named(struct plan *p, uint64_t fd) __attribute__((warn_unused_result));
bool plan_is_named(const struct plan *p, uint64_t fd);
/* Device i as it will be. Belongs to the plan; what is not read only goes by plan_write.
 */
struct bdev *plan_device(struct plan *p, unsigned int i);
/*
 * len bytes at off of a plan_device(), whole sectors. 0, -ENOMEM, or -errno of a read.
 * What is there already is not written. Blocks.
 */
int plan_write(struct bdev *over, enum plan_step step, const void *buf, uint64_t len,
	       uint64_t off) __attribute__((warn_unused_result));
/*
 * Bytes [from, to) of the sectors written at off are states, in which a bit that is 0
 * says "in use": first only bits that become 0 are written, the others last of all.
 */
int plan_states(struct bdev *over, const void *buf, uint64_t len, uint64_t off,
		uint32_t from, uint32_t to) __attribute__((warn_unused_result));
/* Copies blocks as they are now to where nobody refers to. 0 or -ENOMEM. */
int plan_copy(struct bdev *to, uint64_t to_off, struct bdev *from, uint64_t from_off,
	      uint64_t len) __attribute__((warn_unused_result));
/* How often something was written that was not there already. */
uint64_t plan_changes(const struct plan *p);
/* Drops all of it. */
void plan_forget(struct plan *p);
/* Takes one sector out of the plan: its owner writes it. false: it was not in it. */
bool plan_take_out(struct bdev *over, uint64_t off, uint8_t *ret_bytes);

/* ---- carrying it out ---- */

/* A run of sectors that is going to change. */
struct plan_run {
	unsigned int device;
	uint64_t off;
	uint32_t len;
	const uint8_t *bytes; /* as it will be */
	const uint8_t *first; /* as it is after the first step */
};
#define PLAN_RUN_MAX (256u << 10)

/*
 * Calls fn for each run; sectors that end as they are now are left out. fn: 0 or what is
 * returned then. Blocks.
 */
int plan_each(struct plan *p, int (*fn)(void *arg, const struct plan_run *run), void *arg)
	__attribute__((warn_unused_result));
/*
 * Writes it to the devices by write(arg, ...), as bdev_write(), with a flush after each
 * step. What it returns, other than 0, is returned. Blocks.
 */
typedef int plan_write_fn(void *arg, struct bdev *bd, const void *bytes, uint64_t len,
			  uint64_t off);
int plan_apply(struct plan *p, plan_write_fn *write, void *arg)
	__attribute__((warn_unused_result));

#endif
