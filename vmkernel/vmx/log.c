/* SPDX-License-Identifier: Apache-2.0 */
/* One write per line, so that lines of several tasks, and of QEMU, do not mix. */
#include "vmkernel/vmx/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"

#define LINE_SIZE 1280
#define LOG_MODE 0640

static const char *level_text(enum report_level level)
{
	switch (level) {
	case REPORT_ERROR:
		return "Er(02)";
	case REPORT_WARN:
		return "Wa(03)";
	case REPORT_INFO:
		return "In(05)";
	case REPORT_DEBUG:
		break;
	}
	return "Db(07)";
}

static void tell(struct reporter *base, enum report_level level, const char *text)
{
	struct log_file *log = (struct log_file *)base;
	char line[LINE_SIZE];
	uint64_t now_us = clock_wall_us();
	time_t seconds = (time_t)(now_us / 1000000);
	struct tm tm = { 0 };
	(void)gmtime_r(&seconds, &tm);
	if (level == REPORT_ERROR)
		(void)snprintf(log->last_error, sizeof(log->last_error), "%s", text);
	int n = snprintf(line, sizeof(line) - 1,
			 "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ %s %s - %s",
			 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
			 tm.tm_min, tm.tm_sec, (unsigned int)(now_us / 1000 % 1000),
			 level_text(level), log->program, text);
	if (n < 0)
		return;
	size_t len = strlen(line);
	line[len++] = '\n';
	ssize_t written = log->file_fd < 0 ? 0 : write(log->file_fd, line, len);
	(void)written; /* a full disk must not stop a VM */
	if (log->has_stderr && level <= REPORT_WARN)
		(void)fprintf(stderr, "%s: %s%s\n", log->program,
			      level == REPORT_WARN ? "warning: " : "", text);
}

int log_open(struct log_file *log, const char *path, const char *program)
{
	*log = (struct log_file){ .base.tell = tell, .program = program };
	log->file_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			    LOG_MODE);
	return log->file_fd < 0 ? -errno : 0;
}

void log_close(struct log_file *log)
{
	if (log->file_fd >= 0)
		(void)close(log->file_fd);
	log->file_fd = -1;
}
