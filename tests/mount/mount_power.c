/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_power power FOLDER SEED OPERATIONS STATES LOG BASE IMAGE OTHER
 * mount_power kill FOLDER SEED OPERATIONS PID LUN OTHER
 *
 * Works in FOLDER, of a mount, and remembers what was there after each operation, and
 * when something was synced. Then the power has failed at STATES moments: from BASE, the
 * image before, and LOG, what was written to it (tests/lib/writelog.h), IMAGE becomes
 * what may be left; or PID, the mount, is killed meanwhile and LUN is what is left. That
 * is mounted at OTHER, and has to be what FOLDER was at ONE moment, not before the last
 * sync (kill: not before the last answer), the one operation that was under way done in
 * part at most. fsck.vmfs has nothing to say.
 *
 * What is written in place has its own rule: each sector of the file "blocks" and of the
 * disk "child.raw" is as last synced, or as written after that.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/writelog.h"

#define NAMES 16u   /* of files, half of them in each of two folders */
#define FOLDERS 4u  /* that come and go */
#define PATCHES 2u  /* files written in place */
#define DISK 1	   /* of those; its fsync speaks for itself alone */
#define BLOCKS 64u
#define BLOCK 4096u
#define SECTOR 512u
#define KEPT_US 1100000u /* longer than the kernel keeps what it has seen */
#define FILE_MAX (300u << 10)
#define ADDED_MAX (100u << 10)

struct file {
	uint32_t id; /* 0: none; else says what is in it */
	uint32_t size;
};

/* All that has a name. */
struct tree {
	struct file file[NAMES];
	bool has_folder[FOLDERS];
};

/* An operation: what it left, and how long the log was before and behind it. */
struct step {
	struct tree after;
	int grows; /* the name whose file is written, or -1 */
	uint64_t begun, answered; /* answered: 0: never */
	bool is_sync;
	int patch; /* which of them was written or synced, or -1 */
	unsigned int block;
};

struct run {
	const char *folder, *other, *log;
	uint64_t seed;
	struct step *step; /* [0]: all is there and synced */
	unsigned int count;
	uint32_t last_id;
	pid_t victim; /* the mount that is to be killed; 0: none */
	bool is_dead;
	char *buf;    /* FILE_MAX bytes, aligned */
};

static const char *const patches[PATCHES] = { "blocks", "child.raw" };

static uint64_t draw(struct run *r, uint64_t below)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return r->seed % below;
}

static void die(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t length_of(const char *path)
{
	struct stat st;
	return path && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void name_of(unsigned int i, char path[static 64])
{
	(void)snprintf(path, 64, "%s/f%u", i < NAMES / 2 ? "a" : "b", i);
}

static void folder_of(unsigned int i, char path[static 64])
{
	(void)snprintf(path, 64, "a/d%u", i);
}

static uint8_t byte_of(uint32_t id, uint32_t at)
{
	return (uint8_t)(id * 131 + at * 7 + (at >> 8) * 13 + 1);
}

/* ---- working ---- */

static bool write_more(struct run *r, int dir, const char *path, struct file f,
		       uint32_t from)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (uint32_t at = from; at < f.size; at++)
		r->buf[at] = (char)byte_of(f.id, at);
	bool is_done = fd >= 0 && pwrite(fd, r->buf + from, f.size - from, from) ==
					  (ssize_t)(f.size - from);
	return fd >= 0 && close(fd) == 0 && is_done;
}

static bool sync_path(int dir, const char *path)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	bool is_done = fd >= 0 && fsync(fd) == 0;
	return fd >= 0 && close(fd) == 0 && is_done;
}

/* A name that has a file, or has none; -1 after some tries. */
static int pick(struct run *r, const struct tree *t, bool has_file)
{
	for (unsigned int i = 0; i < 20; i++) {
		unsigned int name = (unsigned int)draw(r, NAMES);
		if ((t->file[name].id != 0) == has_file)
			return (int)name;
	}
	return -1;
}

