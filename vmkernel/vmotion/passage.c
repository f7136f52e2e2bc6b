/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A passage is two tasks: its job, which blocks as the plan does, and the loop, which
 * owns the VM. The job asks the loop and waits; the loop never waits for the job. What
 * vmx answers comes to the loop, which wakes the job.
 */
#include "vmkernel/vmotion/passage.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmkernel/msg/msg.h"
#include "vmkernel/msg/sock.h"

#define NET_TIMEOUT_MS 15000
#define HEAR_NS (120 * NS_PER_S) /* a QEMU that starts, a disk that is waited for */
#define PIECE 4096u
#define WORD_TYPE 0x600 /* + enum vmotion_word: type of the message */

struct passage *passage_new(struct host *h, bool is_out)
{
	struct passage *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->host = h;
	p->is_out = is_out;
	p->data_sock = -1;
	p->phase = "starting";
	p->began_at = clock_now();
	mutex_init(&p->m);
	cond_init(&p->c);
	return p;
}

void passage_free(struct passage *p)
{
	tls_free(p->tls);
	buf_done(&p->in);
	notice_done(&p->peer);
	if (p->data_sock >= 0)
		(void)close(p->data_sock);
	cond_done(&p->c);
	mutex_done(&p->m);
	free(p);
}

/* ---- on the loop ---- */

struct errand {
	struct loop_call call;
	struct passage *p;
	int (*fn)(struct passage *p, void *arg);
	void *arg;
	int rc;
	struct mutex m;
	struct cond c;
	bool is_done;
};

static void run_errand(void *arg)
{
	struct errand *e = arg;
	e->rc = e->fn(e->p, e->arg);
	mutex_lock(&e->m);
	e->is_done = true;
	cond_signal(&e->c);
	mutex_unlock(&e->m);
}

int passage_on_loop(struct passage *p, int (*fn)(struct passage *p, void *arg), void *arg)
{
	struct errand e = { .p = p, .fn = fn, .arg = arg };
	e.call = (struct loop_call){ .fn = run_errand, .arg = &e };
	mutex_init(&e.m);
	cond_init(&e.c);
	loop_post(p->host->loop, &e.call);
	mutex_lock(&e.m);
	while (!e.is_done)
		cond_wait(&e.c, &e.m);
	mutex_unlock(&e.m);
	cond_done(&e.c);
	mutex_done(&e.m);
	return e.rc;
}

int passage_set_phase(struct passage *p, void *phase)
{
	p->phase = phase;
	return 0;
}

#define HOLD_PAUSE (10 * NS_PER_MS)

static int try_hold(struct passage *p, void *minds_cancel)
{
	struct vm *vm = p->vm;
	if (minds_cancel && p->is_cancelled)
		return -ECANCELED;
	if (p->holds)
		return 0;
	if (vm->state == VM_OFF || vm->state == VM_STOPPING || vm->is_ending)
		return -ESRCH;
	if (vm->has_job)
		return -EAGAIN;
	p->holds = vm->has_job = true;
	return 0;
}

static int let_go(struct passage *p, void *arg)
{
	(void)arg;
	if (!p->holds)
		return 0;
	p->holds = p->vm->has_job = false;
	vm_settle(p->vm);
	return 0;
}

int passage_hold(struct passage *p, bool minds_cancel)
{
	int rc;
	while ((rc = passage_on_loop(p, try_hold, minds_cancel ? p : NULL)) == -EAGAIN)
		task_sleep_until(clock_now() + HOLD_PAUSE);
	return rc;
}

void passage_release(struct passage *p)
{
	(void)passage_on_loop(p, let_go, NULL);
}

/* ---- what vmx is asked ---- */

struct question {
	enum msg_type type;
	json_t *body;
	int sock;
};

static int send_question(struct passage *p, void *arg)
{
	struct question *q = arg;
	struct vm *vm = p->vm;
	bool may = vm->channel.sock >= 0 && vm->channel.pass_fd < 0;
	mutex_lock(&p->m);
	uint32_t tag = p->asked = PASSAGE_TAG + ++p->number % PASSAGE_TAG;
	p->answer_why[0] = '\0';
	mutex_unlock(&p->m);
	if (may && q->sock >= 0)
		channel_pass(&vm->channel, q->sock);
	else if (q->sock >= 0)
		(void)close(q->sock);
	if (may)
		return msg_send(&vm->channel, q->type, tag, q->body);
	json_decref(q->body);
	return -ECONNRESET;
}

