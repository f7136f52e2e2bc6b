/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/own_target.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"

#define IQN "iqn.2026-01.org.openvmfs:own"
#define FILE_SIZE (64ll << 20)
#define MAX_WORDS 64
#define MAX_PORTALS 8u

struct own_target {
	char folder[64], file[96], socket[96], options[512], url[512];
	pid_t pid; /* 0: killed */
	unsigned int portals;
	uint16_t port[MAX_PORTALS];
	int control;
};

static void program_path(char *ret_path, size_t size)
{
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	for (int i = 0; i < 2; i++) { /* .../tests/unit/NAME */
		char *slash = strrchr(self, '/');
		assert_non_null(slash);
		*slash = '\0';
	}
	(void)snprintf(ret_path, size, "%s/target/iscsi-target", self);
}

/* The word with FILE or FOLDER in it, or the port that this portal had before. */
static void make_word(const struct own_target *t, const char *word, unsigned int *portal,
		      char *ret_word, size_t size)
{
	const char *file = strstr(word, "FILE");

	if (file)
		(void)snprintf(ret_word, size, "%.*s%s%s", (int)(file - word), word,
			       t->file, file + 4);
	else if (strcmp(word, "FOLDER") == 0)
		(void)snprintf(ret_word, size, "%s", t->folder);
	else if (word[0] == '0' && word[1] == ':' && *portal < t->portals)
		(void)snprintf(ret_word, size, "%u%s", t->port[(*portal)++], word + 1);
	else
		(void)snprintf(ret_word, size, "%s", word);
}

static void exec_program(const struct own_target *t, int out)
{
	static char words[MAX_WORDS][256];
	char *argv[MAX_WORDS + 1], options[1024], program[600], *save = NULL;
	unsigned int portal = 0;
	int count = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(out, STDOUT_FILENO);
	program_path(program, sizeof(program));
	(void)snprintf(options, sizeof(options), "target -c %s %s", t->socket,
		       t->options);
	for (char *p = strtok_r(options, " ", &save); p && count < MAX_WORDS;
	     p = strtok_r(NULL, " ", &save)) {
		make_word(t, p, &portal, words[count], sizeof(words[count]));
		argv[count] = words[count];
		count++;
	}
	argv[count] = NULL;
	(void)execv(program, argv);
	_exit(127);
}

static void connect_control(struct own_target *t)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", t->socket);
	t->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(t->control >= 0);
	assert_int_equal(connect(t->control, (struct sockaddr *)&a, sizeof(a)), 0);
}

/* Starts the program and reads its portals. */
static void run(struct own_target *t)
{
	char line[128], address[64];
	unsigned int port, tpg, portals = 0;
	bool is_ready = false;
	int out[2];

	assert_int_equal(pipe(out), 0);
	t->pid = fork();
	assert_true(t->pid >= 0);
	if (t->pid == 0)
		exec_program(t, out[1]);
	(void)close(out[1]);
	FILE *f = fdopen(out[0], "r");
	assert_non_null(f);
	while (!is_ready && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "portal %63[^:]:%u,%u", address, &port, &tpg) == 3 &&
		    portals < MAX_PORTALS)
			t->port[portals++] = (uint16_t)port;
		is_ready = strcmp(line, "ready\n") == 0;
	}
	(void)fclose(f);
	assert_true(is_ready);
	t->portals = portals;
	connect_control(t);
}

struct own_target *own_start(const char *options)
{
	struct own_target *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	(void)snprintf(t->folder, sizeof(t->folder), "/tmp/own-target-XXXXXX");
	assert_non_null(mkdtemp(t->folder));
	(void)snprintf(t->file, sizeof(t->file), "%s/lun", t->folder);
	(void)snprintf(t->socket, sizeof(t->socket), "%s/ctl", t->folder);
	(void)snprintf(t->options, sizeof(t->options), "%s", options);
	FILE *f = fopen(t->file, "w");
	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), FILE_SIZE), 0);
	assert_int_equal(fclose(f), 0);
	run(t);
	return t;
}

