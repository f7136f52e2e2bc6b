/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel has open of one file, however often, is ONE struct opened with one
 * struct vmfs_file, so that who reads sees what another has written, and the on-disk lock
 * is taken once:
 *
 *	          first handle                 a handle that writes
 *	(none) ----------------> read unlocked --------------------> locked, exclusive
 *	   ^                        |     ^                             |
 *	   '------------------------'     '-----------------------------'
 *	         last handle               the last that writes: committed, lock given
 *	                                   back
 *
 * Invariants:
 * 1. `file` is exchanged only by who has set is_changing and has seen users become 0;
 *    who uses it is counted in users and does not begin while is_changing.
 * 2. The lock is held as long as a handle may write, and until all that was written is
 *    committed. Close (flush) commits too, so that its error is told to who closes.
 * 3. While a name goes (holds), and after it has gone, the lock stays, though who wrote
 *    closes: else the file would go with it, from under who reads.
 * 4. handles and writers count what the kernel holds; an opened without handles does not
 *    exist.
 */
#include "fuse/opened.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>
#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

#include "base/report.h"
#include "bdev/worker.h"

#define FIRST_WAIT_NS (4500 * NS_PER_MS) /* more than a heartbeat interval */
#define SILENCE_NS (4 * NS_PER_S)	 /* no heartbeat for so long: perhaps dead */
#define AGAIN_TASKS 4u /* for what a device cannot do at once */
#define GIVE_UP_NS (90 * NS_PER_S)	 /* a take-over lasts no longer: LOCKING.md 14 */

struct opened {
	UT_hash_handle hh;
	struct opened_table *table;
	fuse_ino_t ino;
	struct cond c;
	struct vmfs_file *file;	/* NULL: could not be opened again */
	struct vdisk *disk;	/* instead, of a number of vdisks.c */
	struct bdev *device;	/* of the file, once it was asked for, or NULL */
	unsigned int handles, writers, users, holds;
	LIST_HEAD(, handle) list; /* under a change */
	bool is_changing;
	/* has no name: its lock stays until the last handle goes */
	bool is_unlinked;
};

struct handle {
	struct opened *opened;
	LIST_ENTRY(handle) link; /* opened->list */
	bool may_write;
	bool is_hold; /* the kernel's it is not */
};

/* ---- the table ---- */

void opened_init(struct opened_table *t, struct vmfs_volume *vol, struct vdisks *vdisks,
		 struct reporter *r)
{
	*t = (struct opened_table){ .vol = vol, .vdisks = vdisks, .reporter = r };
	mutex_init(&t->m);
}

static bool is_open(struct opened_table *t, fuse_ino_t ino)
{
	struct opened *o;
	mutex_lock(&t->m);
	HASH_FIND(hh, t->first, &ino, sizeof(ino), o);
	mutex_unlock(&t->m);
	return o != NULL;
}

bool opened_has_any(struct opened_table *t)
{
	mutex_lock(&t->m);
	bool has_any = t->first;
	mutex_unlock(&t->m);
	return has_any;
}

bool opened_is_unlinked(struct opened_table *t, fuse_ino_t ino)
{
	struct opened *o;
	mutex_lock(&t->m);
	HASH_FIND(hh, t->first, &ino, sizeof(ino), o);
	bool is_unlinked = o && o->is_unlinked;
	mutex_unlock(&t->m);
	return is_unlinked;
}

/* Under m: until nobody uses or changes it. */
static void wait_for_change(struct opened *o)
{
	while (o->is_changing)
		cond_wait(&o->c, &o->table->m);
	o->is_changing = true;
	while (o->users)
		cond_wait(&o->c, &o->table->m);
}

/* Found or made, with one handle more; the caller may change it. */
static struct opened *enter(struct opened_table *t, fuse_ino_t ino)
{
	struct opened *o;
	mutex_lock(&t->m);
	HASH_FIND(hh, t->first, &ino, sizeof(ino), o);
	if (!o) {
		o = calloc(1, sizeof(*o));
		if (o) {
			o->table = t;
			o->ino = ino;
			cond_init(&o->c);
			HASH_ADD(hh, t->first, ino, sizeof(o->ino), o);
		}
	}
	if (o) {
		o->handles++;
		wait_for_change(o);
	}
	mutex_unlock(&t->m);
	return o;
}

