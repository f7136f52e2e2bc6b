/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order at open: lock, then listen. Order at close: no clients, no I/O in flight, then
 * the lock. So whoever is served holds the lock, and nothing of ours is in flight when
 * another host can get it. A lost lease needs no call from here: the volume cuts its
 * devices first, and every request then ends with -ESTALE.
 *
 *	open --> LOCKED <--disk_take, disk_give--> STANDBY <-- open (is_standby)
 *
 * A disk that stands by is served from a look at its files, without a lock, so that the
 * QEMU of a VM that is being moved can start before the lock is here, and can stay until
 * the VM runs elsewhere. It is not read for a guest, and cannot be written.
 */
#include "vmkernel/disk/disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "iscsi/open.h"
#include "vdisk/nbd/server.h"
#include "vdisk/vdisk.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vhost/server.h"

struct disk {
	/* the virtual disk reports to the one in turn until it is closed */
	struct catcher catchers[2];
	unsigned int turn;
	struct vdisk *vdisk;
	struct vdisk *look; /* for disk_give() */
	struct vmfs_file *image; /* of a CD, or a flash: instead */
	char *flash_path;	 /* NULL: no flash */
	struct bdev *image_bd;
	struct sched_disk *part; /* what it is given */
	/* of disk_prepare_move(): the disk is its preparer's until it has moved */
	struct vdisk *next;
	struct sched_disk *next_part;
	struct sched_wish wish;
	struct nbd_server *nbd;
	struct vhost_server *vhost; /* instead */
	char *socket;
};

struct opening {
	const struct disk_options *options;
	struct disk *disk;
	struct catcher *catcher;
	struct vdisk *vdisk;
	struct vmfs_file *image;
	struct vdisk_secret secret;
	bool is_standby;
};

static int open_image(struct opening *o, uint64_t deadline,
		      struct vmfs_holder *ret_holder)
{
	uint32_t flags = !o->options->is_flash ? VMFS_READ_LOCKED :
			 o->is_standby	       ? VMFS_READ : VMFS_WRITE;
	struct vmfs_file_options options = { .flags = flags, .deadline = deadline };
	return vmfs_file_open(o->options->vol, o->options->path, &options, &o->image,
			      ret_holder);
}

static int open_lun(const char *text, uint32_t flags, struct reporter *r,
		    struct bdev **ret_bd)
{
	return device_open_whole(text, flags, NULL, r, ret_bd);
}

static const struct vdisk_luns luns = { .open = open_lun };

/* One that cannot be tracked is served all the same, and backups copy all of it. */
static int track(const struct opening *o, struct vmfs_holder *ret_holder)
{
	struct reporter *r = o->options->reporter;
	const struct vdisk_tracking_options how = { true, r, &luns };
	int rc = vdisk_set_tracking(o->options->vol, o->options->path, &how, ret_holder);
	if (rc < 0 && rc != -EBUSY)
		report(r, REPORT_WARN, "%s: its changes are not tracked: %s",
		       o->options->what, strerror(-rc));
	return rc == -EBUSY ? rc : 0;
}

static int try_open(void *arg, uint64_t deadline, struct vmfs_holder *ret_holder)
{
	struct opening *o = arg;
	if (o->options->is_cdrom || o->options->is_flash)
		return open_image(o, deadline, ret_holder);
	struct vdisk_open_options options = {
		/* a VM outlives us */
		.flags = o->is_standby ? VDISK_READ : VDISK_WRITE | VDISK_PROMPT,
		.deadline = deadline,
		.reporter = &o->catcher->base,
		.luns = &luns,
		.secret = o->secret.bytes ? &o->secret : NULL,
	};
	int rc = o->options->is_tracked && !o->is_standby ? track(o, ret_holder) : 0;
	if (rc == 0)
		rc = vdisk_open(o->options->vol, o->options->path, &options, &o->vdisk,
				ret_holder);
	/* Locked or not: it is closed with the rest. */
	return rc ? rc : vdisk_check_unlocked(o->vdisk, options.reporter);
}

static int start_server(struct disk *disk, const struct disk_options *o, int sock)
{
	struct bdev *bd = disk->image ? disk->image_bd : vdisk_bdev(disk->vdisk);
	bdev_set_pool(bd, o->pool);
	disk->wish = o->wish;
	int rc = sched_disk_new(o->sched, bd, &o->wish, &disk->part);
	if (rc < 0)
		return rc;
	const char *slash = strrchr(o->path, '/');
	struct vhost_server_options vhost = {
		.name = o->what,
		.id = slash ? slash + 1 : o->path,
		.bd = sched_disk_bdev(disk->part),
		.listen_sock = sock,
		.reporter = o->reporter,
	};
	struct nbd_server_options nbd = {
		.name = o->export_name,
		.bd = vhost.bd,
		.listen_sock = sock,
		.is_standby = o->is_standby && !o->is_cdrom,
		.reporter = o->reporter,
	};
	return o->is_vhost ? vhost_server_start(&vhost, &disk->vhost)
			   : nbd_server_start(&nbd, &disk->nbd);
}

