/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that is not there yet, or has hung, does not read: what QEMU's socket does not
 * take is not asked again until it does (PENDING_MAX), and the old questions are answered
 * all at once when it comes.
 */
#include "vmkernel/vmx/agent.h"

#include "base/env.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vmx/qmp.h"

#define ASK_EVERY (2 * NS_PER_S)
#define PENDING_MAX 256u
#define QUESTION 1

void agent_init(struct agent *a)
{
	channel_init(&a->channel, -1);
	a->ask_at = NO_DEADLINE;
}

void agent_open(struct agent *a)
{
	int sock = sock_connect(AGENT_SOCKET);
	if (sock < 0)
		return;
	channel_init(&a->channel, sock);
	a->ask_at = clock_now();
}

void agent_ask(struct agent *a)
{
	if (clock_now() < a->ask_at)
		return;
	a->ask_at = clock_now() + ASK_EVERY;
	int rc = a->channel.out.len < PENDING_MAX ?
			 qmp_send(&a->channel, "guest-ping", NULL, QUESTION) :
			 channel_flush(&a->channel);
	if (rc < 0)
		agent_done(a);
}

bool agent_read(struct agent *a)
{
	json_t *m;
	bool is_beat = false;
	int rc = qmp_read(&a->channel), next = 0;
	while (rc == 0 && (next = qmp_next(&a->channel, &m)) > 0) {
		is_beat |= json_object_get(m, "return") != NULL;
		json_decref(m);
	}
	if (rc < 0 || next < 0)
		agent_done(a); /* gone, or no agent */
	return is_beat;
}

void agent_done(struct agent *a)
{
	channel_done(&a->channel);
	agent_init(a);
}