static void begin_change(struct opened *o)
{
	mutex_lock(&o->table->m);
	wait_for_change(o);
	mutex_unlock(&o->table->m);
}

/* The end of a change that leaves `gone` handles less. */
static void end_change(struct opened *o, unsigned int gone)
{
	struct opened_table *t = o->table;
	mutex_lock(&t->m);
	o->handles -= gone;
	o->is_changing = false;
	bool is_last = o->handles == 0;
	if (is_last)
		HASH_DEL(t->first, o);
	else
		cond_broadcast(&o->c);
	mutex_unlock(&t->m);
	if (is_last) {
		cond_done(&o->c);
		free(o);
	}
}

static struct vmfs_file *use(struct opened *o)
{
	struct mutex *m = &o->table->m;
	mutex_lock(m);
	while (o->is_changing)
		cond_wait(&o->c, m);
	o->users++;
	struct vmfs_file *file = o->file;
	mutex_unlock(m);
	return file;
}

/* With the mutex held. The pool is there from the first device on. */
static bool set_device(struct opened *o, struct bdev *device)
{
	struct opened_table *t = o->table;
	if (!t->pool)
		t->pool = worker_pool_new("fuse-again", AGAIN_TASKS);
	if (!t->pool || o->device)
		return false;
	bdev_set_pool(device, t->pool);
	o->device = device;
	return true;
}

/* In use. NULL: no memory. */
static struct bdev *make_device(struct opened *o)
{
	struct bdev *device;
	if (vmfs_file_bdev(o->file, &device) < 0)
		return NULL;
	mutex_lock(&o->table->m);
	bool is_set = set_device(o, device);
	struct bdev *now = o->device;
	mutex_unlock(&o->table->m);
	if (!is_set)
		bdev_close(device); /* another was faster */
	return now;
}

/* Under a change, before the file goes. */
static void close_device(struct opened *o)
{
	bdev_close(o->device);
	o->device = NULL;
}

static void unuse(struct opened *o)
{
	struct mutex *m = &o->table->m;
	mutex_lock(m);
	if (--o->users == 0)
		cond_broadcast(&o->c);
	mutex_unlock(m);
}

struct vmfs_file *handle_use(struct handle *h)
{
	return use(h->opened);
}

void handle_unuse(struct handle *h)
{
	unuse(h->opened);
}

struct vdisk *handle_use_disk(struct handle *h)
{
	(void)use(h->opened);
	return h->opened->disk;
}

struct bdev *handle_use_device(struct handle *h, struct vmfs_file **ret_file)
{
	struct opened *o = h->opened;
	mutex_lock(&o->table->m);
	bool is_mapped = !o->is_changing && o->file &&
			 (o->writers || vmfs_file_is_followed(o->file));
	o->users += is_mapped;
	struct bdev *device = o->device;
	mutex_unlock(&o->table->m);
	if (!is_mapped)
		return NULL;
	if (!device)
		device = make_device(o);
	if (!device) {
		unuse(o);
		return NULL;
	}
	*ret_file = o->file;
	return device;
}

struct vdisk *handle_use_alone(struct handle *h)
{
	begin_change(h->opened);
	return h->opened->disk;
}

void handle_unuse_alone(struct handle *h)
{
	end_change(h->opened, 0);
}

bool handle_may_write(const struct handle *h)
{
	return h->may_write;
}

void opened_drain(struct opened_table *t)
{
	struct opened *o, *next;
	mutex_lock(&t->m);
	HASH_ITER(hh, t->first, o, next) {
		while (o->users)
			cond_wait(&o->c, &t->m);
	}
	mutex_unlock(&t->m);
}

/* ---- opening and closing ---- */

static void report_holder(struct opened_table *t, struct vmfs_node node,
			  const struct vmfs_holder *holder)
{
	char text[VMFS_HOLDER_TEXT_SIZE];
	report(t->reporter, REPORT_WARN, "file descriptor %u.%u: busy: %s",
	       addr_cluster(node.addr), addr_index(node.addr),
	       vmfs_holder_text(holder, text));
}

