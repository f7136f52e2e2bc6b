/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a simulation ends badly: the sentence, the seed, the last trace lines, every fiber
 * with what it waits for and where it stands. To find the place, each stopped fiber is
 * resumed with is_dumping set; it then walks its own stack and switches back.
 *
 * assert(), faults and a full fiber stack come here through signal handlers on a stack of
 * their own. After that the process is only good for abort().
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sched.h"

#define FRAMES 24
#define SKIPPED_FRAMES 3 /* fail_dump_self, stop, sched_wait */
#define SIGNAL_STACK_SIZE (64u << 10)

static const int caught[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM };
#define CAUGHT_COUNT (sizeof(caught) / sizeof(caught[0]))
static struct sigaction before[CAUGHT_COUNT];
static stack_t signal_stack_before;
static uint8_t signal_stack[SIGNAL_STACK_SIZE];

/* Prints frames as places in the source, if addr2line is there, else as addresses. */
static void print_frames(void *const *frames, int count)
{
	char command[1024];
	int at = snprintf(command, sizeof(command),
			  "addr2line -sfip -e /proc/%d/exe 2>/dev/null", (int)getpid());
	for (int i = 0; i < count; i++) {
		Dl_info info;
		/* in the call, not behind it */
		uintptr_t address = (uintptr_t)frames[i] - 1;
		if (!dladdr(frames[i], &info) || at < 0 || at > (int)sizeof(command) - 32)
			continue;
		address -= (uintptr_t)info.dli_fbase;
		if (info.dli_fname && !strstr(info.dli_fname, ".so"))
			at += snprintf(command + at, sizeof(command) - (size_t)at, " %lx",
				       (unsigned long)address);
	}
	FILE *places = popen(command, "r");
	char line[256];
	int printed = 0;
	while (places && fgets(line, sizeof(line), places)) {
		fprintf(stderr, "#         %s", line);
		printed++;
	}
	if (places)
		(void)pclose(places);
	if (!printed) {
		for (int i = 0; i < count; i++)
			fprintf(stderr, "#         %p\n", frames[i]);
	}
}

void fail_dump_self(void)
{
	void *frames[FRAMES];
	int count = backtrace(frames, FRAMES);
	if (count > SKIPPED_FRAMES)
		print_frames(frames + SKIPPED_FRAMES, count - SKIPPED_FRAMES);
	fiber_switch(&sim.current->fiber, &sim.dumper);
}

static const char *wait_text(const struct task *t, char buf[static 128])
{
	char until[48] = "";
	if (t->timer.index != NOT_QUEUED)
		(void)snprintf(until, sizeof(until), " until %.6f",
			       (double)t->timer.at / 1e9);
	if (t->is_parked || t->state == TASK_READY)
		(void)snprintf(buf, 128, t->is_parked ? "ready, host paused" : "ready");
	else if (t->state == TASK_RUNNING)
		(void)snprintf(buf, 128, "running");
	else if (t->wait == WAIT_COND)
		(void)snprintf(buf, 128, "waits for cond %p (mutex %p)%s", t->wait_cond,
			       t->wait_mutex, until);
	else if (t->wait == WAIT_JOIN)
		(void)snprintf(buf, 128, "waits for the end of %s#%u", t->wait_task->name,
			       t->wait_task->id);
	else
		(void)snprintf(buf, 128, "%s%s",
			       t->wait == WAIT_DELAY ? "is delayed" : "sleeps", until);
	return buf;
}

static void dump_task(struct task *t)
{
	char text[128];
	if (t->state == TASK_ENDED || t->state == TASK_KILLED)
		return;
	fprintf(stderr, "#     %s: %s\n", sched_task_name(t), wait_text(t, text));
	if (t->state == TASK_RUNNING || !t->is_started)
		return;
	struct task *current = sim.current;
	sim.current = t;
	sim.is_dumping = true;
	fiber_switch(&sim.dumper, &t->fiber);
	sim.is_dumping = false;
	sim.current = current;
}

static void dump_trace(void)
{
	uint32_t count =
		sim.trace_count < SIM_TRACE_LINES ? sim.trace_count : SIM_TRACE_LINES;
	if (sim.trace_level || !count)
		return;
	fprintf(stderr, "#   the last %u lines of the trace:\n", count);
	for (uint32_t i = sim.trace_count - count; i != sim.trace_count; i++)
		fprintf(stderr, "#     %s\n", sim.trace[i % SIM_TRACE_LINES]);
}

static void dump(void)
{
	fprintf(stderr, "# sim: seed %llu, %.6f s, switch %llu; replay: SIM_SEED=%llu "
			"SIM_TRACE=1 %s\n",
		(unsigned long long)sim.seed, (double)sim.now / 1e9,
		(unsigned long long)sim.switches, (unsigned long long)sim.seed,
		program_invocation_name);
	if (sim.current)
		fprintf(stderr, "#   running: %s\n", sched_task_name(sim.current));
	void *frames[FRAMES];
	int count = backtrace(frames, FRAMES);
	print_frames(frames, count);
	dump_trace();
	fprintf(stderr, "#   fibers:\n");
	struct task *t;
	LIST_FOREACH(t, &sim.tasks, all)
		dump_task(t);
	(void)fflush(stderr);
}

static noreturn void die(void)
{
	(void)signal(SIGABRT, SIG_DFL);
	abort();
}

noreturn void sim_fail(const char *fmt, ...)
{
	(void)fflush(stdout);
	fprintf(stderr, "# sim: ");
	va_list ap;
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	if (sim.is_running && !sim.is_failing) {
		sim.is_failing = true;
		dump();
	}
	die();
}

static const struct task *overflowed(const void *address)
{
	struct task *t;
	LIST_FOREACH(t, &sim.tasks, all) {
		if (fiber_is_guard(&t->fiber, address))
			return t;
	}
	return NULL;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (!sim.is_running || sim.is_failing)
		die();
	const struct task *t = number == SIGSEGV ? overflowed(info->si_addr) : NULL;
	if (t)
		sim_fail("%s needs more than %u KiB of stack", sched_task_name(t),
			 FIBER_STACK_SIZE >> 10);
	if (number == SIGALRM)
		sim_fail("too long in real time");
	if (number == SIGABRT)
		sim_fail("aborted");
	sim_fail("signal %d at address %p", number, info->si_addr);
}

void fail_install_handlers(void)
{
	stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
	(void)sigaltstack(&stack, &signal_stack_before);
	struct sigaction action = { .sa_sigaction = on_signal,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	for (unsigned int i = 0; i < CAUGHT_COUNT; i++)
		(void)sigaction(caught[i], &action, &before[i]);
}

void fail_remove_handlers(void)
{
	for (unsigned int i = 0; i < CAUGHT_COUNT; i++)
		(void)sigaction(caught[i], &before[i], NULL);
	(void)sigaltstack(&signal_stack_before, NULL);
}
