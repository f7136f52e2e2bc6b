/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_edges FOLDER: what processes on one mount hold against each other (ranges, whole
 * files), and the edges of calls that carry data: ways to open, the largest offsets,
 * copies that cannot be, what blocks and direct writes do to times and set-id bits,
 * places in a folder that shrinks, and who closes while a name goes. TAP, beside
 * mount_data.c and mount_calls.c. Run by root; anybody must be able to walk to the
 * folder.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/mount/calls.h"
#include "tests/mount/points.h"

#define PAGE 4096
#define NAMES 300u
#define CLOSINGS 300u

/* ---- between processes ---- */

/* What another process gets that asks for it: 0 or errno. */
static int other_locks(short type, off_t from, off_t len)
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		struct flock range = { .l_type = type, .l_whence = SEEK_SET,
				       .l_start = from, .l_len = len };
		int fd = open("f", O_RDWR | O_CLOEXEC);
		_exit(fd < 0 || fcntl(fd, F_SETLK, &range) ? errno : 0);
	}
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int other_locks_all(int how)
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		int fd = open("f", O_RDONLY | O_CLOEXEC);
		_exit(fd < 0 || flock(fd, how | LOCK_NB) ? errno : 0);
	}
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void ranges(void)
{
	struct flock mine = { .l_type = F_WRLCK, .l_start = 10, .l_len = 20 };
	fails(make("f", 0644), 0, "a file");
	int fd = open("f", O_RDWR | O_CLOEXEC), reader = open("f", O_RDONLY | O_CLOEXEC);
	fails(fcntl(fd, F_SETLK, &mine), 0, "a range of it is locked");
	holds(other_locks(F_WRLCK, 29, 1) == EAGAIN, "no other has its last byte");
	holds(other_locks(F_RDLCK, 0, 0) == EAGAIN, "nor reads it with all");
	holds(other_locks(F_WRLCK, 0, 10) == 0, "what lies before is free");
	holds(other_locks(F_WRLCK, 30, 0) == 0, "and what lies behind");
	mine.l_type = F_RDLCK;
	fails(fcntl(fd, F_SETLK, &mine), 0, "locked for reading");
	holds(other_locks(F_RDLCK, 10, 20) == 0, "others read");
	holds(other_locks(F_WRLCK, 10, 1) == EAGAIN, "and do not write");
	fails(close(open("f", O_RDONLY | O_CLOEXEC)), 0, "any descriptor is closed");
	holds(other_locks(F_WRLCK, 10, 1) == 0, "and all locks of the process go");
	mine.l_type = F_WRLCK;
	fails(fcntl(fd, F_OFD_SETLK, &mine), 0, "by the open file");
	int again = open("f", O_RDWR | O_CLOEXEC);
	fails(fcntl(again, F_OFD_SETLK, &mine), EAGAIN, "not by two of a process");
	fails(close(again), 0, "another is closed");
	holds(other_locks(F_WRLCK, 15, 1) == EAGAIN, "and it stays");
	fails(fcntl(reader, F_SETLK, &mine), EBADF, "who reads locks no writing");
	fails(close(fd), 0, "it is closed");
	holds(other_locks(F_WRLCK, 0, 0) == 0, "and all is free");
	fails(flock(reader, LOCK_SH), 0, "the file is shared");
	holds(other_locks_all(LOCK_SH) == 0, "with others");
	holds(other_locks_all(LOCK_EX) == EWOULDBLOCK, "none has it alone");
	fails(flock(reader, LOCK_EX), 0, "we do");
	holds(other_locks_all(LOCK_SH) == EWOULDBLOCK, "and share it no more");
	holds(other_locks(F_WRLCK, 0, 0) == 0, "ranges are another matter");
	fails(close(reader) | unlink("f"), 0, "it goes");
}

/* ---- ways to open ---- */

