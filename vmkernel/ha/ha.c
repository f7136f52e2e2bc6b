/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between agents and VMs. Agents are tasks of their own: what they ask for is posted to
 * the loop, by the datastore's UUID, and finds a datastore or none. What vmkernel tells
 * an agent never blocks on the loop; what has to be on the disk before something goes on
 * is a part of the VM's jobs, which hold the VM's lock.
 *
 *	admin or order --> hold job: lock, ha_vm_claim --> vmx --> ha_vm_on
 *	ended --> close job: ha_vm_end, lock given back --> ha_vm_off
 *
 * An agent joins by a job, since its file may still be locked by an incarnation that
 * died. VMs that were on before that, or were taken back, are written down when both are
 * there (ha_vm_note): until then the file says that they are starting.
 */
#include "vmkernel/ha/ha.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmkernel/control.h"
#include "vmkernel/ha/agent.h"
#include "vmkernel/ha/network.h"
#include "vmkernel/ha/ping.h"
#include "vmkernel/inventory.h"
#include "vmkernel/vmx/vmxfile.h"

#define AT_ONCE 32u
#define ORDER_NS (300 * NS_PER_S)
#define SHUTDOWN_S 300 /* then a guest that was asked to is powered off */
#define CPU_MHZ_LEAST 32u

struct ha {
	struct host *host;
	struct ha_network *network;
	struct ha_ping *ping;
	int timer; /* of the shutdowns of an isolated host; -1: none */
	struct loop_watch *timer_watch;
};

/* ---- what a VM is to an agent ---- */

/* Names in ha.dependsOn are of this datastore: "vm1/vm1.vmx", with commas. */
static void take_depends(struct ha_vm *to, const char *text)
{
	size_t used = 0;
	while (*text) {
		text += strspn(text, ", ");
		size_t len = strcspn(text, ",");
		if (len == 0 || used + len + 3 > sizeof(to->depends))
			break;
		used += (size_t)snprintf(to->depends + used, sizeof(to->depends) - used,
					 "%s%s%.*s", used ? "," : "",
					 *text == '/' ? "" : "/", (int)len, text);
		text += len;
	}
}

static uint32_t number_of(const struct vmxfile *f, const char *key, uint32_t otherwise)
{
	long long n = atoll(vmxfile_get_or(f, key, "0"));
	return n > 0 && n < (1 << 24) ? (uint32_t)n : otherwise;
}

/* From the .vmx file's text and its lock: 0 or -errno. Blocks. */
static int describe(struct vm *vm, struct ha_vm *ret)
{
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	struct vmxfile *f = NULL;
	int rc = info ? vmfs_lock_info(vm->ds->vol, vm->path, info) : -ENOMEM;
	if (rc < 0)
		return rc;
	*ret = (struct ha_vm){ .token = info->token,
			       .priority = vm->host->config.ha.priority,
			       .memory_mb = 256,
			       .cpu_mhz = CPU_MHZ_LEAST };
	if (strlen(vm->path) >= sizeof(ret->path))
		return -ENAMETOOLONG;
	strcpy(ret->path, vm->path);
	if (vmxfile_parse(vm->text, strlen(vm->text), "", NULL, &f) < 0)
		return 0; /* vmx says what is wrong with it */
	ret->memory_mb = number_of(f, "memSize", ret->memory_mb);
	ret->cpu_mhz = number_of(f, "sched.cpu.min", ret->cpu_mhz);
	(void)ha_priority_parse(vmxfile_get(f, "ha.restartPriority"), &ret->priority);
	take_depends(ret, vmxfile_get_or(f, "ha.dependsOn", ""));
	vmxfile_free(f);
	return 0;
}

