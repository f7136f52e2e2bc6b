/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders, and the note: STATEDIR/vms/ID.move, {from, to: UUIDs of datastores, vmx: the
 * path on both, files: what goes at the source in the end}. It is written when the folder
 * at the destination is there and empty, so all that a later vmkernel finds in that one
 * is the move's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "vdisk/settings.h"
#include "vdisk/vmsnap.h"
#include "vmfs/format.h"
#include "vmkernel/inventory.h"
#include "vmkernel/relocation.h"
#include "vmkernel/statefile.h"
#include "vmkernel/vmx/vmxfile.h"

#define ENTRIES 32u
#define FILE_MAX (16u << 20) /* of one that is no disk: logs, settings of firmware */
#define LEFT_WAIT_NS (60 * NS_PER_S) /* for locks that a dead vmkernel of ours has */
#define LEFT_PAUSE NS_PER_S
#define PATH_SIZE 512u
#define NAME_SIZE 48u

static const char *note_path(const struct vm *vm, char *buf)
{
	char name[NAME_SIZE];
	(void)snprintf(name, sizeof(name), "vms/%u.move", vm->id);
	return host_path(vm->host, name, buf);
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool ends_in(const char *name, const char *suffix)
{
	size_t len = strlen(name), end = strlen(suffix);
	return len > end && strcasecmp(name + len - end, suffix) == 0;
}

/* ---- the folder, entry by entry ---- */

/* Calls fn for each file; the first error ends it. */
static int each_file(struct vmfs_volume *vol, const char *folder,
		     int (*fn)(void *arg, const struct vmfs_dirent *e), void *arg)
{
	AUTO_FREE struct vmfs_dirent *all = calloc(ENTRIES, sizeof(*all));
	struct vmfs_stat st;
	uint64_t cookie = 0;
	int count, rc = all ? vmfs_stat(vol, folder, &st) : -ENOMEM;
	while (rc == 0 && (count = vmfs_readdir(vol, st.addr, cookie, all, ENTRIES))) {
		if (count < 0)
			return count;
		for (int i = 0; rc == 0 && i < count; i++)
			if (strcmp(all[i].name, ".") && strcmp(all[i].name, ".."))
				rc = fn(arg, &all[i]);
		cookie = all[count - 1].cookie;
	}
	return rc;
}

static int refuse_entry(void *arg, const struct vmfs_dirent *e)
{
	(void)arg;
	(void)e;
	return -ENOTEMPTY;
}

struct first {
	char name[128];
};

static int take_first(void *arg, const struct vmfs_dirent *e)
{
	struct first *f = arg;
	(void)snprintf(f->name, sizeof(f->name), "%s", e->name);
	return 1;
}

/* Of a dead vmkernel of ours the locks are free soon. */
static int unlink_soon(struct vmfs_volume *vol, const char *path)
{
	uint64_t until = clock_now() + LEFT_WAIT_NS;
	int rc;
	while ((rc = vmfs_unlink(vol, path)) == -EBUSY && clock_now() < until)
		task_sleep_until(clock_now() + LEFT_PAUSE);
	return rc;
}

/* With all that is in it; what is a folder in there stays, and so does this one. */
static int remove_folder(struct vmfs_volume *vol, const char *folder)
{
	char path[PATH_SIZE];
	struct first f;
	int rc;
	while ((rc = each_file(vol, folder, take_first, &f)) == 1) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, f.name);
		rc = unlink_soon(vol, path);
		if (rc < 0)
			return rc;
	}
	return rc ? rc : vmfs_rmdir(vol, folder);
}

/* What the source has left: disks by their descriptors, and the small files. */
static void remove_files(struct host *h, struct datastore *ds, const char *folder,
			 const json_t *files)
{
	char path[PATH_SIZE];
	json_t *one;
	size_t i;
	json_array_foreach(files, i, one) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder,
			       json_string_value(one));
		int rc = ends_in(path, ".vmdk") ?
				 vdisk_remove(ds->vol, path, h->reporter, NULL) :
				 unlink_soon(ds->vol, path);
		if (rc < 0 && rc != -ENOENT)
			report(h->reporter, REPORT_WARN,
			       "[%s] %s is left over from a VM that was moved: %s",
			       ds->label, path + 1, strerror(-rc));
	}
	int rc = vmfs_rmdir(ds->vol, folder);
	if (rc < 0 && rc != -ENOENT)
		report(h->reporter, REPORT_INFO, "[%s] %s stays: %s", ds->label,
		       folder + 1, strerror(-rc));
}