static int serve(struct disk *disk, const struct disk_options *o)
{
	int sock = sock_listen(o->socket);
	if (sock < 0)
		return sock;
	if (geteuid() == 0 &&
	    fchownat(AT_FDCWD, o->socket, o->uid, o->uid, AT_SYMLINK_NOFOLLOW) < 0) {
		int rc = -errno;
		(void)close(sock);
		return rc;
	}
	int rc = start_server(disk, o, sock);
	if (rc < 0)
		(void)close(sock);
	return rc;
}

/* The virtual disk of o->disk, or its image: into o->vdisk, or where images go. */
static int acquire(struct opening *o, char *ret_why, uint32_t size)
{
	const struct disk_options *options = o->options;
	o->catcher = &o->disk->catchers[o->disk->turn ^= 1];
	struct hold hold = {
		.vol = options->vol,
		.what = options->what,
		.wait_s = options->wait_s,
		.is_cancelled = options->is_cancelled,
		.try = try_open,
		.arg = o,
		.catcher = o->catcher,
	};
	(void)catcher_init(o->catcher, options->reporter);
	/* A key that cannot be read is said there, and matters to encrypted disks. */
	if (options->key_file &&
	    vdisk_secret_read(options->key_file, false, options->reporter, &o->secret) <
		    0)
		o->secret = (struct vdisk_secret){ .len = 0 };
	int rc = hold_acquire(&hold, ret_why, size);
	vdisk_secret_done(&o->secret);
	catcher_stop(o->catcher);
	return rc;
}

static int lock_and_serve(struct disk *disk, const struct disk_options *options,
			  char *ret_why, uint32_t size)
{
	struct opening opening = { .options = options,
				   .disk = disk,
				   .is_standby = options->is_standby };
	int rc = acquire(&opening, ret_why, size);
	disk->vdisk = opening.vdisk;
	disk->image = opening.image;
	if (rc < 0)
		return rc;
	if (disk->image)
		rc = vmfs_file_bdev(disk->image, &disk->image_bd);
	if (rc == 0)
		rc = serve(disk, options);
	if (rc < 0)
		(void)snprintf(ret_why, size, "%s: %s: %s", options->what,
			       options->socket, strerror(-rc));
	return rc;
}

/* Serves bd in place of what it has served. 0 or -ENOMEM. */
static int exchange_bdev(struct disk *disk, struct bdev *bd,
			 const struct disk_options *options)
{
	struct sched_disk *part;
	bdev_set_pool(bd, options->pool);
	int rc = sched_disk_new(options->sched, bd, &disk->wish, &part);
	if (rc < 0)
		return rc;
	(void)nbd_server_exchange(disk->nbd, sched_disk_bdev(part));
	sched_disk_free(disk->part);
	disk->part = part;
	return 0;
}

/* Serves vdisk: 0 and the one that it served, or -ENOMEM. */
static int exchange(struct disk *disk, struct vdisk *vdisk,
		    const struct disk_options *options, struct vdisk **ret_old)
{
	int rc = exchange_bdev(disk, vdisk_bdev(vdisk), options);
	if (rc < 0)
		return rc;
	*ret_old = disk->vdisk;
	disk->vdisk = vdisk;
	return 0;
}

/*
 * A flash changes hands by being closed by one and opened by the other, under the lock of
 * the VM; nobody writes to it before the VM runs.
 */
static int exchange_flash(struct disk *disk, const struct disk_options *options,
			  bool is_standby, char *ret_why, uint32_t size)
{
	struct disk_options how = *options;
	struct opening o = { .options = &how, .disk = disk, .is_standby = is_standby };
	struct bdev *bd = NULL;
	how.is_flash = true;
	int rc = acquire(&o, ret_why, size);
	if (rc == 0)
		rc = vmfs_file_bdev(o.image, &bd);
	if (rc == 0 && bd->size != disk->image_bd->size)
		rc = -ESTALE;
	if (rc == 0)
		rc = exchange_bdev(disk, bd, options);
	if (rc == 0) {
		struct bdev *old = disk->image_bd;
		struct vmfs_file *file = disk->image;
		disk->image_bd = bd;
		disk->image = o.image;
		bdev_close(old);
		return vmfs_file_close(file);
	}
	if (!*ret_why)
		(void)snprintf(ret_why, size, "%s: %s", options->what, strerror(-rc));
	bdev_close(bd);
	(void)vmfs_file_close(o.image); /* nothing was written */
	return rc;
}

