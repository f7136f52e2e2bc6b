/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual disks on a real volume, which mkfs makes in a sparse file for each test.
 * "Hosts" are two opens of it in this process.
 */
#include <errno.h>
#include <fcntl.h>
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
#include "base/buf.h"
#include "base/env.h"
#include "bdev/worker.h"
#include "mkfs/write.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "vdisk/vdisk.h"

#define SIZE (LVM_DATA_OFF + 4 * LVM_PE_SIZE)
#define MIB (1ull << 20)

struct host {
	struct bdev *bd;
	struct vmfs_volume *vol;
	struct collect told;
};

struct rig {
	char image[64], file[64];
	struct host a;
};

static void join_as(const struct rig *rig, const char *name, struct host *h)
{
	struct vmfs_open_options options = { .devices = &h->bd,
					     .device_count = 1,
					     .host_name = name,
					     .time_divisor = 8 };
	options.reporter = collect_init(&h->told);
	assert_int_equal(bdev_file_open(rig->image, 0, options.reporter, &h->bd), 0);
	assert_int_equal(vmfs_volume_open(&options, &h->vol), 0);
}

static void leave(struct host *h)
{
	assert_int_equal(vmfs_volume_close(h->vol), 0);
	bdev_close(h->bd);
	collect_done(&h->told);
}

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct bdev *bd;
	strcpy(rig->image, "/tmp/vmfs-disk-XXXXXX");
	strcpy(rig->file, "/tmp/vmfs-raw-XXXXXX");
	int image_fd = mkstemp(rig->image), file_fd = mkstemp(rig->file);
	assert_true(file_fd >= 0 && image_fd >= 0);
	assert_int_equal(ftruncate(image_fd, SIZE), 0);
	assert_int_equal(close(image_fd) + close(file_fd), 0);
	assert_int_equal(bdev_file_open(rig->image, 0, NULL, &bd), 0);
	assert_int_equal(mkfs_layout_make(rig->image, bd->size, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, bd);
	strcpy(options.label, "unit");
	assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
	bdev_close(bd);
	join_as(rig, "host-a", &rig->a);
	assert_int_equal(vmfs_mkdir(rig->a.vol, "/vm", 0755), 0);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;
	leave(&rig->a);
	unlink(rig->image);
	unlink(rig->file);
	free(rig);
	return 0;
}

/* ---- helpers ---- */

static uint64_t free_blocks(struct host *h)
{
	struct vmfs_volume_info info;
	assert_int_equal(vmfs_volume_info(h->vol, &info), 0);
	return info.free_block_count;
}

/* Names in a directory, beside "." and "..". */
static unsigned int name_count(struct host *h, const char *path)
{
	struct vmfs_stat st;
	struct vmfs_dirent entry[16];
	assert_int_equal(vmfs_stat(h->vol, path, &st), 0);
	int count = vmfs_readdir(h->vol, st.addr, 0, entry, ARRAY_SIZE(entry));
	assert_true(count >= 2);
	return (unsigned int)count - 2;
}

static void create(struct host *h, const char *path, uint64_t size,
		   enum vdisk_format format)
{
	const struct vdisk_create_options options = { .capacity_bytes = size,
						      .format = format,
						      .reporter = &h->told.base };
	assert_int_equal(vdisk_create(h->vol, path, &options), 0);
}

static int try_open(struct host *h, const char *path, uint32_t flags,
		    struct vdisk **ret_disk, struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options options = { .flags = flags,
						    .reporter = &h->told.base };
	return vdisk_open(h->vol, path, &options, ret_disk, ret_holder);
}

static struct vdisk *opened(struct host *h, const char *path, uint32_t flags)
{
	struct vdisk *disk = NULL;
	assert_int_equal(try_open(h, path, flags, &disk, NULL), 0);
	return disk;
}

