/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmfs-fuse: mounts a volume for inspection. It opens the devices read-only, takes no
 * heartbeat slot and writes nothing, so it may look at a volume that hosts are using.
 *
 * In the background the volume is opened after the fork, because threads and I/O contexts
 * do not survive one; the parent waits until the mount stands, or failed, and exits so.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/report.h"
#include "fuse/ops.h"
#include "iscsi/open.h"
#include "vmfs/format.h"

static const char usage_text[] =
	"usage: vmfs-fuse [-fds] [-o OPTION[,OPTION]...] DEVICE... MOUNTPOINT\n"
	"Mounts a volume read-only. All its extents must be given, in any order.\n"
	"  -f  stay in the foreground\n"
	"  -d  show requests (implies -f)\n"
	"  -s  one thread\n"
	"  -o  ro (the default), allow_other, or what fuse(8) knows\n"
	"examples:\n"
	"  vmfs-fuse /dev/sdb1 /mnt\n"
	"  cp --sparse=always /mnt/vm1/vm1-flat.vmdk /backup; fusermount3 -u /mnt\n";

static const struct option long_options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };

struct arguments {
	char **devices;
	unsigned int device_count;
	char *mountpoint; /* absolute: the background leaves this folder */
	bool is_foreground, is_debug, is_single;
	char options[1024]; /* for libfuse, "" or starting with a comma */
};

/* ---- arguments ---- */

static int add_option(struct arguments *a, const char *option, struct reporter *r)
{
	size_t used = strlen(a->options);
	if (strcmp(option, "rw") == 0)
		return report_error(
			r, -EINVAL,
			"mounting read-write is not available yet: use -o ro");
	if (strcmp(option, "ro") == 0 || !option[0])
		return 0;
	/* Others than the one who mounts are held to the modes of the files. */
	const char *more = strcmp(option, "allow_other") ? "" : ",default_permissions";
	if (used + strlen(option) + strlen(more) + 2 > sizeof(a->options))
		return report_error(r, -EINVAL, "-o %s: too many options", option);
	(void)snprintf(a->options + used, sizeof(a->options) - used, ",%s%s", option,
		       more);
	return 0;
}

static int add_options(struct arguments *a, char *list, struct reporter *r)
{
	int err = 0;
	char *rest = list;
	for (char *option; !err && (option = strsep(&rest, ","));)
		err = add_option(a, option, r);
	return err;
}

/* 0, 1 (usage wanted), or reported -EINVAL. */
static int arguments_parse(int argc, char **argv, struct arguments *a, struct reporter *r)
{
	int c, err = 0;
	while (!err &&
	       (c = getopt_long(argc, argv, "fdsho:", long_options, NULL)) != -1) {
		switch (c) {
		case 'd':
			a->is_debug = true;
			a->is_foreground = true;
			break;
		case 'f':
			a->is_foreground = true;
			break;
		case 's':
			a->is_single = true;
			break;
		case 'o':
			err = add_options(a, optarg, r);
			break;
		case 'h':
			return 1;
		default:
			return -EINVAL;
		}
	}
	if (err)
		return err;
	if (argc - optind < 2)
		return report_error(r, -EINVAL,
				    "a DEVICE and a MOUNTPOINT are needed (-h for help)");
	a->devices = argv + optind;
	a->device_count = (unsigned int)(argc - optind - 1);
	if (a->device_count > LVM_EXTENTS_MAX)
		return report_error(r, -EINVAL,
				    "%u devices: a volume has at most %u extents",
				    a->device_count, LVM_EXTENTS_MAX);
	const char *mountpoint = argv[argc - 1];
	struct stat st;
	if (stat(mountpoint, &st) != 0)
		return report_error(r, -errno, "%s: %s", mountpoint, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return report_error(r, -ENOTDIR, "%s: not a directory", mountpoint);
	a->mountpoint = realpath(mountpoint, NULL);
	return a->mountpoint
		       ? 0
		       : report_error(r, -errno, "%s: %s", mountpoint, strerror(errno));
}

/* ---- the session ---- */

static struct fuse_session *session_new(const struct arguments *a, struct mount *m)
{
	char options[sizeof(a->options) + 512];
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;
	/* A comma would end the name of the device. */
	(void)snprintf(options, sizeof(options), "-oro,subtype=vmfs,fsname=%.*s%s",
		       (int)strcspn(a->devices[0], ","), a->devices[0], a->options);
	if (fuse_opt_add_arg(&args, "vmfs-fuse") == 0 &&
	    fuse_opt_add_arg(&args, options) == 0 &&
	    (!a->is_debug || fuse_opt_add_arg(&args, "-d") == 0))
		session =
			fuse_session_new(&args, &vmfs_fuse_ops, sizeof(vmfs_fuse_ops), m);
	fuse_opt_free_args(&args);
	return session;
}

static int session_loop(struct fuse_session *session, bool is_single)
{
	if (is_single)
		return fuse_session_loop(session);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	if (!config)
		return -ENOMEM;
	int err = fuse_session_loop_mt(session, config);
	fuse_loop_cfg_destroy(config);
	return err;
}

/* Away from the terminal: nothing is said any more. */
static void detach(void)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		return;
	for (int i = 0; i < 3; i++)
		(void)dup2(null_fd, i);
	if (null_fd > 2)
		(void)close(null_fd);
}

