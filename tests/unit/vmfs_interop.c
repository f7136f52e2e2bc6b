/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we write, read by others: volumes with a file at every border of the format (the
 * sizes at which its form changes, holes, names of every length, deep and large
 * directories) are equal to what was put in, as vmfs-tools and vmfs6-tools show them and
 * as we do. What they cannot read, as files of two levels of pointer blocks, is left to
 * us.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "mkfs/layout.h"
#include "tests/lib/testvol.h"
#include "vmfs/format.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define DEBUGVMFS "/usr/sbin/debugvmfs"
#define THEIR_FUSE "/usr/sbin/vmfs-fuse"
#define THEIR_FUSE6 "/usr/sbin/vmfs6-fuse"
#define MANY 5000u
#define FEW 900u /* where there are not as many descriptors */
#define SAMPLES_MAX 400u
#define PIECE (64 * KIB)

struct span {
	uint64_t offset, len;
};

struct sample {
	char path[192];
	uint64_t size;
	struct span data[3]; /* the rest is holes; ascending; len 0: none */
	bool is_ours_alone, is_allocated;
};

struct fixture {
	struct testvol tv;
	struct sample samples[SAMPLES_MAX];
	unsigned int count;
	char image[32], mount[32];
	bool is_mounted, is_6;
	unsigned int many; /* entries of /many */
};

static uint8_t byte_at(const struct sample *s, uint64_t off)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(s->data); i++)
		if (off >= s->data[i].offset && off - s->data[i].offset < s->data[i].len)
			return (uint8_t)(1 + (off * 2654435761u >> 7) % 251);
	return 0;
}

/* ---- what is written ---- */

static struct sample *add(struct fixture *x, const char *path, uint64_t size)
{
	assert_true(x->count < SAMPLES_MAX);
	struct sample *s = &x->samples[x->count++];
	*s = (struct sample){ .size = size, .data[0] = { 0, size } };
	(void)snprintf(s->path, sizeof(s->path), "%s", path);
	return s;
}

static void add_size(struct fixture *x, uint64_t size)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/sizes/%llu", (unsigned long long)size);
	struct sample *s = add(x, path, size);
	if (size <= 2 * MIB)
		return;
	/* Head, somewhere odd in the middle, tail. */
	s->data[0] = (struct span){ 0, 5000 };
	s->data[1] = (struct span){ size / 2 + 77, MIB + 1000 };
	s->data[2] = (struct span){ size - 7000, 7000 };
	/* vmfs6-tools show nothing behind a hole; blocks to be zeroed are new here. */
	s->is_allocated = x->is_6 && size < GIB;
	s->is_ours_alone = size > 256 * GIB || (x->is_6 && !s->is_allocated);
}

static void add_sizes(struct fixture *x)
{
	static const uint64_t borders[] = { 1,	      1024,	 3584,	    8192,
					    65536,    MIB,	 2 * MIB,   256 * MIB,
					    320 * MIB };
	add_size(x, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(borders); i++) {
		if (i)
			add_size(x, borders[i] - 1);
		add_size(x, borders[i]);
		add_size(x, borders[i] + 1);
	}
	add_size(x, 256 * GIB);
	add_size(x, 256 * GIB + 3 * MIB + 17);
}

static void add_holes(struct fixture *x)
{
	unsigned int first = x->count;
	struct sample *s = add(x, "/holes/first", 9 * MIB);
	s->data[0] = (struct span){ 5 * MIB, 100 };
	s = add(x, "/holes/all", 700 * MIB + 3);
	s->data[0].len = 0;
	s = add(x, "/holes/some", 9 * MIB + 511);
	s->data[0] = (struct span){ 17, 1 };
	s->data[1] = (struct span){ 2 * MIB - 1, 2 };
	s->data[2] = (struct span){ 8 * MIB, MIB + 511 };
	s = add(x, "/holes/far-apart", 200 * GIB);
	s->data[0] = (struct span){ 300 * MIB, 4096 };
	s->data[1] = (struct span){ 100 * GIB - 512, 1024 };
	s->data[2] = (struct span){ 200 * GIB - 1, 1 };
	for (; first < x->count; first++)
		x->samples[first].is_ours_alone = x->is_6;
}

