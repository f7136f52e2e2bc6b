/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck.vmfs: checks and repairs a volume of one or more extents. Findings go to stdout,
 * one line each, with a code; what prevents a check goes to stderr. Exit codes are those
 * of e2fsck.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/report.h"
#include "fsck/answer.h"
#include "fsck/progress.h"
#include "fsck/session.h"
#include "fsck/undo.h"
#include "iscsi/open.h"

#define PER_CODE_MAX 20u /* lines of one code that are printed without -v */

enum exit_code {
	EXIT_CLEAN = 0,
	EXIT_REPAIRED = 1,
	EXIT_ERRORS_LEFT = 4,
	EXIT_OPERATIONAL = 8,
	EXIT_USAGE = 16,
	EXIT_CANCELED = 32,
};

static const char usage_text[] =
	"usage: fsck.vmfs [-n | -p | -y] [-f] [-v] [-C FD] [-z UNDOFILE] [--online]\n"
	"                 [--force-foreign] [--json] DEVICE...\n"
	"       fsck.vmfs --undo UNDOFILE DEVICE...\n"
	"       fsck.vmfs --list-findings\n"
	"All extents of the volume must be given, in any order. VMFS-3, and VMFS-6\n"
	"that ESXi made, are repaired with --force-foreign only. Without -n, -p and -y\n"
	"each repair is asked for, on a terminal.\n"
	"  -n  check only, write nothing\n"
	"  -p  repair what costs nothing (counts, bitmaps, lost blocks, orphans)\n"
	"  -y  repair all that can be repaired\n"
	"  -f  accepted: a check is always complete\n"
	"  -v  print every finding, and notes\n"
	"  -C FD            lines \"pass done all\" to this descriptor; 0: a bar on the\n"
	"                   terminal, which is also there when a check takes long\n"
	"  -z UNDOFILE      keep what is changed there (default: a file in\n"
	"                   " UNDO_FOLDER ")\n"
	"  --online         hosts may be writing: what changes while it is looked at is\n"
	"                   looked at again; nothing is locked or written; implies -n\n"
	"  --force-foreign  repair VMFS-3, and VMFS-6 that another system made, too\n"
	"  --undo UNDOFILE  put back what was changed, if nobody used the volume since\n"
	"  --json           print one JSON object instead of lines\n"
	"  --list-findings  print all that can be found: code and sentence, one a line\n"
	"exit code: 0 clean, 1 repaired, 4 errors left, 8 not checked, 16 wrong usage,\n"
	"32 canceled; 1, 4 and 8 may be added\n"
	"examples:\n"
	"  fsck.vmfs -n /dev/sdb1\n"
	"  fsck.vmfs -p /dev/sdb1\n"
	"  fsck.vmfs -y -z /root/sdb1.undo /dev/sdb1\n"
	"  fsck.vmfs --undo /root/sdb1.undo /dev/sdb1\n"
	"  fsck.vmfs -y --force-foreign /dev/sdb1\n"
	"  fsck.vmfs -n -v extent1.img extent2.img\n"
	"  fsck.vmfs -n --online /dev/sdb1\n"
	"  fsck.vmfs -n -C 0 /dev/sdb1\n"
	"  fsck.vmfs -n --json /dev/sdb1 | jq .errors\n";

enum long_only { OPT_JSON = 256, OPT_LIST, OPT_UNDO, OPT_ONLINE, OPT_FORCE };

static const struct option long_options[] = {
	{ "force-foreign", no_argument, NULL, OPT_FORCE },
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "list-findings", no_argument, NULL, OPT_LIST },
	{ "online", no_argument, NULL, OPT_ONLINE },
	{ "undo", required_argument, NULL, OPT_UNDO },
	{ 0 },
};

struct printer {
	bool is_verbose, is_online;
	bool has_progress; /* -C was given */
	struct progress progress;
	struct answers *answers; /* what is repaired; NULL: nothing */
	unsigned int counts[PROBLEM_COUNT];
	json_t *findings; /* --json: collected, not printed */
};

/* What stands before the sentence. */
static const char *const kinds[] = {
	[FINDING_NOTE] = "note: ",
	[FINDING_WARNING] = "warning: ",
	[FINDING_ERROR] = "",
	[FINDING_FAILURE] = "",
};

