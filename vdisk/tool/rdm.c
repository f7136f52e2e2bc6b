/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkfstools -r, -z and -q: disks that are a LUN. The LUN is only looked at.
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iscsi/open.h"

bool format_is_map(const char *format)
{
	return format && (!strncmp(format, "rdm:", 4) || !strncmp(format, "rdmp:", 5));
}

/* What the user called the LUN. */
static const char *lun_text(const struct request *rq)
{
	return format_is_map(rq->format) ? strchr(rq->format, ':') + 1 : rq->argument;
}

static bool is_physical(const struct request *rq)
{
	return rq->action == ACTION_MAP_PHYSICAL ||
	       (rq->format && !strncmp(rq->format, "rdmp:", 5));
}

int prepare_map(struct job *j)
{
	const struct request *rq = j->rq;
	if (rq->adapter && !vdisk_adapter_is_known(rq->adapter))
		return report_error(&j->t.base, -EINVAL,
				    "-a %s: unknown adapter type (buslogic, lsilogic,"
				    " ide, lsisas, pvscsi)", rq->adapter);
	return tool_luns.open(lun_text(rq), BDEV_OPEN_READ_ONLY, &j->t.base, &j->extent);
}

int do_map(struct job *j)
{
	char *text = device_shown(lun_text(j->rq));
	const struct vdisk_map_options o = {
		.lun = j->extent,
		.text = text,
		.is_physical = is_physical(j->rq),
		.adapter = j->rq->adapter,
		.reporter = &j->t.base,
	};
	int rc = text ? vdisk_map(j->m.vol, j->place.path, &o) : -ENOMEM;
	free(text);
	return rc;
}

static int fill_map(struct job *j)
{
	struct meter meter;
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = &j->t.base,
						.luns = &tool_luns };
	struct vdisk *disk;
	int rc = vdisk_open(j->m.vol, j->place.path, &how, &disk, &j->holder);
	if (rc < 0)
		return rc;
	rc = vdisk_overwrite(disk, j->from.source,
			     meter_init(&meter, "Clone", j->is_interrupted));
	meter_end(&meter, rc);
	int err = vdisk_close(disk);
	return rc ? rc : err;
}

int do_import_to_map(struct job *j)
{
	if (vdisk_source_capacity(j->from.source) > j->extent->size)
		return report_error(&j->t.base, -ENOSPC, "%s: has %" PRIu64 " bytes, %s %"
				    PRIu64, j->rq->argument,
				    vdisk_source_capacity(j->from.source),
				    lun_text(j->rq), j->extent->size);
	int rc = do_map(j);
	if (rc < 0)
		return rc;
	rc = fill_map(j);
	if (rc < 0 && vdisk_remove(j->m.vol, j->place.path, &j->t.base, NULL) < 0)
		report(&j->t.base, REPORT_WARN, "%s: is left over", j->place.path);
	return rc;
}

int do_query_map(struct job *j)
{
	struct vdisk_mapped m;
	int rc = vdisk_mapped(j->m.vol, j->place.path, &j->t.base, &m);
	if (rc < 0)
		return rc;
	if (!m.is_mapped)
		(void)printf("Disk %s is not an RDM\n", j->what);
	else
		(void)printf("Disk %s is a %s Raw Device Mapping\nMaps to: %s\n"
			     "Reached as: %s\n", j->what,
			     m.is_physical ? "Passthrough" : "Non-passthrough", m.device,
			     m.lun);
	return 0;
}