/* Each holds some bytes, so that one taken for another would show. */
static void add_names(struct fixture *x)
{
	static const char *const others[] = {
		"\xc3\xa4\xc3\xb6\xc3\xbc", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
		"\xf0\x9f\x93\x81.vmdk",    "with blanks and a ~tilde",
		"-dash",		    ".hidden",
	};
	char path[192];
	for (unsigned int len = 1; len <= VMFS_NAME_MAX; len++) {
		(void)snprintf(path, sizeof(path), "/names/%0*u", (int)len, len % 10);
		(void)add(x, path, len);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++) {
		(void)snprintf(path, sizeof(path), "/names/%s", others[i]);
		(void)add(x, path, 200 + i);
	}
	/* 127 bytes: 42 times three, and one. */
	strcpy(path, "/names/");
	for (unsigned int i = 0; i < 42; i++)
		strcat(path, "\xe2\x82\xac");
	strcat(path, "x");
	(void)add(x, path, 300);
	(void)add(x, "/deep/1/2/3/4/5/file", 12345);
	(void)add(x, "/deep/1/2/other", 50);
	(void)add(x, "/deep/\xc3\xa9t\xc3\xa9/file", 2000);
}

static struct vmfs_file *open_to_write(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0640 };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(vol, path, &options, &file, NULL), 0);
	return file;
}

static void make_parents(struct vmfs_volume *vol, const char *path)
{
	char dir[192];
	for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		(void)snprintf(dir, sizeof(dir), "%.*s", (int)(p - path), path);
		int rc = vmfs_mkdir(vol, dir, 0750);
		assert_true(rc == 0 || rc == -EEXIST);
	}
}

