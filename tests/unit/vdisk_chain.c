/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks with snapshots, on a volume in memory: what is written through a chain is what a
 * plain piece of memory would hold, for both kinds of delta; and what is wrong with a
 * chain is said in one line. qemu-img reads what we wrote, and finds the same.
 */
#include <errno.h>
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
#include "mkfs/layout.h"
#include "tests/lib/batch.h"
#include "tests/lib/testvol.h"
#include "vdisk/chain.h"
#include "vdisk/transfer.h"

#define DISK_SIZE ((6ull << 20) + 3 * 512) /* no whole grain at its end */
#define STEPS 400u
#define SAVED_MAX 12u

/* ---- a disk and its model ---- */

struct saved {
	char *path;
	uint8_t *bytes;
};

struct scribble {
	struct testvol tv;
	struct worker_pool *pool;
	struct vdisk *disk;
	char path[64];
	uint8_t *model, *got;
	unsigned int made; /* disks, for names */
	struct saved saved[SAVED_MAX]; /* a line: [i] is the parent of [i + 1] */
	unsigned int count;
	uint64_t rng;
	enum vdisk_delta_kind kind;
};

static uint64_t chance(struct scribble *s, uint64_t n)
{
	s->rng = s->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (s->rng >> 33) % n;
}

static void open_disk(struct scribble *s)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = &s->tv.told.base };
	int rc = vdisk_open(s->tv.vol, s->path, &how, &s->disk, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", s->path, rc, collect_text(&s->tv.told));
	bdev_set_pool(vdisk_bdev(s->disk), s->pool);
}

static void close_disk(struct scribble *s)
{
	assert_int_equal(vdisk_close(s->disk), 0);
	s->disk = NULL;
}

static void check(struct scribble *s, const char *when)
{
	uint64_t at;
	assert_int_equal(vdisk_capacity(s->disk), DISK_SIZE);
	for (at = 0; at < DISK_SIZE; at += min_u64(1 << 20, DISK_SIZE - at))
		assert_int_equal(batch_one(vdisk_bdev(s->disk), BDEV_READ, 0, s->got + at,
					   min_u64(1 << 20, DISK_SIZE - at), at), 0);
	for (at = 0; at < DISK_SIZE && s->got[at] == s->model[at];)
		at++;
	if (at < DISK_SIZE)
		fail_msg("%s: byte %llu of %s is %u, not %u", when,
			 (unsigned long long)at, s->path, s->got[at], s->model[at]);
}

static void set_up_disk_on(struct scribble *s, uint64_t seed, enum vdisk_delta_kind kind,
			   uint32_t version)
{
	const struct vdisk_create_options options = { .capacity_bytes = DISK_SIZE,
						      .format = VDISK_THIN };
	*s = (struct scribble){ .rng = seed * 77 + 1, .kind = kind };
	if (version == 6)
		testvol_new_version(&s->tv, 6, 5);
	else
		testvol_new_with(&s->tv, 3, &(struct mkfs_counts){ .fd = 600 });
	assert_int_equal(vmfs_mkdir(s->tv.vol, "/vm", 0755), 0);
	strcpy(s->path, "/vm/d.vmdk");
	assert_int_equal(vdisk_create(s->tv.vol, s->path, &options), 0);
	s->pool = worker_pool_new("chain", 3);
	s->model = calloc(1, DISK_SIZE);
	s->got = io_alloc(DISK_SIZE);
	open_disk(s);
}

static void set_up_disk(struct scribble *s, uint64_t seed, enum vdisk_delta_kind kind)
{
	set_up_disk_on(s, seed, kind, 5);
}

static void tear_down_disk(struct scribble *s)
{
	close_disk(s);
	worker_pool_free(s->pool);
	testvol_unmount(&s->tv);
	testvol_check(&s->tv);
	testvol_free(&s->tv);
	for (unsigned int i = 0; i < s->count; i++) {
		free(s->saved[i].path);
		free(s->saved[i].bytes);
	}
	free(s->model);
	free(s->got);
}

