/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a VM's life that block, each on a task of its own. A job gets a copy of
 * what it needs, or fields that the loop leaves alone while has_job is set: ds, config,
 * text, disks. Its outcome comes back on the loop.
 *
 * The lock of a running VM is that of its .vmx file, exclusive, held from before the
 * first disk is opened until after the last is closed; each disk's extents are locked as
 * well. So a second host is refused at the .vmx file, and vmkfstools at the disks.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vdisk/vmsnap.h"
#include "vmkernel/checkpoint.h"
#include "vmkernel/ha/ha.h"
#include "vmkernel/msg/where.h"
#include "vmkernel/network.h"
#include "vmkernel/nvram.h"
#include "vmkernel/vm.h"
#include "vmkernel/vm_log.h"
#include "vmkernel/vmx/vmxfile.h"

#define KILL_WAIT_MS 5000

struct vm_job {
	struct vm *vm;
	uint32_t index, tag;
	char *path;	/* as the .vmx file says */
	int rc;
	char why[VM_WHY_SIZE];
};

static void job_free(struct vm_job *job)
{
	free(job->path);
	free(job);
}

static struct vm_job *job_new(struct vm *vm, const char *path)
{
	struct vm_job *job = calloc(1, sizeof(*job));
	if (job && path) {
		job->path = strdup(path);
		if (!job->path) {
			free(job);
			return NULL;
		}
	}
	if (job)
		job->vm = vm;
	return job;
}

/* ---- the .vmx file ---- */

struct config_opening {
	struct vm *vm;
};

static int try_config(void *arg, uint64_t deadline, struct vmfs_holder *ret_holder)
{
	struct vm *vm = ((struct config_opening *)arg)->vm;
	struct vmfs_file_options options = { .flags = VMFS_WRITE, .deadline = deadline };
	return vmfs_file_open(vm->ds->vol, vm->path, &options, &vm->config, ret_holder);
}

