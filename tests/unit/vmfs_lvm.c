/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extents over 16 TiB: metadata regions that follow one another by extension headers
 * (FORMAT.md 3.6), with a gap between their data. And extents that became longer when
 * later ones were there: the PE tables alone say which part of the volume is where (3.7).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "tests/lib/collect.h"
#include "tests/lib/wreck.h"
#include "vmfs/lvm.h"

#define MAPS 2u /* behind the extension header: 8,193 PEs */
#define REGION_PES (LVM_MAPS_MAX * LVM_PE_PER_MAP)
#define PES (REGION_PES + LVM_PE_PER_MAP + 1)
#define EXTENSION_OFF (LVM_DATA_OFF + REGION_PES * LVM_PE_SIZE)
#define SECOND_DATA_OFF (EXTENSION_OFF + 0x1000000ull)
#define DEVICE_SIZE (SECOND_DATA_OFF + (LVM_PE_PER_MAP + 1) * LVM_PE_SIZE)

static void put(struct bdev *bd, uint64_t off, const void *data, uint64_t len)
{
	assert_int_equal(bdev_write(bd, data, len, off), 0);
}

/* Map `map` of a region: PEs from `first` on, `count` of them, from data_off on. */
static void put_map(struct bdev *bd, uint64_t map_off, uint32_t first, uint32_t count,
		    uint64_t data_off)
{
	uint64_t len = LVM_PE_BITMAP_SIZE +
		       round_up(count * sizeof(struct vmfs_lvm_pe_disk), 512);
	uint8_t *data = calloc(1, len);
	struct vmfs_lvm_pe_disk *pes;

	assert_non_null(data);
	pes = (struct vmfs_lvm_pe_disk *)(data + LVM_PE_BITMAP_SIZE);
	bitmap_set_range(data, 0, count);
	for (uint32_t i = 0; i < count; i++)
		pes[i] = (struct vmfs_lvm_pe_disk){
			.used = 1,
			.number = le32_of(first + i),
			.dev_off = le64_of(data_off + i * LVM_PE_SIZE),
			.vol_off = le64_of((first + i) * LVM_PE_SIZE),
			.length = le64_of(LVM_PE_SIZE),
			.version = le32_of(1),
		};
	put(bd, map_off, data, len);
	free(data);
}

static void put_headers(struct bdev *bd)
{
	struct vmfs_lvm_device_disk dev = {
		.magic = le32_of(LVM_MAGIC),
		.major = le32_of(5),
		.minor = le32_of(0x15),
		.block_size = le32_of(VMFS_SECTOR_SIZE),
		.total_bytes = le64_of(DEVICE_SIZE),
		.volume_count = le32_of(1),
		.pe_count = le32_of(PES),
		.pe_last = le32_of(PES - 1),
		.data_off = le64_of(LVM_DATA_OFF),
		.pe_map_count = le32_of(LVM_MAPS_MAX + MAPS),
		.extension_off = le64_of(EXTENSION_OFF),
	};
	struct vmfs_lvm_volume_disk vol = {
		.size = le64_of(PES * LVM_PE_SIZE),
		.state = le32_of(1),
		.uuid = { 1 },
		.pe_count = le32_of(PES),
		.pe_last = le64_of(PES - 1),
		.extent_count = le32_of(1),
	};

	put(bd, LVM_HEADER_OFF, &dev, sizeof(dev));
	put(bd, LVM_VOLUME_OFF, &vol, sizeof(vol));
}

static void put_extension(struct bdev *bd, uint32_t magic, uint32_t maps,
			  uint64_t data_off)
{
	union {
		struct vmfs_lvm_extension_disk ext;
		uint8_t bytes[VMFS_SECTOR_SIZE];
	} sector = { .ext = { .magic = le32_of(magic),
			      .map_count = le32_of(maps),
			      .data_off = le64_of(data_off) } };

	put(bd, EXTENSION_OFF, sector.bytes, sizeof(sector.bytes));
}

static int make(void **state)
{
	struct bdev *bd;

	assert_int_equal(bdev_mem_new(DEVICE_SIZE, 512, NULL, &bd), 0);
	put_headers(bd);
	for (uint32_t map = 0; map < LVM_MAPS_MAX; map++)
		put_map(bd, LVM_PE_MAP_OFF + map * LVM_PE_MAP_SIZE, map * LVM_PE_PER_MAP,
			LVM_PE_PER_MAP,
			LVM_DATA_OFF + map * LVM_PE_PER_MAP * LVM_PE_SIZE);
	put_extension(bd, LVM_MAGIC, MAPS, SECOND_DATA_OFF);
	uint64_t maps_off = EXTENSION_OFF + (LVM_PE_MAP_OFF - LVM_HEADER_OFF);
	put_map(bd, maps_off, REGION_PES, LVM_PE_PER_MAP, SECOND_DATA_OFF);
	put_map(bd, maps_off + LVM_PE_MAP_SIZE, REGION_PES + LVM_PE_PER_MAP, 1,
		SECOND_DATA_OFF + LVM_PE_PER_MAP * LVM_PE_SIZE);
	*state = bd;
	return 0;
}

