/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmx, and QEMU by its stderr, write vmware.log into the VM's run directory, which is all
 * that they see. From there it is copied to the datastore:
 *
 *	QUIET --the file changes--> WAITING (1 s) --copy_work, copy_done--> QUIET
 *	   what could not be written: --> WAITING (30 s)
 *
 * 1. What stands on the datastore is a piece of the file in the run directory, from base
 *    on: its size says how far we are, also after our death. base and the power-on's
 *    token are in STATEDIR/vms/ID.log; written after the old log has got its number, so
 *    that a death between has the same copied twice, never something left out.
 * 2. A power-on begins a new file in the run directory (spawn.c) and on the datastore.
 * 3. The file on the datastore is open only while something is written: nobody waits for
 *    its lock but for a moment, and a datastore that comes back finds no old handle.
 * 4. The run directory is the VM's: what is there is copied only if it is a plain file
 *    with one name and the VM's user as its owner.
 * 5. The VM never waits for its log, and its power-off only for a write under way. What a
 *    full or lost datastore does not take stays in the run directory.
 * 6. Of the file in the run directory about LOCAL_MAX bytes are kept: older ones, copied
 *    or not, become a hole in it, so that places in it stay what they are. What was lost
 *    so is skipped, which moves base, and said where it would stand. The note goes first:
 *    a death before that line leaves the position in the hole, and nothing to be said.
 */
#include "vmkernel/vm_log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "vdisk/vmlogs.h"
#include "vmkernel/statefile.h"
#include "vmkernel/vm.h"
#include "vmkernel/vmx/vmxfile.h"

#define LOCAL_NAME "vmware.log"
#define PIECE_SIZE (64u << 10)
#define PIECES_MAX 16u /* of one job */
#define KEEP_OLD 10u
#define ROTATE_SIZE 2048000u
#define LOG_MODE 0644u
#define LOCAL_MAX (8u << 20)
#define LOCAL_STEP (1u << 20) /* so much too large it may be */
#define BLOCK 4096u
#define STAT_BLOCK 512u
#define WAIT_S 1
#define BLOCKED_S 5
#define FAILED_S 30
#define NOTE_SIZE 48u

struct vm_log {
	struct vm *vm;
	uint64_t keep, rotate_bytes; /* 0: not by size */
	int inotify_fd, timer;	     /* -1: none */
	struct loop_watch *watch, *timer_watch;
	bool is_watched;	     /* the file in the run directory */
	bool is_busy, is_told;
	bool may_end;		     /* the rest may be written at the end */
	/* Of the job: */
	struct datastore *ds;
	char *vmx;		     /* path of the .vmx file */
	char *stem;		     /* NULL: to be found */
	uint64_t base;
	bool has_base, is_done;	     /* nothing is left to be copied */
	int rc;
};

/* ---- where we are ---- */

static const char *note_path(const struct vm *vm, char *buf)
{
	char name[NOTE_SIZE];
	(void)snprintf(name, sizeof(name), "vms/%u.log", vm->id);
	return host_path(vm->host, name, buf);
}

/* What an earlier vmkernel has noted of this power-on, if it has. */
static void read_note(struct vm_log *l)
{
	char path[HOST_PATH_SIZE], token[VM_TOKEN_SIZE];
	int rc;
	AUTO_FREE char *text = statefile_read(note_path(l->vm, path), &rc);
	l->has_base = text && sscanf(text, "%16s %" SCNu64, token, &l->base) == 2 &&
		      strcmp(token, l->vm->token) == 0;
	if (!l->has_base)
		l->base = 0;
}

static int write_note(struct vm_log *l)
{
	char path[HOST_PATH_SIZE], text[VM_TOKEN_SIZE + 24];
	(void)snprintf(text, sizeof(text), "%s %" PRIu64 "\n", l->vm->token, l->base);
	return statefile_write(note_path(l->vm, path), text, 0600);
}

