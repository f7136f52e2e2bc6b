/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_EXPORT_H
#define VMKERNEL_EXPORT_H

/* vmkernel --nbd-export: one disk over NBD, without a host around it. */
#include <stdbool.h>

#include "base/report.h"

/*
 * Serves DEVICE or DEVICE:/PATH.vmdk on the unix socket until SIGTERM or SIGINT (which
 * the caller has blocked). The exit code. Blocks.
 */
int export_run(const char *what, const char *socket, bool is_read_only,
	       struct reporter *r);

#endif
