/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and replacing the .vmx and .vmsd files of a VM. Keys that are not known, their
 * order and comments stay (settings.c). A file is replaced by another that is written
 * under a name for the time being, durable, and renamed: after a crash it is the old one
 * or the new one.
 */
#include "vdisk/vmfiles.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "vdisk/extent.h"

#define FILE_NAME ".fileName"
#define CHILDREN_MAX 1000000u

static int read_text(struct vmfs_file *file, struct buf *out)
{
	char *text = io_alloc(SETTINGS_MAX_BYTES + 1);
	int64_t len = text ? vmfs_file_read(file, text, SETTINGS_MAX_BYTES + 1, 0) :
			     -ENOMEM;
	if (len > 0)
		buf_add(out, text, (size_t)len);
	free(text);
	return len < 0 ? (int)len : out->error;
}

int vmfiles_load_vmsd(struct vmfs_volume *vol, const char *path, struct reporter *r,
		     struct vmsd *ret_vmsd)
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_file *file;
	struct buf text = { 0 };
	int rc = vmfs_file_open(vol, path, &how, &file, NULL);
	if (rc == 0) {
		rc = read_text(file, &text);
		(void)vmfs_file_close(file); /* was only read */
	} else if (rc == -ENOENT) {
		rc = 0;
	}
	if (rc == 0)
		rc = vmsd_parse(text.data, text.len, path, r, ret_vmsd);
	buf_done(&text);
	return rc;
}

/* The text under a name for the time being, whole and durable; open and locked. */
static int write_temporary(struct vmfs_volume *vol, const char *path,
			   const struct settings *s, struct vmfs_file **ret_file)
{
	const struct vmfs_file_options how = {
		.flags = VMFS_CREATE | VMFS_EXCL | VMFS_WRITE, .mode = 0600
	};
	struct buf text = { 0 };
	struct vmfs_file *file;
	settings_text(s, &text);
	int rc = text.error ? text.error :
			      vmfs_file_open(vol, path, &how, &file, NULL);
	if (rc == 0) {
		rc = vmfs_file_write(file, text.data, text.len, 0);
		if (rc == 0)
			rc = vmfs_file_sync(file);
		if (rc == 0) {
			*ret_file = file;
		} else {
			(void)vmfs_file_close(file); /* it goes */
			vdisk_unlink_leftover(vol, path);
		}
	}
	buf_done(&text);
	return rc;
}

/* What was written is durable before its name; closing it can lose nothing. */
static void close_written(struct vmfiles *vm, struct vmfs_file *file)
{
	int rc = vmfs_file_close(file);
	if (rc < 0)
		report(vm->r, REPORT_WARN, "%s: giving its lock back: %s", vm->o->vmx,
		       strerrordesc_np(-rc));
}

int vmfiles_publish_vmsd(struct vmfiles *vm)
{
	struct vmfs_volume *vol = vm->o->vol;
	char *temporary = vdisk_temporary(vm->vmsd_path);
	struct vmfs_file *fresh = NULL;
	int rc = temporary ? write_temporary(vol, temporary, vm->vmsd.settings, &fresh) :
			     -ENOMEM;
	if (rc == 0) {
		rc = vmfs_rename(vol, temporary, vm->vmsd_path);
		close_written(vm, fresh);
		if (rc < 0)
			vdisk_unlink_leftover(vol, temporary);
	}
	free(temporary);
	return rc;
}

/*
 * The file that has the name, open and locked, changes places with one that is locked as
 * well: nobody else can have the lock between.
 */
int vmfiles_publish_vmx(struct vmfiles *vm, const char *const *locked)
{
	const struct vmsnap_running *running = vm->o->running;
	struct vmfs_volume *vol = vm->o->vol;
	char *temporary = vdisk_temporary(vm->o->vmx);
	struct vmfs_file *fresh = NULL;
	int rc = temporary ? write_temporary(vol, temporary, vm->vmx, &fresh) : -ENOMEM;
	if (rc < 0) {
		free(temporary);
		return rc;
	}
	if (running)
		rc = running->announce(running->arg, temporary, locked);
	if (rc == 0)
		rc = vmfs_rename_flags(vol, temporary, vm->o->vmx, VMFS_RENAME_EXCHANGE);
	close_written(vm, rc == 0 ? vm->lock : fresh);
	if (rc == 0)
		vm->lock = fresh;
	vdisk_unlink_leftover(vol, temporary);
	free(temporary);
	return rc;
}

char *vmfiles_vmsd_path(const char *vmx)
{
	char *path;
	const char *dot = strrchr(vmx, '.');
	int len = dot && !strchr(dot, '/') ? (int)(dot - vmx) : (int)strlen(vmx);
	return asprintf(&path, "%.*s.vmsd", len, vmx) < 0 ? NULL : path;
}

int vmfiles_close(struct vmfiles *vm)
{
	int rc = 0;
	if (vm->o->running)
		*vm->o->running->vmx = vm->lock;
	else
		rc = vmfs_file_close(vm->lock);
	settings_free(vm->vmx);
	vmsd_done(&vm->vmsd);
	free(vm->vmsd_path);
	return rc;
}

int vmfiles_open(struct vmfiles *vm, const struct vmsnap_options *o,
		   struct vmfs_holder *ret_holder)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct buf text = { 0 };
	*vm = (struct vmfiles){ .o = o,
				.r = o->reporter,
				.vmsd_path = vmfiles_vmsd_path(o->vmx) };
	int rc = vm->vmsd_path ? 0 : -ENOMEM;
	if (o->running)
		vm->lock = *o->running->vmx;
	else if (rc == 0)
		rc = vmfs_file_open(o->vol, o->vmx, &how, &vm->lock, ret_holder);
	if (rc == 0)
		rc = read_text(vm->lock, &text);
	if (rc == 0)
		rc = settings_parse(text.data, text.len, o->vmx, vm->r, &vm->vmx);
	if (rc == 0)
		rc = vmfiles_load_vmsd(o->vol, vm->vmsd_path, vm->r, &vm->vmsd);
	buf_done(&text);
	if (rc < 0)
		(void)vmfiles_close(vm); /* nothing was written */
	return rc;
}

