/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While no vmkernel is there, its VMs run on and wait for their disks; and another host
 * may take their locks, run the VM or change a disk, and let go again. Who takes a VM
 * back after that would let a guest go on with disks that are not as its memory says. And
 * who takes it back may be killed at that, and so may the next one, any number of times.
 *
 * STATEDIR/vms/ID.locks, the note, has as soon as the VM has a disk
 *
 *	holder UUID	or	taker UUID	the owner of a mount of this host
 *	TOKEN ADDRESS PATH			of each file that is locked for it
 *
 * TOKEN is the lock's, ADDRESS its place in the volume: a file of that name may be
 * another one. Every change of hands makes the token one more, never less (LOCKING.md
 * 3.2), and the record names who took it last, by an owner that no other mount ever has.
 *
 *	(running) --vm_note_locks--> holder H, tokens T
 *	   |                            ^  |
 *	   | H dies                     |  | the next one, A: vm_claim_locks looks at all
 *	   |          A has them all:   |  v records, then writes what it saw
 *	   |            vm_check_locks  |  |
 *	   |            vm_note_locks   '-- taker A, tokens T' --.
 *	   |                               ^    | A dies         |
 *	   '-------------------------------'    '-- B likewise --'
 *
 * 1. A file was nobody else's since the note if its record, at that place, shows T, and a
 *    holder who was noted; or T + 1 and, alone, the owner that the note names. One step
 *    lies between T and T + 1, and the record says whose it was. Anybody else's makes it
 *    T + 1 with another owner, or T + 2.
 * 2. A note is written when 1 was seen of each of its files in the note before, or when
 *    they are held: so 1 holds from the first note on, over any number of deaths. It
 *    does not matter who looked: what another took between the look and the note is not
 *    as the note has it then.
 * 3. Nothing is taken before the note says taker, and by whom. Each lock is taken once:
 *    the .vmx file's first, and who has that has taken over all of the dead one before,
 *    so no other has to be waited for. Who dies between any two leaves some at T and some
 *    at T + 1, its own.
 * 4. When all are taken each is looked at again: T + 1. Somebody who had one between the
 *    look and the taking has made it more.
 * 5. A note is replaced as a whole. What a lock does when its holder confirms it
 *    (vmfs_file_keep) is such a step, too: the note need not have it yet.
 *
 * A command of the dead one that the target executes behind the look is one step more
 * than is expected: the VM is refused, as if it had been another's. It is never the other
 * way. (Where the liveness lock is, what was sent has ended before the next one begins.)
 *
 * A snapshot replaces the .vmx file, and the file that a disk is written to. Before it
 * does, vms/ID.locks.next has what will be locked then: after a death between, one of the
 * two is right. With the note of the taker, which is written from the one that is, the
 * other goes.
 *
 * Of a VM that comes in, the note has the tokens with which its locks will arrive as soon
 * as it stands still over there, and us as their holder. A note that is there already is
 * not written again. With it, a later vmkernel that finds all of the VM here, standing
 * still, goes by the record of the .vmx file, as the earlier one would have
 * (vmotion/source.c): the token and the owner that were noted: it was handed over to us,
 * and nobody else has had it. The source's, who lives: it may still be. Anything else: it
 * never will. Of the disks each came, or was released for us, or is still that of a
 * source that died meanwhile. As soon as that is known the note says taker, with what was
 * found, and from then on it is a VM like any other.
 *
 * A note of an older vmkernel has TOKEN PATH alone, and is right if all records show T.
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

#define HOLDER "holder "
#define TAKER "taker "

static const char *note_name(const struct vm *vm, bool is_next, char *buf)
{
	(void)snprintf(buf, NAME_SIZE, "vms/%u.locks%s", vm->id, is_next ? ".next" : "");
	return buf;
}

static void add_line(struct buf *text, uint64_t token, uint64_t at, const char *path)
{
	buf_printf(text, "%" PRIu64 " 0x%" PRIx64 " %s\n", token, at, path);
}

/* The first line: our mount of the volume. */
static int name_us(struct vmfs_volume *vol, const char *word, struct buf *text)
{
	struct uuid owner;
	uint32_t slot;
	char uuid[UUID_TEXT_SIZE];
	int rc = vmfs_volume_identity(vol, &owner, &slot);
	if (rc == 0)
		buf_printf(text, "%s%s\n", word, uuid_text(&owner, uuid));
	return rc;
}

struct note {
	struct vmfs_volume *vol;
	uint64_t changes; /* of hands, that are still to come */
	struct buf text;
};