static void write_text(struct host *h, const char *path, const char *text)
{
	const struct vmfs_file_options how = { .flags = VMFS_CREATE | VMFS_WRITE,
					       .mode = 0600 };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(h->vol, path, &how, &file, NULL), 0);
	assert_int_equal(vmfs_file_truncate(file, 0), 0);
	assert_int_equal(vmfs_file_write(file, text, strlen(text), 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* The host's file: size bytes, of which some pieces are data. */
static void make_raw(const struct rig *rig, uint64_t size)
{
	static const uint64_t at[] = { 0, 3 * MIB + 512, 9 * MIB, 14 * MIB - 4096 };
	char buf[8192];
	int file_fd = open(rig->file, O_WRONLY | O_TRUNC);
	assert_int_equal(ftruncate(file_fd, (off_t)size), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(at); i++) {
		fill_bytes(buf, sizeof(buf), i);
		assert_int_equal(pwrite(file_fd, buf, sizeof(buf), (off_t)at[i]),
				 sizeof(buf));
	}
	/* Zeros that are written are no hole, but a block of them is as good as one. */
	memset(buf, 0, sizeof(buf));
	assert_int_equal(pwrite(file_fd, buf, sizeof(buf), 6 * MIB), sizeof(buf));
	assert_int_equal(close(file_fd), 0);
}

/* The disk holds what the host's file holds, and zeros behind. */
static void assert_equals_raw(struct host *h, const char *path, const struct rig *rig)
{
	struct vdisk *disk = opened(h, path, VDISK_READ);
	uint64_t size = vdisk_capacity(disk);
	char *a = io_alloc(size), *b = io_alloc(size);
	int file_fd = open(rig->file, O_RDONLY);
	assert_true(read(file_fd, a, size) > 0);
	assert_int_equal(close(file_fd), 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), b, size, 0), 0);
	assert_memory_equal(a, b, size);
	assert_int_equal(vdisk_close(disk), 0);
	free(a);
	free(b);
}

static int import(struct host *h, const char *from, const char *path,
		  enum vdisk_format format, struct vdisk_progress *progress)
{
	const struct vdisk_create_options options = { .format = format,
						      .progress = progress,
						      .reporter = &h->told.base };
	struct vdisk_source *source;
	int rc = vdisk_source_open_host(from, NULL, &h->told.base, &source);
	if (rc == 0) {
		rc = vdisk_import(h->vol, path, source, &options);
		vdisk_source_close(source);
	}
	return rc;
}

/* ---- creating ---- */

static void a_new_disk_has_the_blocks_of_its_format(void **state)
{
	struct rig *rig = *state;
	static const struct {
		const char *path, *flat;
		uint64_t blocks, tbz;
	} cases[] = {
		[VDISK_THIN] = { "/vm/t.vmdk", "/vm/t-flat.vmdk", 0, 0 },
		[VDISK_ZEROEDTHICK] = { "/vm/z.vmdk", "/vm/z-flat.vmdk", 20, 20 },
		[VDISK_EAGERZEROEDTHICK] = { "/vm/e.vmdk", "/vm/e-flat.vmdk", 20, 0 },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmfs_stat st;
		char buf[4096];
		create(&rig->a, cases[i].path, 20 * MIB, (enum vdisk_format)i);
		assert_int_equal(vmfs_stat(rig->a.vol, cases[i].flat, &st), 0);
		assert_int_equal(st.size_bytes, 20 * MIB);
		assert_int_equal(st.block_count, cases[i].blocks);
		assert_int_equal(st.tbz_count, cases[i].tbz);
		struct vdisk *disk = opened(&rig->a, cases[i].path, VDISK_WRITE);
		assert_int_equal(vdisk_type(disk), i);
		assert_int_equal(vdisk_capacity(disk), 20 * MIB);
		assert_string_equal(vdisk_adapter(disk), "lsilogic");
		assert_int_equal(strlen(vdisk_uuid(disk)), 47);
		assert_int_equal(vdisk_extent_count(disk), 1);
		assert_string_equal(vdisk_extent_path(disk, 0), cases[i].flat);
		memset(buf, 1, sizeof(buf));
		assert_int_equal(bdev_read(vdisk_bdev(disk), buf, 4096, 20 * MIB - 4096),
				 0);
		assert_true(buf[0] == 0 && !memcmp(buf, buf + 1, 4095));
		assert_int_equal(vdisk_close(disk), 0);
	}
	assert_int_equal(collect_count(&rig->a.told, REPORT_ERROR), 0);
}

