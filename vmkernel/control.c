/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket. A client is known by a number that is never used again, so an
 * answer that comes late finds its client or nobody.
 */
#include "vmkernel/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/env.h"
#include "iscsi/open.h"
#include "vmfs/refresh.h"
#include "vmkernel/adapter/adapter.h"
#include "vmkernel/checkpoint.h"
#include "vmkernel/ha/ha.h"
#include "vmkernel/inventory.h"
#include "vmkernel/maintenance.h"
#include "vmkernel/relocate.h"
#include "vmkernel/resource/resource.h"
#include "vmkernel/snapshot.h"
#include "vmkernel/system.h"
#include "vmkernel/vm_console.h"
#include "vmkernel/vm_details.h"
#include "vmkernel/vm_grow.h"
#include "vmkernel/vm_plug.h"
#include "vmkernel/vm_reconfig.h"
#include "vmkernel/vm_snapshot.h"
#include "vmkernel/vmotion/vmotion.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/msg/where.h"

#define CLIENTS_MAX 64u
#define MEMBERS_MAX 64u
#define MAX_SENTENCE 1024u

struct client {
	LIST_ENTRY(client) link;
	struct control *control;
	uint64_t number;
	struct channel channel;
	struct loop_watch *watch;
};

struct control {
	struct host *host;
	int listen_sock;
	struct loop_watch *watch;
	uint64_t next_number;
	unsigned int count;
	LIST_HEAD(, client) clients;
};

/* ---- clients ---- */

static void client_free(struct client *cl)
{
	LIST_REMOVE(cl, link);
	cl->control->count--;
	loop_watch_free(cl->watch);
	channel_done(&cl->channel);
	free(cl);
}

static struct client *client_find(struct control *c, uint64_t number)
{
	struct client *cl;
	LIST_FOREACH(cl, &c->clients, link) {
		if (cl->number == number)
			return cl;
	}
	return NULL;
}

void control_reply(struct control *c, struct requester who, int result,
		   const char *sentence, json_t *body)
{
	struct client *cl = c ? client_find(c, who.client) : NULL;
	if (!cl) {
		json_decref(body);
		return;
	}
	int rc = msg_reply(&cl->channel, who.tag, result, result < 0 ? sentence : NULL,
			   body);
	if (rc < 0)
		(void)shutdown(cl->channel.sock, SHUT_RDWR); /* noticed when it is read */
	else if (channel_has_output(&cl->channel))
		loop_watch_events(cl->watch, EPOLLIN | EPOLLOUT);
}

/* ---- requests that are answered at once ---- */

struct request {
	struct host *host;
	struct requester who;
	const json_t *body;
};

static void reply_ok(const struct request *rq, json_t *body)
{
	control_reply(rq->host->control, rq->who, body ? 0 : -ENOMEM, "no memory", body);
}

__attribute__((format(printf, 3, 4))) static void
reply_error(const struct request *rq, int rc, const char *fmt, ...)
{
	char text[MAX_SENTENCE];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut sentence is still told */
	va_end(ap);
	control_reply(rq->host->control, rq->who, rc, text, NULL);
}

static const char *text_of(const struct request *rq, const char *key)
{
	return msg_text(rq->body, key);
}

/* The datastore that the request names; NULL: the client was told. */
static struct datastore *datastore_of(const struct request *rq, const char *name)
{
	struct datastore *ds = NULL;
	int rc = datastore_find(&rq->host->datastores, name, &ds);
	if (rc == -ENOTUNIQ)
		reply_error(rq, rc,
			    "%s: several datastores have this label, use the UUID", name);
	else if (rc < 0)
		reply_error(rq, rc, "%s: no such datastore on this host", name);
	return rc < 0 ? NULL : ds;
}

