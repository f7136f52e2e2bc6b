/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on a volume and on a model of it, by seed: every result is compared,
 * now and then whole files; at the end the volume is mounted again and everything is
 * compared, fsck finds nothing, and when all is deleted no block is missing.
 *
 * MODEL_SEED=n replays one run, MODEL_SEEDS=n makes more, MODEL_OPS=n longer ones; V=1
 * traces. Each version of the filesystem has its runs; half of VMFS-6's begin with files
 * that have large blocks.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/lib/largefile.h"
#include "tests/lib/model.h"
#include "tests/lib/testvol.h"
#include "vmfs/format6.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define OPEN_MAX 4
#define IO_MAX (5 * MIB)

enum kind { KIND_5, KIND_6, KIND_UPGRADED };

struct open_file {
	struct vmfs_file *file; /* NULL: free */
	struct model_node *node;
	struct bdev *bd;
};

struct run {
	struct testvol tv;
	struct model model;
	uint64_t random;
	uint64_t seed;
	unsigned int op;
	bool is_traced, is_6;
	struct open_file open[OPEN_MAX];
	uint8_t *buf, *seen;
	char path[2][256];
};

static uint64_t below(struct run *r, uint64_t n)
{
	r->random += 0x9e3779b97f4a7c15ull;
	uint64_t x = r->random;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return (x ^ x >> 31) % n;
}

static void fail_run(struct run *r, const char *what, int64_t got, int64_t expected)
{
	if (got == expected)
		return;
	print_message(
		"# seed %llu, operation %u: %s %s %s: %lld, but %lld expected\n# %s\n",
		(unsigned long long)r->seed, r->op, what, r->path[0], r->path[1],
		(long long)got, (long long)expected, collect_text(&r->tv.told));
	fail();
}

static void trace(struct run *r, const char *what, uint64_t a, uint64_t b)
{
	if (r->is_traced)
		print_message("# %u: %s %s %s %llu %llu\n", r->op, what, r->path[0],
			      r->path[1], (unsigned long long)a, (unsigned long long)b);
}

/* One to three components of a few names, so that they meet. */
static void make_path(struct run *r, unsigned int i)
{
	char *p = r->path[i];
	unsigned int depth = 1 + (unsigned int)(below(r, 3) * below(r, 2));
	*p = 0;
	for (unsigned int d = 0; d < depth; d++) {
		*p++ = '/';
		unsigned int kind = (unsigned int)below(r, 20);
		if (kind == 0) {
			memset(p, 'L', 100);
			p += 100;
		}
		*p++ = (char)('a' + below(r, 5));
		*p = 0;
		if (kind == 0)
			break;
	}
}

static void fill(struct run *r, uint64_t len)
{
	uint64_t x = below(r, UINT32_MAX) | 1;
	for (uint64_t i = 0; i < len; i += 8) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(r->buf + i, &x, min_u64(8, len - i));
	}
}

/* Offsets around what matters: small forms, block borders, pointer blocks. */
static uint64_t make_offset(struct run *r, uint64_t size)
{
	static const uint64_t places[] = { 0,	     1024,	8192,	   MIB,
					   2 * MIB,  5 * MIB,	256 * MIB, 1280 * MIB,
					   3584,     64 * KIB,	320 * MIB, 256 * GIB };
	switch (below(r, 8)) {
	case 0:
	case 1:
		return size;
	case 2:
	case 3:
		return size ? below(r, size) : 0;
	case 4:
		return round_down(below(r, size + 3 * MIB), 512);
	case 5:
		return places[below(r, ARRAY_SIZE(places) - (below(r, 8) != 0))];
	case 6:
		return below(r, 9000);
	default: {
		uint64_t at = places[below(r, ARRAY_SIZE(places) - (below(r, 8) != 0))];
		return at < 600 ? at : at - below(r, 600);
	}
	}
}

static uint64_t make_len(struct run *r)
{
	switch (below(r, 6)) {
	case 0:
		return 1 + below(r, 1024);
	case 1:
		return 1 + below(r, 10000);
	case 2:
		return 512 * (1 + below(r, 64));
	case 3:
		return MIB * (1 + below(r, 4));
	case 4:
		return 1 + below(r, 3 * MIB);
	default:
		return 4096;
	}
}

