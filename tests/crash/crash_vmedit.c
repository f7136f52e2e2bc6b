/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The .vmx file of a VM that runs, or is off, is changed four times, and the power fails:
 * on a simulated device that records each write, the device is rebuilt as it could have
 * been left after each of them, with unflushed writes there, torn or lost. Another host
 * finds the file byte for byte as it was before or after the change under way, never
 * older than the last one that had returned, and can change it.
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
#include "tests/lib/batch.h"
#include "tests/sim/world.h"
#include "vdisk/settings.h"
#include "vdisk/vmedit.h"
#include "vmfs/format.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define VMX "/vm/a.vmx"
#define TEXT_SIZE 8192u
#define CHANGES 4u

static const char first_text[] = "# a remark\n"
				 "odd.key = \"stays\"\n"
				 "scsi0.present = \"TRUE\"\n"
				 "scsi0:1.present = \"TRUE\"\n"
				 "scsi0:1.fileName = \"b.vmdk\"\n";

struct story {
	bool is_on;
	char text[CHANGES + 1][TEXT_SIZE];
	unsigned int ended_at[CHANGES + 1]; /* what the log had then */
	char place[128];
};

static void read_text(struct world_mount *m, char text[static TEXT_SIZE])
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_file *file;
	int rc = vmfs_file_open(m->vol, VMX, &how, &file, NULL);
	SIM_CHECK(rc == 0);
	int64_t len = vmfs_file_read(file, text, TEXT_SIZE - 1, 0);
	SIM_CHECK(len >= 0 && vmfs_file_close(file) == 0);
	text[len] = '\0';
}

static void set_up(struct world_mount *m)
{
	const struct vmfs_file_options how = { .flags = VMFS_CREATE | VMFS_WRITE,
					       .mode = 0600 };
	struct vmfs_file *file;
	SIM_CHECK(vmfs_mkdir(m->vol, "/vm", 0755) == 0);
	SIM_CHECK(vmfs_file_open(m->vol, VMX, &how, &file, NULL) == 0);
	SIM_CHECK(vmfs_file_write(file, first_text, sizeof(first_text) - 1, 0) == 0);
	SIM_CHECK(vmfs_file_close(file) == 0);
}

static int announced(void *arg, const char *vmx, const char *const *locked)
{
	(void)arg;
	SIM_CHECK(vmx[0] == '/' && !locked);
	return 0;
}

static void confirmed(void *arg)
{
	(void)arg;
}

static void quietly(void *arg, unsigned int i, void (*fn)(void *fn_arg), void *fn_arg)
{
	(void)arg;
	(void)i;
	fn(fn_arg);
}

/* Short and long values; a key that comes, one that changes, all of a disk that go. */
static void change(struct story *st, struct world_mount *m, struct vmfs_file **vmx)
{
	static char note[SETTINGS_MAX_VALUE - 64];
	struct vdisk *disk = NULL;
	const struct vmsnap_running running = { .vmx = vmx, .disks = &disk,
						.disk_count = 1, .announce = announced,
						.confirm = confirmed, .quiet = quietly };
	const struct vmsnap_options o = { .vol = m->vol, .vmx = VMX,
					  .reporter = &m->told.base,
					  .running = st->is_on ? &running : NULL };
	const struct vmedit edits[CHANGES][2] = {
		{ { "sched.cpu.shares", "high" }, { "sched.scsi0:0.shares", "500" } },
		{ { "annotation", note }, { "SCHED.cpu.shares", "low" } },
		{ { "scsi0:1.", NULL }, { "scsi0:2.present", "TRUE" } },
		{ { "annotation", "" }, { "odd.key2", "a |22b|22" } },
	};
	memset(note, 'n', sizeof(note) - 1);
	for (unsigned int i = 0; i < CHANGES; i++) {
		int rc = vmedit_apply(&o, edits[i], 2, NULL);
		if (rc < 0)
			sim_fail("change %u: %d", i, rc);
		st->ended_at[i + 1] = simdisk_logged(m->disk);
		read_text(m, st->text[i + 1]);
		SIM_CHECK(strcmp(st->text[i + 1], st->text[i]) != 0);
		SIM_CHECK(strstr(st->text[i + 1], "# a remark\nodd.key = \"stays\"\n") ==
			  st->text[i + 1]);
	}
}

static void run_vm(struct story *st, struct world_mount *m)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct vmfs_file *vmx = NULL;
	if (st->is_on)
		SIM_CHECK(vmfs_file_open(m->vol, VMX, &how, &vmx, NULL) == 0);
	change(st, m, &vmx);
	SIM_CHECK(vmfs_file_close(vmx) == 0);
}

/* ---- what is found ---- */

/* Files in the folder that mean something; ~: what an interrupted publishing left. */
static unsigned int files_left(struct world_mount *m)
{
	struct vmfs_dirent entry;
	struct vmfs_stat st;
	unsigned int count = 0;
	uint64_t cookie = 0;
	SIM_CHECK(vmfs_stat(m->vol, "/vm", &st) == 0);
	while (vmfs_readdir(m->vol, st.addr, cookie, &entry, 1) > 0) {
		size_t len = strlen(entry.name);
		cookie = entry.cookie;
		count += entry.name[0] != '.' || entry.name[len - 1] != '~';
	}
	return count - 2; /* "." and ".." */
}

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	struct story *st = arg;
	const struct vmedit edit = { "after", "the crash" };
	static char text[TEXT_SIZE];
	struct world_mount m;
	unsigned int oldest = 0, newest = 0;
	world_mount_cut(&m, log, n, cut, st->place, sizeof(st->place));
	for (unsigned int i = 1; i <= CHANGES; i++) {
		if (st->ended_at[i] <= n)
			oldest = i;
		if (st->ended_at[i - 1] <= n)
			newest = i;
	}
	read_text(&m, text);
	if (strcmp(text, st->text[oldest]) != 0 && strcmp(text, st->text[newest]) != 0)
		sim_fail("%s: neither change %u nor %u: %s", st->place, oldest, newest,
			 text);
	const struct vmsnap_options o = { .vol = m.vol, .vmx = VMX,
					  .reporter = &m.told.base };
	if (vmedit_apply(&o, &edit, 1, NULL) < 0)
		sim_fail("%s: it cannot be changed any more", st->place);
	if (files_left(&m) != 1)
		sim_fail("%s: %u files", st->place, files_left(&m));
	world_unmount(&m);
	simdisk_free(m.disk);
}

static void story(void *arg)
{
	static struct story st;
	struct world_mount m;
	st.is_on = *(const bool *)arg;
	sim_set_limits(365ull * 86400 * NS_PER_S, 900ull * 1000 * 1000);
	world_begin(&m, VOLUME_SIZE);
	set_up(&m);
	read_text(&m, st.text[0]);
	simdisk_log_start(m.disk);
	run_vm(&st, &m);
	struct simdisk_log *log = world_end(&m);
	SIM_CHECK(simdisk_log_count(log) > 8);
	simdisk_each_cut(log, check_cut, &st);
	simdisk_log_free(log);
}

static void of_one_that_is_off_a_change_is_there_or_not(void **state)
{
	bool is_on = false;
	(void)state;
	sim_each_seed(1, 2, story, &is_on);
}

static void of_one_that_runs_a_change_is_there_or_not(void **state)
{
	bool is_on = true;
	(void)state;
	sim_each_seed(1, 2, story, &is_on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_one_that_is_off_a_change_is_there_or_not),
		cmocka_unit_test(of_one_that_runs_a_change_is_there_or_not),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