/* ---- what is done to it ---- */

static void piece(struct scribble *s, uint64_t *ret_at, uint64_t *ret_len)
{
	static const uint64_t most[] = { 1, 8, 9, 64, 1024, 6000 };
	uint64_t sectors = DISK_SIZE / 512;
	uint64_t at = chance(s, sectors);
	uint64_t len = 1 + chance(s, most[chance(s, ARRAY_SIZE(most))]);
	if (chance(s, 2))
		at = round_down(at, 8);
	*ret_at = at * 512;
	*ret_len = min_u64(len, sectors - at) * 512;
}

static void do_write(struct scribble *s)
{
	uint64_t at, len;
	piece(s, &at, &len);
	uint8_t *buf = io_alloc(len);
	fill_bytes(buf, len, (uint32_t)s->rng);
	memcpy(s->model + at, buf, len);
	uint32_t flags = chance(s, 10) ? 0 : BDEV_FUA;
	assert_int_equal(batch_one(vdisk_bdev(s->disk), BDEV_WRITE, flags, buf, len, at),
			 0);
	free(buf);
}

static void do_zero(struct scribble *s)
{
	uint64_t at, len;
	piece(s, &at, &len);
	memset(s->model + at, 0, len);
	assert_int_equal(batch_one(vdisk_bdev(s->disk), BDEV_ZERO, 0, NULL, len, at), 0);
}

/* Each sector is then as it was, or zeros; and stays so. */
static void do_unmap(struct scribble *s)
{
	uint64_t at, len;
	piece(s, &at, &len);
	struct bdev *bd = vdisk_bdev(s->disk);
	assert_int_equal(batch_one(bd, BDEV_UNMAP, 0, NULL, len, at), 0);
	assert_int_equal(batch_one(bd, BDEV_READ, 0, s->got, len, at), 0);
	for (uint64_t i = 0; i < len; i += 512) {
		static const uint8_t zeros[512];
		if (memcmp(s->got + i, zeros, 512) != 0)
			assert_memory_equal(s->got + i, s->model + at + i, 512);
	}
	memcpy(s->model + at, s->got, len);
}

