/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_calls FOLDER [read-only]: what POSIX and Linux say of single calls and of who
 * may make them, point by point, beside mount_posix.c. TAP. Run by root, who becomes
 * others on the way. It leaves a file, a folder and a link behind; with a second word it
 * says of a read-only mount of them that nothing is changed there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/mount/calls.h"
#include "tests/mount/points.h"

/* ---- paths ---- */

static void paths(void)
{
	static char path[PATH_MAX + 8];
	fails(mkdir("p", 0755) | make("p/f", 0644), 0, "a folder and a file");
	for (size_t i = 0; i < PATH_MAX; i += 2)
		memcpy(path + i, "./", 2);
	memcpy(path + PATH_MAX - 4, "p/f", 4);
	fails(opens(path, O_RDONLY), 0, "a path of 4095 bytes");
	memcpy(path + PATH_MAX - 4, ".p/f", 5);
	fails(opens(path, O_RDONLY), ENAMETOOLONG, "not of 4096");
	fails(mkdir(path, 0755), ENAMETOOLONG, "nor made");
	fails(rename("p/f", path), ENAMETOOLONG, "nor moved to");
	fails(symlink(path, "p/l"), ENAMETOOLONG, "nor led to");
	fails(symlink("", "p/l"), ENOENT, "nor is nothing");
	fails(opens("", O_RDONLY), ENOENT, "an empty path");
	fails(mkdir("p/.", 0755), EEXIST, "mkdir of .");
	fails(mkdir("p/..", 0755), EEXIST, "of ..");
	fails(unlink("p/."), EISDIR, "unlink of .");
	fails(rename("p/..", "q"), EBUSY, "rename of ..");
	fails(rename("p", "q/.."), ENOENT, "into nothing");
	fails(mkdir("p/d/", 0755), 0, "a folder with a slash behind it");
	fails(opens("p/x/", O_RDWR | O_CREAT), EISDIR, "no file is made so");
	fails(unlink("p/f/"), ENOTDIR, "nor removed");
	fails(rename("p/f", "p/x/"), ENOTDIR, "nor moved");
	fails(rename("p/d/", "p/e/"), 0, "a folder is");
	fails(rename("p/f", "/dev/shm/f"), EXDEV, "not to another filesystem");
	fails(link("p/f", "/dev/shm/f"), EXDEV, "nor has it a name there");
	fails(link("p/f", "p/e"), EEXIST, "nor one that is there");
	fails(link("p/none", "p/y"), ENOENT, "nor what is not there");
	fails(opens((const char *)1, O_RDONLY), EFAULT, "a path that is none");
	fails(rmdir("p/e") | unlink("p/f") | rmdir("p"), 0, "they go");
}

/* 40 links are followed, and no more. */
static void chains(void)
{
	char from[16], to[16];
	int rc = make("c0", 0644);
	for (unsigned int i = 1; i <= 41; i++) {
		(void)snprintf(to, sizeof(to), "c%u", i - 1);
		(void)snprintf(from, sizeof(from), "c%u", i);
		rc |= symlink(to, from);
	}
	fails(rc, 0, "a chain of links");
	fails(opens("c40", O_RDONLY), 0, "of 40");
	fails(opens("c41", O_RDONLY), ELOOP, "of 41");
	fails(truncate("c41", 1), ELOOP, "which is not cut");
	fails(chmod("c41", 0600), ELOOP, "nor has a mode");
	fails(chmod("c2", 0600), 0, "the mode goes through links");
	holds(look("c0").st_mode == (S_IFREG | 0600), "to the file");
	fails(lchown("c2", OTHER, ANOTHER), 0, "the owner can be the link's");
	holds(look("c2").st_uid == OTHER && look("c0").st_uid == 0, "alone");
	fails(rename("c2", "c1"), 0, "links are moved themselves");
	holds(S_ISLNK(look("c1").st_mode) && !look("c2").st_mode, "as links");
	for (unsigned int i = 0; i <= 41; i++) {
		(void)snprintf(from, sizeof(from), "c%u", i);
		rc |= i == 2 ? 0 : unlink(from);
	}
	fails(rc, 0, "they go");
}