char *vm_read_all(struct vmfs_file *file, int *ret_error)
{
	char *text = malloc(VMXFILE_MAX + 1);
	int64_t n = text ? vmfs_file_read(file, text, VMXFILE_MAX, 0) : -ENOMEM;
	*ret_error = n < 0 ? (int)n : 0;
	if (n >= 0 && memchr(text, '\0', (size_t)n))
		*ret_error = -EINVAL;
	if (*ret_error) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static int hold_config(struct vm *vm, char *ret_why, uint32_t size)
{
	char what[VM_WHY_SIZE / 2];
	struct config_opening opening = { vm };
	struct hold hold = {
		.vol = vm->ds->vol,
		.what = vm_file_text(vm, NULL, what, sizeof(what)),
		.wait_s = vm->host->config.power_on_wait_s,
		.is_cancelled = &vm->is_cancelled,
		.try = try_config,
		.arg = &opening,
	};
	int rc = hold_acquire(&hold, ret_why, size);
	if (rc < 0)
		return rc;
	vm->text = vm_read_all(vm->config, &rc);
	if (!vm->text)
		(void)snprintf(ret_why, size, "%s: cannot be read: %s", what,
			       strerror(-rc));
	return rc;
}

/*
 * A power-on's token begins with that of its lock, which no other power-on of this VM has
 * had; what the VM did can be told from what it did on another host before or after.
 */
static int make_token(struct vm *vm, char *ret_why, uint32_t size)
{
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	int rc = info ? vmfs_lock_info(vm->ds->vol, vm->path, info) : -ENOMEM;
	if (rc < 0)
		(void)snprintf(ret_why, size, "its lock cannot be read: %s",
			       strerror(-rc));
	else
		(void)snprintf(vm->token, sizeof(vm->token), "%08x%08x",
			       (uint32_t)info->token, (uint32_t)random_u64());
	return rc;
}

static void hold_work(void *arg)
{
	struct vm_job *job = arg;
	job->rc = hold_config(job->vm, job->why, sizeof(job->why));
	if (job->rc == 0)
		job->rc = make_token(job->vm, job->why, sizeof(job->why));
	if (job->rc == 0)
		job->rc = checkpoint_find(job->vm, job->why, sizeof(job->why));
	if (job->rc == 0)
		job->rc = ha_vm_claim(job->vm, job->why, sizeof(job->why));
	if (job->rc == 0) {
		vm_kill_leftover(job->vm);
		network_plug(job->vm);
	}
}

static void hold_done(void *arg)
{
	struct vm_job *job = arg;
	job->vm->has_job = false;
	vm_held(job->vm, job->rc, job->why);
	job_free(job);
}

/* ---- disks ---- */

char *vm_disk_path(const struct vm *vm, const struct datastore *ds, const char *text,
		   char *ret_why, uint32_t size)
{
	char *path = NULL;
	AUTO_FREE char *name = NULL;
	if (strstr(text, "..")) {
		(void)snprintf(ret_why, size, "%.256s: a disk's path may not contain ..",
			       text);
		return NULL;
	}
	if (*text == '[' || *text == '/') {
		if (where_split(text, &name, &path) == 0 &&
		    (strcmp(name, ds->label) == 0 || strcmp(name, ds->uuid_text) == 0))
			return path;
		free(path);
		(void)snprintf(ret_why, size, "%.256s: is not on the VM's datastore %s",
			       text, ds->label);
		return NULL;
	}
	const char *slash = strrchr(vm->path, '/');
	if (asprintf(&path, "%.*s/%s", (int)(slash - vm->path), vm->path, text) < 0)
		return NULL;
	return path;
}

/* The value of what in place of "fileName" in key, "ide1:0.fileName"; "": none. */
static const char *beside(const struct vmxfile *f, const char *key, const char *what)
{
	char other[96];
	const char *dot = strrchr(key, '.');
	(void)snprintf(other, sizeof(other), "%.*s.%s", (int)(dot - key), key, what);
	return vmxfile_get_or(f, other, "");
}

static bool is_cdrom(const struct vmxfile *f, const char *key)
{
	return strcasecmp(beside(f, key, "deviceType"), "cdrom-image") == 0;
}

/* VMware asks for both: of the VM, and of the disk. */
static bool is_tracked(const struct vmxfile *f, const char *key)
{
	return vmxfile_is_true(f, "ctkEnabled") &&
	       strcasecmp(beside(f, key, "ctkEnabled"), "TRUE") == 0;
}

struct in_config {
	bool is_cdrom, is_tracked;
	struct sched_wish wish;
	char bad[VM_BAD_SIZE]; /* what it should be given cannot be understood; "" */
};

int vm_disk_wish(const struct vmxfile *f, const char *key, struct sched_wish *ret,
		 char ret_bad[static VM_BAD_SIZE])
{
	char name[96];
	const char *bad;
	(void)snprintf(name, sizeof(name), "sched.%s", key);
	int rc = sched_wish_parse(beside(f, name, "shares"),
				  beside(f, name, "throughputCap"),
				  beside(f, name, "bandwidthCap"), ret, &bad);
	if (rc < 0)
		(void)snprintf(ret_bad, VM_BAD_SIZE,
			       "sched.%.*s: its shares or limits cannot be understood: "
			       "%.24s",
			       (int)(strrchr(key, '.') - key), key, bad);
	return rc;
}

/*
 * Is text the fileName of a device in the VM's own .vmx file? vmx talks for a guest that
 * may have taken it over, and gets no other disk than these; what is a CD anywhere in
 * the file is served as a CD, to be read.
 */
static bool is_in_config(const struct vm *vm, const char *text, struct in_config *ret)
{
	static const char suffix[] = ".fileName";
	struct vmxfile *f;
	const char *key, *value;
	bool is_found = false;
	*ret = (struct in_config){ .wish.shares = SCHED_SHARES_NORMAL };
	if (vmxfile_parse(vm->text, strlen(vm->text), "", NULL, &f) < 0)
		return false;
	for (unsigned int i = 0; vmxfile_entry(f, i, &key, &value); i++) {
		size_t len = strlen(key);
		if (len > sizeof(suffix) && strcmp(value, text) == 0 &&
		    strcasecmp(key + len - (sizeof(suffix) - 1), suffix) == 0) {
			is_found = true;
			ret->is_cdrom |= is_cdrom(f, key);
			ret->is_tracked |= is_tracked(f, key);
			(void)!vm_disk_wish(f, key, &ret->wish, ret->bad);
		}
	}
	vmxfile_free(f);
	return is_found;
}

void vm_disk_options(const struct vm *vm, uint32_t i, const char *path,
		     struct vm_disk_texts *texts, struct disk_options *ret)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "disk%u.sock", i);
	(void)vm_run_path(vm, name, texts->socket);
	(void)snprintf(texts->name, sizeof(texts->name), "disk%u-%s", i, vm->token);
	*ret = (struct disk_options){
		.vol = vm->ds->vol,
		.path = path,
		.is_vhost = vm->vhost_disks >> i & 1,
		.sched = vm->ds->sched,
		.what = vm_file_text(vm, path, texts->what, sizeof(texts->what)),
		.socket = texts->socket,
		.export_name = texts->name,
		.uid = vm_uid(vm),
		.pool = vm->host->pool,
		.reporter = vm->host->reporter,
		.key_file = vm->host->config.disk_key_file,
		.wait_s = vm->host->config.power_on_wait_s,
		.is_cancelled = &vm->is_cancelled,
	};
}

