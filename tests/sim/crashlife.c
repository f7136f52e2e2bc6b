/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lives and deaths of one host: see crashlife.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/align.h"
#include "tests/sim/cluster.h"
#include "tests/sim/crashlife.h"
#include "tests/sim/recovery.h"
#include "vmfs/format6.h"

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define STALE CLUSTER_STALE
#define SEEN_MAX 96u
#define PIECE 4096u

/* ---- operations ---- */

enum kind {
	CREATE,
	WRITE,	/* n bytes at `at` */
	TRUNCATE,
	ALLOCATE,
	THICK,	/* allocate, zeroed */
	PUNCH,
	RENAME,
	EXCHANGE,
	UNLINK,
	MKDIR,
	RMDIR,
	SYMLINK,
	CHMOD,
	NOTHING,
};

struct op {
	enum kind kind;
	const char *path, *other;
	uint64_t at, n;
	bool is_mixing; /* in place: power failure may leave some bytes old, some new */
};

/* /r resident, /s one sub-block, /b blocks, /d with one file each, /many, /empty. */
static const struct op ops[] = {
	{ CREATE, "/new", NULL, 0, 0, false },
	{ CREATE, "/many/new", NULL, 0, 0, false },
	{ WRITE, "/r", NULL, 10, 300, false },
	{ WRITE, "/r", NULL, 90, 5000, false },
	{ WRITE, "/r", NULL, 0, 100 * KIB, true },
	{ WRITE, "/s", NULL, 3000, 3000, true },
	{ WRITE, "/s", NULL, 4000, 60 * KIB, true },
	{ WRITE, "/b", NULL, 100, 9000, true },
	{ WRITE, "/b", NULL, 2 * MIB - 5000, MIB + 6000, true },
	{ WRITE, "/b", NULL, 330 * MIB, 5000, true },
	{ TRUNCATE, "/b", NULL, 300 * KIB, 0, true },
	{ TRUNCATE, "/b", NULL, 0, 0, true },
	{ TRUNCATE, "/b", NULL, 5 * MIB, 0, true },
	{ TRUNCATE, "/s", NULL, 0, 0, false },
	{ TRUNCATE, "/r", NULL, 3 * MIB, 0, true },
	{ ALLOCATE, "/s", NULL, 0, 3 * MIB, true },
	{ ALLOCATE, "/b", NULL, 3 * MIB, 4 * MIB, true },
	{ THICK, "/b", NULL, 2 * MIB, 2 * MIB, true },
	{ PUNCH, "/b", NULL, 4000, MIB + 200 * KIB, true },
	{ RENAME, "/r", "/new", 0, 0, false },
	{ RENAME, "/s", "/b", 0, 0, false },
	{ RENAME, "/d/f", "/r", 0, 0, false },
	{ RENAME, "/d", "/many/d", 0, 0, false },
	{ RENAME, "/empty", "/e2", 0, 0, false },
	{ RENAME, "/many/f7", "/many/f8", 0, 0, false },
	{ EXCHANGE, "/d", "/many/f7", 0, 0, false },
	/* A hashed directory has one place for both: FORMAT.md 20.6. */
	{ CREATE, "/many/t4645", NULL, 0, 0, false },
	{ UNLINK, "/r", NULL, 0, 0, false },
	{ UNLINK, "/b", NULL, 0, 0, false },
	{ UNLINK, "/many/f7", NULL, 0, 0, false },
	{ MKDIR, "/empty/sub", NULL, 0, 0, false },
	{ MKDIR, "/many/sub", NULL, 0, 0, false },
	{ RMDIR, "/empty", NULL, 0, 0, false },
	{ SYMLINK, "/new", "/somewhere", 0, 0, false },
	{ CHMOD, "/s", NULL, 0600, 0, false },
	{ NOTHING, "", NULL, 0, 0, false },
	/* Behind CRASHLIFE_OPS, of files with a large block: /l, and /t, to be zeroed. */
	{ UNLINK, "/l", NULL, 0, 0, false },
	{ TRUNCATE, "/l", NULL, 0, 0, true },
	{ TRUNCATE, "/l", NULL, MIB + 100, 0, true },
	{ WRITE, "/l", NULL, MIB - 5000, 6000, true },
	{ PUNCH, "/l", NULL, 4000, MIB + 200 * KIB, true },
	{ RENAME, "/b", "/l", 0, 0, false },
	{ WRITE, "/t", NULL, MIB - 5000, 6000, true },
	{ UNLINK, "/t", NULL, 0, 0, false },
};
static_assert(ARRAY_SIZE(ops) == CRASHLIFE_OPS + CRASHLIFE_LARGE_OPS,
	      "each operation has a number");