/* ---- who may walk, and change names ---- */

static void walks(void)
{
	char back[8];
	fails(mkdir("w", 0755) | make("w/f", 0666) | mkdir("w/d", 0777) |
		      symlink("f", "w/l") | chmod("w", 0644),
	      0, "a folder that is read, not walked");
	become(OTHER, OTHER);
	struct stat st;
	fails(lstat("w/f", &st), EACCES, "what is in it is not seen");
	fails(opens("w/f", O_RDONLY), EACCES, "opened");
	fails(chmod("w/f", 0600), EACCES, "given a mode");
	fails(chown("w/f", OTHER, OTHER), EACCES, "an owner");
	fails(truncate("w/f", 0), EACCES, "cut");
	fails(utimensat(AT_FDCWD, "w/f", NULL, 0), EACCES, "given a time");
	fails(readlink("w/l", back, sizeof(back)) < 0 ? -1 : 0, EACCES, "read");
	fails(unlink("w/f"), EACCES, "removed");
	fails(rmdir("w/d"), EACCES, "of either kind");
	fails(rename("w/f", "w/g"), EACCES, "moved");
	fails(link("w/f", "w/g"), EACCES, "named");
	fails(symlink("x", "w/g"), EACCES, "made");
	fails(faccessat(AT_FDCWD, "w/f", F_OK, AT_EACCESS), EACCES, "asked for");
	become_root();
	fails(chmod("w", 0311), 0, "one that is walked, not read");
	become(OTHER, OTHER);
	fails(opens("w", O_RDONLY), EACCES, "is not listed");
	fails(opens("w/f", O_RDWR), 0, "what is in it is opened");
	become_root();
	fails(unlink("w/l") | unlink("w/f") | rmdir("w/d") | rmdir("w"), 0, "they go");
}

static void moves(void)
{
	fails(mkdir("a", 0777) | mkdir("b", 0755) | mkdir("a/d", 0755) |
		      make("a/f", 0644) | make("b/f", 0666),
	      0, "folders, one not ours");
	become(OTHER, OTHER);
	fails(rename("a/f", "b/g"), EACCES, "nothing is moved into it");
	fails(rename("b/f", "a/g"), EACCES, "nor out of it");
	fails(rename2("a/f", "b/f", RENAME_EXCHANGE), EACCES, "nor exchanged");
	fails(mkdir("a/e", 0777), 0, "a folder of ours");
	fails(rename("a/d", "a/e/d"), EACCES, "another's changes its parent not by us");
	fails(rename("a/d", "a/h"), 0, "but its name");
	fails(rename("a/f", "a/e/f"), 0, "another's file does");
	fails(rename("a/e/f", "a/f"), 0, "and comes back");
	become_root();
	set_old("a");
	set_old("b");
	fails(rename("a/f", "b/h"), 0, "a file is moved");
	holds(look("a").st_mtime > AT + 1 && look("b").st_mtime > AT + 1,
	      "both folders were changed");
	fails(unlink("b/h") | unlink("b/f") | rmdir("a/e") | rmdir("a/h") | rmdir("a") |
		      rmdir("b"),
	      0, "they go");
}

static void groups(void)
{
	const gid_t more[] = { 4242 };
	fails(make("f", 0664) | chown("f", OTHER, 4242), 0, "a file of a group");
	fails(setgroups(1, more), 0, "we are of it");
	become(ANOTHER, ANOTHER);
	fails(opens("f", O_RDWR), 0, "who is of the group writes");
	fails(chmod("f", 0666), EPERM, "but sets no mode");
	fails(chown("f", (uid_t)-1, 4242), EPERM, "nor group");
	become(OTHER, OTHER);
	fails(chmod("f", 02775), 0, "the owner hands the group's right on");
	holds(look("f").st_mode == (S_IFREG | 02775), "being of it");
	fails(chown("f", (uid_t)-1, OTHER), 0, "gives it to a group of his");
	fails(chown("f", (uid_t)-1, 4242), 0, "and back");
	fails(chown("f", (uid_t)-1, 1), EPERM, "but to no other");
	become_root();
	fails(setgroups(0, NULL), 0, "we are of none");
	fails(chmod("f", 06755) | chown("f", 0, 0), 0, "root gives it away");
	holds(look("f").st_mode == (S_IFREG | 0755), "which takes both bits");
	fails(mkdir("d", 0755) | chmod("d", 06755) | chown("d", 1, 1), 0, "a folder");
	holds(look("d").st_mode == (S_IFDIR | 06755), "keeps them");
	fails(unlink("f") | rmdir("d"), 0, "they go");
}

