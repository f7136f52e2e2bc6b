/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes that another system made, VMFS-3 and VMFS-6: a repair touches them only where
 * that is wanted, then as it does its own; and not at all where a host has left without
 * leave, whose journal nothing here can replay.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "fsck/session.h"
#include "fsck/undo.h"
#include "tests/lib/collect.h"
#include "tests/lib/handmade3.h"
#include "tests/lib/handmade6.h"
#include "tests/lib/overlay.h"
#include "tests/lib/treehash.h"
#include "tests/lib/wreck.h"

#define SECTOR VMFS_SECTOR_SIZE
#define DESCRIPTOR (LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF)
#define SLOTS (LVM_DATA_OFF + VMFS_HEARTBEATS_OFF)

static bool yes(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	(void)problem;
	(void)text;
	return true;
}

/* A repair of all that is found; what it says is compared with `says`, unless NULL. */
static int repair(struct bdev *bd, bool is_forced, const char *undo, const char *says,
		  struct session_result *ret_result)
{
	static struct findings all;
	struct collect told;
	const struct session_options options = {
		.devices = &bd,
		.device_count = 1,
		.reporter = collect_init(&told),
		.undo_path = undo,
		.is_forced = is_forced,
		.found = wreck_found,
		.may_repair = yes,
		.arg = &all,
	};
	memset(&all, 0, sizeof(all));
	int err = session_run(&options, ret_result);
	if (says && !collect_has(&told, says))
		fail_msg("%s", collect_text(&told));
	collect_done(&told);
	return err;
}

/* Bytes of the device, in one sector. */
struct hurt {
	uint64_t off;
	uint32_t len;
	uint8_t byte;
};

static void hurt(struct bdev *bd, const struct hurt *h)
{
	uint8_t sector[SECTOR];
	uint64_t from = round_down(h->off, SECTOR);
	assert_true(h->off - from + h->len <= SECTOR);
	assert_int_equal(bdev_read(bd, sector, SECTOR, from), 0);
	memset(sector + (h->off - from), h->byte, h->len);
	assert_int_equal(bdev_write(bd, sector, SECTOR, from), 0);
}

static void assert_errors(struct bdev *bd, bool has_any)
{
	static struct findings all;
	struct fsck_summary summary;
	assert_int_equal(wreck_check(&bd, 1, &all, &summary), 0);
	if ((summary.errors != 0) != has_any)
		fail_msg("%s", all.text);
}

static void assert_same_files(struct bdev *bd, const struct treehash *before)
{
	static struct treehash after;
	assert_int_equal(treehash_take(bd, &after), 0);
	assert_int_equal(after.count, before->count);
	for (unsigned int i = 0; i < before->count; i++)
		assert_non_null(treehash_find(&after, before->files[i].hash));
}

/* A slot in use: a host has died, or is there. */
static void put_host(struct bdev *bd, uint64_t slot)
{
	const le32 live = le32_of(HEARTBEAT_LIVE);
	for (unsigned int i = 0; i < sizeof(live); i++)
		hurt(bd, &(struct hurt){ slot + i, 1, live.b[i] });
	hurt(bd, &(struct hurt){ slot + offsetof(struct vmfs_heartbeat_disk, owner), 16,
				 7 });
}

/* hurts: so many; slot: the dev offset of a heartbeat slot. */
static void only_where_it_is_wanted(struct bdev *bd, const struct hurt *hurts,
				    size_t count, uint64_t slot)
{
	static struct treehash before;
	struct session_result result;
	struct undo_done done;
	struct collect told;
	char path[64];
	(void)snprintf(path, sizeof(path), "/tmp/foreign-%d.undo", (int)getpid());
	(void)unlink(path);
	assert_errors(bd, false);
	assert_int_equal(treehash_take(bd, &before), 0);
	for (size_t i = 0; i < count; i++)
		hurt(bd, &hurts[i]);
	assert_errors(bd, true);

	struct bdev *over = overlay_new(bd, overlay_forbid, NULL);
	assert_non_null(over);
	assert_int_equal(repair(over, false, path, "with --force-foreign only", &result),
			 0);
	assert_false(result.is_changed);
	bdev_close(over);

	over = overlay_new(bd, NULL, NULL);
	assert_non_null(over);
	assert_int_equal(repair(over, true, path, NULL, &result), 0);
	assert_true(result.is_changed);
	assert_errors(over, false);
	assert_same_files(over, &before);
	assert_int_equal(undo_restore(path, &over, 1, collect_init(&told), &done), 0);
	collect_done(&told);
	assert_true(overlay_is_as_before(over));
	bdev_close(over);
	(void)unlink(path);

	if (!getenv("FULL"))
		return; /* a heartbeat is watched for 24 s */
	put_host(bd, slot);
	over = overlay_new(bd, overlay_forbid, NULL);
	assert_non_null(over);
	assert_int_equal(repair(over, true, path, "has to mount the volume first",
				&result),
			 -EOPNOTSUPP);
	bdev_close(over);
}

static void vmfs3_is_repaired_where_it_is_wanted(void **state)
{
	struct handmade3 h = { .has_hole = true, .block_size = 1u << 20 };
	(void)state;
	assert_int_equal(bdev_mem_new(HANDMADE3_SIZE, SECTOR, NULL, &h.bd), 0);
	handmade3_write(&h);
	uint64_t fbb = LVM_DATA_OFF +
		       (uint64_t)h.files[VMFS_FD_FBB].first * h.block_size +
		       mkfs_cluster_off(&h.resources[MKFS_FBB], 0) + SECTOR;
	const struct hurt hurts[] = {
		{ DESCRIPTOR, 4, 0x5a },
		{ SLOTS + 9 * SECTOR, 4, 0x5a },
		{ fbb + offsetof(struct vmfs_cluster_disk, free), 2, 0 },
		{ fbb + offsetof(struct vmfs_cluster_disk, bitmap) + 12, 3, 0 },
	};
	only_where_it_is_wanted(h.bd, hurts, ARRAY_SIZE(hurts), SLOTS + 5 * SECTOR);
	bdev_close(h.bd);
}

static void vmfs6_of_others_is_repaired_where_it_is_wanted(void **state)
{
	static struct handmade6 h;
	(void)state;
	assert_int_equal(bdev_mem_new(HANDMADE6_SIZE, SECTOR, NULL, &h.bd), 0);
	handmade6_write(&h, h.bd);
	hurt(h.bd, &(struct hurt){ LVM_DATA_OFF + VMFS6_MAKER_OFF, SECTOR, 0 });
	uint64_t sfb = handmade6_cluster_off(&h, MKFS_FBB, 2) + VMFS6_PAGE;
	const struct hurt hurts[] = {
		{ DESCRIPTOR, 4, 0x5a },
		{ SLOTS + 9 * VMFS6_PAGE, 4, 0x5a },
		{ sfb + offsetof(struct vmfs6_cluster_disk, free), 2, 0 },
		{ sfb + offsetof(struct vmfs6_cluster_disk, states) + 12, 3, 0 },
	};
	only_where_it_is_wanted(h.bd, hurts, ARRAY_SIZE(hurts), SLOTS + 5 * VMFS6_PAGE);
	bdev_close(h.bd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(vmfs3_is_repaired_where_it_is_wanted),
		cmocka_unit_test(vmfs6_of_others_is_repaired_where_it_is_wanted),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
