/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vdisk-nbd: one disk over NBD, by the server that VMs have (vdisk/nbd/). Open, serve,
 * wait for a signal, close in reverse order.
 *
 * A disk that is served for writing is locked as a VM's is, and a disk that is only read
 * is locked so that nobody writes it meanwhile. Who is killed leaves a disk that holds
 * what was flushed, as after a power failure of a guest; its lock goes as that of any
 * dead host.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/env.h"
#include "base/parse.h"
#include "bdev/worker.h"
#include "iscsi/open.h"
#include "vdisk/export/export.h"
#include "vdisk/nbd/proto.h"
#include "vdisk/nbd/server.h"
#include "vdisk/tool/tool.h"
#include "vmkernel/msg/sock.h"

#define WORKERS 4u
#define LOCK_WAIT_S 30u
#define STOP_WAIT (10 * NS_PER_S) /* for storage that is away */

struct arguments {
	const char *what, *name, *socket, *port, *address, *key_file;
	uint64_t wait_s;
	bool is_read_only, is_unlocked, is_verbose;
};

struct export {
	const struct arguments *a;
	struct teller t;
	struct place place;	/* of a disk; its device is NULL: a file of this host */
	struct mount m;		/* of its volume */
	struct vdisk *disk;
	struct bdev *raw;	/* instead */
	struct vmfs_holder holder;
	struct worker_pool *pool;
	struct vdisk_secret secret;
	struct contexts contexts;
};

/* ---- what is served ---- */

static bool is_vmdk(const char *path)
{
	size_t len = strlen(path);
	return len >= 5 && strcasecmp(path + len - 5, ".vmdk") == 0;
}

static int open_disk(struct export *e)
{
	bool is_looking = e->a->is_unlocked; /* else a member: for the lock */
	struct vdisk_open_options o = {
		.flags = is_looking	    ? VDISK_READ :
			 e->a->is_read_only ? VDISK_READ_LOCKED :
					      VDISK_WRITE | VDISK_PROMPT,
		.deadline = clock_now() + e->a->wait_s * NS_PER_S,
		.reporter = &e->t.base,
		.luns = &tool_luns,
		.secret = e->a->key_file ? &e->secret : NULL,
	};
	int rc = 0;
	if (e->a->key_file)
		rc = vdisk_secret_read(e->a->key_file, false, &e->t.base, &e->secret);
	if (rc == 0 && e->place.device && !is_looking)
		rc = mount_guard(&e->m, &e->t, e->place.device);
	if (rc == 0 && e->place.device)
		rc = mount_open(&e->m, &e->t, e->place.device, is_looking);
	if (rc == 0)
		rc = vdisk_open(e->m.vol, e->place.path, &o, &e->disk, &e->holder);
	vdisk_secret_done(&e->secret);
	if (rc == 0)
		rc = vdisk_check_unlocked(e->disk, &e->t.base);
	return rc;
}

/* A place on a volume, a .vmdk file of this host, or a device that is served raw. */
static int open_it(struct export *e)
{
	const char *what = e->a->what;
	uint32_t flags = e->a->is_read_only ? BDEV_OPEN_READ_ONLY : 0;
	char *device, *path;
	if (access(what, F_OK) == 0 || !is_place(what)) {
		if (!is_vmdk(what))
			return device_open(what, flags, NULL, &e->t.base, &e->raw);
		e->place.path = strdup(what);
		return e->place.path ? open_disk(e) : -ENOMEM;
	}
	if (device_is_iscsi_url(what) && device_split_path(what, &device, &path) < 0)
		return device_open(what, flags, NULL, &e->t.base, &e->raw);
	if (device_is_iscsi_url(what)) {
		free(device);
		free(path);
	}
	int rc = place_parse(&e->t, what, &e->place);
	return rc ? rc : open_disk(e);
}

static int close_it(struct export *e)
{
	contexts_done(&e->contexts);
	int rc = vdisk_close(e->disk);
	bdev_close(e->raw);
	worker_pool_free(e->pool);
	int err = mount_close(&e->m);
	return rc ? rc : err;
}

/* ---- serving ---- */