static void a_disk_is_made_once(void **state)
{
	struct rig *rig = *state;
	const struct vdisk_create_options options = { .capacity_bytes = MIB,
						      .format = VDISK_THIN,
						      .reporter = &rig->a.told.base };
	create(&rig->a, "/vm/d.vmdk", MIB, VDISK_THIN);
	assert_int_equal(vdisk_create(rig->a.vol, "/vm/d.vmdk", &options), -EEXIST);
	assert_int_equal(collect_count(&rig->a.told, REPORT_ERROR), 0);
	/* What an interrupted maker has left is named. */
	assert_int_equal(vmfs_unlink(rig->a.vol, "/vm/d.vmdk"), 0);
	assert_int_equal(vdisk_create(rig->a.vol, "/vm/d.vmdk", &options), -EEXIST);
	assert_true(collect_has(&rig->a.told, "/vm/d-flat.vmdk: exists without"));
	assert_int_equal(name_count(&rig->a, "/vm"), 1);
}

static void bad_requests_make_nothing(void **state)
{
	struct rig *rig = *state;
	static const struct {
		const char *path, *adapter;
		uint64_t size;
		int error;
	} cases[] = {
		{ "/vm/d.vmdk", NULL, 0, -EINVAL },
		{ "/vm/d.vmdk", NULL, 1000, -EINVAL },
		{ "/vm/d.vmdk", "floppy", MIB, -EINVAL },
		{ "/vm/d.img", NULL, MIB, -EINVAL },
		{ "/vm/.vmdk", NULL, MIB, -EINVAL },
		{ "/vm/a\"b.vmdk", NULL, MIB, -EINVAL },
		{ "vm/d.vmdk", NULL, MIB, -EINVAL },
		{ "/no/d.vmdk", NULL, MIB, -ENOENT },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vdisk_create_options options = { .capacity_bytes = cases[i].size,
							.adapter = cases[i].adapter,
							.reporter = &rig->a.told.base };
		collect_clear(&rig->a.told);
		assert_int_equal(vdisk_create(rig->a.vol, cases[i].path, &options),
				 cases[i].error);
		assert_int_equal(collect_count(&rig->a.told, REPORT_ERROR),
				 cases[i].error == -EINVAL);
	}
	assert_int_equal(name_count(&rig->a, "/vm"), 0);
}

static void a_disk_that_cannot_fit_is_refused_at_once(void **state)
{
	struct rig *rig = *state;
	const struct vdisk_create_options options = { .capacity_bytes = 1ull << 40,
						      .format = VDISK_EAGERZEROEDTHICK,
						      .reporter = &rig->a.told.base };
	uint64_t before = free_blocks(&rig->a);
	assert_int_equal(vdisk_create(rig->a.vol, "/vm/d.vmdk", &options), -ENOSPC);
	assert_true(collect_has(&rig->a.told, "needs 1 TiB"));
	assert_int_equal(name_count(&rig->a, "/vm"), 0);
	assert_int_equal(free_blocks(&rig->a), before);
}

/* ---- the contents ---- */

