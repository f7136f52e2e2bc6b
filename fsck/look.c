/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading beside members that write (LOCKING.md 12): without a lock, and yet of one
 * committed state.
 *
 *	begin	the lock sector; if a member holds it, that member's log
 *	read	each piece, with the records of the log laid over it, and kept
 *	end	the log again: of the same filling, and no record that came touches a
 *	piece;
 *		the lock sector again: as it was
 *	else	from the beginning, with longer and longer pauses
 *	use	who works with what was read reads the kept pieces: the same bytes
 *
 * What is held by a host whose log is not ours is not looked at: nothing tells when it is
 * whole.
 *
 * What does not fit (KEPT_MAX) is read while it is used, and judged after that
 * (fsck_look_over). So memory does not depend on how long a file is.
 *
 * Clusters and file descriptors are read many at a time, twice. What reads the same both
 * times under a lock that nobody holds is of one state: a writer takes the lock first,
 * and its token never comes back. Only the others are looked at one by one.
 */
#include "fsck/look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "fsck/fds.h"
#include "fsck/marks.h"

#define KEPT_MAX (16ull << 20)
#define TRIES 32u
#define TRIES_FEW 4u
#define PATIENT_MAX 16u /* that would not hold still, in a round */
#define PAUSE_MAX_NS (20 * NS_PER_MS)

/* ---- one look ---- */

/* A kept piece that has these bytes; they are asked for in the order of the pieces. */
static const struct online_piece *kept(struct online_look *l, uint64_t off, uint64_t len)
{
	for (unsigned int n = 0; n < l->count; n++) {
		const struct online_piece *p = &l->pieces[(l->next + n) % l->count];
		if (p->bytes && off >= p->off && off + len <= p->off + p->len) {
			l->next = (l->next + n) % l->count;
			return p;
		}
	}
	return NULL;
}

/* Notes that a piece was read, with its bytes if there is room. */
static void note(struct online_look *l, uint64_t off, const void *buf, uint64_t len)
{
	if (l->count == l->room) {
		unsigned int room = l->room ? 2 * l->room : 16;
		void *bigger = reallocarray(l->pieces, room, sizeof(*l->pieces));
		if (!bigger) {
			l->err = -ENOMEM;
			return;
		}
		l->pieces = bigger;
		l->room = room;
	}
	struct online_piece *p = &l->pieces[l->count++];
	*p = (struct online_piece){ .off = off, .len = len };
	l->is_over |= !l->is_keeping || l->kept + len > KEPT_MAX;
	if (l->is_over)
		return;
	p->bytes = malloc(len ? len : 1);
	if (!p->bytes) {
		l->err = -ENOMEM;
		return;
	}
	memcpy(p->bytes, buf, len);
	l->kept += len;
}

/* The log has whole sectors; len may be anything. */
static void lay_over(const struct online_look *l, uint64_t off, void *buf, uint64_t len)
{
	for (uint64_t at = 0; l->has_log && at < len; at += 1u << 30)
		logview_apply(&l->log, l->lock_off, le64_get(l->lock.token), off + at,
			      (uint32_t)min_u64(len - at, 1u << 30),
			      (uint8_t *)buf + at);
}

static int look_read(struct fsck_lens *lens, const struct fsck_volume *v, uint64_t off,
		     void *buf, uint64_t len)
{
	struct online_look *l = (struct online_look *)lens;
	const struct online_piece *p = kept(l, off, len);
	if (p) {
		memcpy(buf, p->bytes + (off - p->off), len);
		return 0;
	}
	int err = fsck_read_past(v, off, buf, len);
	if (!err) {
		lay_over(l, off, buf, len);
		note(l, off, buf, len);
	}
	return err ? err : l->err;
}

static void look_forget(struct online_look *l)
{
	for (unsigned int i = 0; i < l->count; i++)
		free(l->pieces[i].bytes);
	if (l->has_log)
		logview_done(&l->log);
	free(l->pieces);
	*l = (struct online_look){ .lens.read = look_read };
}