/* ---- files ---- */

static void compare_range(struct run *r, struct vmfs_file *file,
			  const struct model_node *node, uint64_t offset, uint64_t len)
{
	uint64_t want = model_read(node, r->buf, len, offset);
	int64_t got = vmfs_file_read(file, r->seen, len, offset);
	fail_run(r, "read", got, (int64_t)want);
	if (memcmp(r->buf, r->seen, want) == 0)
		return;
	uint64_t at = 0;
	while (r->buf[at] == r->seen[at])
		at++;
	print_message("# seed %llu, operation %u: %s: byte %llu is 0x%02x, not 0x%02x\n",
		      (unsigned long long)r->seed, r->op, node->name,
		      (unsigned long long)(offset + at), r->seen[at], r->buf[at]);
	fail();
}

static void close_file(struct run *r, struct open_file *of)
{
	if (!of->file)
		return;
	bdev_close(of->bd);
	fail_run(r, "close", vmfs_file_close(of->file), 0);
	of->node->open_count--;
	*of = (struct open_file){ 0 };
}

static bool is_followed(struct run *r)
{
	struct model_node *n = model_find(&r->model, r->path[0]);
	return n && n->type == MODEL_SYMLINK;
}

static void do_open(struct run *r)
{
	struct open_file *of = &r->open[below(r, OPEN_MAX)];
	bool is_exclusive = below(r, 4) == 0;
	close_file(r, of);
	make_path(r, 0);
	if (is_followed(r))
		return;
	struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE | (is_exclusive ? VMFS_EXCL : 0u),
		.mode = (uint32_t)below(r, 01000),
	};
	struct model_node *node = NULL;
	int want = model_create(&r->model, r->path[0], options.mode, is_exclusive, &node);
	if (want == 0 && node->open_count)
		want = -EBUSY;
	trace(r, "open", 0, (uint64_t)-want);
	fail_run(r, "open",
		 vmfs_file_open(r->tv.vol, r->path[0], &options, &of->file, NULL), want);
	if (want < 0)
		return;
	of->node = node;
	node->open_count++;
	fail_run(r, "bdev", vmfs_file_bdev(of->file, &of->bd), 0);
}

static void do_write(struct run *r, struct open_file *of)
{
	uint64_t offset = make_offset(r, of->node->size);
	uint64_t len = make_len(r);
	trace(r, "write", offset, len);
	fill(r, len);
	fail_run(r, "write", vmfs_file_write(of->file, r->buf, len, offset), 0);
	model_write(of->node, r->buf, len, offset);
}

static void do_read(struct run *r, struct open_file *of)
{
	uint64_t offset = make_offset(r, of->node->size);
	trace(r, "read", offset, of->node->size);
	compare_range(r, of->file, of->node, offset, make_len(r));
}

static void do_truncate(struct run *r, struct open_file *of)
{
	uint64_t size = below(r, 4) ? make_offset(r, of->node->size) : 0;
	trace(r, "truncate", size, of->node->size);
	fail_run(r, "truncate", vmfs_file_truncate(of->file, size), 0);
	model_truncate(of->node, size);
}

static void do_punch(struct run *r, struct open_file *of)
{
	uint64_t offset = make_offset(r, of->node->size);
	uint64_t len = make_len(r) * (1 + below(r, 3));
	trace(r, "punch", offset, len);
	fail_run(r, "punch", vmfs_file_punch(of->file, offset, len), 0);
	model_zero(of->node, offset, len);
}

static void do_allocate(struct run *r, struct open_file *of)
{
	uint64_t offset = make_offset(r, of->node->size);
	uint64_t len = make_len(r);
	enum vmfs_allocate how = below(r, 2) ? VMFS_ALLOCATE_TBZ : VMFS_ALLOCATE_ZERO;
	trace(r, "allocate", offset, len);
	fail_run(r, "allocate", vmfs_file_allocate(of->file, offset, len, how), 0);
	of->node->size = max_u64(of->node->size, offset + len);
}

