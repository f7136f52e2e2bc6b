/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source: what the plan (source.c) does to a VM of this host.
 *
 * From when it stands still the VM has a job (has_job), so that its end waits: its files
 * are this job's alone. Before that they are not touched, and it may end at any time.
 *
 * A vmx that dies by itself when all is sent takes nothing with it that the target has
 * not got: its QEMU runs no guest any more, and the VM goes on over there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vdisk/vdisk.h"
#include "vmkernel/vmotion/passage.h"

#define HAND_OVER_NS (5 * NS_PER_S) /* then it is taken back */
#define TAKE_WAIT_S 60

static json_t *op_offer(void *arg)
{
	struct passage *p = arg;
	struct vm *vm = p->vm;
	struct vmfs_incarnation own;
	char cpu[VMOTION_CPU_SIZE], uuid[UUID_TEXT_SIZE];
	struct vmfs_lock_info info;
	if (vmfs_volume_incarnation(p->ds->vol, &own) < 0 ||
	    vmfs_lock_info(p->ds->vol, vm->path, &info) < 0)
		return NULL;
	json_t *locks = json_array();
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		const char *path;
		for (unsigned int k = 0; (path = disk_locked_path(vm->disks[i], k)); k++)
			json_array_append_new(locks, json_string(path));
	}
	return json_pack("{s:b, s:s, s:i, s:s, s:s, s:b, s:s, s:s, s:I, s:i, s:I, s:s,"
			 " s:o}", "tells_still", 1, "path", vm->path, "taps",
			 (int)vm->taps, "name", vm->labels.name, "token", p->token,
			 "is_kvm", vm->is_kvm, "cpu", vmotion_cpu_text(cpu), "model",
			 vm->cpu, "lock_token", (json_int_t)info.token, "slot",
			 (int)own.slot, "generation", (json_int_t)own.generation, "owner",
			 uuid_text(&own.owner, uuid), "locks", locks);
}

static int read_incarnation(const json_t *ready, struct vmfs_incarnation *ret)
{
	json_int_t slot, generation;
	const char *owner;
	json_t *r = json_incref((json_t *)(uintptr_t)ready);
	int bad = json_unpack(r, "{s:I, s:I, s:s}", "slot", &slot, "generation",
			      &generation, "owner", &owner);
	json_decref(r);
	if (bad < 0 || slot < 0 || slot > UINT32_MAX ||
	    uuid_parse(owner, &ret->owner) < 0)
		return -EPROTO;
	ret->slot = (uint32_t)slot;
	ret->generation = (uint64_t)generation;
	return 0;
}

static int check_cancelled(struct passage *p, void *arg)
{
	(void)arg;
	return p->is_cancelled ? -ECANCELED : 0;
}

/* The disks are not closed meanwhile: the VM's end waits (passage_hold). */
static void prepare_disks(struct passage *p)
{
	struct vm *vm = p->vm;
	if (passage_hold(p, true) < 0)
		return;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		struct disk_options o;
		struct vm_disk_texts texts;
		if (!disk_path(vm->disks[i]))
			continue;
		vm_disk_options(vm, i, disk_path(vm->disks[i]), &texts, &o);
		disk_prepare_give(vm->disks[i], &o);
	}
	passage_release(p);
}

/* While QEMU sends the rest: then there is less to do in settle. */
static void settle_early(struct passage *p)
{
	if (passage_hold(p, true) < 0)
		return;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		(void)!disk_settle(p->vm->disks[i]); /* op_settle says so */
}

/* The sooner it is told, the less of what comes for the guest is lost. */
static int send_rest(struct passage *p, char *why)
{
	passage_await_still(p);
	p->stopped_at = clock_now();
	if (p->is_still) {
		/* If it does not get there, all else fails, too. */
		if (p->tells_still)
			(void)passage_say(p, VMOTION_STILL, NULL);
		settle_early(p);
	}
	int rc = passage_await(p, why);
	if (rc < 0)
		passage_release(p);
	return rc;
}