/* ---- the VM's disks ---- */

/* "scsi0:1" of "scsi0:1.fileName", if that names a disk that snapshots are of. */
static bool is_disk(const struct vmfiles *vm, const char *key, const char *file,
		    char node[static VMFILES_NODE_SIZE])
{
	char other[64];
	size_t len = strlen(key), end = sizeof(FILE_NAME) - 1, file_len = strlen(file);
	if (len <= end || len - end >= 32 || strcasecmp(key + len - end, FILE_NAME) != 0)
		return false;
	(void)snprintf(node, 32, "%.*s", (int)(len - end), key);
	if (!strchr(node, ':') || file_len < sizeof(VMFILES_SUFFIX) ||
	    strcasecmp(file + file_len - (sizeof(VMFILES_SUFFIX) - 1), VMFILES_SUFFIX) !=
		    0)
		return false;
	(void)snprintf(other, sizeof(other), "%s.present", node);
	const char *present = settings_get(vm->vmx, other);
	(void)snprintf(other, sizeof(other), "%s.mode", node);
	const char *mode = settings_get(vm->vmx, other);
	return !(present && !strcasecmp(present, "FALSE")) &&
	       !(mode && !strncasecmp(mode, "independent", 11));
}

/* Disk i of the .vmx file; false past the last. */
bool vmfiles_disk(const struct vmfiles *vm, unsigned int i,
		  char node[static VMFILES_NODE_SIZE], const char **ret_file)
{
	const char *key;
	for (unsigned int n = 0; settings_entry(vm->vmx, n, &key, ret_file); n++) {
		if (is_disk(vm, key, *ret_file, node) && i-- == 0)
			return true;
	}
	return false;
}

int vmfiles_set_disk(struct vmfiles *vm, const char *node, const char *file)
{
	char key[64];
	(void)snprintf(key, sizeof(key), "%s" FILE_NAME, node);
	return settings_set(vm->vmx, key, file);
}

/* As a path of the volume: file is one, or beside the .vmx file. malloc'ed. */
char *vmfiles_path(const struct vmfiles *vm, const char *file)
{
	return *file == '/' ? strdup(file) : vdisk_sibling(vm->o->vmx, file);
}

const char *vmfiles_name(const struct vmfiles *vm, const char *path)
{
	return vdisk_relative(vm->o->vmx, path);
}

bool vmfiles_is_own(const struct vmfiles *vm, const char *path)
{
	return vmfiles_name(vm, path) != path;
}

/* "/vm/a-000003.vmdk", "/vm/a.vmdk": 6 bytes more than "/vm/a" are no part of it. */
static int stem_len(const char *path)
{
	size_t len = strlen(path) - (sizeof(VMFILES_SUFFIX) - 1);
	if (len > 7 && path[len - 7] == '-') {
		size_t digits = 0;
		while (digits < 6 && isdigit((unsigned char)path[len - 6 + digits]))
			digits++;
		if (digits == 6)
			len -= 7;
	}
	return (int)len;
}

static bool is_free_name(struct vmfs_volume *vol, const char *path)
{
	static const char *const ends[] = { VMFILES_SUFFIX, "-delta.vmdk",
					    "-sesparse.vmdk" };
	int stem = (int)(strlen(path) - (sizeof(VMFILES_SUFFIX) - 1));
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct vmfs_stat st;
		char *name;
		if (asprintf(&name, "%.*s%s", stem, path, ends[i]) < 0)
			return false;
		int rc = vmfs_stat(vol, name, &st);
		free(name);
		if (rc != -ENOENT)
			return false;
	}
	return true;
}

int vmfiles_child_path(struct vmfiles *vm, const char *parent, char **ret_path)
{
	const char *file = strrchr(parent, '/') + 1;
	for (unsigned int n = 1; n < CHILDREN_MAX; n++) {
		char *name, *path;
		if (asprintf(&name, "%.*s-%06u" VMFILES_SUFFIX, stem_len(file), file, n) <
		    0)
			return -ENOMEM;
		path = vdisk_sibling(vm->o->vmx, name);
		free(name);
		if (!path)
			return -ENOMEM;
		if (is_free_name(vm->o->vol, path)) {
			*ret_path = path;
			return 0;
		}
		free(path);
	}
	return -EEXIST;
}

void vmfiles_remove_disk(struct vmfiles *vm, const char *path)
{
	int rc = vdisk_remove(vm->o->vol, path, vm->r, NULL);
	if (rc < 0)
		report(vm->r, REPORT_WARN, "%s: is not needed any more, and cannot be"
		       " removed: %s", path, strerrordesc_np(-rc));
}

int vmfiles_running_on(const struct vmfiles *vm, const char *path)
{
	const struct vmsnap_running *running = vm->o->running;
	for (unsigned int i = 0; running && i < running->disk_count; i++) {
		if (running->disks[i] && vdisk_is_made_of(running->disks[i], path))
			return (int)i;
	}
	return -ENOENT;
}

int vmfiles_running(const struct vmfiles *vm, const char *path)
{
	const struct vmsnap_running *running = vm->o->running;
	for (unsigned int i = 0; running && i < running->disk_count; i++) {
		if (running->disks[i] && !strcmp(running->disks[i]->path, path))
			return (int)i;
	}
	return -ENOENT;
}