/* false: not now. */
static bool look_begin(struct fsck *f, uint64_t lock_off)
{
	struct online_look *l = &f->online->look;
	struct vmfs_heartbeat_disk slot;
	look_forget(l);
	l->lock_off = lock_off;
	if (fsck_read_past(&f->volume, lock_off, &l->lock, sizeof(l->lock)) != 0)
		return false;
	if (le32_get(l->lock.mode) != LOCK_EXCLUSIVE ||
	    !fsck_holder_lives(&f->volume, &l->lock, &slot))
		return true;
	l->has_log = f->online->vol != NULL;
	int err = l->has_log ? logview_open(&l->log, f->online->vol, &slot) : 0;
	l->log_count = l->log.count;
	l->is_hidden = !l->has_log || (!err && l->log.state == JOURNAL_FOREIGN);
	return !err && !l->is_hidden;
}

/* Is all that was read of one state? */
static bool look_is_whole(struct fsck *f)
{
	struct online_look *l = &f->online->look;
	struct vmfs_lock_disk now;
	bool is_same = true;
	if (l->err || (l->has_log && logview_follow(&l->log, &is_same) != 0) || !is_same)
		return false;
	for (unsigned int i = 0; l->has_log && i < l->count; i++)
		if (logview_touches(&l->log, l->log_count, l->pieces[i].off,
				    (uint32_t)min_u64(l->pieces[i].len, UINT32_MAX)))
			return false;
	return fsck_read_past(&f->volume, l->lock_off, &now, sizeof(now)) == 0 &&
	       memcmp(&now, &l->lock, sizeof(now)) == 0;
}

bool fsck_look(struct fsck *f, uint64_t lock_off, void (*fn)(struct fsck *f, void *arg),
	       void *arg)
{
	struct online_look *l = &f->online->look;
	uint64_t pause = NS_PER_MS / 4;
	/*
	 * Where much will not hold still, or cannot be seen, there is no end of trying.
	 */
	unsigned int tries = f->online->unstable < PATIENT_MAX ? TRIES : TRIES_FEW;
	for (unsigned int i = 0; i < tries && l->err != -ENOMEM; i++) {
		if (i > 2) {
			task_sleep_until(clock_now() + pause);
			pause = min_u64(2 * pause, PAUSE_MAX_NS);
		}
		if (!look_begin(f, lock_off)) {
			if (l->is_hidden)
				tries = TRIES_FEW;
			continue;
		}
		l->is_keeping = true;
		f->volume.lens = &l->lens;
		fn(f, arg);
		l->is_keeping = false;
		if (l->is_over || look_is_whole(f))
			return true; /* the former: judged when it is over */
		f->volume.lens = NULL;
	}
	f->volume.lens = NULL;
	if (l->err == -ENOMEM)
		f->online->err = -ENOMEM;
	fsck_online_unstable(f);
	return false;
}

bool fsck_look_over(struct fsck *f)
{
	struct online_look *l = &f->online->look;
	bool is_whole = !l->is_over || look_is_whole(f);
	f->volume.lens = NULL;
	if (l->err == -ENOMEM)
		f->online->err = -ENOMEM;
	look_forget(l);
	if (!is_whole)
		fsck_online_unstable(f);
	return is_whole;
}

/* ---- a file ---- */

struct file_look {
	vmfs_addr addr;
	struct fsck_file file;
	int err;
};

/* A pointer block, and the pointer blocks that it names. */
static void touch_pointers(struct fsck *f, uint32_t zla, vmfs_addr addr,
			   unsigned int levels)
{
	const struct fsck_volume *v = &f->volume;
	const struct vmfs_shape *shape = v->shape;
	if (addr_is_none(addr) || !fsck_is_pointer(v, zla, addr) ||
	    f->online->look.is_over)
		return;
	uint8_t *entries = malloc(shape->pb_size);
	int err = entries ? fsck_addr_read(v, addr, 0, entries, shape->pb_size) : -ENOMEM;
	for (uint32_t i = 0; !err && levels > 1 && i < shape->pb_entries; i++)
		touch_pointers(f, zla, shape_entry(shape, entries, i), levels - 1);
	free(entries);
}