static int listen_somewhere(struct export *e, unsigned int *ret_port)
{
	struct reporter *r = &e->t.base;
	if (!e->a->socket)
		return listen_tcp(e->a->address, e->a->port, r, ret_port);
	int sock = sock_listen(e->a->socket);
	return sock < 0 ? report_error(r, sock, "%s: %s", e->a->socket, strerror(-sock)) :
			  sock;
}

/* One line on standard output: how clients name it. */
static int tell_where(const struct export *e, unsigned int port)
{
	const struct arguments *a = e->a;
	bool is_6 = a->address && strchr(a->address, ':');
	if (a->socket)
		(void)printf("nbd+unix:///%s?socket=%s\n", a->name, a->socket);
	else
		(void)printf("nbd://%s%s%s:%u/%s\n", is_6 ? "[" : "", a->address,
			     is_6 ? "]" : "", port, a->name);
	return fflush(stdout) == 0 ? 0 : -errno;
}

static void wait_for_signal(void)
{
	sigset_t set;
	int number;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	while (sigwait(&set, &number) != 0)
		continue;
}

static int serve(struct export *e)
{
	struct nbd_server *server;
	unsigned int port = 0;
	int rc = 0;
	e->pool = worker_pool_new("disk-work", WORKERS);
	if (!e->pool)
		return -ENOMEM;
	struct nbd_server_options options = {
		.name = e->a->name,
		.bd = e->raw ? e->raw : vdisk_bdev(e->disk),
		.is_read_only = e->a->is_read_only,
		.reporter = &e->t.base,
	};
	bdev_set_pool(options.bd, e->pool);
	if (e->disk) {
		rc = contexts_init(&e->contexts, e->disk, e->pool);
		options.contexts = &e->contexts.base;
	}
	options.listen_sock = rc ? rc : listen_somewhere(e, &port);
	if (options.listen_sock < 0)
		return options.listen_sock;
	rc = nbd_server_start(&options, &server);
	if (rc < 0) {
		(void)close(options.listen_sock);
		return rc;
	}
	rc = tell_where(e, port);
	if (rc == 0)
		wait_for_signal();
	if (e->m.vol)
		vmfs_volume_limit_wait(e->m.vol, STOP_WAIT);
	nbd_server_stop(server);
	if (e->a->socket)
		(void)unlink(e->a->socket); /* a stale one is replaced anyway */
	return rc;
}

static int run(const struct arguments *a)
{
	struct export e = { .a = a, .m.is_host = true };
	teller_init(&e.t, a->is_verbose);
	int rc = open_it(&e);
	if (rc == 0)
		rc = serve(&e);
	int err = close_it(&e);
	int status = complain(&e.t, a->what, rc ? rc : err, &e.holder);
	place_done(&e.place);
	teller_done(&e.t);
	return status;
}

/* ---- the command line ---- */

static const char manual_text[] =
	"Usage: vdisk-nbd [OPTIONS] DISK\n"
	"Serves one disk over NBD until SIGTERM; prints its URI when it is ready.\n"
	"DISK is DEVICE:/dir/x.vmdk on a VMFS volume (DEVICE: a file, a block device,\n"
	"an iscsi:// URL), [label] dir/x.vmdk beside a running vmkernel, a .vmdk file\n"
	"of this host, or anything else as it is (a raw image, a device, a LUN).\n"
	"\n"
	"  -k, --socket PATH        a unix socket; else TCP:\n"
	"  -p, --port PORT          default 10809; 0: any free one\n"
	"  -b, --bind ADDRESS       default 127.0.0.1: only this machine\n"
	"  -x, --export-name NAME   default: the last part of DISK's name\n"
	"  -r, --read-only          nobody writes, here or elsewhere, meanwhile\n"
	"      --unlocked           with -r: takes no lock, writes nothing\n"
	"      --wait SECONDS       for a disk that is in use (default 30)\n"
	"      --key-file FILE      of an encrypted disk (-: a line of standard input)\n"
	"  -v, --verbose\n"
	"      --help\n"
	"\n"
	"Metadata contexts:\n"
	"  base:allocation          what is data and what is only zeros\n"
	"  openvmfs:cbt:CHANGEID    what has changed since (vmkfstools --changeId);\n"
	"                           the list of contexts has the disk's id\n"
	"\n"
	"Examples:\n"
	"  vdisk-nbd -r /dev/sdb:/vm1/vm1.vmdk -k /tmp/s &\n"
	"  nbdinfo --map 'nbd+unix:///?socket=/tmp/s'\n"
	"  nbdcopy 'nbd+unix:///?socket=/tmp/s' vm1.raw\n"
	"  nbdinfo --map='openvmfs:cbt:CHANGEID' 'nbd+unix:///?socket=/tmp/s'\n"
	"  vdisk-nbd vm1.vmdk -p 10810 &\n"
	"  qemu-img convert -f raw -O qcow2 nbd://127.0.0.1:10810 vm1.qcow2\n";

