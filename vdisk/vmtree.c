/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which disks of a VM are needed, and merging those that are not.
 *
 * Consolidation looks for a disk P that is not referenced and has one child C, among all
 * disks from the referenced ones up:
 *		1. C is merged into P  2. C's children become P's  3. .vmsd, then .vmx: P
 *		where C stood  4. C is removed
 *   crash	anywhere: C and P read the same from 1 on, and P is not written before
 *		.vmx names it; until then all of it can be done again.
 *
 * If C is the disk of a VM that runs here, or one that it is made of, it is merged as a
 * sink (vdisk_sink, sink.c), which also ends with both reading the same, whatever the
 * guest writes: 1 is its copy, and between 3 and 4 the disk that is open lets go of C
 * (its switch and settle). Before 3 the sink can be given up; a C that the guest writes
 * no more is let go of even if 3 fails, since what is open is not what is named.
 */
#include "vdisk/vmfiles.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vdisk/extent.h"

/* Calls fn with the path of each referenced disk until it says something. */
static int each_reference(struct vmfiles *vm, int (*fn)(void *arg, const char *path),
			  void *arg)
{
	char buf[32];
	const char *file, *node;
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && vmfiles_disk(vm, i, buf, &file); i++) {
		char *path = vmfiles_path(vm, file);
		rc = path ? fn(arg, path) : -ENOMEM;
		free(path);
	}
	for (unsigned int i = 0; rc == 0 && i < vm->vmsd.count; i++) {
		struct vmsd_snapshot s;
		vmsd_get(&vm->vmsd, i, &s);
		for (unsigned int d = 0; rc == 0 && d < s.disk_count; d++) {
			vmsd_disk(&vm->vmsd, i, d, &node, &file);
			char *path = vmfiles_path(vm, file);
			rc = path ? fn(arg, path) : -ENOMEM;
			free(path);
		}
	}
	return rc;
}

/* A disk from a referenced one up. */
struct node {
	char *path;
	struct node *parent, *next;
	unsigned int children;
	bool is_referenced;
};

struct tree {
	struct vmfiles *vm;
	struct node *all;
};

static void tree_free(struct tree *t)
{
	while (t->all) {
		struct node *n = t->all;
		t->all = n->next;
		free(n->path);
		free(n);
	}
}

static struct node *tree_find(struct tree *t, const char *path)
{
	struct node *n = t->all;
	while (n && strcmp(n->path, path) != 0)
		n = n->next;
	return n;
}

static struct node *tree_put(struct tree *t, const char *path)
{
	struct node *n = calloc(1, sizeof(*n));
	if (!n || (n->path = strdup(path)) == NULL) {
		free(n);
		return NULL;
	}
	n->next = t->all;
	t->all = n;
	return n;
}

/* Puts a referenced disk in, and what is above it. */
static int tree_add(void *arg, const char *path)
{
	struct tree *t = arg;
	struct node *n = tree_find(t, path), *below = NULL;
	char *at = n ? NULL : strdup(path);
	int rc = 0;
	if (n)
		n->is_referenced = true;
	else if (!at)
		return -ENOMEM;
	while (at && rc == 0) {
		bool is_known = (n = tree_find(t, at)) != NULL;
		char *above = NULL;
		if (!is_known && (n = tree_put(t, at)) == NULL)
			rc = -ENOMEM;
		if (rc == 0 && below) {
			below->parent = n;
			n->children++;
		} else if (rc == 0) {
			n->is_referenced = true;
		}
		if (rc == 0 && !is_known)
			rc = vdisk_parent(t->vm->o->vol, at, t->vm->r, &above);
		below = n;
		free(at);
		at = rc == 0 ? above : NULL;
	}
	return rc;
}

static int tree_make(struct vmfiles *vm, struct tree *ret_tree)
{
	*ret_tree = (struct tree){ .vm = vm };
	int rc = each_reference(vm, tree_add, ret_tree);
	if (rc < 0)
		tree_free(ret_tree);
	return rc;
}

int vmtree_remove_unneeded(struct vmfiles *vm, const char *path)
{
	struct tree tree;
	char *at = strdup(path);
	int rc = tree_make(vm, &tree);
	while (rc == 0 && at && vmfiles_is_own(vm, at) && !tree_find(&tree, at)) {
		char *above = NULL;
		rc = vdisk_parent(vm->o->vol, at, vm->r, &above);
		if (rc == 0)
			vmfiles_remove_disk(vm, at);
		free(at);
		at = above;
	}
	free(at);
	tree_free(&tree);
	return rc == -ENOENT ? 0 : rc;
}

/* ---- consolidation ---- */

/* P where C stood, in both files. locked: as vmfiles_publish_vmx() has it. */
static int rename_references(struct vmfiles *vm, const char *from, const char *to,
			     const char *const *locked)
{
	char buf[32];
	const char *file, *node;
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && i < vm->vmsd.count; i++) {
		struct vmsd_snapshot s;
		vmsd_get(&vm->vmsd, i, &s);
		for (unsigned int d = 0; rc == 0 && d < s.disk_count; d++) {
			char own[32];
			vmsd_disk(&vm->vmsd, i, d, &node, &file);
			(void)snprintf(own, sizeof(own), "%s", node);
			if (!strcmp(file, vmfiles_name(vm, from)))
				rc = vmsd_set_disk(&vm->vmsd, i, d, own,
						   vmfiles_name(vm, to));
		}
	}
	if (rc == 0)
		rc = vmfiles_publish_vmsd(vm);
	for (unsigned int i = 0; rc == 0 && vmfiles_disk(vm, i, buf, &file); i++) {
		if (!strcmp(file, vmfiles_name(vm, from)))
			rc = vmfiles_set_disk(vm, buf, vmfiles_name(vm, to));
	}
	return rc ? rc : vmfiles_publish_vmx(vm, locked);
}

