/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target: what the plan (source.c) makes of a VM on this host. Its QEMU starts with
 * disks that stand by (disk/disk.h); its files are read without their locks until these
 * have come. It is registered durably before that: a vmkernel that dies on the way finds
 * what runs when it is back (vm.c, adoption), or a VM that is off; or all of it in a vmx
 * that waits, and then goes by the record of its lock as we would have (lapse.c).
 *
 * From when all is here the VM has a job, so that its end waits until it is known whose
 * it is: if it cannot run here, and was never told to, it goes back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vdisk/vdisk.h"
#include "vmkernel/inventory.h"
#include "vmkernel/network.h"
#include "vmkernel/vmotion/passage.h"

#define LOOK_PAUSE (50 * NS_PER_MS)
#define STILL_LOOK (500 * NS_PER_MS)
#define STREAM_NS (30 * NS_PER_S) /* to connect, from the word that we are ready */
#define HAND_OVER_NS (5 * NS_PER_S)
/* For a disk that was released, or is a source's that died: as long as that may take. */
#define TAKE_WAIT_S 90

static int read_offer(struct passage *p, const json_t *body, struct offer *ret)
{
	int rc = offer_read(body, sizeof(p->path), ret);
	if (rc < 0)
		return rc;
	strcpy(p->path, ret->path);
	strcpy(p->token, ret->token);
	(void)snprintf(p->vm_name, sizeof(p->vm_name), "%s", ret->name);
	p->source = ret->source;
	p->lock_token = ret->lock_token;
	p->tells_still = ret->tells_still;
	return 0;
}

/* ---- prepare ---- */

struct arrival {
	struct vm_labels labels;
	char *text;
	const char *why;
};

/* On the loop: the VM is ours, registered and busy; or why not. */
static int take_in(struct passage *p, void *arg)
{
	struct arrival *a = arg;
	struct host *h = p->host;
	struct vm *vm = inventory_find_path(h, &p->ds->uuid, p->path);
	if (vm && (vm->state != VM_OFF || vm->is_busy)) {
		a->why = "it is on here, or worked on";
		return -EBUSY;
	}
	if (!vm) {
		vm = inventory_add(h, &p->ds->uuid, p->path, &a->labels);
		a->labels = (struct vm_labels){ 0 };
		p->is_new = true;
	}
	if (!vm)
		return -ENOMEM;
	a->why = vm_why_not(vm, p->ds);
	int rc = a->why ? -EBUSY : p->is_new ? inventory_save(h) : 0;
	if (rc < 0) {
		if (p->is_new)
			inventory_remove(vm);
		return rc;
	}
	p->vm = vm;
	vm->passage = p;
	vm->is_leaving = false;
	vm->is_busy = vm->has_job = p->holds = true;
	vm->ds = p->ds;
	vm->text = a->text;
	a->text = NULL;
	(void)snprintf(vm->token, sizeof(vm->token), "%016llx",
		       (unsigned long long)random_u64());
	p->phase = "starting";
	return 0;
}

static int open_vm(struct passage *p, void *arg)
{
	(void)arg;
	mutex_lock(&p->m);
	p->asked = UINT32_MAX; /* vmotion_opened() answers */
	mutex_unlock(&p->m);
	p->holds = p->vm->has_job = false;
	vm_open(p->vm);
	return 0;
}

static int read_vm(struct passage *p, struct arrival *a, char *why)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	char text[VM_WHY_SIZE];
	int rc = vm_read_labels(p->ds->vol, p->path, p->path, p->host->reporter,
				&a->labels, text, sizeof(text));
	if (rc < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "%.500s", text);
		return rc;
	}
	rc = vmfs_file_open(p->ds->vol, p->path, &options, &file, NULL);
	if (rc < 0)
		return rc;
	a->text = vm_read_all(file, &rc);
	(void)vmfs_file_close(file); /* it was only read */
	return rc;
}

static int expect_locks(struct passage *p, const struct offer *o)
{
	int rc = vmfs_file_expect(p->ds->vol, p->path);
	for (size_t i = 0; rc == 0 && i < json_array_size(o->locks); i++) {
		const char *path = json_string_value(json_array_get(o->locks, i));
		/* One that cannot come so comes free. */
		if (path)
			(void)!vmfs_file_expect(p->ds->vol, path);
	}
	return rc;
}

