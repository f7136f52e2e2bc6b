/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_twin FOLDER OTHER SEED COUNT: the same calls in a folder of the mount and in one
 * of a filesystem of Linux's own, chosen by the seed, by root and two others; each has to
 * say the same in both (result, errno, bytes), and to leave the same behind: kinds,
 * modes, owners, links, lengths, whether the time of modification moved, and in the end
 * whole trees. TAP. Run by root; OTHER must let others in.
 *
 * What VMFS cannot have (second names, pipes, devices, names above 127 bytes) is not
 * asked for here but in mount_posix.c. Times of access are nobody's business.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/mount/calls.h"
#include "tests/mount/points.h"

#define SLOTS 6u
#define BYTES_MAX 8192u
#define END_MAX 30000u
#define PATH_SIZE 400u
#define COMPARE_EACH 40u
#define STEPS_SHOWN 12u

/* One call, the same on both sides. */
struct step {
	unsigned int kind, slot;
	uid_t user; /* 0: root */
	char path[PATH_SIZE], path2[PATH_SIZE];
	unsigned int flags;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	off_t at;
	size_t len;
	int byte;
};

static int roots[2], fds[2][SLOTS];
static uint8_t bytes[2][BYTES_MAX];
static uint64_t state;
static struct step recent[STEPS_SHOWN];
static unsigned int step_count;
static bool is_different;

/* ---- chance ---- */

static unsigned int pick(unsigned int count)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned int)((state >> 20) % count);
}

static bool one_in(unsigned int count)
{
	return pick(count) == 0;
}

/* Never above the folder: ".." only behind a name, and links lead to names alone. */
static void pick_path(char path[static PATH_SIZE])
{
	static const char *const names[] = { "a", "b", "c", "d" };
	unsigned int depth = 1 + pick(3);
	path[0] = 0;
	if (one_in(60)) {
		memset(path, 'n', 256);
		path[256] = 0;
		return;
	}
	for (unsigned int i = 0; i < depth; i++) {
		const char *name = names[pick(4)];
		if (i && one_in(12))
			name = one_in(2) ? "." : "..";
		if (i)
			strcat(path, "/");
		strcat(path, name);
		if (!strcmp(name, ".."))
			return; /* one is enough */
	}
	if (one_in(20))
		strcat(path, "/");
}

/* ---- calls ---- */

typedef int call_fn(int side, const struct step *s);

static int call_open(int side, const struct step *s)
{
	static const int access[] = { O_RDONLY, O_WRONLY, O_RDWR };
	int flags = access[s->flags & 3 ? (s->flags & 3) - 1 : 0] | O_CLOEXEC |
		    O_NONBLOCK;
	flags |= s->flags & 4 ? O_CREAT : 0;
	flags |= (s->flags & 12) == 12 ? O_EXCL : 0;
	flags |= (s->flags & 0x30) == 0x30 ? O_TRUNC : 0;
	flags |= s->flags & 0x40 ? O_APPEND : 0;
	flags |= (s->flags & 0x180) == 0x180 ? O_NOFOLLOW : 0;
	flags |= (s->flags & 0xe00) == 0xe00 ? O_DIRECTORY : 0;
	if (fds[side][s->slot] >= 0)
		(void)close(fds[side][s->slot]);
	fds[side][s->slot] = open(s->path, flags, s->mode);
	return fds[side][s->slot] < 0 ? -1 : 0;
}

static int call_close(int side, const struct step *s)
{
	int fd = fds[side][s->slot];
	fds[side][s->slot] = -1;
	return fd < 0 ? 0 : close(fd);
}

static int call_pread(int side, const struct step *s)
{
	memset(bytes[side], 0, sizeof(bytes[side]));
	return (int)pread(fds[side][s->slot], bytes[side], s->len, s->at);
}

static int call_pwrite(int side, const struct step *s)
{
	memset(bytes[side], s->byte, s->len);
	return (int)pwrite(fds[side][s->slot], bytes[side], s->len, s->at);
}

static int call_write(int side, const struct step *s)
{
	memset(bytes[side], s->byte, s->len);
	return (int)write(fds[side][s->slot], bytes[side], s->len);
}

static int call_ftruncate(int side, const struct step *s)
{
	return ftruncate(fds[side][s->slot], s->at);
}

static int call_fchmod(int side, const struct step *s)
{
	return fchmod(fds[side][s->slot], s->mode);
}

static int call_fsync(int side, const struct step *s)
{
	return fsync(fds[side][s->slot]);
}

static int call_punch(int side, const struct step *s)
{
	return fallocate(fds[side][s->slot],
			 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, s->at,
			 (off_t)s->len);
}

static int call_allocate(int side, const struct step *s)
{
	return fallocate(fds[side][s->slot], 0, s->at, (off_t)s->len);
}