static void ways(void)
{
	char c;
	fails(make("f", 0644) | mkdir("d", 0755) | symlink("f", "l") |
		      symlink("d", "k") | symlink("none", "n"),
	      0, "one of each");
	fails(opens("n", O_CREAT | O_EXCL | O_RDWR), EEXIST,
	      "a link to nothing is there");
	fails(opens("l", O_CREAT | O_NOFOLLOW | O_RDWR), ELOOP, "a link is not opened");
	fails(opens("k", O_DIRECTORY), 0, "a link to a folder is one");
	fails(opens("k", O_DIRECTORY | O_NOFOLLOW), ENOTDIR, "unless itself is meant");
	fails(opens("l", O_DIRECTORY), ENOTDIR, "to a file is none");
	fails(opens("d", O_CREAT), EISDIR, "a folder is not made");
	fails(opens("d", O_CREAT | O_EXCL), EEXIST, "as it is there");
	fails(opens("x", O_CREAT | O_DIRECTORY), EINVAL, "nor by open");
	fails(opens(".", O_TMPFILE | O_RDWR), EOPNOTSUPP, "no file without a name");
	int fd = open("f", O_PATH | O_CLOEXEC);
	fails(read(fd, &c, 1) < 0 ? -1 : 0, EBADF, "a place alone is not read");
	fails(fchmod(fd, 0600), EBADF, "nor changed");
	struct stat st;
	fails(fstat(fd, &st) | close(fd), 0, "but looked at");
	become(OTHER, OTHER);
	fails(opens("f", O_RDONLY | O_NOATIME), EPERM, "times stay for the owner alone");
	become_root();
	fails(unlink("f") | rmdir("d") | unlink("l") | unlink("k") | unlink("n"), 0,
	      "they go");
}

/* ---- offsets ---- */

static void offsets(void)
{
	char c = 'x';
	fails(make("f", 0644), 0, "a file");
	int fd = open("f", O_RDWR | O_CLOEXEC);
	holds(pread(fd, &c, 1, 1ll << 62) == 0, "nothing is far behind the end");
	fails(pread(fd, &c, 1, -1) < 0 ? -1 : 0, EINVAL, "no place before the first");
	fails(pwrite(fd, &c, 1, 1ll << 62) < 0 ? -1 : 0, EFBIG, "nothing goes so far");
	fails(fallocate(fd, 0, INT64_MAX - 5, 10), EFBIG, "no block");
	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP,
	      "a hole keeps the length");
	fails(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE), 0, "a range is synced");
	fails(sync_file_range(fd, -1, 0, SYNC_FILE_RANGE_WRITE), EINVAL, "of places");
	const struct rlimit small = { PAGE, PAGE };
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		static char page[2 * PAGE];
		(void)signal(SIGXFSZ, SIG_IGN);
		bool is_kept = !setrlimit(RLIMIT_FSIZE, &small) &&
			       pwrite(fd, page, sizeof(page), 0) == PAGE &&
			       pwrite(fd, page, 1, PAGE) < 0 && errno == EFBIG &&
			       ftruncate(fd, PAGE + 1) < 0 && errno == EFBIG &&
			       fallocate(fd, 0, 0, PAGE + 1) < 0 && errno == EFBIG;
		_exit(!is_kept);
	}
	(void)waitpid(pid, &status, 0);
	holds(status == 0 && look("f").st_size == PAGE, "the process's limit holds");
	fails(close(fd) | unlink("f"), 0, "it goes");
}