static void host_summary(const struct request *rq)
{
	struct host *h = rq->host;
	struct vm *vm;
	struct datastore *ds;
	int vms = 0, vms_on = 0, datastores = 0;
	TAILQ_FOREACH(vm, &h->vms, link) {
		vms++;
		vms_on += vm->state == VM_ON;
	}
	TAILQ_FOREACH(ds, &h->datastores, link)
		datastores++;
	reply_ok(rq, json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:b, s:b, s:s?}", "host",
			       h->uuid_text, "name", h->host_name, "version",
			       HOST_VERSION, "vms", vms, "vms_on", vms_on, "datastores",
			       datastores, "is_stopping", h->is_stopping, "maintenance",
			       h->maintenance == MAINTENANCE_IN, "ha",
			       ha_state_text(h)));
}

static void vm_list(const struct request *rq)
{
	struct vm *vm;
	char file[VM_WHY_SIZE], path[VM_WHY_SIZE], uuid[UUID_TEXT_SIZE];
	json_t *vms = json_array();
	TAILQ_FOREACH(vm, &rq->host->vms, link) {
		const struct vm_labels *l = &vm->labels;
		(void)snprintf(path, sizeof(path), "/vmfs/volumes/%s%s",
			       uuid_text(&vm->ds_uuid, uuid), vm->path);
		json_array_append_new(
			vms,
			json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:i, s:s}",
				  "id", (int)vm->id, "name", l->name, "path",
				  vm_file_text(vm, NULL, file, sizeof(file)), "guest",
				  l->guest, "version", l->version, "annotation",
				  l->annotation, "state", vm_state_text(vm),
				  "is_on", vm->state == VM_ON, "vmx_pid",
				  (int)vm->vmx_pid, "file", path));
	}
	reply_ok(rq, json_pack("{s:o}", "vms", vms));
}

/* The VM that the request names; NULL: the client was told. */
static struct vm *vm_of(const struct request *rq)
{
	json_int_t id = json_integer_value(json_object_get(rq->body, "id"));
	struct vm *vm = id > 0 && id <= UINT32_MAX
				? inventory_find(rq->host, (uint32_t)id)
				: NULL;
	if (!vm)
		reply_error(rq, -ENOENT, "%lld: no VM with this id is registered",
			    (long long)id);
	return vm;
}

static void vm_unregister(const struct request *rq)
{
	struct vm *vm = vm_of(rq);
	if (!vm)
		return;
	if (vm->state != VM_OFF || vm->is_busy) {
		reply_error(rq, -EBUSY, "VM %u is not powered off, or its snapshots are"
			    " worked on", vm->id);
		return;
	}
	inventory_remove(vm);
	int rc = inventory_save(rq->host);
	if (rc < 0)
		reply_error(rq, rc, "the inventory cannot be saved: %s", strerror(-rc));
	else
		reply_ok(rq, json_object());
}

/* ---- requests that read a datastore: jobs ---- */

struct query {
	struct host *host;
	struct requester who;
	struct datastore *stores[HOST_STORES_MAX]; /* held until query_free */
	unsigned int store_count;
	char *path, *name;	/* VM_REGISTER */
	struct vm_labels labels;
	json_t *result;
	int rc;
	char why[VM_WHY_SIZE];
};

static struct query *query_new(const struct request *rq)
{
	struct query *q = calloc(1, sizeof(*q));
	if (q) {
		q->host = rq->host;
		q->who = rq->who;
	}
	return q;
}

static void query_use(struct query *q, struct datastore *ds)
{
	ds->users++;
	q->stores[q->store_count++] = ds;
}

static void query_free(struct query *q)
{
	for (unsigned int i = 0; i < q->store_count; i++)
		host_datastore_put(q->host, q->stores[i]);
	free(q->path);
	free(q->name);
	vm_labels_done(&q->labels);
	free(q);
}

static void query_done(void *arg)
{
	struct query *q = arg;
	control_reply(q->host->control, q->who, q->rc, q->why, q->result);
	query_free(q);
}