static void write_sample(struct vmfs_volume *vol, const struct sample *s)
{
	make_parents(vol, s->path);
	struct vmfs_file *file = open_to_write(vol, s->path);
	if (s->is_allocated)
		assert_int_equal(
			vmfs_file_allocate(file, 0, s->size, VMFS_ALLOCATE_TBZ), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(s->data) && s->data[i].len; i++) {
		uint8_t *data = malloc(s->data[i].len);
		for (uint64_t k = 0; k < s->data[i].len; k++)
			data[k] = byte_at(s, s->data[i].offset + k);
		assert_int_equal(vmfs_file_write(file, data, s->data[i].len,
						 s->data[i].offset),
				 0);
		free(data);
	}
	assert_int_equal(vmfs_file_truncate(file, s->size), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* Files that have been larger, were to be zeroed, were moved: nothing of it is left. */
static void write_history(struct fixture *x)
{
	struct vmfs_volume *vol = x->tv.vol;
	struct sample big = { .path = "/history/cut",
			      .size = 4 * MIB,
			      .data = { { 0, 4 * MIB } } };
	write_sample(vol, &big);
	write_sample(vol, add(x, "/history/cut", 3000));
	(void)strcpy(big.path, "/history/emptied");
	write_sample(vol, &big);
	struct vmfs_file *file = open_to_write(vol, "/history/emptied");
	assert_int_equal(vmfs_file_truncate(file, 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	write_sample(vol, add(x, "/history/emptied", 700));
	file = open_to_write(vol, "/history/thick");
	assert_int_equal(vmfs_file_allocate(file, 0, 20 * MIB, VMFS_ALLOCATE_TBZ), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	struct sample *s = add(x, "/history/thick", 20 * MIB);
	s->data[0] = (struct span){ 3 * MIB + 9, 5 };
	s->data[1] = (struct span){ 10 * MIB, 2 * MIB };
	s->is_ours_alone = x->is_6;
	write_sample(vol, s);
	assert_int_equal(vmfs_mkdir(vol, "/gone", 0700), 0);
	assert_int_equal(vmfs_mkdir(vol, "/gone/dir", 0700), 0);
	assert_int_equal(vmfs_rename(vol, "/gone/dir", "/history/moved"), 0);
	assert_int_equal(vmfs_rmdir(vol, "/gone"), 0);
	assert_int_equal(vmfs_symlink(vol, "../sizes/8193", "/history/link"), 0);
}

static void many_name(unsigned int i, char path[64])
{
	(void)snprintf(path, 64, i % 50 == 3 ? "/many/renamed %u" : "/many/entry-%u", i);
}

static uint64_t many_size(unsigned int i)
{
	return i % 97 == 0 ? 9000 : i % 31 == 0 ? 1100 : i % 5;
}

/* As many entries stay of 300 more. */
static void write_many(const struct fixture *x)
{
	struct vmfs_volume *vol = x->tv.vol;
	char path[64], to[64];
	assert_int_equal(vmfs_mkdir(vol, "/many", 0755), 0);
	for (unsigned int i = 0; i < x->many + 300; i++) {
		struct sample s = { .size = many_size(i),
				    .data[0] = { 0, many_size(i) } };
		(void)snprintf(s.path, sizeof(s.path), "/many/entry-%u", i);
		struct vmfs_file *file = open_to_write(vol, s.path);
		uint8_t data[9000];
		for (uint64_t k = 0; k < s.size; k++)
			data[k] = byte_at(&s, k);
		assert_int_equal(vmfs_file_write(file, data, s.size, 0), 0);
		assert_int_equal(vmfs_file_close(file), 0);
	}
	for (unsigned int i = 0; i < x->many + 300; i++) {
		(void)snprintf(path, sizeof(path), "/many/entry-%u", i);
		many_name(i, to);
		if (i >= x->many)
			assert_int_equal(vmfs_unlink(vol, path), 0);
		else
			assert_int_equal(vmfs_rename(vol, path, to), 0);
	}
}

/* ---- what is read ---- */

typedef int64_t read_fn(void *file, void *buf, uint64_t len, uint64_t offset);

static void compare_piece(const struct sample *s, read_fn *read, void *file,
			  uint64_t offset)
{
	static uint8_t buf[PIECE];
	uint64_t want = min_u64(PIECE, s->size - offset);
	int64_t n = read(file, buf, PIECE, offset);
	if (n != (int64_t)want)
		fail_msg("%s: %lld bytes at %llu, not %llu", s->path, (long long)n,
			 (unsigned long long)offset, (unsigned long long)want);
	for (uint64_t i = 0; i < want; i++)
		if (buf[i] != byte_at(s, offset + i))
			fail_msg("%s: byte %llu is 0x%02x, not 0x%02x", s->path,
				 (unsigned long long)(offset + i), buf[i],
				 byte_at(s, offset + i));
}

/* Everything, or of large files what is data, what lies beside it, and some holes. */
static void compare_content(const struct sample *s, read_fn *read, void *file)
{
	if (s->size <= 24 * MIB) {
		for (uint64_t at = 0; at < s->size; at += PIECE)
			compare_piece(s, read, file, at);
		return;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(s->data); i++) {
		uint64_t from = s->data[i].offset - min_u64(s->data[i].offset, 2 * MIB);
		uint64_t to = min_u64(s->size,
				      s->data[i].offset + s->data[i].len + 2 * MIB);
		for (uint64_t at = from; at < to; at += PIECE)
			compare_piece(s, read, file, at);
	}
	for (uint64_t i = 0; i < 97; i++)
		compare_piece(s, read, file, s->size / 97 * i);
}

static int64_t read_theirs(void *file, void *buf, uint64_t len, uint64_t offset)
{
	return pread(*(const int *)file, buf, len, (off_t)offset);
}

static int64_t read_ours(void *file, void *buf, uint64_t len, uint64_t offset)
{
	return vmfs_file_read(file, buf, len, offset);
}

static void compare_theirs(const struct fixture *x, const struct sample *s)
{
	char path[256];
	struct stat st;
	(void)snprintf(path, sizeof(path), "%s%s", x->mount, s->path);
	int sock = open(path, O_RDONLY);
	if (sock < 0)
		fail_msg("%s: %s", s->path, strerror(errno));
	assert_int_equal(fstat(sock, &st), 0);
	assert_int_equal(st.st_size, s->size);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	compare_content(s, read_theirs, &sock);
	assert_int_equal(close(sock), 0);
}

static void compare_ours(const struct fixture *x, const struct sample *s)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	struct vmfs_stat st;
	assert_int_equal(vmfs_stat(x->tv.vol, s->path, &st), 0);
	assert_int_equal(st.size_bytes, s->size);
	assert_int_equal(vmfs_file_open(x->tv.vol, s->path, &options, &file, NULL), 0);
	compare_content(s, read_ours, file);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* Entries of a directory as they show it, without dots. */
static unsigned int count_theirs(const struct fixture *x, const char *path)
{
	char full[256];
	unsigned int count = 0;
	(void)snprintf(full, sizeof(full), "%s%s", x->mount, path);
	DIR *dir = opendir(full);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	assert_int_equal(closedir(dir), 0);
	return count - 2;
}

static void compare_many(const struct fixture *x)
{
	/* vmfs6-tools list some 2,000 entries. */
	if (!x->is_6)
		assert_int_equal(count_theirs(x, "/many"), x->many);
	assert_int_equal(count_theirs(x, "/names"), VMFS_NAME_MAX + 7);
	assert_int_equal(count_theirs(x, "/history"), 5);
	/* Each lookup of theirs reads the directory from the start, entry by entry. */
	for (unsigned int i = 0; i < x->many; i += getenv("FULL") ? 1 : 61) {
		struct sample s = { .size = many_size(i),
				    .data[0] = { 0, many_size(i) } };
		char path[64];
		many_name(i, path);
		(void)snprintf(s.path, sizeof(s.path), "%s", path);
		compare_ours(x, &s);
		if (!x->is_6)
			compare_theirs(x, &s);
	}
}

/* ---- the image, and the other reader ---- */

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* The device in memory, as a sparse file. */
static void write_image(struct fixture *x)
{
	static uint8_t buf[MIB], zeros[MIB];
	strcpy(x->image, "/tmp/vmfs-interop.XXXXXX");
	int sock = mkstemp(x->image);
	assert_true(sock >= 0);
	assert_int_equal(ftruncate(sock, (off_t)x->tv.bd->size), 0);
	for (uint64_t at = 0; at < x->tv.bd->size; at += sizeof(buf)) {
		uint64_t len = min_u64(sizeof(buf), x->tv.bd->size - at);
		assert_int_equal(bdev_read(x->tv.bd, buf, len, at), 0);
		if (memcmp(buf, zeros, len) != 0)
			assert_int_equal(pwrite(sock, buf, len, (off_t)at), len);
	}
	assert_int_equal(close(sock), 0);
}

static void check_bitmaps(const struct fixture *x)
{
	char line[256];
	(void)snprintf(line, sizeof(line), DEBUGVMFS " %s check_vol_bitmaps 2>&1 | %s",
		       x->image, "grep -q '^Total errors: 0$'");
	run(line);
	/* The mode and target of a link, which FUSE resolves. */
	(void)snprintf(line, sizeof(line), DEBUGVMFS " %s ls -l /history 2>&1 | %s",
		       x->image, "grep -q '^lrwxrwxrwx 1.*link'");
	run(line);
}

static void mount_theirs(struct fixture *x)
{
	char line[256];
	strcpy(x->mount, "/tmp/vmfs-interop-at.XXXXXX");
	assert_non_null(mkdtemp(x->mount));
	(void)snprintf(line, sizeof(line), "%s %s %s",
		       x->is_6 ? THEIR_FUSE6 : THEIR_FUSE, x->image, x->mount);
	run(line);
	x->is_mounted = true;
}

static int end(void **state)
{
	struct fixture *x = *state;
	char line[256];
	(void)snprintf(line, sizeof(line), "fusermount3 -u %s || fusermount -u %s",
		       x->mount, x->mount);
	int rc = x->is_mounted ? system(line) : 0;
	if (x->mount[0])
		(void)rmdir(x->mount);
	if (x->image[0])
		(void)unlink(x->image);
	free(x);
	return rc;
}

static int begin(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	*state = x;
	if (x)
		x->many = MANY;
	return x ? 0 : -1;
}

static void compare_volume(struct fixture *x)
{
	add_sizes(x);
	add_holes(x);
	add_names(x);
	for (unsigned int i = 0; i < x->count; i++)
		write_sample(x->tv.vol, &x->samples[i]);
	write_history(x);
	write_many(x);
	testvol_unmount(&x->tv);
	testvol_check(&x->tv);
	write_image(x);
	if (!x->is_6)
		check_bitmaps(x);
	mount_theirs(x);
	testvol_mount(&x->tv, true);
	for (unsigned int i = 0; i < x->count; i++) {
		compare_ours(x, &x->samples[i]);
		if (!x->samples[i].is_ours_alone)
			compare_theirs(x, &x->samples[i]);
	}
	compare_many(x);
	testvol_unmount(&x->tv);
	testvol_free(&x->tv);
}

/* Clusters of 32 descriptors and of 32 sub-blocks. */
static void a_small_volume_is_read_by_others(void **state)
{
	struct fixture *x = *state;
	testvol_new(&x->tv, 24);
	compare_volume(x);
}

/*
 * As on a large one: clusters of 200 descriptors and of 64 sub-blocks, whose addresses
 * have other bits.
 */
static void a_large_volume_is_read_by_others(void **state)
{
	static const struct mkfs_counts counts = { .fd_per_cluster = 200,
						   .sb_per_cluster = 64 };
	struct fixture *x = *state;
	testvol_new_with(&x->tv, 24, &counts);
	compare_volume(x);
}

/*
 * VMFS-6. The other reader shows nothing behind the first hole, no zeros for what is to
 * be zeroed, and not all of a large directory: those are ours alone.
 */
static void a_volume_of_vmfs6_is_read_by_others(void **state)
{
	struct fixture *x = *state;
	if (access(THEIR_FUSE6, X_OK) < 0)
		skip();
	x->is_6 = true;
	testvol_new_version(&x->tv, 6, 48);
	compare_volume(x);
}

/*
 * VMFS-5 that was VMFS-3, of each block size: sub-blocks of 64 KiB, some of which lie in
 * two blocks, clusters in groups of 32, few descriptors.
 */
static void compare_upgraded(struct fixture *x, uint32_t block_size)
{
	x->many = FEW;
	testvol_new_upgraded(&x->tv, block_size, 24);
	compare_volume(x);
}

static void an_upgraded_volume_is_read_by_others(void **state)
{
	compare_upgraded(*state, 2 * MIB);
}

static void one_with_blocks_of_1_mib_too(void **state)
{
	if (!getenv("FULL"))
		skip();
	compare_upgraded(*state, MIB);
}

static void one_with_blocks_of_8_mib_too(void **state)
{
	if (!getenv("FULL"))
		skip();
	compare_upgraded(*state, 8 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_small_volume_is_read_by_others, begin,
						end),
		cmocka_unit_test_setup_teardown(a_large_volume_is_read_by_others, begin,
						end),
		cmocka_unit_test_setup_teardown(a_volume_of_vmfs6_is_read_by_others,
						begin, end),
		cmocka_unit_test_setup_teardown(an_upgraded_volume_is_read_by_others,
						begin, end),
		cmocka_unit_test_setup_teardown(one_with_blocks_of_1_mib_too, begin, end),
		cmocka_unit_test_setup_teardown(one_with_blocks_of_8_mib_too, begin, end),
	};
	if (access(DEBUGVMFS, X_OK) < 0 || access(THEIR_FUSE, X_OK) < 0 ||
	    access("/dev/fuse", W_OK) < 0) {
		print_message("1..0 # SKIP no vmfs-tools or no /dev/fuse here\n");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
