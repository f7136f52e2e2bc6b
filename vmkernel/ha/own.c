/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host says of its VMs, in its file of the HA folder.
 *
 * 1. A word about a VM is written while the lock of its .vmx file is held, with that
 *    lock's token: on the way up before its QEMU starts, on the way down before the lock
 *    is given back. So whoever has the lock next finds the last word.
 * 2. What is marked (it is up, an order failed) changes no wish and waits for the agent's
 *    task; whoever writes anything writes the marks first, in their order.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vmkernel/ha/agent_impl.h"

static void set_why(struct ha_vm *vm, const char *why)
{
	(void)snprintf(vm->why, sizeof(vm->why), "%s", why ? why : "");
}

/* ---- marks ---- */

static void apply(struct ha_agent *a, const struct mark *mark)
{
	struct ha_vm *vm = ha_vms_find(&a->says.vms, mark->path);
	if (vm && mark->is_up && vm->run == HA_STARTING) {
		vm->run = HA_UP;
		vm->result = 0;
		set_why(vm, NULL);
	} else if (vm && !mark->is_up && vm->order == mark->order) {
		vm->result = mark->result;
		set_why(vm, mark->why);
	}
}

/* true: something was marked. */
static bool apply_marks(struct ha_agent *a)
{
	struct mark_list marks = STAILQ_HEAD_INITIALIZER(marks);
	mutex_lock(&a->m);
	STAILQ_CONCAT(&marks, &a->marks);
	bool is_closed = a->is_closed;
	mutex_unlock(&a->m);
	bool is_new = is_closed != a->says.is_closed;
	a->says.is_closed = is_closed;
	while (!STAILQ_EMPTY(&marks)) {
		struct mark *mark = STAILQ_FIRST(&marks);
		STAILQ_REMOVE_HEAD(&marks, link);
		apply(a, mark);
		free(mark);
		is_new = true;
	}
	return is_new;
}

static void wake(struct ha_agent *a)
{
	a->is_awake = true;
	cond_signal(&a->c);
}

static void add_mark(struct ha_agent *a, const struct mark *what)
{
	struct mark *mark = malloc(sizeof(*mark));
	if (!mark)
		return; /* an order is found to be late, then; a VM is up all the same */
	*mark = *what;
	mutex_lock(&a->m);
	STAILQ_INSERT_TAIL(&a->marks, mark, link);
	wake(a);
	mutex_unlock(&a->m);
}

void ha_agent_up(struct ha_agent *a, const char *path)
{
	struct mark mark = { .is_up = true };
	(void)snprintf(mark.path, sizeof(mark.path), "%s", path);
	add_mark(a, &mark);
}

void ha_agent_failed(struct ha_agent *a, const char *path, uint64_t order, int rc,
		     const char *why)
{
	struct mark mark = { .order = order, .result = rc < 0 ? rc : -EIO };
	(void)snprintf(mark.path, sizeof(mark.path), "%s", path);
	(void)snprintf(mark.why, sizeof(mark.why), "%s", why);
	add_mark(a, &mark);
}

void ha_agent_close(struct ha_agent *a, bool is_closed)
{
	mutex_lock(&a->m);
	a->is_closed = is_closed;
	wake(a);
	mutex_unlock(&a->m);
}

/* ---- writing ---- */

int ha_own_write(struct ha_agent *a, bool is_any)
{
	if (!apply_marks(a) && !is_any)
		return 0;
	AUTO_FREE char *text = ha_says_text(&a->says);
	return text ? ha_record_write(&a->own, text) : -ENOMEM;
}

int ha_own_look(struct ha_agent *a)
{
	sleeplock_acquire(&a->own_lock);
	bool is_new = a->says.is_isolated != a->is_isolated;
	a->says.is_isolated = a->is_isolated;
	int rc = ha_own_write(a, is_new);
	sleeplock_release(&a->own_lock);
	return rc;
}

int ha_own_take_order(struct ha_agent *a, const struct ha_restart *r)
{
	int rc = 0;
	sleeplock_acquire(&a->own_lock);
	struct ha_vm *vm = ha_vms_add(&a->says.vms, r->path);
	if (!vm) {
		rc = -ENOMEM;
	} else if (vm->order != r->order) {
		vm->order = r->order;
		vm->result = -EINPROGRESS;
		set_why(vm, NULL);
		rc = ha_own_write(a, true);
		rc = rc < 0 ? rc : 1;
	}
	sleeplock_release(&a->own_lock);
	return rc;
}