/* ---- copying ---- */

/* -errno; -EPERM: it is not what vmx has made. */
static int open_local(const struct vm *vm, int access)
{
	char path[HOST_PATH_SIZE];
	struct stat st;
	int file_fd = open(vm_run_path(vm, LOCAL_NAME, path),
			   access | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (file_fd < 0)
		return -errno;
	uid_t uid = geteuid() == 0 ? vm_uid(vm) : geteuid();
	if (fstat(file_fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	    st.st_uid == uid)
		return file_fd;
	(void)close(file_fd);
	return -EPERM;
}

/* Gives back what is too old. A filesystem without holes keeps it. */
static void bound_local(const struct vm *vm)
{
	struct stat st;
	AUTO_CLOSE int local = open_local(vm, O_RDWR);
	if (local < 0 || fstat(local, &st) < 0 || st.st_size < (off_t)LOCAL_MAX ||
	    (uint64_t)st.st_blocks * STAT_BLOCK < LOCAL_MAX + LOCAL_STEP)
		return;
	uint64_t end = round_down((uint64_t)st.st_size - LOCAL_MAX, BLOCK);
	(void)fallocate(local, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)end);
}

static int size_of(struct vm_log *l, uint64_t *ret_size)
{
	AUTO_FREE char *path = NULL;
	struct vmfs_stat st;
	if (asprintf(&path, "%s.log", l->stem) < 0)
		return -ENOMEM;
	int rc = vmfs_stat(l->ds->vol, path, &st);
	*ret_size = rc == 0 ? st.size_bytes : 0;
	return rc == -ENOENT ? 0 : rc;
}

static int append(struct vm_log *l, const char *bytes, uint64_t len, uint64_t size)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE | VMFS_CREATE,
					       .mode = LOG_MODE };
	AUTO_FREE char *path = NULL;
	struct vmfs_file *file;
	if (asprintf(&path, "%s.log", l->stem) < 0)
		return -ENOMEM;
	int rc = vmfs_file_open(l->ds->vol, path, &how, &file, NULL);
	if (rc < 0)
		return rc;
	rc = vmfs_file_write(file, bytes, len, size);
	int err = vmfs_file_close(file);
	return rc ? rc : err;
}

/* What is on the datastore gets a number; the file that comes begins at base. */
static int begin(struct vm_log *l, uint64_t base)
{
	int rc = vmlogs_rotate(l->ds->vol, l->stem, (unsigned int)l->keep);
	l->base = base;
	return rc ? rc : write_note(l);
}

/* So much of the piece at bytes that the file does not get too large, in whole lines. */
static uint64_t fitting(const struct vm_log *l, const char *bytes, uint64_t len,
			uint64_t size)
{
	if (!l->rotate_bytes || size + len <= l->rotate_bytes)
		return len;
	uint64_t room = size < l->rotate_bytes ? l->rotate_bytes - size : 0;
	const char *end = room ? memrchr(bytes, '\n', room) : NULL;
	if (end)
		return (uint64_t)(end - bytes) + 1;
	return size ? 0 : len;
}

/* If a hole is next: the place behind it is. *size: of the file on the datastore. */
static int skip_hole(struct vm_log *l, int local, uint64_t *size)
{
	char line[160];
	uint64_t at = l->base + *size;
	off_t data = lseek(local, (off_t)at, SEEK_DATA);
	if (data < 0 || (uint64_t)data <= at)
		return 0; /* or it is the end */
	uint64_t lost = (uint64_t)data - at;
	int n = snprintf(line, sizeof(line),
			 "\n(%" PRIu64 " bytes are left out: they came faster than they "
			 "could be written here)\n", lost);
	uint64_t len = n > 0 && (uint64_t)n < lost ? (uint64_t)n : 0;
	l->base += lost - len;
	int rc = write_note(l);
	if (rc == 0 && len)
		rc = append(l, line, len, *size);
	*size += len;
	return rc;
}

