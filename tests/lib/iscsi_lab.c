/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/iscsi_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "iscsi/open.h"
#include "tests/lib/batch.h"

struct lab *lab_new(void)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	assert_non_null(lab);
	(void)collect_init(&lab->told);
	lab->t = target_new();
	assert_non_null(lab->t);
	return lab;
}

void lab_connect(struct lab *lab, uint32_t command_timeout_ms)
{
	struct iscsi_options options = { .command_timeout_ms = command_timeout_ms };

	bdev_close(lab->bd);
	assert_int_equal(device_open(target_url(lab->t), 0, &options, &lab->told.base,
				     &lab->bd), 0);
}

void lab_fill(struct lab *lab)
{
	fill_bytes(lab->written, LAB_SIZE, 5);
	assert_int_equal(bdev_write(lab->bd, lab->written, LAB_SIZE, 0), 0);
}

void lab_expect_written(struct lab *lab)
{
	assert_int_equal(bdev_read(lab->bd, lab->now, LAB_SIZE, 0), 0);
	assert_memory_equal(lab->now, lab->written, LAB_SIZE);
}

void lab_free(struct lab *lab)
{
	bdev_close(lab->bd);
	target_free(lab->t);
	collect_done(&lab->told);
	free(lab);
}
