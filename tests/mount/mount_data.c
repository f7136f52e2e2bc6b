/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_data FOLDER: what POSIX and Linux say of what is in files, point by point, in an
 * empty folder of a mounted filesystem. TAP. See mount_posix.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/mount/points.h"

#define MIB (1u << 20)
#define PAGE 4096u

static uint8_t buf[4 * MIB] __attribute__((aligned(4096)));

static int open_new(const char *path)
{
	return open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
}

static bool reads(int fd, uint64_t off, size_t len, int byte)
{
	static uint8_t back[4 * MIB];
	if (pread(fd, back, len, (off_t)off) != (ssize_t)len)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (back[i] != byte)
			return false;
	}
	return true;
}

static bool puts_bytes(int fd, uint64_t off, size_t len, int byte)
{
	memset(buf, byte, len);
	return pwrite(fd, buf, len, (off_t)off) == (ssize_t)len;
}

static uint64_t size_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

static uint64_t bytes_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : UINT64_MAX;
}

/* ---- lengths ---- */

static void lengths(void)
{
	int fd = open_new("f");
	holds(fd >= 0 && pread(fd, buf, 10, 0) == 0, "nothing is in a new file");
	holds(puts_bytes(fd, 3 * MIB + 7, 5, 'a'), "bytes behind the end");
	holds(size_of(fd) == 3 * MIB + 12, "make it longer");
	holds(reads(fd, 0, 3 * MIB + 7, 0), "what lies before is zeros");
	holds(bytes_of(fd) <= 2 * MIB, "and takes no space");
	holds(pread(fd, buf, 100, 3 * MIB + 8) == 4, "a read ends at the end");
	holds(pread(fd, buf, 100, 9 * MIB) == 0, "behind it there is nothing");
	fails(ftruncate(fd, 3 * MIB + 8), 0, "cut");
	fails(ftruncate(fd, 3 * MIB + 100), 0, "and made longer");
	holds(reads(fd, 3 * MIB + 7, 1, 'a') && reads(fd, 3 * MIB + 8, 92, 0),
	      "what was cut off is zeros");
	fails(ftruncate(fd, -1), EINVAL, "no length below nothing");
	fails(ftruncate(fd, 1ll << 47), EFBIG, "nor above what is possible");
	fails(pwrite(fd, "x", 1, 1ll << 47) < 0 ? -1 : 0, EFBIG, "no byte there");
	fails(fallocate(fd, 0, 1ll << 47, 1), EFBIG, "no block there");
	holds(size_of(fd) == 3 * MIB + 100, "nothing changed by that");
	fails(ftruncate(fd, 1ll << 40), 0, "a terabyte of nothing");
	holds(puts_bytes(fd, (1ull << 40) - 5, 5, 'z') &&
		      reads(fd, (1ull << 40) - 5, 5, 'z'),
	      "with bytes at its end");
	fails(ftruncate(fd, 0), 0, "emptied");
	holds(size_of(fd) == 0 && bytes_of(fd) == 0, "it takes no space");
	int ro = open("f", O_RDONLY | O_CLOEXEC);
	fails(ftruncate(ro, 5), EINVAL, "not by who only reads");
	fails(write(ro, "x", 1) < 0 ? -1 : 0, EBADF, "nor is it written");
	fails(close(ro) | close(fd) | unlink("f"), 0, "it goes");
}

static void appends(void)
{
	int a = open("f", O_CREAT | O_APPEND | O_RDWR | O_CLOEXEC, 0644);
	int b = open("f", O_APPEND | O_WRONLY | O_CLOEXEC);
	bool is_good = a >= 0 && b >= 0;
	for (int i = 0; i < 50; i++)
		is_good &= write(i % 2 ? a : b, i % 2 ? "a" : "b", 1) == 1;
	holds(is_good && size_of(a) == 50, "two append");
	holds(pread(a, buf, 60, 0) == 50, "and all is there");
	is_good = true;
	for (int i = 0; i < 50; i++)
		is_good &= buf[i] == (i % 2 ? 'a' : 'b');
	holds(is_good, "in turn");
	fails(truncate("f", 10), 0, "cut by name while open");
	holds(write(a, "c", 1) == 1 && size_of(b) == 11, "the next goes to the end");
	int t = open("f", O_TRUNC | O_WRONLY | O_CLOEXEC);
	holds(t >= 0 && size_of(a) == 0, "O_TRUNC empties it for all");
	fails(close(a) | close(b) | close(t) | unlink("f"), 0, "it goes");
}