/* ---- the way up ---- */

/* Everything as it stands now: who wants the VM on, and is there room for it? */
static int ask_all(struct ha_agent *a, const struct ha_vm *vm, uint64_t order,
		   struct peers *peers, struct ha_list *list, char *ret_why,
		   uint32_t size)
{
	struct ha_host hosts[HA_HOSTS_MAX + 1];
	uint32_t count = ha_peers_hosts(peers, &a->says, hosts);
	struct ha_view view = { .label = a->label,
				.hosts = hosts,
				.host_count = count,
				.rules = &a->options.rules };
	int rc = ha_plan_merge(list, &view);
	const struct ha_vm *word = ha_vms_find(&list->vms, vm->path);
	if (rc < 0 || vm->run == HA_UP)
		return rc;
	if (!order)
		return ha_plan_admit(list, &view, vm, ret_why, size);
	if (word && word->is_wanted)
		return 0;
	(void)snprintf(ret_why, size, "it is not to be on any more");
	return -ECANCELED;
}

static int judge_claim(struct ha_agent *a, const struct ha_vm *vm, uint64_t order,
		       char *ret_why, uint32_t size)
{
	AUTO_FREE struct peers *peers = calloc(1, sizeof(*peers));
	AUTO_FREE char *text = NULL;
	struct ha_list list = { 0 };
	uint64_t seq;
	int rc = peers ? ha_peers_look(a, peers, false) : -ENOMEM;
	if (rc == 0)
		rc = ha_record_read(a->options.vol, a->list_path, NULL, &text, &seq);
	if (rc == 0)
		rc = ha_list_parse(text, &list);
	else if (rc == -ENOENT)
		rc = 0;
	if (rc == 0)
		rc = ask_all(a, vm, order, peers, &list, ret_why, size);
	ha_list_done(&list);
	if (peers)
		ha_peers_done(peers);
	return rc;
}

int ha_agent_claim(struct ha_agent *a, const struct ha_vm *vm, uint64_t order,
		   char *ret_why, uint32_t size)
{
	*ret_why = '\0';
	sleeplock_acquire(&a->own_lock);
	int rc = judge_claim(a, vm, order, ret_why, size);
	struct ha_vm *to = rc == 0 ? ha_vms_add(&a->says.vms, vm->path) : NULL;
	if (rc == 0 && !to)
		rc = -ENOMEM;
	if (rc == 0) {
		uint64_t last = to->order;
		*to = *vm;
		to->order = order ? order : last;
		to->result = order ? -EINPROGRESS : 0;
		to->is_wanted = true;
		to->host = a->options.host;
		rc = ha_own_write(a, true);
	}
	sleeplock_release(&a->own_lock);
	if (rc < 0 && !*ret_why)
		(void)snprintf(ret_why, size, "HA cannot write it down: %s",
			       strerror(-rc));
	return rc;
}

/* ---- the way down ---- */

void ha_agent_end(struct ha_agent *a, const char *path, bool is_wanted, const char *why)
{
	int rc = 0;
	sleeplock_acquire(&a->own_lock);
	(void)apply_marks(a);
	struct ha_vm *vm = ha_vms_find(&a->says.vms, path);
	if (vm && vm->run != HA_DOWN) {
		vm->run = HA_DOWN;
		vm->is_wanted = is_wanted;
		vm->result = -EIO;
		set_why(vm, why);
		rc = ha_own_write(a, true);
	}
	sleeplock_release(&a->own_lock);
	if (rc < 0)
		report(a->options.reporter, REPORT_WARN,
		       "HA: VM [%s] %s: that it has ended cannot be written down: %s",
		       a->label, path + 1, strerror(-rc));
}

int ha_agent_unwant(struct ha_agent *a, const char *path, uint64_t token)
{
	sleeplock_acquire(&a->own_lock);
	struct ha_vm *vm = ha_vms_add(&a->says.vms, path);
	int rc = vm ? 0 : -ENOMEM;
	if (vm) {
		vm->token = token;
		vm->run = HA_DOWN;
		vm->is_wanted = false;
		vm->host = a->options.host;
		rc = ha_own_write(a, true);
	}
	sleeplock_release(&a->own_lock);
	return rc;
}