/* What stands before what a repair does. */
static const char *const repairs[] = {
	[REPAIR_NEVER] = "not repaired",
	[REPAIR_ASKED] = "repair, not by -p",
	[REPAIR_SAFE] = "repair",
};

static const char *const severities[] = {
	[FINDING_NOTE] = "note",
	[FINDING_WARNING] = "warning",
	[FINDING_ERROR] = "error",
	[FINDING_FAILURE] = "failure",
};

/* A name on the disk may be no UTF-8: such bytes become '?'. */
static json_t *text_json(const char *text)
{
	json_t *whole = json_string(text);
	char ascii[512];
	size_t i = 0;
	if (whole)
		return whole;
	for (; i < sizeof(ascii) - 1 && text[i]; i++)
		ascii[i] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?';
	ascii[i] = '\0';
	return json_string(ascii);
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	struct printer *p = arg;
	const struct problem *row = fsck_problem(problem);
	if (p->answers && !answers_is_new(p->answers, problem, text))
		return; /* a round before told it */
	if (p->findings) {
		(void)json_array_append_new(
			p->findings,
			json_pack("{ss ss so ss}", "code", row->code, "severity",
				  severities[row->severity], "text", text_json(text),
				  "repair", row->repair));
		return;
	}
	unsigned int n = ++p->counts[problem];
	bool is_quiet_note = problem == PROBLEM_LOCK_STALE && !p->is_verbose;
	if (is_quiet_note || (n > PER_CODE_MAX && !p->is_verbose))
		return;
	progress_clear(&p->progress);
	printf("%s: %s%s\n", row->code, kinds[row->severity], text);
}

static void tell_progress(void *arg, unsigned int pass, uint64_t done, uint64_t all)
{
	struct printer *p = arg;
	progress_tell(&p->progress, pass, done, all);
}

static bool may_repair(void *arg, enum fsck_problem problem, const char *text)
{
	struct printer *p = arg;
	progress_clear(&p->progress);
	return answers_get(p->answers, problem, text);
}

static void print_rest(const struct printer *p)
{
	for (unsigned int i = 0; i < PROBLEM_COUNT && !p->is_verbose; i++)
		if (p->counts[i] > PER_CODE_MAX && i != PROBLEM_LOCK_STALE)
			printf("%s: %u more (-v shows them)\n",
			       fsck_problem((enum fsck_problem)i)->code,
			       p->counts[i] - PER_CODE_MAX);
}

static void print_summary(const char *name, const struct fsck_summary *s, bool is_online)
{
	if (s->changed_count)
		printf("%s: %u places changed while they were looked at\n", name,
		       s->changed_count);
	if (s->is_live && !is_online)
		printf("%s: a heartbeat is in use: %s\n", name,
		       s->errors ? "findings may be transient"
				 : "a host has it mounted, or died");
	printf("%s: '%s', VMFS-%u.%u, %llu files, %llu directories, %llu/%llu blocks: ",
	       name, s->label, s->version, s->minor,
	       (unsigned long long)s->file_count, (unsigned long long)s->directory_count,
	       (unsigned long long)s->used_block_count,
	       (unsigned long long)s->block_count);
	if (s->errors || s->warnings)
		printf("%u errors, %u warnings%s\n", s->errors, s->warnings,
		       s->has_failed ? ", not all could be read" : "");
	else
		printf("%s\n", s->has_failed ? "not all could be read" : "clean");
}

/* All that was found, and what print_summary() says. Takes the findings. */
static void print_json(struct printer *p, const char *name, const struct fsck_summary *s,
		       bool is_changed)
{
	json_t *all = json_pack(
		"{ss so si si sI sI sI sI si si si si sb sb sb sb so}", "device", name,
		"label", text_json(s->label), "version", (int)s->version, "minor",
		(int)s->minor, "files", (json_int_t)s->file_count, "directories",
		(json_int_t)s->directory_count, "blocks", (json_int_t)s->block_count,
		"used_blocks", (json_int_t)s->used_block_count, "errors", (int)s->errors,
		"warnings", (int)s->warnings, "notes", (int)s->notes, "changed",
		(int)s->changed_count, "in_use",
		(int)s->is_live, "needs_recovery", (int)s->needs_recovery, "complete",
		(int)!s->has_failed, "repaired", (int)is_changed, "findings",
		p->findings);
	p->findings = NULL;
	(void)json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
}