static int op_send(void *arg, const json_t *ready, struct vmfs_incarnation *ret_to,
		   char *why)
{
	struct passage *p = arg;
	prepare_disks(p);
	(void)passage_on_loop(p, passage_set_phase, "pre-copy");
	p->tells_still = json_is_true(json_object_get(ready, "hears_still"));
	int rc = read_incarnation(ready, ret_to);
	int sock = rc == 0 ? passage_connect(p, PREFACE_STREAM, why) : rc;
	json_t *body = sock >= 0 ? passage_stream_body(p) : NULL;
	if (sock < 0)
		return sock;
	rc = passage_request(p, MSG_VMX_SEND, body, sock, why);
	if (rc == 0)
		rc = send_rest(p, why);
	/* A cancel that came before vmx knew of it. */
	if (rc == 0 && passage_on_loop(p, check_cancelled, NULL) < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "cancelled");
		rc = -ECANCELED;
	}
	if (rc == 0)
		(void)passage_on_loop(p, passage_set_phase, "switching");
	return rc;
}

/* No cancel comes through from here on. */
static int begin_switch(struct passage *p, void *arg)
{
	(void)arg;
	p->is_switching = true;
	if (p->is_asked_end || p->vm->is_off_wanted ||
	    (p->vm->is_ending && !p->is_vmx_gone))
		return -ESRCH;
	if (p->is_vmx_gone)
		report(p->host->reporter, REPORT_WARN, "vMotion: VM %u: its vmx is gone, "
		       "and all of it is sent: it goes on there", p->vm->id);
	return 0;
}

static int op_settle(void *arg, char *why)
{
	struct passage *p = arg;
	uint64_t now = clock_now();
	int rc = passage_hold(p, true);
	if (rc == 0)
		rc = passage_on_loop(p, begin_switch, NULL);
	if (rc < 0)
		(void)snprintf(why, PLAN_WHY_SIZE, "%s",
			       rc == -ECANCELED ? "cancelled" : "the VM has ended");
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_DISKS_MAX; i++) {
		rc = disk_flush(p->vm->disks[i]);
		if (rc < 0)
			(void)snprintf(why, PLAN_WHY_SIZE,
				       "disk %u cannot be flushed: %s", i, strerror(-rc));
	}
	p->settle_ns = clock_now() - now;
	return rc;
}

static int op_hand_over(void *arg, const struct vmfs_incarnation *to, char *why)
{
	struct passage *p = arg;
	uint64_t now = clock_now();
	int rc = vmfs_file_hand_over(p->vm->config, to, now + HAND_OVER_NS);
	if (rc < 0)
		(void)snprintf(why, PLAN_WHY_SIZE,
			       "the lock could not be handed over: %s",
			       rc == -ESRCH ? "the other host is not on the datastore"
					    : strerror(-rc));
	p->lock_ns = clock_now() - now;
	return rc;
}

static void op_give_disks(void *arg, const struct vmfs_incarnation *to)
{
	struct passage *p = arg;
	struct vm *vm = p->vm;
	uint64_t now = clock_now();
	/* It may come back; if we cannot take it then, it becomes free. */
	(void)!vmfs_file_expect(p->ds->vol, vm->path);
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		struct disk_options o;
		struct vm_disk_texts texts;
		if (!disk_path(vm->disks[i]))
			continue;
		vm_disk_options(vm, i, disk_path(vm->disks[i]), &texts, &o);
		int rc = disk_give(vm->disks[i], &o, to, now + HAND_OVER_NS);
		if (rc < 0)
			report(vm->host->reporter, REPORT_WARN,
			       "vMotion: VM %u: disk %u was not handed over, but "
			       "released: %s",
			       vm->id, i, strerror(-rc));
	}
	uint64_t disks_ns = clock_now() - now;
	report(vm->host->reporter, REPORT_INFO,
	       "vMotion: VM %u: it stands still for %llu us; its disks were settled in "
	       "%llu, the lock of its .vmx file handed over in %llu, its disks' in %llu",
	       vm->id, (unsigned long long)((now + disks_ns - p->stopped_at) / NS_PER_US),
	       (unsigned long long)(p->settle_ns / NS_PER_US),
	       (unsigned long long)(p->lock_ns / NS_PER_US),
	       (unsigned long long)(disks_ns / NS_PER_US));
	p->lock_ns += disks_ns;
}

