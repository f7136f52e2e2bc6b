/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk of a VM that runs grows in three steps: 1. its files and its descriptor, while
 * the guest goes on (vdisk/extend.c); a crash leaves the old size or the new one. 2. The
 * open disk and what serves it, while no request is at it. 3. QEMU is told by vmx
 * (vmx/grow.c). What ends between 2 and 3 is put right by asking again, for the same
 * size; and whoever starts the VM next sees it anyway.
 *
 * Meanwhile the VM is busy, as with snapshots (vm_snapshot.c). One that is off has no
 * need of us: vmkfstools -X.
 */
#include "vmkernel/vm_grow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vdisk/vdisk.h"
#include "vmkernel/control.h"
#include "vmkernel/vmx/vmxfile.h"

struct growing {
	struct vm *vm;
	struct requester who;
	char node[32];
	uint64_t size;
	uint32_t disk;
	bool is_told;
	int rc;
	char why[VM_WHY_SIZE];
};

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* The open disk whose descriptor's name that is: all lie in the VM's folder. */
static int find_disk(struct growing *g, const char *file)
{
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		struct vdisk *disk = disk_vdisk(g->vm->disks[i]);
		if (disk && !strcmp(name_of(vdisk_path(disk)), name_of(file))) {
			g->disk = i;
			return 0;
		}
	}
	return -ENOENT;
}

/* As the .vmx file says now: a snapshot changes it. */
static int find(struct growing *g)
{
	struct vmxfile *f;
	char key[64];
	int rc = 0;
	AUTO_FREE char *text = vm_read_all(g->vm->config, &rc);
	if (rc == 0)
		rc = vmxfile_parse(text, strlen(text), g->vm->path, NULL, &f);
	if (rc < 0)
		return rc;
	(void)snprintf(key, sizeof(key), "%s.fileName", g->node);
	const char *file = vmxfile_get(f, key);
	rc = file ? find_disk(g, file) : -ENOENT;
	vmxfile_free(f);
	return rc;
}

static void work(void *arg)
{
	struct growing *g = arg;
	g->rc = find(g);
	if (g->rc < 0)
		(void)snprintf(g->why, sizeof(g->why), "VM %u: %s: %s", g->vm->id,
			       g->node, g->rc == -ENOENT ? "has no such disk" :
							   strerror(-g->rc));
	else
		g->rc = disk_grow(g->vm->disks[g->disk], g->size, g->vm->host->reporter,
				  &g->is_told, g->why, sizeof(g->why));
}

static void done(void *arg)
{
	struct growing *g = arg;
	struct vm *vm = g->vm;
	bool is_on = vm->state == VM_ON && !vm->is_ending && vm->channel.sock >= 0;
	vm->is_busy = false;
	vm->has_job = false;
	host_datastore_put(vm->host, vm->ds);
	if (g->rc == 0 && is_on && g->is_told)
		vm_disk_grown(vm, g->who, g->disk, g->size);
	else
		control_reply(vm->host->control, g->who, g->rc, g->why,
			      json_pack("{s:s}", "note", "the disk has grown; the guest"
					" sees it when it is powered on next"));
	free(g);
	vm_settle(vm);
}

static const char *why_not(const struct vm *vm)
{
	if (vm->state == VM_OFF)
		return "is off: its disks grow by vmkfstools -X";
	if (vm->state != VM_ON || vm->has_job || vm->is_ending)
		return "is being powered on or off";
	if (vm->is_busy || vm->grow.is_set)
		return "is busy: it is moved, or a snapshot or a disk of it is changed";
	return vm->ds->is_lost ? "its datastore is lost" : NULL;
}

void vm_grow_request(struct vm *vm, struct requester who, const json_t *body)
{
	char text[VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	const char *why = why_not(vm);
	struct growing *g = why ? NULL : calloc(1, sizeof(*g));
	if (!g) {
		(void)snprintf(text, sizeof(text), "VM %u (%s): %s", vm->id,
			       vm_file_text(vm, NULL, file, sizeof(file)),
			       why ? why : "no memory");
		control_reply(vm->host->control, who, why ? -EBUSY : -ENOMEM, text, NULL);
		return;
	}
	g->vm = vm;
	g->who = who;
	(void)snprintf(g->node, sizeof(g->node), "%.31s", msg_text(body, "disk"));
	g->size = (uint64_t)json_integer_value(json_object_get(body, "size"));
	vm->ds->users++;
	vm->is_busy = vm->has_job = true;
	if (loop_job(vm->host->loop, "vm-grow", work, done, g) == 0)
		return;
	g->rc = -ENOMEM;
	(void)snprintf(g->why, sizeof(g->why), "no memory");
	done(g);
}