int ha_vm_claim(struct vm *vm, char *ret_why, uint32_t size)
{
	struct ha_vm word;
	if (!vm->ds->ha)
		return 0;
	int rc = describe(vm, &word);
	if (rc < 0) {
		(void)snprintf(ret_why, size, "HA: its lock cannot be read: %s",
			       strerror(-rc));
		return rc;
	}
	word.run = HA_STARTING;
	rc = ha_agent_claim(vm->ds->ha, &word, vm->ha_order, ret_why, size);
	vm->is_ha_noted = rc == 0;
	return rc;
}

void ha_vm_note(struct vm *vm)
{
	char why[HA_WHY_SIZE];
	struct ha_vm word;
	int rc = describe(vm, &word);
	word.run = HA_UP;
	if (rc == 0)
		rc = ha_agent_claim(vm->ds->ha, &word, 0, why, sizeof(why));
	vm->is_ha_noted = rc == 0;
	if (rc < 0)
		report(vm->host->reporter, REPORT_WARN,
		       "HA: VM %u runs, and that cannot be written down: %s", vm->id,
		       strerror(-rc));
}

void ha_vm_end(struct vm *vm)
{
	if (!vm->ds->ha || !vm->is_ha_noted)
		return;
	vm->is_ha_noted = false;
	/* A power-on whose admin is told that it failed is no wish any more. */
	ha_agent_end(vm->ds->ha, vm->path, !vm->is_off_wanted && !vm->on.is_set,
		     vm->why);
}

void ha_vm_on(struct vm *vm)
{
	vm->ha_order = 0;
	if (!vm->ds->ha)
		return;
	if (vm->is_ha_noted)
		ha_agent_up(vm->ds->ha, vm->path);
	else
		vm_job_note(vm);
}

void ha_vm_off(struct vm *vm)
{
	if (vm->ha_order && vm->ds->ha)
		ha_agent_failed(vm->ds->ha, vm->path, vm->ha_order, -EIO,
				vm->why[0] ? vm->why : "it ended before it ran");
	vm->ha_order = 0;
	vm->is_off_wanted = vm->is_ha_noted = false;
}

/* ---- orders ---- */

struct ha_order {
	struct loop_call call;
	struct host *host;
	struct uuid ds_uuid;
	struct datastore *ds; /* held while the labels are read */
	char path[HA_PATH_SIZE];
	uint64_t number;
	struct vm_labels labels;
	int rc;
	char why[VM_WHY_SIZE];
};

static struct datastore *store_of(struct host *h, const struct uuid *uuid)
{
	struct datastore *ds;
	TAILQ_FOREACH(ds, &h->datastores, link)
		if (uuid_equal(&ds->uuid, uuid) && ds->ha && !ds->is_lost)
			return ds;
	return NULL;
}

static void start_vm(struct ha_order *o, struct datastore *ds, struct vm *vm)
{
	const struct requester nobody = { 0 };
	if (vm->state != VM_OFF) {
		ha_agent_failed(ds->ha, o->path, o->number, -EBUSY,
				"it is on here, or being ended");
		return;
	}
	vm->ha_order = o->number;
	vm_power_on(vm, nobody);
	if (vm->state == VM_OFF) {
		vm->ha_order = 0;
		ha_agent_failed(ds->ha, o->path, o->number, -EBUSY,
				"this host does not take it now");
	}
}

static void read_work(void *arg)
{
	struct ha_order *o = arg;
	o->rc = vm_read_labels(o->ds->vol, o->path, o->path, o->host->reporter,
			       &o->labels, o->why, sizeof(o->why));
}

static void read_done(void *arg)
{
	struct ha_order *o = arg;
	struct host *h = o->host;
	struct vm *vm = inventory_find_path(h, &o->ds->uuid, o->path);
	if (o->rc == 0 && !vm) {
		vm = inventory_add(h, &o->ds->uuid, o->path, &o->labels);
		o->labels = (struct vm_labels){ 0 };
		o->rc = vm ? inventory_save(h) : -ENOMEM;
	}
	if (o->rc == 0)
		start_vm(o, o->ds, vm);
	else
		ha_agent_failed(o->ds->ha, o->path, o->number, o->rc,
				o->why[0] ? o->why : "it cannot be registered");
	vm_labels_done(&o->labels);
	host_datastore_put(h, o->ds);
	free(o);
}

