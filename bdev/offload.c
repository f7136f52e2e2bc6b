/* SPDX-License-Identifier: Apache-2.0 */
#include "bdev/offload.h"

#include <errno.h>

#include "bdev/bdev.h"

int bdev_offloads(struct bdev *bd, struct bdev_offloads *ret_offloads)
{
	return bd->ops->offloads ? bd->ops->offloads(bd, ret_offloads) : -EOPNOTSUPP;
}

const char *bdev_offload_text(enum bdev_offload offload)
{
	switch (offload) {
	case BDEV_OFFLOAD_NONE:
		return "unsupported";
	case BDEV_OFFLOAD_TOLD:
	case BDEV_OFFLOAD_PROVED:
		return "supported";
	default:
		return "unknown";
	}
}