static int write_bytes(struct vmfs_file *file, const struct op *op)
{
	uint8_t *data = malloc(op->n);

	SIM_CHECK(data);
	for (uint64_t i = 0; i < op->n; i++)
		data[i] = (uint8_t)('A' + (op->at + i) / 512 % 26);
	int err = vmfs_file_write(file, data, op->n, op->at);
	free(data);
	return err;
}

static int change_file(struct vmfs_volume *vol, const struct op *op)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE, .mode = 0644 };
	struct vmfs_file *file;

	if (op->kind == CREATE)
		options.flags |= VMFS_CREATE;
	int err = vmfs_file_open(vol, op->path, &options, &file, NULL);
	if (err)
		return err;
	if (op->kind == WRITE)
		err = write_bytes(file, op);
	else if (op->kind == TRUNCATE)
		err = vmfs_file_truncate(file, op->at);
	else if (op->kind == ALLOCATE)
		err = vmfs_file_allocate(file, op->at, op->n, VMFS_ALLOCATE_TBZ);
	else if (op->kind == THICK)
		err = vmfs_file_allocate(file, op->at, op->n, VMFS_ALLOCATE_ZERO);
	else if (op->kind == PUNCH)
		err = vmfs_file_punch(file, op->at, op->n);
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

static int apply(struct vmfs_volume *vol, const struct op *op)
{
	struct vmfs_attr attr = { .has_mode = true, .mode = (uint32_t)op->at };

	switch (op->kind) {
	case RENAME:
		return vmfs_rename(vol, op->path, op->other);
	case EXCHANGE:
		return vmfs_rename_flags(vol, op->path, op->other, VMFS_RENAME_EXCHANGE);
	case UNLINK:
		return vmfs_unlink(vol, op->path);
	case MKDIR:
		return vmfs_mkdir(vol, op->path, 0755);
	case RMDIR:
		return vmfs_rmdir(vol, op->path);
	case SYMLINK:
		return vmfs_symlink(vol, op->other, op->path);
	case CHMOD:
		return vmfs_setattr(vol, op->path, &attr);
	case NOTHING:
		return 0;
	default:
		return change_file(vol, op);
	}
}

/* ---- what a volume shows ---- */

struct seen_file {
	char path[48];
	uint32_t type, mode;
	uint64_t size, hash;
};

struct seen {
	unsigned int count;
	struct seen_file files[SEEN_MAX];
};

/* Over the pieces that are not zero: holes and zeros are the same. */
static uint64_t hash_piece(uint64_t hash, const uint8_t *piece, uint64_t at,
			   const char *path)
{
	static const uint8_t zero[PIECE];

	if (!memcmp(piece, zero, PIECE))
		return hash;
	const uint8_t *stale = memchr(piece, STALE, PIECE);
	if (stale)
		sim_fail("%s: byte %llu was never written: old data show", path,
			 (unsigned long long)(at + (uint64_t)(stale - piece)));
	return XXH3_64bits_withSeed(piece, PIECE, hash ^ at);
}

static uint64_t hash_file(struct vmfs_volume *vol, const char *path, uint64_t size)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint64_t hash = 1, len;
	bool is_data;

	int err = vmfs_file_open(vol, path, &options, &file, NULL);
	if (err)
		sim_fail("%s: open: %d", path, err);
	for (uint64_t at = 0; at < size; at += len) {
		SIM_CHECK(!vmfs_file_extent(file, at, &len, &is_data) && len);
		for (uint64_t i = round_down(at, PIECE); is_data && i < at + len;
		     i += PIECE) {
			uint8_t piece[PIECE] = { 0 };

			SIM_CHECK(vmfs_file_read(file, piece, PIECE, i) > 0);
			hash = hash_piece(hash, piece, i, path);
		}
	}
	SIM_CHECK(!vmfs_file_close(file));
	return hash;
}

static void look_at(struct vmfs_volume *vol, const char *dir, struct seen *ret);