static int unmake(void **state)
{
	bdev_close(*state);
	return 0;
}

static int open_lvm(struct bdev *bd, struct collect *told, struct lvm **ret_lvm)
{
	struct lvm *lvm = malloc(sizeof(*lvm));

	assert_non_null(lvm);
	int err = lvm_open(&bd, 1, collect_init(told), lvm);
	if (err || !ret_lvm)
		free(lvm);
	else
		*ret_lvm = lvm;
	return err;
}

static void check_place(const struct lvm *lvm, uint64_t vol_off, uint64_t dev_off,
			uint64_t len)
{
	struct bdev *bd;
	uint64_t at, run;

	assert_int_equal(lvm_map(lvm, vol_off, &bd, &at, &run), 0);
	assert_int_equal(at, dev_off);
	assert_int_equal(run, len);
}

static void both_regions_are_found(void **state)
{
	const uint64_t region = REGION_PES * LVM_PE_SIZE;
	const uint64_t rest = (LVM_PE_PER_MAP + 1) * LVM_PE_SIZE;
	struct collect told;
	struct lvm *lvm;

	if (open_lvm(*state, &told, &lvm))
		fail_msg("%s", collect_text(&told));
	assert_int_equal(lvm->size_bytes, region + rest);
	check_place(lvm, 0, LVM_DATA_OFF, region);
	check_place(lvm, region - 512, LVM_DATA_OFF + region - 512, 512);
	check_place(lvm, region, SECOND_DATA_OFF, rest);
	check_place(lvm, region + rest - 512, SECOND_DATA_OFF + rest - 512, 512);
	struct bdev *bd;
	uint64_t at, run;
	assert_int_equal(lvm_map(lvm, region + rest, &bd, &at, &run), -EINVAL);
	free(lvm);
	collect_done(&told);
}

static void bytes_are_read_over_the_seam(void **state)
{
	uint8_t out[1024], in[1024];
	struct collect told;
	struct lvm *lvm;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + 1);
	put(*state, EXTENSION_OFF - 512, out, 512);
	put(*state, SECOND_DATA_OFF, out + 512, 512);
	assert_int_equal(open_lvm(*state, &told, &lvm), 0);
	assert_int_equal(lvm_read(lvm, REGION_PES * LVM_PE_SIZE - 512, in, sizeof(in)),
			 0);
	assert_memory_equal(in, out, sizeof(in));
	free(lvm);
	collect_done(&told);
}

static void check_refused(struct bdev *bd, const char *words)
{
	struct collect told;

	assert_int_equal(open_lvm(bd, &told, NULL), -EUCLEAN);
	if (!collect_has(&told, words))
		fail_msg("%s: %s", words, collect_text(&told));
	collect_done(&told);
}

static void a_bad_extension_is_refused(void **state)
{
	struct bdev *bd = *state;

	put_extension(bd, 7, MAPS, SECOND_DATA_OFF);
	check_refused(bd, "magic 0x00000007");
	put_extension(bd, LVM_MAGIC, 3, SECOND_DATA_OFF);
	check_refused(bd, "3 maps for 8193 PEs");
	put_extension(bd, LVM_MAGIC, MAPS, SECOND_DATA_OFF + LVM_PE_SIZE);
	check_refused(bd, "2 maps for 8193 PEs, data at");
	put_extension(bd, LVM_MAGIC, MAPS, SECOND_DATA_OFF - 512);
	check_refused(bd, "PE 65536 lies at");
	put_extension(bd, LVM_MAGIC, MAPS, SECOND_DATA_OFF);
}

