/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Once a second each VM that is on is looked at: one that may move, and was not tried
 * just now, goes to another host, a few at a time. Who takes VMs is read from the notices
 * on its datastore (vmotion/notice.h), by a job; each try takes the next of them, so that
 * they spread, and a host that refuses is not asked again before the others were. Each
 * passage tells in vmkernel.log what came of it.
 */
#include "vmkernel/evacuate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "vmkernel/checkpoint.h"
#include "vmkernel/inventory.h"
#include "vmkernel/maintenance.h"
#include "vmkernel/vmotion/notice.h"
#include "vmkernel/vmotion/vmotion.h"

#define AT_ONCE 2u
#define AGAIN_NS (10 * NS_PER_S) /* after one that was refused */

struct evacuation {
	struct host *host;
	enum evacuate_how how;
	uint64_t until; /* clock_now() ns */
	int timer;
	struct loop_watch *watch;
	bool is_looking;
};

static const char *const words[] = { [EVACUATE_VMOTION] = "vmotion",
				     [EVACUATE_SHUTDOWN] = "shutdown",
				     [EVACUATE_SUSPEND] = "suspend",
				     [EVACUATE_NONE] = "none" };

int evacuate_parse(const char *word, enum evacuate_how *ret_how)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(word, *word ? words[i] : "") == 0) {
			*ret_how = (enum evacuate_how)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *evacuate_word(enum evacuate_how how)
{
	return words[how];
}

/* ---- by vMotion ---- */

struct look {
	struct host *host;
	struct datastore *ds; /* in use until it is done */
	uint32_t vm;
	char names[NOTICE_HOSTS_MAX][NOTICE_NAME_SIZE];
	int count; /* or -errno */
};

static void look_work(void *arg)
{
	struct look *l = arg;
	l->count = notice_list(l->ds->vol, l->names);
}

/* The one whose turn it is, but for ourselves; NULL: there is no other. */
static const char *choose(const struct look *l, const struct vm *vm)
{
	const char *others[NOTICE_HOSTS_MAX];
	uint32_t count = 0;
	for (int i = 0; i < l->count; i++)
		if (strcmp(l->names[i], l->host->host_name) != 0)
			others[count++] = l->names[i];
	return count ? others[(vm->id + vm->evacuation.tries) % count] : NULL;
}

static void look_done(void *arg)
{
	struct look *l = arg;
	struct host *h = l->host;
	struct vm *vm = inventory_find(h, l->vm);
	const struct requester nobody = { 0 };
	if (h->evacuation)
		h->evacuation->is_looking = false;
	bool may = h->evacuation && vm && vm->state == VM_ON && !vm->is_busy &&
		   !vm->is_ending && vm->ds == l->ds;
	const char *name = may ? choose(l, vm) : NULL;
	if (may && !name && !vm->evacuation.tries)
		report(h->reporter, REPORT_WARN, "VM %u: no other host takes VMs on "
		       "datastore %s: it stays until it is powered off", vm->id,
		       l->ds->label);
	if (may) {
		vm->evacuation.tries++;
		vm->evacuation.again_at = clock_now() + AGAIN_NS;
	}
	if (name)
		vmotion_start(vm, nobody, name, false);
	host_datastore_put(h, l->ds);
	free(l);
}

static void move(struct evacuation *e, struct vm *vm)
{
	struct look *l = calloc(1, sizeof(*l));
	if (!l)
		return;
	l->host = e->host;
	l->ds = vm->ds;
	l->vm = vm->id;
	l->ds->users++;
	e->is_looking = true;
	if (loop_job(e->host->loop, "evacuate", look_work, look_done, l) == 0)
		return;
	l->count = -ENOMEM;
	look_done(l);
}

static bool may_move(const struct vm *vm)
{
	return vm->state == VM_ON && !vm->is_busy && !vm->is_ending && !vm->has_job &&
	       !vm->question_text[0] && vm->evacuation.again_at <= clock_now();
}

static void move_next(struct evacuation *e)
{
	struct vm *vm, *next = NULL;
	unsigned int count = e->is_looking;
	TAILQ_FOREACH(vm, &e->host->vms, link) {
		count += vm->passage != NULL;
		if (!next && may_move(vm))
			next = vm;
	}
	if (next && count < AT_ONCE && e->host->vmotion)
		move(e, next);
}

/* ---- all ways ---- */

/* Each is asked once; one that cannot hear it now is asked when it can. */
static void ask_all(struct evacuation *e)
{
	const struct requester nobody = { 0 };
	struct vm *vm;
	TAILQ_FOREACH(vm, &e->host->vms, link) {
		if (!may_move(vm))
			continue;
		vm->evacuation.again_at = NO_DEADLINE;
		if (e->how == EVACUATE_SHUTDOWN)
			vm_shutdown(vm, nobody, false);
		else
			checkpoint_suspend(vm, nobody);
	}
}

static void on_timer(void *arg, uint32_t events)
{
	struct evacuation *e = arg;
	uint64_t count;
	(void)events;
	(void)!read(e->timer, &count, sizeof(count)); /* how often does not matter */
	if (clock_now() >= e->until)
		maintenance_late(e->host);
	else if (e->how == EVACUATE_VMOTION)
		move_next(e);
	else if (e->how != EVACUATE_NONE)
		ask_all(e);
}

int evacuate_begin(struct host *h, enum evacuate_how how, uint32_t timeout_s)
{
	const struct itimerspec each = { .it_value.tv_nsec = 1,
					 .it_interval.tv_sec = 1 };
	struct evacuation *e = calloc(1, sizeof(*e));
	struct vm *vm;
	if (!e)
		return -ENOMEM;
	e->host = h;
	e->how = how;
	e->until = timeout_s ? clock_now() + timeout_s * NS_PER_S : NO_DEADLINE;
	e->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	h->evacuation = e;
	if (e->timer >= 0 && timerfd_settime(e->timer, 0, &each, NULL) == 0)
		e->watch = loop_watch_new(h->loop, e->timer, EPOLLIN, on_timer, e);
	if (!e->watch) {
		evacuate_end(h);
		return -ENOMEM;
	}
	TAILQ_FOREACH(vm, &h->vms, link)
		memset(&vm->evacuation, 0, sizeof(vm->evacuation));
	return 0;
}

void evacuate_end(struct host *h)
{
	struct evacuation *e = h->evacuation;
	if (!e)
		return;
	h->evacuation = NULL;
	loop_watch_free(e->watch);
	if (e->timer >= 0)
		(void)close(e->timer);
	free(e);
}
