/* SPDX-License-Identifier: Apache-2.0 */
/*
 * High availability without a network: the disk is where hosts meet.
 *
 *	/.vSphere-HA/FDM-CLUSTER/
 *		host-UUID-poweron  what a host says: its VMs, which are wanted on, which
 *				   run; its lock is held as long as the agent lives
 *		protectedlist	   what the master says: the last word of all, and who is
 *				   to start what; who holds its lock is the master
 *
 * Every poll_ns each agent reads what is new. Who is not the master tries the lock of the
 * protected list, once: a dead master is taken over by that (LOCKING.md 7). The master
 * tries the locks of the other hosts' files in the same way (peers.c), decides (plan.c)
 * and writes; each host carries out the orders that name it.
 *
 *	SLAVE --has the list's lock--> MASTER --volume lost, isolated, end--> SLAVE
 *
 * 1. No VM runs twice, whoever is mistaken: a power-on takes the on-disk lock of its .vmx
 *    file first. Neither roles nor lists nor heartbeats are asked for that.
 * 2. No VM is started that an admin has powered off: what is said of a VM is written
 *    under its lock, with its token, and whoever carries out an order reads it again,
 *    under that lock (own.c, ha_agent_claim).
 * 3. An order is on the disk before anybody acts on it, the master itself too.
 * 4. A word about a VM that its host has promised is durable: ha_record_write.
 *
 * Who dies when: a host between two words of its own: what it said last counts, so a VM
 * may be restarted whose power-off nobody was told of. A master after writing an order:
 * the next one goes on with the list as it stands. A host after taking an order up: it is
 * dead, and the order goes to another.
 */
#include "vmkernel/ha/agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "vmkernel/ha/agent_impl.h"

#define FOLDER "/.vSphere-HA"
#define LIST_NAME "protectedlist"
#define OWN_WAIT_NS (60 * NS_PER_S) /* our own file, of an incarnation that died */

static bool is_master(const struct ha_agent *a)
{
	return a->master.file != NULL;
}

/* ---- the master's list ---- */

static int read_list(struct ha_agent *a, bool is_forced)
{
	AUTO_FREE char *text = NULL;
	struct ha_list list;
	uint64_t seq = a->list_seq;
	int rc = ha_record_read(a->options.vol, a->list_path, is_forced ? NULL : &seq,
				&text, &seq);
	if (rc < 0 || !text)
		return rc == -ENOENT || rc == -EBUSY ? 0 : rc;
	rc = ha_list_parse(text, &list);
	if (rc == -EINVAL) {
		report(a->options.reporter, REPORT_WARN,
		       "HA: [%s] %s: is not a protected list; it is made anew", a->label,
		       a->list_path + 1);
		list = (struct ha_list){ 0 };
		rc = 0;
	}
	if (rc < 0)
		return rc;
	ha_list_done(&a->list);
	a->list = list;
	a->list_seq = seq;
	return 0;
}

static void resign(struct ha_agent *a)
{
	if (!is_master(a))
		return;
	report(a->options.reporter, REPORT_INFO,
	       "HA: this host is no longer master of [%s]", a->label);
	(void)!ha_record_close(&a->master); /* what it said was durable */
	free(a->list_text);
	a->list_text = NULL;
	a->list_seq = 0;
}

static int stand(struct ha_agent *a)
{
	int rc = ha_record_open(a->options.vol, a->list_path, 0, &a->master);
	if (rc < 0)
		return rc == -EBUSY ? 0 : rc;
	report(a->options.reporter, REPORT_INFO,
	       "HA: this host is master of [%s]: it has the list's lock", a->label);
	rc = read_list(a, true);
	a->list.master = a->options.host;
	return rc;
}

