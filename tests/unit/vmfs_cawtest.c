/* SPDX-License-Identifier: Apache-2.0 */
/* The self-test of the conditional write, on a device that has one and on a liar. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "tests/lib/collect.h"
#include "tests/lib/testvol.h"
#include "vmfs/cawtest.h"
#include "vmfs/vmfs.h"

#define OFFSET 8192u

/* Says COMPARE AND WRITE; reads, compares and writes with a pause, or under a mutex. */
struct liar {
	struct bdev bd; /* first */
	struct bdev *below;
	struct mutex m;
	bool is_honest;
};

static int compare_and_write(struct liar *l, const struct bdev_io *io)
{
	uint8_t now[512];
	const uint8_t *pair = io->iov[0].iov_base;
	int err = io->iovcnt == 1 ? bdev_read(l->below, now, 512, io->offset) : -EINVAL;

	if (!err && memcmp(now, pair, 512) != 0)
		err = -EILSEQ;
	if (!l->is_honest)
		task_sleep_until(clock_now() + 100 * NS_PER_US);
	return err ? err : bdev_write(l->below, pair + 512, 512, io->offset);
}

static void liar_submit(struct bdev *bd, struct bdev_io *io)
{
	struct liar *l = (struct liar *)bd;

	if (io->op != BDEV_CAW) {
		l->below->ops->submit(l->below, io);
		return;
	}
	if (l->is_honest)
		mutex_lock(&l->m);
	int err = compare_and_write(l, io);
	if (l->is_honest)
		mutex_unlock(&l->m);
	bdev_io_complete(io, err);
}

static void liar_close(struct bdev *bd)
{
	struct liar *l = (struct liar *)bd;

	mutex_done(&l->m);
	bdev_close(l->below);
	free(l);
}

static struct bdev *liar_new(bool is_honest)
{
	static const struct bdev_ops ops = { .submit = liar_submit, .close = liar_close };
	struct liar *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	assert_int_equal(bdev_mem_new(3ull << 30, 512, NULL, &l->below), 0);
	mutex_init(&l->m);
	l->bd = *l->below;
	l->bd.ops = &ops;
	l->bd.caw = BDEV_CAW_ATS;
	l->is_honest = is_honest;
	(void)strcpy(l->bd.name, "liar");
	return &l->bd;
}

static void test_it(bool is_honest)
{
	struct collect told;
	struct cawtest t = { .sessions = 2, .count = 200, .dev_off = OFFSET };
	struct bdev *bd = liar_new(is_honest);

	t.bd[0] = t.bd[1] = bd;
	t.patience_ns = 60 * NS_PER_S;
	t.r = collect_init(&told);
	assert_int_equal(vmfs_cawtest(&t), 0);
	assert_int_equal(t.mechanism, BDEV_CAW_ATS);
	assert_true(t.is_complete);
	assert_int_equal(t.is_atomic, is_honest);
	if (is_honest)
		assert_int_equal(t.shown, 400);
	else
		assert_true(t.shown < t.made && t.lost > 0);
	bdev_close(bd);
	collect_done(&told);
}

static void an_atomic_one_loses_nothing(void **state)
{
	(void)state;
	test_it(true);
}

static void another_one_is_found_out(void **state)
{
	(void)state;
	test_it(false);
}

static int mount_it(struct bdev *bd, const char *proof_dir, struct collect *told)
{
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .proof_dir = proof_dir,
					     .reporter = &told->base };
	struct vmfs_volume *vol;
	int err = vmfs_volume_open(&options, &vol);

	if (!err)
		assert_int_equal(vmfs_volume_close(vol), 0);
	return err;
}

static struct bdev *format_liar(struct testvol *tv, bool is_honest)
{
	struct bdev *bd = liar_new(is_honest);

	bd->identity.len = 1;
	bd->identity.id[0] = 7;
	testvol_format(tv, bd);
	testvol_unmount(tv);
	return bd;
}

/*
 * A volume on a liar is refused, with the reason, and left as it was; an honest one is
 * not tested again, even if it lies then.
 */
static void a_volume_on_a_liar_is_refused(void **state)
{
	char dir[] = "/tmp/vmfs-proof.XXXXXX", proof[sizeof(dir) + 16];

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(proof, sizeof(proof), "%s/atomic-07", dir);
	for (int is_honest = 0; is_honest < 2; is_honest++) {
		struct testvol tv;
		struct bdev *bd = format_liar(&tv, is_honest);

		assert_int_equal(mount_it(bd, dir, &tv.told),
				 is_honest ? 0 : -EOPNOTSUPP);
		assert_int_equal(collect_has(&tv.told, "not atomic"), !is_honest);
		assert_int_equal(access(proof, F_OK) == 0, is_honest);
		collect_clear(&tv.told);
		assert_int_equal(mount_it(bd, NULL, &tv.told), 0);
		testvol_check(&tv);
		testvol_free(&tv);
	}
	struct testvol tv;
	struct bdev *bd = format_liar(&tv, false);

	assert_int_equal(mount_it(bd, dir, &tv.told), 0);
	testvol_free(&tv);
	assert_int_equal(unlink(proof) + rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_atomic_one_loses_nothing),
		cmocka_unit_test(another_one_is_found_out),
		cmocka_unit_test(a_volume_on_a_liar_is_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
