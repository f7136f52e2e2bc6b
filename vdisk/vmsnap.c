/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of a VM: in which order its files change.
 *
 * The .vmx file says which disks the VM writes (its leaves), the .vmsd file which disks a
 * snapshot must find as they are. Both are replaced in one step. A disk that either names
 * is REFERENCED; a referenced disk and all its parents are never removed, and a disk that
 * a snapshot names is never written.
 *
 * create	1. a child of each leaf  2. .vmx: the children are the leaves  3. .vmsd: a
 *		new snapshot of the old leaves, the current one
 *   crash	before 2: children that nobody names; before 3: a longer chain and no
 *		snapshot, which the next consolidation shortens
 *		of a VM that runs: 1 by vdisk_fork(), and between 2 and 3 the switch of
 *		each disk, after that its vdisk_fork_settle(). A disk is good under its
 *		child at any moment (fork.c), so the steps of create are right for it, too
 * revert	1. a child of each of the snapshot's disks  2. .vmx, which names the
 *		memory of these very disks, or none  3. .vmsd: current
 *		4. the old leaves are removed
 *   crash	before 2: as above; before 3: the VM is at the snapshot, and the list says
 *		that it is elsewhere; doing it again puts that right; before 4: disks that
 *		nobody names
 * remove	1. .vmsd: without it, "needs consolidation"  2. the file of its memory
 *		3. consolidation  4. .vmsd: nothing is needed any more
 *   crash	before 2: a file that nobody names, until a snapshot gets that number;
 *		before 4: the sign stands, and consolidation goes on when asked
 * (Removing all of a VM: vmdestroy.c.)
 */
#include "vdisk/vmfiles.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/env.h"
#include "vdisk/extent.h"

/* ---- changes of several disks ---- */

/* The disks of one operation. */
struct swap {
	unsigned int count;
	char node[VMSD_DISKS_MAX][VMFILES_NODE_SIZE];
	char *from[VMSD_DISKS_MAX]; /* paths; the leaf that was */
	char *to[VMSD_DISKS_MAX];   /* the leaf that will be */
	struct vdisk_fork *fork[VMSD_DISKS_MAX]; /* of a disk that is open here */
	int running[VMSD_DISKS_MAX];		 /* which it is, of those */
};

static void swap_free(struct swap *s)
{
	for (unsigned int i = 0; i < s->count; i++) {
		free(s->from[i]);
		free(s->to[i]);
	}
	free(s);
}

/* Undoes what is made, before any file names it. */
static void swap_undo(struct vmfiles *vm, struct swap *s)
{
	for (unsigned int i = 0; i < s->count; i++) {
		if (s->fork[i])
			vdisk_fork_undo(s->fork[i]);
		else if (s->to[i])
			vmfiles_remove_disk(vm, s->to[i]);
		s->fork[i] = NULL;
	}
}

/* Takes all disks of the .vmx file. */
static int swap_new(struct vmfiles *vm, struct swap **ret_swap)
{
	struct swap *s = calloc(1, sizeof(*s));
	const char *file;
	if (!s)
		return -ENOMEM;
	while (s->count < VMSD_DISKS_MAX &&
	       vmfiles_disk(vm, s->count, s->node[s->count], &file)) {
		s->from[s->count] = vmfiles_path(vm, file);
		if (!s->from[s->count++]) {
			swap_free(s);
			return -ENOMEM;
		}
	}
	*ret_swap = s;
	return 0;
}

/* to[i]: a child of the disk at parent. */
static int make_child(struct vmfiles *vm, struct swap *s, unsigned int i,
		      const char *parent, struct vmfs_holder *ret_holder)
{
	const struct vdisk_snapshot_options how = { .kind = vm->o->kind,
						    .reporter = vm->r };
	char *child = NULL;
	int at = vmfiles_running(vm, parent);
	int rc = vmfiles_child_path(vm, parent, &child);
	if (rc < 0)
		return rc;
	if (at >= 0)
		rc = vdisk_fork(vm->o->running->disks[at], child, &how, &s->fork[i]);
	else
		rc = vdisk_snapshot(vm->o->vol, parent, child, &how, ret_holder);
	if (rc < 0) {
		free(child);
		return rc;
	}
	s->to[i] = child;
	s->running[i] = at;
	return 0;
}

/* The .vmx file with the new leaves. */
static int swap_publish(struct vmfiles *vm, const struct swap *s)
{
	const char *locked[VMSD_DISKS_MAX] = { NULL };
	int rc = 0;
	for (unsigned int i = 0; i < s->count && rc == 0; i++) {
		if (s->to[i])
			rc = vmfiles_set_disk(vm, s->node[i], vmfiles_name(vm, s->to[i]));
		if (s->fork[i])
			locked[s->running[i]] = vdisk_fork_locked_path(s->fork[i]);
	}
	return rc ? rc : vmfiles_publish_vmx(vm, locked);
}