/* fsck follows the same headers, and says when they lead nowhere. */
static void fsck_follows_the_regions(void **state)
{
	static struct findings all;
	struct fsck_summary summary;
	struct bdev *bd = *state;

	assert_int_equal(wreck_check(&bd, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_LVM_REGION], 0);
	assert_int_equal(all.counts[PROBLEM_LVM_PE_BITMAP], 0);
	assert_int_equal(all.counts[PROBLEM_LVM_PE_ENTRY], 0);
	assert_int_equal(all.counts[PROBLEM_LVM_MAP_COUNT], 0);
	put_extension(bd, 7, MAPS, SECOND_DATA_OFF);
	assert_int_equal(wreck_check(&bd, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_LVM_REGION], 1);
	assert_non_null(strstr(all.text, "8193 more PEs, but no header for them"));
	put_extension(bd, LVM_MAGIC, MAPS, SECOND_DATA_OFF - 512);
	assert_int_equal(wreck_check(&bd, 1, &all, &summary), 0);
	assert_int_equal(all.counts[PROBLEM_LVM_REGION], 1);
	assert_int_equal(all.counts[PROBLEM_LVM_PE_ENTRY], 0);
	put_extension(bd, LVM_MAGIC, MAPS, SECOND_DATA_OFF);
}

static bool yes(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	(void)text;
	return problem == PROBLEM_LVM_REGION;
}

/* What a repair of the regions alone would write; nothing is written. */
static void plan_repair(struct plan *plan)
{
	static struct findings all;
	struct fsck_summary summary;
	struct collect told;
	struct bdev *over = plan_device(plan, 0);
	struct fsck_options options = { .devices = &over,
					.device_count = 1,
					.reporter = collect_init(&told),
					.found = wreck_found,
					.arg = &all,
					.plan = plan,
					.may_repair = yes };
	memset(&all, 0, sizeof(all));
	assert_int_equal(fsck_check(&options, &summary), 0);
	assert_true(all.counts[PROBLEM_LVM_REGION] > 0);
	collect_done(&told);
}

/* The PE table behind it says where its PEs are, and so a header can be made anew. */
static void fsck_makes_a_header_anew(void **state)
{
	struct bdev *bd = *state;
	struct vmfs_lvm_device_disk dev, good;
	static uint8_t sector[VMFS_SECTOR_SIZE], was[VMFS_SECTOR_SIZE];
	const struct {
		uint32_t magic, maps;
		uint64_t data_off, extension_off;
	} wrecks[] = {
		{ 7, MAPS, SECOND_DATA_OFF, EXTENSION_OFF },
		{ 0, 0, 0, EXTENSION_OFF },
		{ LVM_MAGIC, MAPS, SECOND_DATA_OFF - 512, EXTENSION_OFF },
		{ LVM_MAGIC, MAPS, SECOND_DATA_OFF, 0 },
		{ LVM_MAGIC, MAPS, SECOND_DATA_OFF, EXTENSION_OFF + 4096 },
		{ 0, 0, 0, 77 },
	};
	assert_int_equal(bdev_read(bd, &good, sizeof(good), LVM_HEADER_OFF), 0);
	assert_int_equal(bdev_read(bd, was, sizeof(was), EXTENSION_OFF), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrecks); i++) {
		struct plan *plan = plan_new(&bd, 1);
		assert_non_null(plan);
		dev = good;
		dev.extension_off = le64_of(wrecks[i].extension_off);
		put(bd, LVM_HEADER_OFF, &dev, sizeof(dev));
		put_extension(bd, wrecks[i].magic, wrecks[i].maps, wrecks[i].data_off);
		plan_repair(plan);
		struct bdev *over = plan_device(plan, 0);
		assert_int_equal(bdev_read(over, &dev, sizeof(dev), LVM_HEADER_OFF), 0);
		assert_memory_equal(&dev, &good, sizeof(dev));
		assert_int_equal(bdev_read(over, sector, sizeof(sector), EXTENSION_OFF),
				 0);
		assert_memory_equal(sector, was, sizeof(was));
		plan_free(plan);
	}
	put(bd, LVM_HEADER_OFF, &good, sizeof(good));
	put(bd, EXTENSION_OFF, was, sizeof(was));
}

/* One entry of that table says otherwise: then it proves nothing. */
static void fsck_makes_no_header_up(void **state)
{
	struct bdev *bd = *state;
	struct plan *plan = plan_new(&bd, 1);
	uint8_t entry[VMFS_SECTOR_SIZE], was[VMFS_SECTOR_SIZE];
	uint64_t off = EXTENSION_OFF + (LVM_PE_MAP_OFF - LVM_HEADER_OFF) +
		       LVM_PE_BITMAP_SIZE + 40 * sizeof(struct vmfs_lvm_pe_disk);
	assert_non_null(plan);
	assert_int_equal(bdev_read(bd, was, sizeof(was), off), 0);
	memset(entry, 0, sizeof(entry));
	put(bd, off, entry, sizeof(entry));
	put_extension(bd, 7, MAPS, SECOND_DATA_OFF);
	plan_repair(plan);
	assert_int_equal(plan_changes(plan), 0);
	plan_free(plan);
	put(bd, off, was, sizeof(was));
	put_extension(bd, LVM_MAGIC, MAPS, SECOND_DATA_OFF);
}