/* Files come, grow, are cut, go, and get other names. */
static bool change_file(struct run *r, int dir, struct step *s)
{
	char path[64], to[64];
	struct file *f;
	unsigned int kind = (unsigned int)draw(r, 6);
	int name = pick(r, &s->after, kind > 1);
	if (name < 0)
		return true;
	name_of((unsigned int)name, path);
	f = &s->after.file[name];
	uint32_t old = f->size;
	switch (kind) {
	case 0:
	case 1:
		*f = (struct file){ ++r->last_id,
				    (uint32_t)draw(r, FILE_MAX - ADDED_MAX) };
		s->grows = name;
		return write_more(r, dir, path, *f, 0);
	case 2:
		if (old > FILE_MAX - ADDED_MAX)
			return true;
		f->size += (uint32_t)draw(r, ADDED_MAX);
		s->grows = name;
		return write_more(r, dir, path, *f, old);
	case 3:
		*f = (struct file){ 0, 0 };
		return unlinkat(dir, path, 0) == 0;
	default: {
		unsigned int other = (unsigned int)draw(r, NAMES);
		name_of(other, to);
		if (other != (unsigned int)name) {
			s->after.file[other] = *f;
			*f = (struct file){ 0, 0 };
		}
		return renameat(dir, path, dir, to) == 0;
	}
	}
}

static bool change_folder(struct run *r, int dir, struct step *s)
{
	char path[64];
	unsigned int i = (unsigned int)draw(r, FOLDERS);
	bool *has = &s->after.has_folder[i];
	folder_of(i, path);
	*has = !*has;
	return *has ? mkdirat(dir, path, 0700) == 0
		    : unlinkat(dir, path, AT_REMOVEDIR) == 0;
}

/* Sector by sector: which block, and what wrote it. */
static void stamp(char *to, unsigned int block, unsigned int version)
{
	for (unsigned int i = 0; i < BLOCK; i += SECTOR) {
		memset(to + i, (int)version, SECTOR);
		memcpy(to + i, &(uint32_t[]){ block, version }, 8);
	}
}

static bool write_mapped(int fd, const char *from, unsigned int block)
{
	char *at = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return false;
	memcpy(at + block * BLOCK, from, BLOCK);
	bool is_done = msync(at, BLOCKS * BLOCK, MS_SYNC) == 0;
	return munmap(at, BLOCKS * BLOCK) == 0 && is_done;
}

/* In place: by the page cache, past it, or in mapped memory. */
static bool change_patch(struct run *r, int dir, struct step *s)
{
	/* Mapped memory of a mount that is gone is SIGBUS. */
	unsigned int way = (unsigned int)draw(r, r->victim ? 2 : 3);
	s->patch = (int)draw(r, PATCHES);
	s->block = (unsigned int)draw(r, BLOCKS);
	int fd = openat(dir, patches[s->patch],
			O_RDWR | O_CLOEXEC | (way == 0 ? O_DIRECT : 0));
	stamp(r->buf, s->block, r->count);
	bool is_done = fd >= 0 && (way == 2 ? write_mapped(fd, r->buf, s->block)
					    : pwrite(fd, r->buf, BLOCK,
						     s->block * BLOCK) == BLOCK);
	return fd >= 0 && close(fd) == 0 && is_done;
}

static bool sync_something(struct run *r, int dir, struct step *s)
{
	char path[64] = "a";
	int name = pick(r, &s->after, true);
	s->is_sync = true;
	switch (draw(r, 3)) {
	case 0:
		s->patch = (int)draw(r, PATCHES);
		(void)snprintf(path, sizeof(path), "%s", patches[s->patch]);
		break;
	case 1:
		if (name >= 0)
			name_of((unsigned int)name, path);
	}
	int fd = s->patch >= 0 ? openat(dir, path, O_RDWR | O_CLOEXEC) : -1;
	if (s->patch < 0)
		return sync_path(dir, path);
	bool is_done = fd >= 0 && fsync(fd) == 0;
	return fd >= 0 && close(fd) == 0 && is_done;
}

static bool do_step(struct run *r, int dir, struct step *s)
{
	unsigned int kind = (unsigned int)draw(r, 10);
	return kind < 5	  ? change_file(r, dir, s)
	       : kind < 6 ? change_folder(r, dir, s)
	       : kind < 9 ? change_patch(r, dir, s)
			  : sync_something(r, dir, s);
}

