/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own life: state directory, UUID, datastores, signals, shutdown.
 *
 * Start: the state directory is locked (flock; it falls with the process), then the
 * host's UUID is read or made, the datastores are attached, the inventory is read, VMs
 * that an earlier vmkernel left running are taken back, and last the control socket
 * listens: whoever gets an answer talks to a host that is ready.
 *
 * Stop: VMs are powered off; when the last has ended, the loop ends with its last job,
 * and then the datastores are detached.
 *
 * A datastore whose lease was lost is attached again when no VM and no job uses what is
 * left of it. Until then its VMs are what on_fence makes of them; none ever gets at the
 * datastore again, whose locks another host may have.
 */
#include "vmkernel/host.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/env.h"
#include "bdev/guard.h"
#include "vmkernel/adapter/adapter.h"
#include "vmkernel/control.h"
#include "vmkernel/firmware.h"
#include "vmkernel/ha/ha.h"
#include "vmkernel/inventory.h"
#include "vmkernel/maintenance.h"
#include "vmkernel/notify.h"
#include "vmkernel/privileges.h"
#include "vmkernel/relocate.h"
#include "vmkernel/resource/resource.h"
#include "vmkernel/statefile.h"
#include "vmkernel/system.h"
#include "vmkernel/vm_monitor.h"
#include "vmkernel/vmotion/vmotion.h"

#define UUID_FILE "host.uuid"
#define WORKERS 32u /* a guest's queue: first writes to a delta share a commit */
#define LOCK_WAIT NS_PER_S
#define STOP_WAIT (10 * NS_PER_S) /* for storage that is away */
#define LOCK_PAUSE (20 * NS_PER_MS)

const char *host_path(const struct host *h, const char *name, char *buf)
{
	(void)snprintf(buf, HOST_PATH_SIZE, "%s/%s", h->state_dir, name);
	return buf;
}

/* ---- the state directory ---- */

