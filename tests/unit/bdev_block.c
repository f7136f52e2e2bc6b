/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block devices and storage with sectors of 4096 bytes, on loop devices; a full
 * filesystem, on a small tmpfs. Those need root and are skipped elsewhere. And what the
 * kernel tells of a device, from made-up folders.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "bdev/file.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"

#define MIB (1ull << 20)

struct fixture {
	char dir[64], path[96], mnt[96], loop[32];
	bool is_mounted;
	struct collect told;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/bdev_block.XXXXXX");
	if (!f || !mkdtemp(f->dir))
		return -1;
	(void)snprintf(f->path, sizeof(f->path), "%s/disk", f->dir);
	(void)snprintf(f->mnt, sizeof(f->mnt), "%s/mnt", f->dir);
	(void)collect_init(&f->told);
	int file_fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file_fd < 0 || ftruncate(file_fd, 16 * MIB) < 0 || mkdir(f->mnt, 0700) < 0)
		return -1;
	(void)close(file_fd);
	*state = f;
	return 0;
}

/* Runs a program; its first line of output into line (may be NULL). Its exit status. */
static int run(const char *const argv[], const char *input, char *line, size_t size)
{
	int in[2], out[2];
	int status;
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)dup2(in[0], 0);
		(void)dup2(out[1], 1);
		(void)dup2(open("/dev/null", O_RDWR), 2);
		(void)close(in[1]);
		(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	(void)close(in[0]);
	(void)close(out[1]);
	assert_int_equal(write(in[1], input, strlen(input)), strlen(input));
	(void)close(in[1]);
	char text[256];
	ssize_t n = read(out[0], text, sizeof(text) - 1);
	(void)close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	if (line && strlen(text) < size)
		(void)memcpy(line, text, strlen(text) + 1);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	const char *const detach[] = { "losetup", "-d", f->loop, NULL };
	if (f->is_mounted)
		(void)umount(f->mnt);
	if (f->loop[0])
		(void)run(detach, "", NULL, 0);
	(void)unlink(f->path);
	(void)rmdir(f->mnt);
	int rc = rmdir(f->dir);
	collect_done(&f->told);
	free(f);
	return rc;
}

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("# needs root\n");
	skip();
}

/* Attaches the file to a loop device with that sector size. */
static void attach(struct fixture *f, const char *sector, const char *option)
{
	const char *const argv[] = { "losetup", "-f",	 "--show", "-b",
				     sector,	f->path, option,   NULL };
	need_root();
	if (run(argv, "", f->loop, sizeof(f->loop)) != 0 || f->loop[0] != '/') {
		f->loop[0] = 0;
		print_message("# no loop devices here\n");
		skip();
	}
}

static struct bdev *open_loop(struct fixture *f, uint32_t flags)
{
	struct bdev *bd;
	assert_int_equal(bdev_file_open(f->loop, flags, &f->told.base, &bd), 0);
	return bd;
}

/* Locks on a loop device do not reach its file: for writing the file must be named. */
static void loop_device_is_refused(void **state)
{
	struct fixture *f = *state;
	struct bdev *bd = NULL;
	char buf[512];
	attach(f, "512", NULL);
	assert_int_equal(bdev_file_open(f->loop, 0, &f->told.base, &bd), -EMEDIUMTYPE);
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 1);
	assert_true(collect_has(&f->told, f->loop));
	assert_true(collect_has(&f->told, f->path));
	bd = open_loop(f, BDEV_OPEN_READ_ONLY);
	assert_int_equal(bd->size, 16 * MIB);
	assert_int_equal(bdev_read(bd, buf, 512, 0), 0);
	bdev_close(bd);
}

static void write_protected_is_refused(void **state)
{
	struct fixture *f = *state;
	struct bdev *bd = NULL;
	attach(f, "512", "-r");
	int rc = bdev_file_open(f->loop, BDEV_OPEN_VOUCHED, &f->told.base, &bd);
	assert_true(rc == -EROFS || rc == -EACCES);
	assert_true(collect_has(&f->told, f->loop));
	assert_null(bd);
}

