/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a restart, all in the master's list:
 *
 *	(none) --wanted on, and up nowhere--> WAITING --issue--> ORDERED
 *	ORDERED --its host says up--> (none)
 *	ORDERED --its host failed--> WAITING, with a pause that doubles;
 *		 or GIVEN UP after tries_max
 *	ORDERED --its host died, or takes no VM any more--> WAITING, at once
 *	any --wanted off, or up somewhere--> (none)
 *
 * 1. The last word about a VM is what was said with the highest token of its lock. Who
 *    says something holds that lock, so no two hosts ever say something with one token.
 * 2. An order is a wish. Whether the VM is started is decided by the host that gets the
 *    order, when it has the VM's lock, by reading the last word again (agent.c); so a
 *    list that is old harms nobody.
 * 3. Orders are numbered and never used again: what a host says about an older one does
 *    not count.
 * 4. Of several VMs those of higher priority are given an order first, and a VM waits
 *    for those it depends on to be up, unless they are given up, or wait for it.
 */
#include "vmkernel/ha/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16u
#define DOUBLINGS_MAX 10u

/* "[demo] vm1/vm1.vmx" of path in two pieces. */
#define VM_TEXT "VM [%s] %s"
#define VM_ARGS(view, path) (view)->label, (path) + 1

/* ---- the last word ---- */

static int take_word(struct ha_list *list, const struct ha_vm *said,
		     const struct uuid *host)
{
	struct ha_vm *known = ha_vms_find(&list->vms, said->path);
	if (known && (known->token > said->token ||
		      (known->token == said->token && !uuid_equal(&known->host, host))))
		return 0;
	known = ha_vms_add(&list->vms, said->path);
	if (!known)
		return -ENOMEM;
	*known = *said;
	known->host = *host;
	return 0;
}

int ha_plan_merge(struct ha_list *list, const struct ha_view *view)
{
	int rc = 0;
	for (uint32_t i = 0; i < view->host_count; i++) {
		const struct ha_says *says = view->hosts[i].says;
		for (uint32_t k = 0; rc == 0 && k < says->vms.count; k++)
			rc = take_word(list, &says->vms.all[k], &says->host);
	}
	return rc;
}

/* ---- hosts ---- */

static const struct ha_host *find_host(const struct ha_view *view, const struct uuid *id)
{
	for (uint32_t i = 0; i < view->host_count; i++)
		if (uuid_equal(&view->hosts[i].says->host, id))
			return &view->hosts[i];
	return NULL;
}

static const char *host_name(const struct ha_view *view, const struct uuid *id)
{
	const struct ha_host *host = find_host(view, id);
	return host ? host->says->name : "a host that is gone";
}

static bool takes_vms(const struct ha_host *host)
{
	return host && host->is_alive && !host->says->is_isolated &&
	       !host->says->is_closed;
}

/* What a living host says of a VM that it has, or has been told to start. */
static const struct ha_vm *word_of(const struct ha_host *host, const char *path)
{
	return host ? ha_vms_find(&host->says->vms, path) : NULL;
}

/* On, or on the way, at a host that lives. */
static bool is_up(const struct ha_view *view, const struct ha_vm *vm)
{
	const struct ha_host *host = find_host(view, &vm->host);
	return vm->run != HA_DOWN && host && host->is_alive;
}

/* ---- why ---- */

/* Why a VM is not where it was; into buf. */
static const char *why_down(const struct ha_view *view, const struct ha_vm *vm, char *buf,
			    size_t size)
{
	const struct ha_host *host = find_host(view, &vm->host);
	if (!host || !host->is_alive)
		(void)snprintf(buf, size, "host %s is dead (%s)",
			       host_name(view, &vm->host),
			       host && host->dead_why ? host->dead_why : "it left");
	else
		(void)snprintf(buf, size, "it ended on host %.63s%s%.160s",
			       host->says->name, vm->why[0] ? ": " : "", vm->why);
	return buf;
}

/* ---- the restarts that there are ---- */

static void fail_try(struct ha_restart *r, const struct ha_view *view, const char *why)
{
	uint32_t n = r->tries < DOUBLINGS_MAX ? r->tries : DOUBLINGS_MAX;
	uint64_t pause = view->rules->retry_ns << n;
	r->failed = r->target;
	r->target = (struct uuid){ 0 };
	r->tries++;
	r->is_given_up = r->tries >= view->rules->tries_max;
	r->not_before = view->now + pause;
	if (r->is_given_up)
		report(view->events, REPORT_ERROR,
		       "HA: " VM_TEXT " on host %s: %s; given up after %u tries",
		       VM_ARGS(view, r->path), host_name(view, &r->failed), why,
		       r->tries);
	else
		report(view->events, REPORT_WARN,
		       "HA: " VM_TEXT " on host %s: %s; next try in %llu s",
		       VM_ARGS(view, r->path), host_name(view, &r->failed), why,
		       (unsigned long long)(pause / 1000000000u));
}