int disk_take(struct disk *disk, const struct disk_options *options, char *ret_why,
	      uint32_t size)
{
	struct opening opening = { .options = options, .disk = disk };
	struct vdisk *old = NULL;
	ret_why[0] = '\0';
	if (disk->flash_path)
		return exchange_flash(disk, options, false, ret_why, size);
	if (disk->image)
		return 0; /* everybody reads it */
	int rc = acquire(&opening, ret_why, size);
	if (rc == 0 && vdisk_capacity(opening.vdisk) != vdisk_capacity(disk->vdisk)) {
		(void)snprintf(ret_why, size, "%s: has another size by now",
			       options->what);
		rc = -ESTALE;
	}
	if (rc == 0) {
		rc = exchange(disk, opening.vdisk, options, &old);
		if (rc < 0)
			(void)snprintf(ret_why, size, "%s: no memory", options->what);
	}
	/* A look, or one to which nothing was written. */
	(void)vdisk_close(rc == 0 ? old : opening.vdisk);
	return rc;
}

void disk_prepare_give(struct disk *disk, const struct disk_options *options)
{
	struct opening look = { .options = options, .disk = disk, .is_standby = true };
	char why[512];
	if (disk->image || disk->look)
		return;
	if (acquire(&look, why, sizeof(why)) == 0)
		disk->look = look.vdisk;
	else
		(void)vdisk_close(look.vdisk); /* nothing is written by a look */
}

int disk_settle(struct disk *disk)
{
	if (disk && disk->vdisk)
		return vdisk_settle(disk->vdisk);
	return disk_flush(disk);
}

int disk_give(struct disk *disk, const struct disk_options *options,
	      const struct vmfs_incarnation *to, uint64_t deadline)
{
	struct vdisk *old = NULL;
	char why[512] = "";
	if (disk->flash_path)
		return exchange_flash(disk, options, true, why, sizeof(why));
	if (disk->image)
		return 0;
	disk_prepare_give(disk, options);
	struct vdisk *look = disk->look;
	disk->look = NULL;
	/* Not as large as the disk is by now: it has grown since. */
	bool is_good = look && vdisk_capacity(look) == vdisk_capacity(disk->vdisk);
	int rc = is_good ? exchange(disk, look, options, &old) : -ENODEV;
	if (rc == 0)
		return vdisk_close_to(old, to, deadline);
	/* Without one there is nothing to serve: whoever has the VM gets the disk. */
	(void)vdisk_close(look);
	nbd_server_stop(disk->nbd);
	disk->nbd = NULL;
	sched_disk_free(disk->part);
	disk->part = NULL;
	int err = vdisk_close_to(disk->vdisk, to, deadline);
	disk->vdisk = NULL;
	return rc ? rc : err;
}

int disk_flush(struct disk *disk)
{
	if (disk && disk->flash_path)
		return bdev_flush(disk->image_bd);
	return disk && disk->vdisk ? bdev_flush(vdisk_bdev(disk->vdisk)) : 0;
}

static int image_stamp(struct disk *disk, char ret_stamp[static DISK_STAMP_SIZE])
{
	struct vmfs_stat st;
	int rc = vmfs_file_stat(disk->image, &st);
	if (rc < 0)
		return rc;
	(void)snprintf(ret_stamp, DISK_STAMP_SIZE, "CD size=%llu time=%u",
		       (unsigned long long)st.size_bytes, st.mtime_s);
	return 0;
}

int disk_stamp(struct disk *disk, bool draws, char ret_stamp[static DISK_STAMP_SIZE])
{
	static_assert(DISK_STAMP_SIZE >= VDISK_STAMP_SIZE, "a vdisk's stamp fits");
	if (disk->image)
		return image_stamp(disk, ret_stamp);
	if (vdisk_is_encrypted(disk->vdisk))
		return -EACCES;
	int rc = draws ? vdisk_draw_stamp(disk->vdisk) : 0;
	if (rc == 0 && !vdisk_stamp(disk->vdisk, ret_stamp))
		rc = -EOPNOTSUPP;
	return rc;
}