/* What is not there already is killed by, so only within the file. */
static int call_map(int side, const struct step *s)
{
	struct stat st;
	int fd = fds[side][s->slot];
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= s->at)
		return 0;
	uint8_t *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0);
	if (map == MAP_FAILED)
		return -1;
	map[s->at] = (uint8_t)s->byte;
	int rc = msync(map, (size_t)st.st_size, MS_SYNC);
	return rc | munmap(map, (size_t)st.st_size);
}

static int call_copy(int side, const struct step *s)
{
	off_t in = s->at, out = s->byte;
	unsigned int to = (s->slot + 1) % SLOTS;
	return (int)copy_file_range(fds[side][s->slot], &in, fds[side][to], &out, s->len,
				    0);
}

static int call_mkdir(int side, const struct step *s)
{
	(void)side;
	return mkdir(s->path, s->mode & 07777);
}

static int call_rmdir(int side, const struct step *s)
{
	(void)side;
	return rmdir(s->path);
}

static int call_unlink(int side, const struct step *s)
{
	(void)side;
	return unlink(s->path);
}

static int call_rename(int side, const struct step *s)
{
	static const unsigned int flags[] = { 0, 0, 0, 0, RENAME_NOREPLACE,
					      RENAME_EXCHANGE };
	(void)side;
	return rename2(s->path, s->path2, flags[s->flags % 6]);
}

static int call_symlink(int side, const struct step *s)
{
	static const char *const targets[] = { "a", "b", "c/d", "a/b", "d", "none" };
	(void)side;
	return symlink(targets[s->flags % 6], s->path);
}

static int call_readlink(int side, const struct step *s)
{
	memset(bytes[side], 0, sizeof(bytes[side]));
	return (int)readlink(s->path, (char *)bytes[side], sizeof(bytes[side]));
}

static int call_mknod(int side, const struct step *s)
{
	(void)side;
	return mknod(s->path, S_IFREG | (s->mode & 07777), 0);
}

static int call_chmod(int side, const struct step *s)
{
	(void)side;
	return chmod(s->path, s->mode);
}

static int call_chown(int side, const struct step *s)
{
	(void)side;
	return s->flags & 1 ? lchown(s->path, s->uid, s->gid)
			    : chown(s->path, s->uid, s->gid);
}

static int call_truncate(int side, const struct step *s)
{
	(void)side;
	return truncate(s->path, one_in(1) && s->flags % 50 == 0 ? -1 : s->at);
}

static int call_utimens(int side, const struct step *s)
{
	static const long how[] = { UTIME_NOW, UTIME_OMIT, 0, 1000000000 };
	const struct timespec times[2] = { { 1234, how[s->flags % 4] },
					   { 2345, how[s->flags / 4 % 4] } };
	(void)side;
	return utimensat(AT_FDCWD, s->path, s->flags & 256 ? NULL : times,
			 s->flags & 512 ? AT_SYMLINK_NOFOLLOW : 0);
}

static int call_access(int side, const struct step *s)
{
	(void)side;
	return faccessat(AT_FDCWD, s->path, (int)(s->flags & 7), AT_EACCESS);
}

static int call_look(int side, const struct step *s)
{
	struct stat st;
	(void)side;
	return s->flags & 1 ? stat(s->path, &st) : lstat(s->path, &st);
}

