/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmfs-fuse: mounts a volume. Read-only, the default, it opens the devices read-only,
 * takes no heartbeat slot and writes nothing, so it may look at a volume that hosts are
 * using. With -o rw it is a member of the cluster like any host, with its guard.
 *
 * In the background the volume is opened after the fork, because threads, I/O contexts
 * and the guard do not survive one; the parent waits until the mount stands, or failed,
 * and exits so. From then on what is to be told goes to the system log.
 *
 * A signal ends the mount from a task of its own, which may do what a handler may not: it
 * says how long the storage is still waited for (a lease that is cut would be waited for
 * without an end), and ends the loop, though files may be open. The mount is taken away
 * after that.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/report.h"
#include "bdev/guard.h"
#include "bdev/proof.h"
#include "fuse/ahead.h"
#include "fuse/arguments.h"
#include "fuse/loop.h"
#include "fuse/ops.h"
#include "iscsi/open.h"
#include "vmfs/format.h"

#define THREADS_MAX 32u

/* ---- who is told ---- */

struct log {
	struct reporter base; /* first: tell() casts */
	struct reporter_stderr terminal;
	atomic_bool is_detached;
};

static void log_tell(struct reporter *r, enum report_level level, const char *text)
{
	static const int priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
	struct log *log = (struct log *)r;
	if (!atomic_load(&log->is_detached))
		log->terminal.base.tell(&log->terminal.base, level, text);
	else if (level <= REPORT_INFO)
		syslog(LOG_DAEMON | priorities[level], "%s", text);
}

/* Away from the terminal. */
static void detach(struct log *log)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	atomic_store(&log->is_detached, true);
	if (null_fd < 0)
		return;
	for (int i = 0; i < 3; i++)
		(void)dup2(null_fd, i);
	if (null_fd > 2)
		(void)close(null_fd);
}

/* ---- the session ---- */

static struct fuse_session *session_new(const struct arguments *a, struct mount *m)
{
	char options[sizeof(a->fuse) + 4096];
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;
	const char *source = a->device_count ? a->devices[0] : "vmfs";
	(void)snprintf(options, sizeof(options),
		       "-o%s,default_permissions,subtype=vmfs,fsname=%s%s",
		       a->mount.is_read_only ? "ro" : "rw", source, a->fuse);
	if (fuse_opt_add_arg(&args, "vmfs-fuse") == 0 &&
	    fuse_opt_add_arg(&args, options) == 0 &&
	    (!a->is_debug || fuse_opt_add_arg(&args, "-d") == 0))
		session =
			fuse_session_new(&args, &vmfs_fuse_ops, sizeof(vmfs_fuse_ops), m);
	fuse_opt_free_args(&args);
	return session;
}

struct mounted {
	struct mount *m;
	struct fuse_session *session;
	struct loop loop;
};

static sigset_t ending_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	return set;
}

/* SIGHUP without a sender is our own: the session ended by itself. */
static void wait_for_signal(void *arg)
{
	struct mounted *e = arg;
	sigset_t set = ending_signals();
	siginfo_t info;
	int signal;
	do
		signal = sigwaitinfo(&set, &info);
	while (signal < 0);
	atomic_store(&e->m->is_ending, true);
	vmfs_volume_limit_wait(e->m->vol, VMFS_TOOL_WAIT_NS);
	fuse_session_exit(e->session);
	loop_stop(&e->loop);
}

/* Members that died may have left files that lost their names while they were open. */
static bool is_going_on(void *arg)
{
	return !fuse_session_exited(arg);
}

static void collect(void *arg)
{
	struct mounted *e = arg;
	int err = vmfs_unlinked_collect(e->m->vol, is_going_on, e->session);
	if (err)
		report(e->m->reporter, REPORT_WARN,
		       "files that a dead host had open are left: %s", strerror(-err));
}

static void send_held(void *vol)
{
	vmfs_volume_send(vol);
}

/* Serves a mount that stands until it is unmounted or told to end. */
static int serve_mounted(const struct arguments *a, struct mount *m,
			 struct fuse_session *session)
{
	struct mounted e = { .m = m, .session = session };
	struct task *collector = NULL;
	loop_init(&e.loop, session, a->is_single ? 1 : THREADS_MAX, send_held,
		  m->vol);
	struct task *signals = task_start("signals", wait_for_signal, &e);
	if (!signals)
		return -ENOMEM;
	if (!a->mount.is_read_only)
		collector = task_start("unlinked", collect, &e);
	int err = loop_run(&e.loop);
	if (err)
		(void)report_error(m->reporter, err, "the mount ends: no requests: %s",
				   strerror(-err));
	fuse_session_exit(session);
	(void)kill(getpid(), SIGHUP);
	task_join(signals);
	task_join(collector);
	vmfs_volume_limit_wait(m->vol, VMFS_TOOL_WAIT_NS);
	opened_drain(&m->opened);
	loop_done(&e.loop);
	return err;
}

