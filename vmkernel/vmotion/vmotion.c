/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may come and go, and what became of whom.
 *
 * A passage begins with a request here, or with a connection from another host; either
 * becomes a job. While it lasts the VM is busy: no snapshot, no second passage. The last
 * few that are over stay in the list.
 */
#include "vmkernel/vmotion/vmotion.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "iscsi/path.h"
#include "vmkernel/adapter/device.h"
#include "vmkernel/control.h"
#include "vmkernel/ha/roster.h"
#include "vmkernel/inventory.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vmotion/passage.h"

#define KEPT_MAX 32u
#define CONNECTIONS_MAX 32u
#define PREFACE_TIMEOUT_S 10
#define BACKLOG 16
#define AUTHORITY_FILE "vmotion.pem"

TAILQ_HEAD(passage_list, passage);

struct vmotion {
	struct host *host;
	struct tls_identity authority;
	int listen_sock;
	struct loop_watch *watch;
	unsigned int connections;
	struct passage_list passages;
};

const struct tls_identity *vmotion_authority(const struct host *h)
{
	return &h->vmotion->authority;
}

/* ---- our authority ---- */

static char *read_text(const char *path)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	char *text = f ? calloc(1, 16384) : NULL;
	if (text && fread(text, 1, 16383, f) == 0) {
		free(text);
		text = NULL;
	}
	return text;
}

/* A key, and behind it the certificate. */
static int load_authority(struct host *h, struct tls_identity *ret)
{
	char path[HOST_PATH_SIZE];
	AUTO_FREE char *text = read_text(host_path(h, AUTHORITY_FILE, path));
	const char *cert = text ? strstr(text, "-----BEGIN CERTIFICATE") : NULL;
	if (cert) {
		*ret = (struct tls_identity){ strndup(text, (size_t)(cert - text)),
					      strdup(cert) };
		return ret->key && ret->cert ? 0 : -ENOMEM;
	}
	char name[96];
	(void)snprintf(name, sizeof(name), "authority of host %s", h->uuid_text);
	int rc = tls_make_authority(name, ret);
	AUTO_FREE char *both = NULL;
	if (rc == 0 && asprintf(&both, "%s%s", ret->key, ret->cert) < 0)
		rc = -ENOMEM;
	return rc == 0 ? host_write_text(h, AUTHORITY_FILE, both, 0600) : rc;
}

/* ---- lists ---- */

static unsigned int percent(const struct passage *p)
{
	if (p->is_over)
		return p->end == VMOTION_MOVED ? 100 : 0;
	if (!p->total)
		return 0;
	uint64_t left = p->remaining < p->total ? p->remaining : p->total;
	return (unsigned int)((p->total - left) * 99 / p->total);
}

static const char *end_text(const struct passage *p)
{
	switch (p->end) {
	case VMOTION_KEPT:
		return p->is_out ? "kept" : "failed";
	case VMOTION_MOVED:
		return "moved";
	case VMOTION_LOST:
		break;
	}
	return "lost";
}

json_t *vmotion_list(struct host *h)
{
	json_t *all = json_array();
	struct passage *p;
	if (!h->vmotion)
		return all;
	TAILQ_FOREACH(p, &h->vmotion->passages, link) {
		uint64_t until = p->is_over ? p->ended_at : clock_now();
		uint64_t still = p->resumed_at > p->stopped_at && p->stopped_at ?
					 p->resumed_at - p->stopped_at : 0;
		json_array_append_new(
			all,
			json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:s}",
				  "vm", p->vm_name, "direction", p->is_out ? "out" : "in",
				  "host", p->peer_name, "phase",
				  p->is_over ? end_text(p) : p->phase, "percent",
				  (int)percent(p), "transferred",
				  (json_int_t)(p->transferred >> 20), "ms",
				  (json_int_t)((until - p->began_at) / NS_PER_MS),
				  "still_us", (json_int_t)(still / NS_PER_US), "lock_us",
				  (json_int_t)(p->lock_ns / NS_PER_US), "why", p->why));
	}
	return all;
}

static void forget_old(struct vmotion *v)
{
	unsigned int count = 0;
	struct passage *p, *next;
	TAILQ_FOREACH(p, &v->passages, link)
		count += p->is_over;
	for (p = TAILQ_FIRST(&v->passages); p && count > KEPT_MAX; p = next) {
		next = TAILQ_NEXT(p, link);
		if (!p->is_over)
			continue;
		TAILQ_REMOVE(&v->passages, p, link);
		passage_free(p);
		count--;
	}
}