/* What is open of a number: one of the two. */
struct content {
	struct vmfs_file *file;
	struct vdisk *disk;
};

static int content_open(struct opened_table *t, fuse_ino_t ino, bool may_write,
			uint64_t deadline, struct content *ret,
			struct vmfs_holder *ret_holder)
{
	const struct vmfs_file_options options = {
		.flags = may_write ? VMFS_WRITE : VMFS_READ, .deadline = deadline,
	};
	*ret = (struct content){ NULL, NULL };
	if (vdisks_owns(ino))
		return vdisks_open(t->vdisks, ino, may_write, deadline, &ret->disk,
				   ret_holder);
	return vmfs_node_open(t->vol, node_of_ino(ino), &options, &ret->file, ret_holder);
}

/* Under a change: what is open becomes `next`; the error of closing it. */
static int content_exchange(struct opened *o, struct content next)
{
	struct content old = { o->file, o->disk };
	close_device(o);
	o->file = next.file;
	o->disk = next.disk;
	int err = vdisk_close(old.disk);
	int file_err = vmfs_file_close(old.file);
	return err ? err : file_err;
}

/* Waits for a holder that may be dead, not for one that lives. */
static int open_locked(struct opened_table *t, fuse_ino_t ino, struct content *ret)
{
	uint64_t start = clock_now(), deadline = start + FIRST_WAIT_NS;
	for (;;) {
		struct vmfs_holder holder = { 0 };
		int err = content_open(t, ino, true, deadline, ret, &holder);
		if (err != -EBUSY)
			return err;
		if (holder.heartbeat_age_ns < SILENCE_NS ||
		    clock_now() - start > GIVE_UP_NS) {
			report_holder(t, node_of_ino(ino), &holder);
			return err;
		}
		deadline = clock_now() + NS_PER_S;
	}
}

/* Under a change. */
static int open_file(struct opened *o, bool may_write)
{
	struct content next;
	bool is_open = o->file || o->disk;
	if (o->writers || (is_open && !may_write))
		return 0;
	if (o->file && o->is_unlinked)
		return vmfs_file_upgrade(o->file, clock_now() + FIRST_WAIT_NS, NULL);
	int err = may_write ? open_locked(o->table, o->ino, &next)
			    : content_open(o->table, o->ino, false, 0, &next, NULL);
	return err ? err : content_exchange(o, next);
}

/* Who waits to open it counts, too, so this may be over at once. */
static bool has_one_handle(const struct opened *o)
{
	mutex_lock(&o->table->m);
	bool is_one = o->handles == 1;
	mutex_unlock(&o->table->m);
	return is_one;
}

static int handle_new(struct opened *o, bool may_write,
		      struct handle **ret_handle)
{
	struct handle *h = malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	*h = (struct handle){ .opened = o, .may_write = may_write };
	LIST_INSERT_HEAD(&o->list, h, link);
	o->writers += may_write;
	*ret_handle = h;
	return 0;
}

/* Under a change: nothing is committed that nobody has open for writing. */
static int close_file(struct opened *o)
{
	struct content next = { NULL, NULL };
	int err = content_exchange(o, next);
	/* If it is gone, who reads is told. */
	if (!has_one_handle(o) &&
	    content_open(o->table, o->ino, false, 0, &next, NULL) == 0)
		(void)content_exchange(o, next); /* there was nothing */
	return err;
}

int handle_open(struct opened_table *t, fuse_ino_t ino, bool may_write,
		       struct handle **ret_handle)
{
	struct opened *o = enter(t, ino);
	if (!o)
		return -ENOMEM;
	int err = open_file(o, may_write);
	if (!err)
		err = handle_new(o, may_write, ret_handle);
	if (err && !o->writers && has_one_handle(o))
		(void)close_file(o); /* nothing was written */
	end_change(o, err ? 1 : 0);
	return err;
}

