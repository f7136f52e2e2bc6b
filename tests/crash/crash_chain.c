/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM with a disk on deltas, when the power fails: on a simulated device that records
 * each write, the device is rebuilt as it could have been left after each of them, with
 * unflushed writes there, torn or lost, and another host looks:
 *
 *   writing     each sector holds what was flushed before, or what was written since;
 *               all of the new once the flush has returned
 *   creating    the disk of the .vmx file holds the same, whatever there is in the list
 *   reverting   it holds what it held, or what the snapshot held
 *   removing    it holds the same; and removing again finishes the work
 *   forking     a snapshot is made while the disk is written: as writing, and no sector
 *               is older than the last flush
 *   sinking     all snapshots, or the last, are removed while the disk is written: as
 *               forking; who looks at what a dead process has left finds every write that
 *               had ended; and removing again finishes the work
 *   destroying  the VM is removed, snapshots and all: as long as there is a .vmx file,
 *               destroying again finishes the work, and what of its disks is still there
 *               holds what it held; without one nothing of it is left
 *
 * FULL=1: more seeds, and every moment; else every ninth.
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
#include "base/buf.h"
#include "tests/lib/batch.h"
#include "tests/sim/world.h"
#include "vdisk/extent.h"
#include "vdisk/vmsnap.h"
#include "vmfs/format.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define DISK_SIZE ((96u << 10) + 3 * 512)
#define SECTORS (DISK_SIZE / 512)
#define WRITES 14u
#define VMX "/vm/a.vmx"

#define VERSIONS 400u
#define FLUSHES 40u

enum phase {
	WRITING, CREATING, REVERTING, REMOVING, FORKING, SINKING, SINKING_ONE, DESTROYING
};

struct story {
	enum phase phase;
	enum vdisk_delta_kind kind;
	uint8_t *before, *after; /* what the disk may hold */
	uint8_t *version[VERSIONS]; /* WRITING: what it held in between */
	unsigned int ended_at[VERSIONS]; /* what the log had then; 0: not known */
	unsigned int versions;
	/* What the log had, and how many versions there were, when a flush had ended. */
	unsigned int flushed_at[FLUSHES], flushed[FLUSHES], flushes;
	unsigned int cut; /* that is looked at: what the log had */
	bool is_all;	  /* and all of that is there */
	char place[128];	 /* the cut that is looked at */
};

static bool is_sinking(const struct story *st)
{
	return st->phase == SINKING || st->phase == SINKING_ONE;
}

/* ---- the VM ---- */

static struct vmsnap_options options_of(const struct story *st, struct world_mount *m)
{
	return (struct vmsnap_options){ .vol = m->vol, .vmx = VMX, .kind = st->kind,
					.reporter = &m->told.base };
}

/* The disk that the .vmx file names. */
static void leaf_of(struct world_mount *m, char path[static 64])
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_file *file;
	struct settings *s;
	char text[1024];
	SIM_CHECK(vmfs_file_open(m->vol, VMX, &how, &file, NULL) == 0);
	int64_t len = vmfs_file_read(file, text, sizeof(text), 0);
	SIM_CHECK(len > 0 && vmfs_file_close(file) == 0);
	SIM_CHECK(settings_parse(text, (size_t)len, VMX, NULL, &s) == 0);
	(void)snprintf(path, 64, "/vm/%.50s", settings_get(s, "scsi0:0.fileName"));
	settings_free(s);
}

static struct vdisk *open_leaf(struct story *st, struct world_mount *m, uint32_t flags)
{
	const struct vdisk_open_options how = { .flags = flags,
						.reporter = &m->told.base };
	char path[64];
	struct vdisk *disk;
	leaf_of(m, path);
	int rc = vdisk_open(m->vol, path, &how, &disk, NULL);
	if (rc < 0)
		sim_fail("%s: %s opens with %d", st->place, path, rc);
	return disk;
}