static void look_at_entry(struct vmfs_volume *vol, const char *dir,
			  const struct vmfs_dirent *entry, struct seen *ret)
{
	struct seen_file *f = &ret->files[ret->count];
	struct vmfs_stat st;

	if (entry->type == VMFS_TYPE_SYSTEM || !strcmp(entry->name, ".") ||
	    !strcmp(entry->name, ".."))
		return;
	SIM_CHECK(ret->count < SEEN_MAX);
	memset(f, 0, sizeof(*f));
	snprintf(f->path, sizeof(f->path), "%.20s/%.20s", dir, entry->name);
	int err = vmfs_stat(vol, f->path, &st);
	if (err)
		sim_fail("%s: stat: %d", f->path, err);
	f->type = st.type;
	f->mode = st.mode;
	ret->count++;
	if (st.type == VMFS_TYPE_FILE) {
		f->size = st.size_bytes;
		if (f->size)
			f->hash = hash_file(vol, f->path, f->size);
	} else if (st.type == VMFS_TYPE_DIRECTORY) {
		look_at(vol, f->path, ret);
	}
}

static void look_at(struct vmfs_volume *vol, const char *dir, struct seen *ret)
{
	struct vmfs_dirent entries[8];
	struct vmfs_stat st;
	uint64_t cookie = 0;
	int n;

	SIM_CHECK(!vmfs_stat(vol, *dir ? dir : "/", &st));
	while ((n = vmfs_readdir(vol, st.addr, cookie, entries, 8)) > 0) {
		for (int i = 0; i < n; i++)
			look_at_entry(vol, dir, &entries[i], ret);
		cookie = entries[n - 1].cookie;
	}
	if (n < 0)
		sim_fail("%s: readdir: %d", dir, n);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct seen_file *)a)->path,
		      ((const struct seen_file *)b)->path);
}

static void look(struct vmfs_volume *vol, struct seen *ret)
{
	ret->count = 0;
	look_at(vol, "", ret);
	qsort(ret->files, ret->count, sizeof(ret->files[0]), by_path);
}

#define MIXING_MAX 3u

/* Files that data go to in place. */
struct mixing {
	unsigned int count;
	const char *paths[MIXING_MAX];
};

static bool has_path(const struct mixing *mixing, const char *path)
{
	for (unsigned int i = 0; i < mixing->count; i++)
		if (!strcmp(mixing->paths[i], path))
			return true;
	return false;
}

static bool is_as(const struct seen *is, const struct seen *should,
		  const struct mixing *mixing)
{
	if (is->count != should->count)
		return false;
	for (unsigned int i = 0; i < is->count; i++) {
		const struct seen_file *a = &is->files[i], *b = &should->files[i];

		if (strcmp(a->path, b->path) || a->type != b->type || a->mode != b->mode)
			return false;
		if (has_path(mixing, a->path))
			continue;
		if (a->size != b->size || a->hash != b->hash)
			return false;
	}
	return true;
}

/* ---- the volume that all begin with ---- */

static void make_file(struct vmfs_volume *vol, const char *path, uint64_t n, int byte)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0644 };
	struct vmfs_file *file;
	uint8_t *data = malloc(n + 1);

	SIM_CHECK(data);
	memset(data, byte, n);
	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	SIM_CHECK(!vmfs_file_write(file, data, n, 0));
	SIM_CHECK(!vmfs_file_close(file));
	free(data);
}

/* What is deleted again leaves its bytes in blocks and sub-blocks. */
static void leave_traces(struct vmfs_volume *vol)
{
	char path[16];

	make_file(vol, "/old", 24 * MIB, STALE);
	SIM_CHECK(!vmfs_unlink(vol, "/old"));
	for (int i = 0; i < 24; i++) {
		snprintf(path, sizeof(path), "/old%d", i);
		make_file(vol, path, 8192, STALE);
	}
	for (int i = 0; i < 24; i++) {
		snprintf(path, sizeof(path), "/old%d", i);
		SIM_CHECK(!vmfs_unlink(vol, path));
	}
}

