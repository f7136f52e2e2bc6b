/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_LUN_H
#define ISCSI_LUN_H

/* A logical unit as a struct bdev leaf, with its own session. */
#include "bdev/bdev.h"
#include "iscsi/open.h"
#include "iscsi/url.h"

/*
 * Connects, logs in and asks the unit what it is. options may be NULL. Reports one
 * line that names the URL when it fails. 0 or -errno: -ECONNREFUSED, -EHOSTUNREACH,
 * -ETIMEDOUT, -ENOENT (no such target), -ENODEV (no such LUN), -EACCES (CHAP, not
 * allowed), -EMEDIUMTYPE (no disk), -EPROTO. Blocks.
 */
int iscsi_lun_open(const struct iscsi_url *url, uint32_t flags,
		   const struct iscsi_options *options, struct reporter *r,
		   struct bdev **ret_bd) __attribute__((warn_unused_result));

#define ISCSI_LUNS_MAX 511u

/*
 * Logs in at the URL's target, whatever its LUN, and asks for the units that it has:
 * how many of ret_luns are filled (at most ISCSI_LUNS_MAX). -errno as above. Of several
 * interfaces (bind) the first that leads there is used. Blocks.
 */
int iscsi_lun_list(const struct iscsi_url *url, const struct iscsi_options *options,
		   struct reporter *r, uint16_t *ret_luns, unsigned int max)
	__attribute__((warn_unused_result));

#endif
