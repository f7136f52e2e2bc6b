/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_DISCOVERY_H
#define ISCSI_DISCOVERY_H

/* Which targets does a portal offer (SendTargets, RFC 7143 appendix C)? */
#include <stdint.h>

#include "base/report.h"
#include "iscsi/initiator.h"
#include "iscsi/url.h"

struct iscsi_target {
	char name[ISCSI_NAME_SIZE];
	char portal[280]; /* "host:port,tag" as the target told it; "": the one asked */
};

/*
 * Asks the portal of the URL, whose target and LUN do not count; one entry for each
 * portal of each target, *ret_targets malloc'ed. Of several interfaces (bind) the first
 * that leads there is used. initiator_name may be NULL. Reports; the count or -errno.
 * Blocks for at most about 20 s for each interface.
 */
int iscsi_discover(const struct iscsi_url *at, const char *initiator_name,
		   struct reporter *r, struct iscsi_target **ret_targets)
	__attribute__((warn_unused_result));

/*
 * The list as targets write it (TargetName=..., then its TargetAddress lines, if any),
 * which is taken apart in place. How many, ret_targets as above; -EPROTO: it makes no
 * sense; -ENOMEM: no memory, or too many.
 */
int iscsi_discovery_read(char *text, uint32_t len, struct iscsi_target **ret_targets)
	__attribute__((warn_unused_result));

#endif
