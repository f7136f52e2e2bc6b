/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of a VM with two disks, on a volume in memory: what the disks hold, what the
 * .vmx and .vmsd files say, which files are left. And the .vmsd file alone.
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
#include "tests/lib/testvol.h"
#include "vdisk/vmedit.h"
#include "vdisk/vmsnap.h"

#define MIB (1u << 20)
#define DISK_SIZE (8 * MIB)
#define VMX "/vm/a.vmx"

/* ---- the list alone ---- */

static const char *const list_text =
	".encoding = \"UTF-8\"\n"
	"snapshot.lastUID = \"3\"\nsnapshot.current = \"3\"\n"
	"snapshot.mru0.uid = \"3\"\n"
	"snapshot0.uid = \"1\"\nsnapshot0.filename = \"a-Snapshot1.vmsn\"\n"
	"snapshot0.displayName = \"first |22one|22\"\nsnapshot0.numDisks = \"1\"\n"
	"snapshot0.createTimeHigh = \"361\"\nsnapshot0.createTimeLow = \"-5\"\n"
	"snapshot0.disk0.fileName = \"a.vmdk\"\nsnapshot0.disk0.node = \"scsi0:0\"\n"
	"snapshot1.uid = \"3\"\nsnapshot1.parent = \"1\"\nsnapshot1.odd = \"kept\"\n"
	"snapshot1.numDisks = \"0\"\n"
	"snapshot.numSnapshots = \"2\"\n";

static char *text_of(const struct vmsd *v)
{
	struct buf out = { 0 };
	settings_text(v->settings, &out);
	assert_int_equal(out.error, 0);
	return out.data;
}

static void a_list_is_kept_byte_for_byte(void **state)
{
	struct vmsd v;
	struct vmsd_snapshot s;
	(void)state;
	assert_int_equal(vmsd_parse(list_text, strlen(list_text), "list", NULL, &v), 0);
	char *text = text_of(&v);
	assert_string_equal(text, list_text);
	free(text);
	assert_int_equal(v.count, 2);
	vmsd_get(&v, 0, &s);
	assert_string_equal(s.name, "first \"one\"");
	assert_true(s.created_us == (361ull << 32 | 0xfffffffbu));
	vmsd_get(&v, 1, &s);
	assert_int_equal(s.parent, 1);
	vmsd_done(&v);
}

static void what_is_removed_from_a_list_is_closed_up(void **state)
{
	struct vmsd v;
	const struct vmsd_snapshot add = { .name = "new \"|", .description = "" };
	uint32_t uid;
	(void)state;
	assert_int_equal(vmsd_parse(list_text, strlen(list_text), "list", NULL, &v), 0);
	assert_int_equal(vmsd_remove(&v, 0), 0);
	char *text = text_of(&v);
	assert_non_null(strstr(text, "snapshot0.odd = \"kept\"\n"));
	assert_null(strstr(text, "parent"));
	assert_null(strstr(text, "a-Snapshot1"));
	free(text);
	assert_int_equal(vmsd_add(&v, &add, &uid), 0);
	assert_int_equal(uid, 4);
	assert_int_equal(vmsd_current(&v), 4);
	text = text_of(&v);
	assert_non_null(strstr(text, "snapshot1.displayName = \"new |22|7C\"\n"));
	assert_non_null(strstr(text, "snapshot1.parent = \"3\"\n"));
	free(text);
	vmsd_done(&v);
}