static void make_child(struct scribble *s, const char *parent)
{
	const struct vdisk_snapshot_options options = { .kind = s->kind,
							.reporter = &s->tv.told.base };
	char child[64];
	(void)snprintf(child, sizeof(child), "/vm/d-%06u.vmdk", ++s->made);
	int rc = vdisk_snapshot(s->tv.vol, parent, child, &options, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", child, rc, collect_text(&s->tv.told));
	strcpy(s->path, child);
}

static void do_snapshot(struct scribble *s)
{
	if (s->count == SAVED_MAX)
		return;
	struct saved *saved = &s->saved[s->count++];
	saved->path = strdup(s->path);
	saved->bytes = malloc(DISK_SIZE);
	memcpy(saved->bytes, s->model, DISK_SIZE);
	close_disk(s);
	make_child(s, saved->path);
	open_disk(s);
}

static void do_flush(struct scribble *s)
{
	assert_int_equal(batch_one(vdisk_bdev(s->disk), BDEV_FLUSH, 0, NULL, 0, 0), 0);
}

/* What others read of the disk at path while ours is written. */
static void check_parent(struct scribble *s, const struct saved *saved)
{
	const struct vdisk_open_options how = { .flags = VDISK_READ,
						.reporter = &s->tv.told.base };
	struct vdisk *parent;
	struct vmfs_lock_info lock;
	int rc = vdisk_open(s->tv.vol, saved->path, &how, &parent, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", saved->path, rc, collect_text(&s->tv.told));
	assert_int_equal(bdev_read(vdisk_bdev(parent), s->got, DISK_SIZE, 0), 0);
	assert_int_equal(vmfs_lock_info(s->tv.vol, vdisk_extent_path(parent, 0), &lock),
			 0);
	assert_int_equal(lock.mode, 2); /* read-only: others may share it */
	assert_memory_equal(s->got, saved->bytes, DISK_SIZE);
	assert_int_equal(vdisk_close(parent), 0);
}

/* The same without closing the disk, which is written while the child is made. */
static void do_fork(struct scribble *s)
{
	const struct vdisk_snapshot_options options = { .kind = s->kind,
							.reporter = &s->tv.told.base };
	struct vdisk_fork *fork;
	char child[64];
	if (s->count == SAVED_MAX)
		return;
	(void)snprintf(child, sizeof(child), "/vm/d-%06u.vmdk", ++s->made);
	int rc = vdisk_fork(s->disk, child, &options, &fork);
	if (rc < 0)
		fail_msg("%s: %d: %s", child, rc, collect_text(&s->tv.told));
	do_write(s);
	if (chance(s, 4) == 0) {
		vdisk_fork_undo(fork);
		struct vmfs_stat st;
		assert_int_equal(vmfs_stat(s->tv.vol, child, &st), -ENOENT);
		return;
	}
	struct saved *saved = &s->saved[s->count++];
	saved->path = strdup(s->path);
	saved->bytes = malloc(DISK_SIZE);
	memcpy(saved->bytes, s->model, DISK_SIZE);
	vdisk_fork_switch(fork);
	strcpy(s->path, child);
	do_write(s);
	do_zero(s);
	if (chance(s, 2))
		do_flush(s);
	assert_int_equal(vdisk_fork_settle(fork), 0);
	check_parent(s, saved);
}

/* Back to saved[n]; what came after it is gone. */
static void do_revert(struct scribble *s)
{
	if (!s->count)
		return;
	unsigned int n = (unsigned int)chance(s, s->count);
	close_disk(s);
	assert_int_equal(vdisk_remove(s->tv.vol, s->path, NULL, NULL), 0);
	while (s->count > n + 1) {
		struct saved *last = &s->saved[--s->count];
		assert_int_equal(vdisk_remove(s->tv.vol, last->path, NULL, NULL), 0);
		free(last->path);
		free(last->bytes);
	}
	memcpy(s->model, s->saved[n].bytes, DISK_SIZE);
	make_child(s, s->saved[n].path);
	open_disk(s);
}

/* saved[n] goes: its disk takes what the next has, which goes in its place. */
static void do_merge(struct scribble *s)
{
	if (!s->count)
		return;
	unsigned int n = (unsigned int)chance(s, s->count);
	struct reporter *r = &s->tv.told.base;
	bool is_last = n + 1 == s->count;
	const char *below = s->saved[n].path;
	char *above = strdup(is_last ? s->path : s->saved[n + 1].path);
	close_disk(s);
	assert_int_equal(vdisk_merge(s->tv.vol, above, below, NULL, r, NULL), 0);
	if (is_last) {
		strcpy(s->path, below);
	} else {
		const char *child = n + 2 == s->count ? s->path : s->saved[n + 2].path;
		assert_int_equal(vdisk_relink(s->tv.vol, child, below, r), 0);
		free(s->saved[n + 1].path);
		s->saved[n + 1].path = strdup(below);
	}
	assert_int_equal(vdisk_remove(s->tv.vol, above, NULL, NULL), 0);
	free(above);
	free(s->saved[n].path);
	free(s->saved[n].bytes);
	s->count--;
	memmove(&s->saved[n], &s->saved[n + 1], (s->count - n) * sizeof(s->saved[0]));
	open_disk(s);
}

/* The guest goes on, between the steps of a sink; now and then it is given up. */
struct sinking {
	struct vdisk_progress progress;
	struct scribble *s;
	bool is_given_up;
};

static bool guest_goes_on(struct vdisk_progress *p, uint64_t done, uint64_t total)
{
	struct sinking *k = (struct sinking *)p;
	assert_true(done <= total);
	for (unsigned int i = (unsigned int)chance(k->s, 4); i > 0; i--)
		do_write(k->s);
	if (chance(k->s, 2))
		do_zero(k->s);
	if (chance(k->s, 2))
		do_unmap(k->s);
	if (chance(k->s, 3) == 0)
		do_flush(k->s);
	k->is_given_up = chance(k->s, 25) == 0;
	return !k->is_given_up;
}

/* saved[n] is no more: what the disk is made of above it goes into its disk. */
static void forget_saved(struct scribble *s, unsigned int n, char *above)
{
	const char *below = s->saved[n].path;
	struct reporter *r = &s->tv.told.base;
	if (n + 1 == s->count) {
		strcpy(s->path, below);
	} else {
		const char *child = n + 2 == s->count ? s->path : s->saved[n + 2].path;
		assert_int_equal(n + 2 == s->count ?
					 vdisk_relink_open(s->disk, below, r) :
					 vdisk_relink(s->tv.vol, child, below, r), 0);
		free(s->saved[n + 1].path);
		s->saved[n + 1].path = strdup(below);
	}
	assert_int_equal(vdisk_remove(s->tv.vol, above, NULL, NULL), 0);
	free(s->saved[n].path);
	free(s->saved[n].bytes);
	s->count--;
	memmove(&s->saved[n], &s->saved[n + 1], (s->count - n) * sizeof(s->saved[0]));
}

static int sink_once(struct scribble *s, const char *above, bool is_last)
{
	struct sinking k = { { guest_goes_on }, s, false };
	struct vdisk_sink *sink;
	int rc = vdisk_sink(s->disk, above, &s->tv.told.base, &sink, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", above, rc, collect_text(&s->tv.told));
	assert_true(!vdisk_sink_locked_path(sink) == !is_last);
	do_write(s);
	vdisk_sink_start(sink);
	do_write(s);
	rc = vdisk_sink_copy(sink, &k.progress);
	assert_int_equal(rc, k.is_given_up ? -ECANCELED : 0);
	do_write(s);
	if (rc == 0 && is_last)
		vdisk_sink_named(sink);
	do_zero(s);
	check(s, "before the switch");
	if (rc == 0)
		vdisk_sink_switch(sink);
	else
		vdisk_sink_abandon(sink);
	do_write(s);
	check(s, "before the sink is settled");
	assert_int_equal(vdisk_sink_settle(sink), 0);
	return rc;
}

/* do_merge() of a disk that stays open and is written. */
static void do_sink(struct scribble *s)
{
	if (!s->count)
		return;
	unsigned int n = (unsigned int)chance(s, s->count);
	bool is_last = n + 1 == s->count;
	char *above = strdup(is_last ? s->path : s->saved[n + 1].path);
	if (chance(s, 2)) { /* nothing is in the map */
		close_disk(s);
		open_disk(s);
	}
	/* saved[n] is not what it was once it has begun. */
	while (sink_once(s, above, is_last) < 0)
		;
	forget_saved(s, n, above);
	free(above);
}

static void do_reopen(struct scribble *s)
{
	close_disk(s);
	open_disk(s);
}

static void scribble(uint64_t seed, enum vdisk_delta_kind kind, uint32_t version)
{
	static const struct {
		void (*fn)(struct scribble *s);
		const char *name;
		unsigned int weight;
	} acts[] = {
		{ do_write, "write", 50 },   { do_zero, "zero", 12 },
		{ do_unmap, "unmap", 12 },   { do_flush, "flush", 8 },
		{ do_snapshot, "snapshot", 5 }, { do_reopen, "reopen", 5 },
		{ do_merge, "merge", 4 },    { do_revert, "revert", 2 },
		{ do_fork, "fork", 5 },	     { do_sink, "sink", 5 },
	};
	struct scribble s;
	set_up_disk_on(&s, seed, kind, version);
	for (unsigned int i = 0; i < STEPS; i++) {
		uint64_t n = chance(&s, 108);
		unsigned int a = 0;
		for (; n >= acts[a].weight; a++)
			n -= acts[a].weight;
		char when[64];
		acts[a].fn(&s);
		(void)snprintf(when, sizeof(when), "seed %u, step %u, %s",
			       (unsigned int)seed, i, acts[a].name);
		if (acts[a].weight < 6 || i % 16 == 0)
			check(&s, when);
	}
	check(&s, "at the end");
	tear_down_disk(&s);
}

static void a_chain_of_vmfssparse_reads_as_it_was_written(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 2; seed++)
		scribble(seed, VDISK_DELTA_VMFSSPARSE, 5);
}

static void a_chain_of_sesparse_reads_as_it_was_written(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 2; seed++)
		scribble(seed, VDISK_DELTA_SESPARSE, 5);
}

static void so_does_one_on_vmfs6(void **state)
{
	(void)state;
	scribble(3, VDISK_DELTA_SESPARSE, 6);
	scribble(4, VDISK_DELTA_VMFSSPARSE, 6);
}

/* ---- others read it ---- */

/* Copies /vm to dir; "dir/NAME" of the leaf. */
static void export_all(struct scribble *s, const char *dir)
{
	struct vmfs_dirent entry;
	struct vmfs_stat st;
	uint64_t cookie = 0;
	assert_int_equal(vmfs_stat(s->tv.vol, "/vm", &st), 0);
	while (vmfs_readdir(s->tv.vol, st.addr, cookie, &entry, 1) > 0) {
		char from[512], to[512];
		cookie = entry.cookie;
		if (entry.name[0] == '.')
			continue;
		(void)snprintf(from, sizeof(from), "/vm/%s", entry.name);
		(void)snprintf(to, sizeof(to), "%s/%s", dir, entry.name);
		assert_int_equal(transfer_get(s->tv.vol, from, to, NULL, NULL), 0);
	}
}

static void qemu_reads(enum vdisk_delta_kind kind)
{
	struct scribble s;
	char dir[] = "/tmp/vmfs-chain-XXXXXX", command[1024];
	if (system("qemu-img --version >/dev/null 2>&1") != 0)
		skip();
	set_up_disk(&s, 5, kind);
	for (unsigned int i = 0; i < 3; i++) {
		for (unsigned int n = 0; n < 40; n++)
			do_write(&s);
		do_zero(&s);
		do_unmap(&s);
		if (i < 2)
			do_snapshot(&s);
	}
	check(&s, "before export");
	do_flush(&s);
	assert_non_null(mkdtemp(dir));
	export_all(&s, dir);
	(void)snprintf(command, sizeof(command), "%s/model", dir);
	FILE *f = fopen(command, "w");
	assert_int_equal(fwrite(s.model, 1, DISK_SIZE, f), DISK_SIZE);
	assert_int_equal(fclose(f), 0);
	/* Flat base: qemu-img knows VMFS extents; it takes no disk of an odd size. */
	(void)snprintf(command, sizeof(command),
		       "cd %s && qemu-img convert -f vmdk -O raw %s raw && cmp -n %llu "
		       "raw model", dir, strrchr(s.path, '/') + 1,
		       (unsigned long long)DISK_SIZE);
	assert_int_equal(system(command), 0);
	(void)snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
	tear_down_disk(&s);
}

static void qemu_reads_our_vmfssparse_equal(void **state)
{
	(void)state;
	qemu_reads(VDISK_DELTA_VMFSSPARSE);
}

static void qemu_reads_our_sesparse_equal(void **state)
{
	(void)state;
	qemu_reads(VDISK_DELTA_SESPARSE);
}

/* ---- what a process that dies has left ---- */

/* What a reader finds who knows nothing of the writer: the tables as they are written. */
static bool is_found(struct scribble *s, uint8_t mark)
{
	const struct vdisk_open_options how = { .flags = VDISK_READ };
	struct vdisk *disk;
	uint8_t bytes[4096];
	assert_int_equal(vdisk_open(s->tv.vol, s->path, &how, &disk, NULL), 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), bytes, sizeof(bytes), 0), 0);
	assert_int_equal(vdisk_close(disk), 0);
	return bytes[0] == mark && bytes[sizeof(bytes) - 1] == mark;
}

