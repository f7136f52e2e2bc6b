/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Negative controls of the crash enumeration (TESTING.md 5): each error in the order of
 * writes and flushes, in the log or in its replay, is found by the sequences of
 * crash_ace. The linker puts the errors between callers and the library (--wrap,
 * tests.mk); a call within one file is not replaced. Without an error the same program
 * finds nothing.
 *
 * Each case prints the states until it was found. CRASH_FAULT=NAME: this one alone.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/sim/ace.h"
#include "tests/sim/acecrash.h"
#include "tests/sim/cluster.h"
#include "tests/sim/sim.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/journal.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define SECTOR VMFS_SECTOR_SIZE
#define STATES_MAX 60000u
#define HALF (512u << 10) /* a block */
#define SEEDS 40u
#define RACE_SEEDS 400u /* enough for the race to be lost once */

enum fault {
	NO_FAULT,
	FLUSHES_IGNORED,
	NO_FLUSH_AFTER_JOURNAL,
	NO_FLUSH_IN_PLACE,
	NO_FLUSH_AFTER_REPLAY,
	TRIM_VOLATILE, /* neither FUA nor flushed: one covers the other */
	TRIM_FIRST,
	CRC_IGNORED,
	REPLAY_ORDER,
	REPLAY_NOTHING,
	LOG_NOT_CUT,
	MARK_BEFORE_DATA,
	FREED_IN_USE,
};
static enum fault fault;

/* Where the host is: set by what is wrapped. */
static enum { ELSEWHERE, COMMIT, EMPTY, REPLAY, FILE_COMMIT } place;
static unsigned int flushes; /* in that place */

#define WRAP(type, name, ...)                                                            \
	type __real_##name(__VA_ARGS__);                                                 \
	type __wrap_##name(__VA_ARGS__);                                                 \
	type __wrap_##name(__VA_ARGS__)

static int zero_log(struct vmfs_volume *vol)
{
	static const uint8_t zero[SECTOR];

	return vmfs_gate_write(vol, vol->member->journal.vol_off, zero, SECTOR, BDEV_FUA);
}

/* Writes of a replay, to be done backwards. */
#define HELD_MAX 256u
static struct {
	uint64_t vol_off, len;
	void *data;
} held[HELD_MAX];
static unsigned int held_count;

WRAP(int, vmfs_gate_write, struct vmfs_volume *vol, uint64_t vol_off, const void *buf,
     uint64_t len, uint32_t flags)
{
	if (place == EMPTY && fault == TRIM_VOLATILE)
		flags &= ~(uint32_t)BDEV_FUA;
	if (place != REPLAY || fault != REPLAY_ORDER)
		return __real_vmfs_gate_write(vol, vol_off, buf, len, flags);
	SIM_CHECK(held_count < HELD_MAX);
	held[held_count].data = malloc(len);
	SIM_CHECK(held[held_count].data);
	memcpy(held[held_count].data, buf, len);
	held[held_count].vol_off = vol_off;
	held[held_count++].len = len;
	return 0;
}

static int write_backwards(struct vmfs_volume *vol)
{
	int err = 0;

	while (held_count) {
		held_count--;
		if (!err)
			err = __real_vmfs_gate_write(vol, held[held_count].vol_off,
						     held[held_count].data,
						     held[held_count].len, 0);
		free(held[held_count].data);
	}
	return err;
}

WRAP(int, vmfs_gate_flush, struct vmfs_volume *vol)
{
	bool is_first = !flushes++;

	if (fault == FLUSHES_IGNORED ||
	    (fault == NO_FLUSH_AFTER_JOURNAL && place == COMMIT) ||
	    (fault == NO_FLUSH_IN_PLACE && place == EMPTY && is_first) ||
	    (fault == NO_FLUSH_AFTER_REPLAY && place == REPLAY) ||
	    (fault == TRIM_VOLATILE && place == EMPTY && !is_first) ||
	    (fault == MARK_BEFORE_DATA && place == FILE_COMMIT))
		return 0;
	int err = 0;
	if (fault == TRIM_FIRST && place == EMPTY && is_first)
		err = zero_log(vol);
	if (!err && place == REPLAY)
		err = write_backwards(vol);
	return err ? err : __real_vmfs_gate_flush(vol);
}

WRAP(int, journal_commit, struct vmfs_volume *vol, const struct journal_target *targets,
     unsigned int count)
{
	typeof(place) was = place;

	place = COMMIT;
	flushes = 0;
	int err = __real_journal_commit(vol, targets, count);
	place = was;
	return err;
}

WRAP(int, journal_empty, struct vmfs_volume *vol)
{
	place = EMPTY;
	flushes = 0;
	int err = __real_journal_empty(vol);
	place = ELSEWHERE;
	return err;
}