static void a_list_that_cannot_be_is_refused(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{ "snapshot.numSnapshots = \"1\"\n", "has no uid" },
		{ "snapshot.numSnapshots = \"-1\"\n", "numSnapshots" },
		{ "snapshot.numSnapshots = \"99999999\"\n", "numSnapshots" },
		{ "snapshot.numSnapshots = \"1\"\nsnapshot0.uid = \"1\"\n"
		  "snapshot0.parent = \"1\"\n", "is above itself" },
		{ "snapshot.numSnapshots = \"1\"\nsnapshot0.uid = \"1\"\n"
		  "snapshot0.parent = \"2\"\n", "not there" },
		{ "snapshot.numSnapshots = \"2\"\nsnapshot0.uid = \"1\"\n"
		  "snapshot1.uid = \"1\"\n", "uid of another" },
		{ "a = \"1\"\nA = \"2\"\n", "line 2 has a key that stood before" },
		{ "a = \"|2\"\n", "line 1 has a bad |XX" },
		{ "hello\n", "line 1 is not key" },
	};
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct collect told;
		struct vmsd v;
		assert_int_equal(vmsd_parse(cases[i].text, strlen(cases[i].text), "list",
					    collect_init(&told), &v), -EUCLEAN);
		if (!collect_has(&told, cases[i].said))
			fail_msg("%u: %s", i, collect_text(&told));
		collect_done(&told);
	}
}

/* ---- a VM ---- */

struct rig {
	struct testvol tv;
	struct vmsnap_options o;
};

static void write_file(struct rig *rig, const char *path, const char *text)
{
	const struct vmfs_file_options how = { .flags = VMFS_CREATE | VMFS_WRITE,
					       .mode = 0600 };
	struct vmfs_file *file;
	assert_int_equal(vmfs_file_open(rig->tv.vol, path, &how, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, text, strlen(text), 0), 0);
	assert_int_equal(vmfs_file_close(file), 0);
}

static void set_up_vm(struct rig *rig, enum vdisk_delta_kind kind)
{
	const struct vdisk_create_options options = { .capacity_bytes = DISK_SIZE,
						      .format = VDISK_THIN };
	testvol_new(&rig->tv, 2);
	assert_int_equal(vmfs_mkdir(rig->tv.vol, "/vm", 0755), 0);
	assert_int_equal(vdisk_create(rig->tv.vol, "/vm/a.vmdk", &options), 0);
	assert_int_equal(vdisk_create(rig->tv.vol, "/vm/b.vmdk", &options), 0);
	write_file(rig, VMX, "displayName = \"a\"\nscsi0.present = \"TRUE\"\n"
		   "scsi0:0.fileName = \"a.vmdk\"\nscsi0:1.fileName = \"b.vmdk\"\n"
		   "# a comment\nide0:0.fileName = \"x.iso\"\n");
	rig->o = (struct vmsnap_options){ .vol = rig->tv.vol, .vmx = VMX, .kind = kind,
					  .reporter = &rig->tv.told.base };
}

static void tear_down_vm(struct rig *rig)
{
	testvol_unmount(&rig->tv);
	testvol_check(&rig->tv);
	testvol_free(&rig->tv);
}

static struct settings *settings_of(struct rig *rig)
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_file *file;
	struct settings *s;
	char text[1024];
	assert_int_equal(vmfs_file_open(rig->tv.vol, VMX, &how, &file, NULL), 0);
	int64_t len = vmfs_file_read(file, text, sizeof(text), 0);
	assert_true(len > 0);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(settings_parse(text, (size_t)len, VMX, NULL, &s), 0);
	return s;
}

/* The path of the disk at node, as the .vmx file says it. */
static void leaf_of(struct rig *rig, const char *node, char path[static 64])
{
	struct settings *s = settings_of(rig);
	char key[64];
	(void)snprintf(key, sizeof(key), "%s.fileName", node);
	(void)snprintf(path, 64, "/vm/%.50s", settings_get(s, key));
	assert_string_equal(settings_get(s, "ide0:0.fileName"), "x.iso");
	settings_free(s);
}

/* A mark at MiB `at` of both disks. */
static void put(struct rig *rig, unsigned int at, uint8_t mark)
{
	static const char *const nodes[] = { "scsi0:0", "scsi0:1" };
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = &rig->tv.told.base };
	for (unsigned int i = 0; i < 2; i++) {
		char path[64], bytes[512];
		struct vdisk *disk;
		leaf_of(rig, nodes[i], path);
		memset(bytes, mark + (int)i, sizeof(bytes));
		assert_int_equal(vdisk_open(rig->tv.vol, path, &how, &disk, NULL), 0);
		assert_int_equal(bdev_write(vdisk_bdev(disk), bytes, 512,
					    (uint64_t)at * MIB), 0);
		assert_int_equal(vdisk_close(disk), 0);
	}
}

