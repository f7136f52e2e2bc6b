/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Home and away.
 *
 *   HOME --moved for a time--> AWAY --the connection ends, or there is none--> HOME
 *   HOME or AWAY --moved for good--> HOME, which is elsewhere now
 *
 * A storage array that balances its sessions sends each login on, so every new connection
 * asks at home again: what was right for the last one need not be right now. "For good"
 * holds as long as this process: the user's URL is the user's.
 *
 * Invariants:
 * 1. At most ISCSI_HOPS_MAX moves without a login that was let in or a connection that
 *    failed: two portals that send us to each other do not keep us busy for ever.
 * 2. A move that fails leaves the route as it was.
 */
#include "iscsi/route.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "iscsi/url.h"

struct iscsi_route {
	struct addrinfo *home, *away; /* away NULL: at home */
	char *address;		      /* of away */
	unsigned int hops;
	const char *reach; /* portals that are reached at others */
};

/* Does [from, to) name the portal? */
static bool is_portal(const char *from, const char *to, const char *host, uint16_t port)
{
	char its_host[ISCSI_HOST_SIZE];
	uint16_t its_port;

	return iscsi_portal_parse(from, to, its_host, &its_port) && its_port == port &&
	       strcmp(its_host, host) == 0;
}

bool iscsi_route_reach(const char *reach, char *host, uint16_t *port)
{
	while (reach && *reach) {
		const char *end = strchrnul(reach, ',');
		const char *arrow = memchr(reach, '>', (size_t)(end - reach));
		if (arrow && is_portal(reach, arrow, host, *port)) {
			(void)!iscsi_portal_parse(arrow + 1, end, host, port);
			return true; /* iscsi_url_set() let no wrong one in */
		}
		reach = *end ? end + 1 : end;
	}
	return false;
}

/* A name lookup. *ret_why is only set on failure. */
static int look_up(const char *reach, const char *portal, uint16_t port,
		   struct addrinfo **ret_addresses, const char **ret_why)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICSERV };
	char port_text[8], host[ISCSI_HOST_SIZE];

	(void)snprintf(host, sizeof(host), "%s", portal);
	(void)iscsi_route_reach(reach, host, &port);
	(void)snprintf(port_text, sizeof(port_text), "%u", port);
	int error = getaddrinfo(host, port_text, &hints, ret_addresses);
	if (error == 0)
		return 0;
	*ret_why = gai_strerror(error);
	return error == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH;
}

static bool is_same(const struct addrinfo *a, const struct addrinfo *b)
{
	return a->ai_addrlen == b->ai_addrlen &&
	       memcmp(a->ai_addr, b->ai_addr, a->ai_addrlen) == 0;
}

bool iscsi_route_is_at(const char *host, uint16_t port, const char *portal)
{
	struct addrinfo *ours = NULL, *its = NULL;
	char its_host[ISCSI_HOST_SIZE];
	bool is_at = false;
	uint16_t its_port;
	const char *why;

	if (!iscsi_portal_parse(portal, portal + strlen(portal), its_host, &its_port) ||
	    its_port != port)
		return false;
	if (strcmp(its_host, host) == 0)
		return true;
	if (look_up(NULL, host, port, &ours, &why) == 0 &&
	    look_up(NULL, its_host, port, &its, &why) == 0)
		for (const struct addrinfo *a = ours; a && !is_at; a = a->ai_next)
			is_at = is_same(a, its);
	if (ours)
		freeaddrinfo(ours);
	if (its)
		freeaddrinfo(its);
	return is_at;
}

int iscsi_route_new(const char *host, uint16_t port, const char *reach,
		    struct iscsi_route **ret_route, const char **ret_why)
{
	struct iscsi_route *route = calloc(1, sizeof(*route));

	*ret_why = "out of memory";
	if (!route)
		return -ENOMEM;
	route->reach = reach;
	int error = look_up(reach, host, port, &route->home, ret_why);
	if (error) {
		free(route);
		return error;
	}
	*ret_route = route;
	return 0;
}

void iscsi_route_free(struct iscsi_route *route)
{
	if (!route)
		return;
	iscsi_route_go_home(route);
	freeaddrinfo(route->home);
	free(route);
}

const struct addrinfo *iscsi_route_addresses(const struct iscsi_route *route)
{
	return route->away ? route->away : route->home;
}

const char *iscsi_route_away(const struct iscsi_route *route)
{
	return route->away ? route->address : NULL;
}

static void set_away(struct iscsi_route *route, struct addrinfo *away, char *address)
{
	if (route->away)
		freeaddrinfo(route->away);
	free(route->address);
	route->away = away;
	route->address = address;
}

int iscsi_route_move(struct iscsi_route *route, const char *address, bool is_for_good)
{
	char host[ISCSI_HOST_SIZE];
	const char *end = strrchr(address, ','), *why;
	struct addrinfo *there;
	uint16_t port;

	if (route->hops == ISCSI_HOPS_MAX)
		return -ELOOP;
	if (!iscsi_portal_parse(address, end ? end : address + strlen(address), host,
				&port))
		return -EINVAL;
	char *copy = strdup(address);
	int error = copy ? look_up(route->reach, host, port, &there, &why) : -ENOMEM;
	if (error) {
		free(copy);
		return error;
	}
	route->hops++;
	if (is_for_good) {
		set_away(route, NULL, NULL);
		freeaddrinfo(route->home);
		route->home = there;
		free(copy);
	} else {
		set_away(route, there, copy);
	}
	return 0;
}

void iscsi_route_arrived(struct iscsi_route *route)
{
	route->hops = 0;
}

void iscsi_route_go_home(struct iscsi_route *route)
{
	set_away(route, NULL, NULL);
	route->hops = 0;
}
