/* SPDX-License-Identifier: Apache-2.0 */
/* Queue depth: halved, then one by one. Invariant: 1 <= now <= most. */
#include "iscsi/depth.h"

#include "base/align.h"

void depth_init(struct depth *d, const struct iscsi_settings *settings)
{
	*d = (struct depth){
		.most = iscsi_setting(settings, ISCSI_QUEUE_DEPTH),
		.sample = iscsi_setting(settings, ISCSI_QFULL_SAMPLE_SIZE),
		.threshold = iscsi_setting(settings, ISCSI_QFULL_THRESHOLD),
	};
	d->now = d->most;
}

void depth_full(struct depth *d, uint32_t round, uint32_t busy)
{
	d->good = 0;
	if (!d->sample || round != d->round || ++d->full < d->sample)
		return;
	d->full = 0;
	d->round++;
	d->now = (uint32_t)max_u64(min_u64(d->now, busy + 1ull) / 2, 1);
}

void depth_good(struct depth *d)
{
	if (d->now == d->most || ++d->good < d->threshold)
		return;
	d->good = 0;
	d->full = 0;
	d->now++;
}
