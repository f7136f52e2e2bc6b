/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While no vmkernel is there, its VMs run on and wait for their disks; and another host
 * may take their locks, run the VM or change a disk, and let go again. Who takes a VM
 * back after that would let a guest go on with disks that are not as its memory says.
 *
 * STATEDIR/vms/ID.locks has, as soon as the VM has a disk, of each file that is locked
 * for it "TOKEN PATH": the lock's token, which every change of hands increments
 * (LOCKING.md 3.2). The locks were never another's if they show these tokens before they
 * are taken, and the next ones after that.
 *
 * A snapshot replaces the .vmx file, and the file that a disk is written to. Before it
 * does, vms/ID.locks.next has what will be locked then: after a death between, one of the
 * two is right.
 *
 * Of a VM that comes in, vms/ID.locks has the tokens with which its locks will arrive as
 * soon as it stands still over there. A note that is there already is not written again.
 * vms/ID.owner has whom they come to: the owner UUID of this host's mount. With both, a
 * later vmkernel that finds all of the VM here, standing still, goes by the record of the
 * .vmx file, as the earlier one would have (vmotion/source.c): the token and the owner
 * that were noted: it was handed over to us, and nobody else has had it. The source's,
 * who lives: it may still be. Anything else: it never will. Of the disks each came, or
 * was released for us, or is still that of a source that died meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"
#include "vmkernel/statefile.h"
#include "vmkernel/vm.h"

#define LINE_SIZE 4096
#define NAME_SIZE 48u
#define LOOK_PAUSE (50 * NS_PER_MS)

static const char *note_name(const struct vm *vm, bool is_next, char *buf)
{
	(void)snprintf(buf, NAME_SIZE, "vms/%u.locks%s", vm->id, is_next ? ".next" : "");
	return buf;
}

static int token_of(struct vmfs_volume *vol, const char *path, uint64_t *ret_token)
{
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	int rc = info ? vmfs_lock_info(vol, path, info) : -ENOMEM;
	if (rc == 0)
		*ret_token = info->token;
	return rc;
}

struct note {
	struct vmfs_volume *vol;
	uint64_t changes; /* of hands, that are still to come */
	struct buf text;
};

/* The token of the file at path, as that of the file called name. */
static int note_one(struct note *n, const char *path, const char *name)
{
	uint64_t token = 0;
	int rc = token_of(n->vol, path, &token);
	if (rc == 0)
		buf_printf(&n->text, "%" PRIu64 " %s\n", token + n->changes, name);
	return rc;
}

static int note_disk(const struct vm *vm, struct note *n, uint32_t i)
{
	const char *path;
	int rc = 0;
	for (unsigned int k = 0;
	     rc == 0 && (path = disk_locked_path(vm->disks[i], k)) != NULL; k++)
		rc = note_one(n, path, path);
	return rc;
}

static bool is_there(const char *path, const char *text)
{
	int rc;
	AUTO_FREE char *there = statefile_read(path, &rc);
	return there && strcmp(there, text) == 0;
}

static int write_note(const struct vm *vm, bool is_next, struct note *n, const char *vmx,
		      const char *const *locked)
{
	char name[NAME_SIZE], path[HOST_PATH_SIZE];
	int rc = note_one(n, vmx, vm->path);
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_DISKS_MAX; i++)
		rc = locked && locked[i] ? note_one(n, locked[i], locked[i]) :
					   note_disk(vm, n, i);
	if (rc == 0)
		rc = n->text.error;
	(void)note_name(vm, is_next, name);
	if (rc == 0 && !is_there(host_path(vm->host, name, path), n->text.data))
		rc = host_write_text(vm->host, name, n->text.data, 0640);
	buf_done(&n->text);
	return rc;
}

int vm_note_next_locks(const struct vm *vm, struct vmfs_volume *vol, const char *vmx,
		       const char *const *locked)
{
	struct note n = { .vol = vol };
	int rc = write_note(vm, true, &n, vmx, locked);
	if (rc < 0)
		report(vm->host->reporter, REPORT_ERROR,
		       "VM %u: its locks cannot be noted: %s", vm->id, strerror(-rc));
	return rc;
}

int vm_note_coming_locks(const struct vm *vm)
{
	struct note n = { .vol = vm->ds->vol, .changes = 1 };
	return write_note(vm, false, &n, vm->path, NULL);
}

int vm_note_locks(const struct vm *vm, char *ret_why, uint32_t size)
{
	char name[NAME_SIZE], path[HOST_PATH_SIZE];
	struct note n = { .vol = vm->ds->vol };
	int rc = write_note(vm, false, &n, vm->path, NULL);
	if (rc < 0)
		(void)snprintf(ret_why, size, "%s: %s",
			       host_path(vm->host, note_name(vm, false, name), path),
			       strerror(-rc));
	else
		(void)unlink(host_path(vm->host, note_name(vm, true, name), path));
	return rc;
}

/* The path in a line of a note, or NULL: it is none. */
static const char *parse_line(char *line, uint64_t *ret_token)
{
	int at = 0;
	line[strcspn(line, "\n")] = '\0';
	bool is_line = sscanf(line, "%" SCNu64 " %n", ret_token, &at) == 1 && at;
	return is_line ? line + at : NULL;
}

/* ---- of what had come ---- */

static const char *owner_name(const struct vm *vm, char *buf)
{
	(void)snprintf(buf, NAME_SIZE, "vms/%u.owner", vm->id);
	return buf;
}

int vm_note_owner(const struct vm *vm)
{
	struct uuid owner;
	uint32_t slot;
	char uuid[UUID_TEXT_SIZE], name[NAME_SIZE];
	int rc = vmfs_volume_identity(vm->ds->vol, &owner, &slot);
	if (rc == 0)
		rc = host_write_text(vm->host, owner_name(vm, name),
				     uuid_text(&owner, uuid), 0640);
	return rc;
}

