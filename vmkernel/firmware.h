/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_FIRMWARE_H
#define VMKERNEL_FIRMWARE_H

/* A backup of a host that runs, and its way back (backup.h). All block, for a moment. */
#include "vmkernel/host.h"

/* Makes one in the state directory: ret_path. 0 or -errno (reported). */
int firmware_backup(struct host *h, struct reporter *r, char ret_path[HOST_PATH_SIZE])
	__attribute__((warn_unused_result));
/*
 * The host is to become what the backup at path says, when it starts the next time: 0;
 * -EBUSY: it is not in maintenance mode; what backup_check() says; -errno. Reported.
 */
int firmware_restore(struct host *h, const char *path, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * At the start, before the state is read: does what is to be restored. What cannot be is
 * told, put aside, and the host starts as it was. 0 or -errno (reported).
 */
int firmware_begin(struct host *h, struct reporter *r)
	__attribute__((warn_unused_result));

#endif
