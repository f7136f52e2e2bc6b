/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that was killed leaves its pid here. It counts as gone as soon as the kernel
 * has begun to take it apart: its locks may fall before its /proc entry does.
 */
#include "tests/storm/inside.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

#define READERS_MAX 16u
#define PF_EXITING 0x4u

struct inside_file {
	_Atomic uint64_t durable;
	_Atomic int writer;
	_Atomic int readers[READERS_MAX];
};

struct inside {
	struct inside_file files[INSIDE_FILES_MAX];
};

struct inside *inside_open(const char *path)
{
	AUTO_CLOSE int file_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (file_fd < 0 || ftruncate(file_fd, sizeof(struct inside)) < 0)
		return NULL;
	void *p = mmap(NULL, sizeof(struct inside), PROT_READ | PROT_WRITE, MAP_SHARED,
		       file_fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

uint64_t inside_durable(const struct inside *in, unsigned int file)
{
	return atomic_load(&in->files[file].durable);
}

void inside_set_durable(struct inside *in, unsigned int file, uint64_t count)
{
	uint64_t old = atomic_load(&in->files[file].durable);

	while (old < count &&
	       !atomic_compare_exchange_weak(&in->files[file].durable, &old, count))
		;
}

static bool is_living(int pid)
{
	char path[64], line[512], state;
	unsigned int flags;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return false;
	const char *rest = strrchr(line, ')');
	if (!rest || sscanf(rest, ") %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2)
		return false;
	return state != 'Z' && state != 'X' && state != 'x' && !(flags & PF_EXITING);
}

/* Puts our pid where none, or that of a dead process, is. 0, or who is there. */
static int occupy(_Atomic int *place)
{
	int who = 0;

	while (!atomic_compare_exchange_strong(place, &who, getpid()))
		if (is_living(who))
			return who;
	return 0;
}

static int enter_as_reader(struct inside_file *f)
{
	for (unsigned int i = 0; i < READERS_MAX; i++)
		if (occupy(&f->readers[i]) == 0) {
			int writer = atomic_load(&f->writer);
			return writer && is_living(writer) ? writer : 0;
		}
	return 0; /* more readers than the format allows: the caller counts them */
}

int inside_enter(struct inside *in, unsigned int file, bool is_writer)
{
	struct inside_file *f = &in->files[file];

	if (!is_writer)
		return enter_as_reader(f);
	int who = occupy(&f->writer);
	for (unsigned int i = 0; i < READERS_MAX && !who; i++) {
		int reader = atomic_load(&f->readers[i]);
		if (reader && is_living(reader))
			who = reader;
	}
	return who;
}

void inside_leave(struct inside *in, unsigned int file, bool is_writer)
{
	struct inside_file *f = &in->files[file];
	int self = getpid();

	if (is_writer) {
		(void)atomic_compare_exchange_strong(&f->writer, &self, 0);
		return;
	}
	for (unsigned int i = 0; i < READERS_MAX; i++) {
		self = getpid();
		if (atomic_compare_exchange_strong(&f->readers[i], &self, 0))
			return;
	}
}
