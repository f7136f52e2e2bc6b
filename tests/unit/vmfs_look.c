/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who looks at a file or a folder, and what is changed at the same moment by another task
 * of the same host, just when the look is over: the change stands, and the next one is
 * made to what it left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "tests/lib/testvol.h"
#include "vmfs/volume.h"

#define MIB (1ull << 20)

struct rig {
	struct testvol tv;
	struct vmfs_file *file;
	void (*meanwhile)(struct rig *r); /* when the next look lets others go on */
};

static struct rig rig;

/* ---- the moment ---- */

void __real_sleeplock_release(struct sleeplock *l);
void __wrap_sleeplock_release(struct sleeplock *l);
void __wrap_sleeplock_release(struct sleeplock *l)
{
	void (*meanwhile)(struct rig *r) = rig.meanwhile;
	__real_sleeplock_release(l);
	if (!meanwhile || l != &rig.tv.vol->txn_lock)
		return;
	rig.meanwhile = NULL;
	meanwhile(&rig);
}

static int set_up(void **state)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	uint32_t version = *(uint32_t *)*state;
	rig = (struct rig){ .meanwhile = NULL };
	testvol_new_version(&rig.tv, version, version == 6 ? 8 : 2);
	assert_int_equal(vmfs_mkdir(rig.tv.vol, "/a", 0755), 0);
	assert_int_equal(vmfs_file_open(rig.tv.vol, "/f", &options, &rig.file, NULL), 0);
	assert_int_equal(vmfs_file_truncate(rig.file, 8 * MIB), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(vmfs_file_close(rig.file), 0);
	testvol_unmount(&rig.tv);
	testvol_check(&rig.tv);
	testvol_free(&rig.tv);
	return 0;
}

/* ---- the stories ---- */

static void allocate(uint64_t block)
{
	assert_int_equal(vmfs_file_allocate(rig.file, block * MIB, MIB,
					    VMFS_ALLOCATE_TBZ), 0);
}

static void take_a_block(struct rig *r)
{
	(void)r;
	allocate(3);
}

static void a_block_taken_meanwhile_stays(void **state)
{
	struct vmfs_stat st;
	(void)state;
	rig.meanwhile = take_a_block;
	assert_int_equal(vmfs_file_stat(rig.file, &st), 0);
	assert_null(rig.meanwhile);
	assert_int_equal(st.block_count, 0);
	allocate(5);
	assert_int_equal(vmfs_file_stat(rig.file, &st), 0);
	assert_int_equal(st.block_count, 2);
}

static void make_a_name(struct rig *r)
{
	assert_int_equal(vmfs_mkdir(r->tv.vol, "/b", 0755), 0);
}

static void a_name_made_meanwhile_stays(void **state)
{
	struct vmfs_stat st;
	(void)state;
	rig.meanwhile = make_a_name;
	assert_int_equal(vmfs_stat(rig.tv.vol, "/a", &st), 0);
	assert_null(rig.meanwhile);
	assert_int_equal(vmfs_mkdir(rig.tv.vol, "/c", 0755), 0);
	assert_int_equal(vmfs_stat(rig.tv.vol, "/b", &st), 0);
	assert_int_equal(vmfs_stat(rig.tv.vol, "/c", &st), 0);
}

#define ON(story, version)                                       \
	{ #story " on VMFS-" #version, story, set_up, tear_down, \
	  &(uint32_t){ version } }

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(a_block_taken_meanwhile_stays, 5),
		ON(a_block_taken_meanwhile_stays, 6),
		ON(a_name_made_meanwhile_stays, 5),
		ON(a_name_made_meanwhile_stays, 6),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