static int check_accelerator(struct passage *p, const struct offer *o, char *why)
{
	char ours[VMOTION_CPU_SIZE];
	if (p->vm->is_kvm != o->is_kvm) {
		(void)snprintf(why, PLAN_WHY_SIZE, "it runs under %s there, and would"
			       " under %s here", o->is_kvm ? "KVM" : "TCG",
			       o->is_kvm ? "TCG" : "KVM");
		return -EOPNOTSUPP;
	}
	if (o->model && strcmp(o->model, p->vm->cpu) != 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "its processor is %.160s there, and"
			       " would be %.160s here: cpu_baseline is not the same",
			       o->model, p->vm->cpu);
		return -EOPNOTSUPP;
	}
	if (strncmp(p->vm->cpu, "host", 4) != 0)
		return 0; /* QEMU has seen that it can be shown here */
	return o->is_kvm ? vmotion_cpu_check(o->cpu, vmotion_cpu_text(ours), why) : 0;
}

/* One that hears the network there is to hear it here. */
static int check_cards(struct passage *p, const struct offer *o, char *why)
{
	for (uint32_t i = 0; i < HARDWARE_NICS_MAX; i++) {
		if (!(o->taps >> i & 1) || p->vm->taps >> i & 1)
			continue;
		(void)snprintf(why, PLAN_WHY_SIZE, "its card ethernet%u cannot be plugged"
			       " in here", i);
		return -ENETUNREACH;
	}
	return 0;
}

static json_t *ready_body(struct passage *p)
{
	struct vmfs_incarnation own;
	char uuid[UUID_TEXT_SIZE];
	if (vmfs_volume_incarnation(p->ds->vol, &own) < 0)
		return NULL;
	return json_pack("{s:b, s:i, s:I, s:s}", "hears_still", 1, "slot", (int)own.slot,
			 "generation", (json_int_t)own.generation, "owner",
			 uuid_text(&own.owner, uuid));
}

static int prepare(struct passage *p, const struct offer *o, char *why)
{
	struct arrival a = { 0 };
	int rc = vmotion_check_storage(p->ds, why);
	if (rc == 0)
		rc = read_vm(p, &a, why);
	if (rc == 0)
		rc = passage_on_loop(p, take_in, &a);
	if (rc < 0 && a.why)
		(void)snprintf(why, PLAN_WHY_SIZE, "%s", a.why);
	vm_labels_done(&a.labels);
	free(a.text);
	if (rc < 0)
		return rc;
	rc = expect_locks(p, o);
	if (rc < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "its lock cannot be expected: %s",
			       strerror(-rc));
		return rc;
	}
	vm_kill_leftover(p->vm);
	network_plug(p->vm);
	rc = check_cards(p, o, why);
	if (rc == 0)
		rc = passage_on_loop(p, open_vm, NULL);
	if (rc == 0)
		rc = passage_await(p, why);
	return rc == 0 ? check_accelerator(p, o, why) : rc;
}

static int op_prepare(void *arg, const json_t *offer, json_t **ret_ready, char *why)
{
	struct passage *p = arg;
	struct offer o;
	int rc = read_offer(p, offer, &o);
	if (rc == 0)
		rc = prepare(p, &o, why);
	if (rc == 0)
		*ret_ready = ready_body(p);
	if (rc < 0 && !why[0])
		(void)snprintf(why, PLAN_WHY_SIZE, "%s", strerror(-rc));
	if (rc < 0) {
		char text[PLAN_WHY_SIZE];
		(void)snprintf(text, sizeof(text), "%s", why);
		(void)snprintf(why, PLAN_WHY_SIZE, "host %s: %.400s", p->host->host_name,
			       text);
	}
	return rc;
}

/* ---- receive ---- */

/* Its cards' frames are to come here, and wait in the taps. */
static int announce(struct passage *p, void *arg)
{
	struct channel *c = &p->vm->channel;
	(void)arg;
	return c->sock >= 0 ? msg_send(c, MSG_VMX_ANNOUNCE, 0, NULL) : -ECONNRESET;
}

/* While the last of it comes: then there is less to do when its locks are here. */
static void prepare_note(struct passage *p)
{
	if (passage_hold(p, false) < 0)
		return;
	(void)!vm_note_coming_locks(p->vm); /* else it is done in take */
	passage_release(p);
}

