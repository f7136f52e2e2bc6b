/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_LOG_H
#define VMX_LOG_H

/* A log file as a reporter: one line per report, with time and level. */
#include <stdbool.h>

#include "base/report.h"

struct log_file {
	struct reporter base;
	const char *program;	/* borrowed; stands in each line */
	int file_fd;
	bool has_stderr;	/* errors and warnings go there as well */
	char last_error[512];	/* of the latest ERROR; for one task's use */
};

/* Opens (appends to) path: 0 or -errno. */
int log_open(struct log_file *log, const char *path, const char *program)
	__attribute__((warn_unused_result));
void log_close(struct log_file *log);

#endif