static void query_start(const struct request *rq, struct query *q,
			void (*work)(void *arg), void (*done)(void *arg))
{
	if (q && loop_job(rq->host->loop, "query", work, done, q) == 0)
		return;
	if (q) {
		json_decref(q->result);
		query_free(q);
	}
	reply_error(rq, -ENOMEM, "no memory");
}

/* The datastore that the request names, if it can be used; NULL: the client was told. */
static struct datastore *usable_of(const struct request *rq, const char *name)
{
	struct datastore *ds = datastore_of(rq, name);
	if (ds && ds->is_lost) {
		reply_error(rq, -ESTALE, "datastore %s is lost", ds->label);
		return NULL;
	}
	return ds;
}

/* The tool that asks needs all extents, also one that was added just now. */
static void where_work(void *arg)
{
	struct query *q = arg;
	struct datastore *ds = q->stores[0];

	(void)!volume_refresh(ds->vol); /* what it has serves as well */
	q->result = json_pack("{s:s}", "device", ds->device);
}

static void where(const struct request *rq)
{
	struct datastore *ds = datastore_of(rq, text_of(rq, "name"));
	struct query *q = ds && !ds->is_lost ? query_new(rq) : NULL;

	if (q)
		query_use(q, ds);
	if (ds && ds->is_lost)
		reply_ok(rq, json_pack("{s:s}", "device", ds->device));
	else if (ds)
		query_start(rq, q, where_work, query_done);
}

static json_t *lost_json(const struct datastore *ds)
{
	char path[sizeof("/vmfs/volumes/") + UUID_TEXT_SIZE];
	AUTO_FREE char *shown = device_shown(ds->device);

	(void)snprintf(path, sizeof(path), "/vmfs/volumes/%s", ds->uuid_text);
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:b}", "label", ds->label,
			 "uuid", ds->uuid_text, "path", path, "type", "VMFS", "size", 0,
			 "free", 0, "device", shown ? shown : "", "is_mounted", 0);
}

static json_t *datastore_json(const struct datastore *ds)
{
	struct vmfs_volume_info info;
	char type[32];
	(void)!volume_refresh(ds->vol); /* another host may have made it larger */
	if (vmfs_volume_info(ds->vol, &info) < 0)
		return lost_json(ds);
	(void)snprintf(type, sizeof(type), "VMFS-%u", info.major);
	json_t *all = lost_json(ds), *more;
	more = json_pack("{s:s, s:s, s:I, s:I, s:b, s:s}", "label", info.label, "type",
			 type, "size", (json_int_t)info.size_bytes, "free",
			 (json_int_t)info.free_bytes, "is_mounted",
			 vmfs_volume_state(ds->vol) == 0, "class", info.storage_class);
	(void)json_object_update(all, more);
	json_decref(more);
	return all;
}

static void datastore_list_work(void *arg)
{
	struct query *q = arg;
	for (unsigned int i = 0; i < q->store_count; i++)
		json_array_append_new(json_object_get(q->result, "datastores"),
				      datastore_json(q->stores[i]));
}

static void datastore_list(const struct request *rq)
{
	struct datastore *ds;
	struct query *q = query_new(rq);
	json_t *all = json_array();
	if (q)
		q->result = json_pack("{s:O}", "datastores", all);
	TAILQ_FOREACH(ds, &rq->host->datastores, link) {
		if (ds->is_lost)
			json_array_append_new(all, lost_json(ds));
		else if (q)
			query_use(q, ds);
	}
	json_decref(all);
	query_start(rq, q, datastore_list_work, query_done);
}