static void switch_one(void *arg)
{
	vdisk_fork_switch(arg);
}

/* The disks that are open here become the new leaves. */
static void swap_switch(struct vmfiles *vm, struct swap *s)
{
	const struct vmsnap_running *running = vm->o->running;
	for (unsigned int i = 0; i < s->count; i++) {
		if (s->fork[i])
			running->quiet(running->arg, (unsigned int)s->running[i],
				       switch_one, s->fork[i]);
	}
	if (running)
		running->confirm(running->arg);
}

/* The snapshot is made: what is told here does not undo it. */
static void swap_settle(struct vmfiles *vm, struct swap *s)
{
	for (unsigned int i = 0; i < s->count; i++) {
		int rc = s->fork[i] ? vdisk_fork_settle(s->fork[i]) : 0;
		s->fork[i] = NULL;
		if (rc < 0)
			report(vm->r, REPORT_WARN, "%s: is not shared with others while"
			       " the VM runs: %s", s->from[i], strerrordesc_np(-rc));
	}
}

/* ---- create ---- */

static int add_snapshot(struct vmfiles *vm, const struct swap *s, const char *name,
			const char *description, uint32_t *ret_uid)
{
	const struct vmsd_snapshot snapshot = { .name = name,
						.description = description,
						.created_us = clock_wall_us(),
						.memory = vm->o->memory };
	int rc = vmsd_add(&vm->vmsd, &snapshot, ret_uid);
	for (unsigned int i = 0; i < s->count && rc == 0; i++)
		rc = vmsd_set_disk(&vm->vmsd, vm->vmsd.count - 1, i, s->node[i],
				   vmfiles_name(vm, s->from[i]));
	return rc;
}

static int create(struct vmfiles *vm, struct swap *s, const char *name,
		  const char *description, uint32_t *ret_uid,
		  struct vmfs_holder *ret_holder)
{
	int rc = 0;
	uint32_t uid;
	if (s->count == 0)
		return report_error(vm->r, -EINVAL, "%s: has no disk for a snapshot",
				    vm->o->vmx);
	for (unsigned int i = 0; i < s->count && rc == 0; i++)
		rc = make_child(vm, s, i, s->from[i], ret_holder);
	if (rc == 0)
		rc = add_snapshot(vm, s, name, description, &uid);
	if (rc == 0)
		rc = swap_publish(vm, s);
	if (rc < 0) {
		swap_undo(vm, s);
		return rc;
	}
	*ret_uid = uid;
	swap_switch(vm, s);
	rc = vmfiles_publish_vmsd(vm);
	swap_settle(vm, s);
	return rc;
}

int vmsnap_create(const struct vmsnap_options *options, const char *name,
		  const char *description, uint32_t *ret_uid,
		  struct vmfs_holder *ret_holder)
{
	struct swap *s = NULL;
	struct vmfiles vm;
	int rc = vmfiles_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	rc = swap_new(&vm, &s);
	if (rc == 0) {
		rc = create(&vm, s, name, description, ret_uid, ret_holder);
		swap_free(s);
	}
	int err = vmfiles_close(&vm);
	return rc ? rc : err;
}

/* ---- consolidation ---- */

int vmsnap_consolidate(const struct vmsnap_options *options,
		       struct vmfs_holder *ret_holder)
{
	struct vmfiles vm;
	int rc = vmfiles_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	rc = vmtree_consolidate(&vm, ret_holder);
	int err = vmfiles_close(&vm);
	return rc ? rc : err;
}

/* ---- remove ---- */

static int find_snapshot(struct vmfiles *vm, uint32_t uid, unsigned int *ret_i)
{
	int i = vmsd_find(&vm->vmsd, uid);
	if (i < 0)
		return report_error(vm->r, -ENOENT, "%s: has no snapshot with id %u",
				    vm->o->vmx, (unsigned int)uid);
	*ret_i = (unsigned int)i;
	return 0;
}

/* Does the VM go on with the memory in this file when it is powered on? */
static bool is_state(const struct vmfiles *vm, const char *path)
{
	const char *state = settings_get(vm->vmx, VMSNAP_STATE_KEY);
	char *named = state && *state ? vmfiles_path(vm, state) : NULL;
	bool is_it = named && strcmp(named, path) == 0;
	free(named);
	return is_it;
}

