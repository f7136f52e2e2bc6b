/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	OFF --resources_admit, resources_adopt--> part --resources_leave--> OFF
 *
 * 1. What is reserved by all VMs with a part is never more than the host has, but for
 *    those that ran already when they were found (adopted).
 * 2. Weights are divided anew whenever a VM gets or loses its part.
 * 3. A VM that comes from another host, or was found running, has the balloon that it
 *    had: the first look says what it is to be.
 * 4. Where the kernel has no control groups all VMs run as equals: shares and limits of
 *    processors do nothing then, and the log says so once for each VM that asks for them.
 *    Admission and balloons do what they do.
 */
#include "vmkernel/resource/resource.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "vmkernel/resource/cgroup.h"
#include "vmkernel/resource/plan.h"
#include "vmkernel/resource/usage.h"
#include "vmkernel/vmx/vmxfile.h"

#define LOOK_S 5
#define VMS_MAX 1024u
#define WEIGHT_ALL 10000u
#define KEPT_PART 16u /* of the machine's memory, for the host itself: one in so many */

struct resources {
	struct cgroups groups;
	struct resource_host machine;
	uint32_t mhz_of_one;
	int timer;
	struct loop_watch *watch;
};

/* ---- the parts ---- */

/* The VMs that have a part, and what they wish; how many. */
static uint32_t gather(struct host *h, const struct vm *but, struct vm **ret_vms,
		       struct resource_wish *ret_wishes)
{
	uint32_t count = 0;
	struct vm *vm;
	TAILQ_FOREACH(vm, &h->vms, link) {
		if (!vm->has_part || vm == but || count == VMS_MAX)
			continue;
		if (ret_vms)
			ret_vms[count] = vm;
		ret_wishes[count++] = vm->wish;
	}
	return count;
}

/* A part of the whole, in WEIGHT_ALL parts. */
static uint32_t weight_of(const struct resources *res, uint32_t mhz)
{
	return (uint32_t)((uint64_t)mhz * WEIGHT_ALL / res->machine.cpu_mhz);
}

static void set_group(struct vm *vm, uint32_t mhz)
{
	const struct resources *res = vm->host->resources;
	const struct resource_wish *w = &vm->wish;
	uint32_t overhead = resource_overhead_mb(w);
	const struct cgroup_limits limits = {
		.cpu_weight = mhz ? weight_of(res, mhz) : w->cpu_shares,
		.cpu_max_mhz = w->cpu_max_mhz,
		.mhz_of_one = res->mhz_of_one,
		.memory_min_mb = w->memory_min_mb ? w->memory_min_mb + overhead : 0,
		.memory_max_mb = w->memory_max_mb < w->memory_mb ?
					 w->memory_max_mb + overhead : WISH_NO_LIMIT,
	};
	int rc = vm->has_group ? cgroup_set(&res->groups, vm->id, &limits) : 0;
	if (rc < 0 && rc != -ENOENT)
		report(vm->host->reporter, REPORT_WARN,
		       "VM %u: its part of the host cannot be set: %s", vm->id,
		       strerror(-rc));
	vm->entitled_mhz = mhz;
}

static void divide(struct host *h)
{
	struct vm **vms = calloc(VMS_MAX, sizeof(struct vm *));
	struct resource_wish *wishes = calloc(VMS_MAX, sizeof(*wishes));
	uint32_t *mhz = calloc(VMS_MAX, sizeof(*mhz));
	if (vms && wishes && mhz) {
		uint32_t count = gather(h, NULL, vms, wishes);
		resource_divide(h->resources->machine.cpu_mhz, wishes, count, mhz);
		for (uint32_t i = 0; i < count; i++)
			set_group(vms[i], mhz[i]);
	}
	free(vms);
	free(wishes);
	free(mhz);
}

static int read_wish(struct vm *vm, char *ret_why, uint32_t size)
{
	char bad[WISH_BAD_SIZE] = "";
	struct vmxfile *f;
	if (!vm->text || vmxfile_parse(vm->text, strlen(vm->text), "", NULL, &f) < 0)
		return 0; /* vmx says what is wrong with it */
	int rc = resource_wish_read(f, &vm->wish, bad);
	vmxfile_free(f);
	if (rc < 0)
		(void)snprintf(ret_why, size, "its .vmx file cannot be understood: %s",
			       bad);
	return rc;
}

int resources_look(const struct vm *vm, const struct resource_wish *wish, char *ret_why,
		   uint32_t size)
{
	struct host *h = vm->host;
	struct resource_wish *wishes = calloc(VMS_MAX, sizeof(*wishes));
	int rc = wishes ? resource_admit(&h->resources->machine, wishes,
					 gather(h, vm, NULL, wishes), wish, ret_why, size)
			: -ENOMEM;
	free(wishes);
	return rc;
}