int disk_open(const struct disk_options *options, struct disk **ret_disk, char *ret_why,
	      uint32_t size)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	int rc = -ENOMEM;
	(void)snprintf(ret_why, size, "%s: no memory", options->what);
	if (disk)
		disk->socket = strdup(options->socket);
	if (disk && options->is_flash)
		disk->flash_path = strdup(options->path);
	if (disk && disk->socket && (disk->flash_path || !options->is_flash))
		rc = lock_and_serve(disk, options, ret_why, size);
	if (rc < 0) {
		(void)disk_close(disk); /* nothing was written */
		return rc;
	}
	*ret_disk = disk;
	return 0;
}

const char *disk_locked_path(const struct disk *disk, unsigned int i)
{
	return disk && disk->vdisk && i < vdisk_extent_count(disk->vdisk) ?
		       vdisk_extent_path(disk->vdisk, i) : NULL;
}

struct vdisk *disk_vdisk(const struct disk *disk)
{
	return disk ? disk->vdisk : NULL;
}

const char *disk_path(const struct disk *disk)
{
	if (disk && disk->flash_path)
		return disk->flash_path;
	return disk && disk->vdisk ? vdisk_path(disk->vdisk) : NULL;
}

bool disk_is_flash(const struct disk *disk)
{
	return disk && disk->flash_path;
}

bool disk_usage(const struct disk *disk, struct sched_usage *ret)
{
	if (!disk || !disk->part)
		return false;
	*ret = sched_disk_usage(disk->part);
	return true;
}

void disk_set_wish(struct disk *disk, const struct sched_wish *wish)
{
	if (!disk)
		return;
	disk->wish = *wish;
	if (disk->part)
		sched_disk_set(disk->part, wish);
}

uint64_t disk_quiet(struct disk *disk, void (*fn)(void *arg), void *arg)
{
	return disk->vhost ? vhost_server_hold(disk->vhost, fn, arg)
			   : nbd_server_hold(disk->nbd, fn, arg);
}

struct logging {
	struct disk *disk;
	struct sched_log *log;
};

static void set_log(void *arg)
{
	struct logging *l = arg;
	sched_disk_log(l->disk->part, l->log);
}

void disk_log(struct disk *disk, struct sched_log *log)
{
	struct logging l = { disk, log };
	(void)disk_quiet(disk, set_log, &l);
}

int disk_prepare_move(struct disk *disk, struct vdisk *to, struct sched *sched,
		      struct worker_pool *pool)
{
	sched_disk_free(disk->next_part);
	disk->next_part = NULL;
	disk->next = to;
	if (!to)
		return 0;
	bdev_set_pool(vdisk_bdev(to), pool);
	return sched_disk_new(sched, vdisk_bdev(to), &disk->wish, &disk->next_part);
}

struct vdisk *disk_move(struct disk *disk)
{
	struct vdisk *old = disk->vdisk;
	(void)nbd_server_put(disk->nbd, sched_disk_bdev(disk->next_part));
	sched_disk_free(disk->part);
	disk->part = disk->next_part;
	disk->vdisk = disk->next;
	disk->next_part = NULL;
	disk->next = NULL;
	return old;
}

/* No request is at it. */
static void take_size(void *arg)
{
	struct disk *disk = arg;
	vdisk_take_size(disk->vdisk);
	sched_disk_bdev(disk->part)->size = vdisk_bdev(disk->vdisk)->size;
}

int disk_grow(struct disk *disk, uint64_t size, struct reporter *r, bool *ret_is_told,
	      char *ret_why, uint32_t why_size)
{
	struct catcher catcher;
	const struct vdisk_extend_options how = { .capacity_bytes = size,
						  .reporter = catcher_init(&catcher, r),
						  .luns = &luns };
	int rc = vdisk_extend_open(disk->vdisk, &how);
	if (rc < 0) {
		(void)snprintf(ret_why, why_size, "%s",
			       catcher.text[0] ? catcher.text : strerror(-rc));
		return rc;
	}
	(void)disk_quiet(disk, take_size, disk);
	*ret_is_told = disk->nbd != NULL;
	return 0;
}

int disk_close(struct disk *disk)
{
	if (!disk)
		return 0;
	if (disk->nbd || disk->vhost) {
		nbd_server_stop(disk->nbd);
		vhost_server_stop(disk->vhost);
		/* the next listener replaces a stale one anyway */
		(void)unlink(disk->socket);
	}
	sched_disk_free(disk->part);
	sched_disk_free(disk->next_part);
	bdev_close(disk->image_bd);
	(void)vdisk_close(disk->look); /* nothing is written by it */
	int rc = disk->image ? vmfs_file_close(disk->image) : vdisk_close(disk->vdisk);
	free(disk->socket);
	free(disk->flash_path);
	free(disk);
	return rc;
}