/* As a device: sectors, through map() where it can. */
static void do_device(struct run *r, struct open_file *of)
{
	uint64_t size = round_down(of->node->size, 512);
	fail_run(r, "device size", (int64_t)of->bd->size, (int64_t)size);
	if (size == 0)
		return;
	uint64_t offset = round_down(below(r, size), 512);
	uint64_t len = min_u64(round_up(make_len(r), 512), size - offset);
	unsigned int op = (unsigned int)below(r, 5);
	trace(r, "device", offset, len);
	if (op == 0) {
		fail_run(r, "device read", bdev_read(of->bd, r->seen, len, offset), 0);
		(void)model_read(of->node, r->buf, len, offset);
		fail_run(r, "device compare", memcmp(r->seen, r->buf, len), 0);
	} else if (op == 1) {
		fill(r, len);
		fail_run(r, "device write", bdev_write(of->bd, r->buf, len, offset), 0);
		model_write(of->node, r->buf, len, offset);
	} else if (op == 2) {
		fail_run(r, "device zero", bdev_zero(of->bd, len, offset), 0);
		model_zero(of->node, offset, len);
	} else if (op == 3) {
		fail_run(r, "device unmap", bdev_unmap(of->bd, len, offset), 0);
		model_zero(of->node, offset, len);
	} else {
		fail_run(r, "device flush", bdev_flush(of->bd), 0);
	}
}

/* Data and holes as reported: what is no data reads as zeros. */
static void do_extent(struct run *r, struct open_file *of)
{
	uint64_t offset = make_offset(r, of->node->size);
	uint64_t len;
	bool is_data;
	int rc = vmfs_file_extent(of->file, offset, &len, &is_data);
	if (offset >= of->node->size) {
		fail_run(r, "extent", rc, -ENXIO);
		return;
	}
	fail_run(r, "extent", rc, 0);
	assert_true(len > 0 && len <= of->node->size - offset);
	if (is_data)
		return;
	len = min_u64(len, IO_MAX);
	(void)model_read(of->node, r->buf, len, offset);
	for (uint64_t i = 0; i < len; i++)
		fail_run(r, "extent says hole", r->buf[i], 0);
}

static void do_file(struct run *r)
{
	static void (*const ops[])(struct run *, struct open_file *) = {
		do_write,    do_write,	  do_write,  do_write,	do_read, do_read,
		do_truncate, do_allocate, do_device, do_device, do_punch, do_extent,
	};
	uint64_t first = below(r, OPEN_MAX);
	struct open_file *of = NULL;
	for (unsigned int i = 0; i < OPEN_MAX && (!of || !of->file); i++)
		of = &r->open[(first + i) % OPEN_MAX];
	if (!of->file)
		return;
	strcpy(r->path[0], of->node->name);
	r->path[1][0] = 0;
	unsigned int what = (unsigned int)below(r, ARRAY_SIZE(ops) + 3);
	if (what < ARRAY_SIZE(ops))
		ops[what](r, of);
	else if (what < ARRAY_SIZE(ops) + 2)
		fail_run(r, "sync", vmfs_file_sync(of->file), 0);
	else
		close_file(r, of);
}

/* ---- names ---- */

static void do_names(struct run *r)
{
	make_path(r, 0);
	make_path(r, 1);
	const char *a = r->path[0];
	struct vmfs_volume *vol = r->tv.vol;
	uint32_t mode = (uint32_t)below(r, 01000);
	unsigned int op = (unsigned int)below(r, 6);
	trace(r, "name", op, 0);
	switch (op) {
	case 0:
		fail_run(r, "mkdir", vmfs_mkdir(vol, a, mode),
			 model_mkdir(&r->model, a, mode));
		break;
	case 1:
		fail_run(r, "rmdir", vmfs_rmdir(vol, a), model_rmdir(&r->model, a));
		break;
	case 2:
		fail_run(r, "unlink", vmfs_unlink(vol, a), model_unlink(&r->model, a));
		break;
	case 3:
		fail_run(r, "symlink", vmfs_symlink(vol, "to somewhere", a),
			 model_symlink(&r->model, "to somewhere", a));
		break;
	default:
		fail_run(r, "rename", vmfs_rename(vol, a, r->path[1]),
			 model_rename(&r->model, a, r->path[1]));
	}
}