/* ---- blocks ---- */

static void blocks(void)
{
	int fd = open_new("f");
	fails(fallocate(fd, 0, 0, 3 * MIB), 0, "blocks are given");
	holds(size_of(fd) == 3 * MIB && bytes_of(fd) >= 3 * MIB, "the file has them");
	holds(reads(fd, 0, 3 * MIB, 0), "they are zeros");
	holds(puts_bytes(fd, 0, 3 * MIB, 'x'), "written");
	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB - 10,
			MIB + 20),
	      0, "a hole");
	holds(reads(fd, 0, MIB - 10, 'x') && reads(fd, MIB - 10, MIB + 20, 0) &&
		      reads(fd, 2 * MIB + 10, MIB - 10, 'x'),
	      "is zeros, the rest stays");
	holds(bytes_of(fd) == 2 * MIB, "and its block is free");
	holds(lseek(fd, 0, SEEK_HOLE) == MIB && lseek(fd, MIB, SEEK_DATA) == 2 * MIB,
	      "seeking finds it");
	holds(lseek(fd, 2 * MIB, SEEK_HOLE) == 3 * MIB, "and the one at the end");
	fails(lseek(fd, 3 * MIB, SEEK_DATA) < 0 ? -1 : 0, ENXIO, "no data behind it");
	fails(lseek(fd, 9 * MIB, SEEK_HOLE) < 0 ? -1 : 0, ENXIO, "nor a hole");
	fails(lseek(fd, -1, SEEK_DATA) < 0 ? -1 : 0, ENXIO, "nor anything before it");
	fails(lseek(fd, -1, SEEK_HOLE) < 0 ? -1 : 0, ENXIO, "of either kind");
	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * MIB,
			9 * MIB),
	      0, "a hole past the end");
	holds(size_of(fd) == 3 * MIB, "leaves the length");
	fails(fallocate(fd, FALLOC_FL_ZERO_RANGE, MIB / 2, 3 * MIB), 0, "zeros");
	holds(size_of(fd) == 3 * MIB + MIB / 2, "make it longer");
	holds(reads(fd, 0, MIB / 2, 'x') && reads(fd, MIB / 2, 3 * MIB, 0),
	      "and are zeros");
	holds(bytes_of(fd) == 4 * MIB, "with blocks");
	fails(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 100, 90 * MIB), 0,
	      "zeros past the end");
	holds(size_of(fd) == 3 * MIB + MIB / 2 && reads(fd, 0, 100, 'x') &&
		      reads(fd, 100, MIB, 0),
	      "leave the length");
	fails(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, MIB), EOPNOTSUPP, "no collapse");
	fails(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, MIB), EOPNOTSUPP, "no insert");
	fails(fallocate(fd, 0, -1, 5), EINVAL, "no place below nothing");
	fails(fallocate(fd, 0, 0, 0), EINVAL, "not nothing");
	fails(posix_fallocate(fd, 0, 100) ? -1 : 0, 0, "what is there is left");
	holds(reads(fd, 0, 100, 'x'), "as it is");
	fails(close(fd) | unlink("f"), 0, "it goes");
}

static void space(void)
{
	struct statvfs before, filled, after;
	int fd = open_new("f");
	holds(statvfs(".", &before) == 0 && before.f_namemax == 127 &&
		      before.f_bavail <= before.f_bfree,
	      "statvfs");
	fails(fallocate(fd, 0, 0, 20 * MIB), 0, "20 MiB");
	(void)statvfs(".", &filled);
	holds((before.f_bfree - filled.f_bfree) * filled.f_frsize >= 20 * MIB,
	      "are not free then");
	fails(close(fd) | unlink("f"), 0, "removed");
	/*
	 * The kernel tells of the last close when it likes. If that is after the name
	 * went, the folder for files without a name is made: a descriptor, too.
	 */
	bool is_free = false;
	for (int i = 0; !is_free && i < 1000; i++) {
		(void)statvfs(".", &after);
		is_free = after.f_bfree > filled.f_bfree &&
			  after.f_ffree >= before.f_ffree;
		usleep(is_free ? 0 : 20000);
	}
	holds(is_free, "they are");
}

/* ---- memory, direct, copies ---- */

