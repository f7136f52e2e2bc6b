/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a host does in a storm, and whether what it is told can be true.
 *
 * 0 from the library: it happened. -EBUSY: somebody had the lock to the end, and nothing
 * happened. Any other error is right only on a volume that is lost, and then nothing is
 * known.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "tests/sim/storm_private.h"

#define S NS_PER_S
/*
 * Nobody waits longer, if there were not several deaths in a row (LOCKING.md 14, T_fo).
 */
#define PATIENCE_NS (150 * S)
#define SHORT_NS (5 * S)
#define BLOCK (1ull << 20)
#define COUNTER STORM_FILES

/* ---- doing something and being told ---- */

struct deed {
	struct storm_host *h;
	bool was_lost;
	uint64_t begun;
};

static struct deed begin(struct storm_host *h)
{
	h->weather->operations++;
	return (struct deed){ h, vmfs_volume_state(h->mount.vol), sim_time() };
}

static bool is_lost(const struct storm_host *h)
{
	return vmfs_volume_state(h->mount.vol);
}

/* Before somebody is told of something that a power failure may take back. */
static int make_durable(const struct storm_host *h)
{
	const struct storm *storm = &h->weather->storm;

	return storm->is_lazy && storm->faults & STORM_POWER
		       ? vmfs_volume_sync(h->mount.vol)
		       : 0;
}

/* I13, and no error without a reason. Returns rc. */
static int told(const struct deed *d, const char *what, int64_t rc)
{
	int err = rc >= 0 ? make_durable(d->h) : 0;

	rc = err ? err : rc;
	if (rc >= 0 && d->was_lost)
		sim_fail("I13: %s succeeds on a lost volume", what);
	if (rc >= 0 || rc == -EBUSY || rc == -ENOENT || rc == -EEXIST || is_lost(d->h))
		return rc > 0 ? 0 : (int)rc;
	sim_fail("%s fails with %d on a volume that is not lost", what, (int)rc);
}

static uint64_t patience(bool is_patient)
{
	return clock_now() + (is_patient ? PATIENCE_NS : sim_random(SHORT_NS));
}

/* ---- who holds what, as told ---- */

static bool conflicts(const struct weather *w, const struct held *other,
		      const struct sim_host *self, bool is_exclusive)
{
	return other->host && other->host != self && !sim_host_is_dead(other->host) &&
	       (is_exclusive || other->is_exclusive) &&
	       !oracle_over_since(w->c->oracle, other->host) &&
	       !vmfs_volume_state(other->vol);
}

static struct held *hold(struct storm_host *h, unsigned int file, bool is_exclusive)
{
	struct weather *w = h->weather;
	struct held *mine = NULL;

	w->acquisitions++;
	for (unsigned int i = 0; i < 64; i++) {
		struct held *other = &w->held[file][i];

		/* A host that was lost just now need not be told of it. */
		if (conflicts(w, other, h->host, is_exclusive) && !is_lost(h))
			sim_fail("I3: file %u is held by %s and by %s", file,
				 sim_host_name(other->host), sim_host_name(h->host));
		if (!other->host || sim_host_is_dead(other->host))
			mine = other;
	}
	SIM_CHECK(mine);
	*mine = (struct held){ h->host, is_exclusive, h->mount.vol };
	return mine;
}

static int open_file(struct storm_host *h, const char *path, uint32_t flags,
		     bool is_patient, struct vmfs_file **ret_file)
{
	struct vmfs_file_options options = {
		.flags = flags, .mode = 0644, .deadline = patience(is_patient)
	};
	struct vmfs_holder holder = { 0 };
	struct deed d = begin(h);
	int err = told(&d, path,
		       vmfs_file_open(h->mount.vol, path, &options, ret_file, &holder));
	uint64_t calm = sim_time() - min_u64(sim_time(), h->weather->last_trouble);

	if (err == -EBUSY && is_patient && calm > PATIENCE_NS && !is_lost(h))
		sim_fail("L1: %s waits for %s, held by %s, for %llu s",
			 sim_host_name(h->host), path, holder.host_name,
			 (unsigned long long)((sim_time() - d.begun) / S));
	return err;
}