static void expect_byte(struct bdev *bd, uint64_t len, uint64_t offset, uint8_t want)
{
	uint8_t *buf = io_alloc(len);
	assert_int_equal(bdev_read(bd, buf, len, offset), 0);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(buf[i], want);
	free(buf);
}

/* All that a block device does. */
static void block_device_does_it_all(void **state)
{
	struct fixture *f = *state;
	char zero[512] = { 0 }, one[512] = { 1 };
	attach(f, "512", NULL);
	struct bdev *bd = open_loop(f, BDEV_OPEN_VOUCHED | BDEV_OPEN_EXCLUSIVE);
	struct bdev *other = NULL;
	assert_int_equal(bdev_file_open(f->loop, BDEV_OPEN_VOUCHED | BDEV_OPEN_EXCLUSIVE,
					&f->told.base, &other),
			 -EBUSY);
	assert_true(collect_has(&f->told, "is in use"));
	assert_int_equal(bd->block_size, 512);
	char *buf = io_alloc(MIB);
	(void)memset(buf, 0x77, MIB);
	assert_int_equal(batch_one(bd, BDEV_WRITE, BDEV_FUA, buf, MIB, MIB), 0);
	assert_int_equal(bdev_write(bd, buf + 1, 1024, 4 * MIB), 0);
	assert_int_equal(batch_one(bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(batch_one(bd, BDEV_ZERO, 0, NULL, 4096, MIB + 4096), 0);
	assert_int_equal(bdev_zero(bd, 512, 4 * MIB), 0);
	if (bd->has_unmap)
		assert_int_equal(bdev_unmap(bd, 65536, MIB + 65536), 0);
	expect_byte(bd, 4096, MIB, 0x77);
	expect_byte(bd, 4096, MIB + 4096, 0);
	expect_byte(bd, 57344, MIB + 8192, 0x77);
	expect_byte(bd, 512, 4 * MIB, 0);
	expect_byte(bd, 512, 4 * MIB + 512, 0x77);
	assert_int_equal(bd->caw, BDEV_CAW_FILE);
	assert_int_equal(bdev_caw(bd, zero, one, 512, 0, 0), 0);
	assert_int_equal(bdev_caw(bd, zero, one, 512, 0, 0), -EILSEQ);
	assert_int_equal(bdev_liveness(bd, 512, true), 0);
	assert_int_equal(bdev_file_open(f->loop, BDEV_OPEN_VOUCHED, NULL, &other), 0);
	assert_int_equal(bdev_liveness(other, 512, true), -EBUSY);
	assert_int_equal(bd->ops->resize(bd, MIB), -EOPNOTSUPP);
	bdev_close(other);
	bdev_close(bd);
	free(buf);
}

/* The device goes away under us: one line, and the code for "for good". */
static void vanished_device_is_gone(void **state)
{
	struct fixture *f = *state;
	char buf[512];
	attach(f, "512", NULL);
	struct bdev *bd = open_loop(f, BDEV_OPEN_VOUCHED);
	assert_int_equal(bdev_read(bd, buf, 512, 0), 0);
	assert_int_equal(truncate(f->path, 0), 0);
	int loop_fd = open(f->loop, O_RDWR | O_CLOEXEC);
	assert_true(loop_fd >= 0 && ioctl(loop_fd, LOOP_SET_CAPACITY) == 0);
	(void)close(loop_fd);
	assert_int_equal(bdev_read(bd, buf, 512, 0), -ENODEV);
	char *aligned = io_alloc(512);
	assert_int_equal(batch_one(bd, BDEV_READ, 0, aligned, 512, 0), -ENODEV);
	int rc = bdev_write(bd, buf, 512, 0);
	assert_true(rc == -ENODEV ||
		    rc == -ENOSPC); /* "beyond the end", says the kernel */
	assert_true(collect_has(&f->told, "the device has gone"));
	assert_int_equal(truncate(f->path, 16 * MIB), 0);
	free(aligned);
	bdev_close(bd);
}

/* Sectors of 4096 bytes: no smaller data, no smaller locks; a GPT counts in them. */
static void large_sectors(void **state)
{
	struct fixture *f = *state;
	char *a = io_alloc(4096), *b = io_alloc(4096);
	attach(f, "4096", NULL);
	const char *const sfdisk[] = { "sfdisk",	   "-q",    "--no-reread",
				       "--no-tell-kernel", f->loop, NULL };
	bool has_table = run(sfdisk,
			     "label: gpt\nstart=1024, size=2048, "
			     "type=AA31E02A-400F-11DB-9590-000C2911D1B8\n",
			     NULL, 0) == 0;
	struct bdev *bd = open_loop(f, BDEV_OPEN_VOUCHED);
	assert_int_equal(bd->block_size, 4096);
	assert_int_equal(bdev_read(bd, a, 512, 0), -EINVAL);
	assert_int_equal(bdev_caw(bd, a, b, 512, 0, 0), -EINVAL);
	fill_bytes(b, 4096, 1);
	assert_int_equal(bdev_read(bd, a, 4096, 15 * MIB), 0);
	assert_int_equal(bdev_caw(bd, a, b, 4096, 15 * MIB, 0), 0);
	assert_int_equal(bdev_caw(bd, a, b, 4096, 15 * MIB, 0), -EILSEQ);
	if (has_table) {
		assert_int_equal(bdev_part_open(&bd, &f->told.base), 0);
		assert_int_equal(bd->size, 2048 * 4096);
	}
	bdev_close(bd);
	free(a);
	free(b);
}

/* ---- a filesystem that cannot reach single sectors ---- */

enum { COUNTS = 150 };

/* Counts in one sector by compare-and-write; its neighbours belong to others. */
static void count_in_sector(const char *path, uint64_t offset)
{
	char old[512] = { 0 }, new[512] = { 0 };
	struct bdev *bd;
	int rc = bdev_file_open(path, 0, NULL, &bd);
	for (uint32_t i = 0; i < COUNTS && rc == 0; i++) {
		(void)memcpy(old, &i, sizeof(i));
		uint32_t next = i + 1;
		(void)memcpy(new, &next, sizeof(next));
		rc = bdev_caw(bd, old, new, 512, offset, 0);
	}
	_exit(rc ? 1 : 0);
}

/*
 * Eight processes count in eight sectors of one 4096-byte sector of the storage below. If
 * a write carried its neighbours' bytes, counts would be lost and the next compare fail.
 */
static void neighbours_survive_on_large_sectors(void **state)
{
	struct fixture *f = *state;
	char image[128];
	pid_t pid[8];
	const char *const mkfs[] = {
		"mkfs.ext4", "-q", "-F", "-b", "4096", f->loop, NULL
	};
	attach(f, "4096", NULL);
	if (run(mkfs, "", NULL, 0) != 0) {
		print_message("# no mkfs.ext4\n");
		skip();
	}
	assert_int_equal(mount(f->loop, f->mnt, "ext4", 0, ""), 0);
	f->is_mounted = true;
	(void)snprintf(image, sizeof(image), "%s/image", f->mnt);
	int file_fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(file_fd, MIB), 0);
	(void)close(file_fd);
	struct bdev *bd;
	assert_int_equal(bdev_file_open(image, 0, &f->told.base, &bd), 0);
	assert_int_equal(bd->block_size, 512);
	assert_int_equal(bd->memory_align, 1); /* through the page cache */
	assert_int_equal(bd->caw, BDEV_CAW_FILE);
	for (unsigned int i = 0; i < 8; i++) {
		pid[i] = fork();
		if (pid[i] == 0)
			count_in_sector(image, 8192 + 512ull * i);
	}
	for (unsigned int i = 0; i < 8; i++) {
		int status;
		uint32_t n;
		char buf[512];
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
		assert_int_equal(bdev_read(bd, buf, 512, 8192 + 512ull * i), 0);
		(void)memcpy(&n, buf, sizeof(n));
		assert_int_equal(n, COUNTS);
	}
	/* the queue works there too, and what it wrote is durable when it says so */
	char odd[1024 + 1];
	fill_bytes(odd, sizeof(odd), 7);
	assert_int_equal(batch_one(bd, BDEV_WRITE, BDEV_FUA, odd + 1, 1024, 512), 0);
	assert_int_equal(batch_one(bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	char back[1024];
	assert_int_equal(batch_one(bd, BDEV_READ, 0, back, 1024, 512), 0);
	assert_memory_equal(back, odd + 1, 1024);
	bdev_close(bd);
}

/* ---- a full filesystem ---- */

static void full_filesystem_says_so(void **state)
{
	struct fixture *f = *state;
	char image[128];
	struct bdev *bd;
	need_root();
	if (mount("tmpfs", f->mnt, "tmpfs", 0, "size=1m") < 0) {
		print_message("# cannot mount a tmpfs\n");
		skip();
	}
	f->is_mounted = true;
	(void)snprintf(image, sizeof(image), "%s/image", f->mnt);
	int file_fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(file_fd, 4 * MIB), 0);
	(void)close(file_fd);
	char *buf = io_alloc(2 * MIB);
	(void)memset(buf, 1, 2 * MIB);
	assert_int_equal(bdev_file_open(image, 0, &f->told.base, &bd), 0);
	assert_int_equal(bdev_write(bd, buf, 2 * MIB, 0), -ENOSPC);
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 1);
	assert_true(collect_has(&f->told, image));
	assert_true(collect_has(&f->told, "No space left"));
	assert_int_equal(batch_one(bd, BDEV_WRITE, 0, buf, MIB, 3 * MIB), -ENOSPC);
	expect_byte(bd, 512, 4 * MIB - 512, 0);
	assert_int_equal(bdev_unmap(bd, MIB, 0), 0); /* makes room */
	assert_int_equal(batch_one(bd, BDEV_WRITE, 0, buf, 65536, 3 * MIB), 0);
	bdev_close(bd);
	free(buf);
}

/* ---- identity ---- */

static void put_file(const char *dir, const char *name, const void *data, size_t len)
{
	char path[256];
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	int file_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(file_fd, data, len), len);
	(void)close(file_fd);
}