/* C's children become P's; the disk at path is open here, and may be one of them. */
static int relink_children(struct vmfiles *vm, const struct tree *tree,
			   const struct node *c)
{
	int rc = 0;
	for (const struct node *n = tree->all; n && rc == 0; n = n->next) {
		int at = n->parent == c ? vmfiles_running(vm, n->path) : -ENOENT;
		if (n->parent == c && at >= 0)
			rc = vdisk_relink_open(vm->o->running->disks[at], c->parent->path,
					       vm->r);
		else if (n->parent == c)
			rc = vdisk_relink(vm->o->vol, n->path, c->parent->path, vm->r);
	}
	return rc;
}

/* ---- of a VM that runs ---- */

static void start_sink(void *arg)
{
	vdisk_sink_start(arg);
}

static void switch_sink(void *arg)
{
	vdisk_sink_switch(arg);
}

static void abandon_sink(void *arg)
{
	vdisk_sink_abandon(arg);
}

/* From 2 on. *ret_is_gone: the open disk is to let go of C. */
static int name_parent(struct vmfiles *vm, const struct tree *tree, const struct node *c,
		       struct vdisk_sink *sink, unsigned int at, bool *ret_is_gone)
{
	const char *locked[VMSD_DISKS_MAX] = { NULL };
	bool is_leaf = vdisk_sink_locked_path(sink) != NULL;
	locked[at] = vdisk_sink_locked_path(sink);
	int rc = relink_children(vm, tree, c);
	*ret_is_gone = rc == 0 && !is_leaf;
	if (rc == 0)
		rc = rename_references(vm, c->path, c->parent->path, locked);
	if (rc == 0 && is_leaf) {
		vdisk_sink_named(sink);
		*ret_is_gone = true;
	}
	return rc;
}

/* C is what the open disk `at` is made of, or is it. */
static int sink_into_parent(struct vmfiles *vm, const struct tree *tree,
			    const struct node *c, unsigned int at,
			    struct vmfs_holder *ret_holder)
{
	const struct vmsnap_running *running = vm->o->running;
	struct vdisk_sink *sink;
	bool is_gone = false;
	int rc = vdisk_sink(running->disks[at], c->path, vm->r, &sink, ret_holder);
	if (rc < 0)
		return rc;
	running->quiet(running->arg, at, start_sink, sink);
	rc = vdisk_sink_copy(sink, vm->o->progress);
	if (rc == 0)
		rc = name_parent(vm, tree, c, sink, at, &is_gone);
	running->quiet(running->arg, at, is_gone ? switch_sink : abandon_sink, sink);
	if (is_gone)
		running->confirm(running->arg);
	int err = vdisk_sink_settle(sink);
	if (err < 0)
		report(vm->r, REPORT_WARN, "%s: is not shared with others while the VM"
		       " runs: %s", c->parent->path, strerrordesc_np(-err));
	return rc;
}

/* One step: C into its parent P. */
static int merge_into_parent(struct vmfiles *vm, struct tree *tree, const struct node *c,
			     struct vmfs_holder *ret_holder)
{
	const struct node *p = c->parent;
	int at = vmfiles_running_on(vm, c->path), rc;
	if (at >= 0) {
		rc = sink_into_parent(vm, tree, c, (unsigned int)at, ret_holder);
	} else {
		rc = vdisk_merge(vm->o->vol, c->path, p->path, vm->o->progress, vm->r,
				 ret_holder);
		if (rc == 0)
			rc = relink_children(vm, tree, c);
		if (rc == 0)
			rc = rename_references(vm, c->path, p->path, NULL);
	}
	if (rc == 0)
		vmfiles_remove_disk(vm, c->path);
	return rc;
}

/* May c be merged into its parent? */
static bool is_candidate(const struct vmfiles *vm, const struct node *c)
{
	const struct node *p = c->parent;
	return p && !p->is_referenced && p->children == 1 &&
	       vmfiles_is_own(vm, p->path) && vmfiles_is_own(vm, c->path);
}

/*
 * 1: a step was done, 0: nothing is left to do, -errno. From the top on: so that what one
 * delta has is copied once.
 */
static int consolidate_step(struct vmfiles *vm, struct vmfs_holder *ret_holder)
{
	struct tree tree;
	int rc = tree_make(vm, &tree);
	if (rc < 0)
		return rc;
	const struct node *c = tree.all;
	while (c && !(is_candidate(vm, c) && !is_candidate(vm, c->parent)))
		c = c->next;
	if (c)
		rc = merge_into_parent(vm, &tree, c, ret_holder);
	tree_free(&tree);
	return rc < 0 ? rc : c != NULL;
}

int vmtree_consolidate(struct vmfiles *vm, struct vmfs_holder *ret_holder)
{
	int rc = 1;
	while (rc > 0)
		rc = consolidate_step(vm, ret_holder);
	if (rc == 0 && vmsd_is_pending(&vm->vmsd)) {
		rc = vmsd_set_pending(&vm->vmsd, false);
		if (rc == 0)
			rc = vmfiles_publish_vmsd(vm);
	}
	return rc;
}