static int close_file(struct storm_host *h, struct vmfs_file *file, struct held *held)
{
	if (held)
		held->host = NULL;
	int err = vmfs_file_close(file);
	return err && is_lost(h) ? err : err == -EBUSY ? 0 : err;
}

/* ---- the counter ---- */

static int count_one(struct storm_host *h, struct vmfs_file *file)
{
	struct weather *w = h->weather;
	char text[32] = "";
	struct deed d = begin(h);
	int err = told(&d, "read of the counter",
		       vmfs_file_read(file, text, sizeof(text) - 1, 0));

	if (err)
		return err;
	uint64_t n = strtoull(text, NULL, 10);
	if (n < w->acknowledged && !is_lost(h))
		sim_fail("O2: counter reads %llu, %llu were acknowledged",
			 (unsigned long long)n, (unsigned long long)w->acknowledged);
	(void)snprintf(text, sizeof(text), "%-20llu", (unsigned long long)(n + 1));
	w->attempted++;
	d = begin(h);
	err = vmfs_file_write(file, text, 20, 0);
	if (!err)
		err = vmfs_file_sync(file);
	err = told(&d, "write of the counter", err);
	if (err)
		return err;
	/* Who stood still after its write may hear of it when others have gone on. */
	SIM_CHECK(n + 1 < STORM_COUNTS_MAX);
	if (w->is_made[n + 1])
		sim_fail("O2: two hosts made the counter %llu",
			 (unsigned long long)n + 1);
	w->is_made[n + 1] = true;
	w->acknowledged = max_u64(w->acknowledged, n + 1);
	return 0;
}

static int increment(struct storm_host *h)
{
	struct vmfs_file *file;
	int err = open_file(h, "/counter", VMFS_WRITE | VMFS_CREATE, sim_chance(500000),
			    &file);

	if (err)
		return err;
	struct held *held = hold(h, COUNTER, true);
	err = count_one(h, file);
	int close_err = close_file(h, file, held);
	return err ? err : close_err;
}

/* ---- shared files ---- */

/* Where the value of each stands: resident, sub-block, block, behind a pointer block. */
static const uint64_t value_at[STORM_FILES] = { 200, 5000, BLOCK + 512, 300 * BLOCK };

static void shared_path(unsigned int i, char ret[32])
{
	(void)snprintf(ret, 32, "/s%u", i);
}

static int write_value(struct vmfs_file *file, uint64_t value, uint64_t at)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%-16llu", (unsigned long long)value);
	int err = vmfs_file_write(file, text, 16, at);
	return err ? err : vmfs_file_sync(file);
}

/* HISTORY_NOTHING if the file ends before it. */
static int read_value(struct vmfs_file *file, uint64_t at, uint64_t *ret_value)
{
	char text[17] = "";
	int64_t n = vmfs_file_read(file, text, 16, at);

	*ret_value = strtoull(text, NULL, 10);
	return n < 0 ? (int)n : 0;
}

static int write_shared(struct storm_host *h, unsigned int i)
{
	struct weather *w = h->weather;
	struct vmfs_file *file;
	char path[32];

	shared_path(i, path);
	int err = open_file(h, path, VMFS_WRITE | VMFS_CREATE, sim_chance(300000), &file);
	if (err)
		return err;
	struct held *held = hold(h, i, true);
	uint64_t value = ++w->seq; /* others go on */
	unsigned int at = history_begin(&w->files[i], value);
	struct deed d = begin(h);
	err = told(&d, path, write_value(file, value, value_at[i]));
	if (!err && !d.was_lost)
		history_end(&w->files[i], at);
	int close_err = close_file(h, file, held);
	return err ? err : close_err;
}