/* Whether a header counts its own maps or all that are left is not known. */
static void either_count_of_maps_is_read(void **state)
{
	struct bdev *bd = *state;
	struct vmfs_lvm_device_disk dev;
	struct collect told;

	assert_int_equal(bdev_read(bd, &dev, sizeof(dev), LVM_HEADER_OFF), 0);
	le32 was = dev.pe_map_count;
	dev.pe_map_count = le32_of(LVM_MAPS_MAX);
	put(bd, LVM_HEADER_OFF, &dev, sizeof(dev));
	if (open_lvm(bd, &told, NULL))
		fail_msg("%s", collect_text(&told));
	collect_done(&told);
	dev.pe_map_count = was;
	put(bd, LVM_HEADER_OFF, &dev, sizeof(dev));
}

/* ---- extents in pieces ---- */

#define EXTENTS 2u

/* PEs of the volume that each extent has. */
struct pieces {
	uint32_t count;
	uint64_t pes[8];
	uint64_t pe_last; /* as its descriptor says */
};

static const struct pieces sound[EXTENTS] = {
	{ 6, { 0, 1, 2, 5, 6, 8 }, 8 },
	{ 3, { 3, 4, 7 }, 7 },
};

static void make_extents(const struct pieces pieces[EXTENTS], struct bdev *bds[EXTENTS])
{
	for (uint32_t i = 0; i < EXTENTS; i++) {
		const struct pieces *p = &pieces[i];
		const uint64_t size = LVM_DATA_OFF + p->count * LVM_PE_SIZE;
		struct vmfs_lvm_pe_disk pes[8] = { 0 };
		uint8_t bits[VMFS_SECTOR_SIZE] = { 0 };
		struct vmfs_lvm_device_disk dev = {
			.magic = le32_of(LVM_MAGIC),
			.major = le32_of(5),
			.minor = le32_of(0x15),
			.block_size = le32_of(VMFS_SECTOR_SIZE),
			.total_bytes = le64_of(size),
			.volume_count = le32_of(1),
			.pe_count = le32_of(p->count),
			.pe_last = le32_of(p->count - 1),
			.data_off = le64_of(LVM_DATA_OFF),
			.pe_map_count = le32_of(1),
			.device_uuid = { (uint8_t)(i + 1) },
		};
		struct vmfs_lvm_volume_disk vol = {
			.size = le64_of(9 * LVM_PE_SIZE),
			.state = le32_of(1),
			.uuid = { 1 },
			.pe_count = le32_of(p->count),
			.pe_first = le64_of(p->pes[0]),
			.pe_last = le64_of(p->pe_last),
			.extent_count = le32_of(EXTENTS),
		};

		assert_int_equal(bdev_mem_new(size, 512, NULL, &bds[i]), 0);
		put(bds[i], LVM_HEADER_OFF, &dev, sizeof(dev));
		put(bds[i], LVM_VOLUME_OFF, &vol, sizeof(vol));
		bitmap_set_range(bits, 0, p->count);
		put(bds[i], LVM_PE_MAP_OFF, bits, sizeof(bits));
		for (uint32_t k = 0; k < p->count; k++)
			pes[k] = (struct vmfs_lvm_pe_disk){
				.used = 1,
				.number = le32_of(k),
				.dev_off = le64_of(LVM_DATA_OFF + k * LVM_PE_SIZE),
				.vol_off = le64_of(p->pes[k] * LVM_PE_SIZE),
				.length = le64_of(LVM_PE_SIZE),
				.version = le32_of(1),
			};
		put(bds[i], LVM_PE_MAP_OFF + LVM_PE_BITMAP_SIZE, pes, sizeof(pes));
		for (uint32_t k = 0; k < p->count; k++) {
			uint8_t mark[VMFS_SECTOR_SIZE] = { (uint8_t)(p->pes[k] + 1) };
			put(bds[i], LVM_DATA_OFF + k * LVM_PE_SIZE, mark, sizeof(mark));
		}
	}
}

/* Opens and closes them, in the other order; what is read when it is 0. */
static int join(const struct pieces pieces[EXTENTS], bool is_degraded,
		struct collect *told, struct lvm *lvm)
{
	struct bdev *bds[EXTENTS];
	uint8_t mark[VMFS_SECTOR_SIZE];