/* An order that was given. */
static void follow(struct ha_restart *r, const struct ha_view *view)
{
	const struct ha_host *host = find_host(view, &r->target);
	const struct ha_vm *word = word_of(host, r->path);
	if (!r->issued_at)
		r->issued_at = view->now; /* of the master before us */
	if (!takes_vms(host)) {
		report(view->events, REPORT_WARN,
		       "HA: " VM_TEXT ": host %s, which was to start it, %s",
		       VM_ARGS(view, r->path), host_name(view, &r->target),
		       host && host->is_alive ? "takes no VM any more" : "is dead");
		r->target = (struct uuid){ 0 };
		r->not_before = 0;
	} else if (word && word->order == r->order && word->result < 0 &&
		   word->result != -EINPROGRESS) {
		fail_try(r, view, word->why[0] ? word->why : strerror(-word->result));
	} else if (view->now - r->issued_at >= view->rules->order_ns) {
		fail_try(r, view, "no answer in time");
	}
}

/* true: nothing is left to be done for this VM. */
static bool is_settled(const struct ha_restart *r, const struct ha_list *list,
		       const struct ha_view *view)
{
	const struct ha_vm *vm = ha_vms_find(&list->vms, r->path);
	if (!vm || !vm->is_wanted) {
		report(view->events, REPORT_INFO,
		       "HA: " VM_TEXT ": not to be on any more, no restart",
		       VM_ARGS(view, r->path));
		return true;
	}
	if (vm->run == HA_UP && is_up(view, vm)) {
		report(view->events, REPORT_INFO, "HA: " VM_TEXT " is up on host %s",
		       VM_ARGS(view, r->path), host_name(view, &vm->host));
		return true;
	}
	return false;
}

static void look_at_restarts(struct ha_list *list, const struct ha_view *view)
{
	uint32_t i = 0;
	while (i < list->restart_count) {
		struct ha_restart *r = &list->restarts[i];
		if (is_settled(r, list, view)) {
			ha_list_remove(list, r->path); /* the last is here now */
			continue;
		}
		if (!uuid_is_zero(&r->target))
			follow(r, view);
		i++;
	}
}

/* ---- new ones ---- */

static int find_new(struct ha_list *list, const struct ha_view *view)
{
	char why[512];
	for (uint32_t i = 0; i < list->vms.count; i++) {
		const struct ha_vm *vm = &list->vms.all[i];
		if (!vm->is_wanted || vm->priority == HA_DISABLED || is_up(view, vm) ||
		    ha_list_find(list, vm->path))
			continue;
		report(view->events, REPORT_WARN,
		       "HA: " VM_TEXT " is to be restarted: %s", VM_ARGS(view, vm->path),
		       why_down(view, vm, why, sizeof(why)));
		if (!ha_list_add(list, vm->path))
			return -ENOMEM;
	}
	return 0;
}

/* ---- what a VM waits for ---- */

/* Calls of the next path in a list with commas: its length; 0: the end. */
static size_t next_path(const char **at)
{
	*at += strspn(*at, ", ");
	return strcspn(*at, ",");
}

/* Does path, or what it depends on, depend on `on`? */
static bool depends_on(const struct ha_list *list, const char *path, const char *on,
		       unsigned int depth)
{
	char dep[HA_PATH_SIZE];
	const struct ha_vm *vm = ha_vms_find(&list->vms, path);
	const char *at = vm ? vm->depends : "";
	for (size_t len; depth < DEPTH_MAX && (len = next_path(&at)) > 0; at += len) {
		(void)snprintf(dep, sizeof(dep), "%.*s", (int)len, at);
		if (strcmp(dep, on) == 0 || depends_on(list, dep, on, depth + 1))
			return true;
	}
	return false;
}

/* The VM that this one has to wait for, or NULL. */
static const struct ha_vm *waits_for(const struct ha_list *list,
				     const struct ha_view *view, const struct ha_vm *vm)
{
	char dep[HA_PATH_SIZE];
	const char *at = vm->depends;
	for (size_t len; (len = next_path(&at)) > 0; at += len) {
		(void)snprintf(dep, sizeof(dep), "%.*s", (int)len, at);
		const struct ha_vm *first = ha_vms_find(&list->vms, dep);
		const struct ha_restart *r = ha_list_find(list, dep);
		if (first && first->is_wanted &&
		    !(first->run == HA_UP && is_up(view, first)) &&
		    !(r && r->is_given_up) && first->priority != HA_DISABLED &&
		    !depends_on(list, dep, vm->path, 0))
			return first;
	}
	return NULL;
}

/* ---- where ---- */

struct load {
	uint64_t memory_mb, cpu_mhz;
	uint32_t orders;
};