/* Random I/O, asynchronous with a pool, to a disk and to memory. */
static void scribble(struct rig *rig, enum vdisk_format format)
{
	enum { DISK_BYTES = 6 << 20, ROUNDS = 400, MOST = 300 << 10 };
	struct worker_pool *pool = worker_pool_new("test", 2);
	char *model = calloc(1, DISK_BYTES), *buf = io_alloc(DISK_BYTES);
	uint64_t n = random_u64(), seed = n;
	create(&rig->a, "/vm/s.vmdk", DISK_BYTES, format);
	struct vdisk *disk = opened(&rig->a, "/vm/s.vmdk", VDISK_WRITE);
	struct bdev *bd = vdisk_bdev(disk);
	bdev_set_pool(bd, pool);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		n = n * 6364136223846793005u + 1442695040888963407u;
		uint64_t at = (n >> 33) % (DISK_BYTES / 512) * 512;
		uint64_t len = min_u64(((n >> 20) % (MOST / 512) + 1) * 512,
				       DISK_BYTES - at);
		unsigned int op = (n >> 16) % 8;
		int rc;
		if (op < 5) {
			fill_bytes(buf, len, (uint32_t)n);
			memcpy(model + at, buf, len);
			rc = batch_one(bd, BDEV_WRITE, op == 0 ? BDEV_FUA : 0, buf, len,
				       at);
		} else if (op == 5) {
			memset(model + at, 0, len);
			rc = bdev_zero(bd, len, at);
		} else if (op == 6 && bd->has_unmap) {
			memset(model + at, 0, len);
			rc = batch_one(bd, BDEV_UNMAP, 0, NULL, len, at);
		} else {
			rc = batch_one(bd, BDEV_READ, 0, buf, len, at);
			if (memcmp(buf, model + at, len) != 0)
				print_message("seed %llu round %u\n",
					      (unsigned long long)seed, round);
			assert_memory_equal(buf, model + at, len);
		}
		assert_int_equal(rc, 0);
	}
	assert_int_equal(batch_one(bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(vdisk_close(disk), 0);
	worker_pool_free(pool);
	disk = opened(&rig->a, "/vm/s.vmdk", VDISK_READ);
	assert_int_equal(bdev_read(vdisk_bdev(disk), buf, DISK_BYTES, 0), 0);
	assert_memory_equal(buf, model, DISK_BYTES);
	assert_int_equal(vdisk_close(disk), 0);
	free(buf);
	free(model);
}

static void random_io_on_a_thin_disk_equals_memory(void **state)
{
	scribble(*state, VDISK_THIN);
}

static void random_io_on_a_zeroedthick_disk_equals_memory(void **state)
{
	scribble(*state, VDISK_ZEROEDTHICK);
}

static void random_io_on_an_eagerzeroedthick_disk_equals_memory(void **state)
{
	scribble(*state, VDISK_EAGERZEROEDTHICK);
}

static void random_io_on_a_sparse_disk_equals_memory(void **state)
{
	scribble(*state, VDISK_MONOLITHIC_SPARSE);
}

static void random_io_on_a_disk_in_parts_equals_memory(void **state)
{
	scribble(*state, VDISK_2GB_SPARSE);
}

static void a_disk_of_two_extents_is_one_disk(void **state)
{
	struct rig *rig = *state;
	char buf[8192], got[8192];
	create(&rig->a, "/vm/x.vmdk", MIB, VDISK_THIN);
	create(&rig->a, "/vm/y.vmdk", 2 * MIB, VDISK_THIN);
	write_text(&rig->a, "/vm/two.vmdk",
		   "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
		   "createType=\"twoGbMaxExtentFlat\"\n"
		   "RW 2048 VMFS \"x-flat.vmdk\"\nRW 2048 FLAT \"y-flat.vmdk\" 8\n");
	struct vdisk *disk = opened(&rig->a, "/vm/two.vmdk", VDISK_WRITE);
	assert_int_equal(vdisk_capacity(disk), 2 * MIB);
	fill_bytes(buf, sizeof(buf), 9);
	assert_int_equal(bdev_write(vdisk_bdev(disk), buf, 8192, MIB - 4096), 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), got, 8192, MIB - 4096), 0);
	assert_memory_equal(buf, got, 8192);
	assert_int_equal(bdev_flush(vdisk_bdev(disk)), 0);
	assert_int_equal(vdisk_close(disk), 0);
	disk = opened(&rig->a, "/vm/y.vmdk", VDISK_READ);
	assert_int_equal(bdev_read(vdisk_bdev(disk), got, 4096, 4096), 0);
	assert_memory_equal(buf + 4096, got, 4096);
	assert_int_equal(vdisk_close(disk), 0);
	assert_int_equal(
		vdisk_rename(rig->a.vol, "/vm/two.vmdk", "/vm/2.vmdk", NULL, NULL),
		-EOPNOTSUPP);
}

/* ---- locks ---- */

static void a_disk_in_use_is_busy_to_another_host(void **state)
{
	struct rig *rig = *state;
	struct host b;
	struct vmfs_holder holder;
	struct uuid owner;
	struct vdisk *disk, *other = NULL;
	uint32_t slot;
	char text[VMFS_HOLDER_TEXT_SIZE];
	join_as(rig, "host-b", &b);
	create(&rig->a, "/vm/d.vmdk", MIB, VDISK_THIN);
	disk = opened(&rig->a, "/vm/d.vmdk", VDISK_WRITE);
	assert_int_equal(vmfs_volume_identity(rig->a.vol, &owner, &slot), 0);
	memset(&holder, 0, sizeof(holder));
	assert_int_equal(try_open(&b, "/vm/d.vmdk", VDISK_WRITE, &other, &holder),
			 -EBUSY);
	assert_true(uuid_equal(&holder.owner, &owner));
	assert_non_null(strstr(vmfs_holder_text(&holder, text), "host-a"));
	memset(&holder, 0, sizeof(holder));
	assert_int_equal(vdisk_remove(b.vol, "/vm/d.vmdk", &b.told.base, &holder),
			 -EBUSY);
	assert_true(uuid_equal(&holder.owner, &owner));
	assert_int_equal(vdisk_rename(b.vol, "/vm/d.vmdk", "/vm/e.vmdk", &b.told.base,
				      &holder),
			 -EBUSY);
	assert_int_equal(try_open(&b, "/vm/d.vmdk", VDISK_READ_LOCKED, &other, &holder),
			 -EBUSY);
	assert_int_equal(try_open(&b, "/vm/d.vmdk", VDISK_READ, &other, NULL), 0);
	assert_int_equal(vdisk_close(other), 0);
	assert_int_equal(collect_count(&b.told, REPORT_ERROR), 0);
	assert_int_equal(name_count(&b, "/vm"), 2);
	assert_int_equal(vdisk_close(disk), 0);
	assert_int_equal(vdisk_remove(b.vol, "/vm/d.vmdk", &b.told.base, &holder), 0);
	assert_int_equal(name_count(&rig->a, "/vm"), 0);
	leave(&b);
}