/* ---- the end ---- */

struct leaving {
	struct loop_call call;
	struct host *host;
	uint32_t id;
};

static void unregister(void *arg)
{
	struct leaving *l = arg;
	struct vm *vm = inventory_find(l->host, l->id);
	if (vm && vm->state == VM_OFF && vm->is_leaving && !vm->is_busy) {
		inventory_remove(vm);
		if (inventory_save(l->host) < 0)
			report(l->host->reporter, REPORT_WARN,
			       "VM %u stays registered until the inventory is saved",
			       l->id);
	}
	free(l);
}

void vmotion_vm_off(struct vm *vm)
{
	if (!vm->is_leaving || vm->is_busy || vm->state != VM_OFF)
		return;
	struct leaving *l = calloc(1, sizeof(*l));
	if (!l)
		return; /* it stays registered here as well */
	*l = (struct leaving){ .host = vm->host, .id = vm->id };
	l->call = (struct loop_call){ .fn = unregister, .arg = l };
	loop_post(vm->host->loop, &l->call);
}

static void over(struct passage *p)
{
	struct host *h = p->host;
	bool is_bad = p->end != VMOTION_MOVED;
	p->is_over = true;
	p->ended_at = clock_now();
	report(h->reporter, is_bad ? REPORT_WARN : REPORT_INFO,
	       "vMotion: %s %s host %s: %s%s%s", p->vm_name[0] ? p->vm_name : "a VM",
	       p->is_out ? "to" : "from", p->peer_name, end_text(p),
	       p->why[0] ? ": " : "", p->why);
	if (p->vm) {
		p->vm->is_busy = false;
		p->vm->passage = NULL;
		vmotion_vm_off(p->vm);
		p->vm = NULL;
	}
	if (p->who.is_set)
		control_reply(h->control, p->who, is_bad ? -EIO : 0, p->why, NULL);
	tls_free(p->tls);
	p->tls = NULL;
	if (p->ds)
		host_datastore_put(h, p->ds);
	p->ds = NULL;
	forget_old(h->vmotion);
}

/* ---- going ---- */

static void go_work(void *arg)
{
	passage_go(arg);
}

static void go_done(void *arg)
{
	over(arg);
}

/* QEMU drains its disks before the switch: one whose storage is away would never end. */
int vmotion_check_storage(const struct datastore *ds, char *why)
{
	if (vmfs_volume_state(ds->vol) < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "datastore %s is lost", ds->label);
		return -ESTALE;
	}
	for (unsigned int i = 0; i < ds->extent_count; i++) {
		AUTO_FREE struct paths_info *info = device_paths(ds->extents[i]);
		if (!info || !info->is_apd)
			continue;
		(void)snprintf(why, PLAN_WHY_SIZE,
			       "all paths to datastore %s are down (APD)", ds->label);
		return -EHOSTDOWN;
	}
	return 0;
}

static const char *why_not(const struct vm *vm, const char *host, char *text)
{
	const struct host *h = vm->host;
	if (!h->vmotion)
		return "this host has no vmotion_address";
	if (vm->state != VM_ON || vm->is_ending)
		return "is not powered on";
	if (vm->is_busy)
		return vm->passage ? "is being moved already" :
				     "a snapshot of it is being made";
	if (vm->question_text[0])
		return "waits for an answer";
	if (h->is_stopping)
		return "the host is shutting down";
	if (vm->vhost_disks)
		return "has disks by vhost-user, which cannot change hands yet";
	if (!*host || strlen(host) >= NOTICE_NAME_SIZE)
		return "the name of the other host is missing";
	return vmotion_check_storage(vm->ds, text) < 0 ? text : NULL;
}

void vmotion_start(struct vm *vm, struct requester who, const char *host, bool is_cold)
{
	struct host *h = vm->host;
	char text[PLAN_WHY_SIZE], sentence[VM_WHY_SIZE], file[VM_WHY_SIZE / 2];
	const char *why = why_not(vm, host, text);
	struct passage *p = why ? NULL : passage_new(h, true);
	if (!p) {
		(void)snprintf(sentence, sizeof(sentence), "VM %u (%s): %.300s", vm->id,
			       vm_file_text(vm, NULL, file, sizeof(file)),
			       why ? why : "no memory");
		control_reply(h->control, who, -EBUSY, sentence, NULL);
		return;
	}
	p->who = who;
	p->vm = vm;
	p->is_cold = is_cold;
	p->ds = vm->ds;
	p->ds->users++;
	(void)snprintf(p->vm_name, sizeof(p->vm_name), "%s", vm->labels.name);
	(void)snprintf(p->peer_name, sizeof(p->peer_name), "%s", host);
	(void)snprintf(p->token, sizeof(p->token), "%016llx",
		       (unsigned long long)random_u64());
	vm->passage = p;
	vm->is_busy = true;
	TAILQ_INSERT_TAIL(&h->vmotion->passages, p, link);
	if (loop_job(h->loop, "vmotion", go_work, go_done, p) < 0) {
		(void)snprintf(p->why, sizeof(p->why), "no memory");
		over(p);
	}
}

