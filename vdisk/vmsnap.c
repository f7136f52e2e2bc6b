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
 * revert	1. a child of each of the snapshot's disks  2. .vmx  3. .vmsd: current
 *		4. the old leaves are removed
 *   crash	before 2: as above; before 3: the VM is at the snapshot, and the list says
 *		that it is elsewhere; doing it again puts that right; before 4: disks that
 *		nobody names
 * remove	1. .vmsd: without it, "needs consolidation"  2. consolidation  3. .vmsd:
 *		nothing is needed any more
 *   crash	before 3: the sign stands, and consolidation goes on when asked
 *
 * Consolidation looks for a disk P that is not referenced and has one child C, among all
 * disks from the referenced ones up:
 *		1. C is merged into P  2. C's children become P's  3. .vmsd, then .vmx: P
 *		where C stood  4. C is removed
 *   crash	anywhere: C and P read the same from 1 on, and P is not written before
 *		.vmx names it; until then all of it can be done again.
 */
#include "vdisk/vmsnap.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "base/env.h"
#include "vdisk/extent.h"

#define SUFFIX ".vmdk"
#define FILE_NAME ".fileName"
#define CHILDREN_MAX 1000000u

/* A VM whose .vmx file is locked. */
struct vm {
	const struct vmsnap_options *o;
	struct reporter *r;
	struct vmfs_file *lock; /* the .vmx file as it is now */
	struct settings *vmx;
	char *vmsd_path;
	struct vmsd vmsd;
};

/* ---- the two files ---- */

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

static int load_vmsd(struct vmfs_volume *vol, const char *path, struct reporter *r,
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

/*
 * Puts settings under path in one step. *file is the file that has the name, open and
 * locked, and so is the one that gets it: nobody else can have path's lock between. NULL:
 * nobody has it open.
 */
static int publish(struct vmfs_volume *vol, const char *path, const struct settings *s,
		   struct vmfs_file **file)
{
	char *temporary = vdisk_temporary(path);
	struct vmfs_file *fresh = NULL;
	int rc = temporary ? write_temporary(vol, temporary, s, &fresh) : -ENOMEM;
	if (rc < 0) {
		free(temporary);
		return rc;
	}
	rc = file ? vmfs_rename_flags(vol, temporary, path, VMFS_RENAME_EXCHANGE) :
		    vmfs_rename(vol, temporary, path);
	bool is_through = rc == 0;
	struct vmfs_file *old = is_through ? file ? *file : fresh : fresh;
	int err = vmfs_file_close(old);
	if (is_through && file)
		*file = fresh;
	if (file || !is_through)
		vdisk_unlink_leftover(vol, temporary);
	free(temporary);
	return rc ? rc : err;
}

static int publish_vmsd(struct vm *vm)
{
	return publish(vm->o->vol, vm->vmsd_path, vm->vmsd.settings, NULL);
}

static int publish_vmx(struct vm *vm)
{
	return publish(vm->o->vol, vm->o->vmx, vm->vmx, &vm->lock);
}

/* "/vm/a.vmx": "/vm/a.vmsd" */
static char *vmsd_path_of(const char *vmx)
{
	char *path;
	const char *dot = strrchr(vmx, '.');
	int len = dot && !strchr(dot, '/') ? (int)(dot - vmx) : (int)strlen(vmx);
	return asprintf(&path, "%.*s.vmsd", len, vmx) < 0 ? NULL : path;
}

static int vm_close(struct vm *vm)
{
	int rc = vmfs_file_close(vm->lock);
	settings_free(vm->vmx);
	vmsd_done(&vm->vmsd);
	free(vm->vmsd_path);
	return rc;
}

static int vm_open(struct vm *vm, const struct vmsnap_options *o,
		   struct vmfs_holder *ret_holder)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct buf text = { 0 };
	*vm = (struct vm){ .o = o, .r = o->reporter, .vmsd_path = vmsd_path_of(o->vmx) };
	int rc = vm->vmsd_path ? vmfs_file_open(o->vol, o->vmx, &how, &vm->lock,
						ret_holder) : -ENOMEM;
	if (rc == 0)
		rc = read_text(vm->lock, &text);
	if (rc == 0)
		rc = settings_parse(text.data, text.len, o->vmx, vm->r, &vm->vmx);
	if (rc == 0)
		rc = load_vmsd(o->vol, vm->vmsd_path, vm->r, &vm->vmsd);
	buf_done(&text);
	if (rc < 0)
		(void)vm_close(vm); /* nothing was written */
	return rc;
}

