/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_ISCSI_LAB_H
#define TESTS_LIB_ISCSI_LAB_H

/* A LUN of the small target (iscsi_target.h), what it holds, and what was told of it. */
#include "bdev/bdev.h"
#include "tests/lib/collect.h"
#include "tests/lib/iscsi_target.h"

#define LAB_SIZE (TARGET_BLOCKS * TARGET_BLOCK_SIZE)

struct lab {
	struct target *t;
	struct bdev *bd; /* NULL before lab_connect() */
	struct collect told;
	uint8_t written[LAB_SIZE]; /* as the whole disk should be */
	uint8_t now[LAB_SIZE];
};

/* With a target, not connected. */
struct lab *lab_new(void);
/* Opens the LUN; command_timeout_ms 0: the default. Again: a new device. */
void lab_connect(struct lab *lab, uint32_t command_timeout_ms);
/* The disk is full of bytes of chance. */
void lab_fill(struct lab *lab);
/* It is as `written` says. */
void lab_expect_written(struct lab *lab);
void lab_free(struct lab *lab);

#endif