void vmotion_cancel(struct vm *vm, struct requester who)
{
	struct passage *p = vm->passage;
	bool may = p && p->is_out && !p->is_over;
	if (may) {
		p->is_cancelled = true;
		/* Before the switch vmx ends it; the answer goes to nobody. */
		if (!p->is_switching && vm->channel.sock >= 0)
			may = msg_send(&vm->channel, MSG_VMX_KEEP, 0, NULL) == 0;
	}
	control_reply(vm->host->control, who, may ? 0 : -EINVAL,
		      "it is not on its way to another host", NULL);
}

/* ---- coming ---- */

struct caller {
	struct host *host;
	int sock;
	struct preface_msg pre;
	struct passage *p; /* CONTROL */
	int rc;
};

static struct datastore *store_of(struct host *h, const uint8_t uuid[16])
{
	struct datastore *ds;
	TAILQ_FOREACH(ds, &h->datastores, link)
		if (memcmp(ds->uuid.b, uuid, 16) == 0 && !ds->is_lost)
			return ds;
	return NULL;
}

struct admitting {
	struct loop_call call;
	struct caller *c;
};

/* The stream goes to its passage, which waits for it. */
static int hand_stream(struct passage *nobody, void *arg)
{
	struct caller *c = arg;
	struct passage *p;
	(void)nobody;
	TAILQ_FOREACH(p, &c->host->vmotion->passages, link) {
		if (p->is_out || p->is_over || strcmp(p->token, c->pre.token) != 0)
			continue;
		mutex_lock(&p->m);
		if (p->data_sock < 0) {
			p->data_sock = c->sock;
			c->sock = -1;
		}
		cond_signal(&p->c);
		mutex_unlock(&p->m);
		return 0;
	}
	return -ENOENT;
}

static int admit(struct passage *p, void *arg)
{
	struct caller *c = arg;
	p->ds = store_of(c->host, c->pre.datastore);
	if (!p->ds || c->host->is_stopping)
		return -ENODEV;
	p->ds->users++;
	TAILQ_INSERT_TAIL(&c->host->vmotion->passages, p, link);
	c->p = p;
	return 0;
}

static int take_control(struct caller *c, struct passage *p)
{
	char why[PLAN_WHY_SIZE];
	(void)snprintf(p->peer_name, sizeof(p->peer_name), "%s", c->pre.host);
	int rc = passage_on_loop(p, admit, c);
	if (rc < 0)
		return rc;
	int sock = c->sock;
	c->sock = -1;
	rc = notice_read(p->ds->vol, p->peer_name, &p->peer);
	if (rc < 0) {
		(void)close(sock);
		(void)snprintf(p->why, sizeof(p->why), "it is not known on datastore %s",
			       p->ds->label);
		return rc;
	}
	rc = passage_secure(p, sock, why);
	if (rc < 0)
		(void)snprintf(p->why, sizeof(p->why), "%s", why);
	else
		passage_come(p);
	return rc;
}

static void serve_caller(void *arg)
{
	struct caller *c = arg;
	struct timeval limit = { .tv_sec = PREFACE_TIMEOUT_S };
	(void)setsockopt(c->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	ssize_t n = recv(c->sock, &c->pre, sizeof(c->pre), MSG_WAITALL);
	c->rc = preface_check(&c->pre, n);
	if (c->rc < 0)
		return;
	struct passage *p = passage_new(c->host, false);
	if (!p)
		return;
	if (le32_get(c->pre.kind) == PREFACE_STREAM)
		c->rc = passage_on_loop(p, hand_stream, c);
	else
		c->rc = take_control(c, p);
	if (!c->p)
		passage_free(p);
}

static void caller_done(void *arg)
{
	struct caller *c = arg;
	c->host->vmotion->connections--;
	if (c->sock >= 0)
		(void)close(c->sock);
	if (c->p) {
		if (c->rc < 0)
			c->p->end = VMOTION_KEPT;
		over(c->p);
	}
	free(c);
}

static void on_connect(void *arg, uint32_t events)
{
	struct vmotion *v = arg;
	(void)events;
	int sock = accept4(v->listen_sock, NULL, NULL, SOCK_CLOEXEC);
	if (sock < 0)
		return;
	struct caller *c = v->connections < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) :
							      NULL;
	if (!c) {
		(void)close(sock);
		return;
	}
	c->host = v->host;
	c->sock = sock;
	v->connections++;
	if (loop_job(v->host->loop, "vmotion-in", serve_caller, caller_done, c) < 0) {
		c->rc = -ENOMEM;
		caller_done(c);
	}
}