static void copies(void)
{
	loff_t at = 0, below = -1, far = INT64_MAX - 5;
	fails(make("f", 0644) | make("g", 0644) | mkdir("d", 0755), 0, "two files");
	fails(truncate("f", 3 * PAGE), 0, "one is long");
	int in = open("f", O_RDWR | O_CLOEXEC), out = open("g", O_RDWR | O_CLOEXEC);
	int end = open("g", O_WRONLY | O_APPEND | O_CLOEXEC);
	int reader = open("g", O_RDONLY | O_CLOEXEC);
	int folder = open("d", O_RDONLY | O_CLOEXEC);
	fails((int)copy_file_range(in, &at, out, NULL, 10, 1), EINVAL, "no flags");
	fails((int)copy_file_range(in, &at, end, NULL, 10, 0), EBADF, "not appended");
	fails((int)copy_file_range(in, &at, reader, NULL, 10, 0), EBADF, "nor read into");
	fails((int)copy_file_range(end, NULL, in, NULL, 10, 0), EBADF,
	      "nor from writing");
	fails((int)copy_file_range(in, &at, folder, NULL, 10, 0), EISDIR,
	      "into a folder");
	fails((int)copy_file_range(folder, &at, out, NULL, 10, 0), EISDIR, "from one");
	fails((int)copy_file_range(in, &below, out, NULL, 10, 0), EOVERFLOW,
	      "from below");
	holds(copy_file_range(in, &at, out, &far, 10, 0) < 0 &&
		      (errno == EFBIG || errno == EOVERFLOW),
	      "too far");
	holds(copy_file_range(in, &at, out, NULL, 0, 0) == 0, "nothing");
	at = 3 * PAGE - 7;
	holds(copy_file_range(in, &at, out, NULL, 100, 0) == 7 && at == 3 * PAGE,
	      "what there is");
	holds(look("g").st_size == 7, "and no more");
	fails(close(in) | close(out) | close(end) | close(reader) | close(folder) |
		      unlink("f") | unlink("g") | rmdir("d"),
	      0, "they go");
}

/* ---- times and bits ---- */

/* A change of blocks is one of the file. */
static bool moves_times(int fd, int mode, off_t at, off_t len)
{
	set_old("f");
	bool is_done = fallocate(fd, mode, at, len) == 0;
	const struct stat st = look("f");
	return is_done && st.st_mtime > AT + 1 && st.st_atime == AT;
}

static void blocks(void)
{
	fails(make("f", 0644) | truncate("f", 1 << 22), 0, "a file");
	int fd = open("f", O_RDWR | O_CLOEXEC);
	holds(moves_times(fd, 0, 0, 1 << 20), "blocks that are given change it");
	holds(moves_times(fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), "though it has them");
	holds(moves_times(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 5, 1 << 20),
	      "a hole does");
	holds(moves_times(fd, FALLOC_FL_ZERO_RANGE, 5, 1 << 20), "zeros do");
	fails(close(fd) | unlink("f"), 0, "it goes");
}

/* By the owner, who has no right to give such bits by writing. */
static bool drops_bits(mode_t given, mode_t left, int flags)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool is_set = chmod("f", given) == 0;
	become(OTHER, OTHER);
	int fd = open("f", O_WRONLY | O_CLOEXEC | flags);
	ssize_t n = page == MAP_FAILED ? -1 : pwrite(fd, page, PAGE, 0);
	become_root();
	(void)close(fd);
	(void)munmap(page, PAGE);
	return is_set && n == PAGE && (look("f").st_mode & 07777) == left;
}

static void bits(void)
{
	fails(make("f", 0644) | chown("f", OTHER, OTHER), 0, "another's file");
	holds(drops_bits(06755, 0755, 0), "a write takes both bits");
	holds(drops_bits(06755, 0755, O_DIRECT), "so does a direct one");
	holds(drops_bits(02745, 02745, O_DIRECT), "not the group's where none runs it");
	holds(drops_bits(0755, 0755, O_DIRECT), "and no others");
	int fd = open("f", O_WRONLY | O_CLOEXEC | O_DIRECT);
	fails(chmod("f", 06755), 0, "both again");
	holds(pwrite(fd, "x", 1, 1) == 1 && (look("f").st_mode & 07777) == 06755,
	      "root's writes leave them");
	fails(close(fd) | unlink("f"), 0, "it goes");
}

/* ---- places in a folder ---- */