static void end(struct own_target *t, int with)
{
	int status;

	if (!t->pid)
		return;
	(void)close(t->control);
	assert_int_equal(kill(t->pid, with), 0);
	assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
	t->pid = 0;
	/* A target of a build with sanitizers says at its end what was wrong. */
	assert_true(with == SIGKILL || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

void own_kill(struct own_target *t)
{
	end(t, SIGKILL);
}

void own_again(struct own_target *t)
{
	end(t, SIGKILL);
	run(t);
}

static void remove_folder(const char *path)
{
	DIR *dir = opendir(path);

	assert_non_null(dir);
	for (const struct dirent *e; (e = readdir(dir)) != NULL;)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			assert_int_equal(unlinkat(dirfd(dir), e->d_name, 0), 0);
	(void)closedir(dir);
	assert_int_equal(rmdir(path), 0);
}

void own_free(struct own_target *t)
{
	end(t, SIGTERM);
	remove_folder(t->folder);
	free(t);
}

const char *own_url(struct own_target *t, unsigned int lun, const char *more)
{
	(void)snprintf(t->url, sizeof(t->url), "iscsi://127.0.0.1:%u/" IQN "/%u%s",
		       t->port[0], lun, more);
	return t->url;
}

uint16_t own_port(const struct own_target *t, unsigned int portal)
{
	assert_true(portal < t->portals);
	return t->port[portal];
}

const char *own_file(const struct own_target *t)
{
	return t->file;
}

/* Sends a line; the answer up to its "ok" or "error". */
static void ask(struct own_target *t, const char *line, char *ret_answer, size_t size)
{
	size_t have = 0;

	assert_true(send(t->control, line, strlen(line), MSG_NOSIGNAL) > 0);
	for (;;) {
		ssize_t n = recv(t->control, ret_answer + have, size - 1 - have, 0);
		assert_true(n > 0);
		have += (size_t)n;
		ret_answer[have] = '\0';
		const char *last = have > 1 ? memrchr(ret_answer, '\n', have - 1) : NULL;
		last = last ? last + 1 : ret_answer;
		if (strcmp(last, "ok\n") == 0)
			return;
		if (strncmp(last, "error", 5) == 0 && ret_answer[have - 1] == '\n')
			fail_msg("%s: %s", line, last);
	}
}

void own_do(struct own_target *t, const char *fmt, ...)
{
	char line[512], answer[2048];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	assert_true(n > 0 && (size_t)n < sizeof(line) - 1);
	line[n] = '\n';
	line[n + 1] = '\0';
	ask(t, line, answer, sizeof(answer));
}

uint64_t own_stat(struct own_target *t, const char *name)
{
	char line[128], answer[256];

	(void)snprintf(line, sizeof(line), "stat %s\n", name);
	ask(t, line, answer, sizeof(answer));
	return strtoull(answer, NULL, 10);
}

static unsigned int descriptors_of(const char *process)
{
	char path[64];
	unsigned int count = 0;

	(void)snprintf(path, sizeof(path), "/proc/%s/fd", process);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	for (const struct dirent *e; (e = readdir(dir)) != NULL;)
		count += e->d_name[0] != '.';
	(void)closedir(dir);
	return count;
}

unsigned int own_descriptors(const struct own_target *t)
{
	char process[16];

	(void)snprintf(process, sizeof(process), "%d", (int)t->pid);
	return descriptors_of(process);
}

unsigned int own_descriptors_here(void)
{
	return descriptors_of("self");
}

void own_wait(struct own_target *t, const char *name, uint64_t n)
{
	for (int i = 0; i < 3000; i++) {
		if (own_stat(t, name) >= n)
			return;
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	}
	fail_msg("%s is %llu, not %llu", name, (unsigned long long)own_stat(t, name),
		 (unsigned long long)n);
}