static void memory(void)
{
	int fd = open_new("f");
	int direct = open("f", O_RDWR | O_DIRECT | O_CLOEXEC);
	holds(direct >= 0 && puts_bytes(fd, 0, 2 * MIB, 'm'), "a file, direct as well");
	uint8_t *map = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	holds(map != MAP_FAILED && map[0] == 'm' && map[2 * MIB - 1] == 'm', "mapped");
	holds(puts_bytes(fd, PAGE, 10, 'w') && map[PAGE] == 'w', "a write is seen");
	map[3 * PAGE] = 'n';
	holds(reads(fd, 3 * PAGE, 1, 'n'), "and what memory says is read");
	fails(msync(map, 2 * MIB, MS_SYNC), 0, "synced");
	memset(buf, 'd', 2 * PAGE);
	holds(pread(direct, buf, PAGE, 3 * PAGE) == PAGE && buf[0] == 'n',
	      "direct, too");
	memset(buf, 'd', 2 * PAGE);
	holds(pwrite(direct, buf, 2 * PAGE, 5 * PAGE) == 2 * PAGE, "written direct");
	holds(reads(fd, 5 * PAGE, 2 * PAGE, 'd') && map[5 * PAGE] == 'd', "all see it");
	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MIB), 0,
	      "a hole below the map");
	holds(map[PAGE] == 0 && map[MIB] == 'm', "is seen");
	fails(munmap(map, 2 * MIB), 0, "unmapped");
	holds(pwrite(direct, buf, PAGE, 4 * MIB) == PAGE, "direct behind the end");
	holds(size_of(fd) == 4 * MIB + PAGE && reads(fd, 4 * MIB, PAGE, 'd') &&
		      reads(fd, 3 * MIB, PAGE, 0),
	      "is longer for all");
	struct iovec iov[2] = { { buf, PAGE }, { buf + PAGE, PAGE } };
	holds(pwritev2(fd, iov, 2, 0, RWF_DSYNC) == 2 * PAGE &&
		      reads(fd, 0, 2 * PAGE, 'd'),
	      "written at once and synced");
	fails(fsync(fd) | fdatasync(direct) | close(direct) | close(fd) | unlink("f"), 0,
	      "it goes");
}

static ssize_t copy(int in, off_t at_in, int out, off_t at_out, size_t len)
{
	ssize_t n = 0, done = 0;
	while (len && (n = copy_file_range(in, &at_in, out, &at_out, len, 0)) > 0) {
		done += n;
		len -= (size_t)n;
	}
	return n < 0 ? -1 : done;
}

static void copies(void)
{
	int in = open_new("f"), out = open_new("g");
	holds(puts_bytes(in, 0, 2 * MIB + 5, 'c') && puts_bytes(in, 9 * MIB, 77, 'e'),
	      "a file with a hole");
	holds(copy(in, 0, out, 0, 99 * MIB) == 9 * MIB + 77, "is copied to its end");
	holds(reads(out, 0, 2 * MIB + 5, 'c') && reads(out, 2 * MIB + 5, 3 * MIB, 0) &&
		      reads(out, 9 * MIB, 77, 'e'),
	      "as it is");
	holds(bytes_of(out) <= bytes_of(in), "the hole is one");
	holds(puts_bytes(out, 4 * MIB, MIB, 'o'), "data in it");
	holds(copy(in, 4 * MIB + 100, out, 4 * MIB + 100, 500) == 500,
	      "zeros over a piece of them");
	holds(reads(out, 4 * MIB, 100, 'o') && reads(out, 4 * MIB + 100, 500, 0) &&
		      reads(out, 4 * MIB + 600, 1000, 'o'),
	      "are there and nowhere else");
	holds(copy(in, 9 * MIB, out, 3, 70) == 70 && reads(out, 3, 70, 'e') &&
		      reads(out, 0, 3, 'c') && reads(out, 73, 100, 'c'),
	      "from one place to another");
	holds(copy(out, 0, out, 12 * MIB, MIB) == MIB && reads(out, 12 * MIB, 3, 'c') &&
		      reads(out, 11 * MIB, MIB, 0),
	      "within a file, behind its end");
	fails((int)copy(out, 0, out, 10, 20), EINVAL, "not onto itself");
	holds(copy(in, 99 * MIB, out, 0, 5) == 0, "nothing from behind the end");
	fails(close(in) | close(out) | unlink("f") | unlink("g"), 0, "they go");
}

int main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1])) {
		fputs("usage: mount_data FOLDER\n", stderr);
		return 2;
	}
	lengths();
	appends();
	blocks();
	space();
	memory();
	copies();
	return points_end();
}