/*
 * The kernel reads 128 KiB ahead unless it is told otherwise, which only root may, before
 * it has our answer to its first request. Asking for the mount's number asks nobody.
 */
static void read_ahead(const char *mountpoint)
{
	char path[64];
	struct statx st;
	if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC, 0, &st) != 0)
		return;
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb",
		       st.stx_dev_major, st.stx_dev_minor);
	FILE *file = fopen(path, "we");
	if (!file)
		return;
	(void)fprintf(file, "%u\n", READ_AHEAD >> 10);
	(void)fclose(file); /* may be refused: then it is slower */
}

/* Mounts and serves. ready_fd: gets a byte when the mount stands, or -1. */
static int serve(const struct arguments *a, struct mount *m, struct log *log,
		 int ready_fd)
{
	struct fuse_session *session = session_new(a, m);
	if (!session)
		return -EINVAL; /* libfuse has said why */
	int err = fuse_session_mount(session, a->mountpoint) == 0 ? 0 : -EIO;
	if (!err) {
		read_ahead(a->mountpoint);
		if (ready_fd >= 0) {
			ssize_t n = write(ready_fd, "", 1);
			(void)close(ready_fd);
			detach(log);
			err = n == 1 && chdir("/") == 0 ? 0 : -EIO;
		}
		if (!err)
			err = serve_mounted(a, m, session);
		fuse_session_unmount(session);
	}
	fuse_session_destroy(session);
	return err;
}

/* ---- the volume ---- */

struct storage {
	struct guard *guard;
	struct bdev *devices[LVM_EXTENTS_MAX], *heartbeat;
	unsigned int count;
};

static bool is_plain_fd(int file_fd)
{
	struct stat st;
	return fstat(file_fd, &st) == 0 && S_ISREG(st.st_mode);
}

/*
 * What the guard says goes where ours does; from the background it may not keep the
 * terminal, or the pipe of who waits for the end of our output.
 */
static int guard_log(const struct arguments *a)
{
	const struct sockaddr_un log = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	if (a->is_foreground)
		return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock >= 0 && connect(sock, (const struct sockaddr *)&log, sizeof(log)) == 0)
		return sock;
	if (sock >= 0)
		(void)close(sock);
	return open("/dev/null", O_WRONLY | O_CLOEXEC);
}

/* A plain file has its liveness lock: nothing to guard. */
static int start_guard(const struct arguments *a, struct reporter *r,
		       struct guard **ret_guard)
{
	bool is_local = a->device_count + a->fd_count == 1 &&
			(a->fd_count ? is_plain_fd(a->fds[0])
				     : device_is_file(a->devices[0]));
	if (a->mount.is_read_only || is_local)
		return 0;
	const struct guard_options options = { .log_fd = guard_log(a), .reporter = r };
	if (options.log_fd < 0)
		return report_error(r, -errno, "no log for the guard: %s",
				    strerror(errno));
	int err = guard_start(&options, ret_guard);
	(void)close(options.log_fd);
	return err;
}

/* The descriptors that were given are not needed any more then. */
static int open_extents(const struct arguments *a, uint32_t flags, struct reporter *r,
			struct storage *st)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < a->fd_count; i++) {
		err = device_open_fd(a->fds[i], flags, r, &st->devices[st->count]);
		st->count += !err;
	}
	for (unsigned int i = 0; !err && i < a->device_count; i++) {
		err = device_open(a->devices[i], flags, NULL, r, &st->devices[st->count]);
		st->count += !err;
	}
	for (unsigned int i = 0; !err && i < a->fd_count; i++)
		(void)close(a->fds[i]);
	return err;
}

static int open_storage(const struct arguments *a, struct reporter *r,
			struct storage *st)
{
	uint32_t flags = a->mount.is_read_only ? BDEV_OPEN_READ_ONLY : 0;
	int err = start_guard(a, r, &st->guard);
	if (!err)
		err = open_extents(a, flags, r, st);
	if (!err && !a->mount.is_read_only && !a->fd_count &&
	    device_is_iscsi_url(a->devices[0]))
		err = device_open(a->devices[0], flags, NULL, r, &st->heartbeat);
	return err;
}