/* What all begins with. */
static bool prepare(struct run *r, int dir)
{
	bool is_done = mkdirat(dir, "a", 0700) == 0 && mkdirat(dir, "b", 0700) == 0;
	for (unsigned int p = 0; p < PATCHES && is_done; p++) {
		int fd = openat(dir, patches[p], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		for (unsigned int b = 0; b < BLOCKS && is_done; b++) {
			stamp(r->buf, b, 0);
			is_done = pwrite(fd, r->buf, BLOCK, b * BLOCK) == BLOCK;
		}
		is_done = is_done && fsync(fd) == 0 && close(fd) == 0;
	}
	return is_done && sync_path(dir, ".");
}

/* Kills the mount after some milliseconds. */
static void kill_later(struct run *r)
{
	unsigned int wait_us = 1000 * (unsigned int)draw(r, 1500);
	if (fork() == 0) {
		(void)usleep(wait_us);
		_exit(kill(r->victim, SIGKILL) != 0);
	}
}

/* What a killed mount says. */
static bool is_gone(const struct run *r)
{
	return r->victim && (errno == ENOTCONN || errno == ECONNABORTED || errno == EIO);
}

static void work(struct run *r, unsigned int count)
{
	int dir = open(r->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || !prepare(r, dir))
		die("the beginning");
	r->step[0] = (struct step){ .is_sync = true, .grows = -1, .patch = -1,
				    .begun = length_of(r->log),
				    .answered = length_of(r->log) + 1 };
	if (r->victim)
		kill_later(r);
	for (r->count = 1; r->count <= count && !r->is_dead; r->count++) {
		struct step *s = &r->step[r->count];
		*s = (struct step){ .after = s[-1].after, .grows = -1, .patch = -1,
				    .begun = length_of(r->log) };
		r->is_dead = !do_step(r, dir, s);
		if (r->is_dead && !is_gone(r))
			die("an operation");
		s->answered = r->is_dead ? 0 : length_of(r->log) + 1;
	}
	(void)close(dir);
}

/* ---- judging ---- */

struct seen {
	bool is_there;
	uint32_t size;
	char *bytes;
};

static struct seen look(int dir, const char *path)
{
	struct seen seen = { false, 0, NULL };
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0)
		return seen;
	if (fstat(fd, &st) != 0 || st.st_size > FILE_MAX)
		die(path);
	seen = (struct seen){ true, (uint32_t)st.st_size, malloc(FILE_MAX) };
	if (!seen.bytes || pread(fd, seen.bytes, seen.size, 0) != (ssize_t)seen.size)
		die(path);
	(void)close(fd);
	return seen;
}

static bool has_bytes(const struct seen *seen, uint32_t id)
{
	for (uint32_t i = 0; i < seen->size; i++) {
		if ((uint8_t)seen->bytes[i] != byte_of(id, i))
			return false;
	}
	return true;
}

static bool is_file(const struct seen *seen, struct file f)
{
	return f.id ? seen->is_there && seen->size == f.size && has_bytes(seen, f.id)
		    : !seen->is_there;
}

/* One that is being written from `old` to `f`. */
static bool is_between(const struct seen *seen, struct file old, struct file f)
{
	return seen->is_there && has_bytes(seen, f.id) && seen->size <= f.size &&
	       seen->size >= (old.id == f.id ? old.size : 0);
}

/* What is there is what step t left, or is on the way from there to the next. */
static bool is_moment(const struct run *r, unsigned int t, bool has_next,
		      const struct seen seen[static NAMES],
		      const bool has_folder[static FOLDERS])
{
	const struct step *s = &r->step[t];
	for (unsigned int i = 0; i < NAMES; i++) {
		bool grows = has_next && s[1].grows == (int)i;
		if (!is_file(&seen[i], s->after.file[i]) &&
		    !(grows && is_between(&seen[i], s->after.file[i],
					  s[1].after.file[i])))
			return false;
	}
	return memcmp(has_folder, s->after.has_folder, FOLDERS * sizeof(bool)) == 0;
}

/* Where the bytes begin to be others than of that file, and what stands there. */
static void tell_bytes(unsigned int name, const struct seen *seen, uint32_t id)
{
	uint32_t at = 0;
	while (at < seen->size && (uint8_t)seen->bytes[at] == byte_of(id, at))
		at++;
	if (id && at < seen->size)
		printf("#   f%u is not file %u from %u on: %02x\n", name, id, at,
		       (uint8_t)seen->bytes[at]);
}