static void member_list_work(void *arg)
{
	struct query *q = arg;
	struct vmfs_member members[MEMBERS_MAX];
	char uuid[UUID_TEXT_SIZE];
	int count = vmfs_volume_members(q->stores[0]->vol, members, MEMBERS_MAX);
	if (count < 0) {
		q->rc = count;
		(void)snprintf(q->why, sizeof(q->why), "%s: %s", q->stores[0]->label,
			       strerror(-count));
		return;
	}
	json_t *all = json_array();
	for (int i = 0; i < count && i < (int)MEMBERS_MAX; i++) {
		const struct vmfs_member *m = &members[i];
		json_int_t age_ms = (json_int_t)(m->age_ns / NS_PER_MS);
		char age[40];
		(void)snprintf(age, sizeof(age), "%lld.%lld s ago", age_ms / 1000,
			       age_ms % 1000 / 100);
		json_array_append_new(
			all, json_pack("{s:s, s:s, s:i, s:I, s:s, s:b}", "host",
				       uuid_text(&m->owner, uuid), "name", m->host_name,
				       "slot", (int)m->slot, "age_ms", age_ms, "age", age,
				       "is_self", m->is_self));
	}
	q->result = json_pack("{s:o}", "members", all);
}

static void member_list(const struct request *rq)
{
	struct datastore *ds = usable_of(rq, text_of(rq, "datastore"));
	struct query *q = ds ? query_new(rq) : NULL;
	if (q)
		query_use(q, ds);
	if (ds)
		query_start(rq, q, member_list_work, query_done);
}

static void register_work(void *arg)
{
	struct query *q = arg;
	char what[VM_WHY_SIZE / 2];
	(void)snprintf(what, sizeof(what), "[%s] %s", q->stores[0]->label, q->path + 1);
	q->rc = vm_read_labels(q->stores[0]->vol, q->path, what, q->host->reporter,
			       &q->labels, q->why, sizeof(q->why));
}

static void register_done(void *arg)
{
	struct query *q = arg;
	struct vm *vm = NULL;
	if (q->rc == 0 && q->name[0]) {
		free(q->labels.name);
		q->labels.name = q->name;
		q->name = NULL;
	}
	if (q->rc == 0 && inventory_find_path(q->host, &q->stores[0]->uuid, q->path)) {
		q->rc = -EEXIST;
		(void)snprintf(q->why, sizeof(q->why),
			       "[%.128s] %.512s: is registered already",
			       q->stores[0]->label, q->path + 1);
	}
	if (q->rc == 0) {
		vm = inventory_add(q->host, &q->stores[0]->uuid, q->path, &q->labels);
		q->labels = (struct vm_labels){ 0 };
		q->rc = vm ? inventory_save(q->host) : -ENOMEM;
		(void)snprintf(q->why, sizeof(q->why),
			       "the inventory cannot be saved: %s", strerror(-q->rc));
	}
	if (q->rc == 0)
		q->result = json_pack("{s:i}", "id", (int)vm->id);
	else if (vm)
		inventory_remove(vm);
	query_done(q);
}

static void vm_register(const struct request *rq)
{
	char *name = NULL, *path = NULL;
	const char *text = text_of(rq, "path");
	int rc = where_split(text, &name, &path);
	if (rc < 0) {
		reply_error(rq, rc,
			    "%s: not \"[datastore] dir/file.vmx\" or a path under "
			    "/vmfs/volumes",
			    text);
		return;
	}
	struct datastore *ds = usable_of(rq, name);
	size_t len = strlen(path);
	free(name);
	if (ds && (len < 6 || strcmp(path + len - 4, ".vmx") != 0)) {
		reply_error(rq, -EINVAL, "%s: not a .vmx file", text);
		ds = NULL;
	}
	struct query *q = ds ? query_new(rq) : NULL;
	if (q) {
		query_use(q, ds);
		q->path = path;
		q->name = strdup(text_of(rq, "name"));
	} else {
		free(path);
	}
	if (q && !q->name) {
		query_free(q);
		q = NULL;
	}
	if (ds)
		query_start(rq, q, register_work, register_done);
}

/* ---- what a VM is ---- */

static void look_work(void *arg)
{
	struct query *q = arg;
	struct vm_labels labels;
	if (vm_read_labels(q->stores[0]->vol, q->path, q->path, NULL, &labels, q->why,
			   sizeof(q->why)) < 0)
		return;
	q->labels.is_suspended = labels.is_suspended;
	vm_labels_done(&labels);
}