static int list_findings(void)
{
	for (unsigned int i = 0; i < PROBLEM_COUNT; i++) {
		const struct problem *row = fsck_problem((enum fsck_problem)i);
		printf("%s: %s%s; %s: %s\n", row->code, kinds[row->severity],
		       row->meaning, repairs[row->how], row->repair);
	}
	return fflush(stdout) == 0 ? EXIT_CLEAN : EXIT_OPERATIONAL;
}

/* ---- what is to be done ---- */

struct arguments {
	char **names;
	char *shown; /* the first of them without its password; NULL: there is none */
	unsigned int count;
	enum answer_mode mode;
	bool is_forced;
	const char *undo_path; /* -z */
	const char *undo_from; /* --undo */
};

static int devices_open(const struct arguments *a, uint32_t flags, struct reporter *r,
			struct bdev **ret_devices)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < a->count; i++)
		err = device_open(a->names[i], flags, NULL, r, &ret_devices[i]);
	return err;
}

static int check(const struct arguments *a, struct bdev **devices,
		 struct printer *printer, struct reporter *r,
		 struct session_result *ret_result)
{
	struct fsck_options options = {
		.devices = devices,
		.device_count = a->count,
		.reporter = r,
		.found = found,
		.progress = tell_progress,
		.arg = printer,
		.is_online = printer->is_online,
	};
	return fsck_check(&options, &ret_result->last);
}

static int repair(const struct arguments *a, struct bdev **devices,
		  struct printer *printer, struct reporter *r,
		  struct session_result *ret_result)
{
	char path[UNDO_PATH_SIZE] = "";
	struct session_options options = {
		.devices = devices,
		.device_count = a->count,
		.reporter = r,
		.is_forced = a->is_forced,
		.undo_path = a->undo_path ? a->undo_path : path,
		.found = found,
		.progress = tell_progress,
		.may_repair = may_repair,
		.arg = printer,
	};
	int err = a->undo_path ? 0 : undo_default_path(a->shown, path, r);
	if (!err)
		err = session_run(&options, ret_result);
	if (!err && ret_result->is_changed)
		report(r, REPORT_INFO, "what was changed is in %s", options.undo_path);
	return err;
}

static int exit_code(const struct session_result *result, const struct printer *p)
{
	/* A dead host that is taken over may have been an error. */
	bool is_mended = result->is_recovered && result->first.errors;
	int code = result->is_changed || is_mended ? EXIT_REPAIRED : EXIT_CLEAN;
	if (result->last.errors)
		code |= EXIT_ERRORS_LEFT;
	if (result->last.has_failed)
		code |= EXIT_OPERATIONAL;
	return p->answers && answers_is_canceled(p->answers) ? EXIT_CANCELED : code;
}

static int check_or_repair(const struct arguments *a, struct printer *printer,
			   struct reporter *r)
{
	struct bdev *devices[LVM_EXTENTS_MAX] = { 0 };
	struct session_result result = { 0 };
	bool is_check = a->mode == ANSWER_NO;
	int err = devices_open(a,
			       is_check ? BDEV_OPEN_READ_ONLY : BDEV_OPEN_EXCLUSIVE, r,
			       devices);
	if (!err)
		err = is_check ? check(a, devices, printer, r, &result)
			       : repair(a, devices, printer, r, &result);
	progress_clear(&printer->progress);
	if (!err && printer->findings) {
		print_json(printer, a->shown, &result.last, result.is_changed);
	} else if (!err) {
		print_rest(printer);
		if (result.is_changed)
			printf("%s: repaired\n", a->shown);
		print_summary(a->shown, &result.last, printer->is_online);
	}
	for (unsigned int i = 0; i < a->count; i++)
		bdev_close(devices[i]);
	if (fflush(stdout) != 0)
		err = -EIO;
	if (err == -ECANCELED)
		return EXIT_CANCELED;
	return err ? EXIT_OPERATIONAL | (result.is_changed ? EXIT_ERRORS_LEFT : 0)
		   : exit_code(&result, printer);
}

static int undo(const struct arguments *a, struct reporter *r)
{
	struct bdev *devices[LVM_EXTENTS_MAX] = { 0 };
	struct undo_done done;
	int err = devices_open(a, BDEV_OPEN_EXCLUSIVE, r, devices);
	if (!err)
		err = undo_restore(a->undo_from, devices, a->count, r, &done);
	if (!err)
		printf("%s: %llu sectors put back, %llu were as before\n", a->shown,
		       (unsigned long long)done.sectors, (unsigned long long)done.same);
	for (unsigned int i = 0; i < a->count; i++)
		bdev_close(devices[i]);
	return err || fflush(stdout) != 0 ? EXIT_OPERATIONAL : EXIT_CLEAN;
}

