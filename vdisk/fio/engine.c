/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fio's ioengine "vdisk": virtual disks on volumes and on the host are measured the usual
 * way. Built by `make V=pic FIO=DIR vdisk-fio.so` where fio's source, configured, is in
 * DIR; it goes with that version of fio alone.
 *
 *	fio --name=r --ioengine=external:./vdisk-fio.so --disk=/dev/sdb:/vm1/vm1.vmdk \
 *		--rw=randread --bs=4k --iodepth=32 --thread
 *
 * Each job opens the disk by itself: jobs that write one disk get -EBUSY but for one.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include <fio.h>
#include <optgroup.h>

#include "vdisk/fio/session.h"

struct engine_options {
	void *pad; /* fio does not take an option at offset 0 */
	char *disk, *key_file;
};

static struct fio_option options[] = {
	{
		.name = "disk",
		.lname = "virtual disk",
		.help = "DEVICE:/dir/x.vmdk, [datastore] dir/x.vmdk, or a file x.vmdk",
		.type = FIO_OPT_STR_STORE,
		.off1 = offsetof(struct engine_options, disk),
		.category = FIO_OPT_C_ENGINE,
		.group = FIO_OPT_G_INVALID,
	},
	{
		.name = "keyfile",
		.lname = "key file of the disk",
		.help = "What wraps the key of an encrypted disk",
		.type = FIO_OPT_STR_STORE,
		.off1 = offsetof(struct engine_options, key_file),
		.category = FIO_OPT_C_ENGINE,
		.group = FIO_OPT_G_INVALID,
	},
	{ .name = NULL },
};

static int open_for(struct thread_data *td, bool may_write, struct session **ret_session)
{
	const struct engine_options *o = td->eo;
	if (!o->disk) {
		log_err("fio: vdisk: disk= is missing\n");
		return -EINVAL;
	}
	return session_open(o->disk, may_write, o->key_file, ret_session);
}

/* In the process that will fork the jobs: how large is it? */
static int setup(struct thread_data *td)
{
	struct session *look;
	int rc = open_for(td, false, &look);
	if (rc < 0) {
		td_verror(td, -rc, "vdisk");
		return 1;
	}
	if (!td->files_index) {
		add_file(td, "vdisk", 0, 0);
		td->o.nr_files = td->o.nr_files ? td->o.nr_files : 1;
		td->o.open_files++;
	}
	td->files[0]->real_file_size = session_size(look);
	return session_close(look) ? 1 : 0;
}

static int init(struct thread_data *td)
{
	struct session *s;
	int rc = open_for(td, td_write(td) || td_trim(td), &s);
	if (rc < 0) {
		td_verror(td, -rc, "vdisk");
		return 1;
	}
	td->io_ops_data = s;
	return 0;
}

static void cleanup(struct thread_data *td)
{
	int rc = session_close(td->io_ops_data);
	if (rc < 0)
		log_err("fio: vdisk: closing: %s\n", strerror(-rc));
	td->io_ops_data = NULL;
}

static int io_u_init(struct thread_data *td, struct io_u *io_u)
{
	(void)td;
	io_u->engine_data = session_io_new(io_u);
	return io_u->engine_data ? 0 : 1;
}

static void io_u_free(struct thread_data *td, struct io_u *io_u)
{
	(void)td;
	session_io_free(io_u->engine_data);
	io_u->engine_data = NULL;
}

static enum fio_q_status queue(struct thread_data *td, struct io_u *io_u)
{
	enum session_op op;
	fio_ro_check(td, io_u);
	switch (io_u->ddir) {
	case DDIR_READ:
		op = SESSION_READ;
		break;
	case DDIR_WRITE:
		op = SESSION_WRITE;
		break;
	case DDIR_TRIM:
		op = SESSION_UNMAP;
		break;
	case DDIR_SYNC:
	case DDIR_DATASYNC:
		op = SESSION_FLUSH;
		break;
	default:
		io_u->error = EINVAL;
		return FIO_Q_COMPLETED;
	}
	session_submit(td->io_ops_data, io_u->engine_data, op, io_u->xfer_buf,
		       io_u->xfer_buflen, io_u->offset);
	return FIO_Q_QUEUED;
}

static int getevents(struct thread_data *td, unsigned int min, unsigned int max,
		     const struct timespec *limit)
{
	unsigned int count = session_wait(td->io_ops_data, min, limit);
	return (int)(count < max ? count : max);
}

/* fio asks for each that getevents() has counted, once, in order. */
static struct io_u *event(struct thread_data *td, int number)
{
	int error;
	struct io_u *io_u = session_next(td->io_ops_data, &error);
	(void)number;
	if (io_u) {
		io_u->error = (unsigned int)error;
		io_u->resid = error ? io_u->xfer_buflen : 0;
	}
	return io_u;
}

static int nothing(struct thread_data *td, struct fio_file *f)
{
	(void)td, (void)f;
	return 0;
}

/* The name that fio looks up. */
struct ioengine_ops ioengine = {
	.name = "vdisk",
	.version = FIO_IOOPS_VERSION,
	.flags = FIO_DISKLESSIO | FIO_NOEXTEND | FIO_RAWIO,
	.setup = setup,
	.init = init,
	.cleanup = cleanup,
	.io_u_init = io_u_init,
	.io_u_free = io_u_free,
	.queue = queue,
	.getevents = getevents,
	.event = event,
	.open_file = nothing,
	.close_file = nothing,
	.invalidate = nothing,
	.options = options,
	.option_struct_size = sizeof(struct engine_options),
};