static uint8_t *contents(struct story *st, struct world_mount *m)
{
	struct vdisk *disk = open_leaf(st, m, VDISK_READ_LOCKED);
	uint8_t *bytes = io_alloc(DISK_SIZE);
	if (bdev_read(vdisk_bdev(disk), bytes, DISK_SIZE, 0) != 0)
		sim_fail("%s: does not read", st->place);
	SIM_CHECK(vdisk_close(disk) == 0);
	return bytes;
}

static void remember(struct story *st, const uint8_t *model)
{
	SIM_CHECK(st->versions < VERSIONS);
	st->version[st->versions] = malloc(DISK_SIZE);
	memcpy(st->version[st->versions++], model, DISK_SIZE);
}

/* Random writes and zeroes through an open disk, and in model. */
static void scribble_some(struct story *st, struct vdisk *disk, uint8_t *model,
			  unsigned int writes)
{
	uint8_t *buf = io_alloc(DISK_SIZE);
	for (unsigned int i = 0; i < writes; i++) {
		uint64_t at = sim_random(SECTORS), len = 1 + sim_random(24);
		at = sim_random(2) ? round_down(at, 8) : at;
		len = min_u64(len, SECTORS - at) * 512;
		at *= 512;
		if (sim_random(5) == 0) {
			memset(model + at, 0, len);
			SIM_CHECK(bdev_zero(vdisk_bdev(disk), len, at) == 0);
		} else {
			fill_bytes(buf, len, (uint32_t)sim_random(UINT32_MAX));
			memcpy(model + at, buf, len);
			SIM_CHECK(bdev_write(vdisk_bdev(disk), buf, len, at) == 0);
		}
		if (model == st->after)
			remember(st, model);
	}
	free(buf);
}

static void scribble(struct story *st, struct vdisk *disk, uint8_t *model)
{
	scribble_some(st, disk, model, WRITES);
}

static void flush(struct story *st, struct vdisk *disk, struct world_mount *m)
{
	SIM_CHECK(st->flushes < FLUSHES);
	SIM_CHECK(bdev_flush(vdisk_bdev(disk)) == 0);
	st->flushed_at[st->flushes] = simdisk_logged(m->disk);
	st->flushed[st->flushes++] = st->versions;
}

static void write_to_leaf(struct story *st, struct world_mount *m, uint8_t *model)
{
	struct vdisk *disk = open_leaf(st, m, VDISK_WRITE);
	scribble(st, disk, model);
	flush(st, disk, m);
	SIM_CHECK(vdisk_close(disk) == 0);
}

static void set_up(struct story *st, struct world_mount *m)
{
	static const char vmx[] = "scsi0:0.fileName = \"a.vmdk\"\n";
	const struct vmfs_file_options how = { .flags = VMFS_CREATE | VMFS_WRITE,
					       .mode = 0600 };
	const struct vdisk_create_options disk = { .capacity_bytes = DISK_SIZE };
	const struct vmsnap_options o = options_of(st, m);
	struct vmfs_file *file;
	uint32_t uid;
	SIM_CHECK(vmfs_mkdir(m->vol, "/vm", 0755) == 0);
	SIM_CHECK(vdisk_create(m->vol, "/vm/a.vmdk", &disk) == 0);
	SIM_CHECK(vmfs_file_open(m->vol, VMX, &how, &file, NULL) == 0);
	SIM_CHECK(vmfs_file_write(file, vmx, sizeof(vmx) - 1, 0) == 0);
	SIM_CHECK(vmfs_file_close(file) == 0);
	write_to_leaf(st, m, st->before);
	SIM_CHECK(vmsnap_create(&o, "one", "", &uid, NULL) == 0 && uid == 1);
	memcpy(st->after, st->before, DISK_SIZE);
	write_to_leaf(st, m, st->before);
	if (st->phase >= REMOVING && st->phase != FORKING) {
		SIM_CHECK(vmsnap_create(&o, "two", "", &uid, NULL) == 0);
		write_to_leaf(st, m, st->before);
	}
	/* after: of REVERTING the snapshot; else to be changed from before. */
	if (st->phase != REVERTING)
		memcpy(st->after, st->before, DISK_SIZE);
}