/* The marks of MiB 0, 1, ... are these. */
static void holds(struct rig *rig, const char *marks)
{
	static const char *const nodes[] = { "scsi0:0", "scsi0:1" };
	const struct vdisk_open_options how = { .reporter = &rig->tv.told.base };
	for (unsigned int i = 0; i < 2; i++) {
		char path[64], bytes[512], found[9] = "";
		struct vdisk *disk;
		leaf_of(rig, nodes[i], path);
		assert_int_equal(vdisk_open(rig->tv.vol, path, &how, &disk, NULL), 0);
		for (unsigned int at = 0; at < strlen(marks); at++) {
			assert_int_equal(bdev_read(vdisk_bdev(disk), bytes, 512,
						   (uint64_t)at * MIB), 0);
			found[at] = bytes[0] ? (char)(bytes[0] - (int)i) : '.';
		}
		assert_string_equal(found, marks);
		assert_int_equal(vdisk_close(disk), 0);
	}
}

static unsigned int files(struct rig *rig)
{
	struct vmfs_stat st;
	struct vmfs_dirent entry;
	uint64_t cookie = 0;
	unsigned int count = 0;
	assert_int_equal(vmfs_stat(rig->tv.vol, "/vm", &st), 0);
	while (vmfs_readdir(rig->tv.vol, st.addr, cookie, &entry, 1) > 0) {
		cookie = entry.cookie;
		count += strcmp(entry.name, ".") != 0 && strcmp(entry.name, "..") != 0;
	}
	return count;
}

static uint32_t snapshot(struct rig *rig, const char *name)
{
	uint32_t uid = 0;
	int rc = vmsnap_create(&rig->o, name, "", &uid, NULL);
	if (rc < 0)
		fail_msg("%s: %d: %s", name, rc, collect_text(&rig->tv.told));
	return uid;
}

static void story(enum vdisk_delta_kind kind)
{
	struct rig rig;
	struct vmsd v;
	set_up_vm(&rig, kind);
	put(&rig, 0, 'a');
	uint32_t one = snapshot(&rig, "one");
	put(&rig, 1, 'b');
	uint32_t two = snapshot(&rig, "two");
	put(&rig, 0, 'c');
	holds(&rig, "cb..");
	assert_int_equal(files(&rig), 2 + 3 * 4);
	/* A branch: both snapshots hang on one disk, and nothing is merged into it. */
	assert_int_equal(vmsnap_revert(&rig.o, one, NULL), 0);
	holds(&rig, "a...");
	put(&rig, 2, 'd');
	uint32_t three = snapshot(&rig, "three");
	put(&rig, 3, 'e');
	holds(&rig, "a.de");
	assert_int_equal(vmsnap_list(&rig.o, &v), 0);
	struct vmsd_snapshot s;
	vmsd_get(&v, 2, &s);
	assert_true(v.count == 3 && s.uid == three && s.parent == one);
	vmsd_done(&v);
	assert_int_equal(vmsnap_remove(&rig.o, one, NULL), 0);
	holds(&rig, "a.de");
	assert_int_equal(vmsnap_revert(&rig.o, two, NULL), 0);
	holds(&rig, "ab..");
	assert_int_equal(vmsnap_revert(&rig.o, three, NULL), 0);
	holds(&rig, "a.d.");
	put(&rig, 1, 'f');
	assert_int_equal(vmsnap_remove(&rig.o, two, NULL), 0);
	holds(&rig, "afd.");
	assert_int_equal(vmsnap_remove(&rig.o, two, NULL), -ENOENT);
	collect_clear(&rig.tv.told);
	assert_int_equal(vmsnap_remove(&rig.o, 0, NULL), 0);
	holds(&rig, "afd.");
	assert_int_equal(files(&rig), 2 + 4); /* .vmx, .vmsd, two disks of two files */
	tear_down_vm(&rig);
}