/* The guest stands still over there: 0, or it will not come; how long that takes: any. */
static int await_still(struct passage *p, char *why)
{
	enum vmotion_word word;
	json_t *body = NULL;
	int rc;
	while ((rc = passage_hear_until(p, clock_now() + STILL_LOOK, &word, &body)) ==
	       -ETIMEDOUT)
		if (passage_has_failed(p))
			return 0; /* it is about to say why */
	if (rc == 0 && word == VMOTION_STILL) {
		(void)passage_on_loop(p, announce, NULL); /* QEMU does so, later */
		prepare_note(p);
	} else if (rc == 0) {
		const char *said = json_string_value(json_object_get(body, "why"));
		(void)snprintf(why, PLAN_WHY_SIZE, "%s", said ? said : "no");
		rc = word == VMOTION_NO ? -ECONNREFUSED : -EPROTO;
	} else {
		(void)snprintf(why, PLAN_WHY_SIZE, "the other host is gone: %s",
			       strerror(-rc));
	}
	json_decref(body);
	return rc;
}

static int op_receive(void *arg, char *why)
{
	struct passage *p = arg;
	uint64_t deadline = clock_now() + STREAM_NS;
	mutex_lock(&p->m);
	while (p->data_sock < 0 && !p->is_vmx_gone && clock_now() < deadline)
		(void)!cond_wait_until(&p->c, &p->m, deadline);
	int sock = p->data_sock;
	p->data_sock = -1;
	mutex_unlock(&p->m);
	if (sock < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "the stream does not come");
		return -ETIMEDOUT;
	}
	(void)passage_on_loop(p, passage_set_phase, "receiving");
	int rc = passage_request(p, MSG_VMX_RECEIVE, passage_stream_body(p), sock, why);
	if (rc == 0 && p->tells_still)
		rc = await_still(p, why);
	p->stopped_at = clock_now();
	if (rc == 0)
		rc = passage_await(p, why);
	if (rc < 0)
		return rc;
	rc = passage_hold(p, false);
	if (rc < 0)
		(void)snprintf(why, PLAN_WHY_SIZE, "the VM has ended");
	return rc;
}

/* ---- the lock ---- */

static int op_look(void *arg)
{
	struct passage *p = arg;
	int rc = vmotion_look(p->ds->vol, p->path, p->lock_token);
	p->has_lock = rc == 1;
	return rc;
}

static void op_pause(void *arg)
{
	(void)arg;
	task_sleep_until(clock_now() + LOOK_PAUSE);
}

/* ---- take ---- */

static int check_ending(struct passage *p, void *why)
{
	if (p->vm->is_ending)
		(void)snprintf(why, PLAN_WHY_SIZE, "%.400s",
			       p->vm->why[0] ? p->vm->why : "its vmx process died");
	return p->vm->is_ending ? -ESRCH : 0;
}

static int open_config(struct passage *p)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	return vmfs_file_open(p->ds->vol, p->vm->path, &options, &p->vm->config, NULL);
}

static int take_config(struct passage *p, char *why)
{
	struct vm *vm = p->vm;
	int rc = open_config(p);
	if (rc < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "its .vmx file: %s", strerror(-rc));
		return rc;
	}
	char *text = vm_read_all(vm->config, &rc);
	if (rc == 0 && strcmp(text, vm->text) != 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "its .vmx file has changed meanwhile");
		rc = -ESTALE;
	}
	free(text);
	return rc;
}

static int take_disk(struct passage *p, uint32_t i, uint32_t wait_s, char *why)
{
	struct vm *vm = p->vm;
	struct disk_options o;
	struct vm_disk_texts texts;
	if (!disk_path(vm->disks[i]))
		return 0;
	vm_disk_options(vm, i, disk_path(vm->disks[i]), &texts, &o);
	o.wait_s = wait_s;
	return disk_take(vm->disks[i], &o, why, PLAN_WHY_SIZE);
}

static int op_take(void *arg, char *why)
{
	struct passage *p = arg;
	struct vm *vm = p->vm;
	uint64_t began = clock_now();
	int rc = passage_on_loop(p, check_ending, why);
	if (rc == 0)
		rc = take_config(p, why);
	uint64_t config_ns = clock_now() - began;
	while (rc == 0 && p->taken < HARDWARE_DISKS_MAX) {
		rc = take_disk(p, p->taken, TAKE_WAIT_S, why);
		p->taken += rc == 0;
	}
	uint64_t disks_ns = clock_now() - began - config_ns;
	if (rc == 0)
		rc = vm_note_locks(vm, why, PLAN_WHY_SIZE);
	p->lock_ns = clock_now() - began;
	report(p->host->reporter, REPORT_INFO,
	       "vMotion: VM %u: its .vmx file was taken in %llu us, its disks in %llu, "
	       "what is locked was noted in %llu",
	       vm->id, (unsigned long long)(config_ns / NS_PER_US),
	       (unsigned long long)(disks_ns / NS_PER_US),
	       (unsigned long long)((p->lock_ns - config_ns - disks_ns) / NS_PER_US));
	return rc;
}