/* What a host has, and what was ordered of it and does not show yet. */
static struct load load_of(const struct ha_list *list, const struct ha_host *host)
{
	struct load load = { 0 };
	for (uint32_t i = 0; i < list->vms.count; i++) {
		const struct ha_vm *vm = &list->vms.all[i];
		const struct ha_restart *r = ha_list_find(list, vm->path);
		bool is_ordered = r && uuid_equal(&r->target, &host->says->host);
		bool is_there =
			vm->run != HA_DOWN && uuid_equal(&vm->host, &host->says->host);
		load.orders += is_ordered;
		if (!is_ordered && !is_there)
			continue;
		load.memory_mb += vm->memory_mb;
		load.cpu_mhz += vm->cpu_mhz;
	}
	return load;
}

static bool fits(const struct ha_host *host, const struct load *load,
		 const struct ha_vm *vm)
{
	const struct ha_says *says = host->says;
	return (!says->memory_mb || load->memory_mb + vm->memory_mb <= says->memory_mb) &&
	       (!says->cpu_mhz || load->cpu_mhz + vm->cpu_mhz <= says->cpu_mhz);
}

/*
 * The one with the most memory that nobody has; of equals the one with fewer orders, then
 * by UUID. The one that failed last only if there is no other.
 */
static const struct ha_host *choose(const struct ha_list *list,
				    const struct ha_view *view, const struct ha_vm *vm,
				    const struct ha_restart *r)
{
	const struct ha_host *best = NULL;
	int64_t best_room = 0;
	bool is_best_failed = false;
	uint32_t best_orders = 0;
	for (uint32_t i = 0; i < view->host_count; i++) {
		const struct ha_host *host = &view->hosts[i];
		struct load load = load_of(list, host);
		int64_t room = (int64_t)host->says->memory_mb - (int64_t)load.memory_mb;
		bool is_failed = uuid_equal(&r->failed, &host->says->host);
		if (!takes_vms(host) || load.orders >= view->rules->at_once ||
		    !fits(host, &load, vm))
			continue;
		int order = !best		     ? 1
			    : is_failed != is_best_failed ? (is_failed ? -1 : 1)
			    : room != best_room		  ? (room > best_room ? 1 : -1)
			    : load.orders != best_orders
				    ? (load.orders < best_orders ? 1 : -1)
				    : memcmp(best->says->host.b, host->says->host.b, 16);
		if (order <= 0)
			continue;
		best = host;
		best_room = room;
		best_orders = load.orders;
		is_best_failed = is_failed;
	}
	return best;
}

static void issue(struct ha_restart *r, struct ha_list *list, const struct ha_view *view)
{
	const struct ha_vm *vm = ha_vms_find(&list->vms, r->path);
	const struct ha_vm *first = waits_for(list, view, vm);
	const struct ha_host *host = first ? NULL : choose(list, view, vm, r);
	if (host) {
		r->target = host->says->host;
		r->order = ++list->next_order;
		r->issued_at = view->now;
		r->is_told = false;
		report(view->events, REPORT_INFO,
		       "HA: " VM_TEXT " is to be started by host %s (order %llu, try %u)",
		       VM_ARGS(view, r->path), host->says->name,
		       (unsigned long long)r->order, r->tries + 1);
	} else if (!r->is_told) {
		r->is_told = true;
		report(view->events, REPORT_WARN, "HA: " VM_TEXT " has to wait: %s%s",
		       VM_ARGS(view, r->path),
		       first ? "it depends on "
			     : "no host that lives and takes VMs has room for it",
		       first ? first->path + 1 : "");
	}
}

struct due {
	const char *path; /* in list->vms */
	enum ha_priority priority;
};

/* Higher priority first, then by name. */
static int compare_due(const void *a, const void *b)
{
	const struct due *x = a, *y = b;
	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	return strcmp(x->path, y->path);
}

/* Gives orders; nothing is added to the list's tables meanwhile. */
static int issue_due(struct ha_list *list, const struct ha_view *view)
{
	struct due *due = calloc(list->restart_count + 1, sizeof(*due));
	size_t count = 0;
	if (!due)
		return -ENOMEM;
	for (uint32_t i = 0; i < list->restart_count; i++) {
		const struct ha_restart *r = &list->restarts[i];
		const struct ha_vm *vm = ha_vms_find(&list->vms, r->path);
		if (!uuid_is_zero(&r->target) || r->is_given_up || is_up(view, vm) ||
		    view->now < r->not_before)
			continue;
		due[count++] = (struct due){ vm->path, vm->priority };
	}
	qsort(due, count, sizeof(*due), compare_due);
	for (size_t i = 0; i < count; i++)
		issue(ha_list_find(list, due[i].path), list, view);
	free(due);
	return 0;
}

int ha_plan_restarts(struct ha_list *list, const struct ha_view *view)
{
	look_at_restarts(list, view);
	int rc = find_new(list, view);
	return rc < 0 ? rc : issue_due(list, view);
}