static int make_dirs(char *path)
{
	for (char *c = path + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = '\0';
		int rc = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
		*c = '/';
		if (rc < 0)
			return rc;
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int host_lock_state(struct host *h, struct reporter *r)
{
	const char *dir = h->config.state_dir ? h->config.state_dir : CONFIG_STATE_DIR;
	AUTO_FREE char *wanted = strdup(dir);
	int rc = wanted ? make_dirs(wanted) : -ENOMEM;
	AUTO_FREE char *resolved = rc == 0 ? realpath(wanted, NULL) : NULL;
	if (rc == 0 && !resolved)
		rc = -errno;
	if (rc < 0)
		return report_error(r, rc, "%s: %s", dir, strerror(-rc));
	if (strlen(resolved) >= sizeof(h->state_dir))
		return report_error(r, -ENAMETOOLONG, "%s: longer than %zu bytes",
				    resolved, sizeof(h->state_dir) - 1);
	memcpy(h->state_dir, resolved, strlen(resolved) + 1);
	h->lock_fd = open(h->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->lock_fd < 0)
		return report_error(r, -errno, "%s: %s", h->state_dir, strerror(errno));
	/* One that is just ending gets a moment. */
	uint64_t deadline = clock_now() + LOCK_WAIT;
	while ((rc = flock(h->lock_fd, LOCK_EX | LOCK_NB)) < 0 && errno == EWOULDBLOCK &&
	       clock_now() < deadline)
		task_sleep_until(clock_now() + LOCK_PAUSE);
	if (rc < 0)
		return report_error(r, -errno, "%s: %s", h->state_dir,
				    errno == EWOULDBLOCK
					    ? "another vmkernel uses this state "
					      "directory"
					    : strerror(errno));
	return 0;
}

int host_write_text(const struct host *h, const char *name, const char *text, mode_t mode)
{
	char path[HOST_PATH_SIZE];
	return statefile_write(host_path(h, name, path), text, mode);
}

static int read_uuid(struct host *h, struct reporter *r)
{
	char path[HOST_PATH_SIZE], text[UUID_TEXT_SIZE + 2] = "";
	(void)host_path(h, UUID_FILE, path);
	FILE *f = fopen(path, "re");
	if (f) {
		bool has_text = fgets(text, sizeof(text), f);
		(void)fclose(f);
		text[strcspn(text, "\n")] = '\0';
		if (!has_text || uuid_parse(text, &h->uuid) < 0)
			return report_error(r, -EINVAL, "%s: \"%s\" is not a UUID", path,
					    text);
	} else if (errno == ENOENT) {
		h->uuid = uuid_new();
		(void)uuid_text(&h->uuid, text);
		strcat(text, "\n");
		int rc = host_write_text(h, UUID_FILE, text, 0644);
		if (rc < 0)
			return report_error(r, rc, "%s: %s", path, strerror(-rc));
	} else {
		return report_error(r, -errno, "%s: %s", path, strerror(errno));
	}
	(void)uuid_text(&h->uuid, h->uuid_text);
	return 0;
}

static int set_names(struct host *h)
{
	char path[HOST_PATH_SIZE];
	if (h->config.host_name)
		(void)snprintf(h->host_name, sizeof(h->host_name), "%s",
			       h->config.host_name);
	else if (gethostname(h->host_name, sizeof(h->host_name) - 1) < 0)
		return -errno;
	if (!h->config.socket && !h->config.state_dir) {
		(void)mkdir("/run/vmkernel", 0755); /* the socket says what is wrong */
		h->config.socket = strdup("/run/vmkernel/vmkernel.sock");
	} else if (!h->config.socket) {
		h->config.socket = strdup(host_path(h, "vmkernel.sock", path));
	}
	return h->config.socket ? 0 : -ENOMEM;
}

int host_init(struct host *h, struct reporter *r)
{
	char path[HOST_PATH_SIZE];
	int rc = host_lock_state(h, r);
	if (rc == 0)
		rc = firmware_begin(h, r);
	if (rc == 0)
		rc = system_read_settings(h, r);
	if (rc == 0)
		rc = set_names(h);
	if (rc == 0)
		rc = read_uuid(h, r);
	if (rc == 0)
		rc = privileges_drop(r);
	if (rc == 0)
		rc = notify_open(r, &h->notify);
	if (rc < 0)
		return rc;
	rc = log_open(&h->log, host_path(h, "vmkernel.log", path), "vmkernel");
	if (rc < 0)
		return report_error(r, rc, "%s: %s", path, strerror(-rc));
	h->reporter = &h->log.base;
	return 0;
}

/* Where the limit allows it: with one, later allocations would fail. */
static void lock_memory(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY)
		(void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

/* ---- datastores ---- */

static void on_lost(void *arg);

struct datastore_options host_attach_options(struct host *h, uint32_t i,
					     struct reporter *r)
{
	return (struct datastore_options){
		.proof_dir = h->state_dir,
		.device = h->devices[i],
		.index = i,
		.keeps_signature = h->copies[i] == COPY_KEPT,
		.host = h->uuid,
		.host_name = h->host_name,
		.initiator_name = h->initiator_name,
		.reporter = r,
		.guard = h->guard,
		.lease_profile = h->config.lease_profile,
		.unmap_rate = h->config.unmap_rate,
		.resets_units = h->config.resets_units,
		.on_lost = on_lost,
		.on_lost_arg = h,
	};
}

struct reattach {
	struct host *host;
	struct datastore *lost, *ds;
	int rc;
};

static void reattach_work(void *arg)
{
	struct reattach *again = arg;
	struct host *h = again->host;
	struct datastore_options options =
		host_attach_options(h, again->lost->options.index, h->reporter);
	again->rc =
		datastore_reattach(again->lost, &options, &h->is_stopping, &again->ds);
}

/* The new one takes the place of the old; of VMs and jobs none knows the old one. */
static void reattach_done(void *arg)
{
	struct reattach *again = arg;
	struct host *h = again->host;
	again->lost->is_reattaching = false;
	if (again->rc == 0) {
		TAILQ_INSERT_BEFORE(again->lost, again->ds, link);
		TAILQ_REMOVE(&h->datastores, again->lost, link);
		(void)datastore_detach(again->lost); /* nothing is left in it */
		adapter_attached(h->adapter, again->ds);
		ha_attached(h, again->ds);
		vmotion_attached(h, again->ds);
		on_lost(h); /* it may have been lost before it was in the list */
	}
	free(again);
}

/* Starts to attach what was lost, as soon as nobody uses what is left of it. */
static void reattach_lost(struct host *h)
{
	struct datastore *ds;
	struct vm *vm;
	TAILQ_FOREACH(ds, &h->datastores, link) {
		bool is_free = ds->is_lost && !ds->is_reattaching && ds->users == 0;
		TAILQ_FOREACH(vm, &h->vms, link)
			is_free = is_free && vm->ds != ds;
		if (!is_free || h->is_stopping)
			continue;
		struct reattach *again = calloc(1, sizeof(*again));
		if (!again)
			continue;
		*again = (struct reattach){ .host = h, .lost = ds };
		ds->is_reattaching = true;
		if (loop_job(h->loop, "reattach", reattach_work, reattach_done, again) <
		    0) {
			ds->is_reattaching = false;
			free(again);
		}
	}
}

void host_datastore_put(struct host *h, struct datastore *ds)
{
	ds->users--;
	reattach_lost(h);
}

/* Told by a heartbeat task: on to the loop. */
struct lost_call {
	struct loop_call call;
	struct host *host;
};

static void fence_vms(struct host *h, const struct datastore *ds)
{
	static const char *const what[] = {
		[ON_FENCE_KILL] = "its VMs are stopped",
		[ON_FENCE_FREEZE] = "its VMs are frozen",
		[ON_FENCE_EIO] = "the disks of its VMs fail",
	};
	char why[256];
	struct vm *vm;
	(void)snprintf(why, sizeof(why), "the lease on datastore %s was lost", ds->label);
	report(h->reporter, REPORT_ERROR, "%s: %s", why, what[h->config.on_fence]);
	TAILQ_FOREACH(vm, &h->vms, link) {
		if (vm->ds != ds)
			continue;
		if (h->config.on_fence == ON_FENCE_KILL || vm->state != VM_ON)
			vm_stop(vm, why);
		else if (h->config.on_fence == ON_FENCE_FREEZE)
			vm_freeze(vm, why);
	}
}

static void look_for_lost(void *arg)
{
	struct lost_call *lost = arg;
	struct host *h = lost->host;
	struct datastore *ds;
	free(lost);
	TAILQ_FOREACH(ds, &h->datastores, link) {
		if (ds->is_lost || vmfs_volume_state(ds->vol) == 0)
			continue;
		ds->is_lost = true;
		fence_vms(h, ds);
	}
	reattach_lost(h);
}

static void on_lost(void *arg)
{
	struct host *h = arg;
	struct lost_call *lost = calloc(1, sizeof(*lost));
	if (!lost)
		return; /* the VMs find out at their next I/O */
	lost->host = h;
	lost->call = (struct loop_call){ .fn = look_for_lost, .arg = lost };
	loop_post(h->loop, &lost->call);
}

/* Of two plain files with one volume nothing tells which one is the copy. */
static int refuse_second(struct datastore *ds, const struct datastore *same,
			 struct reporter *r)
{
	report(r, REPORT_ERROR,
	       "datastore %s: %s holds the same volume as %s: not attached", ds->label,
	       ds->device, same->device);
	int rc = datastore_detach(ds);
	return rc < 0 ? rc : -EREMCHG;
}

void host_datastore_add(struct host *h, struct datastore *ds)
{
	TAILQ_INSERT_TAIL(&h->datastores, ds, link);
	adapter_attached(h->adapter, ds);
	ha_attached(h, ds);
	vmotion_attached(h, ds);
	on_lost(h); /* it may have been lost before it was in the list */
}

/* By an admin, for good: a look at the device costs less than a mount. */
static bool is_unmounted(const struct host *h, const struct datastore_options *options)
{
	struct vmfs_signature signature;
	char uuid[UUID_TEXT_SIZE];
	return adapter_has_unmounted(h->adapter) &&
	       datastore_look(options, &signature) == 0 &&
	       adapter_is_unmounted(h->adapter, uuid_text(&signature.uuid, uuid));
}

static int attach_all(struct host *h, struct reporter *r)
{
	for (uint32_t i = 0; i < h->config.device_count; i++) {
		struct datastore *ds, *same;
		h->devices[i] = h->config.devices[i];
		struct datastore_options options = host_attach_options(h, i, r);
		if (is_unmounted(h, &options))
			continue;
		int rc = datastore_attach(&options, &ds);
		if (rc == 0 && datastore_find(&h->datastores, ds->uuid_text, &same) == 0)
			rc = refuse_second(ds, same, r);
		if (rc == -EREMCHG)
			h->copies[i] = COPY_THERE; /* an admin decides: snapshot.c */
		else if (rc < 0)
			return rc;
		else
			host_datastore_add(h, ds);
	}
	return 0;
}

int host_datastore_remove(struct host *h, struct datastore *ds)
{
	struct vm *vm;
	if (ds->users || ds->is_reattaching)
		return -EBUSY;
	TAILQ_FOREACH(vm, &h->vms, link)
		if (vm->ds == ds)
			return -EBUSY;
	TAILQ_REMOVE(&h->datastores, ds, link);
	return 0;
}

static void detach_all(struct host *h)
{
	struct datastore *ds;
	while ((ds = TAILQ_FIRST(&h->datastores)) != NULL) {
		char label[sizeof(ds->label)];
		memcpy(label, ds->label, sizeof(label));
		TAILQ_REMOVE(&h->datastores, ds, link);
		int rc = datastore_detach(ds);
		if (rc < 0)
			report(h->reporter, REPORT_WARN,
			       "datastore %s: unmounted with %s", label, strerror(-rc));
	}
}

/* ---- stopping ---- */

static void end_when_off(struct host *h)
{
	struct vm *vm;
	if (!h->is_stopping || h->is_ending)
		return;
	TAILQ_FOREACH(vm, &h->vms, link) {
		if (vm->state != VM_OFF)
			return;
	}
	h->is_ending = true;
	control_close(h->control);
	h->control = NULL;
	loop_stop(h->loop); /* what jobs there are end first */
}

void host_vm_ended(struct host *h)
{
	maintenance_look(h);
	reattach_lost(h);
	end_when_off(h);
}

static void stop(struct host *h, uint32_t signal)
{
	struct vm *vm;
	if (h->is_stopping)
		return;
	h->is_stopping = true;
	report(h->reporter, REPORT_INFO, "signal %u: the host shuts down", signal);
	notify_stopping(h->notify);
	vmotion_stop(h);
	/* A datastore that is away is waited for a little; a lost one nobody touches. */
	struct datastore *ds;
	TAILQ_FOREACH(ds, &h->datastores, link) {
		if (!ds->is_lost)
			vmfs_volume_limit_wait(ds->vol, STOP_WAIT);
	}
	TAILQ_FOREACH(vm, &h->vms, link)
		vm_stop(vm, "the host shuts down");
	end_when_off(h);
}

static void reap(struct host *h)
{
	int status;
	pid_t pid;
	struct vm *vm;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		TAILQ_FOREACH(vm, &h->vms, link) {
			if (vm_reaped(vm, pid, status))
				break;
		}
	}
}

static void on_signal(void *arg, uint32_t events)
{
	struct host *h = arg;
	struct signalfd_siginfo info;
	(void)events;
	while (read(h->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(h);
		else
			stop(h, info.ssi_signo);
	}
}

static int watch_signals(struct host *h)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGCHLD);
	h->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (h->signal_fd < 0)
		return -errno;
	h->signal_watch = loop_watch_new(h->loop, h->signal_fd, EPOLLIN, on_signal, h);
	return h->signal_watch ? 0 : -ENOMEM;
}

/* ---- start, run, end ---- */

int host_start(struct host *h, struct reporter *r)
{
	char path[HOST_PATH_SIZE], pid[32];
	struct vm *vm;
	struct guard_options guard = { .watchdog = h->config.watchdog,
				       .log_fd = h->log.file_fd,
				       .reporter = r };
	int rc = guard_start(&guard, &h->guard); /* before the first task */
	if (rc < 0)
		return rc;
	lock_memory();
	h->loop = loop_new();
	h->pool = worker_pool_new("disk-work", WORKERS);
	rc = h->loop && h->pool ? watch_signals(h) : -ENOMEM;
	if (rc < 0)
		return report_error(r, rc, "cannot start: %s", strerror(-rc));
	rc = resources_open(h, r);
	if (rc == 0)
		rc = vm_monitor_open(h);
	if (rc == 0)
		rc = adapter_open(h, r);
	if (rc == 0)
		rc = attach_all(h, r);
	if (rc == 0) {
		adapter_start(h->adapter, r);
		rc = inventory_load(h, r);
	}
	if (rc < 0)
		return rc;
	(void)snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	rc = host_write_text(h, "vmkernel.pid", pid, 0644);
	if (rc < 0)
		return report_error(r, rc, "%s: %s", host_path(h, "vmkernel.pid", path),
				    strerror(-rc));
	relocate_settle(h);
	TAILQ_FOREACH(vm, &h->vms, link)
		vm_adopt(vm);
	maintenance_load(h);
	rc = ha_open(h, r);
	if (rc == 0)
		rc = vmotion_open(h, r);
	return rc < 0 ? rc : control_open(h, r);
}

int host_run(struct host *h)
{
	int rc = notify_ready(h->notify, h->loop);
	if (rc < 0)
		return report_error(h->reporter, rc, "no watchdog: %s", strerror(-rc));
	report(h->reporter, REPORT_INFO, "host %s (%s) is up", h->host_name,
	       h->uuid_text);
	return loop_run(h->loop);
}

void host_done(struct host *h)
{
	char path[HOST_PATH_SIZE];
	struct vm *vm;
	control_close(h->control);
	while ((vm = TAILQ_FIRST(&h->vms)) != NULL)
		inventory_remove(vm);
	detach_all(h);
	ha_close(h);
	vmotion_close(h);
	for (uint32_t i = CONFIG_DEVICES_MAX; i < HOST_STORES_MAX; i++)
		free(h->devices[i]);
	adapter_close(h->adapter);
	guard_stop(h->guard);
	worker_pool_free(h->pool);
	loop_watch_free(h->signal_watch);
	if (h->signal_fd >= 0)
		(void)close(h->signal_fd);
	notify_close(h->notify);
	resources_close(h);
	vm_monitor_close(h);
	loop_free(h->loop);
	if (h->reporter) {
		report(h->reporter, REPORT_INFO, "vmkernel ends");
		/* The last signs of life: whoever sees them go may start the next one. */
		(void)unlink(host_path(h, "vmkernel.pid", path));
		(void)unlink(h->config.socket);
		log_close(&h->log);
	}
	if (h->lock_fd >= 0)
		(void)close(h->lock_fd);
	config_done(&h->config);
}
