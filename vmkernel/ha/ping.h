/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_PING_H
#define VMKERNEL_HA_PING_H

/*
 * Isolation addresses: a host that hears nothing of the others, but gets answers from one
 * of these, is cut off from the others and not from the network. Once a second each is
 * sent an ICMP echo request.
 */
#include "base/report.h"
#include "vmkernel/loop.h"

#define HA_PINGS_MAX 10u

struct ha_ping;

/* "1.2.3.4, fe80::1": how many; -EINVAL: one is no address, or they are too many. */
int ha_ping_check(const char *addresses);
/* 0 or -errno (reported). On the loop's task. */
int ha_ping_open(struct loop *loop, const char *addresses, struct reporter *r,
		 struct ha_ping **ret) __attribute__((warn_unused_result));
/* NULL is allowed. */
void ha_ping_close(struct ha_ping *p);
/* When one answered last (clock_now() ns), 0: never. Any task; never blocks. */
uint64_t ha_ping_answered(const struct ha_ping *p);

#endif