static void a_prompt_write_is_there_when_it_has_ended(void **state)
{
	struct scribble s;
	(void)state;
	for (int kind = VDISK_DELTA_VMFSSPARSE; kind <= VDISK_DELTA_SESPARSE; kind++) {
		set_up_disk(&s, 3, (enum vdisk_delta_kind)kind);
		do_snapshot(&s);
		memset(s.model, 'p', 4096);
		assert_int_equal(batch_one(vdisk_bdev(s.disk), BDEV_WRITE, 0, s.model,
					   4096, 0), 0);
		assert_false(is_found(&s, 'p')); /* it waits for a flush */
		close_disk(&s);
		const struct vdisk_open_options how = { .flags = VDISK_WRITE |
								 VDISK_PROMPT };
		assert_int_equal(vdisk_open(s.tv.vol, s.path, &how, &s.disk, NULL), 0);
		bdev_set_pool(vdisk_bdev(s.disk), s.pool);
		uint8_t *buf = io_alloc(8192);
		memset(buf, 'q', 8192);
		memset(s.model, 'q', 8192);
		assert_int_equal(batch_one(vdisk_bdev(s.disk), BDEV_WRITE, 0, buf, 8192,
					   0), 0);
		assert_true(is_found(&s, 'q'));
		memset(s.model + (2 << 20), 'q', 8192);
		assert_int_equal(batch_one(vdisk_bdev(s.disk), BDEV_WRITE, 0, buf, 8192,
					   2 << 20), 0);
		assert_false(delta_is_dirty(s.disk->chain->layer[1]->delta));
		free(buf);
		check(&s, "prompt");
		tear_down_disk(&s);
	}
}