	make_extents(pieces, bds);
	struct bdev *given[EXTENTS] = { bds[1], bds[0] };
	int err = is_degraded
			  ? lvm_open_degraded(bds, 1, collect_init(told), lvm)
			  : lvm_open(given, EXTENTS, collect_init(told), lvm);
	for (uint64_t pe = 0; !err && pe < 9; pe++) {
		bool is_there = !is_degraded || (pe != 3 && pe != 4 && pe != 7);
		int rc = lvm_read(lvm, pe * LVM_PE_SIZE, mark, sizeof(mark));
		assert_int_equal(rc, is_there ? 0 : -ENODEV);
		assert_true(!is_there || mark[0] == pe + 1);
	}
	for (uint32_t i = 0; i < EXTENTS; i++)
		bdev_close(bds[i]);
	return err;
}

/* By the PE tables, whatever the descriptors say of the last PE: then it is odd. */
static void pieces_are_read(void **state)
{
	struct lvm *lvm = malloc(sizeof(*lvm));
	struct pieces changed[EXTENTS] = { sound[0], sound[1] };
	struct collect told;

	(void)state;
	assert_non_null(lvm);
	if (join(sound, false, &told, lvm))
		fail_msg("%s", collect_text(&told));
	assert_string_equal(lvm->extents[0].odd, "");
	assert_string_equal(lvm->extents[1].odd, "");
	assert_int_equal(lvm->run_count, 5);
	collect_done(&told);
	changed[0].pe_last = 5; /* its first plus its count */
	assert_int_equal(join(changed, false, &told, lvm), 0);
	assert_non_null(strstr(lvm->extents[0].odd, "last PE 5"));
	collect_done(&told);
	assert_int_equal(join(sound, true, &told, lvm), 0);
	assert_true(collect_has(&told, "with PEs 3 to 4, is missing"));
	assert_true(collect_has(&told, "with PEs 7 to 7, is missing"));
	collect_done(&told);
	free(lvm);
}

/* Tables that do not say of each PE where it is, once. */
static void pieces_that_do_not_fit_are_refused(void **state)
{
	static const struct {
		unsigned int extent, entry;
		uint64_t pe;
		int err;
		const char *words;
	} wrecks[] = {
		{ 0, 5, 7, -EUCLEAN, "PE 7 is on" },
		{ 0, 3, 6, -EUCLEAN, "PE 4 is volume offset 0x60000000, not" },
		{ 0, 3, 2, -EUCLEAN, "PE 3 is volume offset 0x20000000, not" },
		{ 1, 2, 9, -EUCLEAN, "PE 2 is volume offset 0x90000000, not" },
		{ 1, 2, 8, -ENODEV, "with PEs 7 to 7, is missing" },
	};
	struct lvm *lvm = malloc(sizeof(*lvm));

	(void)state;
	assert_non_null(lvm);
	for (size_t i = 0; i < ARRAY_SIZE(wrecks); i++) {
		struct pieces changed[EXTENTS] = { sound[0], sound[1] };
		struct collect told;

		changed[wrecks[i].extent].pes[wrecks[i].entry] = wrecks[i].pe;
		assert_int_equal(join(changed, false, &told, lvm), wrecks[i].err);
		if (!collect_has(&told, wrecks[i].words))
			fail_msg("%s: %s", wrecks[i].words, collect_text(&told));
		collect_done(&told);
	}
	free(lvm);
}

/* fsck believes them as a whole, and says what a descriptor should. */
static void fsck_knows_pieces(void **state)
{
	static struct findings all;
	struct fsck_summary summary;
	struct pieces changed[EXTENTS] = { sound[0], sound[1] };
	struct bdev *bds[EXTENTS];

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		changed[0].pe_last = i ? 5 : 8;
		make_extents(changed, bds);
		assert_int_equal(wreck_check(bds, EXTENTS, &all, &summary), 0);
		assert_int_equal(all.counts[PROBLEM_LVM_PE_ENTRY], 0);
		assert_int_equal(all.counts[PROBLEM_LVM_VOLUME_SIZE], 0);
		assert_int_equal(all.counts[PROBLEM_LVM_VOLUME_PES], i);
		bdev_close(bds[0]);
		bdev_close(bds[1]);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	const struct CMUnitTest tests[] = {
		T(both_regions_are_found),
		T(bytes_are_read_over_the_seam),
		T(a_bad_extension_is_refused),
		T(fsck_makes_a_header_anew),
		T(fsck_makes_no_header_up),
		T(fsck_follows_the_regions),
		T(either_count_of_maps_is_read),
		cmocka_unit_test(pieces_are_read),
		cmocka_unit_test(pieces_that_do_not_fit_are_refused),
		cmocka_unit_test(fsck_knows_pieces),
	};
#undef T
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