/* A reader becomes the writer for a moment, and a reader again. */
static int change_mode(struct storm_host *h, struct vmfs_file *file, struct held **held,
		       unsigned int i)
{
	struct weather *w = h->weather;
	struct deed d = begin(h);
	int err = told(&d, "upgrade",
		       vmfs_file_upgrade(file, patience(false), NULL));

	if (err)
		return err == -EBUSY ? 0 : err;
	(*held)->host = NULL;
	*held = hold(h, i, true);
	uint64_t value = ++w->seq;
	unsigned int at = history_begin(&w->files[i], value);
	d = begin(h);
	err = told(&d, "write after upgrade", write_value(file, value, value_at[i]));
	if (!err && !d.was_lost)
		history_end(&w->files[i], at);
	(*held)->is_exclusive = err;
	d = begin(h);
	return err ? err : told(&d, "downgrade", vmfs_file_downgrade(file));
}

/*
 * After a loss of the target's cache a look without a lock may see what the dead had in
 * place before, until they are taken over (LOCKING.md 12).
 */
static bool is_fuzzy(const struct weather *w)
{
	return w->power_lost_at && sim_time() < w->power_lost_at + 90 * S;
}

static int read_shared(struct storm_host *h, unsigned int i)
{
	struct weather *w = h->weather;
	bool is_locked = sim_chance(500000);
	struct vmfs_file *file;
	char path[32];
	uint64_t value, begun = sim_time();

	shared_path(i, path);
	int err = open_file(h, path, is_locked ? VMFS_READ_LOCKED : VMFS_READ, false,
			    &file);
	if (err == -ENOENT && !is_lost(h) && !is_fuzzy(w))
		history_read(&w->files[i], w->c->oracle, HISTORY_NOTHING, begun);
	if (err)
		return err == -ENOENT ? 0 : err;
	struct held *held = is_locked ? hold(h, i, false) : NULL;
	if (is_locked && sim_chance(200000))
		task_sleep_until(clock_now() + sim_random(3 * S));
	struct deed d = begin(h);
	err = told(&d, path, read_value(file, value_at[i], &value));
	if (!err && !is_lost(h) && (is_locked || !is_fuzzy(w)))
		history_read(&w->files[i], w->c->oracle, value, begun);
	if (!err && is_locked && w->storm.ops & STORM_MODES && sim_chance(500000))
		err = change_mode(h, file, &held, i);
	int close_err = close_file(h, file, held);
	return err ? err : close_err;
}

/* ---- names of all ---- */

static void name_path(unsigned int i, char ret[32])
{
	(void)snprintf(ret, 32, "/all/n%u", i);
}

static int create_name(struct storm_host *h, unsigned int i)
{
	struct history *name = &h->weather->names[i];
	struct vmfs_file *file;
	char path[32];
	uint64_t begun = sim_time();

	name_path(i, path);
	unsigned int at = history_begin(name, ++h->weather->seq);
	int err = open_file(h, path, VMFS_WRITE | VMFS_CREATE | VMFS_EXCL, true, &file);
	if (!err)
		history_end(name, at);
	else if (err == -EBUSY || (err == -EEXIST && !is_lost(h)))
		history_void(name, at);
	if (err == -EEXIST && !is_lost(h))
		history_read(name, h->weather->c->oracle, HISTORY_ANY, begun);
	if (err)
		return err == -EEXIST ? 0 : err;
	return close_file(h, file, NULL);
}

static int remove_name(struct storm_host *h, unsigned int i)
{
	struct history *name = &h->weather->names[i];
	uint64_t begun = sim_time();
	char path[32];

	name_path(i, path);
	struct deed d = begin(h);
	unsigned int at = history_begin(name, HISTORY_NOTHING);
	int err = told(&d, "unlink", vmfs_unlink(h->mount.vol, path));
	if (!err)
		history_end(name, at);
	else if (err == -EBUSY || (err == -ENOENT && !is_lost(h)))
		history_void(name, at);
	if (err == -ENOENT && !is_lost(h))
		history_read(name, h->weather->c->oracle, HISTORY_NOTHING, begun);
	return err == -ENOENT ? 0 : err;
}