static void populate(void *arg)
{
	struct cluster_mount m = { 0 };
	char path[32];

	SIM_CHECK(!cluster_mount(arg, &m));
	leave_traces(m.vol);
	make_file(m.vol, "/r", 100, 'r');
	make_file(m.vol, "/s", 5000, 's');
	make_file(m.vol, "/b", 2 * MIB + 300 * KIB, 'b');
	SIM_CHECK(!vmfs_mkdir(m.vol, "/d", 0755));
	make_file(m.vol, "/d/f", 7000, 'f');
	SIM_CHECK(!vmfs_mkdir(m.vol, "/empty", 0755));
	SIM_CHECK(!vmfs_mkdir(m.vol, "/many", 0755));
	/* 58 entries fill a sub-block: the next one needs another. */
	for (int i = 0; i < 56; i++) {
		snprintf(path, sizeof(path), "/many/f%d", i);
		make_file(m.vol, path, 0, 0);
	}
	SIM_CHECK(!cluster_unmount(&m));
}

/* ---- recording ---- */

struct life {
	enum bdev_caw_class caw;
	bool is_lazy;
	const struct op *ops[2];
	struct cluster cluster; /* a disk, no oracle */
	struct simdisk_log *log;
	unsigned int entries;	/* of the log so far */
	unsigned int ends[2];	/* entries when the operation had ended */
	unsigned int left;	/* entries when it had unmounted */
	struct seen seen[3];	/* before, between, after */
	unsigned long states;
};

static void count_entry(const struct simdisk_effect *e, void *arg)
{
	(void)e;
	(*(unsigned int *)arg)++;
}

/* An operation may fail (there is no such file any more): that is as good a case. */
static void live(void *arg)
{
	struct life *life = arg;
	struct cluster_mount m = { .is_lazy = life->is_lazy };

	SIM_CHECK(!cluster_mount(&life->cluster, &m));
	look(m.vol, &life->seen[0]);
	for (unsigned int i = 0; i < 2; i++) {
		int err = apply(m.vol, life->ops[i]);

		if (err && err != -ENOENT && err != -EEXIST && err != -ENOTEMPTY &&
		    err != -ENOTDIR && err != -EISDIR)
			sim_fail("operation: %d", err);
		life->ends[i] = life->entries;
		look(m.vol, &life->seen[i + 1]);
	}
	SIM_CHECK(!cluster_unmount(&m));
	life->left = life->entries;
}

/* ---- recovering ---- */

struct finding {
	struct life *life;
	unsigned int cut; /* of the first log */
};

/*
 * Data of operation n go in place, so a part of them may be there: by its own nature, or
 * because the one before gave its small file's name to a larger one.
 */
static bool is_mixing(const struct life *life, unsigned int n)
{
	if (n == 2)
		return false;
	const struct op *op = life->ops[n], *before = n ? life->ops[n - 1] : NULL;
	return op->is_mixing ||
	       (before && op->kind == WRITE && before->kind == RENAME &&
		!strcmp(op->path, before->other));
}

/* What operations from the n-th to the last one begun may have put in place. */
static struct mixing mixing_from(const struct life *life, unsigned int n,
				 unsigned int last)
{
	const struct op *first = life->ops[0];
	struct mixing m = { 0 };

	for (unsigned int i = n; i <= last && i < 2; i++) {
		const char *path = life->ops[i]->path;

		if (!is_mixing(life, i))
			continue;
		m.paths[m.count++] = path;
		/* By the name that it had before. */
		if (i == 1 && n == 0 && first->kind == RENAME &&
		    !strcmp(first->other, path))
			m.paths[m.count++] = first->path;
	}
	return m;
}

static void judge(struct vmfs_volume *vol, void *arg)
{
	const struct finding *found = arg;
	struct life *life = found->life;
	struct seen *is = malloc(sizeof(*is));
	unsigned int done = 0;
	bool is_good = false;

	SIM_CHECK(is);
	look(vol, is);
	while (done < 2 && life->ends[done] <= found->cut)
		done++;
	unsigned int first = life->is_lazy && found->cut < life->left ? 0 : done;
	for (unsigned int n = first; !is_good && n <= done + 1 && n <= 2; n++) {
		struct mixing mixing = mixing_from(life, n > done ? done : n, done);

		is_good = is_as(is, &life->seen[n], &mixing);
	}
	if (!is_good)
		sim_fail("after operation %u: the tree is neither that of before the "
			 "next nor that of after it%s",
			 done, life->is_lazy ? ", nor an older one" : "");
	free(is);
}