static void places(void)
{
	static char names[NAMES][16];
	static long at[NAMES];
	char path[32];
	unsigned int rc = 0, n = 0, left = 0;
	fails(mkdir("d", 0755), 0, "a folder");
	for (unsigned int i = 0; i < NAMES; i++) {
		(void)snprintf(path, sizeof(path), "d/%u", i);
		rc |= (unsigned int)make(path, 0644);
	}
	DIR *dir = opendir("d");
	const struct dirent *e;
	for (; n < 100; n++) {
		at[n] = telldir(dir);
		e = readdir(dir);
		(void)snprintf(names[n], sizeof(names[n]), "%.15s", e ? e->d_name : "");
	}
	for (unsigned int i = 0; i < 50; i++) {
		(void)snprintf(path, sizeof(path), "d/%.15s", names[i]);
		rc |= names[i][0] != '.' ? (unsigned int)unlink(path) : 0;
	}
	holds(rc == 0, "many names, and half of what was listed goes");
	while ((e = readdir(dir)) != NULL)
		left++;
	holds(left == NAMES + 2 - 100, "the rest is listed once");
	seekdir(dir, at[60]);
	e = readdir(dir);
	holds(e && !strcmp(e->d_name, names[60]), "a place that was told is found again");
	fails(make("d/new", 0644), 0, "a name comes");
	rewinddir(dir);
	bool is_new = false, is_gone = true;
	while ((e = readdir(dir)) != NULL) {
		is_new |= !strcmp(e->d_name, "new");
		for (unsigned int i = 0; i < 50; i++)
			is_gone &= names[i][0] == '.' || strcmp(e->d_name, names[i]) != 0;
	}
	holds(is_new && is_gone, "from the beginning all is as it is");
	fails(closedir(dir) | unlink("d/new"), 0, "it is closed");
	for (unsigned int i = 0; i < NAMES; i++) {
		(void)snprintf(path, sizeof(path), "d/%u", i);
		(void)unlink(path);
	}
	fails(rmdir("d"), 0, "it goes");
}

/* ---- who closes while a name goes ---- */

/* Is a file what was written to it, without a name, to who has it open still? */
static bool is_left_to_reader(unsigned int round)
{
	char path[32], wrote[3000], got[sizeof(wrote)];
	struct stat st = { .st_nlink = 1 };
	(void)snprintf(path, sizeof(path), "going %u", round);
	(void)memset(wrote, (int)round, sizeof(wrote));
	int writer = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	bool is_right = write(writer, wrote, sizeof(wrote)) == sizeof(wrote);
	int reader = open(path, O_RDONLY);
	pid_t pid = fork();
	if (pid == 0)
		_exit(0); /* and with it goes who wrote */
	is_right &= pid > 0 && close(writer) == 0 && unlink(path) == 0;
	(void)waitpid(pid, NULL, 0);
	is_right &= fstat(reader, &st) == 0 && st.st_nlink == 0;
	is_right &= pread(reader, got, sizeof(got), 0) == sizeof(got) &&
		    memcmp(wrote, got, sizeof(got)) == 0;
	return close(reader) == 0 && is_right;
}

/* Where this filesystem keeps them, in its root: above this folder. */
static unsigned int count_left(void)
{
	unsigned int left = 0;
	struct dirent *e;
	DIR *dir = opendir("../.vmfs-unlinked");
	while (dir && (e = readdir(dir)) != NULL)
		left += e->d_name[0] != '.';
	if (dir)
		(void)closedir(dir);
	return left;
}

static void closings(void)
{
	bool is_right = true;
	for (unsigned int round = 0; round < CLOSINGS; round++)
		is_right &= is_left_to_reader(round);
	holds(is_right, "who wrote closes while the name goes: who reads has the file");
	/* Nobody waits for the last close. */
	for (unsigned int tries = 0; tries < 100 && count_left(); tries++)
		(void)poll(NULL, 0, 100);
	holds(count_left() == 0, "and then it is gone");
}

int main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1])) {
		fputs("usage: mount_edges FOLDER\n", stderr);
		return 2;
	}
	(void)umask(0);
	ranges();
	ways();
	offsets();
	copies();
	blocks();
	bits();
	places();
	closings();
	return points_end();
}