static void tell(const struct seen seen[static NAMES],
		 const bool has_folder[static FOLDERS], const struct tree *t)
{
	for (unsigned int i = 0; i < NAMES; i++) {
		if (seen[i].is_there || t->file[i].id)
			printf("#   f%u: %s%u bytes; as of the last sync: file %u, %u\n",
			       i, seen[i].is_there ? "" : "not there, ", seen[i].size,
			       t->file[i].id, t->file[i].size);
		tell_bytes(i, &seen[i], t->file[i].id);
	}
	for (unsigned int i = 0; i < FOLDERS; i++)
		printf("#   d%u: %d, then %d\n", i, t->has_folder[i], has_folder[i]);
}

/* What the steps were that led from first to last. */
static void tell_steps(const struct run *r, const struct seen seen[static NAMES],
		       unsigned int first, unsigned int last)
{
	for (unsigned int t = first + 1; t <= last; t++) {
		const struct tree *before = &r->step[t - 1].after;
		const struct tree *now = &r->step[t].after;
		for (unsigned int i = 0; i < NAMES; i++) {
			if (!memcmp(&before->file[i], &now->file[i], sizeof(struct file)))
				continue;
			printf("#   step %u: f%u was file %u, %u, is %u, %u\n", t, i,
			       before->file[i].id, before->file[i].size,
			       now->file[i].id, now->file[i].size);
			tell_bytes(i, &seen[i], now->file[i].id);
		}
		if (memcmp(before->has_folder, now->has_folder, sizeof(now->has_folder)))
			printf("#   step %u: folders\n", t);
	}
}

/* Steps first to last: the last sync, and the last that had begun. */
static bool judge_tree(const struct run *r, int dir, unsigned int first,
		       unsigned int last)
{
	struct seen seen[NAMES];
	bool has_folder[FOLDERS], is_right = false;
	char path[64];
	for (unsigned int i = 0; i < NAMES; i++) {
		name_of(i, path);
		seen[i] = look(dir, path);
	}
	for (unsigned int i = 0; i < FOLDERS; i++) {
		folder_of(i, path);
		has_folder[i] = faccessat(dir, path, F_OK, 0) == 0;
	}
	for (unsigned int t = first; t <= last && !is_right; t++)
		is_right = is_moment(r, t, t < last, seen, has_folder);
	if (!is_right) {
		printf("# no moment from %u to %u is like that\n", first, last);
		tell(seen, has_folder, &r->step[first].after);
		tell_steps(r, seen, first, last);
		for (unsigned int t = 0; t < r->count; t++)
			if (is_moment(r, t, t + 1 < r->count, seen, has_folder))
				printf("# it is as after step %u\n", t);
	}
	for (unsigned int i = 0; i < NAMES; i++)
		free(seen[i].bytes);
	return is_right;
}

static bool judge_sector(const struct run *r, unsigned int patch, const char *sector,
			 unsigned int block, unsigned int first, unsigned int last)
{
	uint32_t is[2];
	char wanted[BLOCK];
	unsigned int synced = 0;
	memcpy(is, sector, sizeof(is));
	for (unsigned int t = 1; t <= first; t++) {
		const struct step *s = &r->step[t];
		if (s->patch == (int)patch && !s->is_sync && s->block == block)
			synced = t;
	}
	const struct step *s = &r->step[is[1] <= last ? is[1] : 0];
	bool is_new = is[1] > first && is[1] <= last && s->patch == (int)patch &&
		      !s->is_sync && s->block == block;
	stamp(wanted, block, is[1]);
	if ((is_new || is[1] == synced) && memcmp(sector, wanted, SECTOR) == 0)
		return true;
	printf("# %s, block %u: version %u of block %u; synced: %u, last: %u\n",
	       patches[patch], block, is[1], is[0], synced, last);
	return false;
}

static bool judge_patch(const struct run *r, int dir, unsigned int patch,
			unsigned int first, unsigned int last)
{
	char *bytes = malloc(BLOCKS * BLOCK);
	int fd = openat(dir, patches[patch], O_RDONLY | O_CLOEXEC);
	bool is_right = bytes && fd >= 0 &&
			pread(fd, bytes, BLOCKS * BLOCK, 0) == BLOCKS * BLOCK;
	if (!is_right)
		printf("# %s cannot be read: %s\n", patches[patch], strerror(errno));
	for (unsigned int at = 0; at < BLOCKS * BLOCK && is_right; at += SECTOR)
		is_right = judge_sector(r, patch, bytes + at, at / BLOCK, first, last);
	if (fd >= 0)
		(void)close(fd);
	free(bytes);
	return is_right;
}