WRAP(int, journal_replay, struct vmfs_volume *vol, const struct vmfs_heartbeat_disk *slot,
     unsigned int *ret_records)
{
	*ret_records = 0;
	if (fault == REPLAY_NOTHING)
		return 0;
	place = REPLAY;
	int err = __real_journal_replay(vol, slot, ret_records);
	place = ELSEWHERE;
	return err;
}

/* Of who reads beside the dead host's log; a replay asks within its own file. */
WRAP(int, journal_lock_stands, struct journal_log *log,
     const struct vmfs_journal_target_disk *td, uint32_t lock_type, bool *ret_stands)
{
	int err = __real_journal_lock_stands(log, td, lock_type, ret_stands);

	*ret_stands |= !err && fault == LOG_NOT_CUT;
	return err;
}

WRAP(int, file_commit, struct vmfs_file *f, bool is_last)
{
	place = FILE_COMMIT;
	int err = __real_file_commit(f, is_last);
	place = ELSEWHERE;
	return err;
}

WRAP(unsigned int, crc32_iscsi, unsigned char *buf, int len, unsigned int init)
{
	return fault == CRC_IGNORED ? 0 : __real_crc32_iscsi(buf, len, init);
}

WRAP(void, filemap_quiesce, struct vmfs_file *f)
{
	if (fault != FREED_IN_USE)
		__real_filemap_quiesce(f);
}

/* It would find out, too, that somebody holds: what is to be seen is the harm. */
WRAP(void, filemap_resume, struct vmfs_file *f)
{
	if (fault != FREED_IN_USE)
		__real_filemap_resume(f);
}

/* ---- the search ---- */

struct control {
	enum fault fault;
	const char *name, *oracle; /* what is said when it is found */
	unsigned int level;
};

static unsigned long states_of(const struct ace_counts *c)
{
	unsigned long sum = 0;

	for (unsigned int i = 1; i <= ACE_LEVELS; i++)
		sum += c->states[i];
	return sum;
}

/* A scattered order, so that all kinds come soon. */
static unsigned int sequence_at(unsigned int k)
{
	return (unsigned int)((uint64_t)k * 1033 % ace_sequence_count());
}

/* Sequences of two, until one finds it. */
static bool finds(struct acecrash *run, const struct control *c, unsigned long max)
{
	unsigned int count = ace_sequence_count();
	unsigned long found_after;
	char text[160];

	memset(run->counts, 0, sizeof(*run->counts));
	run->levels = 1u << c->level;
	fault = c->fault;
	for (unsigned int k = 0; k < count && states_of(run->counts) < max; k++) {
		struct ace_sequence s;

		run->number = sequence_at(k);
		ace_sequence_get(run->number, &s);
		if (s.count != 2 ||
		    !sim_some_seed_fails(run->number, 1, acecrash_run, run,
					 c->oracle, NULL))
			continue;
		found_after = states_of(run->counts);
		/* Not without it. */
		fault = NO_FAULT;
		sim_each_seed(run->number, 1, acecrash_run, run);
		printf("# %s: found after %lu states, by %s, in \"%s\"\n", c->name,
		       found_after, c->oracle,
		       ace_sequence_text(&s, text));
		return true;
	}
	printf("# %s: not found in %lu states\n", c->name, states_of(run->counts));
	return false;
}

static const struct control controls[] = {
	{ FLUSHES_IGNORED, "flushes ignored", "O2", 2 },
	{ NO_FLUSH_AFTER_JOURNAL, "no flush after the journal", "O2", 2 },
	{ NO_FLUSH_IN_PLACE, "no flush after writes in place", "O2", 2 },
	{ NO_FLUSH_AFTER_REPLAY, "no flush after the replay", "O2", 4 },
	{ TRIM_VOLATILE, "no flush after the trim, which is not FUA", "fsck", 2 },
	{ TRIM_FIRST, "sector 0 zeroed before the flush in place", "O2", 2 },
	{ CRC_IGNORED, "CRC not checked", "O2", 3 },
	{ REPLAY_ORDER, "replay ignores order", "O2", 1 },
	{ REPLAY_NOTHING, "no replay", "O2", 1 },
	{ LOG_NOT_CUT, "a record whose locks do not stand is read", "take-over", 2 },
	{ MARK_BEFORE_DATA, "mark cleared before the data are flushed", "old data", 2 },
};