/* ---- the whole ---- */

struct posting {
	struct host *host;
	struct datastore *ds;
	struct notice_board *board;
	int rc;
};

static void post_work(void *arg)
{
	struct posting *post = arg;
	struct host *h = post->host;
	struct notice n = { .authority = h->vmotion->authority.cert };
	(void)snprintf(n.uuid, sizeof(n.uuid), "%s", h->uuid_text);
	(void)snprintf(n.address, sizeof(n.address), "%s", h->config.vmotion_address);
	post->rc = notice_put(post->ds->vol, h->host_name, &n, &post->board);
}

static void post_done(void *arg)
{
	struct posting *post = arg;
	if (post->rc < 0)
		report(post->host->reporter, REPORT_WARN,
		       "vMotion: datastore %s: other hosts are not told of this one: %s",
		       post->ds->label, strerror(-post->rc));
	post->ds->notice = post->board;
	host_datastore_put(post->host, post->ds);
	free(post);
}

void vmotion_attached(struct host *h, struct datastore *ds)
{
	struct posting *post = h->vmotion && !h->is_stopping ? calloc(1, sizeof(*post)) :
							       NULL;
	if (!post)
		return;
	*post = (struct posting){ .host = h, .ds = ds };
	ds->users++;
	if (loop_job(h->loop, "vmotion-notice", post_work, post_done, post) == 0)
		return;
	post->rc = -ENOMEM;
	post_done(post);
}

static int listen_on(struct vmotion *v, const char *address)
{
	struct addrinfo *own;
	int on = 1;
	int rc = sock_address(address, SOCK_STREAM, true, &own);
	if (rc < 0)
		return rc;
	v->listen_sock = socket(own->ai_family,
				SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (v->listen_sock < 0 ||
	    setsockopt(v->listen_sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(v->listen_sock, own->ai_addr, own->ai_addrlen) < 0 ||
	    listen(v->listen_sock, BACKLOG) < 0)
		rc = -errno;
	freeaddrinfo(own);
	if (rc == 0)
		v->watch = loop_watch_new(v->host->loop, v->listen_sock, EPOLLIN,
					  on_connect, v);
	return rc || v->watch ? rc : -ENOMEM;
}

int vmotion_open(struct host *h, struct reporter *r)
{
	struct datastore *ds;
	if (!h->config.vmotion_address)
		return 0;
	struct vmotion *v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->host = h;
	v->listen_sock = -1;
	TAILQ_INIT(&v->passages);
	h->vmotion = v;
	int rc = load_authority(h, &v->authority);
	if (rc == 0)
		rc = listen_on(v, h->config.vmotion_address);
	if (rc < 0)
		return report_error(r, rc, "vmotion_address %s: %s",
				    h->config.vmotion_address, strerror(-rc));
	TAILQ_FOREACH(ds, &h->datastores, link)
		if (!ds->is_lost)
			vmotion_attached(h, ds);
	return 0;
}

void vmotion_stop(struct host *h)
{
	struct vmotion *v = h->vmotion;
	struct passage *p;
	if (!v)
		return;
	loop_watch_free(v->watch);
	v->watch = NULL;
	TAILQ_FOREACH(p, &v->passages, link)
		p->is_cancelled = true;
}

void vmotion_close(struct host *h)
{
	struct vmotion *v = h->vmotion;
	struct passage *p;
	if (!v)
		return;
	loop_watch_free(v->watch);
	if (v->listen_sock >= 0)
		(void)close(v->listen_sock);
	while ((p = TAILQ_FIRST(&v->passages)) != NULL) {
		TAILQ_REMOVE(&v->passages, p, link);
		passage_free(p);
	}
	tls_identity_done(&v->authority);
	free(v);
	h->vmotion = NULL;
}