static void look_done(void *arg)
{
	struct query *q = arg;
	struct vm *vm = inventory_find_path(q->host, &q->stores[0]->uuid, q->path);
	if (vm && vm->state == VM_OFF)
		vm->labels.is_suspended = q->labels.is_suspended;
	q->result = json_pack("{s:s}", "state", vm ? vm_state_text(vm) : "Powered off");
	query_done(q);
}

/* One that is off may have been suspended, or resumed, by another host. */
static void vm_look(const struct request *rq, struct vm *vm)
{
	struct datastore *ds = vm_datastore(vm);
	if (vm->state != VM_OFF || !ds || ds->is_lost) {
		reply_ok(rq, json_pack("{s:s}", "state", vm_state_text(vm)));
		return;
	}
	struct query *q = query_new(rq);
	if (q) {
		query_use(q, ds);
		q->labels.is_suspended = vm->labels.is_suspended;
		q->path = strdup(vm->path);
	}
	if (q && !q->path) {
		query_free(q);
		q = NULL;
	}
	query_start(rq, q, look_work, look_done);
}

/* ---- dispatch ---- */

static void vm_request(const struct request *rq, enum msg_type type)
{
	struct vm *vm = vm_of(rq);
	if (!vm)
		return;
	if (type == MSG_VM_POWER_ON)
		vm_power_on(vm, rq->who);
	else if (type == MSG_VM_POWER_OFF)
		vm_power_off(vm, rq->who);
	else if (type == MSG_VM_RESET)
		vm_reset(vm, rq->who);
	else if (type == MSG_VM_SHUTDOWN)
		vm_shutdown(vm, rq->who,
			    json_is_true(json_object_get(rq->body, "is_reboot")));
	else if (type == MSG_VM_TICKET)
		vm_console_request(vm, rq->who, rq->body);
	else if (type == MSG_VM_SUSPEND)
		checkpoint_suspend(vm, rq->who);
	else if (type == MSG_VM_DETAILS || type == MSG_VM_RELOAD)
		vm_details_request(vm, rq->who, type);
	else
		vm_look(rq, vm);
}

static void vm_kill_it(const struct request *rq)
{
	const char *how = text_of(rq, "type");
	struct vm *vm = vm_of(rq);
	if (!vm)
		return;
	if (strcmp(how, "force") == 0)
		vm_kill(vm, rq->who);
	else if (strcmp(how, "soft") == 0 || strcmp(how, "hard") == 0)
		vm_power_off(vm, rq->who);
	else
		reply_error(rq, -EINVAL, "%s: not a way to end a VM: soft, hard, force",
			    how);
}

static void vm_question(const struct request *rq, enum msg_type type)
{
	struct vm *vm = vm_of(rq);
	json_int_t question = json_integer_value(json_object_get(rq->body, "question"));
	json_int_t choice = json_integer_value(json_object_get(rq->body, "choice"));
	if (!vm)
		return;
	if (type == MSG_VM_QUESTION)
		reply_ok(rq, json_pack("{s:i, s:s}", "question",
				       vm->question_text[0] ? (int)vm->question : 0,
				       "text", vm->question_text));
	else if (choice != 0 && choice != 1)
		reply_error(rq, -EINVAL, "%lld: not one of the answers",
			    (long long)choice);
	else if (question < 1 || question > UINT32_MAX ||
		 !vm_answer(vm, (uint32_t)question, choice == 1))
		reply_error(rq, -ENOENT, "VM %u does not ask question %lld", vm->id,
			    (long long)question);
	else
		reply_ok(rq, json_object());
}