static int op_keep_lock(void *arg)
{
	struct passage *p = arg;
	char why[VM_WHY_SIZE];
	/* One that has ended gives its lock back: that is seen as well. */
	if (passage_hold(p, false) < 0)
		return 0;
	int rc = vmfs_file_keep(p->vm->config);
	/* A later vmkernel goes by the tokens. */
	if (rc == 0 && vm_note_locks(p->vm, why, sizeof(why)) < 0)
		report(p->host->reporter, REPORT_WARN, "vMotion: VM %u: %s", p->vm->id,
		       why);
	passage_release(p);
	return rc;
}

static int op_go_on(void *arg, char *why)
{
	struct passage *p = arg;
	int rc = passage_ask(p, MSG_VMX_KEEP, NULL, -1, why);
	p->resumed_at = clock_now();
	return rc;
}

static int op_take_back(void *arg, char *why)
{
	struct passage *p = arg;
	struct vm *vm = p->vm;
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .deadline = clock_now() + 10 * NS_PER_S };
	(void)vmfs_file_close(vm->config); /* nothing is written by it */
	vm->config = NULL;
	int rc = vmfs_file_open(p->ds->vol, vm->path, &options, &vm->config, NULL);
	if (rc < 0)
		(void)snprintf(why, PLAN_WHY_SIZE, "its lock did not come back: %s",
			       strerror(-rc));
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_DISKS_MAX; i++) {
		struct disk_options o;
		struct vm_disk_texts texts;
		if (!disk_path(vm->disks[i]))
			continue;
		vm_disk_options(vm, i, disk_path(vm->disks[i]), &texts, &o);
		o.wait_s = TAKE_WAIT_S;
		rc = disk_take(vm->disks[i], &o, why, PLAN_WHY_SIZE);
	}
	if (rc == 0)
		rc = vm_note_locks(vm, why, PLAN_WHY_SIZE);
	if (rc == 0)
		passage_release(p);
	return rc;
}

static const struct vmotion_source_ops ops = {
	.talk = { passage_say, passage_hear },
	.offer = op_offer,
	.send = op_send,
	.settle = op_settle,
	.hand_over = op_hand_over,
	.give_disks = op_give_disks,
	.keep_lock = op_keep_lock,
	.take_back = op_take_back,
	.go_on = op_go_on,
};

/* The VM is another's, or nobody is known to run it: what is left of it here ends. */
static int end_vm(struct passage *p, void *arg)
{
	struct vm *vm = p->vm;
	char why[VM_WHY_SIZE];
	(void)arg;
	if (p->end == VMOTION_MOVED)
		(void)snprintf(why, sizeof(why), "it was moved to host %s",
			       p->peer_name);
	else
		(void)snprintf(why, sizeof(why), "vMotion failed, and it is not known "
			       "to run: %.300s", p->why);
	p->holds = vm->has_job = false;
	vm->is_leaving = p->end == VMOTION_MOVED;
	vm_stop(vm, why);
	vm_settle(vm);
	return 0;
}

void passage_go(struct passage *p)
{
	int rc = notice_read(p->ds->vol, p->peer_name, &p->peer);
	p->end = VMOTION_KEPT;
	if (rc < 0)
		(void)snprintf(p->why, sizeof(p->why),
			       rc == -ENOENT ? "no host %s takes VMs on this datastore" :
					       "what host %s says cannot be read",
			       p->peer_name);
	else if (strcmp(p->peer.uuid, p->host->uuid_text) == 0) {
		(void)snprintf(p->why, sizeof(p->why), "it is on host %s already",
			       p->peer_name);
		rc = -EINVAL;
	}
	int sock = rc == 0 ? passage_connect(p, PREFACE_CONTROL, p->why) : rc;
	if (sock >= 0 && passage_secure(p, sock, p->why) == 0) {
		p->end = vmotion_source(&ops, p, p->why);
		(void)!vmfs_file_unexpect(p->ds->vol, p->vm->path);
	}
	if (p->end != VMOTION_KEPT)
		(void)passage_on_loop(p, end_vm, NULL);
}
