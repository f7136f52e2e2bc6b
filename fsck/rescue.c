/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmfs-rescue: the command line. What a command prints is on stdout, what could not be
 * had on stderr. Devices are opened read-only, whatever is asked for.
 */
#include "fsck/rescue.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "iscsi/open.h"

#define RETRIES_MAX 1000u

enum exit_code {
	EXIT_WHOLE = 0,
	EXIT_FAILED = 1,
	EXIT_PARTIAL = 2,
	EXIT_WRONG_USE = 16,
};

static const char usage_text[] =
	"usage: vmfs-rescue find [-a] DISK\n"
	"       vmfs-rescue list [-e EXTENT]... DEVICE[@OFFSET]\n"
	"       vmfs-rescue undelete [OPTION]... DEVICE[@OFFSET] FD|PATH|-a OUT\n"
	"       vmfs-rescue copy [OPTION]... DEVICE[@OFFSET] PATH|-a OUT\n"
	"       vmfs-rescue vmdk [-t ADAPTER] [DEVICE[@OFFSET]] FLAT OUT.vmdk\n"
	"  find      VMFS volumes on a disk without partition table (-a: also inside of\n"
	"            those that were found)\n"
	"  list      removed files, and what is left of them\n"
	"  undelete  (or recover) one of them or all (-a), to files on the host\n"
	"  copy      a file or a tree, or all (-a), out of a damaged volume\n"
	"  vmdk      a new descriptor for a flat file\n"
	"  -e EXTENT   a further extent of the volume\n"
	"  -m MAPFILE  the map of what is missing (OUT.map), as ddrescue writes it\n"
	"  -r RETRIES  further reads of a bad sector (1)\n"
	"  -t ADAPTER  lsilogic (default), buslogic, ide, pvscsi, ...\n"
	"  -q          say less\n"
	"Devices are only read. Exit code: 0 whole, 1 failed, 2 not whole or nothing\n"
	"found, 16 wrong usage. The same command again goes on where it was broken off.\n"
	"examples:\n"
	"  vmfs-rescue find /dev/sdb\n"
	"  vmfs-rescue list /dev/sdb@1048576\n"
	"  vmfs-rescue undelete /dev/sdb1 /vm1/vm1-flat.vmdk /mnt/vm1-flat.vmdk\n"
	"  vmfs-rescue copy -r 3 /dev/sdb1 -a /mnt/all\n"
	"  vmfs-rescue vmdk /mnt/vm1-flat.vmdk /mnt/vm1.vmdk\n";

static const struct option long_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "all", no_argument, NULL, 'a' },
	{ "extent", required_argument, NULL, 'e' },
	{ "map", required_argument, NULL, 'm' },
	{ "retries", required_argument, NULL, 'r' },
	{ "adapter", required_argument, NULL, 't' },
	{ "quiet", no_argument, NULL, 'q' },
	{ 0 },
};

struct request {
	struct rescue rescue;
	struct rescue_reporter reporter;
	struct rescue_options options;
	char **args; /* behind the command */
	int arg_count;
};

static void tell(struct reporter *base, enum report_level level, const char *text)
{
	const struct rescue_reporter *r = (const struct rescue_reporter *)base;
	if (r->is_quiet || level > (r->is_silent ? REPORT_WARN : REPORT_INFO))
		return;
	fprintf(stderr, "vmfs-rescue: %s", level == REPORT_WARN ? "warning: " : "");
	for (; *text; text++) /* names of the disk are in it */
		fputc((unsigned char)*text < ' ' ? '?' : *text, stderr);
	fputc('\n', stderr);
}

static int wrong_use(struct request *q, const char *text)
{
	return report_error(&q->reporter.base, EXIT_WRONG_USE, "%s (-h for help)", text);
}