/* ---- what is to be moved ---- */

static int look_at_disk(struct relocation *r, const struct disk *front)
{
	struct vdisk *disk = disk_vdisk(front);
	struct vmfs_volume *vol = r->from->vol;
	AUTO_FREE char *parent = NULL;
	if (disk_is_flash(front))
		return relocation_fails(r, -EOPNOTSUPP, "has UEFI firmware, which writes "
					"to its .nvram file");
	if (!disk)
		return relocation_fails(r, -EOPNOTSUPP, "has a CD image in a drive");
	const char *path = vdisk_path(disk), *name = name_of(path);
	size_t len = strlen(r->folder);
	if (strncmp(path, r->folder, len) != 0 || name != path + len + 1)
		return relocation_fails(r, -EOPNOTSUPP, "%s is not in the VM's folder",
					path);
	if (vdisk_is_encrypted(disk))
		return relocation_fails(r, -EOPNOTSUPP, "%s is encrypted", name);
	int rc = vdisk_parent(vol, path, r->host->reporter, &parent);
	if (rc < 0)
		return relocation_fails(r, rc, "%s: %s", name, strerror(-rc));
	if (parent)
		return relocation_fails(r, -EOPNOTSUPP, "%s is made on another disk: it "
					"has snapshots, or is a linked clone", name);
	if (vdisk_type(disk) > VDISK_EAGERZEROEDTHICK || vdisk_extent_count(disk) != 1)
		return relocation_fails(r, -EOPNOTSUPP, "%s is neither a thin nor a "
					"thick disk", name);
	rc = vdisk_check_changeable(disk, r->host->reporter);
	if (rc < 0)
		return relocation_fails(r, rc, "%s: another disk is made on it", name);
	return json_array_append_new(r->files, json_string(name));
}

static int look_for_snapshots(struct relocation *r)
{
	const struct vmsnap_options o = { .vol = r->from->vol,
					  .vmx = r->vm->path,
					  .reporter = r->host->reporter };
	struct vmsd v;
	int rc = vmsnap_list(&o, &v);
	if (rc < 0)
		return rc;
	if (v.count || vmsd_is_pending(&v))
		rc = relocation_fails(r, -EOPNOTSUPP, "has snapshots: they are removed "
				      "before it is moved");
	vmsd_done(&v);
	return rc;
}

/* Disks that are named by a path are named by their names from now on. */
static int change_text(struct relocation *r, const char *old)
{
	struct settings *s;
	struct buf out = { 0 };
	const char *key, *value;
	char name[128], copy[128];
	int rc = settings_parse(old, strlen(old), r->vm->path, r->host->reporter, &s);
	if (rc < 0)
		return rc;
	for (unsigned int i = 0; rc == 0 && settings_entry(s, i, &key, &value); i++) {
		if (!ends_in(key, ".fileName") || !ends_in(value, ".vmdk") ||
		    !strchr(value, '/'))
			continue;
		(void)snprintf(name, sizeof(name), "%s", name_of(value));
		(void)snprintf(copy, sizeof(copy), "%s", key);
		rc = settings_set(s, copy, name);
	}
	settings_text(s, &out);
	settings_free(s);
	buf_add(&out, "", 1);
	if (rc == 0)
		rc = out.error;
	if (rc < 0)
		buf_done(&out);
	else
		r->text = out.data;
	return rc;
}

static bool is_disk_or_vmx(const char *name)
{
	return ends_in(name, ".vmdk") || ends_in(name, ".vmx") || ends_in(name, ".lck") ||
	       ends_in(name, ".moved");
}

