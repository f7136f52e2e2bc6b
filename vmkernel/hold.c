/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A try lasts about a second, in which libvmfs watches the holder's slot and takes over a
 * holder that is dead (LOCKING.md 7.1, 8). Between tries we decide whether to go on:
 *
 * The holder lives if its heartbeat was seen to change later than SETTLE after the first
 * try had ended. A change seen earlier may be old news: the slot may not have been read
 * for a minute before, and what changed meanwhile says nothing about now. A living host
 * renews every 3 s, so a refusal takes about 4 to 6 s.
 */
#include "vmkernel/hold.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"

#define TRY_NS NS_PER_S
#define SETTLE_NS (1200 * NS_PER_MS)
#define PAUSE_NS (100 * NS_PER_MS)

static void catch(struct reporter *base, enum report_level level, const char *text)
{
	struct catcher *c = (struct catcher *)base;
	if (level == REPORT_ERROR && !atomic_load(&c->is_stopped))
		(void)snprintf(c->text, sizeof(c->text), "%s", text);
	report(c->next, level, "%s", text);
}

struct reporter *catcher_init(struct catcher *c, struct reporter *next)
{
	c->base.tell = catch;
	c->next = next;
	c->text[0] = '\0';
	atomic_init(&c->is_stopped, false);
	return &c->base;
}

void catcher_stop(struct catcher *c)
{
	atomic_store(&c->is_stopped, true);
}

static bool is_own(const struct hold *hold, const struct vmfs_holder *h)
{
	struct uuid owner;
	uint32_t slot;
	return hold->vol && vmfs_volume_identity(hold->vol, &owner, &slot) == 0 &&
	       uuid_equal(&owner, &h->owner);
}

static int refuse(const struct hold *hold, const struct vmfs_holder *h, const char *more,
		  char *ret_why, uint32_t size)
{
	char text[VMFS_HOLDER_TEXT_SIZE];
	(void)snprintf(ret_why, size, "%s: %s%s", hold->what, vmfs_holder_text(h, text),
		       more);
	return -EBUSY;
}

static int fail(const struct hold *hold, int rc, char *ret_why, uint32_t size)
{
	const char *told = hold->catcher ? hold->catcher->text : "";
	(void)snprintf(ret_why, size, "%s: %s", hold->what, *told ? told : strerror(-rc));
	return rc;
}

int hold_acquire(const struct hold *hold, char *ret_why, uint32_t size)
{
	struct vmfs_holder h = { 0 };
	uint64_t end = clock_now() + hold->wait_s * NS_PER_S;
	uint64_t settled = 0;
	for (;;) {
		uint64_t start = clock_now();
		int rc = hold->try(hold->arg,
				   min_u64(start + TRY_NS, max_u64(end, start + 1)), &h);
		uint64_t now = clock_now();
		if (rc == 0)
			return 0;
		if (rc != -EBUSY)
			return fail(hold, rc, ret_why, size);
		if (is_own(hold, &h))
			return refuse(hold, &h, " (this host itself)", ret_why, size);
		if (!settled)
			settled = now + SETTLE_NS;
		if (now > settled && h.heartbeat_age_ns < now - settled)
			return refuse(hold, &h, "", ret_why, size);
		if (now >= end)
			return refuse(hold, &h, ", and the wait is over", ret_why, size);
		if (hold->is_cancelled && atomic_load(hold->is_cancelled))
			return fail(hold, -ECANCELED, ret_why, size);
		task_sleep_until(max_u64(now, start + PAUSE_NS));
	}
}
