/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_NETWORK_H
#define VMKERNEL_HA_NETWORK_H

/*
 * Network heartbeats: once a second a datagram with the host's UUID to every host that
 * has an address. They tell isolation from death and nothing else: no lock and no order
 * rests on them, so they carry no secret and prove nothing.
 */
#include "base/report.h"
#include "base/uuid.h"
#include "vmkernel/loop.h"

struct ha_network;

/* Where to send to: the index-th address ("A:P") into ret; false: no more. */
typedef bool ha_network_next(void *arg, uint32_t index, char *ret, uint32_t size);

/* 0 or -errno (reported). next is called on the loop's task. */
int ha_network_open(struct loop *loop, const char *address, const struct uuid *host,
		    ha_network_next *next, void *arg, struct reporter *r,
		    struct ha_network **ret) __attribute__((warn_unused_result));
/* NULL is allowed. */
void ha_network_close(struct ha_network *n);
/* When a host was heard of last (clock_now() ns), 0: never. Any task; never blocks. */
uint64_t ha_network_heard(struct ha_network *n, const struct uuid *host);

#endif