static int copy_file(void *arg, const struct vmfs_dirent *e)
{
	struct relocation *r = arg;
	char path[PATH_SIZE];
	const struct vmfs_file_options in = { .flags = VMFS_READ };
	const struct vmfs_file_options out = { .flags = VMFS_WRITE | VMFS_CREATE,
					       .mode = 0600 };
	struct vmfs_file *from = NULL, *to = NULL;
	if (e->type != VMFS_TYPE_FILE || is_disk_or_vmx(e->name))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s", r->folder, e->name);
	AUTO_FREE char *buf = malloc(FILE_MAX);
	int rc = buf ? vmfs_file_open(r->from->vol, path, &in, &from, NULL) : -ENOMEM;
	int64_t len = rc == 0 ? vmfs_file_read(from, buf, FILE_MAX, 0) : rc;
	(void)vmfs_file_close(from); /* it was only read */
	if (len >= (int64_t)FILE_MAX)
		len = -EFBIG;
	rc = len < 0 ? (int)len : vmfs_file_open(r->to->vol, path, &out, &to, NULL);
	if (rc == 0 && len)
		rc = vmfs_file_write(to, buf, (uint64_t)len, 0);
	int err = vmfs_file_close(to);
	rc = rc ? rc : err;
	return rc < 0 ? relocation_fails(r, rc, "%s: %s", e->name, strerror(-rc)) : 0;
}

static int note_file(void *arg, const struct vmfs_dirent *e)
{
	struct relocation *r = arg;
	if (e->type == VMFS_TYPE_FILE && !is_disk_or_vmx(e->name))
		json_array_append_new(r->files, json_string(e->name));
	return 0;
}

int relocation_copy_files(struct relocation *r)
{
	return each_file(r->from->vol, r->folder, copy_file, r);
}

int relocation_look(struct relocation *r)
{
	int rc = 0;
	if (!*r->folder)
		return relocation_fails(r, -EOPNOTSUPP, "has no folder of its own");
	r->files = json_pack("[s]", name_of(r->gone));
	AUTO_FREE char *text = vm_read_all(r->vm->config, &rc);
	if (!text || !r->files)
		return rc ? rc : -ENOMEM;
	rc = look_for_snapshots(r);
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_DISKS_MAX; i++)
		if (r->vm->disks[i])
			rc = look_at_disk(r, r->vm->disks[i]);
	if (rc == 0)
		rc = each_file(r->from->vol, r->folder, note_file, r);
	return rc ? rc : change_text(r, text);
}

/* ---- the way there ---- */

static int write_note(struct relocation *r)
{
	char name[NAME_SIZE];
	(void)snprintf(name, sizeof(name), "vms/%u.move", r->vm->id);
	json_t *note = json_pack("{s:s, s:s, s:s, s:O}", "from", r->from->uuid_text, "to",
				 r->to->uuid_text, "vmx", r->vmx, "files", r->files);
	AUTO_FREE char *text = note ? json_dumps(note, JSON_INDENT(1)) : NULL;
	json_decref(note);
	return text ? host_write_text(r->host, name, text, 0640) : -ENOMEM;
}

int relocation_prepare(struct relocation *r)
{
	int rc = vmfs_mkdir(r->to->vol, r->folder, 0755);
	if (rc == -EEXIST)
		rc = each_file(r->to->vol, r->folder, refuse_entry, NULL);
	if (rc < 0)
		return relocation_fails(r, rc, "[%s] %s: %s", r->to->label,
					r->folder + 1, strerror(-rc));
	rc = write_note(r);
	r->has_note = rc == 0;
	return rc;
}

int relocation_write_config(struct relocation *r)
{
	const struct vmfs_file_options o = { .flags = VMFS_WRITE | VMFS_CREATE |
						      VMFS_EXCL,
					     .mode = 0600 };
	int rc = vmfs_file_open(r->to->vol, r->coming, &o, &r->config, NULL);
	if (rc == 0)
		rc = vmfs_file_write(r->config, r->text, strlen(r->text), 0);
	return rc ? rc : vmfs_file_sync(r->config);
}

void relocation_undo_files(struct relocation *r)
{
	char path[HOST_PATH_SIZE];
	if (!r->has_note)
		return;
	int rc = remove_folder(r->to->vol, r->folder);
	if (rc < 0 && rc != -ENOENT) {
		report(r->host->reporter, REPORT_WARN,
		       "VM %u: [%s] %s is left over and goes when vmkernel starts: %s",
		       r->vm->id, r->to->label, r->folder + 1, strerror(-rc));
		return;
	}
	(void)unlink(note_path(r->vm, path));
}