static void accesses(void)
{
	fails(make("f", 0644) | mkdir("d", 0700), 0, "root's");
	fails(access("f", R_OK | W_OK), 0, "root reads and writes");
	fails(access("f", X_OK), EACCES, "but does not run what nobody may");
	fails(access("d", X_OK), 0, "he walks folders");
	become(OTHER, OTHER);
	fails(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS), 0, "others read");
	fails(faccessat(AT_FDCWD, "f", W_OK, AT_EACCESS), EACCES, "and no more");
	fails(faccessat(AT_FDCWD, "d/x", F_OK, AT_EACCESS), EACCES, "nor walk");
	become_root();
	fails(unlink("f") | rmdir("d"), 0, "they go");
}

/* ---- opening, cutting, times ---- */

static void opening(void)
{
	fails(make("f", 0444), 0, "a file that is only read");
	fails(opens("f", O_WRONLY), 0, "root writes it");
	become(OTHER, OTHER);
	fails(opens("f", O_WRONLY), EACCES, "others do not");
	fails(opens("f", O_RDONLY | O_CREAT), 0, "that is there needs not be made");
	become_root();
	int a = open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
	int b = open("f", O_RDWR | O_APPEND | O_SYNC | O_CLOEXEC);
	holds(write(a, "one", 3) == 3 && write(b, "two", 3) == 3 &&
		      write(a, "six", 3) == 3,
	      "two append");
	char back[16] = "";
	holds(pread(b, back, sizeof(back), 0) == 9 && !memcmp(back, "onetwosix", 9),
	      "one behind the other");
	fails(read(a, back, 1) < 0 ? -1 : 0, EBADF, "who writes does not read");
	fails(flock(a, LOCK_EX) | fsync(a) | fdatasync(b), 0, "locked and synced");
	fails(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK, "no second lock");
	fails(close(a) | flock(b, LOCK_EX | LOCK_NB) | close(b), 0, "but then");
	int fd = open("f", O_RDONLY | O_CLOEXEC);
	fails(ftruncate(fd, 0), EINVAL, "who reads does not cut");
	fails(write(fd, "x", 1) < 0 ? -1 : 0, EBADF, "nor write");
	fails(fsync(fd) | close(fd), 0, "but syncs");
	fails(truncate("f", -1), EINVAL, "no length below nothing");
	fails(truncate(".", 0), EISDIR, "no folder is cut");
	fails(truncate("f", INT64_MAX), EFBIG, "nothing is as long as that");
	holds(look("f").st_size == 9, "it is as it was");
	fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fails(read(fd, back, 1) < 0 ? -1 : 0, EISDIR, "a folder is not read");
	fails(fsync(fd) | close(fd) | unlink("f"), 0, "but synced");
}