static void a_vm_goes_back_and_forth_on_vmfssparse(void **state)
{
	(void)state;
	story(VDISK_DELTA_VMFSSPARSE);
}

static void a_vm_goes_back_and_forth_on_sesparse(void **state)
{
	(void)state;
	story(VDISK_DELTA_SESPARSE);
}

static void a_vm_that_runs_is_left_alone(void **state)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct vmfs_holder holder;
	struct vmfs_file *file;
	struct rig rig;
	uint32_t uid;
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	assert_int_equal(vmfs_file_open(rig.tv.vol, VMX, &how, &file, NULL), 0);
	assert_int_equal(vmsnap_create(&rig.o, "x", "", &uid, &holder), -EBUSY);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(files(&rig), 5);
	tear_down_vm(&rig);
}

/* A disk that another VM was cloned from does not change, whatever either VM does. */
static void a_linked_clone_keeps_its_parent_as_it_is(void **state)
{
	const struct vdisk_snapshot_options how = { .kind = VDISK_DELTA_AUTO };
	struct rig rig;
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	put(&rig, 0, 'a');
	(void)snapshot(&rig, "golden");
	put(&rig, 0, 'b');
	assert_int_equal(vmfs_mkdir(rig.tv.vol, "/clone", 0755), 0);
	assert_int_equal(vdisk_snapshot(rig.tv.vol, "/vm/a.vmdk", "/clone/c.vmdk", &how,
					NULL), 0);
	assert_int_equal(vmsnap_remove(&rig.o, 0, NULL), -EBUSY);
	assert_true(collect_has(&rig.tv.told, "has a linked clone, /clone/c.vmdk"));
	collect_clear(&rig.tv.told);
	write_file(&rig, "/clone/c.vmx", "scsi0:0.fileName = \"c.vmdk\"\n");
	struct vmsnap_options clone = rig.o;
	uint32_t uid;
	clone.vmx = "/clone/c.vmx";
	assert_int_equal(vmsnap_create(&clone, "of the clone", "", &uid, NULL), 0);
	assert_int_equal(vmsnap_remove(&clone, 0, NULL), 0);
	const struct vdisk_open_options look = { .flags = VDISK_READ };
	struct vdisk *disk;
	char bytes[512];
	assert_int_equal(vdisk_open(rig.tv.vol, "/clone/c.vmdk", &look, &disk, NULL), 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), bytes, 512, 0), 0);
	assert_int_equal(bytes[0], 'a');
	assert_int_equal(vdisk_close(disk), 0);
	holds(&rig, "b...");
	tear_down_vm(&rig);
}

/* Of a snapshot in the middle: it is not merged away. */
static void a_linked_clone_keeps_a_parent_that_is_a_child(void **state)
{
	const struct vdisk_snapshot_options how = { .kind = VDISK_DELTA_AUTO };
	const struct vdisk_open_options look = { .flags = VDISK_READ };
	struct vdisk *disk;
	struct rig rig;
	char bytes[512], path[64];
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	put(&rig, 0, 'a');
	uint32_t first = snapshot(&rig, "first");
	put(&rig, 0, 'b');
	leaf_of(&rig, "scsi0:0", path);
	(void)snapshot(&rig, "golden");
	put(&rig, 0, 'c');
	assert_int_equal(vmfs_mkdir(rig.tv.vol, "/clone", 0755), 0);
	assert_int_equal(vdisk_snapshot(rig.tv.vol, path, "/clone/c.vmdk", &how, NULL),
			 0);
	assert_int_equal(vmsnap_remove(&rig.o, first, NULL), -EBUSY);
	assert_true(collect_has(&rig.tv.told, "has a linked clone, /clone/c.vmdk"));
	collect_clear(&rig.tv.told);
	assert_int_equal(vdisk_open(rig.tv.vol, "/clone/c.vmdk", &look, &disk, NULL), 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), bytes, 512, 0), 0);
	assert_int_equal(bytes[0], 'b');
	assert_int_equal(vdisk_close(disk), 0);
	holds(&rig, "c...");
	tear_down_vm(&rig);
}

