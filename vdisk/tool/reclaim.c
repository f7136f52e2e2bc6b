/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkfstools -y: gives the free blocks of a volume back to the storage under it.
 *
 * The work is vmfs_volume_unmap()'s. One host of a volume does it at a time; another that
 * is found at it is named.
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/parse.h"

#define RATE_DEFAULT (1024ull << 20)

struct reclaiming {
	struct vdisk_progress *progress;
};

static bool tell(void *arg, const struct vmfs_unmap_seen *seen)
{
	struct vdisk_progress *p = ((struct reclaiming *)arg)->progress;
	return p->step(p, seen->cluster, seen->cluster_count);
}

int prepare_reclaim(struct job *j)
{
	j->rate = RATE_DEFAULT;
	if (j->rq->rate && parse_size(j->rq->rate, &j->rate) < 0)
		return report_error(&j->t.base, -EINVAL,
				    "--rate %s: not a size (bytes a second: 100m, 2g;"
				    " 0: no limit)", j->rq->rate);
	return 0;
}

int do_reclaim(struct job *j)
{
	struct meter meter;
	struct reclaiming r = { meter_init(&meter, "Reclaim", j->is_interrupted) };
	const struct vmfs_unmap_options o = { .rate = j->rate, .tell = tell, .arg = &r };
	struct vmfs_unmap_seen seen;
	char size[32];
	int rc = vmfs_volume_unmap(j->m.vol, &o, &seen, &j->holder);
	meter_end(&meter, rc);
	if (rc < 0)
		return rc;
	(void)printf("%s of free blocks given back to the storage\n",
		     size_text(seen.bytes, size));
	if (seen.skipped)
		(void)printf("%" PRIu64 " of %" PRIu64 " clusters of blocks were in use"
			     " by other hosts and left out\n",
			     seen.skipped, seen.cluster_count);
	return 0;
}