/* Their snapshots, their size, what they are given. */
static void vm_disks(const struct request *rq, enum msg_type type)
{
	struct vm *vm = vm_of(rq);
	if (vm && type == MSG_VM_DISK_GROW)
		vm_grow_request(vm, rq->who, rq->body);
	else if (vm && type == MSG_VM_RECONFIG)
		vm_reconfig_request(vm, rq->who, rq->body);
	else if (vm && (type == MSG_VM_DISK_ADD || type == MSG_VM_DISK_REMOVE))
		vm_plug_request(vm, rq->who, type, rq->body);
	else if (vm)
		vm_snapshot_request(vm, rq->who, type, rq->body);
}

static void vm_migrate(const struct request *rq, enum msg_type type)
{
	struct vm *vm = vm_of(rq);
	if (vm && type == MSG_VM_MIGRATE)
		vmotion_start(vm, rq->who, text_of(rq, "host"),
			      json_is_true(json_object_get(rq->body, "is_cold")));
	else if (vm && type == MSG_VM_RELOCATE)
		relocate_request(vm, rq->who, rq->body);
	else if (vm && relocate_cancel(vm))
		reply_ok(rq, json_object());
	else if (vm)
		vmotion_cancel(vm, rq->who);
}

/* What is asked of one VM. */
static void dispatch_vm(const struct request *rq, enum msg_type type)
{
	switch (type) {
	case MSG_VM_MIGRATE:
	case MSG_VM_MIGRATE_CANCEL:
	case MSG_VM_RELOCATE:
		vm_migrate(rq, type);
		break;
	case MSG_VM_KILL:
		vm_kill_it(rq);
		break;
	case MSG_VM_QUESTION:
	case MSG_VM_ANSWER:
		vm_question(rq, type);
		break;
	case MSG_VM_SNAPSHOT_LIST:
	case MSG_VM_SNAPSHOT_CREATE:
	case MSG_VM_SNAPSHOT_REVERT:
	case MSG_VM_SNAPSHOT_REMOVE:
	case MSG_VM_DESTROY:
	case MSG_VM_DISK_GROW:
	case MSG_VM_DISK_ADD:
	case MSG_VM_DISK_REMOVE:
	case MSG_VM_RECONFIG:
		vm_disks(rq, type);
		break;
	case MSG_VM_STATE:
	case MSG_VM_POWER_ON:
	case MSG_VM_POWER_OFF:
	case MSG_VM_RESET:
	case MSG_VM_SHUTDOWN:
	case MSG_VM_SUSPEND:
	case MSG_VM_DETAILS:
	case MSG_VM_RELOAD:
	case MSG_VM_TICKET:
		vm_request(rq, type);
		break;
	default:
		reply_error(rq, -EOPNOTSUPP, "request %u is unknown here",
			    (unsigned int)type);
		break;
	}
}

static void enter_maintenance(const struct request *rq)
{
	enum evacuate_how how;
	json_int_t timeout = json_integer_value(json_object_get(rq->body, "timeout"));
	const char *word = text_of(rq, "evacuate");
	if (evacuate_parse(word, &how) < 0)
		reply_error(rq, -EINVAL, "%.64s: not vmotion, shutdown, suspend or none",
			    word);
	else if (timeout < 0 || timeout > INT32_MAX)
		reply_error(rq, -EINVAL, "%lld: not a number of seconds",
			    (long long)timeout);
	else
		maintenance_enter(rq->host, rq->who, how, (uint32_t)timeout);
}

static json_t *rows_of(struct host *h, enum msg_type type)
{
	if (type != MSG_MIGRATION_LIST)
		return type == MSG_VM_RESOURCES ? resources_list(h) : resources_disks(h);
	json_t *rows = vmotion_list(h);
	relocate_list(h, rows);
	return rows;
}

