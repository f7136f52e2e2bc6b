/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_BACKUP_H
#define VMKERNEL_BACKUP_H

/*
 * What a host is, in one file: its UUID, inventory, iSCSI settings, certificate,
 * maintenance mode, and its configuration file. It holds secrets. Both block.
 */
#include "base/report.h"

/*
 * What is in state_dir, and in config_file if there is one, to the file at path (in one
 * step, for its owner alone). Also while a vmkernel runs. 0, -errno (reported).
 */
int backup_make(const char *state_dir, const char *config_file, const char *path,
		struct reporter *r) __attribute__((warn_unused_result));
/*
 * Could backup_restore() do it? As there, and nothing is changed; a vmkernel may have the
 * state_dir.
 */
int backup_check(const char *state_dir, const char *path, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * state_dir, which the caller has locked, becomes what the backup at path says;
 * config_file is written if there is none, else kept. 0; -EINVAL: no backup, or a damaged
 * one; -EXDEV: it is another host's; -EBUSY: a VM runs there; -errno. All are reported,
 * and nothing is changed by those that are named.
 */
int backup_restore(const char *state_dir, const char *config_file, const char *path,
		   struct reporter *r) __attribute__((warn_unused_result));

#endif