/* ---- room ---- */

/* Bytes of the leaf's file behind what it has of the disk's at. */
static uint64_t room_behind(struct scribble *s, uint64_t at)
{
	struct chain *chain = s->disk->chain;
	struct chain_run run;
	assert_int_equal(chain_find(chain, at / DELTA_SECTOR, &run), 0);
	assert_int_equal(run.layer, chain->count - 1);
	return chain->layer[run.layer]->bd->size - run.at * DELTA_SECTOR;
}

/*
 * Story: a disk is forked, and written from its beginning to its end.
 * Expected: the child's file has room before the first write, and before each other.
 */
static void a_child_has_room_before_it_needs_it(void **state)
{
	const uint64_t len = 65536;
	(void)state;
	for (int kind = VDISK_DELTA_VMFSSPARSE; kind <= VDISK_DELTA_SESPARSE; kind++) {
		struct scribble s;
		struct vdisk_fork *fork;
		set_up_disk(&s, 5, (enum vdisk_delta_kind)kind);
		const struct vdisk_snapshot_options options = {
			.kind = s.kind, .reporter = &s.tv.told.base
		};
		assert_int_equal(vdisk_fork(s.disk, "/vm/c.vmdk", &options, &fork), 0);
		vdisk_fork_switch(fork);
		uint64_t size = s.disk->chain->layer[1]->bd->size;
		memset(s.model, 'r', DISK_SIZE);
		for (uint64_t at = 0; at + len <= DISK_SIZE; at += len) {
			assert_int_equal(batch_one(vdisk_bdev(s.disk), BDEV_WRITE, 0,
						   s.model + at, len, at), 0);
			assert_true(room_behind(&s, at) >= len + (512u << 10));
			if (at == 0) /* at most a step was added to what there was */
				assert_true(size + (1u << 20) >=
					    s.disk->chain->layer[1]->bd->size);
		}
		assert_int_equal(batch_one(vdisk_bdev(s.disk), BDEV_WRITE, 0,
					   s.model + DISK_SIZE - len, len,
					   DISK_SIZE - len), 0);
		assert_int_equal(vdisk_fork_settle(fork), 0);
		strcpy(s.path, "/vm/c.vmdk");
		check(&s, "room");
		tear_down_disk(&s);
	}
}