static void times(void)
{
	const struct timespec now[2] = { { 0, UTIME_NOW }, { 0, UTIME_NOW } };
	const struct timespec omit[2] = { { 0, UTIME_OMIT }, { 0, UTIME_OMIT } };
	const struct timespec half[2] = { { 0, UTIME_NOW }, { 0, UTIME_OMIT } };
	const struct timespec bad[2] = { { 5, 1000000000 }, { 5, 0 } };
	fails(make("f", 0666) | make("g", 0644) | mkdir("d", 0777), 0, "root's");
	fails(utimensat(AT_FDCWD, "f", bad, 0), EINVAL, "a second has no more");
	set_old("f");
	set_old("d");
	become(OTHER, OTHER);
	fails(utimensat(AT_FDCWD, "g", omit, 0), 0, "nothing is set by anybody");
	fails(utimensat(AT_FDCWD, "g", now, 0), EACCES, "now by who may write");
	fails(utimensat(AT_FDCWD, "f", half, 0), EPERM, "one time by the owner alone");
	fails(utimensat(AT_FDCWD, "f", now, 0), 0, "both by who may write");
	fails(utimensat(AT_FDCWD, "d", now, 0), 0, "of a folder, too");
	become_root();
	holds(look("f").st_mtime > AT + 1 && look("d").st_mtime > AT + 1, "they are");
	int fd = open("f", O_RDONLY | O_CLOEXEC);
	const struct timespec old[2] = { { 11, 0 }, { 12, 0 } };
	fails(futimens(fd, old) | close(fd), 0, "of what is open");
	holds(look("f").st_atime == 11 && look("f").st_mtime == 12, "they are");
	fails(unlink("f") | unlink("g") | rmdir("d"), 0, "they go");
}

/* ---- programs ---- */

static int copy_file(const char *from, const char *to)
{
	static char buf[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);
	ssize_t n = in < 0 || out < 0 ? -1 : 1;
	while (n > 0) {
		n = read(in, buf, sizeof(buf));
		if (n > 0 && write(out, buf, (size_t)n) != n)
			n = -1;
	}
	return close(in) | close(out) | (n < 0 ? -1 : 0);
}

/* It sleeps; whether a running program may be written is this kernel's affair. */
static void programs(void)
{
	int kernel = opens("/proc/self/exe", O_WRONLY) < 0 ? errno : 0;
	fails(copy_file("/bin/sleep", "sleep"), 0, "a program");
	int told[2];
	if (pipe2(told, O_CLOEXEC))
		_exit(99);
	pid_t pid = fork();
	if (pid == 0) {
		execl("./sleep", "sleep", "600", (char *)NULL);
		_exit(99);
	}
	(void)close(told[1]);
	char byte;
	holds(read(told[0], &byte, 1) == 0, "runs"); /* closed by exec, or by the end */
	fails(opens("sleep", O_WRONLY), kernel, "is written as any that runs here");
	fails(rename("sleep", "sleep2"), 0, "it gets another name");
	fails(unlink("sleep2"), 0, "and loses it");
	fails(waitpid(pid, NULL, WNOHANG) == 0 ? 0 : -1, 0, "it runs on");
	(void)kill(pid, SIGKILL);
	holds(waitpid(pid, NULL, 0) == pid, "and ends");
	(void)close(told[0]);
	fails(make("f", 0644), 0, "a file of no right to run");
	fails(execl("./f", "f", (char *)NULL), EACCES, "does not");
	fails(unlink("f"), 0, "it goes");
}

/* ---- folders ---- */

#define MANY 300u

/* Each name once, though others go meanwhile. */
static void listing(void)
{
	char name[32];
	unsigned char seen[MANY] = { 0 };
	unsigned int n, rc = 0, twice = 0, missed = 0;
	fails(mkdir("many", 0755), 0, "a folder");
	for (n = 0; n < MANY; n++) {
		(void)snprintf(name, sizeof(name), "many/%u", n);
		rc |= (unsigned int)make(name, 0644);
	}
	DIR *dir = opendir("many");
	for (const struct dirent *e; (e = readdir(dir));) {
		if (e->d_name[0] == '.')
			continue;
		n = (unsigned int)atoi(e->d_name);
		twice += seen[n]++;
		(void)snprintf(name, sizeof(name), "many/%u", n);
		if (n % 2)
			rc |= (unsigned int)unlink(name);
	}
	for (n = 0; n < MANY; n++)
		missed += !seen[n];
	holds(rc == 0 && twice == 0 && missed == 0, "each is listed once");
	rewinddir(dir);
	for (n = 0; readdir(dir);)
		n++;
	holds(n == MANY / 2 + 2, "and those that are left again");
	seekdir(dir, 123456789);
	holds(!readdir(dir), "behind the end there is none");
	fails(closedir(dir), 0, "it is closed");
	for (n = 0; n < MANY; n += 2) {
		(void)snprintf(name, sizeof(name), "many/%u", n);
		rc |= (unsigned int)unlink(name);
	}
	fails(rc ? -1 : rmdir("many"), 0, "they go");
	fails(mkdir("gone", 0755) | chdir("gone") | rmdir("../gone"), 0,
	      "we are nowhere");
	fails(make("f", 0644), ENOENT, "nothing is made there");
	struct stat st = look(".");
	holds(S_ISDIR(st.st_mode) && st.st_nlink == 0, "but it is looked at");
	fails(chmod(".", 0711), 0, "and given another mode");
	holds((look(".").st_mode & 07777) == 0711, "which it has");
}