/* ---- a VM that runs ---- */

struct host {
	struct story *st;
	struct world_mount *m;
	struct vdisk *disk;
	struct vmfs_file *vmx;
	struct vdisk_progress progress;
};

/* The guest; of a sink it has less time at once. */
static void guest(struct host *h)
{
	struct story *st = h->st;
	for (unsigned int i = 0; i < (is_sinking(st) ? 4 : WRITES); i++) {
		scribble_some(st, h->disk, st->after, 1);
		if (is_sinking(st))
			st->ended_at[st->versions - 1] = simdisk_logged(h->m->disk);
	}
}

/* What it does while one sinks; not always: then nothing of it hides what is missing. */
static void guest_beside(struct host *h)
{
	if (h->st->phase != SINKING_ONE)
		guest(h);
}

/* Between the making of the child and the switch: the disk is written. */
static int announced(void *arg, const char *vmx, const char *const *locked)
{
	struct host *h = arg;
	SIM_CHECK(vmx[0] == '/' && locked && (locked[0] || is_sinking(h->st)));
	guest_beside(h);
	return 0;
}

static void confirmed(void *arg)
{
	struct host *h = arg;
	guest(h);
	flush(h->st, h->disk, h->m);
}

static bool stepped(struct vdisk_progress *p, uint64_t done, uint64_t total)
{
	struct host *h = (void *)((char *)p - offsetof(struct host, progress));
	SIM_CHECK(done <= total);
	guest_beside(h);
	if (h->st->phase != SINKING_ONE && sim_random(2))
		flush(h->st, h->disk, h->m);
	return true;
}

static void quietly(void *arg, unsigned int i, void (*fn)(void *fn_arg), void *fn_arg)
{
	(void)arg;
	SIM_CHECK(i == 0);
	fn(fn_arg);
}

static int run_vm(struct story *st, struct world_mount *m)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct host h = { .st = st, .m = m, .progress.step = stepped };
	h.disk = open_leaf(st, m, VDISK_WRITE | VDISK_PROMPT);
	const struct vmsnap_running running = { .vmx = &h.vmx, .disks = &h.disk,
						.disk_count = 1, .announce = announced,
						.confirm = confirmed, .quiet = quietly,
						.arg = &h };
	struct vmsnap_options o = options_of(st, m);
	uint32_t uid;
	o.running = &running;
	o.progress = &h.progress;
	SIM_CHECK(vmfs_file_open(m->vol, VMX, &how, &h.vmx, NULL) == 0);
	guest(&h);
	flush(st, h.disk, m);
	int rc = is_sinking(st) ?
			 vmsnap_remove(&o, st->phase == SINKING ? 0 : 2, NULL) :
			 vmsnap_create(&o, "x", "", &uid, NULL);
	guest(&h);
	flush(st, h.disk, m);
	SIM_CHECK(vdisk_close(h.disk) == 0);
	SIM_CHECK(vmfs_file_close(h.vmx) == 0);
	return rc;
}

static void act(struct story *st, struct world_mount *m)
{
	const struct vmsnap_options o = options_of(st, m);
	uint32_t uid;
	int rc = 0;
	if (st->phase == WRITING)
		write_to_leaf(st, m, st->after);
	else if (st->phase == FORKING || is_sinking(st))
		rc = run_vm(st, m);
	else if (st->phase == CREATING)
		rc = vmsnap_create(&o, "x", "", &uid, NULL);
	else if (st->phase == REVERTING)
		rc = vmsnap_revert(&o, 1, NULL);
	else if (st->phase == DESTROYING)
		rc = vmsnap_destroy(&o, NULL);
	else
		rc = vmsnap_remove(&o, 0, NULL);
	if (rc < 0)
		sim_fail("phase %d: %d", (int)st->phase, rc);
}

/* ---- what is found ---- */

static bool is_written(const struct story *st)
{
	return st->phase == WRITING || st->phase == FORKING || is_sinking(st);
}