/* Takes all blocks of the volume but what is less than a MiB. */
static void fill_volume(struct scribble *s, struct vmfs_file **ret_file)
{
	const struct vmfs_file_options how = { .flags = VMFS_CREATE | VMFS_WRITE };
	uint64_t at = 0;
	assert_int_equal(vmfs_file_open(s->tv.vol, "/full", &how, ret_file, NULL), 0);
	for (uint64_t step = 64 << 20; step >= 1 << 20; step /= 2)
		while (vmfs_file_allocate(*ret_file, at, step, VMFS_ALLOCATE_TBZ) == 0)
			at += step;
}

/*
 * Story: a disk is forked, the volume is full, and the disk is written until the child's
 * file has no more room; then there is some again.
 * Expected: the file is never longer than it is backed, and goes on where it was.
 */
static void a_child_on_a_full_volume_keeps_its_length(void **state)
{
	const struct vdisk_snapshot_options options = { .kind = VDISK_DELTA_VMFSSPARSE };
	const uint64_t len = 65536;
	struct scribble s;
	struct vdisk_fork *fork;
	struct vmfs_file *full;
	(void)state;
	set_up_disk(&s, 6, VDISK_DELTA_VMFSSPARSE);
	assert_int_equal(vdisk_fork(s.disk, "/vm/c.vmdk", &options, &fork), 0);
	vdisk_fork_switch(fork);
	fill_volume(&s, &full);
	uint64_t size = s.disk->chain->layer[1]->bd->size, at = 0;
	memset(s.model, 's', DISK_SIZE);
	int rc = 0;
	for (; rc == 0 && at + len <= DISK_SIZE; at += rc ? 0 : len) {
		rc = batch_one(vdisk_bdev(s.disk), BDEV_WRITE, 0, s.model + at, len, at);
		assert_int_equal(s.disk->chain->layer[1]->bd->size, size);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(collect_has(&s.tv.told, "no file blocks left"));
	collect_clear(&s.tv.told);
	assert_int_equal(vmfs_file_truncate(full, 0), 0);
	assert_int_equal(vmfs_file_close(full), 0);
	for (; at < DISK_SIZE; at += len)
		assert_int_equal(batch_one(vdisk_bdev(s.disk), BDEV_WRITE, 0,
					   s.model + at, min_u64(len, DISK_SIZE - at),
					   at), 0);
	assert_int_equal(vdisk_fork_settle(fork), 0);
	strcpy(s.path, "/vm/c.vmdk");
	check(&s, "full");
	tear_down_disk(&s);
}

/* ---- what is wrong with a chain is said ---- */

/* Opening path fails with rc, and the one line says text. */
static void refused(struct scribble *s, const char *path, int wanted, const char *text)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = &s->tv.told.base };
	struct vdisk *disk;
	collect_clear(&s->tv.told);
	assert_int_equal(vdisk_open(s->tv.vol, path, &how, &disk, NULL), wanted);
	if (!collect_has(&s->tv.told, text))
		fail_msg("not '%s' but: %s", text, collect_text(&s->tv.told));
	assert_int_equal(collect_count(&s->tv.told, REPORT_ERROR), 1);
	collect_clear(&s->tv.told);
}

