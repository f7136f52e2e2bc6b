/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many seeds, each in a forked child. The child's output goes to a file in memory and is
 * shown only if it fails. In the child a cmocka group of one test runs, so that a failed
 * assertion (a longjmp out of whatever fiber it is in) ends that group and not the
 * caller's.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/parse.h"
#include "tests/sim/sim.h"

#define SEED_SECONDS 120 /* of a CPU: a machine may be busy */
#define OUTPUT_MAX (64u << 10)

struct story {
	uint64_t seed;
	void (*fn)(void *arg);
	void *arg;
};

static void run_story(void **state)
{
	struct story *s = *state;
	sim_run(s->seed, s->fn, s->arg);
}

/* A replay: the trace goes straight to who asked for it, however long it is. */
static bool is_traced(void)
{
	const char *trace = getenv("SIM_TRACE");
	return trace && atoi(trace) > 0;
}

static noreturn void child(struct story *s, int output_fd)
{
	if (!is_traced()) {
		(void)dup2(output_fd, STDOUT_FILENO);
		(void)dup2(output_fd, STDERR_FILENO);
	}
	const struct itimerval limit = { .it_value.tv_sec = SEED_SECONDS };
	(void)setitimer(ITIMER_PROF, &limit, NULL);
	cmocka_set_test_filter(NULL); /* the caller's choice of cases */
	const struct CMUnitTest tests[] = {
		{ .name = "seed", .test_func = run_story, .initial_state = s },
	};
	int failed = cmocka_run_group_tests_name("seed", tests, NULL, NULL);
	(void)fflush(stdout);
	_exit(failed ? 1 : 0);
}

/* Runs one seed; true if it went well, else *ret_output is what it said (free()). */
static bool run_seed(struct story *s, char **ret_output)
{
	int output_fd = memfd_create("sim output", MFD_CLOEXEC);
	assert_true(output_fd >= 0);
	(void)fflush(stdout);
	(void)fflush(stderr);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(s, output_fd);
	int status;
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	bool is_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	char *output = calloc(1, OUTPUT_MAX + 1);
	assert_non_null(output);
	ssize_t len = pread(output_fd, output, OUTPUT_MAX, 0);
	assert_true(len >= 0);
	(void)close(output_fd);
	if (is_well)
		free(output);
	else
		*ret_output = output;
	return is_well;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t n;
	if (!text || !*text)
		return otherwise;
	if (parse_u64(text, UINT64_MAX, &n) < 0)
		fail_msg("%s=%s is not a number", name, text);
	return n;
}

/* Every line as a TAP comment. */
static void print_output(const char *output)
{
	while (*output) {
		size_t len = strcspn(output, "\n");
		(void)printf("%s%.*s\n", *output == '#' ? "" : "# ", (int)len, output);
		output += len + (output[len] == '\n');
	}
	(void)fflush(stdout);
}

void sim_each_seed(uint64_t first, uint64_t count, void (*fn)(void *arg), void *arg)
{
	struct story s = { .seed = first, .fn = fn, .arg = arg };
	count = from_environment("SIM_COUNT", count);
	first = from_environment("SIM_FIRST", first);
	if (getenv("SIM_SEED")) {
		first = from_environment("SIM_SEED", first);
		count = 1;
	}
	for (uint64_t i = 0; i < count; i++) {
		char *output;
		s.seed = first + i;
		if (run_seed(&s, &output))
			continue;
		print_output(output);
		free(output);
		fail_msg("seed %llu failed; replay: SIM_SEED=%llu SIM_TRACE=1 %s",
			 (unsigned long long)s.seed, (unsigned long long)s.seed,
			 program_invocation_name);
	}
}

void sim_some_seeds(uint64_t first, uint64_t count, void (*fn)(void *arg), void *arg)
{
	sim_each_seed(first, getenv("FULL") ? count : (count * 2 + 2) / 3, fn, arg);
}

bool sim_first_failure(uint64_t first, uint64_t count, void (*fn)(void *arg), void *arg,
		       char *ret_what, uint32_t size, uint64_t *ret_seed)
{
	struct story s = { .fn = fn, .arg = arg };
	for (uint64_t i = 0; i < count; i++) {
		char *output;
		s.seed = first + i;
		if (run_seed(&s, &output))
			continue;
		const char *what = strstr(output, "# sim: ");
		what = what ? what + strlen("# sim: ") : output;
		(void)snprintf(ret_what, size, "%.*s", (int)strcspn(what, "\n"), what);
		free(output);
		*ret_seed = s.seed;
		return true;
	}
	return false;
}

bool sim_some_seed_fails(uint64_t first, uint64_t count, void (*fn)(void *arg), void *arg,
			 const char *text, uint64_t *ret_seed)
{
	struct story s = { .fn = fn, .arg = arg };
	for (uint64_t i = 0; i < count; i++) {
		char *output;
		s.seed = first + i;
		if (run_seed(&s, &output))
			continue;
		bool is_found = strstr(output, text) != NULL;
		if (!is_found)
			print_output(output);
		free(output);
		if (ret_seed)
			*ret_seed = s.seed;
		return is_found;
	}
	return false;
}