/* Registered first, if this host does not know it. */
static void carry_out(void *arg)
{
	struct ha_order *o = arg;
	struct host *h = o->host;
	struct datastore *ds = store_of(h, &o->ds_uuid);
	struct vm *vm = ds ? inventory_find_path(h, &ds->uuid, o->path) : NULL;
	if (ds && !vm) {
		o->ds = ds;
		ds->users++;
		if (loop_job(h->loop, "ha-register", read_work, read_done, o) == 0)
			return;
		host_datastore_put(h, ds);
	} else if (vm) {
		start_vm(o, ds, vm);
	}
	free(o);
}

static void op_start(void *arg, const char *path, uint64_t order)
{
	struct datastore *ds = arg;
	struct ha_order *o = calloc(1, sizeof(*o));
	if (!o)
		return; /* the master finds that there is no answer */
	o->host = ds->options.on_lost_arg;
	o->ds_uuid = ds->uuid;
	o->number = order;
	(void)snprintf(o->path, sizeof(o->path), "%s", path);
	o->call = (struct loop_call){ .fn = carry_out, .arg = o };
	loop_post(o->host->loop, &o->call);
}

/* ---- isolation ---- */

struct isolation {
	struct loop_call call;
	struct host *host;
	struct uuid ds_uuid;
	enum ha_isolation how;
	char why[HA_WHY_SIZE];
};

static void shutdown_is_late(void *arg, uint32_t events)
{
	struct ha *ha = arg;
	struct vm *vm;
	uint64_t count;
	(void)events;
	(void)!read(ha->timer, &count, sizeof(count)); /* once is enough */
	TAILQ_FOREACH(vm, &ha->host->vms, link)
		if (vm->state == VM_ON && vm->is_isolation_end)
			vm_stop(vm, "the guest did not shut down in time");
}

static void start_timer(struct ha *ha)
{
	const struct itimerspec limit = { .it_value.tv_sec = SHUTDOWN_S };
	if (ha->timer < 0)
		ha->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (ha->timer >= 0 && !ha->timer_watch)
		ha->timer_watch = loop_watch_new(ha->host->loop, ha->timer, EPOLLIN,
						 shutdown_is_late, ha);
	if (ha->timer >= 0)
		(void)timerfd_settime(ha->timer, 0, &limit, NULL);
}

/* They stay wanted: another host starts them. */
static void end_all(void *arg)
{
	struct isolation *all = arg;
	struct host *h = all->host;
	const struct requester nobody = { 0 };
	struct vm *vm;
	TAILQ_FOREACH(vm, &h->vms, link) {
		if (vm->state == VM_OFF || !uuid_equal(&vm->ds_uuid, &all->ds_uuid))
			continue;
		vm->is_isolation_end = true;
		if (all->how == HA_SHUTDOWN && vm->state == VM_ON)
			vm_shutdown(vm, nobody, false);
		else
			vm_stop(vm, all->why);
	}
	if (all->how == HA_SHUTDOWN && h->ha)
		start_timer(h->ha);
	free(all);
}

static void op_stop_all(void *arg, enum ha_isolation how, const char *why)
{
	struct datastore *ds = arg;
	struct isolation *all = calloc(1, sizeof(*all));
	if (!all)
		return;
	all->host = ds->options.on_lost_arg;
	all->ds_uuid = ds->uuid;
	all->how = how;
	(void)snprintf(all->why, sizeof(all->why), "%s", why);
	all->call = (struct loop_call){ .fn = end_all, .arg = all };
	loop_post(all->host->loop, &all->call);
}

static uint64_t op_heard(void *arg, const struct ha_says *host)
{
	struct datastore *ds = arg;
	struct host *h = ds->options.on_lost_arg;
	return ha_network_heard(h->ha->network, &host->host);
}

