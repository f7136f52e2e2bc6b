/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is restored under a host that runs would be written over by what it keeps in
 * memory. So a backup that is good is laid beside the state in one step, and the next
 * start does it before it reads anything:
 *
 *	firmware_restore --> STAGED_NAME is there --firmware_begin--> restored --> gone
 *
 * A death between leaves it there, and the next start does it again (backup.c 2).
 */
#include "vmkernel/firmware.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmkernel/backup.h"
#include "vmkernel/statefile.h"

#define BUNDLE_NAME "configBundle.json"
#define STAGED_NAME "restore.json"
#define REFUSED_NAME "restore.refused"

int firmware_backup(struct host *h, struct reporter *r, char ret_path[HOST_PATH_SIZE])
{
	return backup_make(h->state_dir, h->config_file,
			   host_path(h, BUNDLE_NAME, ret_path), r);
}

int firmware_restore(struct host *h, const char *path, struct reporter *r)
{
	char staged[HOST_PATH_SIZE];
	if (h->maintenance != MAINTENANCE_IN)
		return report_error(r, -EBUSY, "the host is not in maintenance mode");
	int rc = backup_check(h->state_dir, path, r);
	if (rc < 0)
		return rc;
	AUTO_FREE char *text = statefile_read(path, &rc);
	if (rc == 0)
		rc = statefile_write(host_path(h, STAGED_NAME, staged), text, 0600);
	return rc ? report_error(r, rc, "%s: %s", path, strerror(-rc)) : 0;
}

int firmware_begin(struct host *h, struct reporter *r)
{
	char staged[HOST_PATH_SIZE], refused[HOST_PATH_SIZE];
	(void)host_path(h, STAGED_NAME, staged);
	if (access(staged, F_OK) < 0)
		return 0;
	int rc = backup_restore(h->state_dir, h->config_file, staged, r);
	if (rc == 0)
		return unlink(staged) == 0 ? 0 :
			       report_error(r, -errno, "%s: %s", staged, strerror(errno));
	if (rename(staged, host_path(h, REFUSED_NAME, refused)) < 0)
		return report_error(r, -errno, "%s: %s", refused, strerror(errno));
	report(r, REPORT_WARN, "%s: is not restored, and the host starts as it was",
	       refused);
	return 0;
}