static void relink(struct scribble *s, const char *child, const char *parent)
{
	assert_int_equal(vdisk_relink(s->tv.vol, child, parent, NULL), 0);
}

/* A parent that was written to, one that is gone, one that is its own. */
static void a_bad_chain_is_refused_in_one_line(void **state)
{
	struct scribble s;
	(void)state;
	set_up_disk(&s, 1, VDISK_DELTA_AUTO);
	do_snapshot(&s); /* d-000001 on d */
	do_write(&s);
	do_snapshot(&s); /* d-000002 on it */
	close_disk(&s);
	relink(&s, "/vm/d-000001.vmdk", "/vm/d-000002.vmdk");
	refused(&s, s.path, -EUCLEAN, "is a parent of itself");
	relink(&s, "/vm/d-000001.vmdk", "/vm/d.vmdk");
	assert_int_equal(vmfs_rename(s.tv.vol, "/vm/d.vmdk", "/vm/e.vmdk"), 0);
	refused(&s, s.path, -ENOENT, "its parent /vm/d.vmdk is missing");
	assert_int_equal(vmfs_rename(s.tv.vol, "/vm/e.vmdk", "/vm/d.vmdk"), 0);
	strcpy(s.path, "/vm/d-000001.vmdk");
	open_disk(&s);
	do_write(&s);
	close_disk(&s);
	refused(&s, "/vm/d-000002.vmdk", -EUCLEAN, "it was changed since");
	relink(&s, "/vm/d-000002.vmdk", "/vm/d-000001.vmdk");
	strcpy(s.path, "/vm/d-000002.vmdk");
	open_disk(&s);
	tear_down_disk(&s);
}