/* ---- the VM's disks ---- */

/* "scsi0:1" of "scsi0:1.fileName", if that names a disk that snapshots are of. */
static bool is_disk(const struct vm *vm, const char *key, const char *file,
		    char node[static 32])
{
	char other[64];
	size_t len = strlen(key), end = sizeof(FILE_NAME) - 1, file_len = strlen(file);
	if (len <= end || len - end >= 32 || strcasecmp(key + len - end, FILE_NAME) != 0)
		return false;
	(void)snprintf(node, 32, "%.*s", (int)(len - end), key);
	if (!strchr(node, ':') || file_len < sizeof(SUFFIX) ||
	    strcasecmp(file + file_len - (sizeof(SUFFIX) - 1), SUFFIX) != 0)
		return false;
	(void)snprintf(other, sizeof(other), "%s.present", node);
	const char *present = settings_get(vm->vmx, other);
	(void)snprintf(other, sizeof(other), "%s.mode", node);
	const char *mode = settings_get(vm->vmx, other);
	return !(present && !strcasecmp(present, "FALSE")) &&
	       !(mode && !strncasecmp(mode, "independent", 11));
}

/* Disk i of the .vmx file; false past the last. */
static bool vmx_disk(const struct vm *vm, unsigned int i, char node[static 32],
		     const char **ret_file)
{
	const char *key;
	for (unsigned int n = 0; settings_entry(vm->vmx, n, &key, ret_file); n++) {
		if (is_disk(vm, key, *ret_file, node) && i-- == 0)
			return true;
	}
	return false;
}

static int set_vmx_disk(struct vm *vm, const char *node, const char *file)
{
	char key[64];
	(void)snprintf(key, sizeof(key), "%s" FILE_NAME, node);
	return settings_set(vm->vmx, key, file);
}

/* As a path of the volume: file is one, or beside the .vmx file. malloc'ed. */
static char *path_of(const struct vm *vm, const char *file)
{
	return *file == '/' ? strdup(file) : vdisk_sibling(vm->o->vmx, file);
}

/* path, as the .vmx and .vmsd files say it. */
static const char *file_of(const struct vm *vm, const char *path)
{
	return vdisk_relative(vm->o->vmx, path);
}

/* One of the VM's own: a parent in another folder is of those it was cloned from. */
static bool is_own(const struct vm *vm, const char *path)
{
	return file_of(vm, path) != path;
}