/* ---- comparing everything ---- */

static void compare_file(struct run *r, const char *path, const struct model_node *node)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	fail_run(r, "open to read",
		 vmfs_file_open(r->tv.vol, path, &options, &file, NULL), 0);
	for (uint64_t offset = 0; offset < node->size;) {
		uint64_t len;
		bool is_data;
		fail_run(r, "extent", vmfs_file_extent(file, offset, &len, &is_data), 0);
		/* Long holes: their ends. Where the model has data there, it shows. */
		if (!is_data && len > 4 * IO_MAX) {
			compare_range(r, file, node, offset, IO_MAX);
			compare_range(r, file, node, offset + len - IO_MAX, IO_MAX);
			offset += len;
			continue;
		}
		compare_range(r, file, node, offset, IO_MAX);
		offset += IO_MAX;
	}
	fail_run(r, "close", vmfs_file_close(file), 0);
}

static void compare_node(struct run *r, const char *path, const struct model_node *node)
{
	struct vmfs_stat st;
	fail_run(r, "stat", vmfs_stat(r->tv.vol, path, &st), 0);
	fail_run(r, "type of", st.type, node->type);
	if (node->type == MODEL_SYMLINK) {
		char target[256];
		fail_run(r, "readlink",
			 vmfs_readlink(r->tv.vol, path, target, sizeof(target)),
			 (int64_t)strlen(node->target));
		assert_string_equal(target, node->target);
		return;
	}
	if (node->parent)
		fail_run(r, "mode of", st.mode, node->mode);
	if (node->type == MODEL_FILE) {
		fail_run(r, "size of", (int64_t)st.size_bytes, (int64_t)node->size);
		compare_file(r, path, node);
	}
}

static void compare_tree(struct run *r, const char *path, const struct model_node *dir)
{
	struct vmfs_dirent *entries = calloc(64, sizeof(*entries));
	struct vmfs_stat st;
	struct model_node *child;
	assert_non_null(entries);
	fail_run(r, "stat", vmfs_stat(r->tv.vol, path[0] ? path : "/", &st), 0);
	int n = vmfs_readdir(r->tv.vol, st.addr, 0, entries, 64);
	/* ".", ".." and, in the root, the system files. */
	int more = dir->parent ? 2 : 2 + 7 + r->is_6;
	fail_run(r, "readdir", n, (int64_t)model_count(dir) + more);
	free(entries);
	LIST_FOREACH(child, &dir->children, link)
	{
		char below_path[512];
		(void)snprintf(below_path, sizeof(below_path), "%s/%s", path,
			       child->name);
		strcpy(r->path[0], child->name);
		compare_node(r, below_path, child);
		if (child->type == MODEL_DIRECTORY)
			compare_tree(r, below_path, child);
	}
}

static void delete_tree(struct run *r, const char *path, struct model_node *dir)
{
	while (!LIST_EMPTY(&dir->children)) {
		struct model_node *child = LIST_FIRST(&dir->children);
		char p[512];
		(void)snprintf(p, sizeof(p), "%s/%s", path, child->name);
		if (child->type == MODEL_DIRECTORY) {
			delete_tree(r, p, child);
			fail_run(r, "rmdir", vmfs_rmdir(r->tv.vol, p), 0);
			fail_run(r, "rmdir", model_rmdir(&r->model, p), 0);
		} else {
			fail_run(r, "unlink", vmfs_unlink(r->tv.vol, p), 0);
			fail_run(r, "unlink", model_unlink(&r->model, p), 0);
		}
	}
}

static void close_all(struct run *r)
{
	for (unsigned int i = 0; i < OPEN_MAX; i++)
		close_file(r, &r->open[i]);
}