static uint64_t op_reached(void *arg)
{
	struct datastore *ds = arg;
	struct host *h = ds->options.on_lost_arg;
	return ha_ping_answered(h->ha->ping);
}

static const struct ha_ops with_network = { op_start, op_stop_all, op_heard,
					    op_reached };
static const struct ha_ops without_network = { op_start, op_stop_all, NULL, NULL };

static bool next_address(void *arg, uint32_t index, char *ret, uint32_t size)
{
	struct ha *ha = arg;
	struct datastore *ds;
	TAILQ_FOREACH(ds, &ha->host->datastores, link) {
		uint32_t count = 0;
		while (ds->ha && ha_agent_address(ds->ha, count, ret, size)) {
			if (count++ == index)
				return true;
		}
		index -= count;
	}
	return false;
}

/* ---- joining ---- */

struct joining {
	struct host *host;
	struct datastore *ds;
	struct ha_agent_options options;
	char *running[HA_VMS_MAX];
	uint32_t running_count;
	struct ha_agent *agent;
};

static uint64_t machine_memory_mb(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size >> 20 : 0;
}

static void fill_options(struct joining *j, struct host *h, struct datastore *ds)
{
	const struct ha_settings *s = &h->config.ha;
	j->options = (struct ha_agent_options){
		.vol = ds->vol,
		.label = ds->label,
		.cluster = s->cluster,
		.host = h->uuid,
		.host_name = h->host_name,
		.address = s->address,
		.memory_mb = s->memory_mb ? s->memory_mb : machine_memory_mb(),
		.cpu_mhz = s->cpu_mhz,
		.rules = { .tries_max = s->tries,
			   .retry_ns = s->retry_s * NS_PER_S,
			   .order_ns = ORDER_NS,
			   .at_once = AT_ONCE,
			   .admission = s->admission,
			   .failures = s->failures,
			   .percent = s->percent },
		.poll_ns = s->poll_ms * NS_PER_MS,
		.grace_ns = s->grace_s * NS_PER_S,
		.isolation = s->isolation,
		.isolation_ns = s->isolation_s * NS_PER_S,
		.reporter = h->reporter,
		.ops = h->ha->network ? &with_network : &without_network,
		.arg = ds,
	};
}

static void join_work(void *arg)
{
	struct joining *j = arg;
	(void)!ha_agent_new(&j->options, (const char *const *)j->running,
			    j->running_count, &j->agent); /* it has said why */
}

static void join_done(void *arg)
{
	struct joining *j = arg;
	struct host *h = j->host;
	struct datastore *ds = j->ds;
	struct vm *vm;
	ds->ha = j->agent;
	if (ds->ha)
		ha_agent_close(ds->ha, h->maintenance != MAINTENANCE_NONE);
	TAILQ_FOREACH(vm, &h->vms, link)
		if (ds->ha && vm->ds == ds && vm->state == VM_ON && !vm->has_job)
			ha_vm_on(vm);
	for (uint32_t i = 0; i < j->running_count; i++)
		free(j->running[i]);
	free(j);
	host_datastore_put(h, ds);
}

void ha_attached(struct host *h, struct datastore *ds)
{
	struct vm *vm;
	struct joining *j = h->ha && !h->is_stopping ? calloc(1, sizeof(*j)) : NULL;
	if (!j)
		return;
	j->host = h;
	j->ds = ds;
	fill_options(j, h, ds);
	TAILQ_FOREACH(vm, &h->vms, link)
		if (vm->ds == ds && j->running_count < HA_VMS_MAX &&
		    (j->running[j->running_count] = strdup(vm->path)) != NULL)
			j->running_count++;
	ds->users++;
	if (loop_job(h->loop, "ha-join", join_work, join_done, j) == 0)
		return;
	join_done(j); /* without an agent */
}