static int open_disk(struct vm *vm, uint32_t index, const char *text, char *ret_why,
		     uint32_t size)
{
	struct vm_disk_texts texts;
	struct disk_options options;
	struct in_config found = { .wish.shares = SCHED_SHARES_NORMAL };
	bool is_flash = strcmp(vm->disk_keys[index] ? vm->disk_keys[index] : "",
			       NVRAM_KEY) == 0;
	if (!is_flash && !is_in_config(vm, text, &found)) {
		(void)snprintf(ret_why, size, "%.256s: is not in the VM's .vmx file",
			       text);
		return -EPERM;
	}
	if (found.bad[0]) {
		(void)snprintf(ret_why, size, "%s", found.bad);
		return -EINVAL;
	}
	AUTO_FREE char *path = is_flash ? nvram_path(vm, ret_why, size) :
					  vm_disk_path(vm, vm->ds, text, ret_why, size);
	if (!path)
		return -EINVAL;
	vm_disk_options(vm, index, path, &texts, &options);
	options.is_cdrom = found.is_cdrom;
	options.is_flash = is_flash;
	options.wish = found.wish;
	options.is_standby = vm->is_incoming;
	/* Else it was at power-on. */
	options.is_tracked = found.is_tracked && !vm->is_adopted && !vm->is_incoming;
	int rc = disk_open(&options, &vm->disks[index], ret_why, size);
	/* One that is taken back is compared with what was noted, then noted anew. */
	return rc || vm->is_adopted || vm->is_incoming ?
		       rc : vm_note_locks(vm, ret_why, size);
}

static void disk_work(void *arg)
{
	struct vm_job *job = arg;
	job->rc = open_disk(job->vm, job->index, job->path, job->why, sizeof(job->why));
}

static void disk_done(void *arg)
{
	struct vm_job *job = arg;
	job->vm->has_job = false;
	vm_disk_opened(job->vm, job->tag, job->rc, job->why);
	job_free(job);
}

/* ---- adoption ---- */

/* What the .vmx file as it is now says of disk i: a snapshot may have changed it. */
static int adopt_disk(struct vm *vm, uint32_t i, char *ret_why, uint32_t size)
{
	struct vmxfile *f;
	int rc = vmxfile_parse(vm->text, strlen(vm->text), "", NULL, &f);
	if (rc == 0) {
		const char *path = vmxfile_get_or(f, vm->disk_keys[i], "");
		rc = open_disk(vm, i, path, ret_why, size);
		vmxfile_free(f);
	} else {
		(void)snprintf(ret_why, size, "its .vmx file: %s", strerror(-rc));
	}
	return rc;
}