/* Decides, and writes what is new; orders that are not on the disk are nobody's. */
static int rule(struct ha_agent *a)
{
	struct ha_host hosts[HA_HOSTS_MAX + 1];
	sleeplock_acquire(&a->own_lock);
	uint32_t count = ha_peers_hosts(&a->peers, &a->says, hosts);
	const struct ha_view view = { .label = a->label,
				      .hosts = hosts,
				      .host_count = count,
				      .rules = &a->options.rules,
				      .now = clock_now(),
				      .events = a->options.reporter };
	int rc = ha_plan_merge(&a->list, &view);
	if (rc == 0)
		rc = ha_plan_restarts(&a->list, &view);
	sleeplock_release(&a->own_lock);
	char *text = rc == 0 ? ha_list_text(&a->list) : NULL;
	if (rc == 0 && !text)
		rc = -ENOMEM;
	if (rc == 0 && (!a->list_text || strcmp(text, a->list_text) != 0))
		rc = ha_record_write(&a->master, text);
	if (rc < 0) {
		free(text);
		resign(a);
		ha_list_done(&a->list);
		return rc;
	}
	free(a->list_text);
	a->list_text = text;
	return 0;
}

/* ---- orders ---- */

/* Who is isolated takes none: the master sees that, and asks another. */
static int take_orders(struct ha_agent *a)
{
	if (a->is_isolated)
		return 0;
	for (uint32_t i = 0; i < a->list.restart_count; i++) {
		const struct ha_restart *r = &a->list.restarts[i];
		if (r->is_given_up || !uuid_equal(&r->target, &a->options.host))
			continue;
		int rc = ha_own_take_order(a, r);
		if (rc < 0)
			return rc;
		if (rc > 0)
			a->options.ops->start(a->options.arg, r->path, r->order);
	}
	return 0;
}

/* ---- isolation ---- */

/*
 * The storage says that others live, and the network has brought nothing of any of them
 * for isolation_ns: with an isolation address that answers it is they who are away, and
 * nothing is done about it.
 */
static bool is_cut_off(struct ha_agent *a)
{
	const struct ha_agent_options *o = &a->options;
	bool is_any = false;
	for (uint32_t i = 0; o->ops->heard && i < a->peers.count; i++) {
		const struct peer *p = &a->peers.all[i];
		if (!p->is_alive || !p->says.address[0])
			continue;
		is_any = true;
		a->heard_at = max_u64(a->heard_at, o->ops->heard(o->arg, &p->says));
	}
	uint64_t now = clock_now();
	if (!is_any)
		a->heard_at = now;
	uint64_t reached_at = o->ops->reached ? o->ops->reached(o->arg) : 0;
	bool is_silent = now - a->heard_at >= o->isolation_ns;
	bool is_reached = reached_at && now - reached_at < o->isolation_ns;
	if (a->is_partitioned != (is_silent && is_reached)) {
		a->is_partitioned = is_silent && is_reached;
		report(o->reporter, a->is_partitioned ? REPORT_WARN : REPORT_INFO,
		       a->is_partitioned ?
			       "HA: the network brings nothing of the hosts that live on "
			       "[%s], but an isolation address answers: this host is "
			       "partitioned from them, and not isolated" :
			       "HA: this host is partitioned from those on [%s] no more",
		       a->label);
	}
	return is_silent && !is_reached;
}

static void look_for_isolation(struct ha_agent *a)
{
	const struct ha_agent_options *o = &a->options;
	bool is_isolated = is_cut_off(a);
	if (is_isolated == a->is_isolated)
		return;
	a->is_isolated = is_isolated;
	if (!is_isolated) {
		report(o->reporter, REPORT_INFO, "HA: this host is isolated no more");
		return;
	}
	report(o->reporter, REPORT_WARN,
	       "HA: this host is isolated: the network brings nothing of the hosts that "
	       "live on [%s]: its VMs are %s",
	       a->label,
	       o->isolation == HA_LEAVE_ON   ? "left on"
	       : o->isolation == HA_SHUTDOWN ? "shut down"
					     : "powered off");
	(void)!ha_own_look(a); /* the next master is to know; else the next turn writes */
	resign(a);
	if (o->isolation != HA_LEAVE_ON)
		o->ops->stop_all(o->arg, o->isolation,
				 "the host is isolated from the network");
}

/* ---- what others may see ---- */

static void publish_known(struct ha_agent *a)
{
	uint32_t count = a->list.vms.count;
	struct ha_vm *all = calloc(count + 1, sizeof(*all));
	if (!all)
		return;
	if (count)
		memcpy(all, a->list.vms.all, count * sizeof(*all));
	mutex_lock(&a->m);
	struct ha_vm *old = a->known.all;
	a->known = (struct ha_vms){ all, count };
	mutex_unlock(&a->m);
	free(old);
}

