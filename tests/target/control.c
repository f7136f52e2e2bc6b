/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: a line is a command; its answer is any lines, then "ok" or
 * "error ...". And its client, for shells.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/align.h"
#include "tests/target/target.h"

struct client {
	struct client *next;
	int sock;
	uint32_t len;
	char line[1024];
};

/* ---- counters ---- */

#define COUNTER(field) { #field, offsetof(struct counters, field) }

static const struct {
	const char *name;
	size_t at;
} counters[] = {
	COUNTER(logins),	    COUNTER(logouts),
	COUNTER(reinstatements),    COUNTER(aborts),
	COUNTER(lun_resets),	    COUNTER(other_tmfs),
	COUNTER(pings),		    COUNTER(echoes),
	COUNTER(rejects),	    COUNTER(violations),
	COUNTER(digest_errors),	    COUNTER(attentions),
	COUNTER(max_busy),	    COUNTER(max_transfer_blocks),
	COUNTER(max_unmap_blocks),  COUNTER(max_unmap_ranges),
	COUNTER(max_copy_segments), COUNTER(max_write_same_blocks),
	COUNTER(max_copy_blocks),   COUNTER(bytes_in),
	COUNTER(bytes_out),
};

static uint64_t counter(const struct world *w, uint32_t i)
{
	return *(const uint64_t *)((const char *)&w->counters + counters[i].at);
}

static uint64_t count_sessions(const struct world *w)
{
	const struct session *s;
	uint64_t n = 0;

	TAILQ_FOREACH(s, &w->sessions, link)
	n += s->is_full_feature && !s->is_dead;
	return n;
}

/* "89": how often that opcode came; "executed-89"; "sessions"; "held": commands that a
   fault delays or has swallowed; or a counter. */
bool stats_one(struct world *w, const char *name, uint64_t *ret_value)
{
	char *end;
	bool is_executed = strncmp(name, "executed-", 9) == 0;

	for (uint32_t i = 0; i < ARRAY_SIZE(counters); i++)
		if (strcmp(counters[i].name, name) == 0) {
			*ret_value = counter(w, i);
			return true;
		}
	if (strcmp(name, "sessions") == 0) {
		*ret_value = count_sessions(w);
		return true;
	}
	if (strcmp(name, "held") == 0) {
		const struct request *q;
		*ret_value = 0;
		TAILQ_FOREACH(q, &w->held, held)
		++*ret_value;
		return true;
	}
	unsigned long opcode = strtoul(name + (is_executed ? 9 : 0), &end, 16);
	if (*end || opcode > 255)
		return false;
	*ret_value = is_executed ? w->counters.executed[opcode]
				 : w->counters.opcode[opcode];
	return true;
}

void stats_print(struct world *w, struct buf *out)
{
	const struct session *s;

	TAILQ_FOREACH(s, &w->sessions, link)
	if (s->is_full_feature && !s->is_dead)
		buf_printf(out,
			   "session %u tsih %u port %u tpg %u %s "
			   "isid %02x%02x%02x%02x%02x%02x commands %llu busy %u\n",
			   s->number, s->tsih, s->portal->port, s->portal->tpg,
			   s->initiator, s->isid[0], s->isid[1], s->isid[2], s->isid[3],
			   s->isid[4], s->isid[5], (unsigned long long)s->commands,
			   s->busy);
	for (uint32_t i = 0; i < 256; i++)
		if (w->counters.opcode[i])
			buf_printf(out, "opcode %02x came %llu executed %llu\n", i,
				   (unsigned long long)w->counters.opcode[i],
				   (unsigned long long)w->counters.executed[i]);
	for (uint32_t i = 0; i < ARRAY_SIZE(counters); i++)
		buf_printf(out, "%s %llu\n", counters[i].name,
			   (unsigned long long)counter(w, i));
	if (w->counters.violation[0])
		buf_printf(out, "violation %s\n", w->counters.violation);
}

/* ---- the socket ---- */

static bool address_of(const char *path, struct sockaddr_un *ret_address)
{
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret_address->sun_path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(ret_address->sun_path, path, strlen(path));
	return true;
}

