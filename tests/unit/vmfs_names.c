/* SPDX-License-Identifier: Apache-2.0 */
/* Names: directories large and small, moves, links, attributes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "tests/lib/testvol.h"
#include "vmfs/dir.h"
#include "vmfs/format.h"
#include "vmfs/path.h"
#include "vmfs/txn.h"

static struct vmfs_stat stat_of(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_stat st = { 0 };
	assert_int_equal(vmfs_stat(vol, path, &st), 0);
	return st;
}

static void touch(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0640 };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(vol, path, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* ---- large directories ---- */

#define PER_TXN 1000u
#define MANY 17000u /* more than 256 sub-blocks hold: 14,979 */

struct names {
	unsigned int first, count;
	struct fd_ref dir, file;
};

static void name_of(unsigned int i, char name[32])
{
	(void)snprintf(name, 32, "entry-%u", i * 7919 % 100003);
}

/* Many entries for one file: its link count grows with them. */
static int add_names(struct vmfs_txn *t, void *arg)
{
	const struct names *n = arg;
	struct fd_body_disk *fdd;
	struct dir_found end;
	int rc = fd_edit(t, &n->file, &fdd);
	if (rc == 0)
		rc = dir_find(t, &n->dir, "not there", &end);
	for (unsigned int i = 0; rc == 0 && i < n->count; i++) {
		struct dir_entry entry = { .ref = n->file, .type = VMFS_TYPE_FILE };
		name_of(n->first + i, entry.name);
		rc = dir_put(t, &n->dir, end.index + i, &entry);
	}
	if (rc == 0)
		fdd->meta.links = le32_of(le32_get(fdd->meta.links) + n->count);
	return rc;
}

static unsigned int list_all(struct vmfs_volume *vol, vmfs_addr dir)
{
	struct vmfs_dirent *entries = calloc(100, sizeof(*entries));
	uint64_t cookie = 0;
	unsigned int count = 0;
	int n;
	while ((n = vmfs_readdir(vol, dir, cookie, entries, 100)) > 0) {
		count += (unsigned int)n;
		cookie = entries[n - 1].cookie;
	}
	assert_int_equal(n, 0);
	free(entries);
	return count;
}

