/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_posix FOLDER: what POSIX and Linux say of names, kinds of file, permissions and
 * times, point by point, in an empty folder of a mounted filesystem. TAP. Run by root,
 * who becomes others on the way; others must be let in (-o allow_other).
 *
 * Where a filesystem may choose, what VMFS can do is asked for: no second names, no pipes
 * and devices (EPERM), names of 127 bytes, times in whole seconds. mount_data.c does the
 * same for what is in files.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "tests/mount/calls.h"
#include "tests/mount/points.h"

#define NAME_BYTES 127

/* Times are in seconds: what comes now has another one. */
static void next_second(void)
{
	time_t start = time(NULL);
	while (time(NULL) <= start + 1)
		usleep(20000);
}

/* ---- names ---- */

static unsigned int count_names(const char *dir)
{
	unsigned int count = 0;
	DIR *d = opendir(dir);
	while (d && readdir(d))
		count++;
	if (d)
		closedir(d);
	return count;
}

static void every_byte(void)
{
	unsigned int made = 0, seen = 0, gone = 0;
	fails(mkdir("bytes", 0755), 0, "a folder");
	for (int c = 1; c < 256; c++) {
		char name[] = { 'b', 'y', 't', 'e', 's', '/', (char)c, 0, 0 };
		if (c == '/' || c == '.')
			continue;
		made += make(name, 0644) == 0;
		seen += S_ISREG(look(name).st_mode);
	}
	holds(made == 253 && seen == 253, "a name of each byte is made and found");
	holds(count_names("bytes") == 253 + 2, "and listed");
	for (int c = 1; c < 256; c++) {
		char name[] = { 'b', 'y', 't', 'e', 's', '/', (char)c, 0, 0 };
		gone += c != '/' && c != '.' && unlink(name) == 0;
	}
	holds(gone == 253, "and removed");
	fails(rmdir("bytes"), 0, "the folder is empty then");
}

static void long_names(void)
{
	char fits[NAME_BYTES + 1], over[NAME_BYTES + 2];
	memset(fits, 'n', sizeof(fits));
	memset(over, 'n', sizeof(over));
	fits[NAME_BYTES] = over[NAME_BYTES + 1] = 0;
	holds(pathconf(".", _PC_NAME_MAX) == NAME_BYTES, "NAME_MAX is 127");
	fails(make(fits, 0644), 0, "127 bytes fit");
	fails(make(over, 0644), ENAMETOOLONG, "128 do not: open");
	fails(mkdir(over, 0755), ENAMETOOLONG, "mkdir");
	fails(mknod(over, S_IFREG | 0644, 0), ENAMETOOLONG, "mknod");
	fails(mkfifo(over, 0644), ENAMETOOLONG, "mkfifo");
	fails(symlink("x", over), ENAMETOOLONG, "symlink");
	fails(link(fits, over), ENAMETOOLONG, "link");
	fails(unlink(over), ENAMETOOLONG, "unlink");
	fails(rmdir(over), ENAMETOOLONG, "rmdir");
	fails(rename(fits, over), ENAMETOOLONG, "rename to");
	fails(rename(over, fits), ENAMETOOLONG, "rename from");
	fails(access(over, F_OK), ENAMETOOLONG, "access");
	fails(chmod(over, 0644), ENAMETOOLONG, "chmod");
	fails(unlink(fits), 0, "127 bytes are removed");
}