int resources_admit(struct vm *vm, char *ret_why, uint32_t size)
{
	int rc = read_wish(vm, ret_why, size);
	if (rc == 0)
		rc = resources_look(vm, &vm->wish, ret_why, size);
	vm->has_part = rc == 0;
	return rc;
}

void resources_changed(struct vm *vm)
{
	char why[160];
	if (vm->has_part && read_wish(vm, why, sizeof(why)) == 0)
		divide(vm->host);
}

void resources_adopt(struct vm *vm)
{
	char why[160];
	if (read_wish(vm, why, sizeof(why)) < 0)
		return; /* it has run with it, and is not ended for it */
	vm->has_part = true;
	vm->has_group = vm->host->resources->groups.version != 0;
	divide(vm->host);
}

static bool asks_for_cpu(const struct resource_wish *w)
{
	return w->cpu_min_mhz || w->cpu_max_mhz != WISH_NO_LIMIT;
}

void resources_enter(struct vm *vm, pid_t vmx)
{
	const struct resources *res = vm->host->resources;
	int rc = res->groups.version ? cgroup_enter(&res->groups, vm->id, vmx) : -ENOSYS;
	vm->has_group = rc == 0;
	if (rc < 0 && (rc != -ENOSYS || asks_for_cpu(&vm->wish)))
		report(vm->host->reporter, REPORT_WARN,
		       "VM %u: it has no control group, so neither reservation nor limit "
		       "of processors: %s", vm->id, strerror(-rc));
	divide(vm->host);
}

void resources_leave(struct vm *vm)
{
	struct host *h = vm->host;
	if (!vm->has_part)
		return;
	if (vm->has_group)
		cgroup_remove(&h->resources->groups, vm->id);
	vm->has_part = vm->has_group = vm->is_balloon_told = false;
	vm->balloon_mb = vm->entitled_mhz = 0;
	vm->memory_now = 0;
	divide(h);
}

/* ---- balloons ---- */

void resources_ballooned(struct vm *vm, int64_t bytes)
{
	vm->memory_now = bytes;
}

static void tell_balloon(struct vm *vm, uint32_t mb)
{
	if (vm->state != VM_ON || vm->is_busy || vm->is_ending ||
	    (vm->is_balloon_told && mb == vm->balloon_mb))
		return;
	json_t *body = json_pack("{s:i}", "mb", (int)mb);
	/* What does not get through is found by whoever reads the channel. */
	if (msg_send(&vm->channel, MSG_VMX_BALLOON, 0, body) < 0)
		return;
	vm->balloon_mb = mb;
	vm->is_balloon_told = true;
}

static void look(struct host *h, uint32_t free_mb)
{
	struct vm **vms = calloc(VMS_MAX, sizeof(struct vm *));
	struct resource_wish *wishes = calloc(VMS_MAX, sizeof(*wishes));
	struct resource_memory *memory = calloc(VMS_MAX, sizeof(*memory));
	uint32_t *mb = calloc(VMS_MAX, sizeof(*mb));
	if (vms && wishes && memory && mb) {
		uint32_t count = gather(h, NULL, vms, wishes);
		for (uint32_t i = 0; i < count; i++)
			memory[i] = (struct resource_memory){ wishes[i],
							      vms[i]->balloon_mb };
		resource_balloon(&h->resources->machine, free_mb, memory, count, mb);
		for (uint32_t i = 0; i < count; i++)
			tell_balloon(vms[i], mb[i]);
	}
	free(vms);
	free(wishes);
	free(memory);
	free(mb);
}

static void on_timer(void *arg, uint32_t events)
{
	struct host *h = arg;
	struct usage_machine now;
	uint64_t count;
	(void)events;
	(void)!read(h->resources->timer, &count, sizeof(count)); /* once is enough */
	if (TAILQ_EMPTY(&h->vms))
		return;
	usage_machine(&now);
	look(h, now.free_mb);
}

/* ---- statistics ---- */

static const char *limit_text(char buf[16], uint32_t limit)
{
	if (limit == WISH_NO_LIMIT)
		return "unlimited";
	(void)snprintf(buf, 16, "%u", limit);
	return buf;
}

static json_t *row_of(const struct vm *vm)
{
	struct usage u = { 0 };
	char cpu[16], memory[16];
	const struct resource_wish *w = &vm->wish;
	int64_t now = vm->memory_now ? vm->memory_now >> 20 : (int64_t)w->memory_mb;
	if (vm->qemu_pid)
		(void)!usage_read(vm->qemu_pid, &u); /* it may just have ended */
	return json_pack(
		"{s:i, s:s, s:i, s:I, s:I, s:I, s:i, s:i, s:s, s:i, s:i, s:i, s:s, s:I, "
		"s:i, s:I}",
		"id", (int)vm->id, "name", vm->labels.name, "cpus", (int)w->cpus,
		"used_ms", (json_int_t)(u.used_ns / NS_PER_MS), "run_ms",
		(json_int_t)(u.guest_ns / NS_PER_MS), "ready_ms",
		(json_int_t)(u.ready_ns / NS_PER_MS), "cpu_shares", (int)w->cpu_shares,
		"cpu_min", (int)w->cpu_min_mhz, "cpu_max",
		limit_text(cpu, w->cpu_max_mhz), "entitled", (int)vm->entitled_mhz,
		"memory", (int)w->memory_mb, "memory_min", (int)w->memory_min_mb,
		"memory_max",
		limit_text(memory, w->memory_max_mb), "resident",
		(json_int_t)u.resident_mb, "balloon_target", (int)vm->balloon_mb,
		"balloon", (json_int_t)w->memory_mb - now);
}