static void close_storage(struct storage *st)
{
	bdev_close(st->heartbeat);
	for (unsigned int i = 0; i < st->count; i++)
		bdev_close(st->devices[i]);
	guard_stop(st->guard);
}

static int open_volume(const struct arguments *a, struct storage *st, struct mount *m)
{
	const char *proof_dir = getenv("VMFS_STATE_DIR");
	const struct vmfs_open_options options = {
		.devices = st->devices,
		.device_count = st->count,
		.is_read_only = a->mount.is_read_only,
		.is_forced6 = a->mount.is_forced6,
		.signature = a->mount.keeps_signature ? VMFS_SIGNATURE_KEEP
						      : VMFS_SIGNATURE_STRICT,
		.is_immutable = a->mount.is_immutable,
		.is_degraded = a->mount.is_degraded,
		.reporter = m->reporter,
		.heartbeat_device = st->heartbeat,
		.guard = st->guard,
		.lease_profile = VMFS_LEASE_FOLLOW,
		.is_lazy = true, /* POSIX: durable after fsync */
		.proof_dir = proof_dir ? proof_dir : BDEV_PROOF_DIR,
	};
	return vmfs_volume_open(&options, &m->vol);
}

/* What is open is closed, and no file is left behind, before the volume is. */
static int serve_volume(const struct arguments *a, struct mount *m, struct log *log,
			int ready_fd)
{
	const struct vdisks_options disks = { .is_on = a->mount.has_vdisks,
					      .key_file = a->mount.key_file };
	int err = vdisks_init(&m->vdisks, m->vol, &disks, m->reporter);
	if (err)
		return err;
	opened_init(&m->opened, m->vol, &m->vdisks, m->reporter);
	removed_init(&m->removed);
	wave_init(&m->reads, READ_AHEAD);
	err = serve(a, m, log, ready_fd);
	vmfs_volume_limit_wait(m->vol, VMFS_TOOL_WAIT_NS);
	opened_done(&m->opened);
	removed_done(&m->removed);
	wave_done(&m->reads);
	vdisks_done(&m->vdisks);
	return err;
}

static int run(const struct arguments *a, struct log *log, int ready_fd)
{
	struct storage st = { 0 };
	struct mount m = { .reporter = &log->base, .options = a->mount };
	sigset_t set = ending_signals();
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* for all tasks from here on */
	int err = open_storage(a, m.reporter, &st);
	if (!err)
		err = open_volume(a, &st, &m);
	if (!err)
		m.ahead = ahead_new(m.vol); /* without it each name is looked up alone */
	if (!err)
		err = serve_volume(a, &m, log, ready_fd);
	ahead_free(m.ahead);
	int close_err = vmfs_volume_close(m.vol);
	close_storage(&st);
	return err ? err : close_err;
}

/* The parent: 0 once the child's mount stands. */
static int wait_until_ready(int ready_fd)
{
	char byte;
	ssize_t n;
	do
		n = read(ready_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : 1;
}

static int run_in_background(const struct arguments *a, struct log *log)
{
	int ready[2];
	if (pipe2(ready, O_CLOEXEC) != 0) {
		(void)report_error(&log->base, -errno, "pipe: %s", strerror(errno));
		return 1;
	}
	pid_t child = fork();
	if (child < 0) {
		(void)report_error(&log->base, -errno, "fork: %s", strerror(errno));
		return 1;
	}
	if (child) {
		(void)close(ready[1]);
		return wait_until_ready(ready[0]);
	}
	(void)close(ready[0]);
	(void)setsid();
	return run(a, log, ready[1]) ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct log log = { .base.tell = log_tell };
	struct arguments a;
	(void)reporter_stderr_init(&log.terminal, "vmfs-fuse", REPORT_WARN);
	openlog("vmfs-fuse", LOG_PID, LOG_DAEMON);
	device_hide_secrets(argc, argv);
	int err = arguments_parse(argc, argv, &log.base, &a);
	if (err == 1) {
		fputs(arguments_usage, stdout);
		return 0;
	}
	if (err)
		return 1;
	int code = a.is_foreground ? (run(&a, &log, -1) ? 1 : 0)
				   : run_in_background(&a, &log);
	free(a.mount.key_file);
	free(a.mountpoint);
	return code;
}
