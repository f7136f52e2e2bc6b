/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_MULTIPATH_H
#define ISCSI_MULTIPATH_H

/*
 * A logical unit by all portals that lead to it, from all interfaces that the URL names,
 * as one struct bdev leaf.
 */
#include "bdev/bdev.h"
#include "iscsi/open.h"
#include "iscsi/url.h"

/*
 * As iscsi_lun_open(), which it is where there is one way: of the portals that the URL
 * names, and, if it or the options ask for that, those that SendTargets tells. Blocks.
 */
int iscsi_device_open(const struct iscsi_url *url, uint32_t flags,
		      const struct iscsi_options *options, struct reporter *r,
		      struct bdev **ret_bd) __attribute__((warn_unused_result));

#endif