bool control_open(struct world *w, const char *path)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = &w->control };
	struct sockaddr_un a;

	w->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)unlink(path);
	return address_of(path, &a) && w->control >= 0 &&
	       bind(w->control, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	       listen(w->control, 16) == 0 &&
	       epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->control, &e) == 0;
}

static void client_new(struct world *w)
{
	struct client *c = calloc(1, sizeof(*c));
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

	if (!c)
		abort();
	c->sock = accept4(w->control, NULL, NULL, SOCK_CLOEXEC);
	if (c->sock < 0 || epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, c->sock, &e) < 0) {
		free(c);
		return;
	}
	c->next = w->clients;
	w->clients = c;
}

static void client_free(struct world *w, struct client *c)
{
	struct client **at = &w->clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	(void)close(c->sock);
	free(c);
}

static bool send_all(int sock, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(sock, bytes, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static bool run_line(struct world *w, struct client *c)
{
	struct buf out = { 0 };
	const char *why = fault_command(w, c->line, &out);

	if (why)
		buf_printf(&out, "error %s\n", why);
	else
		buf_printf(&out, "ok\n");
	bool is_sent = send_all(c->sock, out.data, out.len);
	buf_done(&out);
	return is_sent;
}

bool control_is(const struct world *w, const void *who)
{
	const struct client *c = w->clients;

	while (c && c != who)
		c = c->next;
	return c || who == &w->control;
}

void control_ready(struct world *w, void *who)
{
	struct client *c = who;

	if (who == &w->control) {
		client_new(w);
		return;
	}
	ssize_t n = recv(c->sock, c->line + c->len, sizeof(c->line) - 1 - c->len, 0);
	bool is_good = n > 0;
	c->len += is_good ? (uint32_t)n : 0;
	c->line[c->len] = '\0';
	char *end;
	while (is_good && (end = strchr(c->line, '\n')) != NULL) {
		uint32_t used = (uint32_t)(end + 1 - c->line);
		char rest[sizeof(c->line)];
		*end = '\0';
		memcpy(rest, c->line + used, c->len - used + 1);
		is_good = run_line(w, c);
		c->len -= used;
		memcpy(c->line, rest, c->len + 1);
	}
	if (!is_good || c->len == sizeof(c->line) - 1)
		client_free(w, c);
}

void control_close(struct world *w)
{
	while (w->clients)
		client_free(w, w->clients);
	if (w->control >= 0)
		(void)close(w->control);
}

/* ---- the client ---- */

int control_ask(const char *path, char *const words[])
{
	struct buf line = { 0 };
	struct sockaddr_un a;
	char answer[4096], *last = NULL;
	size_t have = 0;
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (int i = 0; words[i]; i++)
		buf_printf(&line, "%s%s", i ? " " : "", words[i]);
	buf_printf(&line, "\n");
	if (!address_of(path, &a) || sock < 0 ||
	    connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    !send_all(sock, line.data, line.len)) {
		(void)fprintf(stderr, "iscsi-target: %s: %s\n", path, strerror(errno));
		return 1;
	}
	buf_done(&line);
	for (;;) {
		ssize_t n = recv(sock, answer + have, sizeof(answer) - 1 - have, 0);
		if (n <= 0)
			break;
		have += (size_t)n;
		answer[have] = '\0';
		while ((last = strchr(answer, '\n')) != NULL) {
			*last = '\0';
			bool is_ok = strcmp(answer, "ok") == 0;
			bool is_error = strncmp(answer, "error ", 6) == 0;
			if (!is_ok)
				(void)fprintf(is_error ? stderr : stdout, "%s\n", answer);
			if (is_ok || is_error) {
				(void)close(sock);
				return is_ok ? 0 : 1;
			}
			have -= (size_t)(last + 1 - answer);
			memmove(answer, last + 1, have + 1);
		}
	}
	(void)fprintf(stderr, "iscsi-target: %s: no answer\n", path);
	(void)close(sock);
	return 1;
}