static const struct kind {
	const char *name;
	call_fn *call;
	bool has_bytes; /* to be compared */
	bool is_of_slot;
	unsigned int weight;
} kinds[] = {
	{ "open", call_open, false, false, 14 },
	{ "close", call_close, false, true, 3 },
	{ "pread", call_pread, true, true, 4 },
	{ "pwrite", call_pwrite, false, true, 6 },
	{ "write", call_write, false, true, 4 },
	{ "ftruncate", call_ftruncate, false, true, 3 },
	{ "fchmod", call_fchmod, false, true, 2 },
	{ "fsync", call_fsync, false, true, 1 },
	{ "punch", call_punch, false, true, 2 },
	{ "allocate", call_allocate, false, true, 2 },
	{ "map", call_map, false, true, 2 },
	{ "copy_file_range", call_copy, false, true, 2 },
	{ "mkdir", call_mkdir, false, false, 9 },
	{ "rmdir", call_rmdir, false, false, 5 },
	{ "unlink", call_unlink, false, false, 6 },
	{ "rename", call_rename, false, false, 10 },
	{ "symlink", call_symlink, false, false, 3 },
	{ "readlink", call_readlink, true, false, 1 },
	{ "mknod", call_mknod, false, false, 2 },
	{ "chmod", call_chmod, false, false, 5 },
	{ "chown", call_chown, false, false, 4 },
	{ "truncate", call_truncate, false, false, 4 },
	{ "utimensat", call_utimens, false, false, 3 },
	{ "access", call_access, false, false, 2 },
	{ "stat", call_look, false, false, 2 },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static unsigned int pick_kind(void)
{
	unsigned int sum = 0, i = 0;
	for (i = 0; i < KINDS; i++)
		sum += kinds[i].weight;
	unsigned int at = pick(sum);
	for (i = 0; at >= kinds[i].weight; i++)
		at -= kinds[i].weight;
	return i;
}

static struct step pick_step(void)
{
	static const uid_t users[] = { 0, 0, OTHER, ANOTHER };
	static const uid_t ids[] = { 0, OTHER, ANOTHER, (uid_t)-1 };
	static const mode_t modes[] = { 0777, 0777, 0666, 0644, 0755, 0700, 01777, 02775,
					06777, 0 };
	struct step s = {
		.kind = pick_kind(), .slot = pick(SLOTS), .user = users[pick(4)],
		.flags = pick(1u << 12), .mode = modes[pick(10)], .uid = ids[pick(4)],
		.gid = ids[pick(4)], .at = pick(END_MAX), .len = 1 + pick(BYTES_MAX - 1),
		.byte = 'a' + (int)pick(26),
	};
	pick_path(s.path);
	pick_path(s.path2);
	return s;
}

/* ---- what is different ---- */

static void differs(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void differs(const char *format, ...)
{
	va_list list;
	if (!is_different) {
		unsigned int from = step_count > STEPS_SHOWN ? step_count - STEPS_SHOWN
							     : 0;
		for (unsigned int i = from; i < step_count; i++) {
			const struct step *s = &recent[i % STEPS_SHOWN];
			printf("# %u: user %u %s slot %u \"%s\" \"%s\" flags %x mode %o "
			       "ids %u.%u at %lld len %zu\n",
			       i, s->user, kinds[s->kind].name, s->slot, s->path,
			       s->path2, s->flags, s->mode, s->uid, s->gid,
			       (long long)s->at, s->len);
		}
	}
	is_different = true;
	va_start(list, format);
	printf("# ");
	(void)vprintf(format, list);
	printf("\n");
	va_end(list);
}

static bool is_same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode && a->st_uid == b->st_uid &&
	       a->st_gid == b->st_gid && a->st_nlink == b->st_nlink &&
	       (S_ISDIR(a->st_mode) || a->st_size == b->st_size);
}

static void compare_stats(const char *what, const struct stat *st)
{
	if (!is_same_stat(&st[0], &st[1]))
		differs("%s: mode %o and %o, owner %u.%u and %u.%u, links %u and %u, "
			"%lld and %lld bytes",
			what, st[0].st_mode, st[1].st_mode, st[0].st_uid, st[0].st_gid,
			st[1].st_uid, st[1].st_gid, (unsigned int)st[0].st_nlink,
			(unsigned int)st[1].st_nlink, (long long)st[0].st_size,
			(long long)st[1].st_size);
}

/* By root. moved: compare whether the time of modification was set away from AT. */
static void compare_name(const char *path, bool is_timed)
{
	struct stat st[2] = { { 0 }, { 0 } };
	int rc[2];
	for (int side = 0; side < 2; side++)
		rc[side] = fchdir(roots[side]) || lstat(path, &st[side]) ? errno : 0;
	if (rc[0] != rc[1])
		differs("%s: %s and %s", path, strerror(rc[0]), strerror(rc[1]));
	compare_stats(path, st);
	if (is_timed && (st[0].st_mtime == AT) != (st[1].st_mtime == AT))
		differs("%s: its time %s in the mount alone", path,
			st[0].st_mtime == AT ? "stays" : "moves");
}

static void compare_slot(unsigned int slot)
{
	struct stat st[2];
	if (fds[0][slot] < 0)
		return;
	if (fstat(fds[0][slot], &st[0]) || fstat(fds[1][slot], &st[1]))
		differs("slot %u: %s", slot, strerror(errno));
	else
		compare_stats("a slot", st);
}

static void parent_of(const char *path, char ret[static PATH_SIZE])
{
	strcpy(ret, path);
	size_t len = strlen(ret);
	while (len && ret[len - 1] == '/')
		ret[--len] = 0;
	char *slash = strrchr(ret, '/');
	if (slash)
		*slash = 0;
	else
		strcpy(ret, ".");
}

/* Both, so that it is seen whose time moves. false: there is nothing to be set. */
static bool set_back(const char *path)
{
	const struct timespec old[2] = { { AT, 0 }, { AT, 0 } };
	int rc = 0;
	for (int side = 0; side < 2; side++)
		rc |= fchdir(roots[side]) |
		      utimensat(AT_FDCWD, path, old, AT_SYMLINK_NOFOLLOW);
	return rc == 0;
}

/* ---- trees ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_content_same(const char *path)
{
	static char buf[2][2 * END_MAX + BYTES_MAX];
	ssize_t n[2] = { -1, -1 };
	for (int side = 0; side < 2; side++) {
		int fd = fchdir(roots[side]) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
		n[side] = fd < 0 ? -1 : read(fd, buf[side], sizeof(buf[side]));
		if (fd >= 0)
			(void)close(fd);
	}
	return n[0] >= 0 && n[0] == n[1] && !memcmp(buf[0], buf[1], (size_t)n[0]);
}

static void compare_tree(const char *path)
{
	struct dirent **list[2];
	int n[2], same = 0;
	for (int side = 0; side < 2; side++)
		n[side] = fchdir(roots[side]) ? -1
					      : scandir(path, &list[side], NULL, by_name);
	if (n[0] < 0 || n[1] < 0) {
		differs("%s: cannot be listed", path);
		return;
	}
	for (; same < n[0] && same < n[1]; same++)
		if (strcmp(list[0][same]->d_name, list[1][same]->d_name) != 0)
			break;
	if (same < n[0] || same < n[1])
		differs("%s: lists %s and %s", path,
			same < n[0] ? list[0][same]->d_name : "no more",
			same < n[1] ? list[1][same]->d_name : "no more");
	for (int i = 0; i < same && !is_different; i++) {
		char below[4096];
		struct stat st = { 0 };
		if (!strcmp(list[0][i]->d_name, ".") || !strcmp(list[0][i]->d_name, ".."))
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", path, list[0][i]->d_name);
		compare_name(below, false);
		(void)lstat(below, &st);
		if (S_ISREG(st.st_mode) && !is_content_same(below))
			differs("%s: its bytes", below);
		if (S_ISDIR(st.st_mode))
			compare_tree(below);
	}
	for (int side = 0; side < 2; side++) {
		for (int i = 0; i < n[side]; i++)
			free(list[side][i]);
		free(list[side]);
	}
}

/* ---- */

static void run_step(const struct step *s)
{
	const struct kind *kind = &kinds[s->kind];
	char parents[2][PATH_SIZE];
	int rc[2];
	parent_of(s->path, parents[0]);
	parent_of(s->path2, parents[1]);
	bool is_timed = set_back(s->path), is_timed2 = set_back(s->path2);
	bool are_timed[2] = { set_back(parents[0]), set_back(parents[1]) };
	for (int side = 0; side < 2; side++) {
		if (fchdir(roots[side]))
			_exit(99);
		if (s->user)
			become(s->user, s->user);
		rc[side] = kind->call(side, s);
		rc[side] = rc[side] < 0 ? -errno : rc[side];
		become_root();
	}
	if (rc[0] != rc[1])
		differs("%s: %d (%s) and %d (%s)", kind->name, rc[0],
			rc[0] < 0 ? strerror(-rc[0]) : "", rc[1],
			rc[1] < 0 ? strerror(-rc[1]) : "");
	else if (kind->has_bytes && memcmp(bytes[0], bytes[1], BYTES_MAX) != 0)
		differs("%s: other bytes", kind->name);
	compare_slot(s->slot);
	if (kind->is_of_slot)
		return;
	bool is_timing = kind->call != call_utimens;
	compare_name(s->path, is_timed && is_timing);
	compare_name(s->path2, is_timed2 && is_timing);
	compare_name(parents[0], are_timed[0] && is_timing);
	compare_name(parents[1], are_timed[1] && is_timing);
}

static void run(uint64_t seed, unsigned int count)
{
	char text[80];
	state = (seed + 1) * 0x9E3779B97F4A7C15ull;
	is_different = false;
	for (unsigned int i = 0; i < SLOTS; i++)
		fds[0][i] = fds[1][i] = -1;
	for (step_count = 0; step_count < count && !is_different;) {
		struct step s = pick_step();
		recent[step_count++ % STEPS_SHOWN] = s;
		run_step(&s);
		if (step_count % COMPARE_EACH == 0 && !is_different)
			compare_tree(".");
	}
	for (unsigned int i = 0; i < 2 * SLOTS; i++)
		if (fds[i % 2][i / 2] >= 0)
			(void)close(fds[i % 2][i / 2]);
	if (!is_different)
		compare_tree(".");
	(void)snprintf(text, sizeof(text), "seed %llu: %u calls say the same",
		       (unsigned long long)seed, step_count);
	holds(!is_different, text);
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fputs("usage: mount_twin FOLDER OTHER SEED COUNT\n", stderr);
		return 2;
	}
	for (int side = 0; side < 2; side++) {
		roots[side] = open(argv[1 + side], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (roots[side] < 0 || fchmod(roots[side], 0777)) {
			perror(argv[1 + side]);
			return 2;
		}
	}
	(void)umask(0);
	(void)setgroups(0, NULL);
	run(strtoull(argv[3], NULL, 10), (unsigned int)atoi(argv[4]));
	return points_end();
}