json_t *resources_list(struct host *h)
{
	struct vm *vm;
	json_t *rows = json_array();
	TAILQ_FOREACH(vm, &h->vms, link)
		if (vm->has_part && vm->state == VM_ON)
			json_array_append_new(rows, row_of(vm));
	return rows;
}

/* Mean microseconds. */
static json_int_t mean_us(uint64_t ns, uint64_t count)
{
	return count ? (json_int_t)(ns / count / NS_PER_US) : 0;
}

/*
 * In the kernel: until it is at the device, of which it may have waited for its turn.
 * What the guest waits is that and the device's.
 */
static json_t *disk_row(const struct vm *vm, const char *name,
			const struct sched_usage *u)
{
	uint64_t kernel = min_u64(u->queue_ns + u->submit_ns, u->total_ns);
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "vm",
			 vm->labels.name, "disk", name, "reads", (json_int_t)u->reads,
			 "writes", (json_int_t)u->writes, "read_mb",
			 (json_int_t)(u->read_bytes >> 20), "written_mb",
			 (json_int_t)(u->written_bytes >> 20), "device_us",
			 mean_us(u->total_ns - kernel, u->measured), "kernel_us",
			 mean_us(kernel, u->measured), "queue_us",
			 mean_us(u->queue_ns, u->measured), "guest_us",
			 mean_us(u->total_ns, u->measured));
}

json_t *resources_disks(struct host *h)
{
	struct vm *vm;
	struct sched_usage u;
	char name[32];
	json_t *rows = json_array();
	TAILQ_FOREACH(vm, &h->vms, link) {
		bool may = vm->state == VM_ON && !vm->has_job && !vm->is_busy;
		for (uint32_t i = 0; may && i < HARDWARE_DISKS_MAX; i++) {
			const char *path = disk_locked_path(vm->disks[i], 0);
			(void)snprintf(name, sizeof(name), "disk%u", i);
			if (disk_usage(vm->disks[i], &u))
				json_array_append_new(
					rows, disk_row(vm, path ? path : name, &u));
		}
	}
	return rows;
}

/* ---- the whole ---- */

/* What was configured for HA is what VMs may have; else the machine, but for a part. */
static void measure(struct host *h, struct resources *res)
{
	struct usage_machine m;
	usage_machine(&m);
	res->mhz_of_one = m.mhz_of_one;
	res->machine.cpu_mhz = h->config.ha.cpu_mhz ? h->config.ha.cpu_mhz :
						      m.cpus * m.mhz_of_one;
	res->machine.memory_mb = h->config.ha.memory_mb ?
					 h->config.ha.memory_mb :
					 m.memory_mb - m.memory_mb / KEPT_PART;
}

static int start_timer(struct host *h, struct resources *res)
{
	const struct itimerspec every = { { LOOK_S, 0 }, { LOOK_S, 0 } };
	res->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (res->timer < 0 || timerfd_settime(res->timer, 0, &every, NULL) < 0)
		return -errno;
	res->watch = loop_watch_new(h->loop, res->timer, EPOLLIN, on_timer, h);
	return res->watch ? 0 : -ENOMEM;
}

int resources_open(struct host *h, struct reporter *r)
{
	char why[700];
	const char *root = h->config.cgroup ? h->config.cgroup : CGROUP_ROOT;
	struct resources *res = calloc(1, sizeof(*res));
	if (!res)
		return -ENOMEM;
	h->resources = res;
	res->timer = -1;
	measure(h, res);
	if (strcmp(root, "off") != 0)
		cgroups_open(&res->groups, root, h->uuid_text, why, sizeof(why));
	if (!res->groups.version && strcmp(root, "off") != 0)
		report(h->reporter, REPORT_INFO, "no control groups for VMs: %s", why);
	int rc = start_timer(h, res);
	return rc < 0 ? report_error(r, rc, "no timer: %s", strerror(-rc)) : 0;
}

void resources_close(struct host *h)
{
	struct resources *res = h->resources;
	if (!res)
		return;
	loop_watch_free(res->watch);
	if (res->timer >= 0)
		(void)close(res->timer);
	cgroups_close(&res->groups);
	free(res);
	h->resources = NULL;
}