/* ---- importing ---- */

static void an_import_holds_what_the_image_holds(void **state)
{
	struct rig *rig = *state;
	static const char *const paths[] = { "/vm/t.vmdk", "/vm/z.vmdk", "/vm/e.vmdk" };
	struct vmfs_stat st;
	make_raw(rig, 40 * MIB + 100); /* no whole sectors */
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++) {
		assert_int_equal(import(&rig->a, rig->file, paths[i],
					(enum vdisk_format)i, NULL), 0);
		struct vdisk *disk = opened(&rig->a, paths[i], VDISK_READ);
		assert_int_equal(vdisk_capacity(disk), 40 * MIB + 512);
		assert_int_equal(vdisk_type(disk), i);
		assert_int_equal(vdisk_close(disk), 0);
		assert_equals_raw(&rig->a, paths[i], rig);
	}
	/* Blocks 0, 3, 9, 13 and 14 hold data. */
	assert_int_equal(vmfs_stat(rig->a.vol, "/vm/t-flat.vmdk", &st), 0);
	assert_int_equal(st.block_count, 5);
	assert_int_equal(vmfs_stat(rig->a.vol, "/vm/z-flat.vmdk", &st), 0);
	assert_int_equal(st.block_count, 41);
	assert_int_equal(st.tbz_count, 41 - 5);
	assert_int_equal(vmfs_stat(rig->a.vol, "/vm/e-flat.vmdk", &st), 0);
	assert_int_equal(st.block_count, 41);
	assert_int_equal(st.tbz_count, 0);
}

static void a_disk_is_cloned_to_another_format_and_host(void **state)
{
	struct rig *rig = *state;
	struct vdisk_create_options options = { .format = VDISK_THIN,
						.adapter = "buslogic",
						.reporter = &rig->a.told.base };
	struct vdisk_source *source;
	struct vdisk *disk, *other = NULL;
	struct vmfs_stat st;
	make_raw(rig, 20 * MIB);
	assert_int_equal(import(&rig->a, rig->file, "/vm/e.vmdk", VDISK_EAGERZEROEDTHICK,
				NULL), 0);
	disk = opened(&rig->a, "/vm/e.vmdk", VDISK_READ_LOCKED);
	assert_int_equal(try_open(&rig->a, "/vm/e.vmdk", VDISK_WRITE, &other, NULL),
			 -EBUSY);
	assert_int_equal(vdisk_source_open_disk(disk, &source), 0);
	assert_int_equal(vdisk_source_capacity(source), 20 * MIB);
	assert_int_equal(vdisk_import(rig->a.vol, "/vm/t.vmdk", source, &options), 0);
	vdisk_source_close(source);
	assert_int_equal(vdisk_close(disk), 0);
	assert_equals_raw(&rig->a, "/vm/t.vmdk", rig);
	assert_int_equal(vmfs_stat(rig->a.vol, "/vm/t-flat.vmdk", &st), 0);
	assert_int_equal(st.block_count, 5);
	disk = opened(&rig->a, "/vm/t.vmdk", VDISK_READ);
	assert_string_equal(vdisk_adapter(disk), "buslogic");
	assert_int_equal(vdisk_close(disk), 0);
}

struct impatient {
	struct vdisk_progress base;
	unsigned int steps_left;
	uint64_t done, total;
};

static bool impatient_step(struct vdisk_progress *base, uint64_t done, uint64_t total)
{
	struct impatient *p = (struct impatient *)base;
	assert_true(done > p->done && done <= total);
	p->done = done;
	p->total = total;
	return p->steps_left-- > 0;
}