int passage_await(struct passage *p, char *why)
{
	mutex_lock(&p->m);
	while (p->asked && !p->is_vmx_gone)
		cond_wait(&p->c, &p->m);
	int rc = p->asked ? -ECONNRESET : p->answer;
	p->asked = 0;
	if (rc < 0)
		(void)snprintf(why, PLAN_WHY_SIZE, "%s",
			       p->answer_why[0] ? p->answer_why : "the VM has ended");
	mutex_unlock(&p->m);
	return rc;
}

void passage_await_still(struct passage *p)
{
	mutex_lock(&p->m);
	while (p->asked && !p->is_vmx_gone && !p->is_still)
		cond_wait(&p->c, &p->m);
	mutex_unlock(&p->m);
}

bool passage_has_failed(struct passage *p)
{
	mutex_lock(&p->m);
	bool has_failed = p->is_vmx_gone || (!p->asked && p->answer < 0);
	mutex_unlock(&p->m);
	return has_failed;
}

int passage_request(struct passage *p, enum msg_type type, json_t *body, int sock,
		    char *why)
{
	struct question q = { type, body, sock };
	int rc = passage_on_loop(p, send_question, &q);
	if (rc < 0)
		(void)snprintf(why, PLAN_WHY_SIZE, "the VM has ended");
	return rc;
}

int passage_ask(struct passage *p, enum msg_type type, json_t *body, int sock, char *why)
{
	int rc = passage_request(p, type, body, sock, why);
	return rc == 0 ? passage_await(p, why) : rc;
}

void vmotion_told(struct vm *vm, const struct msg *m)
{
	struct passage *p = vm->passage;
	if (!p)
		return;
	if (m->type == MSG_VMX_PROGRESS) {
		p->total = (uint64_t)json_integer_value(
			json_object_get(m->body, "total"));
		p->remaining = (uint64_t)json_integer_value(
			json_object_get(m->body, "remaining"));
		p->transferred = (uint64_t)json_integer_value(
			json_object_get(m->body, "transferred"));
		if (!json_is_true(json_object_get(m->body, "is_still")))
			return;
		/* It may end before the job can ask for this. */
		if (p->is_out && !vm->has_job && !vm->is_ending)
			p->holds = vm->has_job = true;
		mutex_lock(&p->m);
		p->is_still = true;
		cond_signal(&p->c);
		mutex_unlock(&p->m);
		return;
	}
	mutex_lock(&p->m);
	if (p->asked == m->tag && m->tag) {
		p->answer = (int)json_integer_value(json_object_get(m->body, "result"));
		(void)snprintf(p->answer_why, sizeof(p->answer_why), "%s",
			       msg_text(m->body, "error"));
		p->asked = 0;
		cond_signal(&p->c);
	}
	mutex_unlock(&p->m);
}

void vmotion_opened(struct vm *vm, int result, const char *why)
{
	struct passage *p = vm->passage;
	if (!p)
		return;
	mutex_lock(&p->m);
	p->answer = result;
	(void)snprintf(p->answer_why, sizeof(p->answer_why), "%s", why ? why : "");
	p->asked = 0;
	cond_signal(&p->c);
	mutex_unlock(&p->m);
}

void vmotion_vmx_gone(struct vm *vm)
{
	struct passage *p = vm->passage;
	if (!p)
		return;
	p->is_asked_end |= vm->is_ending;
	mutex_lock(&p->m);
	p->is_vmx_gone = true;
	/* The source's job need not hear what the other side says any more. */
	if (p->is_asked_end && p->is_out && p->holds)
		(void)shutdown(tls_sock(p->tls), SHUT_RDWR);
	if (!p->answer_why[0])
		(void)snprintf(p->answer_why, sizeof(p->answer_why), "%.500s",
			       vm->why[0] ? vm->why : "the VM has ended");
	cond_signal(&p->c);
	mutex_unlock(&p->m);
}

/* ---- the connection ---- */

int passage_connect(struct passage *p, enum preface_kind kind, char *why)
{
	struct preface_msg pre = { .magic = "VMOTION" };
	struct addrinfo *to;
	pre.magic[7] = '1';
	pre.kind = le32_of(kind);
	memcpy(pre.datastore, p->ds->uuid.b, sizeof(pre.datastore));
	(void)snprintf(pre.token, sizeof(pre.token), "%s", p->token);
	(void)snprintf(pre.host, sizeof(pre.host), "%s", p->host->host_name);
	int rc = sock_address(p->peer.address, SOCK_STREAM, false, &to);
	int sock = rc == 0 ? socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : rc;
	if (rc == 0) {
		struct timeval limit = { .tv_sec = NET_TIMEOUT_MS / 1000 };
		(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (sock < 0 || connect(sock, to->ai_addr, to->ai_addrlen) < 0 ||
		    send(sock, &pre, sizeof(pre), MSG_NOSIGNAL) != sizeof(pre))
			rc = errno ? -errno : -ECONNRESET;
		freeaddrinfo(to);
	}
	if (rc < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "host %s does not listen on %s: %s",
			       p->peer_name, p->peer.address, strerror(-rc));
		if (sock >= 0)
			(void)close(sock);
		return rc;
	}
	return sock;
}

