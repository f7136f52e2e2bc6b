/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Once a second each VM that runs by itself is looked at. One that stands still for a
 * question, a snapshot or a move is not: its silence then is ours, and its time begins
 * anew.
 */
#include "vmkernel/vm_monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/env.h"
#include "vmkernel/vm.h"

struct vm_monitor {
	int timer;
	struct loop_watch *watch;
	struct monitor_rules rules;
};

static uint64_t io_count(const struct vm *vm)
{
	struct sched_usage u;
	uint64_t count = 0;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		if (disk_usage(vm->disks[i], &u))
			count += u.reads + u.writes;
	return count;
}

static void look(struct vm *vm, const struct monitor_rules *rules)
{
	const struct requester nobody = { 0 };
	uint64_t now = clock_now();
	bool is_still = vm->has_job || vm->is_busy || vm->question_text[0];
	if (vm->state != VM_ON || vm->is_ending)
		return;
	if (is_still && vm->monitor.beat_at)
		monitor_beat(&vm->monitor, now);
	if (is_still)
		return;
	switch (monitor_look(&vm->monitor, rules, io_count(vm), now)) {
	case MONITOR_FINE:
		break;
	case MONITOR_RESET:
		report(vm->host->reporter, REPORT_WARN,
		       "HA: VM %u (%s) is reset: its guest has been silent for %llu s, "
		       "and does no I/O", vm->id, vm->labels.name,
		       (unsigned long long)(rules->failure_ns / NS_PER_S));
		vm_reset(vm, nobody);
		break;
	case MONITOR_GIVE_UP:
		report(vm->host->reporter, REPORT_WARN,
		       "HA: VM %u (%s) is silent, and is not reset: it was %u times in "
		       "%llu s", vm->id, vm->labels.name, rules->failures,
		       (unsigned long long)(rules->window_ns / NS_PER_S));
		break;
	}
}

static void on_timer(void *arg, uint32_t events)
{
	struct host *h = arg;
	struct vm *vm;
	uint64_t count;
	(void)events;
	(void)!read(h->vm_monitor->timer, &count, sizeof(count)); /* once is enough */
	TAILQ_FOREACH(vm, &h->vms, link)
		look(vm, &h->vm_monitor->rules);
}

int vm_monitor_open(struct host *h)
{
	const struct itimerspec every = { { 1, 0 }, { 1, 0 } };
	const struct ha_settings *s = &h->config.ha;
	struct vm_monitor *m = s->monitors_vms ? calloc(1, sizeof(*m)) : NULL;
	if (!m)
		return s->monitors_vms ? -ENOMEM : 0;
	h->vm_monitor = m;
	m->rules = (struct monitor_rules){ .failure_ns = s->vm_failure_s * NS_PER_S,
					   .uptime_ns = s->vm_uptime_s * NS_PER_S,
					   .io_ns = s->vm_io_s * NS_PER_S,
					   .window_ns = s->vm_window_s * NS_PER_S,
					   .failures = s->vm_failures };
	m->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (m->timer < 0 || timerfd_settime(m->timer, 0, &every, NULL) < 0)
		return -errno;
	m->watch = loop_watch_new(h->loop, m->timer, EPOLLIN, on_timer, h);
	return m->watch ? 0 : -ENOMEM;
}

void vm_monitor_close(struct host *h)
{
	struct vm_monitor *m = h->vm_monitor;
	if (!m)
		return;
	loop_watch_free(m->watch);
	if (m->timer >= 0)
		(void)close(m->timer);
	free(m);
	h->vm_monitor = NULL;
}
