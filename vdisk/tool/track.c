/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkfstools on changed block tracking: on and off, the change id of what a disk holds,
 * and the areas that have changed since one (VMware's QueryChangedDiskAreas).
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"

int prepare_tracking(struct job *j)
{
	const char *wanted = j->rq->argument;
	if (strcmp(wanted, "on") != 0 && strcmp(wanted, "off") != 0)
		return report_error(&j->t.base, -EINVAL, "--changeTracking %s: on or off",
				    wanted);
	return 0;
}

static int try_tracking(struct job *j)
{
	const struct vdisk_tracking_options o = {
		.is_wanted = !strcmp(j->rq->argument, "on"),
		.reporter = &j->t.base,
		.luns = &tool_luns,
	};
	return vdisk_set_tracking(j->m.vol, j->place.path, &o, &j->holder);
}

int do_tracking(struct job *j)
{
	return try_patiently(j, j->m.vol, try_tracking);
}

/* The disk, open for a look, with what is known of its changes. */
static int open_tracked(struct job *j, struct vdisk **ret_disk)
{
	const struct vdisk_open_options o = { .flags = VDISK_READ,
					      .reporter = &j->t.base,
					      .luns = &tool_luns };
	int rc = vdisk_open(j->m.vol, j->place.path, &o, ret_disk, &j->holder);
	if (rc < 0)
		return rc;
	rc = vdisk_load_tracking(*ret_disk);
	if (rc == -ENODATA)
		rc = report_error(&j->t.base, rc, "%s: its changes are not tracked"
				  " (--changeTracking on)", j->what);
	if (rc < 0)
		(void)vdisk_close(*ret_disk); /* was only read */
	return rc;
}

int do_change_id(struct job *j)
{
	char id[VDISK_CHANGE_ID_SIZE];
	struct vdisk *disk;
	int rc = open_tracked(j, &disk);
	if (rc < 0)
		return rc;
	if (vdisk_change_id(disk, id))
		(void)printf("%s\n", id);
	else
		rc = report_error(&j->t.base, -EBUSY, "%s: has no change id now: it is"
				  " being written, or was not closed by its last writer",
				  j->what);
	(void)vdisk_close(disk); /* was only read */
	return rc;
}

int prepare_changed(struct job *j)
{
	struct vdisk_since since;
	if (vdisk_since_parse(j->rq->argument, &since) == 0)
		return 0;
	return report_error(&j->t.base, -EINVAL, "'%s': is no change id (16 bytes in"
			    " hexadecimal, a /, a number; or *)", j->rq->argument);
}

/* Neighbours of one kind may come in several pieces. */
static int print_areas(struct vdisk *disk, const struct vdisk_since *since)
{
	uint64_t start = 0, len = 0, size = vdisk_capacity(disk);
	int rc = 0;
	for (uint64_t at = 0, piece; rc == 0 && at < size; at += piece) {
		bool is_changed;
		rc = vdisk_changed(disk, since, at, &piece, &is_changed);
		if (rc < 0)
			break;
		piece = min_u64(piece, size - at);
		if (is_changed && len == 0)
			start = at;
		if (is_changed)
			len += piece;
		if (len && (!is_changed || at + piece >= size)) {
			(void)printf("%" PRIu64 " %" PRIu64 "\n", start, len);
			len = 0;
		}
	}
	return rc;
}

int do_changed(struct job *j)
{
	struct vdisk_since since;
	struct vdisk *disk;
	int rc = vdisk_since_parse(j->rq->argument, &since);
	if (rc == 0)
		rc = open_tracked(j, &disk);
	if (rc < 0)
		return rc;
	rc = print_areas(disk, &since);
	(void)vdisk_close(disk); /* was only read */
	return rc;
}