/* Takes snapshot i off the list; its disks' paths go to *ret_paths. */
static int take_off(struct vmfiles *vm, unsigned int i, char *ret_paths[VMSD_DISKS_MAX],
		    unsigned int *ret_count)
{
	struct vmsd_snapshot s;
	const char *node, *file;
	vmsd_get(&vm->vmsd, i, &s);
	bool is_beside = *s.memory && vdisk_is_beside(s.memory);
	char *memory = is_beside ? vmfiles_path(vm, s.memory) : NULL;
	for (unsigned int d = 0; d < s.disk_count; d++) {
		vmsd_disk(&vm->vmsd, i, d, &node, &file);
		ret_paths[d] = vmfiles_path(vm, file);
		if (!ret_paths[d]) {
			free(memory);
			return -ENOMEM;
		}
		*ret_count = d + 1;
	}
	int rc = vmsd_remove(&vm->vmsd, i);
	if (rc == 0)
		rc = vmsd_set_pending(&vm->vmsd, true);
	if (rc == 0)
		rc = vmfiles_publish_vmsd(vm);
	if (rc == 0 && memory && !is_state(vm, memory))
		vdisk_unlink_leftover(vm->o->vol, memory);
	free(memory);
	return rc;
}

/* Without merging. */
static int remove_one(struct vmfiles *vm, unsigned int i)
{
	char *paths[VMSD_DISKS_MAX];
	unsigned int count = 0;
	int rc = take_off(vm, i, paths, &count);
	for (unsigned int d = 0; d < count; d++) {
		if (rc == 0)
			rc = vmtree_remove_unneeded(vm, paths[d]);
		free(paths[d]);
	}
	return rc;
}

/* The last first: then no disk is removed of which another is made. */
static int remove_all(struct vmfiles *vm, struct vmfs_holder *ret_holder)
{
	int rc = 0;
	while (rc == 0 && vm->vmsd.count)
		rc = remove_one(vm, vm->vmsd.count - 1);
	return rc ? rc : vmtree_consolidate(vm, ret_holder);
}

int vmsnap_remove(const struct vmsnap_options *options, uint32_t uid,
		  struct vmfs_holder *ret_holder)
{
	struct vmfiles vm;
	int rc = vmfiles_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	unsigned int i = 0;
	if (uid)
		rc = find_snapshot(&vm, uid, &i);
	if (uid && rc == 0)
		rc = remove_one(&vm, i);
	if (uid && rc == 0)
		rc = vmtree_consolidate(&vm, ret_holder);
	if (!uid)
		rc = remove_all(&vm, ret_holder);
	int err = vmfiles_close(&vm);
	return rc ? rc : err;
}

/* ---- revert ---- */

/* The snapshot's disk at node, as a path; NULL: it had none there. */
static char *snapshot_path(struct vmfiles *vm, unsigned int i, const char *node)
{
	struct vmsd_snapshot s;
	const char *there, *file;
	vmsd_get(&vm->vmsd, i, &s);
	for (unsigned int d = 0; d < s.disk_count; d++) {
		vmsd_disk(&vm->vmsd, i, d, &there, &file);
		if (!strcasecmp(there, node))
			return vmfiles_path(vm, file);
	}
	return NULL;
}

static int revert(struct vmfiles *vm, struct swap *s, unsigned int i,
		  struct vmfs_holder *ret_holder)
{
	struct vmsd_snapshot snapshot;
	int rc = 0;
	vmsd_get(&vm->vmsd, i, &snapshot);
	for (unsigned int d = 0; d < s->count && rc == 0; d++) {
		char *parent = snapshot_path(vm, i, s->node[d]);
		if (parent)
			rc = make_child(vm, s, d, parent, ret_holder);
		free(parent);
	}
	if (*snapshot.memory && rc == 0)
		rc = settings_set(vm->vmx, VMSNAP_STATE_KEY, snapshot.memory);
	else
		settings_remove(vm->vmx, VMSNAP_STATE_KEY);
	if (rc == 0)
		rc = swap_publish(vm, s);
	if (rc < 0) {
		swap_undo(vm, s);
		return rc;
	}
	rc = vmsd_set_current(&vm->vmsd, snapshot.uid);
	if (rc == 0)
		rc = vmfiles_publish_vmsd(vm);
	for (unsigned int d = 0; d < s->count && rc == 0; d++) {
		if (s->to[d])
			rc = vmtree_remove_unneeded(vm, s->from[d]);
	}
	return rc;
}

int vmsnap_revert(const struct vmsnap_options *options, uint32_t uid,
		  struct vmfs_holder *ret_holder)
{
	struct swap *s = NULL;
	struct vmfiles vm;
	unsigned int i = 0;
	int rc = vmfiles_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	rc = find_snapshot(&vm, uid, &i);
	if (rc == 0)
		rc = swap_new(&vm, &s);
	if (rc == 0) {
		rc = revert(&vm, s, i, ret_holder);
		swap_free(s);
	}
	int err = vmfiles_close(&vm);
	return rc ? rc : err;
}

int vmsnap_list(const struct vmsnap_options *options, struct vmsd *ret_vmsd)
{
	char *path = vmfiles_vmsd_path(options->vmx);
	int rc = path ? vmfiles_load_vmsd(options->vol, path, options->reporter, ret_vmsd)
		      : -ENOMEM;
	free(path);
	return rc;
}
