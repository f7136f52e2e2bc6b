/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck on a volume with some metadata changed (tests/lib/mutate.h): it ends, touches no
 * memory that is not its own, writes nothing, and finds nothing if nothing was changed.
 */
#include "fsck/check.h"
#include "tests/fuzz/target.h"
#include "tests/lib/mutate.h"
#include "tests/lib/overlay.h"

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	unsigned int *count = arg;
	(void)problem;
	(void)text;
	(*count)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mutator *m;
	unsigned int count = 0;
	if (!m)
		m = mutator_new();
	if (!m)
		return 0;
	struct bdev *below = mutator_apply(m, data, size);
	struct bdev *bd = overlay_new(below, overlay_forbid, NULL);
	demand(bd != NULL);
	struct fsck_summary summary = { 0 };
	struct fsck_options options = {
		.devices = &bd, .device_count = 1, .found = found, .arg = &count
	};
	int err = fsck_check(&options, &summary);
	bdev_close(bd);
	mutator_undo(m);
	if (size < 12 && (err || count))
		abort();
	if (!err && count != summary.errors + summary.warnings + summary.notes &&
	    !summary.has_failed)
		abort();
	return 0;
}