static void dispatch(const struct request *rq, enum msg_type type)
{
	switch (type) {
	case MSG_WHERE:
		where(rq);
		break;
	case MSG_HOST_SUMMARY:
		host_summary(rq);
		break;
	case MSG_DATASTORE_LIST:
		datastore_list(rq);
		break;
	case MSG_MEMBER_LIST:
		member_list(rq);
		break;
	case MSG_VM_REGISTER:
		vm_register(rq);
		break;
	case MSG_VM_UNREGISTER:
		vm_unregister(rq);
		break;
	case MSG_VM_LIST:
		vm_list(rq);
		break;
	case MSG_ADMIN:
		if (!system_request(rq->host, rq->who, text_of(rq, "words"), rq->body) &&
		    !adapter_request(rq->host->adapter, rq->who, text_of(rq, "words"),
				     rq->body))
			reply_error(rq, -EOPNOTSUPP,
				    "%s: this host knows no such command",
				    text_of(rq, "words"));
		break;
	case MSG_SNAPSHOT_LIST:
	case MSG_SNAPSHOT_MOUNT:
	case MSG_SNAPSHOT_RESIGN:
		snapshot_request(rq->host, rq->who, type, text_of(rq, "name"));
		break;
	case MSG_MIGRATION_LIST:
	case MSG_VM_RESOURCES:
	case MSG_VM_DISKS:
		reply_ok(rq, json_pack("{s:o}", "rows", rows_of(rq->host, type)));
		break;
	case MSG_MAINTENANCE_ENTER:
		enter_maintenance(rq);
		break;
	case MSG_MAINTENANCE_EXIT:
		maintenance_exit(rq->host, rq->who);
		break;
	default:
		dispatch_vm(rq, type);
		break;
	}
}

static void on_client(void *arg, uint32_t events)
{
	struct client *cl = arg;
	struct msg m;
	int next = 0;
	int rc = events & EPOLLOUT ? channel_flush(&cl->channel) : 0;
	if (rc == 0 && !channel_has_output(&cl->channel))
		loop_watch_events(cl->watch, EPOLLIN);
	if (rc == 0)
		rc = msg_read(&cl->channel);
	while ((next = msg_next(&cl->channel, &m)) > 0) {
		struct request rq = {
			.host = cl->control->host,
			.who = { .is_set = true, .client = cl->number, .tag = m.tag },
			.body = m.body,
		};
		dispatch(&rq, m.type);
		json_decref(m.body);
	}
	if (rc < 0 || next < 0)
		client_free(cl);
}

static void on_connect(void *arg, uint32_t events)
{
	struct control *c = arg;
	(void)events;
	int sock = accept4(c->listen_sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock < 0)
		return;
	struct client *cl = c->count < CLIENTS_MAX ? calloc(1, sizeof(*cl)) : NULL;
	if (cl)
		cl->watch = loop_watch_new(c->host->loop, sock, EPOLLIN, on_client, cl);
	if (!cl || !cl->watch) {
		free(cl);
		(void)close(sock);
		return;
	}
	cl->control = c;
	cl->number = c->next_number++;
	channel_init(&cl->channel, sock);
	LIST_INSERT_HEAD(&c->clients, cl, link);
	c->count++;
}

int control_open(struct host *h, struct reporter *r)
{
	struct control *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->host = h;
	c->next_number = 1;
	LIST_INIT(&c->clients);
	c->listen_sock = sock_listen(h->config.socket);
	int rc = c->listen_sock < 0 ? c->listen_sock : 0;
	/* Who may talk to the host owns it: root, or who started it. */
	if (rc == 0 && chmod(h->config.socket, 0600) < 0)
		rc = -errno;
	if (rc == 0)
		c->watch =
			loop_watch_new(h->loop, c->listen_sock, EPOLLIN, on_connect, c);
	if (rc == 0 && !c->watch)
		rc = -ENOMEM;
	h->control = c;
	return rc < 0 ? report_error(r, rc, "%s: %s", h->config.socket, strerror(-rc))
		      : 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	while (!LIST_EMPTY(&c->clients))
		client_free(LIST_FIRST(&c->clients));
	loop_watch_free(c->watch);
	if (c->listen_sock >= 0)
		(void)close(c->listen_sock);
	free(c);
}