void relocation_clean(struct relocation *r)
{
	char path[HOST_PATH_SIZE];
	remove_files(r->host, r->from, r->folder, r->files);
	(void)unlink(note_path(r->vm, path));
}

/* ---- after a death ---- */

static struct datastore *store_of(struct host *h, const char *uuid)
{
	struct datastore *ds;
	TAILQ_FOREACH(ds, &h->datastores, link)
		if (!ds->is_lost && strcmp(ds->uuid_text, uuid) == 0)
			return ds;
	return NULL;
}

/*
 * What the dead one had begun to change in the folder is done, or is not: whoever changes
 * it next takes over its lock, and with it its journal. The .vmx file's own lock stays as
 * it is: its token tells whether somebody else had the VM (lapse.c).
 */
static int settle_folder(struct vmfs_volume *vol, const char *folder)
{
	uint64_t until = clock_now() + LEFT_WAIT_NS;
	char path[PATH_SIZE];
	int rc;
	(void)snprintf(path, sizeof(path), "%s/.move", folder);
	while ((rc = vmfs_mkdir(vol, path, 0700)) == -EBUSY && clock_now() < until)
		task_sleep_until(clock_now() + LEFT_PAUSE);
	if (rc == 0 || rc == -EEXIST)
		rc = vmfs_rmdir(vol, path);
	return rc == -ENOENT ? 0 : rc; /* the folder is gone, too */
}

/* The old .vmx file is gone: the VM is at the destination. */
static int settle_there(struct vm *vm, struct datastore *from, struct datastore *to,
			const char *folder, const json_t *files)
{
	char coming[PATH_SIZE];
	struct vmfs_stat st;
	(void)snprintf(coming, sizeof(coming), "%s.move", vm->path);
	int rc = vmfs_stat(to->vol, vm->path, &st);
	if (rc == -ENOENT)
		rc = vmfs_rename(to->vol, coming, vm->path);
	if (rc < 0)
		return rc;
	vm->ds_uuid = to->uuid;
	rc = inventory_save(vm->host);
	if (rc == 0)
		remove_files(vm->host, from, folder, files);
	return rc;
}

static int settle_vm(struct vm *vm, const json_t *note)
{
	struct host *h = vm->host;
	struct datastore *from = store_of(h, msg_text(note, "from"));
	struct datastore *to = store_of(h, msg_text(note, "to"));
	struct vmfs_stat st;
	if (!from || !to || strcmp(msg_text(note, "vmx"), vm->path) != 0)
		return -ENODEV;
	AUTO_FREE char *folder =
		strndup(vm->path, (size_t)(strrchr(vm->path, '/') - vm->path));
	if (!folder || !*folder)
		return -EINVAL;
	int rc = settle_folder(from->vol, folder);
	if (rc == 0)
		rc = vmfs_stat(from->vol, vm->path, &st);
	if (rc == 0) {
		rc = remove_folder(to->vol, folder);
		rc = rc == -ENOENT ? 0 : rc;
	} else if (rc == -ENOENT) {
		rc = settle_there(vm, from, to, folder, json_object_get(note, "files"));
	}
	if (rc == 0)
		report(h->reporter, REPORT_WARN, "VM %u: its move from datastore %s to %s"
		       " was cut off: it is on %s", vm->id, from->label, to->label,
		       vm_datastore(vm) == to ? to->label : from->label);
	return rc;
}

void relocate_settle(struct host *h)
{
	struct vm *vm;
	char path[HOST_PATH_SIZE];
	TAILQ_FOREACH(vm, &h->vms, link) {
		int rc = 0;
		AUTO_FREE char *text = statefile_read(note_path(vm, path), &rc);
		json_t *note = text ? json_loads(text, 0, NULL) : NULL;
		if (!note)
			continue;
		rc = settle_vm(vm, note);
		json_decref(note);
		if (rc == 0)
			(void)unlink(path);
		else
			report(h->reporter, REPORT_WARN, "%s: it is not known on which "
			       "datastore VM %u is: %s", path, vm->id, strerror(-rc));
	}
}