/* "/vm/a-000003.vmdk", "/vm/a.vmdk": 6 bytes more than "/vm/a" are no part of it. */
static int stem_len(const char *path)
{
	size_t len = strlen(path) - (sizeof(SUFFIX) - 1);
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
	static const char *const ends[] = { SUFFIX, "-delta.vmdk", "-sesparse.vmdk" };
	int stem = (int)(strlen(path) - (sizeof(SUFFIX) - 1));
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

/* A child of the disk at parent, under the next free name beside the .vmx file. */
static int make_child(struct vm *vm, const char *parent, char **ret_child,
		      struct vmfs_holder *ret_holder)
{
	const struct vdisk_snapshot_options how = { .kind = vm->o->kind,
						    .reporter = vm->r };
	const char *file = strrchr(parent, '/') + 1;
	char *child = NULL;
	for (unsigned int n = 1; n < CHILDREN_MAX; n++) {
		char *name;
		if (asprintf(&name, "%.*s-%06u" SUFFIX, stem_len(file), file, n) < 0)
			return -ENOMEM;
		child = vdisk_sibling(vm->o->vmx, name);
		free(name);
		if (!child || is_free_name(vm->o->vol, child))
			break;
		free(child);
		child = NULL;
	}
	int rc = child ? vdisk_snapshot(vm->o->vol, parent, child, &how, ret_holder) :
			 -ENOMEM;
	if (rc < 0)
		free(child);
	else
		*ret_child = child;
	return rc;
}

/* ---- changes of several disks ---- */

/* The disks of one operation. */
struct swap {
	unsigned int count;
	char node[VMSD_DISKS_MAX][32];
	char *from[VMSD_DISKS_MAX]; /* paths; the leaf that was */
	char *to[VMSD_DISKS_MAX];   /* the leaf that will be */
};

static void swap_free(struct swap *s)
{
	for (unsigned int i = 0; i < s->count; i++) {
		free(s->from[i]);
		free(s->to[i]);
	}
	free(s);
}

static void remove_disk(struct vm *vm, const char *path)
{
	int rc = vdisk_remove(vm->o->vol, path, vm->r, NULL);
	if (rc < 0)
		report(vm->r, REPORT_WARN, "%s: is not needed any more, and cannot be"
		       " removed: %s", path, strerrordesc_np(-rc));
}

/* Undoes what is made, before any file names it. */
static void swap_undo(struct vm *vm, struct swap *s)
{
	for (unsigned int i = 0; i < s->count; i++) {
		if (s->to[i])
			remove_disk(vm, s->to[i]);
	}
}

/* Takes all disks of the .vmx file. */
static int swap_new(struct vm *vm, struct swap **ret_swap)
{
	struct swap *s = calloc(1, sizeof(*s));
	const char *file;
	if (!s)
		return -ENOMEM;
	while (s->count < VMSD_DISKS_MAX &&
	       vmx_disk(vm, s->count, s->node[s->count], &file)) {
		s->from[s->count] = path_of(vm, file);
		if (!s->from[s->count++]) {
			swap_free(s);
			return -ENOMEM;
		}
	}
	*ret_swap = s;
	return 0;
}

/* The .vmx file with the new leaves. */
static int swap_publish(struct vm *vm, const struct swap *s)
{
	int rc = 0;
	for (unsigned int i = 0; i < s->count && rc == 0; i++) {
		if (s->to[i])
			rc = set_vmx_disk(vm, s->node[i], file_of(vm, s->to[i]));
	}
	return rc ? rc : publish_vmx(vm);
}

/* ---- create ---- */

static int add_snapshot(struct vm *vm, const struct swap *s, const char *name,
			const char *description, uint32_t *ret_uid)
{
	const struct vmsd_snapshot snapshot = { .name = name,
						.description = description,
						.created_us = clock_wall_us() };
	int rc = vmsd_add(&vm->vmsd, &snapshot, ret_uid);
	for (unsigned int i = 0; i < s->count && rc == 0; i++)
		rc = vmsd_set_disk(&vm->vmsd, vm->vmsd.count - 1, i, s->node[i],
				   file_of(vm, s->from[i]));
	return rc;
}

static int create(struct vm *vm, struct swap *s, const char *name,
		  const char *description, uint32_t *ret_uid,
		  struct vmfs_holder *ret_holder)
{
	int rc = 0;
	uint32_t uid;
	if (s->count == 0)
		return report_error(vm->r, -EINVAL, "%s: has no disk for a snapshot",
				    vm->o->vmx);
	for (unsigned int i = 0; i < s->count && rc == 0; i++)
		rc = make_child(vm, s->from[i], &s->to[i], ret_holder);
	if (rc == 0)
		rc = add_snapshot(vm, s, name, description, &uid);
	if (rc == 0)
		rc = swap_publish(vm, s);
	if (rc < 0) {
		swap_undo(vm, s);
		return rc;
	}
	*ret_uid = uid;
	return publish_vmsd(vm);
}

int vmsnap_create(const struct vmsnap_options *options, const char *name,
		  const char *description, uint32_t *ret_uid,
		  struct vmfs_holder *ret_holder)
{
	struct swap *s = NULL;
	struct vm vm;
	int rc = vm_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	rc = swap_new(&vm, &s);
	if (rc == 0) {
		rc = create(&vm, s, name, description, ret_uid, ret_holder);
		swap_free(s);
	}
	int err = vm_close(&vm);
	return rc ? rc : err;
}

/* ---- who needs which disk ---- */

/* Calls fn with the path of each referenced disk until it says something. */
static int each_reference(struct vm *vm, int (*fn)(void *arg, const char *path),
			  void *arg)
{
	char buf[32];
	const char *file, *node;
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && vmx_disk(vm, i, buf, &file); i++) {
		char *path = path_of(vm, file);
		rc = path ? fn(arg, path) : -ENOMEM;
		free(path);
	}
	for (unsigned int i = 0; rc == 0 && i < vm->vmsd.count; i++) {
		struct vmsd_snapshot s;
		vmsd_get(&vm->vmsd, i, &s);
		for (unsigned int d = 0; rc == 0 && d < s.disk_count; d++) {
			vmsd_disk(&vm->vmsd, i, d, &node, &file);
			char *path = path_of(vm, file);
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
	struct vm *vm;
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

static int tree_make(struct vm *vm, struct tree *ret_tree)
{
	*ret_tree = (struct tree){ .vm = vm };
	int rc = each_reference(vm, tree_add, ret_tree);
	if (rc < 0)
		tree_free(ret_tree);
	return rc;
}

/* Removes the disk at path and its parents, up to the first that is needed. */
static int remove_unneeded(struct vm *vm, const char *path)
{
	struct tree tree;
	char *at = strdup(path);
	int rc = tree_make(vm, &tree);
	while (rc == 0 && at && is_own(vm, at) && !tree_find(&tree, at)) {
		char *above = NULL;
		rc = vdisk_parent(vm->o->vol, at, vm->r, &above);
		if (rc == 0)
			remove_disk(vm, at);
		free(at);
		at = above;
	}
	free(at);
	tree_free(&tree);
	return rc == -ENOENT ? 0 : rc;
}

/* ---- consolidation ---- */

/* P where C stood, in both files. */
static int rename_references(struct vm *vm, const char *from, const char *to)
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
			if (!strcmp(file, file_of(vm, from)))
				rc = vmsd_set_disk(&vm->vmsd, i, d, own, file_of(vm, to));
		}
	}
	if (rc == 0)
		rc = publish_vmsd(vm);
	for (unsigned int i = 0; rc == 0 && vmx_disk(vm, i, buf, &file); i++) {
		if (!strcmp(file, file_of(vm, from)))
			rc = set_vmx_disk(vm, buf, file_of(vm, to));
	}
	return rc ? rc : publish_vmx(vm);
}