/* Files with a large block, as ESXi makes them. */
static void make_large_files(struct run *r)
{
	static const struct largefile files[] = {
		{ "/a", 400 * MIB, .number = 4, .to = VMFS6_SFB_PER_LFB, .is_tbz = true },
		{ "/b", 700 * MIB, .number = 5, .to = VMFS6_SFB_PER_LFB },
	};
	struct model_node *node;
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		assert_int_equal(largefile_make(r->tv.vol, &files[i]), 0);
		assert_int_equal(
			model_create(&r->model, files[i].path, 0600, true, &node), 0);
		model_truncate(node, files[i].length);
	}
	testvol_unmount(&r->tv);
	testvol_check(&r->tv);
	testvol_mount(&r->tv, false);
}

static void one_run(uint64_t seed, unsigned int ops, enum kind kind)
{
	struct run r = { .seed = seed, .random = seed * 1000003,
			 .is_6 = kind == KIND_6 };
	struct vmfs_volume_info before, after;
	const char *v = getenv("V");
	r.is_traced = v && strcmp(v, "1") == 0;
	r.buf = malloc(IO_MAX + 8);
	r.seen = malloc(IO_MAX + 8);
	if (kind == KIND_UPGRADED)
		testvol_new_upgraded(&r.tv, (uint32_t)MIB << seed % 4, 12);
	else
		testvol_new_version(&r.tv, r.is_6 ? 6 : 5, 12);
	model_init(&r.model);
	assert_int_equal(vmfs_volume_info(r.tv.vol, &before), 0);
	if (r.is_6 && seed % 2 == 0)
		make_large_files(&r);
	for (r.op = 0; r.op < ops; r.op++) {
		unsigned int what = (unsigned int)below(&r, 10);
		if (what == 0)
			do_names(&r);
		else if (what == 1)
			do_open(&r);
		else
			do_file(&r);
	}
	close_all(&r);
	compare_tree(&r, "", &r.model.root);
	testvol_unmount(&r.tv);
	testvol_check(&r.tv);
	testvol_mount(&r.tv, true);
	compare_tree(&r, "", &r.model.root);
	testvol_unmount(&r.tv);
	testvol_mount(&r.tv, false);
	delete_tree(&r, "", &r.model.root);
	assert_int_equal(vmfs_volume_info(r.tv.vol, &after), 0);
	fail_run(&r, "free blocks", (int64_t)after.free_block_count,
		 (int64_t)before.free_block_count);
	fail_run(&r, "free descriptors", (int64_t)after.free_fd_count,
		 (int64_t)before.free_fd_count);
	fail_run(&r, "free sub-blocks", (int64_t)after.free_sb_count,
		 (int64_t)before.free_sb_count);
	fail_run(&r, "free pointer blocks", (int64_t)after.free_pb_count,
		 (int64_t)before.free_pb_count);
	testvol_unmount(&r.tv);
	testvol_check(&r.tv);
	testvol_free(&r.tv);
	model_done(&r.model);
	free(r.buf);
	free(r.seen);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void runs(enum kind kind)
{
	uint64_t seeds = number_of("MODEL_SEEDS", getenv("FULL") ? 200 : 4);
	unsigned int ops = (unsigned int)number_of("MODEL_OPS", 250);
	if (getenv("MODEL_SEED")) {
		one_run(number_of("MODEL_SEED", 1), ops, kind);
		return;
	}
	for (uint64_t seed = 1; seed <= seeds; seed++)
		one_run(seed, ops, kind);
}

static void a_volume_behaves_like_its_model(void **state)
{
	(void)state;
	runs(KIND_5);
}

static void a_volume_of_vmfs6_does_so_too(void **state)
{
	(void)state;
	runs(KIND_6);
}

static void a_volume_that_was_vmfs3_does_so_too(void **state)
{
	(void)state;
	runs(KIND_UPGRADED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_volume_behaves_like_its_model),
		cmocka_unit_test(a_volume_of_vmfs6_does_so_too),
		cmocka_unit_test(a_volume_that_was_vmfs3_does_so_too),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("CASE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