/* Stopped after each possible step, an import leaves neither a name nor a block. */
static void a_stopped_import_leaves_nothing(void **state)
{
	struct rig *rig = *state;
	unsigned int steps = 0;
	int rc;
	make_raw(rig, 20 * MIB);
	uint64_t before = free_blocks(&rig->a);
	do {
		struct impatient p = { .base = { impatient_step },
				       .steps_left = steps++ };
		rc = import(&rig->a, rig->file, "/vm/d.vmdk", VDISK_EAGERZEROEDTHICK,
			    &p.base);
		if (rc < 0) {
			assert_int_equal(rc, -ECANCELED);
			assert_int_equal(name_count(&rig->a, "/vm"), 0);
			assert_int_equal(free_blocks(&rig->a), before);
		} else {
			assert_int_equal(p.done, p.total);
		}
	} while (rc < 0);
	assert_true(steps > 4);
	assert_equals_raw(&rig->a, "/vm/d.vmdk", rig);
}

/* A thin import that fills the volume stops with one sentence and gives all back. */
static void an_import_into_a_full_volume_leaves_nothing(void **state)
{
	struct rig *rig = *state;
	make_raw(rig, 20 * MIB);
	struct vmfs_volume_info info;
	assert_int_equal(vmfs_volume_info(rig->a.vol, &info), 0);
	create(&rig->a, "/vm/fill.vmdk", info.free_bytes - 2 * MIB, VDISK_ZEROEDTHICK);
	uint64_t left = free_blocks(&rig->a);
	assert_int_equal(import(&rig->a, rig->file, "/vm/d.vmdk", VDISK_THIN, NULL),
			 -ENOSPC);
	assert_int_equal(collect_count(&rig->a.told, REPORT_ERROR), 1);
	assert_int_equal(name_count(&rig->a, "/vm"), 2);
	assert_int_equal(free_blocks(&rig->a), left);
}

static void images_that_are_not_raw_are_refused_by_name(void **state)
{
	struct rig *rig = *state;
	static const struct {
		const char *head, *said;
		size_t len;
	} cases[] = {
		{ "QFI\xfb\0\0\0\3", "qcow", 8 },
		{ "KDMV\1\0\0\0", "no sparse header", 8 },
		{ "vhdxfile", "VHDX", 8 },
		{ "conectix", "VHD", 8 },
		{ "# Disk DescriptorFile\nversion=1\n", "CID", 32 },
		{ "", "is empty", 0 },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		int file_fd = open(rig->file, O_WRONLY | O_TRUNC);
		assert_int_equal(write(file_fd, cases[i].head, cases[i].len),
				 cases[i].len);
		assert_int_equal(close(file_fd), 0);
		collect_clear(&rig->a.told);
		assert_true(import(&rig->a, rig->file, "/vm/d.vmdk", VDISK_THIN, NULL) <
			    0);
		assert_true(collect_has(&rig->a.told, cases[i].said));
		assert_int_equal(collect_count(&rig->a.told, REPORT_ERROR), 1);
	}
	assert_int_equal(name_count(&rig->a, "/vm"), 0);
}

/* ---- renaming and removing ---- */

static void a_renamed_disk_is_the_same_disk(void **state)
{
	struct rig *rig = *state;
	struct vmfs_stat before, after;
	make_raw(rig, 15 * MIB);
	assert_int_equal(vmfs_mkdir(rig->a.vol, "/other", 0755), 0);
	assert_int_equal(import(&rig->a, rig->file, "/vm/old.vmdk", VDISK_THIN, NULL), 0);
	create(&rig->a, "/vm/there.vmdk", MIB, VDISK_THIN);
	assert_int_equal(vmfs_stat(rig->a.vol, "/vm/old-flat.vmdk", &before), 0);
	assert_int_equal(vdisk_rename(rig->a.vol, "/vm/old.vmdk", "/vm/there.vmdk", NULL,
				      NULL),
			 -EEXIST);
	assert_int_equal(vdisk_rename(rig->a.vol, "/vm/old.vmdk", "/other/new.vmdk",
				      &rig->a.told.base, NULL),
			 0);
	assert_int_equal(name_count(&rig->a, "/vm"), 2);
	assert_int_equal(name_count(&rig->a, "/other"), 2);
	assert_int_equal(vmfs_stat(rig->a.vol, "/other/new-flat.vmdk", &after), 0);
	assert_int_equal(before.addr.raw, after.addr.raw);
	assert_equals_raw(&rig->a, "/other/new.vmdk", rig);
	assert_int_equal(
		vdisk_rename(rig->a.vol, "/vm/old.vmdk", "/vm/x.vmdk", NULL, NULL),
		-ENOENT);
}