static int run(const struct arguments *a, struct printer *printer, struct reporter *r)
{
	if (a->count == 0) {
		(void)report_error(r, -EINVAL, "a DEVICE is needed (-h for help)");
		return EXIT_USAGE;
	}
	if (a->count > LVM_EXTENTS_MAX) {
		(void)report_error(r, -EINVAL,
				   "%u devices: a volume has at most %u extents",
				   a->count, LVM_EXTENTS_MAX);
		return EXIT_USAGE;
	}
	if (a->undo_from)
		return undo(a, r);
	if (a->mode == ANSWER_ASK && !answers_can_ask()) {
		(void)report_error(r, -EINVAL,
				   "no terminal to ask on: -n to check, -p or -y to "
				   "repair");
		return EXIT_OPERATIONAL;
	}
	printer->answers = a->mode == ANSWER_NO ? NULL : answers_new(a->mode);
	int code = check_or_repair(a, printer, r);
	answers_free(printer->answers);
	return code;
}

/* -n, -p and -y exclude each other. */
static bool set_mode(struct arguments *a, enum answer_mode mode, struct reporter *r)
{
	if (a->mode != ANSWER_ASK && a->mode != mode) {
		(void)report_error(r, -EINVAL, "only one of -n, -p and -y");
		return false;
	}
	a->mode = mode;
	return true;
}

static int option(int c, struct arguments *a, struct printer *printer,
		  struct reporter *r)
{
	uint64_t fd;
	switch (c) {
	case 'n':
		return set_mode(a, ANSWER_NO, r) ? 0 : EXIT_USAGE;
	case 'a':
	case 'p':
		return set_mode(a, ANSWER_SAFE, r) ? 0 : EXIT_USAGE;
	case 'y':
		return set_mode(a, ANSWER_YES, r) ? 0 : EXIT_USAGE;
	case 'f':
		return 0;
	case 'v':
		printer->is_verbose = true;
		return 0;
	case 'z':
		a->undo_path = optarg;
		return 0;
	case 'C':
		if (parse_u64(optarg, INT_MAX, &fd) != 0)
			return EXIT_USAGE;
		progress_init(&printer->progress, (int)fd, false);
		printer->has_progress = true;
		return 0;
	case OPT_ONLINE:
		printer->is_online = true;
		return set_mode(a, ANSWER_NO, r) ? 0 : EXIT_USAGE;
	case OPT_FORCE:
		a->is_forced = true;
		return 0;
	case OPT_UNDO:
		a->undo_from = optarg;
		return 0;
	case OPT_JSON:
		if (!printer->findings)
			printer->findings = json_array();
		return 0;
	default:
		return EXIT_USAGE;
	}
}

int main(int argc, char **argv)
{
	struct reporter_stderr stderr_reporter;
	struct reporter *r =
		reporter_stderr_init(&stderr_reporter, "fsck.vmfs", REPORT_INFO);
	struct printer printer = { 0 };
	struct arguments a = { .mode = ANSWER_ASK };
	int c, code = 0;
	device_hide_secrets(argc, argv);
	while ((c = getopt_long(argc, argv, "napyfvz:C:h", long_options, NULL)) != -1) {
		if (c == OPT_LIST)
			return list_findings();
		if (c == 'h') {
			fputs(usage_text, stdout);
			return EXIT_CLEAN;
		}
		code = option(c, &a, &printer, r);
		if (code)
			return code;
	}
	if (!printer.has_progress)
		progress_init(&printer.progress,
			      isatty(STDERR_FILENO) && isatty(STDOUT_FILENO) &&
					      !printer.findings
				      ? 0
				      : PROGRESS_NONE,
			      true);
	a.names = argv + optind;
	a.count = (unsigned int)(argc - optind);
	a.shown = a.count ? device_shown(a.names[0]) : NULL;
	code = a.count && !a.shown ? EXIT_OPERATIONAL : run(&a, &printer, r);
	free(a.shown);
	json_decref(printer.findings);
	return code;
}