/* One step: C into its parent P. */
static int merge_into_parent(struct vm *vm, struct tree *tree, const struct node *c,
			     struct vmfs_holder *ret_holder)
{
	const struct node *p = c->parent;
	int rc = vdisk_merge(vm->o->vol, c->path, p->path, vm->o->progress, vm->r,
			     ret_holder);
	for (const struct node *n = tree->all; n && rc == 0; n = n->next) {
		if (n->parent == c)
			rc = vdisk_relink(vm->o->vol, n->path, p->path, vm->r);
	}
	if (rc == 0)
		rc = rename_references(vm, c->path, p->path);
	if (rc == 0)
		remove_disk(vm, c->path);
	return rc;
}

/* May c be merged into its parent? */
static bool is_candidate(const struct vm *vm, const struct node *c)
{
	const struct node *p = c->parent;
	return p && !p->is_referenced && p->children == 1 && is_own(vm, p->path) &&
	       is_own(vm, c->path);
}

/*
 * 1: a step was done, 0: nothing is left to do, -errno. From the top on: so that what one
 * delta has is copied once.
 */
static int consolidate_step(struct vm *vm, struct vmfs_holder *ret_holder)
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

static int consolidate(struct vm *vm, struct vmfs_holder *ret_holder)
{
	int rc = 1;
	while (rc > 0)
		rc = consolidate_step(vm, ret_holder);
	if (rc == 0 && vmsd_is_pending(&vm->vmsd)) {
		rc = vmsd_set_pending(&vm->vmsd, false);
		if (rc == 0)
			rc = publish_vmsd(vm);
	}
	return rc;
}

int vmsnap_consolidate(const struct vmsnap_options *options,
		       struct vmfs_holder *ret_holder)
{
	struct vm vm;
	int rc = vm_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	rc = consolidate(&vm, ret_holder);
	int err = vm_close(&vm);
	return rc ? rc : err;
}

/* ---- remove ---- */

static int find_snapshot(struct vm *vm, uint32_t uid, unsigned int *ret_i)
{
	int i = vmsd_find(&vm->vmsd, uid);
	if (i < 0)
		return report_error(vm->r, -ENOENT, "%s: has no snapshot with id %u",
				    vm->o->vmx, (unsigned int)uid);
	*ret_i = (unsigned int)i;
	return 0;
}

