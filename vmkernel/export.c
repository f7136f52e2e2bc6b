/* SPDX-License-Identifier: Apache-2.0 */
/* Open, serve, wait for a signal, close in reverse order. */
#include "vmkernel/export.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "bdev/guard.h"
#include "bdev/worker.h"
#include "iscsi/open.h"
#include "vdisk/vdisk.h"
#include "vmkernel/datastore.h"
#include "vmkernel/msg/sock.h"
#include "nbd/server.h"

#define WORKERS 4u
#define LOCK_WAIT (30 * NS_PER_S)
#define STOP_WAIT (10 * NS_PER_S) /* for storage that is away */

struct export {
	struct reporter *reporter;
	bool is_read_only;
	struct bdev *device;	/* a raw one */
	struct datastore *ds;	/* or a volume, */
	struct vdisk *vdisk;	/* and a disk on it */
	struct worker_pool *pool;
	struct guard *guard;	/* of the volume's lease */
};

static int open_vdisk(struct export *e, const char *device, const char *path)
{
	struct vmfs_holder holder;
	char text[VMFS_HOLDER_TEXT_SIZE];
	struct guard_options guard = { .log_fd = STDERR_FILENO,
				       .reporter = e->reporter };
	int rc = e->is_read_only ? 0 : guard_start(&guard, &e->guard);
	if (rc < 0)
		return rc;
	struct datastore_options options = {
		.device = device,
		.guard = e->guard,
		.lease_profile = VMFS_LEASE_FOLLOW,
		.is_read_only = e->is_read_only,
		.host = uuid_new(),
		.reporter = e->reporter,
	};
	rc = datastore_attach(&options, &e->ds);
	if (rc < 0)
		return rc;
	struct vdisk_open_options disk = {
		.flags = e->is_read_only ? VDISK_READ : VDISK_WRITE | VDISK_PROMPT,
		.deadline = clock_now() + LOCK_WAIT,
		.reporter = e->reporter,
	};
	rc = vdisk_open(e->ds->vol, path, &disk, &e->vdisk, &holder);
	if (rc == -EBUSY)
		return report_error(e->reporter, rc, "%s: %s", path,
				    vmfs_holder_text(&holder, text));
	if (rc == -ENOENT)
		return report_error(e->reporter, rc, "%s: no such disk on %s", path,
				    device);
	return rc;
}

static int open_it(struct export *e, const char *what)
{
	char *device, *path;
	int rc = device_split_path(what, &device, &path);
	if (rc == -EINVAL)
		return device_open(what, e->is_read_only ? BDEV_OPEN_READ_ONLY : 0, NULL,
				   e->reporter, &e->device);
	if (rc < 0)
		return rc;
	rc = open_vdisk(e, device, path);
	free(device);
	free(path);
	return rc;
}

static int serve(struct export *e, const char *socket)
{
	struct nbd_server *server;
	sigset_t set;
	int signal;
	e->pool = worker_pool_new("disk-work", WORKERS);
	if (!e->pool)
		return -ENOMEM;
	struct nbd_server_options options = {
		.name = "disk0",
		.bd = e->device ? e->device : vdisk_bdev(e->vdisk),
		.is_read_only = e->is_read_only,
		.reporter = e->reporter,
	};
	bdev_set_pool(options.bd, e->pool);
	options.listen_sock = sock_listen(socket);
	if (options.listen_sock < 0)
		return report_error(e->reporter, options.listen_sock, "%s: %s", socket,
				    strerror(-options.listen_sock));
	int rc = nbd_server_start(&options, &server);
	if (rc < 0) {
		(void)close(options.listen_sock);
		return rc;
	}
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	while (sigwait(&set, &signal) != 0)
		continue;
	if (e->ds)
		vmfs_volume_limit_wait(e->ds->vol, STOP_WAIT);
	nbd_server_stop(server);
	(void)unlink(socket); /* a stale one is replaced anyway */
	return 0;
}

int export_run(const char *what, const char *socket, bool is_read_only,
	       struct reporter *r)
{
	struct export e = { .reporter = r, .is_read_only = is_read_only };
	int rc = open_it(&e, what);
	if (rc == 0)
		rc = serve(&e, socket);
	int close_rc = vdisk_close(e.vdisk);
	bdev_close(e.device);
	worker_pool_free(e.pool);
	int detach_rc = datastore_detach(e.ds);
	guard_stop(e.guard);
	if (rc == 0 && (close_rc < 0 || detach_rc < 0))
		rc = report_error(r, close_rc < 0 ? close_rc : detach_rc,
				  "%s: closed with %s", what,
				  strerror(close_rc < 0 ? -close_rc : -detach_rc));
	return rc < 0;
}