static int usage(const char *why, const char *what)
{
	(void)fprintf(stderr, "vdisk-nbd: %s%s (try vdisk-nbd --help)\n", why, what);
	return 1;
}

enum { OPTION_WAIT = 256, OPTION_UNLOCKED, OPTION_KEY_FILE, OPTION_HELP };

static const struct option long_options[] = {
	{ "socket", required_argument, NULL, 'k' },
	{ "port", required_argument, NULL, 'p' },
	{ "bind", required_argument, NULL, 'b' },
	{ "export-name", required_argument, NULL, 'x' },
	{ "read-only", no_argument, NULL, 'r' },
	{ "unlocked", no_argument, NULL, OPTION_UNLOCKED },
	{ "wait", required_argument, NULL, OPTION_WAIT },
	{ "key-file", required_argument, NULL, OPTION_KEY_FILE },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

/* One option; NULL, or what is wrong with its argument. */
static const char *take_option(struct arguments *a, int c)
{
	switch (c) {
	case 'k':
		a->socket = optarg;
		break;
	case 'p':
		a->port = optarg;
		break;
	case 'b':
		a->address = optarg;
		break;
	case 'x':
		a->name = optarg;
		return strlen(optarg) > NBD_NAME_MAX ? "too long a name: " : NULL;
	case 'r':
		a->is_read_only = true;
		break;
	case 'v':
		a->is_verbose = true;
		break;
	case OPTION_KEY_FILE:
		a->key_file = optarg;
		break;
	case OPTION_UNLOCKED:
		a->is_unlocked = true;
		break;
	case OPTION_WAIT:
		if (parse_u64(optarg, UINT32_MAX, &a->wait_s) < 0)
			return "not a number of seconds: ";
		break;
	}
	return NULL;
}

static int parse(int argc, char **argv, struct arguments *a)
{
	int c;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":k:p:b:x:rv", long_options, NULL)) != -1) {
		char letter[3] = { '-', (char)optopt, '\0' };
		const char *option = optopt && optopt < 256 ? letter : argv[optind - 1];
		const char *wrong = take_option(a, c);
		if (c == OPTION_HELP)
			return -ECANCELED;
		if (c == '?' || c == ':')
			return usage(c == '?' ? "unknown option " : "no argument of ",
				     option);
		if (wrong)
			return usage(wrong, optarg);
	}
	if (optind == argc)
		return usage("the disk is missing", "");
	if (optind + 1 < argc)
		return usage("too many operands: ", argv[optind + 1]);
	if (a->socket && (a->port || a->address))
		return usage("a unix socket or TCP, not both", "");
	if (a->is_unlocked && !a->is_read_only)
		return usage("--unlocked needs -r", "");
	a->what = argv[optind];
	const char *slash = strrchr(a->what, '/');
	if (!a->name)
		a->name = slash ? slash + 1 : a->what;
	if (!a->socket && !a->address)
		a->address = "127.0.0.1";
	if (!a->socket && !a->port)
		a->port = "10809";
	return 0;
}

/* The tasks that are started later leave the signals to wait_for_signal(). */
static void block_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct arguments a = { .wait_s = LOCK_WAIT_S };
	device_hide_secrets(argc, argv);
	int rc = parse(argc, argv, &a);
	if (rc == -ECANCELED) {
		(void)fputs(manual_text, stdout);
		return 0;
	}
	if (rc != 0)
		return rc;
	block_signals();
	return run(&a);
}