static bool run_program(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool run_program(const char *format, ...)
{
	char command[4096];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command) == 0;
}

/* The process that serves image at r->other; it stands. */
static pid_t serve(const struct run *r, const char *image)
{
	struct stat before, now;
	if (stat(r->other, &before) != 0)
		die(r->other);
	pid_t child = fork();
	if (child == 0) {
		(void)execlp("vmfs-fuse", "vmfs-fuse", "-f", "-o", "rw,vdisks", image,
			     r->other, NULL);
		_exit(127);
	}
	do {
		(void)usleep(5000);
		if (waitpid(child, NULL, WNOHANG) != 0)
			return -1;
	} while (stat(r->other, &now) != 0 || now.st_dev == before.st_dev);
	return child;
}

/*
 * Writes to all, so that whoever died with a lock on it is taken over: until then fsck
 * sees what his log has and its places have not.
 */
static void touch_all(int dir)
{
	static const char *const folders[] = { ".", "a", "b" };
	char path[64];
	for (unsigned int i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/probe", folders[i]);
		int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || close(fd) != 0 || unlinkat(dir, path, 0) != 0)
			die(path);
	}
	for (unsigned int i = 0; i < NAMES + PATCHES; i++) {
		if (i < NAMES)
			name_of(i, path);
		int fd = openat(dir, i < NAMES ? path : patches[i - NAMES],
				O_RDWR | O_CLOEXEC);
		if (fd >= 0 && close(fd) != 0)
			die(path);
	}
}