/* Who has it now is worth more than that somebody had it. */
static void tell_holder(const struct vm *vm, char *ret_why, uint32_t size)
{
	char text[VMFS_HOLDER_TEXT_SIZE], file[VM_WHY_SIZE / 2];
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	if (info && vmfs_lock_info(vm->ds->vol, vm->path, info) == 0 &&
	    info->holder_count && info->is_current[0])
		(void)snprintf(ret_why, size, "%s: %s",
			       vm_file_text(vm, NULL, file, sizeof(file)),
			       vmfs_holder_text(&info->holders[0], text));
}

static void adopt_work(void *arg)
{
	struct vm_job *job = arg;
	struct vm *vm = job->vm;
	/* What others had is not taken from them, be they dead: it may be theirs. */
	job->rc = vm_claim_locks(vm, job->why, sizeof(job->why));
	if (job->rc == -ESTALE)
		tell_holder(vm, job->why, sizeof(job->why));
	if (job->rc == 0)
		job->rc = hold_config(vm, job->why, sizeof(job->why));
	AUTO_FREE char *state = job->rc == 0 ? vm_state_path(vm, vm->text) : NULL;
	vm->labels.is_suspended = state;
	for (uint32_t i = 0; job->rc == 0 && i < HARDWARE_DISKS_MAX && vm->disk_keys[i];
	     i++)
		if (*vm->disk_keys[i]) /* else it was removed while the VM ran */
			job->rc = adopt_disk(vm, i, job->why, sizeof(job->why));
	if (job->rc == 0)
		job->rc = vm_check_locks(vm, job->why, sizeof(job->why));
	if (job->rc == 0)
		job->rc = vm_note_locks(vm, job->why, sizeof(job->why));
}

static void adopt_done(void *arg)
{
	struct vm_job *job = arg;
	job->vm->has_job = false;
	vm_adopted(job->vm, job->rc, job->why);
	job_free(job);
}

/* ---- high availability ---- */

static void note_work(void *arg)
{
	struct vm_job *job = arg;
	ha_vm_note(job->vm);
}

static void note_done(void *arg)
{
	struct vm_job *job = arg;
	job->vm->has_job = false;
	vm_noted(job->vm);
	job_free(job);
}

/* ---- closing ---- */

/* QEMU ends before its disks do: as a rule it has. */
static void await_qemu(struct vm *vm)
{
	struct pollfd p = { .fd = vm->qemu_pidfd, .events = POLLIN };
	if (vm->qemu_pidfd < 0)
		return;
	if (poll(&p, 1, 0) == 0) {
		report(vm->host->reporter, REPORT_WARN,
		       "VM %u: its QEMU is left over and is "
		       "killed",
		       vm->id);
		(void)syscall(SYS_pidfd_send_signal, vm->qemu_pidfd, SIGKILL, NULL, 0);
		(void)poll(&p, 1, KILL_WAIT_MS);
	}
	(void)close(vm->qemu_pidfd);
	vm->qemu_pidfd = -1;
}

static void close_work(void *arg)
{
	struct vm_job *job = arg;
	struct vm *vm = job->vm;
	await_qemu(vm);
	network_release(vm);
	checkpoint_drop(vm);
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		int rc = disk_close(vm->disks[i]);
		vm->disks[i] = NULL;
		if (rc < 0)
			report(vm->host->reporter, REPORT_WARN,
			       "VM %u: closing disk %u: %s", vm->id, i, strerror(-rc));
		free(vm->disk_keys[i]);
		vm->disk_keys[i] = NULL;
	}
	ha_vm_end(vm);
	vm_log_end(vm);
	int rc = vmfs_file_close(vm->config);
	vm->config = NULL;
	if (rc < 0)
		report(vm->host->reporter, REPORT_WARN,
		       "VM %u: closing its .vmx file: %s", vm->id, strerror(-rc));
	free(vm->text);
	vm->text = NULL;
}

