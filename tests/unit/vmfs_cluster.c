/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clusters of resource files in memory: states, counts and owners of VMFS-5 and VMFS-6,
 * at the places where FORMAT.md 6.2 and 20.4 have them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bitmap.h"
#include "vmfs/cluster.h"
#include "vmfs/volume.h"

#define OWNERS 215u /* that have a share in a cluster of file blocks */

struct fixture {
	struct vmfs_volume vol;
	uint8_t page[VMFS6_PAGE];
	struct cluster c;
};

static const struct uuid host = { { [10] = 1, 2, 3, 4, 5, 6 } };

/* A cluster of that many, all free. */
static void begin(struct fixture *x, uint32_t major, enum vmfs_resource_type type,
		  uint32_t per_cluster)
{
	*x = (struct fixture){ .vol.shape = vmfs_shape_of(major) };
	x->vol.resources[type] = (struct vmfs_resource){ .is_present = true,
							 .per_cluster = per_cluster,
							 .cluster_count = 1,
							 .count = per_cluster };
	x->c = cluster_of(&x->vol, type, 0, x->page);
	for (uint32_t i = 0; i < per_cluster; i++)
		cluster_give(&x->c, i, (vmfs_addr){ 0 });
	cluster_seal(&x->c, &host);
}

static vmfs_addr fd(uint32_t n)
{
	return addr_of(ADDR_FD, n / 256, n % 256);
}

static uint32_t word(const struct fixture *x, uint32_t off)
{
	le32 value;

	memcpy(&value, x->page + off, sizeof(value));
	return le32_get(value);
}

static void states_lie_where_the_format_has_them(void **state)
{
	struct fixture x;

	(void)state;
	begin(&x, VMFS_MAJOR_5, RESOURCE_FBB, 200);
	cluster_take(&x.c, 9, (vmfs_addr){ 0 });
	cluster_seal(&x.c, &host);
	assert_int_equal(x.page[0x11], 0xfd);
	assert_int_equal(word(&x, 0x08), 199);
	begin(&x, VMFS_MAJOR_6, RESOURCE_SBC, 256);
	cluster_take(&x.c, 9, (vmfs_addr){ 0 });
	assert_int_equal(x.page[0x81], 0xfd);
	begin(&x, VMFS_MAJOR_6, RESOURCE_FBB, 512);
	assert_int_equal(x.page[0x80], 0x55); /* free: 01 */
	x.page[0x82] |= 3 << 2; /* free, to be unmapped */
	assert_true(cluster_is_free(&x.c, 9));
	cluster_take(&x.c, 9, (vmfs_addr){ 0 });
	assert_int_equal(x.page[0x82], 0x51);
	assert_false(cluster_is_free(&x.c, 9));
	assert_int_equal(cluster_next_free(&x.c, 9, 512), 10);
	assert_int_equal(cluster_count_free(&x.c, 511), 510);
	assert_int_equal(cluster_count_free(&x.c, 512), 511);
}

static void who_changed_it_and_when_is_noted(void **state)
{
	struct fixture x;
	uint32_t before;

	(void)state;
	begin(&x, VMFS_MAJOR_6, RESOURCE_FDC, 256);
	before = word(&x, 0x58);
	cluster_take(&x.c, 3, fd(7));
	cluster_seal(&x.c, &host);
	assert_int_equal(word(&x, 0x58), before + 1);
	assert_int_equal(x.page[0x22], 255);
	assert_memory_equal(x.page + 0x5c, host.b + 10, 6);
	assert_int_not_equal(word(&x, 0x62), 0);
	assert_int_equal(cluster_next_generation(&x.c), 1);
	assert_int_equal(word(&x, 0x68), 1);
}

static void each_item_has_its_owner(void **state)
{
	static const struct {
		enum vmfs_resource_type type;
		uint32_t per_cluster, off;
	} lists[] = { { RESOURCE_FDC, 256, 0x8e0 },
		      { RESOURCE_SBC, 256, 0x8e0 },
		      { RESOURCE_PB2, 32, 0x2e0 } };
	struct fixture x;

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		uint32_t at = lists[i].off + 5 * 4;

		begin(&x, VMFS_MAJOR_6, lists[i].type, lists[i].per_cluster);
		cluster_take(&x.c, 5, fd(1));
		assert_int_equal(word(&x, at), fd(1).raw);
		cluster_set_owner(&x.c, 5, fd(2));
		assert_int_equal(word(&x, at), fd(2).raw);
		cluster_give(&x.c, 5, fd(2));
		assert_int_equal(word(&x, at), 0);
	}
}

/* The pair of an owner at number i of the list. */
static void check_share(const struct fixture *x, uint32_t i, uint32_t owner,
			uint32_t count)
{
	assert_int_equal(word(x, 0x940 + 8 * i), owner);
	assert_int_equal(word(x, 0x944 + 8 * i), count);
}

static void owners_have_shares(void **state)
{
	struct fixture x;

	(void)state;
	begin(&x, VMFS_MAJOR_6, RESOURCE_FBB, 512);
	for (uint32_t i = 0; i < 512; i++)
		cluster_take(&x.c, i, fd(100 + i / 200));
	check_share(&x, 0, 0, 0);
	check_share(&x, 1, (uint32_t)fd(100).raw, 200);
	check_share(&x, 3, (uint32_t)fd(102).raw, 112);
	assert_int_equal(x.page[0x26], 4);
	for (uint32_t i = 200; i < 400; i++)
		cluster_give(&x.c, i, fd(101));
	check_share(&x, 2, 0, 0);
	assert_int_equal(x.page[0x26], 4); /* up to the last one */
	cluster_take(&x.c, 200, fd(103));
	check_share(&x, 2, (uint32_t)fd(103).raw, 1);
	for (uint32_t i = 400; i < 512; i++)
		cluster_give(&x.c, i, fd(102));
	assert_int_equal(x.page[0x26], 3);
}

/* Who comes when the list is full has no share, and takes none from others. */
static void more_owners_than_places_do_no_harm(void **state)
{
	struct fixture x;

	(void)state;
	begin(&x, VMFS_MAJOR_6, RESOURCE_FBB, 512);
	for (uint32_t i = 0; i < OWNERS + 5; i++)
		cluster_take(&x.c, i, fd(10 + i));
	assert_int_equal(x.page[0x26], OWNERS + 1);
	check_share(&x, OWNERS, (uint32_t)fd(10 + OWNERS - 1).raw, 1);
	for (uint32_t i = 0; i < OWNERS + 5; i++)
		cluster_give(&x.c, OWNERS + 4 - i, fd(10 + OWNERS + 4 - i));
	assert_int_equal(x.page[0x26], 1);
	assert_int_equal(cluster_count_free(&x.c, 512), 512);
	for (uint32_t off = 0x940; off < VMFS6_PAGE; off += 4)
		assert_int_equal(word(&x, off), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_lie_where_the_format_has_them),
		cmocka_unit_test(who_changed_it_and_when_is_noted),
		cmocka_unit_test(each_item_has_its_owner),
		cmocka_unit_test(owners_have_shares),
		cmocka_unit_test(more_owners_than_places_do_no_harm),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