static int op_run(void *arg, char *why)
{
	struct passage *p = arg;
	int rc = passage_on_loop(p, check_ending, why);
	if (rc == 0)
		rc = passage_request(p, MSG_VMX_RUN, NULL, -1, why);
	if (rc < 0)
		return rc; /* it was not told to */
	rc = passage_await(p, why);
	p->resumed_at = clock_now();
	if (rc == -ECONNRESET) {
		(void)snprintf(why, PLAN_WHY_SIZE, "its vmx died as it was told to run "
			       "it: it may have run here, and has ended");
		return -ENOTRECOVERABLE;
	}
	if (rc == 0)
		passage_release(p);
	return rc;
}

/* What never came is not waited for any more; if it comes, it is given back. */
static void unexpect_disks(struct passage *p)
{
	for (uint32_t i = 0; p->vm && i < HARDWARE_DISKS_MAX; i++) {
		const char *path;
		struct vdisk *d = disk_vdisk(p->vm->disks[i]);
		for (unsigned int k = 0; d && k < vdisk_extent_count(d); k++) {
			path = vdisk_extent_path(d, k);
			(void)!vmfs_file_unexpect(p->ds->vol, path);
		}
	}
}

/* Its QEMU has not run a single instruction, nor will it: the files go as they came. */
static int op_give_back(void *arg)
{
	struct passage *p = arg;
	struct vm *vm = p->vm;
	char why[PLAN_WHY_SIZE];
	uint64_t deadline = clock_now() + HAND_OVER_NS;
	if (passage_hold(p, false) < 0 || (!vm->config && open_config(p) < 0))
		return -ESTALE; /* its end gives the lock back */
	/* A disk that has come is given back as one that is ours: at once. */
	for (uint32_t i = p->taken; i < HARDWARE_DISKS_MAX; i++)
		(void)!take_disk(p, i, 0, why);
	unexpect_disks(p);
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		int rc = disk_close(vm->disks[i]);
		vm->disks[i] = NULL;
		if (rc < 0)
			report(p->host->reporter, REPORT_WARN,
			       "vMotion: VM %u: disk %u: %s", vm->id, i, strerror(-rc));
	}
	int rc = vmfs_file_hand_over(vm->config, &p->source, deadline);
	p->has_lock = rc < 0;
	if (rc < 0)
		report(p->host->reporter, REPORT_WARN, "vMotion: VM %u: it cannot run "
		       "here, nor go back to host %s: it ends: %s", vm->id, p->peer_name,
		       strerror(-rc));
	return rc;
}

static const struct vmotion_target_ops ops = {
	.talk = { passage_say, passage_hear },
	.prepare = op_prepare,
	.receive = op_receive,
	.look = op_look,
	.pause = op_pause,
	.take = op_take,
	.run = op_run,
	.give_back = op_give_back,
};

/* ---- the end ---- */

static int settle(struct passage *p, void *arg)
{
	struct vm *vm = p->vm;
	char why[VM_WHY_SIZE];
	(void)arg;
	if (!vm)
		return 0;
	bool was_held = p->holds;
	if (was_held)
		p->holds = vm->has_job = false;
	if (p->end == VMOTION_MOVED && vm->state == VM_STARTING && !vm->is_ending) {
		vm_came(vm);
		return 0;
	}
	(void)snprintf(why, sizeof(why), "it was to come from host %s: %.400s",
		       p->peer_name, p->why);
	/* The source forgets a VM whose lock it has handed over. */
	vm->is_leaving = p->is_new && !p->has_lock;
	if (vm->state == VM_OFF) { /* no vmx was started yet */
		free(vm->text);
		vm->text = NULL;
		vm->ds = NULL;
		network_release(vm);
		vmotion_vm_off(vm);
		return 0;
	}
	vm_stop(vm, why);
	vm_settle(vm);
	return 0;
}

void passage_come(struct passage *p)
{
	p->end = vmotion_target(&ops, p, p->why);
	if (p->end != VMOTION_MOVED && p->vm && passage_hold(p, false) == 0) {
		if (p->path[0])
			(void)!vmfs_file_unexpect(p->ds->vol, p->path);
		unexpect_disks(p);
	}
	(void)passage_on_loop(p, settle, NULL);
}