/* Mounts and serves until unmounted or told to stop. ready_fd: closed, 1 byte, or -1. */
static int serve(const struct arguments *a, struct mount *m, int ready_fd)
{
	struct fuse_session *session = session_new(a, m);
	if (!session)
		return -EINVAL; /* libfuse has said why */
	int err = -EIO;
	if (fuse_set_signal_handlers(session) == 0) {
		if (fuse_session_mount(session, a->mountpoint) == 0) {
			if (ready_fd >= 0) {
				ssize_t n = write(ready_fd, "", 1);
				(void)close(ready_fd);
				detach();
				err = n == 1 && chdir("/") == 0 ? 0 : -EIO;
			}
			if (ready_fd < 0 || !err)
				err = session_loop(session, a->is_single);
			fuse_session_unmount(session);
		}
		fuse_remove_signal_handlers(session);
	}
	fuse_session_destroy(session);
	/* The number of a signal is a clean end, too. */
	return err > 0 ? 0 : err;
}

static int run(const struct arguments *a, struct reporter *r, int ready_fd)
{
	struct bdev *devices[LVM_EXTENTS_MAX] = { 0 };
	struct mount m = { .reporter = r };
	int err = 0;
	for (unsigned int i = 0; !err && i < a->device_count; i++)
		err = device_open(a->devices[i], BDEV_OPEN_READ_ONLY, NULL, r,
				  &devices[i]);
	if (!err) {
		struct vmfs_open_options options = {
			.devices = devices,
			.device_count = a->device_count,
			.is_read_only = true,
			.reporter = r,
		};
		err = vmfs_volume_open(&options, &m.vol);
	}
	if (!err)
		err = serve(a, &m, ready_fd);
	int close_err = vmfs_volume_close(m.vol);
	for (unsigned int i = 0; i < a->device_count; i++)
		bdev_close(devices[i]);
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

static int run_in_background(const struct arguments *a, struct reporter *r)
{
	int ready[2];
	if (pipe2(ready, O_CLOEXEC) != 0) {
		(void)report_error(r, -errno, "pipe: %s", strerror(errno));
		return 1;
	}
	pid_t child = fork();
	if (child < 0) {
		(void)report_error(r, -errno, "fork: %s", strerror(errno));
		return 1;
	}
	if (child) {
		(void)close(ready[1]);
		return wait_until_ready(ready[0]);
	}
	(void)close(ready[0]);
	(void)setsid();
	return run(a, r, ready[1]) ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct reporter_stderr stderr_reporter;
	struct reporter *r =
		reporter_stderr_init(&stderr_reporter, "vmfs-fuse", REPORT_WARN);
	struct arguments a = { 0 };
	int err = arguments_parse(argc, argv, &a, r);
	if (err == 1) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (err)
		return 1;
	int code = a.is_foreground ? (run(&a, r, -1) ? 1 : 0) : run_in_background(&a, r);
	free(a.mountpoint);
	return code;
}