int handle_close(struct handle *h)
{
	struct opened *o = h->opened;
	int err = 0;
	begin_change(o);
	bool is_last_writer = h->may_write && --o->writers == 0;
	o->holds -= h->is_hold;
	bool needs_lock = o->writers || o->holds || o->is_unlinked;
	if (has_one_handle(o) || ((is_last_writer || h->is_hold) && !needs_lock))
		err = close_file(o);
	else if (is_last_writer)
		err = vmfs_file_commit(o->file);
	LIST_REMOVE(h, link);
	free(h);
	end_change(o, 1);
	return err;
}

int handle_adopt(struct opened_table *t, fuse_ino_t ino, struct vmfs_file *file,
		 struct handle **ret_handle)
{
	struct opened *o = enter(t, ino);
	if (!o)
		return -ENOMEM;
	o->file = file;
	int err = handle_new(o, true, ret_handle);
	if (err)
		o->file = NULL;
	end_change(o, err ? 1 : 0);
	return err;
}

void opened_done(struct opened_table *t)
{
	struct opened *o, *next;
	HASH_ITER(hh, t->first, o, next) {
		if (content_exchange(o, (struct content){ NULL, NULL }) < 0)
			report(t->reporter, REPORT_ERROR,
			       "file descriptor %u.%u: what was written last is lost",
			       addr_cluster(node_of_ino(o->ino).addr),
			       addr_index(node_of_ino(o->ino).addr));
		HASH_DEL(t->first, o);
		for (struct handle *h; (h = LIST_FIRST(&o->list));) {
			LIST_REMOVE(h, link);
			free(h);
		}
		cond_done(&o->c);
		free(o);
	}
	worker_pool_free(t->pool);
	mutex_done(&t->m);
}

/* Under a change: a reader's file, locked so that nobody takes its blocks. */
static int lock_reader(struct opened *o)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ_LOCKED };
	struct vmfs_file *file;
	if (o->writers || o->is_unlinked)
		return 0;
	int err =
		vmfs_node_open(o->table->vol, node_of_ino(o->ino), &options, &file, NULL);
	if (err)
		return err;
	close_device(o);
	err = vmfs_file_close(o->file);
	o->file = file;
	return err;
}

int opened_hold(struct opened_table *t, fuse_ino_t ino, struct handle **ret_hold)
{
	*ret_hold = NULL;
	if (!is_open(t, ino))
		return 0;
	struct opened *o = enter(t, ino);
	if (!o)
		return -ENOMEM;
	int err = lock_reader(o);
	if (!err)
		err = handle_new(o, false, ret_hold);
	if (!err) {
		(*ret_hold)->is_hold = true;
		o->holds++;
	}
	end_change(o, err ? 1 : 0);
	return err;
}

void opened_unhold(struct handle *hold, bool is_unlinked)
{
	if (!hold)
		return;
	begin_change(hold->opened);
	hold->opened->is_unlinked |= is_unlinked;
	end_change(hold->opened, 0);
	(void)handle_close(hold); /* who wrote was told when he closed */
}

int opened_commit(struct opened_table *t, fuse_ino_t ino)
{
	struct opened *o;
	mutex_lock(&t->m);
	HASH_FIND(hh, t->first, &ino, sizeof(ino), o);
	bool is_written = o && o->writers && !o->is_changing;
	if (is_written)
		o->users++;
	mutex_unlock(&t->m);
	if (!is_written)
		return 0; /* one that changes commits by itself */
	int err = vmfs_file_commit(o->file);
	unuse(o);
	return err;
}

int handle_commit(struct handle *h)
{
	if (!h->may_write)
		return 0;
	int err = vmfs_file_commit(use(h->opened));
	unuse(h->opened);
	return err;
}

int opened_truncate(struct opened_table *t, fuse_ino_t ino, uint64_t size,
		    struct handle *h)
{
	struct handle *own = NULL;
	int err = h && h->may_write ? 0 : handle_open(t, ino, true, &own);
	if (err)
		return err;
	struct opened *o = own ? own->opened : h->opened;
	err = vmfs_file_truncate(use(o), size);
	unuse(o);
	if (own) {
		int close_err = handle_close(own);
		err = err ? err : close_err;
	}
	return err;
}