/* Any mixture, by sector, of what it held since the last flush. */
static bool is_allowed(const struct story *st, const uint8_t *got, uint64_t at)
{
	unsigned int first = 0;
	for (unsigned int i = 0; i < st->flushes; i++) {
		if (st->flushed_at[i] < st->cut)
			first = st->flushed[i];
	}
	for (unsigned int i = first; st->is_all && i < st->versions; i++) {
		if (st->ended_at[i] && st->ended_at[i] <= st->cut)
			first = i + 1;
	}
	for (unsigned int i = first ? first - 1 : 0; i < st->versions; i++) {
		if (!memcmp(got + at, st->version[i] + at, 512))
			return true;
	}
	return first == 0 && !memcmp(got + at, st->before + at, 512);
}

static void look(struct story *st, struct world_mount *m, bool is_end)
{
	uint8_t *got = contents(st, m);
	bool is_before = !memcmp(got, st->before, DISK_SIZE);
	bool is_after = !memcmp(got, st->after, DISK_SIZE);
	if (is_end && !is_after)
		sim_fail("%s: what was promised is not there", st->place);
	for (uint64_t at = 0; at < DISK_SIZE && is_written(st); at += 512) {
		if (!is_allowed(st, got, at))
			sim_fail("%s: sector %u was never so, or is too old", st->place,
				 (unsigned int)(at / 512));
	}
	if (!is_written(st) && !is_before && !is_after)
		sim_fail("%s: the disk holds neither", st->place);
	free(got);
}

/* Whatever was left, the next one puts it right. */
static void go_on(struct story *st, struct world_mount *m)
{
	const struct vmsnap_options o = options_of(st, m);
	uint8_t *was = contents(st, m), *is;
	struct vmsd v;
	int rc = vmsnap_remove(&o, 0, NULL);
	if (rc < 0)
		sim_fail("%s: removing all: %d", st->place, rc);
	is = contents(st, m);
	if (memcmp(was, is, DISK_SIZE) != 0)
		sim_fail("%s: removing all has changed the disk", st->place);
	SIM_CHECK(vmsnap_list(&o, &v) == 0);
	SIM_CHECK(v.count == 0 && !vmsd_is_pending(&v));
	vmsd_done(&v);
	free(was);
	free(is);
	char path[64];
	leaf_of(m, path);
	SIM_CHECK((st->phase != REMOVING && !is_sinking(st)) ||
		  !strcmp(path, "/vm/a.vmdk"));
}

/* Files in its folder that mean something; ~: what an interrupted publishing left. */
static unsigned int files_left(struct world_mount *m)
{
	struct vmfs_dirent entry;
	struct vmfs_stat st;
	unsigned int count = 0;
	uint64_t cookie = 0;
	int rc = vmfs_stat(m->vol, "/vm", &st);
	if (rc == -ENOENT)
		return 0;
	SIM_CHECK(rc == 0);
	while (vmfs_readdir(m->vol, st.addr, cookie, &entry, 1) > 0) {
		size_t len = strlen(entry.name);
		cookie = entry.cookie;
		count += entry.name[0] != '.' || entry.name[len - 1] != '~';
	}
	return count - 2; /* "." and ".." */
}

/* What the .vmx file names is whole, or cannot be opened. */
static void look_at_rest(struct story *st, struct world_mount *m)
{
	const struct vdisk_open_options how = { .flags = VDISK_READ_LOCKED };
	struct vdisk *disk;
	char path[64];
	leaf_of(m, path);
	if (vdisk_open(m->vol, path, &how, &disk, NULL) != 0)
		return;
	SIM_CHECK(vdisk_close(disk) == 0);
	uint8_t *got = contents(st, m);
	if (memcmp(got, st->before, DISK_SIZE) != 0)
		sim_fail("%s: half a disk", st->place);
	free(got);
}

