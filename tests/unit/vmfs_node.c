/* SPDX-License-Identifier: Apache-2.0 */
/* Names and files by node: what a node that is gone may not do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/testvol.h"
#include "vmfs/format.h"
#include "vmfs/node.h"

static const struct vmfs_node root;
static const struct vmfs_attr mine = {
	.has_mode = true, .has_owner = true, .mode = 0750, .uid = 7, .gid = 8
};

static struct vmfs_node create(struct testvol *tv, struct vmfs_node dir, const char *name)
{
	const struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE | VMFS_EXCL, .mode = 0640, .owner = mine
	};
	struct vmfs_file *file;
	struct vmfs_stat st;
	assert_int_equal(vmfs_node_create(tv->vol, dir, name, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, "hello", 5, 0), 0);
	assert_int_equal(vmfs_file_stat(file, &st), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	return vmfs_node_of(&st);
}

static int move(struct testvol *tv, struct vmfs_node from_dir, const char *from,
		struct vmfs_node to_dir, const char *to)
{
	const struct vmfs_node_move what = { .from_dir = from_dir, .to_dir = to_dir,
					     .from = from, .to = to };
	return vmfs_node_move(tv->vol, &what);
}

static void check_owner(const struct vmfs_stat *st)
{
	assert_int_equal(st->mode, 0750);
	assert_int_equal(st->uid, 7);
	assert_int_equal(st->gid, 8);
}

static void all_is_done_by_node(void **state)
{
	struct testvol tv;
	struct vmfs_stat dir, st;
	struct vmfs_dirent entries[8];
	char target[16];
	(void)state;
	testvol_new(&tv, 1);
	assert_int_equal(vmfs_node_mkdir(tv.vol, root, "d", &mine, &dir), 0);
	check_owner(&dir);
	struct vmfs_node d = vmfs_node_of(&dir);
	struct vmfs_node f = create(&tv, d, "f");
	assert_int_equal(vmfs_stat(tv.vol, "/d/f", &st), 0);
	check_owner(&st);
	assert_int_equal(st.size_bytes, 5);
	assert_int_equal(vmfs_node_symlink(tv.vol, d, "l", "f", &mine, &st), 0);
	assert_int_equal(vmfs_node_readlink(tv.vol, vmfs_node_of(&st), target, 16), 1);
	assert_int_equal(vmfs_node_readdir(tv.vol, d, 0, entries, 8), 4);
	assert_int_equal(move(&tv, d, "f", root, "g"), 0);
	assert_int_equal(vmfs_node_lookup(tv.vol, root, "g", &st), 0);
	assert_true(st.addr.raw == f.addr.raw && st.generation == f.generation);
	assert_int_equal(vmfs_node_lookup(tv.vol, d, "f", &st), -ENOENT);
	const struct vmfs_attr other = { .has_times = true, .mtime_s = 5, .atime_s = 6 };
	assert_int_equal(vmfs_node_setattr(tv.vol, d, &other), 0);
	assert_int_equal(vmfs_node_setattr(tv.vol, f, &other), 0);
	assert_int_equal(vmfs_node_stat(tv.vol, f, &st), 0);
	check_owner(&st);
	assert_int_equal(st.mtime_s, 5);
	assert_int_equal(vmfs_node_unlink(tv.vol, root, "g"), 0);
	assert_int_equal(vmfs_node_unlink(tv.vol, d, "l"), 0);
	assert_int_equal(vmfs_node_rmdir(tv.vol, root, "d", &st), 0);
	assert_int_equal(st.addr.raw, d.addr.raw);
	assert_int_equal(st.generation, d.generation);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* What changes a node's number, and what does not. */