static void close_done(void *arg)
{
	struct vm_job *job = arg;
	job->vm->has_job = false;
	vm_closed(job->vm);
	job_free(job);
}

/* ---- starting jobs ---- */

/* Without memory for a task the work is done here: late is better than never. */
static void run(struct vm_job *job, const char *name, void (*work)(void *arg),
		void (*done)(void *arg))
{
	job->vm->has_job = true;
	if (loop_job(job->vm->host->loop, name, work, done, job) == 0)
		return;
	work(job);
	done(job);
}

void vm_job_hold(struct vm *vm)
{
	struct vm_job *job = job_new(vm, NULL);
	if (job)
		run(job, "hold", hold_work, hold_done);
	else
		vm_held(vm, -ENOMEM, "no memory");
}

void vm_job_disk(struct vm *vm, uint32_t index, const char *path, uint32_t tag)
{
	struct vm_job *job = job_new(vm, path);
	if (!job) {
		vm_disk_opened(vm, tag, -ENOMEM, "no memory");
		return;
	}
	job->index = index;
	job->tag = tag;
	run(job, "disk", disk_work, disk_done);
}

void vm_job_adopt(struct vm *vm)
{
	struct vm_job *job = job_new(vm, NULL);
	if (job)
		run(job, "adopt", adopt_work, adopt_done);
	else
		vm_adopted(vm, -ENOMEM, "no memory");
}

void vm_job_note(struct vm *vm)
{
	struct vm_job *job = job_new(vm, NULL);
	if (job)
		run(job, "ha-note", note_work, note_done);
}

void vm_job_close(struct vm *vm)
{
	struct vm_job *job = job_new(vm, NULL);
	if (job) {
		run(job, "close", close_work, close_done);
		return;
	}
	struct vm_job here = { .vm = vm };
	close_work(&here);
	vm_closed(vm);
}

/* ---- labels ---- */

void vm_labels_done(struct vm_labels *labels)
{
	free(labels->name);
	free(labels->guest);
	free(labels->version);
	free(labels->annotation);
	*labels = (struct vm_labels){ 0 };
}

static int take_labels(const struct vmxfile *f, struct vm_labels *ret)
{
	*ret = (struct vm_labels){
		.name = strdup(vmxfile_get_or(f, "displayName", "")),
		.guest = strdup(vmxfile_get_or(f, "guestOS", "other")),
		.version = strdup(vmxfile_get_or(f, "virtualHW.version", "21")),
		.annotation = strdup(vmxfile_get_or(f, "annotation", "")),
		.is_suspended = *vmxfile_get_or(f, VMSNAP_STATE_KEY, ""),
	};
	if (ret->name && ret->guest && ret->version && ret->annotation)
		return 0;
	vm_labels_done(ret);
	return -ENOMEM;
}

int vm_read_labels(struct vmfs_volume *vol, const char *path, const char *what,
		   struct reporter *r, struct vm_labels *ret_labels, char *ret_why,
		   uint32_t size)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct catcher catcher;
	struct vmfs_file *file;
	struct vmxfile *f;
	(void)catcher_init(&catcher, r);
	int rc = vmfs_file_open(vol, path, &options, &file, NULL);
	if (rc < 0) {
		(void)snprintf(ret_why, size, "%s: %s", what, strerror(-rc));
		return rc;
	}
	AUTO_FREE char *text = vm_read_all(file, &rc);
	int close_rc = vmfs_file_close(file);
	rc = rc ? rc : close_rc;
	if (rc == 0)
		rc = vmxfile_parse(text, strlen(text), what, &catcher.base, &f);
	if (rc < 0) {
		if (catcher.text[0])
			(void)snprintf(ret_why, size, "%s", catcher.text);
		else
			(void)snprintf(ret_why, size, "%s: %s", what, strerror(-rc));
		return rc;
	}
	rc = take_labels(f, ret_labels);
	vmxfile_free(f);
	return rc;
}