/* 0, or an exit code. */
static int take_option(struct request *q, int c)
{
	uint64_t n;
	switch (c) {
	case 'a':
		q->options.is_all = true;
		return 0;
	case 'e':
		if (q->rescue.device_count == LVM_EXTENTS_MAX - 1)
			return wrong_use(q, "too many extents");
		q->rescue.names[q->rescue.device_count++] = optarg;
		return 0;
	case 'm':
		q->options.map_path = optarg;
		return 0;
	case 'r':
		if (parse_u64(optarg, RETRIES_MAX, &n) != 0)
			return wrong_use(q, "-r: 0 to 1000");
		q->options.retries = (unsigned int)n;
		return 0;
	case 't':
		q->options.adapter = optarg;
		return 0;
	case 'q':
		q->reporter.is_silent = true;
		return 0;
	default:
		return EXIT_WRONG_USE;
	}
}

/* The command on an open volume. */
static int run_on(struct request *q, const char *command)
{
	struct rescue *s = &q->rescue;
	char **args = q->args + 1; /* behind DEVICE */
	const struct rescue_options *o = &q->options;
	if (strcmp(command, "list") == 0)
		return rescue_list(s);
	if (strcmp(command, "copy") == 0)
		return rescue_copy(s, o->is_all ? NULL : args[0],
				   args[o->is_all ? 0 : 1], o);
	if (strcmp(command, "vmdk") == 0)
		return rescue_vmdk(s, args[0], args[1], o->adapter, &s->r->base);
	return rescue_undelete(s, o->is_all ? NULL : args[0], args[o->is_all ? 0 : 1], o);
}

/* Arguments that a command takes, -1: it does not exist. */
static int args_wanted(const struct request *q, const char *command)
{
	if (strcmp(command, "find") == 0 || strcmp(command, "list") == 0)
		return 1;
	if (strcmp(command, "vmdk") == 0)
		return q->arg_count == 2 ? 2 : 3;
	bool is_known = strcmp(command, "copy") == 0 ||
			strcmp(command, "undelete") == 0 ||
			strcmp(command, "recover") == 0;
	return !is_known ? -1 : q->options.is_all ? 2 : 3;
}

static int run(struct request *q, const char *command)
{
	struct rescue *s = &q->rescue;
	int wanted = args_wanted(q, command);
	if (wanted < 0)
		return wrong_use(q, "no such command");
	if (q->arg_count != wanted)
		return wrong_use(q, "not the arguments that it takes");
	if (q->options.map_path && q->options.is_all)
		return wrong_use(q, "-m is for one file");
	if (strcmp(command, "find") == 0)
		return rescue_find(q->args[0], q->options.is_all, &q->reporter.base);
	if (strcmp(command, "vmdk") == 0 && wanted == 2)
		return rescue_vmdk(NULL, q->args[0], q->args[1], q->options.adapter,
				   &q->reporter.base);
	s->names[s->device_count++] = q->args[0];
	int rc = rescue_open(s);
	return rc ? rc : run_on(q, command);
}

int main(int argc, char **argv)
{
	struct request *q = calloc(1, sizeof(*q));
	int c, code = 0;
	if (!q)
		return EXIT_FAILED;
	q->reporter.base.tell = tell;
	q->rescue.r = &q->reporter;
	q->options = (struct rescue_options){ .retries = 1, .adapter = "lsilogic" };
	device_hide_secrets(argc, argv);
	while (code == 0 &&
	       (c = getopt_long(argc, argv, "ae:m:r:t:qh", long_options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			free(q);
			return 0;
		}
		code = take_option(q, c);
	}
	if (code == 0 && optind == argc)
		code = wrong_use(q, "a command is needed");
	if (code == 0) {
		q->args = argv + optind + 1;
		q->arg_count = argc - optind - 1;
		int rc = run(q, argv[optind]);
		code = rc < 0 ? EXIT_FAILED : rc == 1 ? EXIT_PARTIAL : rc;
		rescue_close(&q->rescue);
	}
	free(q);
	return fflush(stdout) == 0 ? code : EXIT_FAILED;
}