static int copy_piece(struct vm_log *l, int local, char *bytes)
{
	uint64_t size;
	int rc = size_of(l, &size);
	if (rc == 0)
		rc = skip_hole(l, local, &size);
	if (rc < 0)
		return rc;
	ssize_t n = pread(local, bytes, PIECE_SIZE, (off_t)(l->base + size));
	l->is_done = n == 0;
	if (n <= 0)
		return n < 0 ? -errno : 0;
	uint64_t len = fitting(l, bytes, (uint64_t)n, size);
	return len ? append(l, bytes, len, size) : begin(l, l->base + size);
}

static int copy(struct vm_log *l)
{
	AUTO_FREE char *bytes = malloc(PIECE_SIZE);
	AUTO_CLOSE int local = bytes ? open_local(l->vm, O_RDONLY) : -ENOMEM;
	int rc = local < 0 ? local : 0;
	l->is_done = false;
	if (rc == 0 && !l->stem)
		rc = vmlogs_stem(l->ds->vol, l->vmx, &l->stem);
	if (rc == 0 && !l->has_base) {
		rc = begin(l, 0);
		l->has_base = rc == 0;
	}
	for (unsigned int i = 0; rc == 0 && !l->is_done && i < PIECES_MAX; i++)
		rc = copy_piece(l, local, bytes);
	return rc;
}

/* ---- when ---- */

static void wait_for_turn(struct vm_log *l, int seconds)
{
	struct itimerspec at = { .it_value.tv_sec = seconds };
	if (l->watch)
		loop_watch_events(l->watch, 0);
	if (l->timer >= 0)
		(void)timerfd_settime(l->timer, 0, &at, NULL);
}

static void take_paths(struct vm_log *l)
{
	struct vm *vm = l->vm;
	/* It may have been moved to another datastore. */
	if (!l->vmx || strcmp(l->vmx, vm->path) != 0 || l->ds != vm->ds) {
		free(l->vmx);
		free(l->stem);
		l->vmx = strdup(vm->path);
		l->stem = NULL;
	}
	l->ds = vm->ds;
}

static void copy_work(void *arg)
{
	struct vm_log *l = arg;
	l->rc = l->vmx ? copy(l) : -ENOMEM;
}

static void tell_failure(struct vm_log *l)
{
	char file[VM_WHY_SIZE / 2];
	if (l->rc == 0) {
		l->is_told = false;
		return;
	}
	if (!l->is_told)
		report(l->vm->host->reporter, REPORT_WARN,
		       "VM %u (%s): its log cannot be written to its folder, and stays "
		       "in the run directory: %s", l->vm->id,
		       vm_file_text(l->vm, NULL, file, sizeof(file)), strerror(-l->rc));
	l->is_told = true;
}

static void copy_done(void *arg)
{
	struct vm_log *l = arg;
	l->is_busy = false;
	tell_failure(l);
	if (l->rc < 0 || !l->is_done)
		wait_for_turn(l, l->rc < 0 ? FAILED_S : WAIT_S);
	else if (l->watch && l->is_watched)
		loop_watch_events(l->watch, EPOLLIN);
	else
		wait_for_turn(l, BLOCKED_S);
	host_datastore_put(l->vm->host, l->ds);
	vm_settle(l->vm);
}

static void turn(void *arg, uint32_t events)
{
	struct vm_log *l = arg;
	struct vm *vm = l->vm;
	char path[HOST_PATH_SIZE];
	uint64_t count;
	(void)events;
	if (read(l->timer, &count, sizeof(count)) < 0)
		return;
	bound_local(vm);
	if (vm->passage || vm->relocation || vm->ds->is_lost || vm->is_ending) {
		wait_for_turn(l, BLOCKED_S);
		return;
	}
	/* Before the first copy: what is written from here on wakes us. */
	if (l->watch && !l->is_watched)
		l->is_watched = inotify_add_watch(l->inotify_fd,
						  vm_run_path(vm, LOCAL_NAME, path),
						  IN_MODIFY | IN_DONT_FOLLOW) >= 0;
	take_paths(l);
	vm->ds->users++;
	l->is_busy = true;
	if (loop_job(vm->host->loop, "vm-log", copy_work, copy_done, l) < 0) {
		l->is_busy = false;
		vm->ds->users--;
		wait_for_turn(l, FAILED_S);
	}
}