static void look_destroyed(struct story *st, struct world_mount *m, bool is_end)
{
	const struct vmsnap_options o = options_of(st, m);
	struct vmfs_stat vmx;
	int rc = vmfs_stat(m->vol, VMX, &vmx);
	if (rc == 0 && is_end)
		sim_fail("%s: it is still there", st->place);
	if (rc == 0) {
		look_at_rest(st, m);
		rc = vmsnap_destroy(&o, NULL);
		if (rc < 0)
			sim_fail("%s: destroying again: %d", st->place, rc);
		rc = vmfs_stat(m->vol, VMX, &vmx);
	}
	SIM_CHECK(rc == -ENOENT);
	if (files_left(m))
		sim_fail("%s: %u files are left", st->place, files_left(m));
}

static bool is_full(void)
{
	const char *full = getenv("FULL");
	return full && *full;
}

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	struct story *st = arg;
	unsigned int count = simdisk_log_count(log);
	struct world_mount m;
	if (!is_full() && n != count && n % 9 != 0)
		return;
	world_mount_cut(&m, log, n, cut, st->place, sizeof(st->place));
	st->cut = n;
	st->is_all = cut == SIMDISK_PREFIX;
	bool is_end = n == count && cut == SIMDISK_PREFIX;
	if (st->phase == DESTROYING) {
		look_destroyed(st, &m, is_end);
	} else {
		look(st, &m, is_end);
		if (sim_random(4) == 0 || st->phase == REMOVING || is_sinking(st))
			go_on(st, &m);
	}
	world_unmount(&m);
	simdisk_free(m.disk);
}

static void story(void *arg)
{
	struct story st = *(const struct story *)arg;
	struct world_mount m;
	sim_set_limits(365ull * 86400 * NS_PER_S, 900ull * 1000 * 1000);
	st.before = calloc(1, DISK_SIZE);
	st.after = calloc(1, DISK_SIZE);
	strcpy(st.place, "at first");
	world_begin(&m, VOLUME_SIZE);
	set_up(&st, &m);
	st.versions = st.flushes = 0;
	simdisk_log_start(m.disk);
	act(&st, &m);
	struct simdisk_log *log = world_end(&m);
	SIM_CHECK(simdisk_log_count(log) > 8);
	simdisk_each_cut(log, check_cut, &st);
	simdisk_log_free(log);
	for (unsigned int i = 0; i < st.versions; i++)
		free(st.version[i]);
	free(st.before);
	free(st.after);
}

static void run(enum phase phase)
{
	unsigned int seeds = is_full() ? 6 : 1;
	for (int kind = VDISK_DELTA_VMFSSPARSE; kind <= VDISK_DELTA_SESPARSE; kind++) {
		struct story st = { .phase = phase, .kind = (enum vdisk_delta_kind)kind };
		sim_each_seed(1, seeds, story, &st);
	}
}

static void what_was_flushed_is_there_after_a_crash(void **state)
{
	(void)state;
	run(WRITING);
}

static void a_crash_of_a_creation_changes_no_disk(void **state)
{
	(void)state;
	run(CREATING);
}

static void a_crash_of_a_revert_leaves_one_of_the_two(void **state)
{
	(void)state;
	run(REVERTING);
}

static void a_disk_that_is_forked_has_what_was_flushed(void **state)
{
	(void)state;
	run(FORKING);
}

static void a_disk_that_sinks_has_what_was_flushed(void **state)
{
	(void)state;
	run(SINKING);
	run(SINKING_ONE);
}

static void a_removal_goes_on_after_a_crash(void **state)
{
	(void)state;
	run(REMOVING);
}

static void a_crash_of_a_destruction_leaves_what_can_be_destroyed(void **state)
{
	(void)state;
	run(DESTROYING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_flushed_is_there_after_a_crash),
		cmocka_unit_test(a_crash_of_a_creation_changes_no_disk),
		cmocka_unit_test(a_crash_of_a_revert_leaves_one_of_the_two),
		cmocka_unit_test(a_removal_goes_on_after_a_crash),
		cmocka_unit_test(a_disk_that_is_forked_has_what_was_flushed),
		cmocka_unit_test(a_disk_that_sinks_has_what_was_flushed),
		cmocka_unit_test(a_crash_of_a_destruction_leaves_what_can_be_destroyed),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