static void setting(struct rig *rig, const char *key, const char *wanted)
{
	struct settings *s = settings_of(rig);
	const char *value = settings_get(s, key);
	assert_string_equal(value ? value : "(none)", wanted);
	settings_free(s);
}

static void stamp(struct rig *rig, const char *path, char ret[static VDISK_STAMP_SIZE])
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE };
	struct vdisk *disk;
	assert_int_equal(vdisk_open(rig->tv.vol, path, &how, &disk, NULL), 0);
	assert_true(vdisk_stamp(disk, ret));
	assert_int_equal(vdisk_close(disk), 0);
}

/* The memory comes with the disks, and only with these: going elsewhere takes it away. */
static void memory_goes_where_its_disks_go(void **state)
{
	static const struct vmedit away = { VMSNAP_STATE_KEY, NULL };
	char before[VDISK_STAMP_SIZE], now[VDISK_STAMP_SIZE], leaf[64];
	struct vmfs_stat st;
	struct rig rig;
	uint32_t one, two;
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	put(&rig, 0, 'a');
	stamp(&rig, "/vm/a.vmdk", before);
	write_file(&rig, "/vm/a-Snapshot1.vmsn", "memory");
	rig.o.memory = "a-Snapshot1.vmsn";
	one = snapshot(&rig, "one");
	rig.o.memory = NULL;
	setting(&rig, VMSNAP_STATE_KEY, "(none)");
	two = snapshot(&rig, "two");
	put(&rig, 0, 'b');
	leaf_of(&rig, "scsi0:0", leaf);
	stamp(&rig, leaf, now);
	assert_string_not_equal(now, before);
	assert_int_equal(vmsnap_revert(&rig.o, one, NULL), 0);
	setting(&rig, VMSNAP_STATE_KEY, "a-Snapshot1.vmsn");
	leaf_of(&rig, "scsi0:0", leaf);
	stamp(&rig, leaf, now);
	assert_string_equal(now, before);
	put(&rig, 1, 'c');
	stamp(&rig, leaf, now);
	assert_string_not_equal(now, before);
	assert_int_equal(vmsnap_revert(&rig.o, two, NULL), 0);
	setting(&rig, VMSNAP_STATE_KEY, "(none)");
	assert_int_equal(vmsnap_revert(&rig.o, one, NULL), 0);
	/* What the VM goes on with is not the snapshot's alone. */
	assert_int_equal(vmsnap_remove(&rig.o, one, NULL), 0);
	assert_int_equal(vmfs_stat(rig.tv.vol, "/vm/a-Snapshot1.vmsn", &st), 0);
	assert_int_equal(vmedit_apply(&rig.o, &away, 1, NULL), 0);
	setting(&rig, VMSNAP_STATE_KEY, "(none)");
	setting(&rig, "displayName", "a");
	tear_down_vm(&rig);
}

/* Removed with its snapshot; and no file that is not beside the .vmx file. */
static void memory_goes_with_its_snapshot(void **state)
{
	struct vmfs_stat st;
	struct rig rig;
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	write_file(&rig, "/vm/m.vmsn", "memory");
	write_file(&rig, "/other", "not ours");
	rig.o.memory = "/other";
	uint32_t one = snapshot(&rig, "one");
	rig.o.memory = "m.vmsn";
	uint32_t two = snapshot(&rig, "two");
	assert_int_equal(vmsnap_remove(&rig.o, one, NULL), 0);
	assert_int_equal(vmfs_stat(rig.tv.vol, "/other", &st), 0);
	assert_int_equal(vmsnap_remove(&rig.o, two, NULL), 0);
	assert_int_equal(vmfs_stat(rig.tv.vol, "/vm/m.vmsn", &st), -ENOENT);
	tear_down_vm(&rig);
}