/* synced: the last sync that was answered; patch_synced: of each of those. */
static bool judge(const struct run *r, const char *image, unsigned int synced,
		  const unsigned int patch_synced[static PATCHES], unsigned int last)
{
	pid_t child = serve(r, image);
	int status;
	if (child < 0) {
		printf("# it cannot be mounted\n");
		return false;
	}
	int dir = open(r->other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* FULL: as it is seen before anybody takes over, too. */
	bool is_right = dir >= 0 &&
			(!getenv("FULL") || judge_tree(r, dir, synced, last));
	if (dir >= 0)
		touch_all(dir);
	(void)usleep(KEPT_US);
	is_right = is_right && judge_tree(r, dir, synced, last);
	for (unsigned int p = 0; p < PATCHES && is_right; p++)
		is_right = judge_patch(r, dir, p, patch_synced[p], last);
	if (dir >= 0)
		(void)close(dir);
	(void)kill(child, SIGTERM);
	is_right = waitpid(child, &status, 0) == child && status == 0 && is_right;
	return run_program("fsck.vmfs -n '%s' >'%s.fsck' || { sed 's/^/# /' '%s.fsck'; "
			   "exit 1; }", image, image, image) && is_right;
}

/* ---- power ---- */

struct written {
	struct writelog_record head;
	const char *bytes;
	uint64_t end; /* of its record */
};

/* What the log is after `length` bytes: *ret_stable: the first so many are there. */
static unsigned int read_log(const char *log, uint64_t length, struct written *writes,
			     uint64_t *ret_stable)
{
	unsigned int count = 0;
	*ret_stable = 0;
	for (uint64_t at = 0; at < length;) {
		struct written w;
		memcpy(&w.head, log + at, sizeof(w.head));
		w.bytes = log + at + sizeof(w.head);
		at += sizeof(w.head) + w.head.len;
		w.end = at;
		if (at > length)
			break;
		if (w.head.kind == WRITELOG_FLUSH)
			*ret_stable = w.head.stable;
		else
			writes[count++] = w;
	}
	return count;
}

static void put(int fd, const struct written *w, uint64_t from, uint64_t len)
{
	if (pwrite(fd, w->bytes + from, len, (off_t)(w->head.off + from)) != (ssize_t)len)
		die("the image");
}

/* All before `count` was sent; of what was not flushed the disk kept what it liked. */
static void rebuild(struct run *r, int fd, const struct written *writes,
		    unsigned int count, uint64_t stable)
{
	unsigned int likes = (unsigned int)draw(r, 3); /* nothing, some, all */
	for (unsigned int i = 0; i < count; i++) {
		const struct written *w = &writes[i];
		bool is_sure = i < stable || w->head.kind == WRITELOG_FUA;
		if (is_sure || likes == 2 || (likes == 1 && draw(r, 2)))
			put(fd, w, 0, w->head.len);
		else if (likes == 1) /* the first or the last sectors */
			put(fd, w, draw(r, 2) ? 0 : w->head.len / SECTOR / 2 * SECTOR,
			    w->head.len / SECTOR / 2 * SECTOR);
	}
}

/* What is known at a length of the log, and then whether it is so. */
static bool judge_at(struct run *r, const char *image, uint64_t length)
{
	unsigned int synced = 0, last = 0, patch_synced[PATCHES] = { 0 };
	for (unsigned int t = 0; t < r->count && r->step[t].begun <= length; t++) {
		const struct step *s = &r->step[t];
		last = t;
		if (!s->is_sync || s->answered > length + 1)
			continue;
		if (s->patch != DISK)
			synced = t;
		if (s->patch >= 0)
			patch_synced[s->patch] = t;
	}
	return judge(r, image, synced, patch_synced, last);
}

static unsigned int fail_power(struct run *r, unsigned int states, const char *base,
			       const char *image)
{
	uint64_t from = r->step[0].answered, end = length_of(r->log), stable;
	unsigned int failed = 0;
	int log_fd = open(r->log, O_RDONLY | O_CLOEXEC);
	const char *log = mmap(NULL, end, PROT_READ, MAP_PRIVATE, log_fd, 0);
	struct written *writes =
		calloc(end / sizeof(struct writelog_record) + 1, sizeof(*writes));
	if (log == MAP_FAILED || !writes)
		die(r->log);
	for (unsigned int i = 0; i < states; i++) {
		uint64_t seed = r->seed, length = from + draw(r, end - from + 1);
		unsigned int count = read_log(log, length, writes, &stable);
		int fd = run_program("cp --sparse=always '%s' '%s'", base, image)
				 ? open(image, O_RDWR | O_CLOEXEC) : -1;
		if (fd < 0)
			die(image);
		rebuild(r, fd, writes, count, stable);
		(void)close(fd);
		if (!judge_at(r, image, length)) {
			printf("# that was after %llu bytes of %llu, %u writes, %llu "
			       "flushed; seed %llu\n", (unsigned long long)length,
			       (unsigned long long)end, count,
			       (unsigned long long)stable, (unsigned long long)seed);
			failed++;
		}
	}
	free(writes);
	return failed;
}

/* ---- kill ---- */

/* What was answered is there, in place as well. */
static bool survives(struct run *r, const char *lun)
{
	unsigned int last = r->count - 1, answered = r->is_dead ? last - 1 : last;
	unsigned int patch_synced[PATCHES] = { answered, answered };
	(void)run_program("fusermount3 -q -u -z '%s'", r->folder);
	return judge(r, lun, answered, patch_synced, last);
}

int main(int argc, char **argv)
{
	bool is_power = argc == 10 && strcmp(argv[1], "power") == 0;
	if (!is_power && !(argc == 8 && strcmp(argv[1], "kill") == 0))
		return 2;
	unsigned int operations = (unsigned int)atoi(argv[4]);
	struct run r = { .folder = argv[2], .other = argv[argc - 1],
			 .log = is_power ? argv[6] : NULL,
			 .seed = strtoull(argv[3], NULL, 10) * 88172645463325252ull + 1 };
	r.step = calloc(operations + 2, sizeof(*r.step));
	r.buf = aligned_alloc(BLOCK, FILE_MAX + BLOCK);
	if (!r.step || !r.buf)
		die("memory");
	r.victim = is_power ? 0 : (pid_t)atoi(argv[5]);
	work(&r, operations);
	unsigned int failed = is_power ? fail_power(&r, (unsigned int)atoi(argv[5]),
						    argv[7], argv[8])
				       : !survives(&r, argv[6]);
	printf("# %u operations, %u states were wrong\n", r.count - 1, failed);
	free(r.step);
	free(r.buf);
	return failed != 0;
}
