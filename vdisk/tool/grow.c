/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkfstools -G and -Z: a volume grows, mounted and beside others that use it, by what
 * an extent's device has gained or by another extent (vmfs/grow.c). Here is asked
 * whether the other device may be used.
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "iscsi/open.h"

static int report_growth(struct job *j, struct bdev *extent, const char *name)
{
	uint64_t added = 0;
	struct vmfs_volume_info info;
	char more[32], all[32];
	int rc = vmfs_volume_grow(j->m.vol, extent, name, &added);

	if (rc == 0)
		rc = vmfs_volume_info(j->m.vol, &info);
	if (rc == 0)
		(void)printf("%s: %s more, %s in %u extent%s\n", j->what,
			     size_text(added, more), size_text(info.size_bytes, all),
			     info.extent_count, info.extent_count == 1 ? "" : "s");
	return rc;
}

int do_grow(struct job *j)
{
	return report_growth(j, NULL, j->rq->argument);
}

/* An extent of this or another volume is the library's to refuse, or to accept again. */
int prepare_span(struct job *j)
{
	const char *name = j->rq->argument;
	char text[256];
	int rc = device_open(name, BDEV_OPEN_EXCLUSIVE, NULL, &j->t.base, &j->extent);

	if (rc == 0)
		rc = bdev_probe_signature(j->extent, text, sizeof(text));
	if (rc < 0)
		return rc;
	if (text[0] && !strstr(text, "VMFS_volume_member") && !j->rq->is_forced)
		return report_error(&j->t.base, -EEXIST,
				    "%s: refusing, it contains %s (-f overwrites it)",
				    name, text);
	return 0;
}

int do_span(struct job *j)
{
	return report_growth(j, j->extent, NULL);
}