/* ---- the whole ---- */

int ha_open(struct host *h, struct reporter *r)
{
	struct datastore *ds;
	const struct ha_settings *s = &h->config.ha;
	int rc = 0;
	if (!s->is_on)
		return 0;
	h->ha = calloc(1, sizeof(*h->ha));
	if (!h->ha)
		return -ENOMEM;
	h->ha->host = h;
	h->ha->timer = -1;
	if (s->address[0])
		rc = ha_network_open(h->loop, s->address, &h->uuid, next_address, h->ha,
				     r, &h->ha->network);
	if (rc == 0 && s->isolation_addresses[0])
		rc = ha_ping_open(h->loop, s->isolation_addresses, r, &h->ha->ping);
	TAILQ_FOREACH(ds, &h->datastores, link)
		if (rc == 0 && !ds->is_lost)
			ha_attached(h, ds);
	return rc;
}

void ha_close(struct host *h)
{
	if (!h->ha)
		return;
	ha_network_close(h->ha->network);
	ha_ping_close(h->ha->ping);
	loop_watch_free(h->ha->timer_watch);
	if (h->ha->timer >= 0)
		(void)close(h->ha->timer);
	free(h->ha);
	h->ha = NULL;
}

void ha_host_closed(struct host *h, bool is_closed)
{
	struct datastore *ds;
	TAILQ_FOREACH(ds, &h->datastores, link)
		if (ds->ha)
			ha_agent_close(ds->ha, is_closed);
}

const char *ha_state_text(struct host *h)
{
	struct datastore *ds;
	const char *text = h->ha ? "election" : NULL;
	TAILQ_FOREACH(ds, &h->datastores, link) {
		if (!ds->ha)
			continue;
		const struct ha_status s = ha_agent_status(ds->ha);
		if (s.role == HA_MASTER)
			return "master";
		if (s.role == HA_ISOLATED)
			text = "networkIsolated";
		else if (s.is_partitioned)
			text = "networkPartitionedFromMaster";
		else if (s.role == HA_SLAVE && s.master[0])
			text = "connectedToMaster";
	}
	return text;
}

/* ---- a VM that is off, and wanted on ---- */

struct unwanting {
	struct host *host;
	struct datastore *ds;
	struct requester who;
	char path[HA_PATH_SIZE];
	int rc;
};

static void unwant_work(void *arg)
{
	struct unwanting *u = arg;
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_lock_info info;
	struct vmfs_file *file;
	u->rc = vmfs_file_open(u->ds->vol, u->path, &options, &file, NULL);
	if (u->rc < 0)
		return;
	u->rc = vmfs_lock_info(u->ds->vol, u->path, &info);
	if (u->rc == 0)
		u->rc = ha_agent_unwant(u->ds->ha, u->path, info.token);
	int rc = vmfs_file_close(file);
	u->rc = u->rc ? u->rc : rc;
}

static void unwant_done(void *arg)
{
	struct unwanting *u = arg;
	control_reply(u->host->control, u->who, u->rc,
		      u->rc == -EBUSY ? "another host has it, or is just starting it"
				      : strerror(-u->rc),
		      NULL);
	host_datastore_put(u->host, u->ds);
	free(u);
}

bool ha_vm_unwant(struct vm *vm, struct requester who)
{
	struct host *h = vm->host;
	struct datastore *ds = store_of(h, &vm->ds_uuid);
	struct unwanting *u = NULL;
	if (ds && ha_agent_is_wanted(ds->ha, vm->path))
		u = calloc(1, sizeof(*u));
	if (!u)
		return false;
	u->host = h;
	u->ds = ds;
	u->who = who;
	(void)snprintf(u->path, sizeof(u->path), "%s", vm->path);
	ds->users++;
	if (loop_job(h->loop, "ha-off", unwant_work, unwant_done, u) == 0)
		return true;
	host_datastore_put(h, ds);
	free(u);
	return false;
}