/* A linked clone of its base keeps all of it. */
static void a_vm_that_has_a_clone_is_not_destroyed(void **state)
{
	const struct vdisk_snapshot_options how = { .kind = VDISK_DELTA_AUTO };
	struct vmfs_holder holder;
	struct vmfs_stat st;
	struct rig rig;
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	(void)snapshot(&rig, "one");
	unsigned int count = files(&rig);
	assert_int_equal(vmfs_mkdir(rig.tv.vol, "/clone", 0755), 0);
	assert_int_equal(vdisk_snapshot(rig.tv.vol, "/vm/b.vmdk", "/clone/c.vmdk", &how,
					NULL), 0);
	assert_int_equal(vmsnap_destroy(&rig.o, &holder), -EBUSY);
	assert_true(collect_has(&rig.tv.told, "has a linked clone, /clone/c.vmdk"));
	collect_clear(&rig.tv.told);
	assert_int_equal(files(&rig), count);
	/* Wherever it moved. Gone, it keeps nothing. */
	struct vmfs_volume *vol = rig.tv.vol;
	assert_int_equal(vmfs_mkdir(vol, "/far", 0755), 0);
	assert_int_equal(vmfs_rename(vol, "/clone", "/far/away"), 0);
	assert_int_equal(vmsnap_destroy(&rig.o, &holder), -EBUSY);
	assert_true(collect_has(&rig.tv.told, "has a linked clone, /far/away/c.vmdk"));
	collect_clear(&rig.tv.told);
	assert_int_equal(files(&rig), count);
	assert_int_equal(vdisk_remove(vol, "/far/away/c.vmdk", NULL, &holder), 0);
	assert_int_equal(vmsnap_destroy(&rig.o, &holder), 0);
	assert_int_equal(vmfs_stat(vol, "/vm", &st), -ENOENT);
	tear_down_vm(&rig);
}

/* Others' clones may be on volumes that are not seen here: their mark stands. */
static void a_mark_that_others_made_is_believed(void **state)
{
	static const char desc[] =
		"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
		"createType=\"vmfs\"\nRW 1 VMFS \"m-flat.vmdk\"\n"
		"ddb.adapterType = \"lsilogic\"\nddb.deletable = \"false\"\n";
	struct vmfs_holder holder;
	struct rig rig;
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	write_file(&rig, "/vm/m.vmdk", desc);
	write_file(&rig, "/vm/m-flat.vmdk", "");
	assert_int_equal(vdisk_remove(rig.tv.vol, "/vm/m.vmdk", &rig.tv.told.base,
				      &holder), -EPERM);
	assert_true(collect_has(&rig.tv.told, "has linked clones"));
	collect_clear(&rig.tv.told);
	tear_down_vm(&rig);
}

/* All of it goes, and nothing else; and nothing while somebody has one of its disks. */
static void a_vm_is_destroyed(void **state)
{
	const struct vdisk_open_options open = { .flags = VDISK_WRITE };
	struct vdisk *disk;
	char leaf[64];
	const struct vdisk_create_options other = { .capacity_bytes = DISK_SIZE };
	static const struct vmedit alone = { "scsi0:1.mode", "independent-persistent" };
	struct vmfs_holder holder;
	struct vmfs_stat st;
	struct rig rig;
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	struct vmfs_volume *vol = rig.tv.vol;
	write_file(&rig, "/vm/x.iso", "a CD");
	write_file(&rig, "/vm/m.vmsn", "memory");
	assert_int_equal(vdisk_create(vol, "/vm/other.vmdk", &other), 0);
	assert_int_equal(vmedit_apply(&rig.o, &alone, 1, NULL), 0);
	put(&rig, 0, 'a');
	uint32_t one = snapshot(&rig, "one");
	put(&rig, 0, 'b');
	rig.o.memory = "m.vmsn";
	(void)snapshot(&rig, "two");
	assert_int_equal(vmsnap_revert(&rig.o, one, NULL), 0);
	unsigned int count = files(&rig);
	leaf_of(&rig, "scsi0:0", leaf);
	assert_int_equal(vdisk_open(vol, leaf, &open, &disk, NULL), 0);
	assert_int_equal(vmsnap_destroy(&rig.o, &holder), -EBUSY);
	assert_int_equal(files(&rig), count);
	assert_int_equal(vdisk_close(disk), 0);
	assert_int_equal(vmsnap_destroy(&rig.o, &holder), 0);
	assert_int_equal(files(&rig), 3); /* the CD, and a disk of two files */
	assert_int_equal(vmfs_stat(vol, "/vm/other.vmdk", &st), 0);
	assert_int_equal(vdisk_remove(vol, "/vm/other.vmdk", NULL, &holder), 0);
	assert_int_equal(vmfs_unlink(vol, "/vm/x.iso"), 0);
	write_file(&rig, VMX, "displayName = \"no disk\"\n");
	assert_int_equal(vmsnap_destroy(&rig.o, &holder), 0);
	assert_int_equal(vmfs_stat(vol, "/vm", &st), -ENOENT);
	tear_down_vm(&rig);
}