/* One state: recovered. ret_log: with a log of the recovery. */
static void check_state(struct life *life, unsigned int cut, struct image *img,
			struct simdisk_log **ret_log)
{
	struct finding found = { .life = life, .cut = cut };
	struct recovery r = { .caw = life->caw,
			      .has_glance = ++life->states % 4 == 0,
			      .judge = judge,
			      .arg = &found };

	recovery_run(&r, img, ret_log);
}

static void name_state(const struct life *life, const char *what, unsigned int n,
		       enum simdisk_cut cut)
{
	sim_mute_trace(false);
	sim_trace("%s: cut %d at %u, CRASH_PAIR=%u.%u", what, (int)cut, n,
		  (unsigned int)(life->ops[0] - ops), (unsigned int)(life->ops[1] - ops));
	sim_mute_trace(true);
}

/* The power fails again in the recovery of the image at n. */
static void check_again(struct life *life, unsigned int n)
{
	struct simdisk_log *log;

	check_state(life, n, simdisk_image_at(life->log, n, SIMDISK_SUBSET, n), &log);
	for (unsigned int k = 1; k < simdisk_log_count(log); k++) {
		enum simdisk_cut cut = k % 2 ? SIMDISK_PREFIX : SIMDISK_SUBSET;

		name_state(life, "in the recovery", k, cut);
		check_state(life, n, simdisk_image_at(log, k, cut, k), NULL);
	}
	simdisk_log_free(log);
}

void crashlife_run(void *arg)
{
	const struct crashlife *run = arg;
	struct life *life = calloc(1, sizeof(*life));

	SIM_CHECK(life);
	sim_set_limits(365 * 24 * 3600 * NS_PER_S, 1000000000);
	life->caw = life->cluster.caw = run->caw;
	life->is_lazy = run->is_lazy;
	life->ops[0] = &ops[run->pair[0]];
	life->ops[1] = &ops[run->pair[1]];
	life->cluster.disk = recovery_disk(image_clone(run->img), run->caw);
	simdisk_on_effect(life->cluster.disk, count_entry, &life->entries);
	simdisk_log_start(life->cluster.disk);
	SIM_CHECK(sim_host_run(sim_host_new("a", 0), "live", live, life));
	life->log = simdisk_log_take(life->cluster.disk);
	SIM_CHECK(simdisk_log_count(life->log) == life->entries);
	for (unsigned int n = 0; n <= life->entries; n++) {
		static const enum simdisk_cut cuts[] = { SIMDISK_PREFIX, SIMDISK_SUBSET,
							 SIMDISK_TORN };
		for (unsigned int i = 0; i < (n ? ARRAY_SIZE(cuts) : 1); i++) {
			/*
			 * A torn write is one more that was sent: counted as under way.
			 */
			if (run->again_every)
				continue;
			name_state(life, "state", n, cuts[i]);
			check_state(life, cuts[i] == SIMDISK_TORN ? n - 1 : n,
				    simdisk_image_at(life->log, n, cuts[i], n), NULL);
		}
		if (run->again_every && n % run->again_every == 1)
			check_again(life, n);
	}
	__atomic_fetch_add(run->states, life->states, __ATOMIC_RELAXED);
	simdisk_log_free(life->log);
	simdisk_free(life->cluster.disk);
	free(life);
}

static const struct largefile large_files[] = {
	{ "/l", 3 * MIB, .number = 1, .to = VMFS6_SFB_PER_LFB },
	{ "/t", 3 * MIB, .number = 2, .to = VMFS6_SFB_PER_LFB, .is_tbz = true },
};

void crashlife_prepare(void *arg)
{
	struct crashlife *run = arg;
	struct cluster *c = run->is_large ? cluster_new6_large(run->caw)
			    : run->is_6	  ? cluster_new6(run->caw, NULL)
			    : run->upgraded
				    ? cluster_new_upgraded(run->caw, run->upgraded)
				    : cluster_new(run->caw);

	for (unsigned int i = 0; run->is_large && i < ARRAY_SIZE(large_files); i++)
		cluster_make_large(c, &large_files[i]);
	SIM_CHECK(sim_host_run(sim_host_new("maker", 0), "populate", populate, c));
	cluster_check(c, false);
	run->img = simdisk_image(c->disk);
	cluster_free(c);
}
