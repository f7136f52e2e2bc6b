/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many tasks read and write without locks of their own, really at the same time, while
 * another member of this process changes what they look at. What they see has to be the
 * bytes of a file at that place, and attributes of one moment; ThreadSanitizer (V=tsan)
 * looks at the memory in between.
 */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "mkfs/write.h"
#include "tests/lib/collect.h"
#include "vmfs/format.h"
#include "vmfs/node.h"

#define SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define SECTOR 512u
#define PIECE 4096u
#define FILES 8u
#define FILE_BYTES (256u << 10)
#define DISK_BYTES (4u << 20)
#define CHANGES 150u
#define READERS 3u
#define WRITERS 3u

struct host {
	struct bdev *bd;
	struct vmfs_volume *vol;
	struct collect told;
};

struct rig {
	char path[64];
	struct host writer, reader;
	struct bdev *disk;
	atomic_bool is_over;
	_Atomic unsigned int looks, reads;
};

/* ---- the volume and its hosts ---- */

static void join(struct rig *rig, struct host *h, const char *name, bool is_read_only)
{
	struct vmfs_open_options options = {
		.devices = &h->bd,
		.device_count = 1,
		.host_name = name,
		.is_read_only = is_read_only,
	};

	memset(options.machine.b, name[0], sizeof(options.machine.b));
	options.reporter = collect_init(&h->told);
	assert_int_equal(bdev_file_open(rig->path, is_read_only ? BDEV_OPEN_READ_ONLY : 0,
					options.reporter, &h->bd),
			 0);
	assert_int_equal(vmfs_volume_open(&options, &h->vol), 0);
}

static void leave(struct host *h)
{
	assert_int_equal(vmfs_volume_close(h->vol), 0);
	assert_int_equal(collect_count(&h->told, REPORT_ERROR), 0);
	bdev_close(h->bd);
	collect_done(&h->told);
}

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct bdev *bd;

	strcpy(rig->path, "/tmp/vmfs-crowd-XXXXXX");
	int file_fd = mkstemp(rig->path);
	assert_true(file_fd >= 0 && !ftruncate(file_fd, SIZE) && !close(file_fd));
	assert_int_equal(bdev_file_open(rig->path, 0, NULL, &bd), 0);
	assert_int_equal(mkfs_layout_make(rig->path, bd->size, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, bd);
	assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
	bdev_close(bd);
	join(rig, &rig->writer, "writer", false);
	assert_int_equal(vmfs_mkdir(rig->writer.vol, "/d", 0755), 0);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	leave(&rig->writer);
	unlink(rig->path);
	free(rig);
	return 0;
}

/* ---- bytes that say where they belong ---- */

static void stamp(uint8_t *buf, uint64_t len, uint64_t at, uint64_t owner)
{
	for (uint64_t off = 0; off < len; off += SECTOR) {
		uint64_t words[3] = { owner, at + off, owner ^ (at + off) };

		memset(buf + off, (int)(owner + 1), SECTOR);
		memcpy(buf + off, words, sizeof(words));
	}
}

/* Nothing yet, or what somebody wrote there. */
static void check(const uint8_t *buf, uint64_t len, uint64_t at)
{
	for (uint64_t off = 0; off + SECTOR <= len; off += SECTOR) {
		uint64_t words[3];

		memcpy(words, buf + off, sizeof(words));
		if (!words[0] && !words[1] && !words[2])
			continue;
		assert(words[1] == at + off && words[2] == (words[0] ^ words[1]));
	}
}

/* ---- who changes ---- */

static const char *name_of(unsigned int i, char name[32])
{
	(void)snprintf(name, 32, "/d/f%u", i % FILES);
	return name;
}

static void write_whole(struct rig *rig, const char *path, uint64_t k)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	/* small ones, too: in the descriptor, in a sub-block */
	uint64_t len = k % 3 ? FILE_BYTES : SECTOR << k % 2;
	struct vmfs_file *file;
	uint8_t *buf = malloc(FILE_BYTES);

	assert(buf && !vmfs_file_open(rig->writer.vol, path, &options, &file, NULL));
	stamp(buf, len, 0, k);
	assert(!vmfs_file_write(file, buf, len, 0));
	assert(!vmfs_file_truncate(file, len));
	assert(!vmfs_file_close(file));
	free(buf);
}

static void change(struct rig *rig, uint64_t k)
{
	struct vmfs_volume *vol = rig->writer.vol;
	struct vmfs_attr attr = {
		.has_owner = true, .uid = (uint32_t)k, .gid = (uint32_t)k
	};
	char path[32], other[32];
	unsigned int i = (unsigned int)(random_u64() % FILES);

	(void)name_of(i, path);
	switch (k % 5) {
	case 0:
		assert(!vmfs_unlink(vol, path));
		write_whole(rig, path, k);
		assert(!vmfs_setattr(vol, path, &attr));
		break;
	case 1:
		assert(!vmfs_rename(vol, path, "/d/aside"));
		assert(!vmfs_rename(vol, name_of(i + 1, other), path));
		assert(!vmfs_rename(vol, "/d/aside", other));
		break;
	case 2:
		assert(!vmfs_setattr(vol, path, &attr));
		break;
	default:
		write_whole(rig, path, k);
	}
}

/* ---- who looks ---- */