static void our_own_changes_are_told(void **state)
{
	struct testvol tv;
	struct vmfs_stat dir, st;
	struct vmfs_dirent entries[8];
	(void)state;
	testvol_new(&tv, 1);
	assert_int_equal(vmfs_node_mkdir(tv.vol, root, "d", &mine, &dir), 0);
	struct vmfs_node d = vmfs_node_of(&dir), f = create(&tv, d, "f");
	uint32_t of_d = vmfs_node_changes(tv.vol, d), of_f = vmfs_node_changes(tv.vol, f);
	assert_int_equal(vmfs_node_lookup(tv.vol, d, "f", &st), 0);
	assert_int_equal(vmfs_node_readdir(tv.vol, d, 0, entries, 8), 3);
	vmfs_node_stat_many(tv.vol, &f, 1, &st, &(int){ 0 });
	assert_int_equal(vmfs_node_setattr(tv.vol, d, &mine), 0);
	assert_int_equal(vmfs_node_changes(tv.vol, f), of_f);
	assert_int_not_equal(vmfs_node_changes(tv.vol, d), of_d);
	of_d = vmfs_node_changes(tv.vol, d);
	assert_int_equal(vmfs_node_setattr(tv.vol, f, &mine), 0);
	assert_int_not_equal(vmfs_node_changes(tv.vol, f), of_f);
	assert_int_equal(vmfs_node_changes(tv.vol, d), of_d);
	of_f = vmfs_node_changes(tv.vol, f);
	assert_int_equal(move(&tv, d, "f", d, "g"), 0);
	assert_int_not_equal(vmfs_node_changes(tv.vol, d), of_d);
	/* Longer than it is on the disk: told by the open file. */
	const struct vmfs_file_options writing = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	assert_int_equal(vmfs_node_open(tv.vol, f, &writing, &file, NULL), 0);
	assert_int_equal(vmfs_node_stat(tv.vol, f, &st), 0);
	assert_int_equal(vmfs_file_write(file, "hello, world", 12, 0), 0);
	vmfs_node_patch(tv.vol, &st);
	assert_int_equal(st.size_bytes, 12);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_not_equal(vmfs_node_changes(tv.vol, f), of_f);
	of_d = vmfs_node_changes(tv.vol, d);
	assert_int_equal(vmfs_node_unlink(tv.vol, d, "g"), 0);
	assert_int_not_equal(vmfs_node_changes(tv.vol, d), of_d);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* The next file takes the same descriptor: it is not the one that was meant. */
static void a_node_that_is_gone_stays_gone(void **state)
{
	const struct vmfs_file_options writing = { .flags = VMFS_WRITE };
	struct testvol tv;
	struct vmfs_stat st;
	struct vmfs_dirent entry;
	struct vmfs_file *file;
	char target[16];
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_node old = create(&tv, root, "a");
	assert_int_equal(vmfs_node_unlink(tv.vol, root, "a"), 0);
	assert_int_equal(vmfs_node_stat(tv.vol, old, &st), -ENOENT);
	/* Descriptors are given out in turn. */
	struct vmfs_node b = create(&tv, root, "b");
	for (unsigned int i = 0; i < 1000 && b.addr.raw != old.addr.raw; i++) {
		assert_int_equal(vmfs_node_unlink(tv.vol, root, "b"), 0);
		b = create(&tv, root, "b");
	}
	assert_true(b.addr.raw == old.addr.raw && b.generation != old.generation);
	assert_int_equal(vmfs_node_stat(tv.vol, old, &st), -ENOENT);
	assert_int_equal(vmfs_node_setattr(tv.vol, old, &mine), -ENOENT);
	assert_int_equal(vmfs_node_open(tv.vol, old, &writing, &file, NULL), -ENOENT);
	assert_int_equal(vmfs_node_lookup(tv.vol, old, "x", &st), -ENOENT);
	assert_int_equal(vmfs_node_readdir(tv.vol, old, 0, &entry, 1), -ENOENT);
	assert_int_equal(vmfs_node_readlink(tv.vol, old, target, 16), -ENOENT);
	assert_int_equal(vmfs_node_mkdir(tv.vol, old, "x", &mine, &st), -ENOENT);
	assert_int_equal(move(&tv, root, "b", old, "x"), -ENOENT);
	assert_int_equal(vmfs_node_unlink(tv.vol, root, "b"), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* The time of the last write is told before it is on the disk, and not after a time that
   was set later. */
static void the_last_time_counts(void **state)
{
	struct testvol tv;
	struct vmfs_stat st;
	const struct vmfs_attr past = { .has_times = true, .mtime_s = 5, .atime_s = 6 };
	static const uint8_t data[1 << 20];
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_node a = create(&tv, root, "a");
	const struct vmfs_file_options options = { .flags = VMFS_WRITE };
	for (unsigned int i = 0; i < 2; i++) { /* small, and with blocks */
		struct vmfs_file *file;
		uint64_t len = i ? sizeof(data) : 5;
		assert_int_equal(vmfs_node_open(tv.vol, a, &options, &file, NULL), 0);
		assert_int_equal(vmfs_file_write(file, data, len, 0), 0);
		assert_int_equal(vmfs_file_sync(file), 0);
		assert_int_equal(vmfs_node_setattr(tv.vol, a, &past), 0);
		assert_int_equal(vmfs_file_write(file, data, len, 0), 0);
		assert_int_equal(vmfs_node_stat(tv.vol, a, &st), 0);
		assert_true(st.mtime_s > 5 && st.ctime_s >= st.mtime_s);
		assert_int_equal(vmfs_node_setattr(tv.vol, a, &past), 0);
		assert_int_equal(vmfs_file_close(file), 0);
		assert_int_equal(vmfs_node_stat(tv.vol, a, &st), 0);
		assert_int_equal(st.mtime_s, 5);
		assert_int_equal(vmfs_node_open(tv.vol, a, &options, &file, NULL), 0);
		assert_int_equal(vmfs_file_truncate(file, len), 0);
		assert_int_equal(vmfs_file_close(file), 0);
		assert_int_equal(vmfs_node_stat(tv.vol, a, &st), 0);
		assert_true(st.mtime_s > 5);
	}
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static unsigned int waiting(struct testvol *tv)
{
	struct vmfs_dirent entries[8];
	struct vmfs_stat st;
	if (vmfs_node_lookup(tv->vol, root, ".vmfs-unlinked", &st) != 0)
		return 0;
	int n = vmfs_node_readdir(tv->vol, vmfs_node_of(&st), 0, entries, 8);
	assert_true(n >= 2);
	return (unsigned int)n - 2;
}

static struct vmfs_file *open_node(struct testvol *tv, struct vmfs_node node,
				   uint32_t flags)
{
	const struct vmfs_file_options options = { .flags = flags };
	struct vmfs_file *file;
	assert_int_equal(vmfs_node_open(tv->vol, node, &options, &file, NULL), 0);
	return file;
}

static void check_is_hello(struct vmfs_file *file)
{
	char text[8] = "";
	assert_int_equal(vmfs_file_read(file, text, 8, 0), 5);
	assert_string_equal(text, "hello");
}

static void an_open_file_loses_its_name_alone(void **state)
{
	struct testvol tv;
	struct vmfs_stat st;
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_node a = create(&tv, root, "a"), b = create(&tv, root, "b");
	struct vmfs_file *open_a = open_node(&tv, a, VMFS_WRITE);
	struct vmfs_file *open_b = open_node(&tv, b, VMFS_READ_LOCKED);
	assert_int_equal(vmfs_unlink(tv.vol, "/a"), -EBUSY); /* who did not ask for it */
	assert_int_equal(vmfs_node_unlink(tv.vol, root, "a"), 0);
	assert_int_equal(vmfs_node_lookup(tv.vol, root, "a", &st), -ENOENT);
	assert_int_equal(waiting(&tv), 1);
	assert_int_equal(vmfs_node_stat(tv.vol, a, &st), 0);
	assert_int_equal(st.links, 0);
	create(&tv, root, "a");
	assert_int_equal(vmfs_rename(tv.vol, "/a", "/b"), -EBUSY);
	assert_int_equal(move(&tv, root, "a", root, "b"), 0);
	assert_int_equal(waiting(&tv), 2);
	/* they are in use */
	assert_int_equal(vmfs_unlinked_collect(tv.vol, NULL, NULL), 0);
	assert_int_equal(waiting(&tv), 2);
	check_is_hello(open_a);
	check_is_hello(open_b);
	assert_int_equal(vmfs_file_write(open_a, "more", 4, 3 << 20), 0);
	assert_int_equal(vmfs_file_close(open_a), 0);
	assert_int_equal(vmfs_file_close(open_b), 0);
	assert_int_equal(waiting(&tv), 0);
	assert_int_equal(vmfs_node_stat(tv.vol, a, &st), -ENOENT);
	assert_int_equal(vmfs_node_stat(tv.vol, b, &st), -ENOENT);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_done_by_node),
		cmocka_unit_test(our_own_changes_are_told),
		cmocka_unit_test(a_node_that_is_gone_stays_gone),
		cmocka_unit_test(the_last_time_counts),
		cmocka_unit_test(an_open_file_loses_its_name_alone),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