/* The bytes of a directory, by the pieces in which they will be read. */
static void touch_entries(struct fsck *f, const struct fsck_file *file)
{
	uint64_t length = min_u64(le64_get(file->meta.length), KEPT_MAX);
	uint8_t *bytes = malloc(length ? length : 1);
	if (bytes && le32_get(file->meta.zla) != VMFS_ZLA_RESIDENT)
		(void)!fsck_file_read(&f->volume, file, 0, bytes, length);
	free(bytes);
}

static void touch_file(struct fsck *f, void *arg)
{
	struct file_look *l = arg;
	uint32_t zla;
	l->err = fsck_fd_read(&f->volume, l->addr, &l->file);
	if (l->err)
		return;
	zla = le32_get(l->file.meta.zla);
	unsigned int levels = zla == VMFS_ZLA_PB || zla == VMFS_ZLA_PB2 ? 1
			      : zla == VMFS_ZLA_DOUBLE			? 2
									: 0;
	for (uint32_t i = 0; levels && i < f->volume.shape->fd_slots; i++)
		touch_pointers(f, zla, fsck_slot(&f->volume, &l->file, i), levels);
	if (fsck_is_directory(&f->volume, &l->file))
		touch_entries(f, &l->file);
}

bool fsck_look_file(struct fsck *f, uint64_t number, struct fsck_file *ret_file)
{
	struct file_look l = { .addr = fsck_fd_addr(f, number) };
	uint64_t off, size;
	if (fsck_addr_vol_off(&f->volume, l.addr, &off, &size) != 0 ||
	    !fsck_look(f, off, touch_file, &l))
		return false;
	if (l.err) {
		(void)fsck_look_over(f);
		return false;
	}
	*ret_file = l.file;
	fsck_online_mark_fd(f, number, &f->online->look.lock);
	return true;
}

/* ---- clusters ---- */

struct header_look {
	const struct fsck_resource *res;
	uint32_t cluster;
	uint8_t *header;
};

static void touch_header(struct fsck *f, void *arg)
{
	struct header_look *l = arg;
	/* An error shows as a look without a piece: the first reading stays. */
	(void)!fsck_resource_read(&f->volume, l->res,
				  fsck_cluster_off(l->res, l->cluster), l->header,
				  l->res->header_size);
}

/* One header that did not read the same twice, or is held. */
static void header_again(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			 uint8_t *header)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct header_look l = { res, c, header };
	uint64_t off;
	if (fsck_resource_vol_off(&f->volume, res, fsck_cluster_off(res, c), &off) == 0 &&
	    fsck_look(f, off, touch_header, &l)) {
		fsck_online_mark_cluster(f, i, c, &f->online->look.lock);
		(void)fsck_look_over(f);
	}
}

int fsck_look_clusters(struct fsck *f, enum fsck_resource_index i, uint32_t first,
		       uint32_t count, uint8_t *headers)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint64_t len = (uint64_t)count * res->header_size;
	uint8_t *again = malloc(len ? len : 1);
	if (!again)
		return -ENOMEM;
	int err = fsck_resource_read(&f->volume, res, fsck_cluster_off(res, first), again,
				     len);
	for (uint32_t k = 0; !err && k < count; k++) {
		uint8_t *header = headers + (uint64_t)k * res->header_size;
		struct vmfs_lock_disk lock;
		memcpy(&lock, header, sizeof(lock));
		if (memcmp(header, again + (uint64_t)k * res->header_size,
			   res->header_size) == 0 &&
		    fsck_lock_is_quiet(&f->volume, &lock))
			fsck_online_mark_cluster(f, i, first + k, &lock);
		else
			header_again(f, i, first + k, header);
	}
	free(again);
	return err;
}