/* Takes snapshot i off the list; its disks' paths go to *ret_paths. */
static int take_off(struct vm *vm, unsigned int i, char *ret_paths[VMSD_DISKS_MAX],
		    unsigned int *ret_count)
{
	struct vmsd_snapshot s;
	const char *node, *file;
	vmsd_get(&vm->vmsd, i, &s);
	for (unsigned int d = 0; d < s.disk_count; d++) {
		vmsd_disk(&vm->vmsd, i, d, &node, &file);
		ret_paths[d] = path_of(vm, file);
		if (!ret_paths[d])
			return -ENOMEM;
		*ret_count = d + 1;
	}
	int rc = vmsd_remove(&vm->vmsd, i);
	if (rc == 0)
		rc = vmsd_set_pending(&vm->vmsd, true);
	return rc ? rc : publish_vmsd(vm);
}

/* Without merging. */
static int remove_one(struct vm *vm, unsigned int i)
{
	char *paths[VMSD_DISKS_MAX];
	unsigned int count = 0;
	int rc = take_off(vm, i, paths, &count);
	for (unsigned int d = 0; d < count; d++) {
		if (rc == 0)
			rc = remove_unneeded(vm, paths[d]);
		free(paths[d]);
	}
	return rc;
}

/* The last first: then no disk is removed of which another is made. */
static int remove_all(struct vm *vm, struct vmfs_holder *ret_holder)
{
	int rc = 0;
	while (rc == 0 && vm->vmsd.count)
		rc = remove_one(vm, vm->vmsd.count - 1);
	return rc ? rc : consolidate(vm, ret_holder);
}

int vmsnap_remove(const struct vmsnap_options *options, uint32_t uid,
		  struct vmfs_holder *ret_holder)
{
	struct vm vm;
	int rc = vm_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	unsigned int i = 0;
	if (uid)
		rc = find_snapshot(&vm, uid, &i);
	if (uid && rc == 0)
		rc = remove_one(&vm, i);
	if (uid && rc == 0)
		rc = consolidate(&vm, ret_holder);
	if (!uid)
		rc = remove_all(&vm, ret_holder);
	int err = vm_close(&vm);
	return rc ? rc : err;
}

/* ---- revert ---- */

/* The snapshot's disk at node, as a path; NULL: it had none there. */
static char *snapshot_path(struct vm *vm, unsigned int i, const char *node)
{
	struct vmsd_snapshot s;
	const char *there, *file;
	vmsd_get(&vm->vmsd, i, &s);
	for (unsigned int d = 0; d < s.disk_count; d++) {
		vmsd_disk(&vm->vmsd, i, d, &there, &file);
		if (!strcasecmp(there, node))
			return path_of(vm, file);
	}
	return NULL;
}

static int revert(struct vm *vm, struct swap *s, unsigned int i,
		  struct vmfs_holder *ret_holder)
{
	struct vmsd_snapshot snapshot;
	int rc = 0;
	vmsd_get(&vm->vmsd, i, &snapshot);
	for (unsigned int d = 0; d < s->count && rc == 0; d++) {
		char *parent = snapshot_path(vm, i, s->node[d]);
		if (parent)
			rc = make_child(vm, parent, &s->to[d], ret_holder);
		free(parent);
	}
	if (rc == 0)
		rc = swap_publish(vm, s);
	if (rc < 0) {
		swap_undo(vm, s);
		return rc;
	}
	rc = vmsd_set_current(&vm->vmsd, snapshot.uid);
	if (rc == 0)
		rc = publish_vmsd(vm);
	for (unsigned int d = 0; d < s->count && rc == 0; d++) {
		if (s->to[d])
			rc = remove_unneeded(vm, s->from[d]);
	}
	return rc;
}

int vmsnap_revert(const struct vmsnap_options *options, uint32_t uid,
		  struct vmfs_holder *ret_holder)
{
	struct swap *s = NULL;
	struct vm vm;
	unsigned int i = 0;
	int rc = vm_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	rc = find_snapshot(&vm, uid, &i);
	if (rc == 0)
		rc = swap_new(&vm, &s);
	if (rc == 0) {
		rc = revert(&vm, s, i, ret_holder);
		swap_free(s);
	}
	int err = vm_close(&vm);
	return rc ? rc : err;
}

int vmsnap_list(const struct vmsnap_options *options, struct vmsd *ret_vmsd)
{
	char *path = vmsd_path_of(options->vmx);
	int rc = path ? load_vmsd(options->vol, path, options->reporter, ret_vmsd) :
			-ENOMEM;
	free(path);
	return rc;
}