static void read_file(struct rig *rig, const char *path)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint8_t buf[PIECE * 4];
	int64_t got = 1;
	int err = vmfs_file_open(rig->reader.vol, path, &options, &file, NULL);

	assert(!err || err == -ENOENT);
	for (uint64_t at = 0; !err && got > 0; at += sizeof(buf)) {
		got = vmfs_file_read(file, buf, sizeof(buf), at);
		assert(got >= 0 || got == -ESTALE || got == -ENOENT);
		if (got > 0)
			check(buf, (uint64_t)got, at);
		rig->reads++;
	}
	if (!err)
		assert(!vmfs_file_close(file));
}

static void look(struct rig *rig, const char *path)
{
	struct vmfs_volume *vol = rig->reader.vol;
	struct vmfs_dirent entries[FILES + 4];
	struct vmfs_node nodes[FILES + 4];
	struct vmfs_stat st, all[FILES + 4];
	int errs[FILES + 4];
	int err = vmfs_stat(vol, path, &st);

	assert(!err || err == -ENOENT);
	assert(err || st.uid == st.gid);
	assert(!vmfs_stat(vol, "/d", &st));
	struct vmfs_node dir = vmfs_node_of(&st);
	err = vmfs_node_lookup(vol, dir, path + 3, &st);
	assert(!err || err == -ENOENT);
	assert(err || st.uid == st.gid);
	int n = vmfs_node_readdir(vol, dir, 0, entries, FILES + 4);
	assert(n > 2 && n <= (int)FILES + 3);
	for (int i = 0; i < n; i++)
		nodes[i] = (struct vmfs_node){ entries[i].addr, entries[i].generation };
	vmfs_node_stat_many(vol, nodes, (unsigned int)n, all, errs);
	for (int i = 0; i < n; i++) {
		assert(!errs[i] || errs[i] == -ENOENT);
		assert(errs[i] || all[i].uid == all[i].gid);
	}
	rig->looks++;
}

static void look_on(void *arg)
{
	struct rig *rig = arg;
	char path[32];

	while (!rig->is_over) {
		(void)name_of((unsigned int)(random_u64() % FILES), path);
		look(rig, path);
		read_file(rig, path);
	}
}

static void watch_changes(struct rig *rig, bool is_read_only)
{
	struct task *tasks[READERS];
	char path[32];

	for (unsigned int i = 0; i < FILES; i++)
		write_whole(rig, name_of(i, path), i + 1);
	join(rig, &rig->reader, "reader", is_read_only);
	rig->is_over = false;
	rig->looks = rig->reads = 0;
	for (unsigned int i = 0; i < READERS; i++)
		tasks[i] = task_start("look", look_on, rig);
	for (uint64_t k = FILES + 1; k < CHANGES || rig->looks < 20; k++)
		change(rig, k);
	rig->is_over = true;
	for (unsigned int i = 0; i < READERS; i++)
		task_join(tasks[i]);
	assert_true(rig->looks >= 20 && rig->reads >= 20);
	leave(&rig->reader);
}

static void who_only_reads_sees_what_is_there(void **state)
{
	watch_changes(*state, true);
}

static void another_member_sees_what_is_there(void **state)
{
	watch_changes(*state, false);
}

/* ---- a disk in use while its blocks come and go ---- */

static void use_disk(void *arg)
{
	struct rig *rig = arg;
	uint8_t *buf = aligned_alloc(PIECE, PIECE);

	assert(buf);
	while (!rig->is_over) {
		uint64_t at = random_u64() % (DISK_BYTES / PIECE) * PIECE;

		if (random_u64() % 2) {
			stamp(buf, PIECE, at, random_u64() % 1000 + 1);
			assert(!bdev_write(rig->disk, buf, PIECE, at));
		} else {
			assert(!bdev_read(rig->disk, buf, PIECE, at));
			check(buf, PIECE, at);
		}
		if (rig->reads++ % 64 == 0)
			assert(!bdev_flush(rig->disk));
	}
	free(buf);
}

static void blocks_come_and_go_under_a_disk_in_use(void **state)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct rig *rig = *state;
	struct task *tasks[WRITERS];
	struct vmfs_file *file;
	struct vmfs_stat st;

	assert_int_equal(vmfs_file_open(rig->writer.vol, "/disk", &options, &file, NULL),
			 0);
	assert_int_equal(vmfs_file_truncate(file, DISK_BYTES), 0);
	assert_int_equal(vmfs_file_bdev(file, &rig->disk), 0);
	rig->is_over = false;
	rig->reads = 0;
	for (unsigned int i = 0; i < WRITERS; i++)
		tasks[i] = task_start("use", use_disk, rig);
	for (uint64_t k = 1; k < CHANGES || rig->reads < 200; k++) {
		uint64_t at = random_u64() % 4 << 20;

		if (k % 3)
			assert_int_equal(vmfs_file_punch(file, at, 1u << 20), 0);
		else
			assert_int_equal(vmfs_file_allocate(file, at, 1u << 20,
							    VMFS_ALLOCATE_TBZ),
					 0);
		assert_int_equal(vmfs_file_stat(file, &st), 0);
		assert_int_equal(st.size_bytes, DISK_BYTES);
		write_whole(rig, "/d/beside", k);
	}
	rig->is_over = true;
	for (unsigned int i = 0; i < WRITERS; i++)
		task_join(tasks[i]);
	bdev_close(rig->disk);
	assert_int_equal(vmfs_file_close(file), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_only_reads_sees_what_is_there, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(another_member_sees_what_is_there, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(blocks_come_and_go_under_a_disk_in_use,
						set_up, tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