static void a_removed_disk_gives_its_blocks_back(void **state)
{
	struct rig *rig = *state;
	uint64_t before = free_blocks(&rig->a);
	create(&rig->a, "/vm/d.vmdk", 30 * MIB, VDISK_EAGERZEROEDTHICK);
	assert_int_equal(free_blocks(&rig->a), before - 30);
	assert_int_equal(vdisk_remove(rig->a.vol, "/vm/d.vmdk", NULL, NULL), 0);
	assert_int_equal(name_count(&rig->a, "/vm"), 0);
	assert_int_equal(free_blocks(&rig->a), before);
	assert_int_equal(vdisk_remove(rig->a.vol, "/vm/d.vmdk", NULL, NULL), -ENOENT);
	/* An extent that is gone already does not keep the descriptor. */
	create(&rig->a, "/vm/d.vmdk", MIB, VDISK_THIN);
	assert_int_equal(vmfs_unlink(rig->a.vol, "/vm/d-flat.vmdk"), 0);
	struct vdisk *disk = NULL;
	assert_int_equal(try_open(&rig->a, "/vm/d.vmdk", VDISK_READ, &disk, NULL),
			 -ENOENT);
	assert_true(collect_has(&rig->a.told, "extent /vm/d-flat.vmdk is missing"));
	assert_int_equal(vdisk_remove(rig->a.vol, "/vm/d.vmdk", &rig->a.told.base, NULL),
			 0);
	assert_int_equal(collect_count(&rig->a.told, REPORT_WARN), 1);
	assert_int_equal(name_count(&rig->a, "/vm"), 0);
}

/* ---- damage ---- */

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=1\ncreateType=\"vmfs\"\nparentCID="

static void descriptors_that_do_not_fit_are_refused(void **state)
{
	struct rig *rig = *state;
	static const struct {
		const char *text;
		int error;
		const char *said;
	} cases[] = {
		{ HEAD "ffffffff\nRW 2049 VMFS \"x-flat.vmdk\"\n", -EUCLEAN,
		  "the descriptor says 1049088" },
		{ HEAD "ffffffff\nRW 2048 FLAT \"x-flat.vmdk\" 1\n", -EUCLEAN,
		  "from 512" },
		{ HEAD "ffffffff\nRW 1 VMFS \"x-flat.vmdk\"\nRW 1 VMFS \"x-flat.vmdk\"\n",
		  -EUCLEAN, "are both" },
		{ HEAD "ffffffff\nRW 1 VMFS \"../vm/x-flat.vmdk\"\n", -EOPNOTSUPP,
		  "not beside" },
		{ HEAD "ffffffff\nRW 1 VMFSSPARSE \"x-flat.vmdk\"\n", -EUCLEAN,
		  "is not a vmfsSparse file" },
		{ HEAD "00000001\nRW 1 VMFS \"x-flat.vmdk\"\n", -EOPNOTSUPP, "snapshot" },
		{ HEAD "ffffffff\nRDONLY 1 VMFS \"x-flat.vmdk\"\n", -EROFS, "not RW" },
		{ HEAD "ffffffff\nRW 1 VMFS \"y-flat.vmdk\"\n", -ENOENT, "missing" },
		{ "KDMV....", -EUCLEAN, "no sparse header" },
		{ "hello", -EMEDIUMTYPE, "not a VMDK descriptor" },
		{ "", -EMEDIUMTYPE, "not a VMDK descriptor" },
	};
	create(&rig->a, "/vm/x.vmdk", MIB, VDISK_THIN);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vdisk *disk = NULL;
		write_text(&rig->a, "/vm/d.vmdk", cases[i].text);
		collect_clear(&rig->a.told);
		assert_int_equal(
			try_open(&rig->a, "/vm/d.vmdk", VDISK_WRITE, &disk, NULL),
			cases[i].error);
		if (!collect_has(&rig->a.told, cases[i].said))
			print_message("%u: %s\n", i, collect_text(&rig->a.told));
		assert_true(collect_has(&rig->a.told, cases[i].said));
		assert_int_equal(collect_count(&rig->a.told, REPORT_ERROR), 1);
	}
	/* nothing held */
	struct vdisk *disk = opened(&rig->a, "/vm/x.vmdk", VDISK_WRITE);
	assert_int_equal(vdisk_close(disk), 0);
}

