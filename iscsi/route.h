/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_ROUTE_H
#define ISCSI_ROUTE_H

/*
 * Where to connect: the portal that the user named, or the one to which a target has sent
 * us on at login (RFC 7143 11.13.5). One task's; not locked.
 */
#include <stdbool.h>
#include <stdint.h>

#define ISCSI_HOPS_MAX 8u

struct addrinfo;
struct iscsi_route;

/*
 * To host and port, which is home. reach: which portals are reached at others, "A>B,C>D"
 * (iscsi/url.h), home as well as where a login is sent on to; NULL or "": none; kept
 * until free. 0 or -errno: -EHOSTUNREACH: no such host (*ret_why says more), -ENOMEM.
 * Blocks for name lookup.
 */
int iscsi_route_new(const char *host, uint16_t port, const char *reach,
		    struct iscsi_route **ret_route, const char **ret_why)
	__attribute__((warn_unused_result));
/*
 * Where portal host:port is reached: changed if reach ("A>B,A>B...", may be NULL) says
 * so. Whether it does.
 */
bool iscsi_route_reach(const char *reach, char *host, uint16_t *port);
/*
 * Is portal ("address:port", as targets tell it) what host:port leads to? host may be a
 * name: one of its addresses then. Blocks for name lookup.
 */
bool iscsi_route_is_at(const char *host, uint16_t port, const char *portal);
/* NULL is allowed. */
void iscsi_route_free(struct iscsi_route *route);
/* What to try, in this order; valid until the route changes. Never NULL. */
const struct addrinfo *iscsi_route_addresses(const struct iscsi_route *route);
/* The address that a login was sent on to, as the target wrote it; NULL: at home. */
const char *iscsi_route_away(const struct iscsi_route *route);
/*
 * A login was sent on to address, "host[:port][,tag]". is_for_good: that is home now.
 * 0, or the reason not to follow: -ELOOP (over ISCSI_HOPS_MAX in a row), -EINVAL (no
 * address), -EHOSTUNREACH (no such host), -ENOMEM. Blocks for name lookup.
 */
int iscsi_route_move(struct iscsi_route *route, const char *address, bool is_for_good)
	__attribute__((warn_unused_result));
/* A login was let in: hops are counted anew. */
void iscsi_route_arrived(struct iscsi_route *route);
/* A connection has ended, or could not be made: back to the portal that sent us on. */
void iscsi_route_go_home(struct iscsi_route *route);

#endif