static void a_directory_outgrows_its_sub_blocks(void **state)
{
	struct testvol tv;
	char path[64], name[32];
	(void)state;
	testvol_new(&tv, 2);
	assert_int_equal(vmfs_mkdir(tv.vol, "/d", 0755), 0);
	touch(tv.vol, "/d/file");
	struct vmfs_stat dir = stat_of(tv.vol, "/d");
	struct vmfs_stat file = stat_of(tv.vol, "/d/file");
	assert_int_equal(dir.zla, VMFS_ZLA_SB);
	struct names n = {
		.count = PER_TXN,
		.dir = { dir.addr, dir.generation, true },
		.file = { file.addr, file.generation, false },
	};
	for (; n.first < MANY; n.first += PER_TXN)
		assert_int_equal(vmfs_txn_run(tv.vol, add_names, &n, 0, NULL), 0);
	dir = stat_of(tv.vol, "/d");
	assert_int_equal(dir.zla, VMFS_ZLA_FB);
	assert_int_equal(dir.block_count, 3);
	assert_int_equal(list_all(tv.vol, dir.addr), MANY + 3);
	assert_int_equal(stat_of(tv.vol, "/d/file").links, MANY + 1);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_mount(&tv, false);
	for (unsigned int i = 0; i < MANY; i += 1000) {
		name_of(i, name);
		(void)snprintf(path, sizeof(path), "/d/%s", name);
		assert_true(stat_of(tv.vol, path).addr.raw == file.addr.raw);
		assert_int_equal(vmfs_unlink(tv.vol, path), 0);
		assert_int_equal(vmfs_unlink(tv.vol, path), -ENOENT);
	}
	assert_int_equal(list_all(tv.vol, dir.addr), MANY - 17 + 3);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* Growing and shrinking over the border of a sub-block, by way of the public calls. */
static void a_directory_grows_and_shrinks(void **state)
{
	struct testvol tv;
	char path[160];
	struct vmfs_volume_info before, after;
	(void)state;
	testvol_new(&tv, 4);
	assert_int_equal(vmfs_volume_info(tv.vol, &before), 0);
	assert_int_equal(vmfs_mkdir(tv.vol, "/d", 0755), 0);
	for (unsigned int i = 0; i < 150; i++) {
		(void)snprintf(path, sizeof(path), "/d/%0120u", i);
		assert_int_equal(vmfs_symlink(tv.vol, "x", path), 0);
	}
	assert_int_equal(stat_of(tv.vol, "/d").block_count, 3);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_mount(&tv, false);
	for (unsigned int i = 0; i < 150; i++) {
		(void)snprintf(path, sizeof(path), "/d/%0120u", i * 29 % 150);
		assert_int_equal(vmfs_unlink(tv.vol, path), 0);
	}
	assert_int_equal(stat_of(tv.vol, "/d").size_bytes, 280);
	assert_int_equal(stat_of(tv.vol, "/d").block_count, 1);
	assert_int_equal(vmfs_rmdir(tv.vol, "/d"), 0);
	assert_int_equal(vmfs_volume_info(tv.vol, &after), 0);
	assert_true(after.free_sb_count == before.free_sb_count);
	assert_true(after.free_fd_count == before.free_fd_count);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void the_last_descriptor_is_the_last(void **state)
{
	struct testvol tv;
	char path[32];
	struct vmfs_volume_info info;
	(void)state;
	testvol_new(&tv, 1);
	assert_int_equal(vmfs_volume_info(tv.vol, &info), 0);
	for (unsigned int i = 0; i <= info.free_fd_count; i++) {
		(void)snprintf(path, sizeof(path), "/%u", i);
		assert_int_equal(vmfs_symlink(tv.vol, "x", path),
				 i < info.free_fd_count ? 0 : -ENOSPC);
	}
	assert_true(collect_has(&tv.told, "no file descriptors left (64 in all)"));
	collect_clear(&tv.told);
	assert_int_equal(vmfs_unlink(tv.vol, "/7"), 0);
	assert_int_equal(vmfs_symlink(tv.vol, "x", path), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* ---- moving ---- */

static void moving_a_directory_moves_its_parents(void **state)
{
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_volume *vol = tv.vol;
	assert_int_equal(vmfs_mkdir(vol, "/a", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/b", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/a/c", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/a/c/e", 0755), 0);
	uint32_t root_links = stat_of(vol, "/").links;
	assert_int_equal(vmfs_rename(vol, "/a/c", "/b/d"), 0);
	assert_int_equal(stat_of(vol, "/a").links, 2);
	assert_int_equal(stat_of(vol, "/b").links, 3);
	assert_true(stat_of(vol, "/b/d/..").addr.raw == stat_of(vol, "/b").addr.raw);
	assert_int_equal(vmfs_rename(vol, "/b", "/b/d/e/x"), -EINVAL);
	assert_int_equal(vmfs_rename(vol, "/b", "/b/x"), -EINVAL);
	assert_int_equal(vmfs_rename(vol, "/a", "/b"), -ENOTEMPTY);
	assert_int_equal(vmfs_rename(vol, "/b/d", "/a"), 0);
	assert_int_equal(stat_of(vol, "/").links, root_links);
	assert_true(stat_of(vol, "/a/..").addr.raw == stat_of(vol, "/").addr.raw);
	assert_int_equal(stat_of(vol, "/b").links, 2);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* Two names change places, whatever they name; and a name that is there is kept. */
static void names_are_exchanged_or_not_replaced(void **state)
{
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	struct vmfs_volume *vol = tv.vol;
	assert_int_equal(vmfs_mkdir(vol, "/a", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/a/c", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/a/c/e", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/b", 0755), 0);
	touch(vol, "/b/f");
	touch(vol, "/g");
	uint64_t c = stat_of(vol, "/a/c").addr.raw, f = stat_of(vol, "/b/f").addr.raw;
	uint64_t g = stat_of(vol, "/g").addr.raw, b = stat_of(vol, "/b").addr.raw;
	assert_int_equal(vmfs_rename_flags(vol, "/g", "/b/f", VMFS_RENAME_NOREPLACE),
			 -EEXIST);
	assert_int_equal(vmfs_rename_flags(vol, "/g", "/h", VMFS_RENAME_NOREPLACE), 0);
	assert_int_equal(vmfs_rename_flags(vol, "/h", "/g", VMFS_RENAME_EXCHANGE),
			 -ENOENT);
	assert_int_equal(vmfs_rename_flags(vol, "/h", "/g", VMFS_RENAME_EXCHANGE |
							    VMFS_RENAME_NOREPLACE),
			 -EINVAL);
	assert_int_equal(vmfs_rename_flags(vol, "/h", "/g", 8), -EINVAL);
	assert_int_equal(vmfs_rename_flags(vol, "/a/c", "/b/f", VMFS_RENAME_EXCHANGE), 0);
	assert_true(stat_of(vol, "/b/f").addr.raw == c);
	assert_true(stat_of(vol, "/a/c").addr.raw == f);
	assert_true(stat_of(vol, "/b/f/..").addr.raw == b);
	assert_int_equal(stat_of(vol, "/a").links, 2);
	assert_int_equal(stat_of(vol, "/b").links, 3);
	assert_int_equal(vmfs_rename_flags(vol, "/a", "/b", VMFS_RENAME_EXCHANGE), 0);
	assert_true(stat_of(vol, "/a").addr.raw == b);
	assert_true(stat_of(vol, "/b/c").addr.raw == f);
	assert_int_equal(vmfs_rename_flags(vol, "/h", "/b/c", VMFS_RENAME_EXCHANGE), 0);
	assert_true(stat_of(vol, "/b/c").addr.raw == g);
	assert_int_equal(vmfs_rename_flags(vol, "/a", "/a/f/e", VMFS_RENAME_EXCHANGE),
			 -EINVAL);
	assert_int_equal(vmfs_rename_flags(vol, "/a/f/e", "/a", VMFS_RENAME_EXCHANGE),
			 -EINVAL);
	assert_int_equal(vmfs_rename_flags(vol, "/.fbb.sf", "/h", VMFS_RENAME_EXCHANGE),
			 -EPERM);
	assert_int_equal(vmfs_rename_flags(vol, "/h", "/.fbb.sf", VMFS_RENAME_EXCHANGE),
			 -EPERM);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void moving_a_file_replaces_one(void **state)
{
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	touch(tv.vol, "/a");
	touch(tv.vol, "/b");
	assert_int_equal(vmfs_mkdir(tv.vol, "/d", 0755), 0);
	vmfs_addr a = stat_of(tv.vol, "/a").addr;
	assert_int_equal(vmfs_rename(tv.vol, "/a", "/d"), -EISDIR);
	assert_int_equal(vmfs_rename(tv.vol, "/d", "/a"), -ENOTDIR);
	assert_int_equal(vmfs_rename(tv.vol, "/a", "/b"), 0);
	assert_true(stat_of(tv.vol, "/b").addr.raw == a.raw);
	assert_int_equal(vmfs_rename(tv.vol, "/b", "/b"), 0);
	assert_int_equal(vmfs_rename(tv.vol, "/b", "/d/c"), 0);
	assert_int_equal(vmfs_rename(tv.vol, "/b", "/x"), -ENOENT);
	assert_true(stat_of(tv.vol, "/d/c").addr.raw == a.raw);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* ---- what is refused ---- */

static void bad_names_are_refused(void **state)
{
	struct testvol tv;
	char name[200] = "/";
	struct vmfs_stat st;
	(void)state;
	testvol_new(&tv, 1);
	memset(name + 1, 'n', 127);
	assert_int_equal(vmfs_mkdir(tv.vol, name, 0755), 0);
	assert_int_equal(vmfs_stat(tv.vol, name, &st), 0);
	memset(name + 1, 'n', 128);
	assert_int_equal(vmfs_mkdir(tv.vol, name, 0755), -ENAMETOOLONG);
	assert_true(collect_has(&tv.told, "a name of 128 bytes, at most 127"));
	collect_clear(&tv.told);
	touch(tv.vol, "/f");
	assert_int_equal(vmfs_mkdir(tv.vol, "/f", 0755), -EEXIST);
	assert_int_equal(vmfs_mkdir(tv.vol, "/", 0755), -EEXIST);
	assert_int_equal(vmfs_mkdir(tv.vol, "/f/g", 0755), -ENOTDIR);
	assert_int_equal(vmfs_mkdir(tv.vol, "/no/g", 0755), -ENOENT);
	assert_int_equal(vmfs_rmdir(tv.vol, "/"), -EBUSY);
	assert_int_equal(vmfs_rmdir(tv.vol, "/f"), -ENOTDIR);
	assert_int_equal(vmfs_rmdir(tv.vol, "/."), -EINVAL);
	assert_int_equal(vmfs_unlink(tv.vol, "/.fbb.sf"), -EPERM);
	assert_int_equal(vmfs_rename(tv.vol, "/.fdc.sf", "/x"), -EPERM);
	assert_int_equal(vmfs_rename(tv.vol, "/f", "/.sbc.sf"), -EPERM);
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(tv.vol, "/.pbc.sf", &options, &file, NULL),
			 -EPERM);
	assert_int_equal(vmfs_file_open(tv.vol, "/", &options, &file, NULL), -EISDIR);
	options.flags = VMFS_WRITE | VMFS_CREATE | VMFS_EXCL;
	assert_int_equal(vmfs_file_open(tv.vol, "/f", &options, &file, NULL), -EEXIST);
	testvol_free(&tv);
}

static void a_read_only_volume_is_not_written(void **state)
{
	struct testvol tv;
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_attr attr = { .has_mode = true };
	struct vmfs_file *file;
	(void)state;
	testvol_new(&tv, 1);
	touch(tv.vol, "/f");
	testvol_unmount(&tv);
	tv.bd->is_read_only = true;
	testvol_mount(&tv, true);
	assert_int_equal(vmfs_mkdir(tv.vol, "/d", 0755), -EROFS);
	assert_int_equal(vmfs_unlink(tv.vol, "/f"), -EROFS);
	assert_int_equal(vmfs_rename(tv.vol, "/f", "/g"), -EROFS);
	assert_int_equal(vmfs_setattr(tv.vol, "/f", &attr), -EROFS);
	assert_int_equal(vmfs_file_open(tv.vol, "/f", &options, &file, NULL), -EROFS);
	options.flags = VMFS_READ;
	assert_int_equal(vmfs_file_open(tv.vol, "/f", &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_free(&tv);
}

/* ---- links and attributes ---- */

static void symbolic_links_are_followed(void **state)
{
	struct testvol tv;
	char target[64];
	struct vmfs_stat st;
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	(void)state;
	testvol_new(&tv, 1);
	assert_int_equal(vmfs_mkdir(tv.vol, "/d", 0755), 0);
	touch(tv.vol, "/d/f");
	assert_int_equal(vmfs_symlink(tv.vol, "d", "/here"), 0);
	assert_int_equal(vmfs_symlink(tv.vol, "/here/f", "/d/there"), 0);
	assert_int_equal(vmfs_symlink(tv.vol, "../loop", "/d/loop"), 0);
	assert_int_equal(vmfs_symlink(tv.vol, "d/loop", "/loop"), 0);
	vmfs_addr f = stat_of(tv.vol, "/d/f").addr;
	assert_true(stat_of(tv.vol, "/here/f").addr.raw == f.raw);
	assert_int_equal(stat_of(tv.vol, "/d/there").type, VMFS_TYPE_SYMLINK);
	assert_int_equal(stat_of(tv.vol, "/d/there").size_bytes, 7);
	assert_int_equal(vmfs_file_open(tv.vol, "/d/there", &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_stat(file, &st), 0);
	assert_true(st.addr.raw == f.raw);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_file_open(tv.vol, "/loop", &options, &file, NULL), -ELOOP);
	assert_int_equal(vmfs_readlink(tv.vol, "/d/there", target, 64), 7);
	assert_string_equal(target, "/here/f");
	assert_int_equal(vmfs_readlink(tv.vol, "/d/there", target, 7), -ERANGE);
	assert_int_equal(vmfs_readlink(tv.vol, "/d", target, 64), -EINVAL);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void attributes_are_kept(void **state)
{
	struct testvol tv;
	struct vmfs_attr attr = {
		.has_mode = true,
		.has_owner = true,
		.has_times = true,
		.mode = 04711,
		.uid = 1000,
		.gid = 1001,
		.mtime_s = 1234567,
		.atime_s = 7654321,
	};
	(void)state;
	testvol_new(&tv, 1);
	touch(tv.vol, "/f");
	assert_int_equal(stat_of(tv.vol, "/f").mode, 0640);
	assert_int_equal(vmfs_setattr(tv.vol, "/f", &attr), 0);
	testvol_unmount(&tv);
	testvol_mount(&tv, true);
	struct vmfs_stat st = stat_of(tv.vol, "/f");
	assert_int_equal(st.mode, 04711);
	assert_int_equal(st.uid, 1000);
	assert_int_equal(st.gid, 1001);
	assert_int_equal(st.mtime_s, 1234567);
	assert_int_equal(st.atime_s, 7654321);
	assert_true(st.ctime_s > 1234567);
	testvol_free(&tv);
}

/* ---- several members ---- */

#define MEMBERS 3u
#define ROUNDS 12u

struct busy_member {
	struct vmfs_volume *vol;
	unsigned int number;
};

/* Each in the same two directories, with names of its own. */
static void work_in_common(void *arg)
{
	const struct busy_member *m = arg;
	char a[32], b[32];
	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE |
							      VMFS_EXCL };
		struct vmfs_file *file;
		(void)snprintf(a, sizeof(a), "/a/%u-%u", m->number, i);
		(void)snprintf(b, sizeof(b), "/b/%u-%u", m->number, i);
		assert_int_equal(vmfs_file_open(m->vol, a, &options, &file, NULL), 0);
		assert_int_equal(vmfs_file_write(file, a, strlen(a), 3000 * i), 0);
		assert_int_equal(vmfs_file_close(file), 0);
		assert_int_equal(vmfs_rename(m->vol, a, b), 0);
		if (i % 3)
			assert_int_equal(vmfs_unlink(m->vol, b), 0);
	}
}

static void members_share_directories(void **state)
{
	struct testvol tv;
	struct busy_member members[MEMBERS];
	struct task *tasks[MEMBERS];
	(void)state;
	testvol_new(&tv, 4);
	assert_int_equal(vmfs_mkdir(tv.vol, "/a", 0755), 0);
	assert_int_equal(vmfs_mkdir(tv.vol, "/b", 0755), 0);
	for (unsigned int i = 0; i < MEMBERS; i++) {
		struct vmfs_open_options options = {
			.devices = &tv.bd,
			.device_count = 1,
			.reporter = &tv.told.base,
			.time_divisor = 8,
		};
		members[i].number = i;
		assert_int_equal(vmfs_volume_open(&options, &members[i].vol), 0);
	}
	for (unsigned int i = 0; i < MEMBERS; i++)
		tasks[i] = task_start("member", work_in_common, &members[i]);
	for (unsigned int i = 0; i < MEMBERS; i++)
		task_join(tasks[i]);
	assert_int_equal(list_all(tv.vol, stat_of(tv.vol, "/a").addr), 2);
	assert_int_equal(list_all(tv.vol, stat_of(tv.vol, "/b").addr),
			 2 + MEMBERS * ROUNDS / 3);
	for (unsigned int i = 0; i < MEMBERS; i++)
		assert_int_equal(vmfs_volume_close(members[i].vol), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_directory_outgrows_its_sub_blocks),
		cmocka_unit_test(a_directory_grows_and_shrinks),
		cmocka_unit_test(the_last_descriptor_is_the_last),
		cmocka_unit_test(moving_a_directory_moves_its_parents),
		cmocka_unit_test(names_are_exchanged_or_not_replaced),
		cmocka_unit_test(moving_a_file_replaces_one),
		cmocka_unit_test(bad_names_are_refused),
		cmocka_unit_test(a_read_only_volume_is_not_written),
		cmocka_unit_test(symbolic_links_are_followed),
		cmocka_unit_test(attributes_are_kept),
		cmocka_unit_test(members_share_directories),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