static void publish(struct ha_agent *a)
{
	struct ha_status s = { .role = is_master(a)	? HA_MASTER
				       : a->is_isolated ? HA_ISOLATED
							: HA_SLAVE,
			       .is_partitioned = a->is_partitioned,
			       .alive = 1 };
	bool is_own = uuid_equal(&a->list.master, &a->options.host);
	(void)snprintf(s.master, sizeof(s.master), "%s",
		       is_own ? a->options.host_name : "");
	for (uint32_t i = 0; i < a->list.restart_count; i++)
		s.restarts += !a->list.restarts[i].is_given_up;
	for (uint32_t i = 0; i < a->list.vms.count; i++)
		s.wanted += a->list.vms.all[i].is_wanted;
	publish_known(a);
	mutex_lock(&a->m);
	a->address_count = 0;
	for (uint32_t i = 0; i < a->peers.count; i++) {
		const struct peer *p = &a->peers.all[i];
		s.alive += p->is_alive;
		if (uuid_equal(&a->list.master, &p->says.host))
			memcpy(s.master, p->says.name, sizeof(s.master));
		if (p->says.address[0])
			memcpy(a->addresses[a->address_count++], p->says.address,
			       HA_NAME_SIZE);
	}
	a->status = s;
	mutex_unlock(&a->m);
}

struct ha_status ha_agent_status(struct ha_agent *a)
{
	mutex_lock(&a->m);
	struct ha_status status = a->status;
	mutex_unlock(&a->m);
	return status;
}

bool ha_agent_address(struct ha_agent *a, uint32_t index, char *ret_address,
		      uint32_t size)
{
	mutex_lock(&a->m);
	bool is_there = index < a->address_count;
	if (is_there)
		(void)snprintf(ret_address, size, "%s", a->addresses[index]);
	mutex_unlock(&a->m);
	return is_there;
}

bool ha_agent_is_wanted(struct ha_agent *a, const char *path)
{
	mutex_lock(&a->m);
	const struct ha_vm *vm = ha_vms_find(&a->known, path);
	bool is_wanted = vm && vm->is_wanted;
	mutex_unlock(&a->m);
	return is_wanted;
}

/* ---- the task ---- */

static int turn(struct ha_agent *a)
{
	int rc = ha_own_look(a);
	if (rc == 0)
		rc = ha_peers_look(a, &a->peers, is_master(a) || a->is_isolated);
	if (rc == 0)
		look_for_isolation(a);
	if (rc == 0 && !is_master(a))
		rc = read_list(a, false);
	if (rc == 0 && !is_master(a) && !a->is_isolated)
		rc = stand(a);
	if (rc == 0 && is_master(a))
		rc = rule(a);
	if (rc == 0)
		rc = take_orders(a);
	if (rc == 0)
		publish(a);
	return rc;
}

/* The same error is told once. */
static void tell(struct ha_agent *a, int rc)
{
	if (rc < 0 && rc != a->told)
		report(a->options.reporter, REPORT_WARN, "HA: [%s]: %s", a->label,
		       strerror(-rc));
	a->told = rc;
}

static void run(void *arg)
{
	struct ha_agent *a = arg;
	mutex_lock(&a->m);
	while (!a->is_ending) {
		a->is_awake = false;
		mutex_unlock(&a->m);
		uint64_t next = clock_now() + a->options.poll_ns;
		int rc = vmfs_volume_state(a->options.vol);
		if (rc == 0) {
			rc = turn(a);
			tell(a, rc);
		}
		mutex_lock(&a->m);
		if (rc < 0 && vmfs_volume_state(a->options.vol) < 0)
			a->status.role = HA_LOST;
		while (!a->is_ending && !a->is_awake &&
		       cond_wait_until(&a->c, &a->m, next) == 0)
			;
	}
	mutex_unlock(&a->m);
}

/* ---- beginning and end ---- */

static int make_folder(struct ha_agent *a)
{
	int rc = vmfs_mkdir(a->options.vol, FOLDER, 0700);
	if (rc == 0 || rc == -EEXIST)
		rc = vmfs_mkdir(a->options.vol, a->dir, 0700);
	return rc == -EEXIST ? 0 : rc;
}

static bool is_among(const char *path, const char *const *paths, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(path, paths[i]) == 0)
			return true;
	return false;
}