/* The lock of the file at path, as that of the file called name. */
static int note_one(struct note *n, const char *path, const char *name)
{
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	int rc = info ? vmfs_lock_info(n->vol, path, info) : -ENOMEM;
	if (rc == 0)
		add_line(&n->text, info->token + n->changes, info->vol_off, name);
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
	int rc = name_us(n->vol, HOLDER, &n->text);
	if (rc == 0)
		rc = note_one(n, vmx, vm->path);
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

/* ---- reading it ---- */

struct noted {
	FILE *f;	   /* NULL: there is none */
	bool has_owner, is_taker;
	struct uuid owner;
	char line[LINE_SIZE];
};

static int parse_owner(struct noted *n)
{
	n->line[strcspn(n->line, "\n")] = '\0';
	n->is_taker = strncmp(n->line, TAKER, strlen(TAKER)) == 0;
	n->has_owner = n->is_taker || strncmp(n->line, HOLDER, strlen(HOLDER)) == 0;
	if (n->has_owner)
		return uuid_parse(strchr(n->line, ' ') + 1, &n->owner);
	rewind(n->f);
	return 0;
}

/* 0, or -errno: what is there is no note. */
static int noted_open(const struct vm *vm, bool is_next, struct noted *ret)
{
	char name[NAME_SIZE], path[HOST_PATH_SIZE];
	*ret = (struct noted){ 0 };
	ret->f = fopen(host_path(vm->host, note_name(vm, is_next, name), path), "re");
	if (!ret->f)
		return errno == ENOENT ? 0 : -errno;
	int rc = fgets(ret->line, sizeof(ret->line), ret->f) ? parse_owner(ret) : -EINVAL;
	if (rc == 0)
		return 0;
	(void)fclose(ret->f);
	ret->f = NULL;
	return rc;
}

static void noted_close(struct noted *n)
{
	if (n->f)
		(void)fclose(n->f);
}

struct noted_lock {
	uint64_t token, at; /* at: 0, where that is not noted */
	const char *path;   /* valid until the next one; NULL: the line is none */
};

/* false: that was all. */
static bool noted_next(struct noted *n, struct noted_lock *ret)
{
	int at = 0;
	*ret = (struct noted_lock){ 0 };
	if (!n->f || !fgets(n->line, sizeof(n->line), n->f))
		return false;
	n->line[strcspn(n->line, "\n")] = '\0';
	bool is_line = n->has_owner ? sscanf(n->line, "%" SCNu64 " 0x%" SCNx64 " %n",
					     &ret->token, &ret->at, &at) == 2 && at :
				      sscanf(n->line, "%" SCNu64 " %n", &ret->token,
					     &at) == 1 && at;
	ret->path = is_line ? n->line + at : NULL;
	return true;
}

/* The record as it is now; -ESTALE: it is another file's. */
static int lock_now(const struct vm *vm, const struct noted_lock *l,
		    struct vmfs_lock_info *ret)
{
	int rc = vmfs_lock_info(vm->ds->vol, l->path, ret);
	return rc == 0 && l->at && l->at != ret->vol_off ? -ESTALE : rc;
}

static bool is_held_by(const struct vmfs_lock_info *info, const struct uuid *owner)
{
	return info->holder_count == 1 && uuid_equal(&info->holders[0].owner, owner);
}

/* ---- of what had come ---- */

/* 1: it is for us to take; 0: it may be, soon; -ESTALE; -errno. */
static int judge(const struct vm *vm, const struct noted_lock *l,
		 const struct uuid *owner, uint64_t *ret_now)
{
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	int rc = info ? lock_now(vm, l, info) : -ENOMEM;
	if (rc < 0)
		return rc;
	bool is_config = strcmp(l->path, vm->path) == 0;
	bool is_ours = is_held_by(info, owner);
	*ret_now = info->token;
	if (info->token == l->token)
		return is_ours || (!is_config && !info->holder_count) ? 1 : -ESTALE;
	if (info->token + 1 != l->token || info->holder_count != 1 || is_ours)
		return -ESTALE;
	return info->is_current[0] ? 0 : is_config ? -ESTALE : 1;
}

static int await_one(const struct vm *vm, const struct noted_lock *l,
		     const struct uuid *owner, struct buf *ret_found)
{
	uint64_t now = 0;
	int rc;
	while ((rc = judge(vm, l, owner, &now)) == 0) {
		if (atomic_load(&vm->is_cancelled))
			return -ECANCELED;
		task_sleep_until(clock_now() + LOOK_PAUSE);
	}
	if (rc > 0)
		add_line(ret_found, now, l->at, l->path);
	return rc < 0 ? rc : 0;
}

static int await_noted(const struct vm *vm, struct noted *n, struct buf *ret_found)
{
	struct noted_lock l;
	int rc = n->has_owner ? 0 : -ESTALE;
	for (bool is_first = true; rc == 0 && noted_next(n, &l); is_first = false) {
		/* The .vmx file's comes first, and decides. */
		if (!l.path || is_first != (strcmp(l.path, vm->path) == 0))
			return -ESTALE;
		rc = await_one(vm, &l, &n->owner, ret_found);
	}
	return rc == 0 && !ret_found->len ? -ESTALE : rc;
}

static int await_locks(const struct vm *vm, struct noted *n, struct buf *ret_found,
		       char *ret_why, uint32_t size)
{
	int rc = await_noted(vm, n, ret_found);
	if (rc < 0)
		(void)snprintf(ret_why, size, "it had come from another host, whose it "
			       "is: %s", rc == -ESTALE ? "its lock did not come" :
							 strerror(-rc));
	return rc;
}

/* ---- before they are taken ---- */

/* Was the file nobody else's since the note? *ret_info: as it is now. */
static int look(const struct vm *vm, const struct noted *n, const struct noted_lock *l,
		struct vmfs_lock_info *ret_info)
{
	int rc = lock_now(vm, l, ret_info);
	if (rc < 0)
		return rc;
	bool is_noted = n->has_owner && is_held_by(ret_info, &n->owner);
	if (ret_info->token == l->token)
		return is_noted || n->is_taker || !n->has_owner ? 0 : -ESTALE;
	return is_noted && ret_info->token == l->token + 1 ? 0 : -ESTALE;
}

static int say_lapsed(const struct vm *vm, const char *path, char *ret_why, uint32_t size)
{
	char file[VM_WHY_SIZE / 2];
	(void)snprintf(ret_why, size,
		       "%s: somebody else had it while no vmkernel was here: what the "
		       "guest remembers may be wrong",
		       vm_file_text(vm, path, file, sizeof(file)));
	return -ESTALE;
}

static int check_noted(const struct vm *vm, struct noted *n, struct buf *ret_found,
		       char *ret_why, uint32_t size)
{
	struct noted_lock l;
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	while (noted_next(n, &l)) {
		if (!info || !l.path || look(vm, n, &l, info) < 0)
			return say_lapsed(vm, l.path ? l.path : n->line, ret_why, size);
		add_line(ret_found, info->token, info->vol_off, l.path);
	}
	/* Without a disk there is nothing to lose. */
	if (ret_found->len || !vm->disk_keys[0])
		return 0;
	(void)snprintf(ret_why, size,
		       "it is not known whether others had its disks meanwhile");
	return -ESTALE;
}

/* All files of one note, as they are now. */
static int find(const struct vm *vm, bool is_next, struct buf *ret_found, char *ret_why,
		uint32_t size)
{
	struct noted n;
	int rc = noted_open(vm, is_next, &n);
	if (rc < 0)
		(void)snprintf(ret_why, size, "what was locked for it cannot be read: %s",
			       strerror(-rc));
	else if (vm->has_come && !n.is_taker)
		rc = await_locks(vm, &n, ret_found, ret_why, size);
	else
		rc = check_noted(vm, &n, ret_found, ret_why, size);
	noted_close(&n);
	return rc;
}

/* In the place of both notes. */
static int note_taker(const struct vm *vm, const struct buf *found)
{
	char name[NAME_SIZE], path[HOST_PATH_SIZE];
	struct buf text = { 0 };
	int rc = name_us(vm->ds->vol, TAKER, &text);
	buf_printf(&text, "%s", found->data);
	if (rc == 0)
		rc = text.error ? text.error : found->error;
	if (rc == 0)
		rc = host_write_text(vm->host, note_name(vm, false, name), text.data,
				     0640);
	if (rc == 0)
		(void)unlink(host_path(vm->host, note_name(vm, true, name), path));
	buf_done(&text);
	return rc;
}

int vm_claim_locks(const struct vm *vm, char *ret_why, uint32_t size)
{
	char name[NAME_SIZE], path[HOST_PATH_SIZE], why[VM_WHY_SIZE];
	struct buf found = { 0 };
	int rc = find(vm, false, &found, ret_why, size);
	if (rc < 0 && !vm->has_come &&
	    access(host_path(vm->host, note_name(vm, true, name), path), F_OK) == 0) {
		buf_done(&found);
		found = (struct buf){ 0 };
		rc = find(vm, true, &found, why, sizeof(why));
	}
	if (rc == 0 && found.len) {
		rc = note_taker(vm, &found);
		if (rc < 0)
			(void)snprintf(ret_why, size, "%s: %s",
				       host_path(vm->host, note_name(vm, false, name),
						 path),
				       strerror(-rc));
	}
	buf_done(&found);
	return rc;
}

/* ---- after all are taken ---- */

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

int vm_check_locks(const struct vm *vm, char *ret_why, uint32_t size)
{
	struct noted n;
	struct noted_lock l;
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	int rc = noted_open(vm, false, &n);
	if (rc < 0)
		(void)say_lapsed(vm, NULL, ret_why, size);
	while (rc == 0 && noted_next(&n, &l)) {
		/* Of a disk that was just coming, or going, nothing is remembered. */
		if (l.path && !is_held(vm, l.path))
			continue;
		if (!info || !l.path || look(vm, &n, &l, info) < 0 ||
		    info->token != l.token + 1)
			rc = say_lapsed(vm, l.path ? l.path : n.line, ret_why, size);
	}
	noted_close(&n);
	return rc;
}