static int read_owner(const struct vm *vm, struct uuid *ret)
{
	int rc;
	char name[NAME_SIZE], path[HOST_PATH_SIZE];
	AUTO_FREE char *text =
		statefile_read(host_path(vm->host, owner_name(vm, name), path), &rc);
	return text ? uuid_parse(text, ret) : rc ? rc : -ENOENT;
}

/* 1: it is for us to take; 0: it may be, soon; -ESTALE; -errno. */
static int judge(const struct vm *vm, const char *path, uint64_t token,
		 const struct uuid *owner, uint64_t *ret_now)
{
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	int rc = info ? vmfs_lock_info(vm->ds->vol, path, info) : -ENOMEM;
	if (rc < 0)
		return rc;
	bool is_config = strcmp(path, vm->path) == 0;
	bool is_held = info->holder_count == 1;
	bool is_ours = is_held && uuid_equal(&info->holders[0].owner, owner);
	*ret_now = info->token;
	if (info->token == token)
		return is_ours || (!is_config && !info->holder_count) ? 1 : -ESTALE;
	if (info->token + 1 != token || !is_held || is_ours)
		return -ESTALE;
	return info->is_current[0] ? 0 : is_config ? -ESTALE : 1;
}

static int await_one(const struct vm *vm, const char *path, uint64_t token,
		     const struct uuid *owner, struct buf *ret_found)
{
	uint64_t now = 0;
	int rc;
	while ((rc = judge(vm, path, token, owner, &now)) == 0) {
		if (atomic_load(&vm->is_cancelled))
			return -ECANCELED;
		task_sleep_until(clock_now() + LOOK_PAUSE);
	}
	if (rc > 0)
		buf_printf(ret_found, "%" PRIu64 " %s\n", now, path);
	return rc < 0 ? rc : 0;
}

static int await_noted(const struct vm *vm, struct buf *ret_found)
{
	char name[NAME_SIZE], path[HOST_PATH_SIZE], line[LINE_SIZE];
	struct uuid owner;
	int rc = read_owner(vm, &owner);
	AUTO_FCLOSE FILE *f =
		fopen(host_path(vm->host, note_name(vm, false, name), path), "re");
	while (rc == 0 && f && fgets(line, sizeof(line), f)) {
		uint64_t token = 0;
		const char *locked = parse_line(line, &token);
		bool is_first = !ret_found->len;
		/* The .vmx file's comes first, and decides. */
		if (!locked || is_first != (strcmp(locked, vm->path) == 0))
			return -ESTALE;
		rc = await_one(vm, locked, token, &owner, ret_found);
	}
	return rc == 0 && !ret_found->len ? -ESTALE : rc;
}

int vm_await_locks(const struct vm *vm, char *ret_why, uint32_t size)
{
	char name[NAME_SIZE];
	struct buf found = { 0 };
	int rc = await_noted(vm, &found);
	if (rc == 0)
		rc = found.error;
	/* What is found is compared with when all is taken. */
	if (rc == 0)
		rc = host_write_text(vm->host, note_name(vm, false, name), found.data,
				     0640);
	buf_done(&found);
	if (rc < 0)
		(void)snprintf(ret_why, size, "it had come from another host, whose it "
			       "is: %s", rc == -ESTALE ? "its lock did not come" :
							 strerror(-rc));
	return rc;
}

/* ---- after all ---- */

static bool is_held(const struct vm *vm, const char *path)
{
	const char *held;
	if (strcmp(path, vm->path) == 0)
		return true;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		for (unsigned int k = 0; (held = disk_locked_path(vm->disks[i], k)); k++)
			if (strcmp(path, held) == 0)
				return true;
	return false;
}

/* Of a disk that was just coming to the VM, or going, nothing is remembered. */
static int check_note(const struct vm *vm, bool is_next, bool is_taken, char *ret_why,
		      uint32_t size)
{
	char name[NAME_SIZE], path[HOST_PATH_SIZE];
	char line[LINE_SIZE], file[VM_WHY_SIZE / 2];
	bool is_any = !vm->disk_keys[0]; /* without a disk there is nothing to lose */
	AUTO_FCLOSE FILE *f =
		fopen(host_path(vm->host, note_name(vm, is_next, name), path), "re");
	while (f && fgets(line, sizeof(line), f)) {
		uint64_t token = 0, now = 0;
		const char *locked = parse_line(line, &token);
		is_any = true;
		if (locked && is_taken && !is_held(vm, locked))
			continue;
		if (!locked || token_of(vm->ds->vol, locked, &now) < 0 ||
		    now != token + is_taken) {
			(void)snprintf(ret_why, size,
				       "%s: somebody else had it while no vmkernel was "
				       "here: what the guest remembers may be wrong",
				       vm_file_text(vm, locked ? locked : line, file,
						    sizeof(file)));
			return -ESTALE;
		}
	}
	if (!is_any)
		(void)snprintf(ret_why, size,
			       "it is not known whether others had its disks meanwhile");
	return is_any ? 0 : -ESTALE;
}

int vm_check_locks(const struct vm *vm, bool is_taken, char *ret_why, uint32_t size)
{
	char name[NAME_SIZE], path[HOST_PATH_SIZE], why[VM_WHY_SIZE];
	int rc = check_note(vm, false, is_taken, ret_why, size);
	if (rc < 0 && access(host_path(vm->host, note_name(vm, true, name), path),
			     F_OK) == 0)
		rc = check_note(vm, true, is_taken, why, sizeof(why));
	return rc;
}