static int move_name(struct storm_host *h, unsigned int i, unsigned int k)
{
	struct history *from = &h->weather->names[i], *to = &h->weather->names[k];
	uint64_t begun = sim_time();
	char path[32], other[32];

	name_path(i, path);
	name_path(k, other);
	struct deed d = begin(h);
	unsigned int at = history_begin(from, HISTORY_NOTHING);
	unsigned int to_at = history_begin(to, ++h->weather->seq);
	int err = told(&d, "rename", vmfs_rename(h->mount.vol, path, other));
	if (!err) {
		history_end(from, at);
		history_end(to, to_at);
	} else if (err == -EBUSY || (err == -ENOENT && !is_lost(h))) {
		history_void(from, at);
		history_void(to, to_at);
	}
	if (err == -ENOENT && !is_lost(h))
		history_read(from, h->weather->c->oracle, HISTORY_NOTHING, begun);
	return err == -ENOENT ? 0 : err;
}

static int look_up_name(struct storm_host *h, unsigned int i)
{
	struct vmfs_stat st;
	uint64_t begun = sim_time();
	char path[32];

	name_path(i, path);
	struct deed d = begin(h);
	int err = told(&d, "stat", vmfs_stat(h->mount.vol, path, &st));
	if ((!err || err == -ENOENT) && !is_lost(h) && !is_fuzzy(h->weather))
		history_read(&h->weather->names[i], h->weather->c->oracle,
			     err ? HISTORY_NOTHING : HISTORY_ANY, begun);
	return err == -ENOENT ? 0 : err;
}

static int name_something(struct storm_host *h)
{
	unsigned int i = (unsigned int)sim_random(STORM_NAMES_MAX);
	unsigned int k = (i + 1 + (unsigned int)sim_random(STORM_NAMES_MAX - 1)) %
			 STORM_NAMES_MAX;

	switch (sim_random(4)) {
	case 0:
		return create_name(h, i);
	case 1:
		return remove_name(h, i);
	case 2:
		return move_name(h, i, k);
	default:
		return look_up_name(h, i);
	}
}

/* ---- blocks of one's own file ---- */

static int change_block(struct storm_host *h, struct vmfs_file *file, unsigned int i)
{
	struct history *block = &h->blocks[i];
	uint64_t kind = sim_random(3), off = i * BLOCK;
	uint64_t value = kind ? HISTORY_NOTHING : ++h->weather->seq;
	unsigned int at = history_begin(block, value);
	struct deed d = begin(h);
	int err = kind == 0   ? write_value(file, value, off + 4096)
		  : kind == 1 ? vmfs_file_punch(file, off, BLOCK)
			      : vmfs_file_punch(file, off + 4096, 512);

	if (!err)
		err = vmfs_file_sync(file);
	err = told(&d, "block", err);
	if (!err)
		history_end(block, at);
	return err;
}

static int use_blocks(struct storm_host *h)
{
	unsigned int i = (unsigned int)sim_random(STORM_BLOCKS_MAX);
	uint64_t begun = sim_time(), value;
	struct vmfs_file *file;
	char path[32];

	(void)snprintf(path, sizeof(path), "/b%u", h->number);
	int err = open_file(h, path, VMFS_WRITE | VMFS_CREATE, true, &file);
	if (err)
		return err;
	struct deed d = begin(h);
	if (sim_chance(300000))
		err = told(&d, "allocate",
			   vmfs_file_allocate(file, 0, STORM_BLOCKS_MAX * BLOCK,
					      VMFS_ALLOCATE_ZERO));
	/* Zeroing leaves what is there. */
	d = begin(h);
	if (!err)
		err = told(&d, "block", read_value(file, i * BLOCK + 4096, &value));
	if (!err && !is_lost(h))
		history_read(&h->blocks[i], h->weather->c->oracle, value, begun);
	for (uint64_t n = sim_chance(500000) ? 0 : sim_random(12); !err && n > 0; n--) {
		err = change_block(h, file, i);
		task_sleep_until(clock_now() + sim_random(S));
	}
	if (!err)
		err = change_block(h, file, i);
	int close_err = close_file(h, file, NULL);
	return err ? err : close_err;
}