static void certificate_name(char *buf, size_t size, const char *uuid)
{
	(void)snprintf(buf, size, "vmkernel %s", uuid);
}

int passage_secure(struct passage *p, int sock, char *why)
{
	char own[96], peer[96];
	struct tls_identity id = { 0 };
	certificate_name(own, sizeof(own), p->host->uuid_text);
	certificate_name(peer, sizeof(peer), p->peer.uuid);
	int rc = tls_issue(vmotion_authority(p->host), own, &id);
	struct tls_options options = { .sock = sock,
				       .is_server = !p->is_out,
				       .own = &id,
				       .peer_authority = p->peer.authority,
				       .peer_name = peer,
				       .timeout_ms = NET_TIMEOUT_MS };
	if (rc < 0)
		(void)snprintf(why, PLAN_WHY_SIZE, "no certificate can be made");
	else
		rc = tls_open(&options, &p->tls, why, PLAN_WHY_SIZE);
	tls_identity_done(&id);
	if (rc < 0)
		(void)close(sock);
	return rc;
}

json_t *passage_stream_body(struct passage *p)
{
	char own[64], peer[64];
	struct tls_identity id = { 0 };
	(void)snprintf(own, sizeof(own), "vmx %s %s", p->token, p->is_out ? "out" : "in");
	(void)snprintf(peer, sizeof(peer), "vmx %s %s", p->token,
		       p->is_out ? "in" : "out");
	if (tls_issue(vmotion_authority(p->host), own, &id) < 0)
		return NULL;
	json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:I, s:b}", "key", id.key, "cert",
				 id.cert, "authority", p->peer.authority, "peer", peer,
				 "limit", (json_int_t)p->host->config.vmotion_limit,
				 "is_cold", p->is_cold);
	tls_identity_done(&id);
	return body;
}

int passage_say(void *arg, enum vmotion_word word, json_t *body)
{
	struct passage *p = arg;
	struct buf out = { 0 };
	int rc = p->tls ? msg_encode(&out, (enum msg_type)(WORD_TYPE + word), 0, body)
			: -ECONNRESET;
	json_decref(body);
	if (rc == 0)
		rc = tls_write(p->tls, out.data, (uint32_t)out.len);
	buf_done(&out);
	return rc;
}

static int read_some(struct passage *p, uint64_t deadline)
{
	char bytes[PIECE];
	struct pollfd poll_sock = { .fd = tls_sock(p->tls), .events = POLLIN };
	uint64_t now = clock_now();
	if (!tls_has_bytes(p->tls) && now < deadline &&
	    poll(&poll_sock, 1, (int)((deadline - now) / NS_PER_MS) + 1) == 0)
		return -ETIMEDOUT;
	if (now >= deadline)
		return -ETIMEDOUT;
	int64_t n = tls_read(p->tls, bytes, sizeof(bytes));
	if (n <= 0)
		return n ? (int)n : -ECONNRESET;
	buf_add(&p->in, bytes, (size_t)n);
	return p->in.error;
}

int passage_hear(void *arg, enum vmotion_word *ret_word, json_t **ret_body)
{
	return passage_hear_until(arg, clock_now() + HEAR_NS, ret_word, ret_body);
}

int passage_hear_until(struct passage *p, uint64_t deadline, enum vmotion_word *ret_word,
		       json_t **ret_body)
{
	struct msg m;
	int64_t used = 0;
	int rc = p->tls ? 0 : -ECONNRESET;
	while (rc == 0) {
		used = msg_decode((const uint8_t *)p->in.data, p->in.len, &m);
		if (used)
			break;
		rc = read_some(p, deadline);
	}
	if (rc < 0 || used < 0)
		return rc < 0 ? rc : (int)used;
	buf_consume(&p->in, (size_t)used);
	*ret_word = (enum vmotion_word)((int)m.type - WORD_TYPE);
	*ret_body = m.body;
	return 0;
}