static void wrong_names(void)
{
	fails(make("f", 0644), 0, "a file");
	fails(mkdir("d", 0755), 0, "a folder");
	fails(mkdir("d/sub", 0755), 0, "in it another");
	fails(make("f/x", 0644), ENOTDIR, "a file is no folder");
	fails(make("none/x", 0644), ENOENT, "nor is what is not there");
	fails(make("f", 0644), EEXIST, "what is there is not made");
	fails(mkdir("f", 0755), EEXIST, "nor a folder of that name");
	fails(mkdir("d", 0755), EEXIST, "nor one that is there");
	fails(symlink("x", "d"), EEXIST, "nor a link");
	fails(mknod("f", S_IFREG | 0644, 0), EEXIST, "nor a node");
	fails(unlink("d"), EISDIR, "unlink of a folder");
	fails(rmdir("f"), ENOTDIR, "rmdir of a file");
	fails(rmdir("d"), ENOTEMPTY, "rmdir of a folder that holds something");
	fails(rmdir("d/."), EINVAL, "rmdir of .");
	fails(rmdir("d/sub/.."), ENOTEMPTY, "rmdir of ..");
	fails(unlink("none"), ENOENT, "unlink of nothing");
	fails(rmdir("none"), ENOENT, "rmdir of nothing");
	fails(opens("d", O_WRONLY), EISDIR, "a folder is not written");
	fails(opens("f", O_RDONLY | O_DIRECTORY), ENOTDIR, "a file opened as a folder");
	fails(opens("f/", O_RDONLY), ENOTDIR, "or with a slash");
	fails(opens("d", O_RDWR | O_CREAT), EISDIR, "or made over a folder");
	fails(opens(".", O_TMPFILE | O_RDWR), EOPNOTSUPP, "no file without a name");
	holds(look("d").st_nlink == 3, "a folder counts the folders in it");
	fails(rmdir("d/sub"), 0, "which goes");
	holds(look("d").st_nlink == 2, "and is not counted");
	fails(rmdir("d"), 0, "the folder goes");
	fails(unlink("f"), 0, "the file goes");
}

static void kinds(void)
{
	fails(make("f", 0644), 0, "a file");
	fails(link("f", "g"), EPERM, "no second name");
	fails(mkfifo("p", 0644), EPERM, "no pipe");
	fails(mknod("c", S_IFCHR | 0644, makedev(1, 3)), EPERM, "no device");
	fails(mknod("b", S_IFBLK | 0644, makedev(1, 3)), EPERM, "of either kind");
	fails(mknod("s", S_IFSOCK | 0644, 0), EPERM, "no socket");
	fails(mknod("r", S_IFREG | 0640, 0), 0, "mknod makes files");
	holds(look("r").st_mode == (S_IFREG | 0640), "with their mode");
	holds(look("g").st_mode == 0 && look("p").st_mode == 0, "nothing else came");
	fails(unlink("f") | unlink("r"), 0, "they go");
}

static void symlinks(void)
{
	static char target[4096], back[4096];
	memset(target, 't', sizeof(target));
	for (size_t i = 100; i < sizeof(target); i += 100)
		target[i] = '/';
	bool is_same = true;
	static const size_t lens[] = { 1, 63, 64, 255, 511, 1023, 2048, 4095 };
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		char saved = target[lens[i]];
		target[lens[i]] = 0;
		is_same &= symlink(target, "l") == 0;
		is_same &= readlink("l", back, sizeof(back)) == (ssize_t)lens[i];
		is_same &= memcmp(back, target, lens[i]) == 0;
		is_same &= look("l").st_size == (off_t)lens[i];
		is_same &= unlink("l") == 0;
		target[lens[i]] = saved;
	}
	holds(is_same, "links of 1 to 4095 bytes");
	fails(symlink("b", "a") | symlink("a", "b"), 0, "two that lead to each other");
	fails(opens("a", O_RDONLY), ELOOP, "are not opened");
	fails(mkdir("a/x", 0755), ELOOP, "nor walked");
	fails(opens("a", O_RDONLY | O_NOFOLLOW), ELOOP, "nor if not to be followed");
	fails(opens("a", O_RDWR | O_CREAT | O_EXCL), EEXIST, "nor made");
	fails(unlink("a") | unlink("b"), 0, "but removed");
	fails(symlink("later", "l"), 0, "a link to nothing");
	fails(opens("l", O_RDWR | O_CREAT | O_EXCL), EEXIST, "is there");
	fails(opens("l", O_RDWR | O_CREAT), 0, "and what it names can be made");
	holds(S_ISREG(look("later").st_mode), "which is there then");
	fails(unlink("l") | unlink("later"), 0, "they go");
	fails(readlink(".", back, sizeof(back)) < 0 ? -1 : 0, EINVAL,
	      "a folder is no link");
}