static void put_text(const char *dir, const char *name, const char *text)
{
	put_file(dir, name, text, strlen(text));
}

/* A disk's folder, as sysfs has it: its device is a link to H:C:T:L. */
static void make_disk(const char *dir, const char *address)
{
	char path[256];
	assert_int_equal(mkdir(dir, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, address);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/device", dir);
	assert_int_equal(symlink(address, path), 0);
	(void)snprintf(path, sizeof(path), "%s/queue", dir);
	assert_int_equal(mkdir(path, 0700), 0);
}

/* NAA name and model make a binary identity; write-through and no discard are seen. */
static void identity_of_a_san_disk(void **state)
{
	struct fixture *f = *state;
	const uint8_t want[22] = { 0x60, 0x01, 0x40, 0x5a, 0xbc, 0xde, 0xf0, 0x12,
				   0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12,
				   'C',	 'O',  'M',  'S',  'T',	 'A' };
	const char *const remove[] = { "rm", "-r", f->mnt, NULL };
	struct bdev bd = { 0 };
	char dir[192];
	(void)snprintf(dir, sizeof(dir), "%s/sdx", f->mnt);
	make_disk(dir, "3:0:1:5");
	put_text(dir, "device/wwid", "naa.6001405abcdef0123456789abcdef012\n");
	put_text(dir, "device/vendor", "SUN     \n");
	put_text(dir, "device/model", "COMSTAR         \n");
	put_text(dir, "device/rev", "1.0 \n");
	put_text(dir, "device/type", "0\n");
	put_text(dir, "device/scsi_level", "6\n");
	put_text(dir, "queue/write_cache", "write through\n");
	put_text(dir, "queue/discard_max_bytes", "0\n");
	file_describe(&bd, dir);
	assert_int_equal(bd.identity.type, 2);
	assert_int_equal(bd.identity.len, sizeof(want));
	assert_memory_equal(bd.identity.id, want, sizeof(want));
	assert_int_equal(bd.identity.lun, 5);
	assert_int_equal(bd.identity.scsi_level, 6);
	assert_memory_equal(bd.identity.vendor, "SUN     ", 8);
	assert_memory_equal(bd.identity.model, "COMSTAR         ", 16);
	assert_memory_equal(bd.identity.revision, "1.0 ", 4);
	assert_false(bd.has_write_cache);
	assert_false(bd.has_unmap);
	/* a multipath device over it is the same disk */
	struct bdev multi = { 0 };
	char dm[192], path[256];
	(void)snprintf(dm, sizeof(dm), "%s/dm-0", f->mnt);
	make_disk(dm, "none");
	(void)snprintf(path, sizeof(path), "%s/dm", dm);
	assert_int_equal(mkdir(path, 0700), 0);
	put_text(dm, "dm/uuid", "mpath-36001405abcdef0123456789abcdef012\n");
	(void)snprintf(path, sizeof(path), "%s/slaves", dm);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/slaves/sdx", dm);
	assert_int_equal(symlink("../../sdx", path), 0);
	file_describe(&multi, dm);
	assert_memory_equal(&multi.identity, &bd.identity, sizeof(bd.identity));
	assert_int_equal(run(remove, "", NULL, 0), 0);
}

/* Without a world-wide name the serial number counts; without both there is nothing. */
static void identity_without_a_name(void **state)
{
	struct fixture *f = *state;
	const char *const remove[] = { "rm", "-r", f->mnt, NULL };
	const char page[] = "\0\x80\0\x08SERIAL42";
	struct bdev bd = { 0 };
	char dir[192];
	(void)snprintf(dir, sizeof(dir), "%s/sdy", f->mnt);
	make_disk(dir, "0:0:0:0");
	file_describe(&bd, dir);
	assert_int_equal(bd.identity.type, 0);
	assert_int_equal(bd.identity.len, 0);
	assert_true(bd.has_write_cache);	     /* who does not know must flush */
	put_text(dir, "device/wwid", "naa.60014\n"); /* half a byte: no name */
	put_text(dir, "device/model", "ABC\n");
	put_file(dir, "device/vpd_pg80", page, sizeof(page) - 1);
	file_describe(&bd, dir);
	assert_int_equal(bd.identity.type, 1);
	assert_int_equal(bd.identity.len, 14);
	assert_memory_equal(bd.identity.id, "SERIAL42ABC   ", 14);
	assert_int_equal(run(remove, "", NULL, 0), 0);
}

/* The place in the tree of devices tells whose machine the storage is. */
static void a_disk_of_another_machine(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *parent;
		bool is_remote;
	} places[] = {
		{ "ata1", false },
		{ "session7", true },
		{ "rport-2:0-1", true },
	};
	char parent[128], dir[192];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		const char *const remove[] = { "rm", "-r", parent, NULL };
		struct bdev bd = { 0 };

		(void)snprintf(parent, sizeof(parent), "%s/%s", f->mnt, places[i].parent);
		assert_int_equal(mkdir(parent, 0700), 0);
		(void)snprintf(dir, sizeof(dir), "%s/sdz", parent);
		make_disk(dir, "1:0:0:0");
		file_describe(&bd, dir);
		assert_int_equal(bd.is_remote, places[i].is_remote);
		assert_int_equal(run(remove, "", NULL, 0), 0);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		CASE(loop_device_is_refused),
		CASE(write_protected_is_refused),
		CASE(block_device_does_it_all),
		CASE(vanished_device_is_gone),
		CASE(large_sectors),
		CASE(neighbours_survive_on_large_sectors),
		CASE(full_filesystem_says_so),
		CASE(identity_of_a_san_disk),
		CASE(identity_without_a_name),
		CASE(a_disk_of_another_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
