/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	PASSWORD --screen_ticket--> TICKET --screen_used, screen_late--> PASSWORD
 *
 * A VM without a password of its own gets one that nobody knows: with password=on QEMU
 * lets nobody in before it has one, but one that has expired would come back with the
 * next.
 */
#include "vmkernel/vmx/screen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"

enum id { ID_PASSWORD = SCREEN_QMP_FIRST, ID_EXPIRE, ID_TICKET, ID_LIMIT };

void screen_init(struct screen *s, struct channel *qmp)
{
	*s = (struct screen){ .qmp = qmp, .ticket_until = NO_DEADLINE };
}

static int set_password(struct screen *s, const char *password, const char *time,
			enum id first, enum id second)
{
	int rc = qmp_send(s->qmp, "set_password",
			  json_pack("{s:s, s:s, s:s}", "protocol", "vnc", "password",
				    password, "display", SCREEN_DISPLAY), first);
	return rc ? rc : qmp_send(s->qmp, "expire_password",
				  json_pack("{s:s, s:s, s:s}", "protocol", "vnc", "time",
					    time, "display", SCREEN_DISPLAY), second);
}

static int set_own(struct screen *s)
{
	char nobody[SCREEN_PASSWORD_MAX + 1];
	(void)snprintf(nobody, sizeof(nobody), "%08x", (unsigned int)random_u64());
	bool has = s->vnc->password[0];
	return set_password(s, has ? s->vnc->password : nobody, has ? "never" : "now",
			    ID_PASSWORD, ID_EXPIRE);
}

int screen_open(struct screen *s, const struct vm_vnc *vnc)
{
	s->vnc = vnc;
	return vnc->is_on ? set_own(s) : 0;
}

int screen_ticket(struct screen *s, const char *ticket, uint32_t seconds,
		  bool is_websocket)
{
	char time[16];
	if (!s->vnc || !s->vnc->is_on || !s->vnc->ports[is_websocket])
		return -ENXIO;
	if (s->is_asked)
		return -EBUSY;
	(void)snprintf(time, sizeof(time), "+%u", seconds);
	int rc = set_password(s, ticket, time, ID_TICKET, ID_LIMIT);
	s->is_asked = rc == 0;
	s->why[0] = '\0';
	if (rc == 0)
		s->ticket_until = clock_now() + seconds * NS_PER_S;
	return rc;
}

enum screen_news screen_answer(struct screen *s, uint32_t id, const char *error)
{
	if (error && (id == ID_TICKET || id == ID_LIMIT) && !s->why[0])
		(void)snprintf(s->why, sizeof(s->why), "%s", error);
	if (id != ID_LIMIT || !s->is_asked)
		return SCREEN_GOES_ON;
	s->is_asked = false;
	return s->why[0] ? SCREEN_FAILED : SCREEN_HAS_TICKET;
}

void screen_late(struct screen *s)
{
	s->ticket_until = NO_DEADLINE;
	/* A QEMU that takes no commands is found out by others. */
	(void)!set_own(s);
}

void screen_used(struct screen *s, const json_t *data)
{
	const json_t *server = json_object_get(data, "server");
	const char *family = json_string_value(json_object_get(server, "family"));
	/* That of the socket has no password, and needs no ticket. */
	if (s->ticket_until != NO_DEADLINE && family && strcmp(family, "unix") != 0)
		screen_late(s);
}