/* ---- attributes ---- */

static void attributes(void)
{
	char back[512];
	fails(make("f", 0644), 0, "a file");
	fails(setxattr("f", "user.x", "1", 1, 0), EOPNOTSUPP, "none are kept");
	fails(removexattr("f", "user.vmfs.fd"), EOPNOTSUPP, "none goes");
	fails(getxattr("f", "user.x", back, sizeof(back)) < 0 ? -1 : 0, ENODATA,
	      "one that is not there");
	fails(getxattr("f", "user.vmfs.fd", back, 1) < 0 ? -1 : 0, ERANGE,
	      "one that does not fit");
	fails(getxattr("f", "user.vmfs.fd", NULL, 0) > 0 ? 0 : -1, 0, "how long one is");
	fails(listxattr("f", back, sizeof(back)) > 0 ? 0 : -1, 0, "which there are");
	fails(unlink("f"), 0, "it goes");
}

/* ---- read-only ---- */

static void changes_nothing(void)
{
	struct statvfs space;
	fails(opens("file", O_RDONLY), 0, "a file is read");
	fails(opens("file", O_RDWR), EROFS, "not written");
	fails(opens("file", O_RDONLY | O_TRUNC), EROFS, "nor emptied");
	fails(make("new", 0644), EROFS, "none is made");
	fails(mkdir("new", 0755), EROFS, "of no kind");
	fails(mkfifo("new", 0644), EROFS, "of none");
	fails(symlink("x", "new"), EROFS, "of none");
	fails(link("file", "new"), EROFS, "of none");
	fails(unlink("file"), EROFS, "none goes");
	fails(unlink("link"), EROFS, "of no kind");
	fails(rmdir("folder"), EROFS, "of none");
	fails(rename("file", "new"), EROFS, "none is moved");
	fails(chmod("file", 0600), EROFS, "none has another mode");
	fails(chown("file", 1, 1), EROFS, "owner");
	fails(truncate("file", 0), EROFS, "length");
	fails(utimensat(AT_FDCWD, "file", NULL, 0), EROFS, "time");
	fails(setxattr("file", "user.x", "1", 1, 0), EROFS, "attribute");
	fails(access("file", W_OK), EROFS, "who asks is told");
	fails(mkdir("folder", 0755), EEXIST, "what is there is there");
	holds(statvfs(".", &space) == 0 && space.f_flag & ST_RDONLY, "and all know");
}

static void changes_all(void)
{
	paths();
	chains();
	walks();
	moves();
	groups();
	accesses();
	opening();
	times();
	programs();
	attributes();
	fails(make("file", 0644) | mkdir("folder", 0755) | symlink("file", "link"), 0,
	      "what stays");
	listing(); /* ends in a folder that is gone */
}

int main(int argc, char **argv)
{
	if (argc < 2 || chdir(argv[1])) {
		fputs("usage: mount_calls FOLDER [read-only]\n", stderr);
		return 2;
	}
	(void)umask(0);
	if (argc == 3)
		changes_nothing();
	else
		changes_all();
	return points_end();
}