static void begin(struct acecrash *run)
{
	*run = (struct acecrash){ .caw = BDEV_CAW_FILE, .is_last_op_only = true,
				  .mask_bits = 5, .samples = 8, .tear_max = 16,
				  .again_every = 3 };
	fault = NO_FAULT;
	sim_run(1, acecrash_prepare, run);
	run->counts = mmap(NULL, sizeof(*run->counts), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(run->counts, MAP_FAILED);
}

static void end(struct acecrash *run)
{
	munmap(run->counts, sizeof(*run->counts));
	image_free(run->img);
}

static void each_fault_is_found(void **state)
{
	const char *only = getenv("CRASH_FAULT");
	struct acecrash run;
	unsigned int missed = 0;

	(void)state;
	begin(&run);
	for (unsigned int i = 0; i < ARRAY_SIZE(controls); i++) {
		if (only && !strstr(controls[i].name, only))
			continue;
		missed += !finds(&run, &controls[i], STATES_MAX);
	}
	assert_int_equal(missed, 0);
	end(&run);
}

/* ---- a block freed before its I/O has ended ---- */

/* The slow write of a task, into blocks that another gives to a new file meanwhile. */
static void write_slowly(void *arg)
{
	uint8_t *data = malloc(HALF);

	SIM_CHECK(data);
	memset(data, 'w', HALF);
	(void)!vmfs_file_write(arg, data, HALF, 0); /* the file may be cut, or full */
	free(data);
}

static struct vmfs_file *open_file(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0600 };
	struct vmfs_file *file;

	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	return file;
}

/* false: there is no room. */
static bool write_all(struct vmfs_file *file, int byte)
{
	uint8_t *data = malloc(2 * HALF);

	SIM_CHECK(data);
	memset(data, byte, 2 * HALF);
	int err = vmfs_file_write(file, data, 2 * HALF, 0);
	SIM_CHECK(!err || err == -ENOSPC);
	SIM_CHECK(!vmfs_file_sync(file));
	free(data);
	return !err;
}

/* All other blocks, so that what is freed is what is taken next. */
static struct vmfs_file *fill(struct vmfs_volume *vol)
{
	struct vmfs_file *file = open_file(vol, "/fill");
	uint64_t size = 0;

	for (uint64_t step = 256 * 2 * HALF; step >= 2 * HALF; step /= 2)
		while (!vmfs_file_allocate(file, size, step, VMFS_ALLOCATE_TBZ))
			size += step;
	return file;
}

static void check_bytes(struct vmfs_file *file, uint8_t byte)
{
	uint8_t *data = malloc(2 * HALF);

	SIM_CHECK(data);
	SIM_CHECK(vmfs_file_read(file, data, 2 * HALF, 0) == (int64_t)(2 * HALF));
	for (uint32_t i = 0; i < 2 * HALF; i++)
		if (data[i] != byte)
			sim_fail("O2: byte %u is 0x%02x, should be 0x%02x", i, data[i],
				 byte);
	free(data);
}

static void race(void *arg)
{
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(arg, &m));
	struct vmfs_file *old = open_file(m.vol, "/old");
	SIM_CHECK(write_all(old, 'o'));
	struct vmfs_file *filler = fill(m.vol);
	struct vmfs_file *new = open_file(m.vol, "/new");
	struct task *writer = task_start("writer", write_slowly, old);
	task_sleep_until(clock_now() + sim_random(NS_PER_MS));
	SIM_CHECK(!vmfs_file_truncate(old, 0));
	/* The slow writer may have taken the block again: then there is none. */
	bool has_block = write_all(new, 'n');
	task_join(writer);
	if (has_block)
		check_bytes(new, 'n');
	SIM_CHECK(!vmfs_file_close(new));
	SIM_CHECK(!vmfs_file_close(filler));
	SIM_CHECK(!vmfs_file_close(old));
	SIM_CHECK(!cluster_unmount(&m));
}

static void race_on_a_slow_disk(void *arg)
{
	struct simdisk_behaviour b = simdisk_polite();
	struct cluster c = { .caw = BDEV_CAW_FILE };

	(void)arg;
	struct cluster *made = cluster_new(BDEV_CAW_FILE);
	c.disk = simdisk_from_image(simdisk_image(made->disk), BDEV_CAW_FILE);
	cluster_free(made);
	b.slow_ppm = 100000;
	simdisk_behave(c.disk, &b);
	SIM_CHECK(sim_host_run(sim_host_new("a", 0), "race", race, &c));
	simdisk_free(c.disk);
}

static void a_block_in_use_is_not_given_away(void **state)
{
	uint64_t seed;

	(void)state;
	fault = NO_FAULT;
	sim_each_seed(1, SEEDS, race_on_a_slow_disk, NULL);
	fault = FREED_IN_USE;
	assert_true(sim_some_seed_fails(1, RACE_SEEDS, race_on_a_slow_disk, NULL, "O2",
					&seed));
	printf("# block freed before its I/O ended: found by O2, with seed %lu\n", seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_is_found),
		cmocka_unit_test(a_block_in_use_is_not_given_away),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
