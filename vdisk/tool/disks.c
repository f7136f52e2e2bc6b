/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkfstools on a disk that is there: its size (-X), what stands under it (-j, -k, -K,
 * -w), and looks at it (-e, -x, -g).
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

/* ---- size ---- */

int prepare_extend(struct job *j)
{
	const struct request *rq = j->rq;
	uint64_t size = 0;
	if (rq->format && (vdisk_format_parse(rq->format, &j->disk.format) < 0 ||
			   j->disk.format != VDISK_EAGERZEROEDTHICK))
		return report_error(&j->t.base, -EINVAL, "-d %s: with -X there is"
				    " eagerzeroedthick alone", rq->format);
	if (parse_size(rq->argument, &size) < 0 || size == 0 || size % VDISK_SECTOR)
		return report_error(&j->t.base, -EINVAL,
				    "-X %s: not a size in whole sectors (512m, 10G, ...)",
				    rq->argument);
	j->disk.capacity_bytes = size;
	return 0;
}

static int try_extend(struct job *j)
{
	struct meter meter;
	const struct vdisk_extend_options o = {
		.capacity_bytes = j->disk.capacity_bytes,
		.is_eager = j->rq->format != NULL,
		.progress = meter_init(&meter, "Grow", j->is_interrupted),
		.reporter = &j->t.base,
		.luns = &tool_luns,
	};
	int rc = vdisk_extend(j->m.vol, j->place.path, &o, &j->holder);
	meter_end(&meter, rc);
	return rc;
}

int do_extend(struct job *j)
{
	int rc = try_patiently(j, j->m.vol, try_extend);
	if (rc == -EBUSY)
		report(&j->t.base, REPORT_WARN, "the disk of a VM that runs grows by"
		       " vim-cmd vmsvc/device.diskextend, on its host");
	return rc;
}

/* ---- what stands under it ---- */

static int try_refill(struct job *j)
{
	struct meter meter;
	enum action action = j->rq->action;
	enum vdisk_refill how = action == ACTION_INFLATE ? VDISK_REFILL_INFLATE :
				action == ACTION_EAGER	 ? VDISK_REFILL_EAGER :
				action == ACTION_WIPE	 ? VDISK_REFILL_WIPE :
							   VDISK_REFILL_PUNCH;
	static const char *const verb[] = { "Inflate", "Zero", "Wipe", "Punch" };
	const struct vdisk_refill_options o = {
		.how = how,
		.progress = meter_init(&meter, verb[how], j->is_interrupted),
		.reporter = &j->t.base,
		.luns = &tool_luns,
	};
	int rc = vdisk_refill(j->m.vol, j->place.path, &o, &j->holder);
	meter_end(&meter, rc);
	return rc;
}

int do_refill(struct job *j)
{
	return try_patiently(j, j->m.vol, try_refill);
}

/* ---- looking ---- */

static int open_disk(struct job *j, struct vdisk **ret_disk)
{
	const struct vdisk_open_options o = { .flags = VDISK_READ,
					      .reporter = &j->t.base,
					      .luns = &tool_luns };
	return vdisk_open(j->m.vol, j->place.path, &o, ret_disk, &j->holder);
}

int do_chain(struct job *j)
{
	struct vdisk *disk;
	int rc = open_disk(j, &disk);
	if (rc == 0)
		rc = vdisk_close(disk);
	if (rc == 0 || rc == -EUCLEAN)
		(void)printf("Disk chain is %sconsistent.\n", rc ? "not " : "");
	return rc;
}

int prepare_check(struct job *j)
{
	const char *how = j->rq->argument;
	if (strcmp(how, "check") != 0 && strcmp(how, "repair") != 0)
		return report_error(&j->t.base, -EINVAL, "-x %s: is neither check nor"
				    " repair", how);
	return 0;
}

static int tell_check(struct job *j, bool is_repair, const struct vdisk_check_result *f)
{
	unsigned int left = f->problems - f->repaired;
	j->status = left ? CHECK_LEFT : f->problems ? CHECK_REPAIRED : CHECK_CLEAN;
	if (!f->problems)
		(void)printf("Disk is error free\n");
	else if (!left)
		(void)printf("Disk was successfully repaired.\n");
	else if (is_repair)
		(void)printf("Disk has %u problem%s that cannot be repaired.\n", left,
			     left == 1 ? "" : "s");
	else
		(void)printf("Disk needs repair: %u problem%s, of which -x repair mends"
			     " %u.\n", left, left == 1 ? "" : "s", f->repairable);
	return 0;
}

static int try_check(struct job *j)
{
	struct meter meter;
	struct vdisk_check_result found;
	const struct vdisk_check_options o = {
		.is_repair = !strcmp(j->rq->argument, "repair"),
		.progress = meter_init(&meter, "Check", j->is_interrupted),
		.reporter = &j->t.base,
		.luns = &tool_luns,
	};
	int rc = vdisk_check(j->m.vol, j->place.path, &o, &found, &j->holder);
	meter_end(&meter, rc);
	return rc ? rc : tell_check(j, o.is_repair, &found);
}

int do_check(struct job *j)
{
	return try_patiently(j, j->m.vol, try_check);
}

int do_geometry(struct job *j)
{
	struct vdisk_geometry g;
	struct vdisk *disk;
	int rc = open_disk(j, &disk);
	if (rc < 0)
		return rc;
	rc = vdisk_geometry(disk, &g);
	if (rc == 0)
		(void)printf("Geometry information C/H/S is %" PRIu64 "/%u/%u\n",
			     g.cylinders, g.heads, g.sectors);
	else
		(void)report_error(&j->t.base, rc, "%s: says nothing of its geometry",
				   j->what);
	int err = vdisk_close(disk);
	return rc ? rc : err;
}