/* ---- a directory of one's own ---- */

static void own_path(unsigned int host, unsigned int i, char ret[32])
{
	(void)snprintf(ret, 32, "/h%u/f%u", host, i);
}

/* Where the text of a FULL file begins: resident, sub-block, block. */
static uint64_t text_of(uint64_t seq, char ret[32])
{
	(void)snprintf(ret, 32, "%-16llu", (unsigned long long)seq);
	return seq % 3 == 0   ? seq % 900
	       : seq % 3 == 1 ? seq * 31 % 8000
			      : seq * 7919 % 200000;
}

static int make_or_change(struct storm_host *h, const char *path, uint32_t flags,
			  uint64_t seq)
{
	struct vmfs_file *file;
	char text[32];
	uint64_t at = text_of(seq, text);
	int err = open_file(h, path, VMFS_WRITE | flags, true, &file);

	if (err)
		return err;
	if (seq)
		err = vmfs_file_write(file, text, 16, at);
	else if (!(flags & VMFS_CREATE))
		err = vmfs_file_truncate(file, 0);
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

static int move_or_remove(struct storm_host *h, unsigned int i, const char *path)
{
	unsigned int k = (i + 1 + (unsigned int)sim_random(OWN_NAMES - 1)) % OWN_NAMES;
	char other[32];

	h->next.what[i] = ABSENT;
	if (sim_chance(500000))
		return vmfs_unlink(h->mount.vol, path);
	own_path(h->number, k, other);
	h->next.what[k] = FULL;
	h->next.seq[k] = h->now.seq[i];
	return vmfs_rename(h->mount.vol, path, other);
}

/* One operation in the host's own directory, entered in its diary. */
static int housekeep(struct storm_host *h)
{
	unsigned int i = (unsigned int)sim_random(OWN_NAMES);
	char path[32];
	int err;

	own_path(h->number, i, path);
	h->next = h->now;
	struct deed d = begin(h);
	if (h->now.what[i] == ABSENT) {
		h->next.what[i] = EMPTY;
		err = make_or_change(h, path, VMFS_CREATE | VMFS_EXCL, 0);
	} else if (h->now.what[i] == EMPTY) {
		h->next.what[i] = FULL;
		h->next.seq[i] = ++h->weather->seq;
		err = make_or_change(h, path, 0, h->weather->seq);
	} else if (sim_chance(200000)) {
		h->next.what[i] = EMPTY;
		err = make_or_change(h, path, 0, 0);
	} else {
		err = move_or_remove(h, i, path);
	}
	err = told(&d, path, err);
	if (err == -EBUSY)
		h->next = h->now; /* said to have had no effect: held to it */
	else if (!err)
		h->now = h->next;
	else if (!is_lost(h))
		sim_fail("O2: %s: %d", path, err);
	return err;
}

static bool is_as(struct storm_host *by, const struct storm_host *h, unsigned int i,
		  const struct own *own)
{
	struct vmfs_file_options options = { 0 };
	struct vmfs_file *file;
	struct vmfs_stat st;
	char path[32], want[32], got[32] = "";

	own_path(h->number, i, path);
	int err = vmfs_file_open(by->mount.vol, path, &options, &file, NULL);
	if (err == -ENOENT)
		return own->what[i] == ABSENT;
	if (err)
		sim_fail("%s: %d", path, err);
	SIM_CHECK(!vmfs_file_stat(file, &st));
	uint64_t at = text_of(own->seq[i], want);
	int64_t n = vmfs_file_read(file, got, 16, at);
	SIM_CHECK(n >= 0 && !vmfs_file_close(file));
	if (own->what[i] == EMPTY)
		return st.size_bytes == 0;
	return own->what[i] == FULL && st.size_bytes == at + 16 && !memcmp(want, got, 16);
}

/* The directory is as before or as after the last operation, not a mixture. */
static void check_own(struct storm_host *by, struct storm_host *h)
{
	bool is_now = true, is_next = true;

	for (unsigned int i = 0; i < OWN_NAMES; i++) {
		is_now = is_now && is_as(by, h, i, &h->now);
		is_next = is_next && is_as(by, h, i, &h->next);
	}
	if (!is_now && !is_next)
		sim_fail("O2: directory of %s is neither as before nor as after its last "
			 "operation",
			 sim_host_name(h->host));
	h->now = h->next = is_now ? h->now : h->next;
}

/* ---- a host's life ---- */

/* What was freed is given back to the storage: what is used again must not be. */
static int give_back(struct storm_host *h)
{
	struct vmfs_unmap_options options = { .only_freed = true,
					      .deadline = patience(sim_chance(500000)) };
	struct deed d = begin(h);

	if (sim_chance(200000))
		options.rate = BLOCK;
	return told(&d, "unmap", vmfs_volume_unmap(h->mount.vol, &options, NULL, NULL));
}

static int do_one(struct storm_host *h)
{
	unsigned int ops = h->weather->storm.ops & STORM_KINDS;
	unsigned int i = (unsigned int)sim_random(STORM_FILES);
	unsigned int op;

	if (h->weather->storm.ops & STORM_UNMAP && sim_chance(200000))
		return give_back(h);
	do {
		op = 1u << sim_random(5);
	} while (!(ops & op));
	switch (op) {
	case STORM_COUNTER:
		return increment(h);
	case STORM_SHARED:
		return sim_chance(500000) ? write_shared(h, i) : read_shared(h, i);
	case STORM_NAMES:
		return name_something(h);
	case STORM_OWN:
		return h->has_directory ? housekeep(h) : 0;
	default:
		return use_blocks(h);
	}
}

static int make_directory(struct storm_host *h, const char *path)
{
	int err = -EBUSY;

	while (err == -EBUSY && sim_time() < h->weather->stop_at) {
		struct deed d = begin(h);

		err = told(&d, path, vmfs_mkdir(h->mount.vol, path, 0755));
	}
	return err == -EEXIST ? 0 : err;
}

static int get_ready(struct storm_host *h)
{
	unsigned int ops = h->weather->storm.ops;
	char path[32];
	int err = 0;

	if (ops & STORM_NAMES)
		err = make_directory(h, "/all");
	(void)snprintf(path, sizeof(path), "/h%u", h->number);
	if (!err && ops & STORM_OWN && !h->has_directory) {
		err = make_directory(h, path);
		h->has_directory = !err;
	}
	return err;
}

/* From the mount to the unmount. false: no more. */
static bool live_once(struct storm_host *h)
{
	struct weather *w = h->weather;

	h->mount.is_lazy = w->storm.is_lazy;
	int err = cluster_mount(w->c, &h->mount);

	if (err) {
		sim_trace("mount: %d", err);
		return sim_time() < w->stop_at;
	}
	h->is_mounted = true;
	/* What a former life of this host left open, somebody has finished by now. */
	bool is_checked =
		!(h->has_directory && memcmp(&h->now, &h->next, sizeof(h->now)));
	err = get_ready(h);
	bool is_leaving = false;
	while ((!err || err == -EBUSY) && sim_time() < w->stop_at && !is_leaving) {
		if (is_checked)
			err = do_one(h);
		else if (h->has_directory)
			check_own(h, h);
		is_checked = true;
		task_sleep_until(clock_now() + sim_random(2 * S));
		is_leaving = w->storm.ops & STORM_REMOUNT && sim_chance(30000);
	}
	w->lost_mounts += h->mount.is_lost;
	bool was_lost = h->mount.is_lost;
	h->is_mounted = false;
	err = cluster_unmount(&h->mount);
	if (err && !was_lost && !h->mount.is_lost)
		sim_trace("unmount: %d", err);
	return sim_time() < w->stop_at;
}

void storm_work(void *arg)
{
	struct storm_host *h = arg;

	for (unsigned int i = 0; i < STORM_BLOCKS_MAX; i++)
		history_init(&h->blocks[i], "block", HISTORY_NOTHING);
	while (live_once(h))
		task_sleep_until(clock_now() + sim_random(5 * S));
}

void storm_prepare(struct weather *w)
{
	char path[32];

	for (unsigned int i = 0; i < STORM_FILES; i++) {
		shared_path(i, path);
		history_init(&w->files[i], path, HISTORY_NOTHING);
	}
	for (unsigned int i = 0; i < STORM_NAMES_MAX; i++) {
		name_path(i, path);
		history_init(&w->names[i], path, HISTORY_NOTHING);
	}
}

/* ---- after the storm ---- */

static void inspect_counter(struct storm_host *by)
{
	struct weather *w = by->weather;
	struct vmfs_file *file;
	uint64_t n = 0;
	int err = open_file(by, "/counter", VMFS_READ_LOCKED, true, &file);

	if (err && (err != -ENOENT || w->acknowledged))
		sim_fail("counter cannot be opened at the end: %d", err);
	if (!err) {
		SIM_CHECK(!read_value(file, 0, &n));
		SIM_CHECK(!vmfs_file_close(file));
	}
	if (n < w->acknowledged || n > w->attempted)
		sim_fail("O2: counter is %llu: %llu acknowledged, %llu attempted",
			 (unsigned long long)n, (unsigned long long)w->acknowledged,
			 (unsigned long long)w->attempted);
}

static void inspect_blocks(struct storm_host *by, struct storm_host *h)
{
	struct vmfs_file *file;
	uint64_t value = HISTORY_NOTHING, begun = sim_time();
	char path[32];

	(void)snprintf(path, sizeof(path), "/b%u", h->number);
	int err = open_file(by, path, VMFS_READ_LOCKED, true, &file);
	for (unsigned int i = 0; i < STORM_BLOCKS_MAX && h->blocks[i].count; i++) {
		if (!err)
			SIM_CHECK(!read_value(file, i * BLOCK + 4096, &value));
		history_read(&h->blocks[i], by->weather->c->oracle, value, begun);
	}
	if (!err)
		SIM_CHECK(!vmfs_file_close(file));
}

void storm_inspect(void *arg)
{
	struct weather *w = arg;
	struct storm_host *by = calloc(1, sizeof(*by));

	SIM_CHECK(by);
	*by = (struct storm_host){ .weather = w, .number = STORM_HOSTS_MAX };
	by->host = sim_host_self();
	SIM_CHECK(!cluster_mount(w->c, &by->mount));
	inspect_counter(by);
	cluster_bury(&by->mount);
	w->power_lost_at = 0; /* nothing excuses anything any more */
	for (unsigned int i = 0; i < STORM_FILES; i++)
		SIM_CHECK(!read_shared(by, i));
	for (unsigned int i = 0; i < STORM_NAMES_MAX; i++)
		SIM_CHECK(!look_up_name(by, i));
	for (unsigned int i = 0; i < w->host_count; i++) {
		if (w->hosts[i].has_directory)
			check_own(by, &w->hosts[i]);
		inspect_blocks(by, &w->hosts[i]);
	}
	SIM_CHECK(!cluster_unmount(&by->mount));
	free(by);
}