/* What an earlier incarnation said; its VMs are down, but for those that were found. */
static int begin_own(struct ha_agent *a, const char *path, const char *const *running,
		     uint32_t running_count)
{
	const struct ha_agent_options *o = &a->options;
	AUTO_FREE char *text = NULL;
	uint64_t seq;
	int rc = ha_record_open(o->vol, path, clock_now() + OWN_WAIT_NS, &a->own);
	if (rc == 0)
		rc = ha_record_read(o->vol, path, NULL, &text, &seq);
	if (rc == 0 && ha_says_parse(text, &a->says) == -ENOMEM)
		rc = -ENOMEM;
	if (rc < 0)
		return rc;
	a->says.host = o->host;
	a->says.is_isolated = false;
	a->says.memory_mb = o->memory_mb;
	a->says.cpu_mhz = o->cpu_mhz;
	(void)snprintf(a->says.name, sizeof(a->says.name), "%s", o->host_name);
	(void)snprintf(a->says.address, sizeof(a->says.address), "%s",
		       o->address ? o->address : "");
	for (uint32_t i = 0; i < a->says.vms.count; i++) {
		struct ha_vm *vm = &a->says.vms.all[i];
		vm->run = is_among(vm->path, running, running_count) ? HA_STARTING
								     : HA_DOWN;
		if (vm->result == -EINPROGRESS)
			vm->result = -ECANCELED;
	}
	a->options.host_name = a->says.name;
	a->options.label = a->label;
	return ha_own_write(a, true);
}

static void set_paths(struct ha_agent *a, char path[static HA_FILE_SIZE])
{
	char uuid[UUID_TEXT_SIZE];
	const struct ha_agent_options *o = &a->options;
	(void)snprintf(a->label, sizeof(a->label), "%s", o->label);
	(void)snprintf(a->dir, sizeof(a->dir), FOLDER "/FDM-%.64s", o->cluster);
	(void)snprintf(a->list_path, sizeof(a->list_path), "%.200s/" LIST_NAME, a->dir);
	(void)snprintf(a->own_name, sizeof(a->own_name), "host-%s-poweron",
		       uuid_text(&o->host, uuid));
	(void)snprintf(path, HA_FILE_SIZE, "%.200s/%s", a->dir, a->own_name);
}

static void discard(struct ha_agent *a)
{
	if (a->own.file)
		(void)!ha_record_close(&a->own); /* what it said was durable */
	while (!STAILQ_EMPTY(&a->marks)) {
		struct mark *mark = STAILQ_FIRST(&a->marks);
		STAILQ_REMOVE_HEAD(&a->marks, link);
		free(mark);
	}
	ha_peers_done(&a->peers);
	ha_list_done(&a->list);
	ha_says_done(&a->says);
	ha_vms_done(&a->known);
	free(a->list_text);
	free(a->addresses);
	sleeplock_done(&a->own_lock);
	cond_done(&a->c);
	mutex_done(&a->m);
	free(a);
}

int ha_agent_new(const struct ha_agent_options *options, const char *const *running,
		 uint32_t running_count, struct ha_agent **ret)
{
	char path[HA_FILE_SIZE];
	struct ha_agent *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->options = *options;
	mutex_init(&a->m);
	cond_init(&a->c);
	sleeplock_init(&a->own_lock);
	STAILQ_INIT(&a->marks);
	set_paths(a, path);
	a->heard_at = clock_now();
	a->addresses = calloc(HA_HOSTS_MAX, sizeof(*a->addresses));
	int rc = a->addresses ? make_folder(a) : -ENOMEM;
	if (rc == 0)
		rc = begin_own(a, path, running, running_count);
	if (rc == 0)
		a->task = task_start("ha", run, a);
	if (rc == 0 && !a->task)
		rc = -ENOMEM;
	if (rc < 0) {
		report(options->reporter, REPORT_ERROR, "HA: [%s] %s: %s", a->label,
		       path + 1, strerror(-rc));
		discard(a);
		return rc;
	}
	*ret = a;
	return 0;
}

void ha_agent_free(struct ha_agent *a)
{
	if (!a)
		return;
	mutex_lock(&a->m);
	a->is_ending = true;
	cond_signal(&a->c);
	mutex_unlock(&a->m);
	task_join(a->task);
	resign(a);
	discard(a);
}
