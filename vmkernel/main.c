/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkernel: arguments, and the background.
 *
 * The child that becomes the daemon is forked before the first task exists. Its parent
 * waits on a pipe for the word that the host is up, so that the exit code of the command
 * tells, and what went wrong has gone to standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "iscsi/open.h"
#include "vmkernel/adapter/adapter.h"
#include "vmkernel/backup.h"
#include "vmkernel/host.h"

struct arguments {
	bool is_foreground, only_checks;
	const char *config_file, *backup, *restore;
};

static void usage(FILE *f)
{
	(void)fprintf(f, "usage: vmkernel [-f] [-c|--config FILE] [-d|--state-dir DIR]"
			 " [--device DEV[,DEV2]]...\n"
			 "                [--host-name NAME] [--socket PATH]"
			 " [--check-config]\n"
			 "       vmkernel [-c FILE] [-d DIR] --backup|--restore FILE\n");
}

enum {
	OPTION_DEVICE = 256,
	OPTION_HOST_NAME,
	OPTION_SOCKET,
	OPTION_CHECK,
	OPTION_BACKUP,
	OPTION_RESTORE,
	OPTION_HELP
};

static const struct option options[] = {
	{ "foreground", no_argument, NULL, 'f' },
	{ "config", required_argument, NULL, 'c' },
	{ "state-dir", required_argument, NULL, 'd' },
	{ "device", required_argument, NULL, OPTION_DEVICE },
	{ "host-name", required_argument, NULL, OPTION_HOST_NAME },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "check-config", no_argument, NULL, OPTION_CHECK },
	{ "backup", required_argument, NULL, OPTION_BACKUP },
	{ "restore", required_argument, NULL, OPTION_RESTORE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

/*
 * Options for the process; settings for the host only if config is given (second pass).
 */
static int parse(int argc, char **argv, struct arguments *a, struct config *config,
		 struct reporter *r)
{
	int c, rc = 0;
	optind = 1;
	opterr = !config;
	while (rc == 0 && (c = getopt_long(argc, argv, "fc:d:", options, NULL)) != -1) {
		const char *key = NULL;
		if (c == 'f')
			a->is_foreground = true;
		else if (c == 'c')
			a->config_file = optarg;
		else if (c == OPTION_CHECK)
			a->only_checks = true;
		else if (c == OPTION_BACKUP)
			a->backup = optarg;
		else if (c == OPTION_RESTORE)
			a->restore = optarg;
		else if (c == 'd')
			key = "state_dir";
		else if (c == OPTION_DEVICE)
			key = "device";
		else if (c == OPTION_HOST_NAME)
			key = "host_name";
		else if (c == OPTION_SOCKET)
			key = "socket";
		else
			return c == OPTION_HELP ? 1 : -EINVAL;
		if (key && config)
			rc = config_set(config, key, optarg, "command line", r);
	}
	return rc == 0 && optind != argc ?
		       report_error(r, -EINVAL, "%s: what is this?", argv[optind]) :
		       rc;
}

static int read_config(int argc, char **argv, struct arguments *a, struct config *config,
		       struct reporter *r)
{
	int rc = config_init(config);
	if (rc == 0)
		rc = config_read(config, a->config_file ? a->config_file : CONFIG_FILE,
				 a->config_file && !a->restore, r);
	return rc == 0 ? parse(argc, argv, a, config, r) : rc;
}

/* In the child: *ret_report_fd; in the parent: does not return. */
static int go_to_background(int *ret_report_fd)
{
	int ends[2];
	char byte = 1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		(void)close(ends[0]);
		(void)setsid();
		*ret_report_fd = ends[1];
		return 0;
	}
	(void)close(ends[1]);
	/* No byte: the child has ended, and said why. */
	_exit(read(ends[0], &byte, 1) == 1 ? byte : 1);
}

/* Standard input from nowhere, output and errors to the log; tells the parent. */
static void leave_terminal(const struct host *h, int report_fd)
{
	char byte = 0;
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null_fd >= 0) {
		(void)dup2(null_fd, 0);
		(void)close(null_fd);
	}
	(void)dup2(h->log.file_fd, 1);
	(void)dup2(h->log.file_fd, 2);
	ssize_t n = write(report_fd, &byte, 1);
	(void)n; /* a parent that is gone needs no word */
	(void)close(report_fd);
}

/* What happens while the host starts goes to standard error and to the log. */
struct tee {
	struct reporter base;
	struct reporter *err, *log;
	atomic_bool is_quiet;
};

static void tee_tell(struct reporter *base, enum report_level level, const char *text)
{
	struct tee *tee = (struct tee *)base;
	if (!atomic_load(&tee->is_quiet))
		report(tee->err, level, "%s", text);
	report(tee->log, level, "%s", text);
}

static int run_host(struct host *h, const struct arguments *a, struct reporter *r)
{
	int report_fd = -1;
	int rc = a->is_foreground ? 0 : go_to_background(&report_fd);
	if (rc < 0)
		return report_error(r, rc, "fork: %s", strerror(-rc));
	rc = host_init(h, r);
	/* Lives as long as the datastores that report to it. */
	struct tee tee = { .base.tell = tee_tell, .err = r };
	if (rc == 0) {
		tee.log = h->reporter;
		rc = host_start(h, &tee.base);
	}
	if (rc == 0) {
		atomic_store(&tee.is_quiet, !a->is_foreground);
		if (!a->is_foreground)
			leave_terminal(h, report_fd);
		rc = host_run(h);
	}
	host_done(h);
	return rc;
}

/* The state of a host that may run to a file, or of one that does not run from it. */
static int keep_state(struct host *h, const struct arguments *a, struct reporter *r)
{
	const char *dir = h->config.state_dir ? h->config.state_dir : CONFIG_STATE_DIR;
	if (a->backup)
		return backup_make(dir, h->config_file, a->backup, r);
	int rc = host_lock_state(h, r);
	if (rc == 0)
		rc = backup_restore(h->state_dir, h->config_file, a->restore, r);
	if (h->lock_fd >= 0)
		(void)close(h->lock_fd);
	return rc;
}

static void block_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct reporter_stderr err;
	struct reporter *r = reporter_stderr_init(&err, "vmkernel", REPORT_WARN);
	struct arguments a = { 0 };
	struct host *h = calloc(1, sizeof(*h));
	device_hide_secrets(argc, argv);
	int rc = h ? parse(argc, argv, &a, NULL, r) : -ENOMEM;
	if (rc != 0) {
		if (rc > 0)
			usage(stdout);
		free(h);
		return rc < 0;
	}
	block_signals();
	h->lock_fd = h->signal_fd = -1;
	h->config_file = a.config_file ? a.config_file : CONFIG_FILE;
	TAILQ_INIT(&h->datastores);
	TAILQ_INIT(&h->vms);
	rc = read_config(argc, argv, &a, &h->config, r);
	if (rc == 0 && (a.backup || a.restore)) {
		rc = keep_state(h, &a, r);
		config_done(&h->config);
	} else if (rc == 0 && !a.only_checks) {
		rc = run_host(h, &a, r);
	} else {
		rc = rc ? rc : adapter_check(&h->config, r);
		config_done(&h->config);
	}
	free(h);
	return rc < 0;
}