static void renames(void)
{
	fails(make("f", 0644) | make("g", 0600), 0, "two files");
	fails(mkdir("d", 0755) | mkdir("e", 0755), 0, "two folders");
	fails(make("e/x", 0644), 0, "one holds something");
	fails(rename("f", "d"), EISDIR, "a file over a folder");
	fails(rename("d", "f"), ENOTDIR, "a folder over a file");
	fails(rename("d", "e"), ENOTEMPTY, "over a folder that holds something");
	fails(rename("d", "d/x"), EINVAL, "below itself");
	fails(rename("d/.", "h"), EBUSY, "rename of .");
	fails(rename("none", "f"), ENOENT, "rename of nothing");
	fails(rename("f", "none/f"), ENOENT, "into nothing");
	fails(rename("f", "g/f"), ENOTDIR, "into a file");
	fails(rename("f", "f"), 0, "onto itself");
	ino_t ino = look("f").st_ino;
	fails(rename("f", "g"), 0, "over a file");
	holds(look("g").st_ino == ino && !look("f").st_mode, "it is that one then");
	fails(rename("e", "d"), 0, "over an empty folder");
	holds(S_ISREG(look("d/x").st_mode), "with what is in it");
	fails(mkdir("e", 0755), 0, "a folder");
	set_old("d");
	fails(rename("d", "e/d"), 0, "into another");
	holds(look("e").st_nlink == 3, "which counts it");
	holds(look("e/d").st_mtime == AT + 1, "what is in it has not changed");
	fails(rename2("g", "e", RENAME_NOREPLACE), EEXIST, "not over another");
	fails(rename2("g", "h", RENAME_NOREPLACE), 0, "if there is none");
	fails(rename2("h", "none", RENAME_EXCHANGE), ENOENT, "no exchange with nothing");
	fails(rename2("h", "e", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL, "not both");
	fails(rename2("h", "w", RENAME_WHITEOUT), EINVAL, "no whiteouts");
	fails(rename2("h", "e/d", RENAME_EXCHANGE), 0, "a file and a folder change");
	holds(S_ISDIR(look("h").st_mode) && look("e/d").st_ino == ino, "places");
	holds(look("e").st_nlink == 2, "and counts");
	fails(unlink("e/d") | unlink("h/x") | rmdir("h") | rmdir("e"), 0, "they go");
}

static void open_names(void)
{
	struct stat st;
	fails(make("f", 0644) | make("g", 0644), 0, "two files");
	int fd = open("f", O_RDWR | O_CLOEXEC);
	fails(unlink("f"), 0, "one is removed while open");
	holds(fstat(fd, &st) == 0 && st.st_nlink == 0, "has no name");
	holds(write(fd, "hello", 5) == 5 && fstat(fd, &st) == 0 && st.st_size == 5,
	      "and is written");
	fails(fchmod(fd, 0600), 0, "its mode is set");
	next_second(); /* what the kernel was told is asked for anew */
	holds(fstat(fd, &st) == 0 && st.st_mode == (S_IFREG | 0600), "and seen");
	holds(st.st_nlink == 0, "it has no name still");
	fails(access("f", F_OK), ENOENT, "nobody finds it");
	fails(make("f", 0644), 0, "its name can be had");
	holds(look("f").st_size == 0, "by another");
	int fd2 = open("g", O_RDONLY | O_CLOEXEC);
	fails(rename("f", "g"), 0, "one is replaced while open");
	holds(fstat(fd2, &st) == 0 && st.st_nlink == 0, "and has no name");
	fails(close(fd) | close(fd2), 0, "both are closed");
	fails(unlink("g"), 0, "the other goes");
	fails(mkdir("d", 0755), 0, "a folder");
	fd = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fails(rmdir("d"), 0, "is removed while open");
	fails(openat(fd, "x", O_CREAT | O_RDWR, 0644), ENOENT, "nothing is made in it");
	holds(fstat(fd, &st) == 0 && st.st_nlink == 0, "and it has no name");
	fails(close(fd), 0, "it is closed");
	fails(mkdir("d", 0755) | mkdir("e", 0750), 0, "two folders");
	fd = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fails(rename("e", "d"), 0, "one is replaced while open");
	holds(fstat(fd, &st) == 0 && st.st_nlink == 0 && (st.st_mode & 07777) == 0755,
	      "and is looked at");
	fails(fsync(fd) | close(fd) | rmdir("d"), 0, "it is closed");
}

/* ---- permissions ---- */

static void modes(void)
{
	(void)umask(022);
	fails(make("f", 0777), 0, "a file");
	holds(look("f").st_mode == (S_IFREG | 0755), "the mask takes bits");
	(void)umask(0);
	fails(opens("f", O_RDWR | O_CREAT), 0, "opened again");
	holds(look("f").st_mode == (S_IFREG | 0755), "its mode stays");
	bool is_kept = true;
	for (mode_t mode = 0; mode <= 07777; mode += 0111)
		is_kept &= chmod("f", mode) == 0 &&
			   look("f").st_mode == (S_IFREG | mode);
	holds(is_kept, "modes are kept");
	int fd = open("none", O_CREAT | O_RDWR | O_CLOEXEC, 0);
	holds(fd >= 0 && write(fd, "x", 1) == 1, "who makes a file of no mode writes it");
	fails(close(fd), 0, "and closes it");
	fails(mkdir("d", 0751), 0, "a folder");
	holds(look("d").st_mode == (S_IFDIR | 0751), "has its mode");
	fails(chmod("d", 02775) | chown("d", 0, 77), 0,
	      "a folder that hands its group on");
	fails(make("d/f", 0644) | mkdir("d/d", 0755), 0, "what is made in it");
	holds(look("d/f").st_gid == 77 && look("d/d").st_gid == 77, "has it");
	holds(look("d/d").st_mode == (S_IFDIR | 02755), "and folders hand it on");
	fails(unlink("d/f") | rmdir("d/d") | rmdir("d"), 0, "they go");
	fails(unlink("f") | unlink("none"), 0, "all of them");
}

static void strangers(void)
{
	fails(make("f", 0644) | mkdir("d", 0755) | mkdir("t", 01777), 0, "root's");
	fails(make("t/f", 0666) | mkdir("t/d", 0777), 0, "in a sticky folder");
	become(OTHER, OTHER);
	fails(make("d/x", 0644), EACCES, "no name in a folder that is not ours");
	fails(mkdir("d/x", 0755), EACCES, "of no kind");
	fails(symlink("x", "d/x"), EACCES, "of none");
	fails(opens("f", O_RDWR), EACCES, "no writing");
	fails(opens("f", O_RDONLY | O_TRUNC), EACCES, "no emptying");
	fails(opens("f", O_RDONLY), 0, "but reading");
	fails(truncate("f", 0), EACCES, "no cutting");
	fails(chmod("f", 0666), EPERM, "no mode");
	fails(chown("f", OTHER, OTHER), EPERM, "no owner");
	fails(utimensat(AT_FDCWD, "f", NULL, 0), EACCES, "no time");
	const struct timespec old[2] = { { 5, 0 }, { 5, 0 } };
	fails(utimensat(AT_FDCWD, "t/f", NULL, 0), 0, "now, if we may write");
	fails(utimensat(AT_FDCWD, "t/f", old, 0), EPERM, "but no other");
	fails(unlink("t/f"), EPERM, "sticky: what is not ours stays");
	fails(rmdir("t/d"), EPERM, "of either kind");
	fails(rename("t/f", "t/g"), EPERM, "under its name");
	fails(make("t/mine", 0644), 0, "we make ours");
	fails(rename("t/mine", "t/f"), EPERM, "but not in another's place");
	holds(look("t/mine").st_uid == OTHER && look("t/mine").st_gid == OTHER,
	      "which is ours");
	become(ANOTHER, OTHER);
	fails(unlink("t/mine"), EPERM, "another may not remove it");
	become(OTHER, OTHER);
	fails(unlink("t/mine"), 0, "we may");
	become_root();
	fails(unlink("t/f") | rmdir("t/d") | rmdir("t") | rmdir("d") | unlink("f"), 0,
	      "they go");
}

static void special_bits(void)
{
	fails(make("f", 0644) | chown("f", OTHER, OTHER), 0, "a file of another");
	fails(chmod("f", 06777), 0, "with both bits");
	become(ANOTHER, ANOTHER);
	int fd = open("f", O_WRONLY | O_CLOEXEC);
	holds(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0, "is written");
	become_root();
	holds(look("f").st_mode == (S_IFREG | 0777), "which takes them");
	fails(chmod("f", 06777), 0, "again");
	become(ANOTHER, ANOTHER);
	fails(opens("f", O_RDONLY | O_TRUNC), 0, "is emptied");
	become_root();
	holds(look("f").st_mode == (S_IFREG | 0777), "which takes them, too");
	fails(chmod("f", 06777), 0, "again");
	become(OTHER, OTHER);
	fails(chown("f", OTHER, OTHER), 0, "the owner sets the group");
	holds((look("f").st_mode & 06000) == 0, "which takes them");
	fails(chmod("f", 0700), 0, "he sets the mode");
	fails(chown("f", ANOTHER, (gid_t)-1), EPERM, "but gives nothing away");
	become_root();
	fails(chown("f", OTHER, 0) | chmod("f", 0777), 0, "of another group");
	become(OTHER, OTHER);
	fails(chmod("f", 02777), 0, "he is not of its group");
	become_root();
	holds(look("f").st_mode == (S_IFREG | 0777), "so that bit is not set");
	fails(chmod("f", 06777) | truncate("f", 0), 0, "root cuts one");
	fails(unlink("f"), 0, "it goes");
}

/* ---- times ---- */

static bool is_now(time_t seen, time_t since)
{
	return seen >= since && seen <= time(NULL) + 1;
}

static void times_set(void)
{
	time_t before = time(NULL);
	fails(make("f", 0644) | mkdir("d", 0755) | symlink("f", "l"), 0, "one of each");
	struct stat f = look("f"), l;
	holds(is_now(f.st_mtime, before) && is_now(f.st_ctime, before) &&
		      is_now(f.st_atime, before),
	      "times of a new file are now");
	set_old("f");
	set_old("d");
	set_old("l");
	f = look("f");
	l = look("l");
	holds(f.st_atime == AT && f.st_mtime == AT + 1, "and seen");
	holds(l.st_mtime == AT + 1, "of a link, too");
	holds(is_now(f.st_ctime, before), "the change is now");
	const struct timespec omit[2] = { { 0, UTIME_OMIT }, { 0, UTIME_OMIT } };
	const struct timespec half[2] = { { 7, 0 }, { 0, UTIME_OMIT } };
	const struct timespec now[2] = { { 0, UTIME_OMIT }, { 0, UTIME_NOW } };
	fails(utimensat(AT_FDCWD, "f", omit, 0), 0, "nothing");
	holds(look("f").st_mtime == AT + 1 && look("f").st_atime == AT, "stays");
	fails(utimensat(AT_FDCWD, "f", half, 0), 0, "one");
	holds(look("f").st_mtime == AT + 1 && look("f").st_atime == 7,
	      "and not the other");
	fails(utimensat(AT_FDCWD, "f", now, 0), 0, "now");
	holds(is_now(look("f").st_mtime, before) && look("f").st_atime == 7, "is set");
	const struct timespec far[2] = { { -5, 0 }, { 1ll << 33, 0 } };
	fails(utimensat(AT_FDCWD, "f", far, 0), 0, "times outside of what can be kept");
	f = look("f");
	holds(f.st_atime == 0 && f.st_mtime == UINT32_MAX, "become the nearest");
	const struct timespec late[2] = { { 1ll << 31, 0 }, { (1ll << 31) + 9, 0 } };
	fails(utimensat(AT_FDCWD, "f", late, 0), 0, "after 2038");
	holds(look("f").st_mtime == (1ll << 31) + 9, "is kept");
	fails(unlink("f") | rmdir("d") | unlink("l"), 0, "they go");
}

/* What each call changes: (m)time or (c)time of the file, (p)arent's both; or nothing. */
struct change {
	const char *what;
	int (*call)(void);
	bool is_mtime, is_ctime, is_parent;
};

static int call_write(void)
{
	int fd = open("p/f", O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, "x", 1) == 1 ? close(fd) : -1;
}

static int call_chmod(void) { return chmod("p/f", 0600); }
static int call_chown(void) { return chown("p/f", 1, 1); }
static int call_cut(void) { return truncate("p/f", 3); }
static int call_empty(void) { return opens("p/f", O_RDWR | O_TRUNC); }
static int call_read(void) { return opens("p/f", O_RDONLY); }
static int call_make(void) { return make("p/g", 0644) | unlink("p/g"); }
static int call_mkdir(void) { return mkdir("p/d", 0755) | rmdir("p/d"); }
static int call_link(void) { return symlink("x", "p/l") | unlink("p/l"); }
static int call_move(void) { return rename("p/f", "p/h") | rename("p/h", "p/f"); }
static int call_fail_cut(void) { return truncate("p/f", -1) == -1 ? 0 : -1; }
static int call_fail_link(void) { return link("p/f", "p/l") == -1 ? 0 : -1; }

static const struct change changes[] = {
	{ "write", call_write, true, true, false },
	{ "chmod", call_chmod, false, true, false },
	{ "chown", call_chown, false, true, false },
	{ "truncate", call_cut, true, true, false },
	{ "O_TRUNC", call_empty, true, true, false },
	{ "open and close", call_read, false, false, false },
	{ "a file made and removed", call_make, false, false, true },
	{ "a folder made and removed", call_mkdir, false, false, true },
	{ "a link made and removed", call_link, false, false, true },
	{ "rename", call_move, false, true, true },
	{ "truncate that fails", call_fail_cut, false, false, false },
	{ "link that fails", call_fail_link, false, false, false },
};
#define CHANGE_COUNT (sizeof(changes) / sizeof(changes[0]))

/* Each in a folder of its own, so that the clock is waited for once. */
static void times_changed(void)
{
	char name[32], text[100];
	fails(mkdir("times", 0755) | chdir("times"), 0, "a place for times");
	for (size_t i = 0; i < CHANGE_COUNT; i++) {
		(void)snprintf(name, sizeof(name), "%zu", i);
		if (mkdir(name, 0755) || chdir(name) || mkdir("p", 0755) ||
		    make("p/f", 0644) || truncate("p/f", 10) || chdir(".."))
			fails(-1, 0, "a file for each");
	}
	next_second();
	for (size_t i = 0; i < CHANGE_COUNT; i++) {
		const struct change *c = &changes[i];
		(void)snprintf(name, sizeof(name), "%zu", i);
		fails(chdir(name), 0, c->what);
		struct stat f = look("p/f"), p = look("p");
		fails(c->call(), 0, "the call");
		struct stat f2 = look("p/f"), p2 = look("p");
		(void)snprintf(text, sizeof(text), "%s: time of modification %s", c->what,
			       c->is_mtime ? "is new" : "stays");
		holds((f2.st_mtime > f.st_mtime) == c->is_mtime, text);
		(void)snprintf(text, sizeof(text), "%s: time of change %s", c->what,
			       c->is_ctime ? "is new" : "stays");
		holds((f2.st_ctime > f.st_ctime) == c->is_ctime, text);
		(void)snprintf(text, sizeof(text), "%s: times of its folder %s", c->what,
			       c->is_parent ? "are new" : "stay");
		holds((p2.st_mtime > p.st_mtime) == c->is_parent &&
			      (p2.st_ctime > p.st_ctime) == c->is_parent,
		      text);
		fails(chdir(".."), 0, "next");
	}
	fails(chdir(".."), 0, "done");
}

int main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1])) {
		fputs("usage: mount_posix FOLDER\n", stderr);
		return 2;
	}
	(void)umask(0);
	every_byte();
	long_names();
	wrong_names();
	kinds();
	symlinks();
	renames();
	open_names();
	modes();
	strangers();
	special_bits();
	times_set();
	times_changed();
	return points_end();
}
