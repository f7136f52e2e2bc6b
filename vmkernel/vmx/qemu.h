/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_QEMU_H
#define VMX_QEMU_H

/* Starting QEMU. It inherits the jail of its parent. */
#include <sys/types.h>

#include "base/report.h"
#include "vmkernel/vmx/cmdline.h"

/*
 * Forks and executes line with stdin from /dev/null and output to log_fd; what is kept
 * stays open in it, everything else is close-on-exec. 0 and *ret_pid; -ENOENT and others
 * are reported, with the program's name.
 */
int qemu_start(const struct cmdline *line, int log_fd, const int *kept,
	       unsigned int kept_count, struct reporter *r, pid_t *ret_pid)
	__attribute__((warn_unused_result));
/*
 * What QEMU itself wrote to the log from offset on, its last line of complaint: into
 * ret_text ("" if none).
 */
void qemu_complaint(const char *log_path, off_t offset, char *ret_text,
		    unsigned int size);

#endif