/*
 * Two readers of one mount, a clone and a look say: each keeps writers away, here and
 * elsewhere, until it closes; and who has it alone may write.
 */
static void a_disk_is_read_twice_through_one_mount(void **state)
{
	const struct vmfs_file_options read = { .flags = VMFS_READ_LOCKED };
	struct rig *rig = *state;
	struct vdisk *one, *two, *writer = NULL;
	struct vmfs_file *first, *second;
	struct host b;
	char byte[512];
	create(&rig->a, "/vm/d.vmdk", 4 * MIB, VDISK_THIN);
	join_as(rig, "host-b", &b);
	one = opened(&rig->a, "/vm/d.vmdk", VDISK_READ_LOCKED);
	two = opened(&rig->a, "/vm/d.vmdk", VDISK_READ_LOCKED);
	assert_int_equal(try_open(&rig->a, "/vm/d.vmdk", VDISK_WRITE, &writer, NULL),
			 -EBUSY);
	assert_int_equal(vdisk_close(one), 0);
	assert_int_equal(bdev_read(vdisk_bdev(two), byte, sizeof(byte), 0), 0);
	assert_int_equal(try_open(&rig->a, "/vm/d.vmdk", VDISK_WRITE, &writer, NULL),
			 -EBUSY);
	assert_int_equal(try_open(&b, "/vm/d.vmdk", VDISK_WRITE, &writer, NULL), -EBUSY);
	assert_int_equal(vdisk_close(two), 0);
	writer = opened(&b, "/vm/d.vmdk", VDISK_WRITE);
	assert_int_equal(try_open(&rig->a, "/vm/d.vmdk", VDISK_READ_LOCKED, &one, NULL),
			 -EBUSY);
	assert_int_equal(vdisk_close(writer), 0);
	const char *path = "/vm/d-flat.vmdk";
	assert_int_equal(vmfs_file_open(rig->a.vol, path, &read, &first, NULL), 0);
	assert_int_equal(vmfs_file_open(rig->a.vol, path, &read, &second, NULL), 0);
	assert_int_equal(vmfs_file_upgrade(first, 0, NULL), -EBUSY);
	assert_int_equal(vmfs_file_close(second), 0);
	assert_int_equal(vmfs_file_upgrade(first, 0, NULL), 0);
	assert_int_equal(vmfs_file_open(rig->a.vol, path, &read, &second, NULL), -EBUSY);
	assert_int_equal(vmfs_file_close(first), 0);
	leave(&b);
}

#define ON_VOLUME(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_VOLUME(a_new_disk_has_the_blocks_of_its_format),
		ON_VOLUME(a_disk_is_made_once),
		ON_VOLUME(bad_requests_make_nothing),
		ON_VOLUME(a_disk_that_cannot_fit_is_refused_at_once),
		ON_VOLUME(random_io_on_a_thin_disk_equals_memory),
		ON_VOLUME(random_io_on_a_zeroedthick_disk_equals_memory),
		ON_VOLUME(random_io_on_an_eagerzeroedthick_disk_equals_memory),
		ON_VOLUME(random_io_on_a_sparse_disk_equals_memory),
		ON_VOLUME(random_io_on_a_disk_in_parts_equals_memory),
		ON_VOLUME(a_disk_of_two_extents_is_one_disk),
		ON_VOLUME(a_disk_in_use_is_busy_to_another_host),
		ON_VOLUME(an_import_holds_what_the_image_holds),
		ON_VOLUME(a_disk_is_cloned_to_another_format_and_host),
		ON_VOLUME(a_stopped_import_leaves_nothing),
		ON_VOLUME(an_import_into_a_full_volume_leaves_nothing),
		ON_VOLUME(images_that_are_not_raw_are_refused_by_name),
		ON_VOLUME(a_renamed_disk_is_the_same_disk),
		ON_VOLUME(a_removed_disk_gives_its_blocks_back),
		ON_VOLUME(descriptors_that_do_not_fit_are_refused),
		ON_VOLUME(a_disk_is_read_twice_through_one_mount),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
