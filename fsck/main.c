/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck.vmfs: checks a volume of one or more extents. Findings go to stdout, one line
 * each, with a code; what prevents a check goes to stderr. Exit codes are those of
 * e2fsck.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/report.h"
#include "fsck/check.h"
#include "iscsi/open.h"

#define PER_CODE_MAX 20u /* lines of one code that are printed without -v */

enum exit_code {
	EXIT_CLEAN = 0,
	EXIT_ERRORS_LEFT = 4,
	EXIT_OPERATIONAL = 8,
	EXIT_USAGE = 16,
};

static const char usage_text[] =
	"usage: fsck.vmfs [-n] [-f] [-v] [--json] DEVICE...\n"
	"       fsck.vmfs --list-findings\n"
	"All extents of the volume must be given, in any order. VMFS-3, -5 and -6.\n"
	"  -n  check only (repair is not available yet: the same without it)\n"
	"  -f  accepted: a check is always complete\n"
	"  -v  print every finding, and notes\n"
	"  --json           print one JSON object instead of lines\n"
	"  --list-findings  print all that can be found: code and sentence, one a line\n"
	"exit code: 0 clean, 4 errors found, 8 not checked, 16 wrong usage\n"
	"examples:\n"
	"  fsck.vmfs -n /dev/sdb1\n"
	"  fsck.vmfs -n -v extent1.img extent2.img\n"
	"  fsck.vmfs -n --json /dev/sdb1 | jq .errors\n";

enum long_only { OPT_JSON = 256, OPT_LIST };

static const struct option long_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "list-findings", no_argument, NULL, OPT_LIST },
	{ 0 },
};

struct printer {
	bool is_verbose;
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
	if (p->findings) {
		(void)json_array_append_new(
			p->findings,
			json_pack("{ss ss so}", "code", row->code, "severity",
				  severities[row->severity], "text", text_json(text)));
		return;
	}
	unsigned int n = ++p->counts[problem];
	bool is_quiet_note = problem == PROBLEM_LOCK_STALE && !p->is_verbose;
	if (is_quiet_note || (n > PER_CODE_MAX && !p->is_verbose))
		return;
	printf("%s: %s%s\n", row->code, kinds[row->severity], text);
}

static void print_rest(const struct printer *p)
{
	for (unsigned int i = 0; i < PROBLEM_COUNT && !p->is_verbose; i++)
		if (p->counts[i] > PER_CODE_MAX && i != PROBLEM_LOCK_STALE)
			printf("%s: %u more (-v shows them)\n",
			       fsck_problem((enum fsck_problem)i)->code,
			       p->counts[i] - PER_CODE_MAX);
}

static void print_summary(const char *name, const struct fsck_summary *s)
{
	if (s->is_live)
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
static void print_json(struct printer *p, const char *name, const struct fsck_summary *s)
{
	json_t *all = json_pack(
		"{ss so si si sI sI sI sI si si si sb sb sb so}", "device", name, "label",
		text_json(s->label), "version", (int)s->version, "minor", (int)s->minor,
		"files", (json_int_t)s->file_count, "directories",
		(json_int_t)s->directory_count, "blocks", (json_int_t)s->block_count,
		"used_blocks", (json_int_t)s->used_block_count, "errors", (int)s->errors,
		"warnings", (int)s->warnings, "notes", (int)s->notes, "in_use",
		(int)s->is_live, "needs_recovery", (int)s->needs_recovery, "complete",
		(int)!s->has_failed, "findings", p->findings);
	p->findings = NULL;
	(void)json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
}

static int list_findings(void)
{
	for (unsigned int i = 0; i < PROBLEM_COUNT; i++) {
		const struct problem *row = fsck_problem((enum fsck_problem)i);
		printf("%s: %s%s\n", row->code, kinds[row->severity], row->meaning);
	}
	return fflush(stdout) == 0 ? EXIT_CLEAN : EXIT_OPERATIONAL;
}

static int check(char **names, unsigned int count, struct printer *printer,
		 struct reporter *r)
{
	struct bdev *devices[LVM_EXTENTS_MAX] = { 0 };
	struct fsck_summary summary = { 0 };
	int err = 0;
	if (count > LVM_EXTENTS_MAX) {
		(void)report_error(r, -EINVAL,
				   "%u devices: a volume has at most %u extents", count,
				   LVM_EXTENTS_MAX);
		return EXIT_USAGE;
	}
	for (unsigned int i = 0; !err && i < count; i++)
		err = device_open(names[i], BDEV_OPEN_READ_ONLY, NULL, r, &devices[i]);
	if (!err) {
		struct fsck_options options = {
			.devices = devices,
			.device_count = count,
			.reporter = r,
			.found = found,
			.arg = printer,
		};
		err = fsck_check(&options, &summary);
	}
	if (!err && printer->findings) {
		print_json(printer, names[0], &summary);
	} else if (!err) {
		print_rest(printer);
		print_summary(names[0], &summary);
	}
	for (unsigned int i = 0; i < count; i++)
		bdev_close(devices[i]);
	if (err || fflush(stdout) != 0)
		return EXIT_OPERATIONAL;
	return (summary.errors ? EXIT_ERRORS_LEFT : EXIT_CLEAN) |
	       (summary.has_failed ? EXIT_OPERATIONAL : 0);
}

int main(int argc, char **argv)
{
	struct reporter_stderr stderr_reporter;
	struct reporter *r =
		reporter_stderr_init(&stderr_reporter, "fsck.vmfs", REPORT_WARN);
	struct printer printer = { 0 };
	bool is_check_only = false, is_json = false;
	int c;
	while ((c = getopt_long(argc, argv, "nfvh", long_options, NULL)) != -1) {
		switch (c) {
		case 'n':
			is_check_only = true;
			break;
		case 'f':
			break;
		case 'v':
			printer.is_verbose = true;
			break;
		case OPT_JSON:
			is_json = true;
			break;
		case OPT_LIST:
			return list_findings();
		case 'h':
			fputs(usage_text, stdout);
			return EXIT_CLEAN;
		default:
			return EXIT_USAGE;
		}
	}
	if (optind == argc) {
		(void)report_error(r, -EINVAL, "a DEVICE is needed (-h for help)");
		return EXIT_USAGE;
	}
	if (!is_check_only)
		report(r, REPORT_WARN, "repair is not available yet: checking only");
	if (is_json)
		printer.findings = json_array();
	int code = check(argv + optind, (unsigned int)(argc - optind), &printer, r);
	json_decref(printer.findings);
	return code;
}