static void changed(void *arg, uint32_t events)
{
	struct vm_log *l = arg;
	char buf[1024];
	(void)events;
	while (read(l->inotify_fd, buf, sizeof(buf)) > 0)
		; /* what it was does not matter */
	wait_for_turn(l, WAIT_S);
}

/* ---- a VM's ---- */

static uint64_t number_of(const struct vmxfile *f, const char *key, uint64_t max,
			  uint64_t usual)
{
	uint64_t n;
	return parse_u64(vmxfile_get_or(f, key, ""), max, &n) < 0 ? usual : n;
}

/* false: no log is wanted. What cannot be understood is as usual. */
static bool read_wishes(struct vm_log *l)
{
	struct vmxfile *f;
	const char *text = l->vm->text;
	if (!text || vmxfile_parse(text, strlen(text), "", NULL, &f) < 0)
		return false;
	bool is_wanted = !vmxfile_get(f, "logging") || vmxfile_is_true(f, "logging");
	l->keep = number_of(f, "log.keepOld", VMLOGS_KEEP_MAX, KEEP_OLD);
	l->rotate_bytes = number_of(f, "log.rotateSize", UINT32_MAX, ROTATE_SIZE);
	vmxfile_free(f);
	return is_wanted;
}

static void free_log(struct vm_log *l)
{
	loop_watch_free(l->watch);
	loop_watch_free(l->timer_watch);
	if (l->inotify_fd >= 0)
		(void)close(l->inotify_fd);
	if (l->timer >= 0)
		(void)close(l->timer);
	free(l->vmx);
	free(l->stem);
	free(l);
}

void vm_log_start(struct vm *vm)
{
	struct vm_log *l = vm->log ? NULL : calloc(1, sizeof(*l));
	if (!l)
		return;
	l->vm = vm;
	l->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->timer >= 0 && read_wishes(l))
		l->timer_watch = loop_watch_new(vm->host->loop, l->timer, EPOLLIN, turn,
						l);
	if (!l->timer_watch) {
		free_log(l);
		return;
	}
	/* Without one the file is looked at now and then. */
	if (l->inotify_fd >= 0)
		l->watch = loop_watch_new(vm->host->loop, l->inotify_fd, 0, changed, l);
	read_note(l);
	vm->log = l;
	wait_for_turn(l, WAIT_S);
}

bool vm_log_is_busy(const struct vm *vm)
{
	return vm->log && vm->log->is_busy;
}

void vm_log_stop(struct vm *vm)
{
	struct vm_log *l = vm->log;
	if (!l)
		return;
	assert(!l->is_busy);
	loop_watch_free(l->watch);
	loop_watch_free(l->timer_watch);
	l->watch = l->timer_watch = NULL;
	/* Of one that has gone to another host the log is that host's. */
	l->may_end = vm->config && !vm->passage && !vm->is_leaving && !vm->is_incoming &&
		     vm->ds && !vm->ds->is_lost;
	if (l->may_end)
		take_paths(l);
}

void vm_log_end(struct vm *vm)
{
	struct vm_log *l = vm->log;
	char path[HOST_PATH_SIZE];
	if (!l)
		return;
	vm->log = NULL;
	if (l->may_end) {
		copy_work(l);
		tell_failure(l);
	}
	(void)unlink(note_path(vm, path)); /* it is of this power-on alone */
	free_log(l);
}