static void a_base_that_was_written_to_refuses_its_children(void **state)
{
	struct scribble s;
	(void)state;
	set_up_disk(&s, 1, VDISK_DELTA_AUTO);
	do_snapshot(&s);
	close_disk(&s);
	strcpy(s.path, "/vm/d.vmdk");
	open_disk(&s);
	do_write(&s);
	close_disk(&s);
	refused(&s, "/vm/d-000001.vmdk", -EUCLEAN, "it was changed since");
	open_disk(&s);
	tear_down_disk(&s);
}

static void a_chain_is_255_deep_and_no_deeper(void **state)
{
	struct scribble s;
	(void)state;
	set_up_disk(&s, 1, VDISK_DELTA_AUTO);
	close_disk(&s);
	for (unsigned int i = 0; i < 255; i++) {
		char parent[64];
		strcpy(parent, s.path);
		make_child(&s, parent);
		if (i % 16 == 0 || i > 250) {
			open_disk(&s);
			do_write(&s);
			check(&s, "on the way down");
			close_disk(&s);
		}
	}
	const struct vdisk_snapshot_options options = { .reporter = &s.tv.told.base };
	assert_int_equal(vdisk_snapshot(s.tv.vol, s.path, "/vm/deep.vmdk", &options,
					NULL), -EMLINK);
	assert_true(collect_has(&s.tv.told, "has 255 disks under it"));
	collect_clear(&s.tv.told);
	open_disk(&s);
	check(&s, "at the bottom");
	assert_true(s.disk->chain->count == 256);
	tear_down_disk(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_of_vmfssparse_reads_as_it_was_written),
		cmocka_unit_test(a_chain_of_sesparse_reads_as_it_was_written),
		cmocka_unit_test(so_does_one_on_vmfs6),
		cmocka_unit_test(a_prompt_write_is_there_when_it_has_ended),
		cmocka_unit_test(a_child_has_room_before_it_needs_it),
		cmocka_unit_test(a_child_on_a_full_volume_keeps_its_length),
		cmocka_unit_test(a_bad_chain_is_refused_in_one_line),
		cmocka_unit_test(a_base_that_was_written_to_refuses_its_children),
		cmocka_unit_test(a_chain_is_255_deep_and_no_deeper),
		cmocka_unit_test(qemu_reads_our_vmfssparse_equal),
		cmocka_unit_test(qemu_reads_our_sesparse_equal),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