/* A disk is not removed, or scrubbed, under one that is made on it. */
static void a_parent_is_not_removed(void **state)
{
	const struct vdisk_snapshot_options how = { .kind = VDISK_DELTA_AUTO };
	struct vmfs_holder holder;
	struct rig rig;
	(void)state;
	set_up_vm(&rig, VDISK_DELTA_AUTO);
	struct vmfs_volume *vol = rig.tv.vol;
	struct reporter *r = &rig.tv.told.base;
	put(&rig, 0, 'a');
	assert_int_equal(vdisk_snapshot(vol, "/vm/a.vmdk", "/vm/c.vmdk", &how, NULL), 0);
	assert_int_equal(vdisk_remove(vol, "/vm/a.vmdk", r, &holder), -EPERM);
	assert_true(collect_has(&rig.tv.told, "is the parent of c.vmdk"));
	assert_int_equal(vdisk_scrub(vol, "/vm/a.vmdk", NULL, r, &holder), -EPERM);
	holds(&rig, "a...");
	assert_int_equal(vdisk_remove(vol, "/vm/c.vmdk", r, &holder), 0);
	assert_int_equal(vmfs_mkdir(vol, "/clone", 0755), 0);
	assert_int_equal(vdisk_snapshot(vol, "/vm/a.vmdk", "/clone/c.vmdk", &how, NULL),
			 0);
	collect_clear(&rig.tv.told);
	assert_int_equal(vdisk_remove(vol, "/vm/a.vmdk", r, &holder), -EPERM);
	assert_true(collect_has(&rig.tv.told, "has a linked clone, /clone/c.vmdk"));
	assert_int_equal(vdisk_remove(vol, "/vm/b.vmdk", r, &holder), 0);
	collect_clear(&rig.tv.told);
	tear_down_vm(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_is_kept_byte_for_byte),
		cmocka_unit_test(what_is_removed_from_a_list_is_closed_up),
		cmocka_unit_test(a_list_that_cannot_be_is_refused),
		cmocka_unit_test(a_vm_goes_back_and_forth_on_vmfssparse),
		cmocka_unit_test(a_vm_goes_back_and_forth_on_sesparse),
		cmocka_unit_test(a_vm_that_runs_is_left_alone),
		cmocka_unit_test(a_linked_clone_keeps_its_parent_as_it_is),
		cmocka_unit_test(a_linked_clone_keeps_a_parent_that_is_a_child),
		cmocka_unit_test(a_parent_is_not_removed),
		cmocka_unit_test(memory_goes_where_its_disks_go),
		cmocka_unit_test(memory_goes_with_its_snapshot),
		cmocka_unit_test(a_vm_that_has_a_clone_is_not_destroyed),
		cmocka_unit_test(a_mark_that_others_made_is_believed),
		cmocka_unit_test(a_vm_is_destroyed),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
