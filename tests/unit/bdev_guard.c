/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard (LOCKING.md 6.4) with real processes and sockets: each test forks a program
 * that has a guard and a connection to us, lets its lease grow old, stops or kills one of
 * the two, and looks at what arrives here and who is alive.
 *
 * Two errors of the guard itself are put in by the linker (tests.mk): shutdown() alone
 * where a reset is needed, and a clock that stops while the machine is suspended. The
 * suspension is made up: CLOCK_BOOTTIME of all processes here goes on by some minutes,
 * and timers of that clock go off, as the kernel does it at the resume.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "bdev/guard.h"

#define CUT_NS (300 * NS_PER_MS)
#define LONG_NS (600 * NS_PER_S)
#define PATIENCE_MS 20000

/* ---- errors, and a suspended machine ---- */

static struct {
	bool has_shutdown_only, has_monotonic;
	_Atomic uint64_t suspended_ns;
} *shared; /* by all processes */

/* Of this process: the timer that was set last. */
static struct {
	int fd;
	bool is_boottime;
	struct itimerspec at;
	uint64_t set_for; /* suspended_ns when it was set */
} timer = { .fd = -1 };

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_timerfd_create(int clock, int flags);
int __real_timerfd_create(int clock, int flags);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at,
			   struct itimerspec *ret_old);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *at,
			   struct itimerspec *ret_old);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_connect && shared->has_shutdown_only)
		return 0;
	return __real_syscall(number, a, b, c, d, e, f);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
	int err = __real_clock_gettime(clock, ret);

	if (clock == CLOCK_BOOTTIME && shared && !shared->has_monotonic)
		ret->tv_sec += (time_t)(shared->suspended_ns / NS_PER_S);
	return err;
}

int __wrap_timerfd_create(int clock, int flags)
{
	timer.is_boottime = clock == CLOCK_BOOTTIME && !shared->has_monotonic;
	timer.fd = __real_timerfd_create(clock, flags);
	return timer.fd;
}

static int set_timer(void)
{
	struct itimerspec at = timer.at;
	time_t past = (time_t)(shared->suspended_ns / NS_PER_S);

	timer.set_for = shared->suspended_ns;
	if (timer.is_boottime && at.it_value.tv_sec)
		at.it_value.tv_sec = at.it_value.tv_sec > past ?
				     at.it_value.tv_sec - past : 1;
	return __real_timerfd_settime(timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at,
			   struct itimerspec *ret_old)
{
	if (fd != timer.fd)
		return __real_timerfd_settime(fd, flags, at, ret_old);
	timer.at = *at;
	return set_timer();
}

/* Who waits for a timer sees the machine resume. */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	int n = 0;

	if (timer.fd < 0 || timeout >= 0)
		return __real_poll(fds, count, timeout);
	while (!n) {
		n = __real_poll(fds, count, 10);
		if (timer.is_boottime && timer.set_for != shared->suspended_ns)
			(void)set_timer();
	}
	return n;
}

/* ---- the fixture ---- */

struct fixture {
	int listener, pipe[2];
	struct sockaddr_in address;
	pid_t program;
};

/* What a program says of itself, through the pipe. */
struct word {
	pid_t guard;
	uint64_t queued;
	int value;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	socklen_t len = sizeof(f->address);

	*state = f;
	memset(shared, 0, sizeof(*shared));
	f->address.sin_family = AF_INET;
	f->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return f->listener < 0 ||
	       bind(f->listener, (struct sockaddr *)&f->address, len) < 0 ||
	       getsockname(f->listener, (struct sockaddr *)&f->address, &len) < 0 ||
	       listen(f->listener, 4) < 0 || pipe2(f->pipe, O_CLOEXEC) < 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	(void)close(f->listener);
	(void)close(f->pipe[0]);
	(void)close(f->pipe[1]);
	free(f);
	return 0;
}

/* ---- the program ---- */

struct program {
	struct fixture *f;
	struct guard *guard;
	struct guard_lease *lease;
	int sock;
	uint64_t id;
	atomic_bool is_lost;
};

/* In the child: no cmocka. */
#define MUST(condition)                                                                  \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "# program, line %d: %s\n", __LINE__,           \
				#condition);                                             \
			_exit(99);                                                       \
		}                                                                        \
	} while (0)

static void on_lost(void *arg)
{
	atomic_store(&((struct program *)arg)->is_lost, true);
}

static void say(struct program *p, const struct word *w)
{
	MUST(write(p->f->pipe[1], w, sizeof(*w)) == (ssize_t)sizeof(*w));
}

/* The only other child of this process. */
static pid_t guard_pid(void)
{
	char path[64];
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	FILE *f = fopen(path, "re");
	MUST(f && fscanf(f, "%d", &pid) == 1);
	(void)fclose(f);
	return pid;
}

static void begin(struct program *p, uint64_t cut_ns, const char *watchdog)
{
	struct guard_options options = { .watchdog = watchdog, .log_fd = 2 };
	struct guard_terms terms = { .name = "test",
				     .cut_ns = cut_ns,
				     .ack_ns = CUT_NS,
				     .has_sockets_only = true,
				     .lost = on_lost,
				     .arg = p };

	MUST(guard_start(&options, &p->guard) == 0);
	terms.renewed = clock_now();
	MUST(guard_lease_new(p->guard, &terms, &p->lease) == 0);
}

static void connect_guarded(struct program *p)
{
	p->sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(p->sock >= 0);
	MUST(guard_lease_add_socket(p->lease, p->sock, &p->id) == 0);
	MUST(connect(p->sock, (struct sockaddr *)&p->f->address,
		     sizeof(p->f->address)) == 0);
}

/* Writes until the peer's and our own buffers are full. */
static uint64_t fill_queue(int sock)
{
	static char data[65536];
	uint64_t total = 0;

	for (;;) {
		ssize_t n = send(sock, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return total;
		total += (uint64_t)n;
	}
}

static void run_program(struct fixture *f, void (*body)(struct program *p))
{
	f->program = fork();
	assert_true(f->program >= 0);
	if (f->program)
		return;
	struct program p = { .f = f, .sock = -1 };
	body(&p);
	_exit(0);
}

/* ---- our side ---- */

static struct word hear(struct fixture *f)
{
	struct pollfd fd = { .fd = f->pipe[0], .events = POLLIN };
	struct word w;

	assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
	assert_int_equal(read(f->pipe[0], &w, sizeof(w)), sizeof(w));
	return w;
}

/* Reads to the end: the bytes that arrived; *ret_error: 0 or the errno. */
static uint64_t drain(int sock, int *ret_error)
{
	static char data[65536];
	uint64_t total = 0;

	for (;;) {
		struct pollfd fd = { .fd = sock, .events = POLLIN };
		assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
		ssize_t n = read(sock, data, sizeof(data));
		*ret_error = n < 0 ? errno : 0;
		if (n <= 0)
			return total;
		total += (uint64_t)n;
	}
}

static bool has_gone(pid_t pid)
{
	for (int i = 0; i < PATIENCE_MS / 10; i++) {
		char path[32], state = 'X';
		snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		FILE *f = fopen(path, "re");
		if (f && fscanf(f, "%*d %*s %c", &state) != 1)
			state = 'X';
		if (f)
			(void)fclose(f);
		if (state == 'X' || state == 'Z')
			return true;
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	}
	return false;
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* ---- a lease runs out in a stopped program ---- */

static void stopped_body(struct program *p)
{
	begin(p, CUT_NS, NULL);
	connect_guarded(p);
	struct word w = { .guard = guard_pid(), .queued = fill_queue(p->sock) };
	say(p, &w);
	(void)raise(SIGSTOP);
	_exit(1); /* nobody lets it go on */
}

static bool is_reset(int sock, uint64_t queued)
{
	int error;
	uint64_t arrived = drain(sock, &error);

	/* What stood in its own queue is thrown away; ours had taken some before. */
	return error == ECONNRESET && arrived < queued;
}

/* Cut, killed, and nobody is left. true: by a reset. */
static bool stopped_program_ends(struct fixture *f)
{
	run_program(f, stopped_body);
	int sock = accept(f->listener, NULL, NULL);
	struct word w = hear(f);
	int status = end_of(f->program);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	bool was_reset = is_reset(sock, w.queued);
	assert_true(has_gone(w.guard));
	(void)close(sock);
	return was_reset;
}

static void stopped_program_is_cut_and_killed(void **state)
{
	assert_true(stopped_program_ends(*state));
}

static void shutdown_instead_of_reset_is_found(void **state)
{
	shared->has_shutdown_only = true;
	assert_false(stopped_program_ends(*state));
}

/* ---- the machine is suspended for longer than a lease ---- */

static void suspended_body(struct program *p)
{
	begin(p, LONG_NS, NULL);
	connect_guarded(p);
	struct word w = { .guard = guard_pid(), .queued = fill_queue(p->sock) };
	say(p, &w);
	(void)raise(SIGSTOP);
	_exit(1);
}

/* true: the guard has cut it soon; else it is killed by us. */
static bool is_cut_at_resume(struct fixture *f, int patience_ms)
{
	run_program(f, suspended_body);
	int sock = accept(f->listener, NULL, NULL);
	struct word w = hear(f);
	shared->suspended_ns = 2 * LONG_NS;
	struct pollfd fd = { .fd = sock, .events = POLLRDHUP };
	bool is_cut = poll(&fd, 1, patience_ms) == 1;
	if (!is_cut)
		assert_int_equal(kill(f->program, SIGKILL), 0);
	(void)end_of(f->program);
	assert_true(is_reset(sock, w.queued));
	assert_true(has_gone(w.guard));
	(void)close(sock);
	return is_cut;
}

static void lease_does_not_get_younger_in_a_suspended_machine(void **state)
{
	assert_true(is_cut_at_resume(*state, PATIENCE_MS));
}

static void clock_that_stops_with_the_machine_is_found(void **state)
{
	shared->has_monotonic = true;
	assert_false(is_cut_at_resume(*state, 1000));
}

/* ---- a program that acknowledges lives on, and comes back ---- */

static void acknowledging_body(struct program *p)
{
	struct word w = { 0 };

	begin(p, CUT_NS, NULL);
	connect_guarded(p);
	int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t id;
	MUST(guard_lease_add_socket(p->lease, idle, &id) == 0);
	while (!guard_lease_is_cut(p->lease))
		task_sleep_until(clock_now() + NS_PER_MS);
	int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(guard_lease_add_socket(p->lease, late, &id) == -ESTALE);
	guard_lease_acknowledge(p->lease);
	MUST(send(p->sock, "x", 1, MSG_NOSIGNAL) < 0);
	/* One that was only about to be connected. */
	MUST(connect(idle, (struct sockaddr *)&p->f->address, sizeof(p->f->address)) ==
	     0);
	MUST(send(idle, "x", 1, MSG_NOSIGNAL) < 0);
	task_sleep_until(clock_now() + 3 * CUT_NS); /* longer than the patience */
	guard_lease_drop_socket(p->lease, p->id);
	(void)close(p->sock);
	/* To reclaim: a new socket while the lease is over. */
	connect_guarded(p);
	MUST(send(p->sock, "y", 1, MSG_NOSIGNAL) == 1);
	guard_lease_renewed(p->lease, clock_now() + LONG_NS);
	MUST(!guard_lease_is_cut(p->lease));
	task_sleep_until(clock_now() + 3 * CUT_NS);
	MUST(send(p->sock, "z", 1, MSG_NOSIGNAL) == 1);
	guard_lease_drop_socket(p->lease, p->id);
	guard_lease_end(p->lease);
	guard_stop(p->guard);
	say(p, &w);
	(void)close(p->sock);
}

static void acknowledged_cut_is_survived(void **state)
{
	struct fixture *f = *state;
	char data[4];

	run_program(f, acknowledging_body);
	int first = accept(f->listener, NULL, NULL);
	int idle = accept(f->listener, NULL, NULL);
	int second = accept(f->listener, NULL, NULL);
	(void)hear(f);
	assert_int_equal(end_of(f->program), 0);
	assert_true(read(first, data, 1) < 0 && errno == ECONNRESET);
	assert_int_equal(recv(second, data, 2, MSG_WAITALL), 2);
	assert_memory_equal(data, "yz", 2);
	/* The guard had let go of it: the close was one. */
	assert_int_equal(read(second, data, 1), 0);
	assert_true(recv(idle, data, 1, 0) <= 0);
	(void)close(first);
	(void)close(idle);
	(void)close(second);
}

/* ---- one of the two dies ---- */

static void waiting_body(struct program *p)
{
	begin(p, LONG_NS, NULL);
	connect_guarded(p);
	struct word w = { .guard = guard_pid(), .queued = fill_queue(p->sock) };
	say(p, &w);
	while (!atomic_load(&p->is_lost))
		task_sleep_until(clock_now() + NS_PER_MS);
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	w.value = guard_lease_add_socket(p->lease, sock, &p->id);
	say(p, &w);
	guard_lease_end(p->lease);
	guard_stop(p->guard);
}

static void death_of_the_guard_is_told(void **state)
{
	struct fixture *f = *state;

	run_program(f, waiting_body);
	int sock = accept(f->listener, NULL, NULL);
	struct word w = hear(f);
	assert_int_equal(kill(w.guard, SIGKILL), 0);
	w = hear(f);
	assert_int_equal(w.value, -EPIPE);
	assert_int_equal(end_of(f->program), 0);
	(void)close(sock);
}

static void death_of_the_program_resets_its_sockets(void **state)
{
	struct fixture *f = *state;

	run_program(f, waiting_body);
	int sock = accept(f->listener, NULL, NULL);
	struct word w = hear(f);
	assert_int_equal(kill(f->program, SIGKILL), 0);
	(void)end_of(f->program);
	assert_true(has_gone(w.guard));
	assert_true(is_reset(sock, w.queued));
	(void)close(sock);
}

/* ---- the watchdog: a fifo stands for it ---- */

static char fifo[64];

/* Everything that was fed until now. */
static size_t fed(int fd, char *last)
{
	char data[4096];
	ssize_t n = read(fd, data, sizeof(data));

	if (n > 0)
		*last = data[n - 1];
	return n > 0 ? (size_t)n : 0;
}

static void watchdog_body(struct program *p)
{
	struct word w = { 0 };

	begin(p, LONG_NS, fifo);
	say(p, &w); /* young */
	task_sleep_until(clock_now() + 2500 * NS_PER_MS);
	guard_lease_end(p->lease);
	struct guard_terms old = { .cut_ns = 1, .ack_ns = LONG_NS };
	MUST(guard_lease_new(p->guard, &old, &p->lease) == 0);
	say(p, &w); /* over, and not all of it in sockets */
	guard_lease_acknowledge(p->lease);
	task_sleep_until(clock_now() + 2500 * NS_PER_MS);
	(void)raise(SIGSTOP); /* until we have looked */
	guard_lease_end(p->lease);
	guard_stop(p->guard);
}

static void watchdog_is_fed_while_nothing_can_land(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/bdev_guard.XXXXXX", last = 0;
	int status;

	assert_non_null(mkdtemp(dir));
	snprintf(fifo, sizeof(fifo), "%s/watchdog", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	int fd = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	run_program(f, watchdog_body);
	(void)hear(f);
	(void)hear(f);
	assert_in_range(fed(fd, &last), 2, 10);
	assert_int_equal(last, '.');
	assert_int_equal(waitpid(f->program, &status, WUNTRACED), f->program);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(fed(fd, &last), 0);
	assert_int_equal(kill(f->program, SIGCONT), 0);
	assert_int_equal(end_of(f->program), 0);
	assert_true(fed(fd, &last) > 0);
	assert_int_equal(last, 'V');
	(void)close(fd);
	(void)unlink(fifo);
	(void)rmdir(dir);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(stopped_program_is_cut_and_killed),
		T(shutdown_instead_of_reset_is_found),
		T(lease_does_not_get_younger_in_a_suspended_machine),
		T(clock_that_stops_with_the_machine_is_found),
		T(acknowledged_cut_is_survived),
		T(death_of_the_guard_is_told),
		T(death_of_the_program_resets_its_sockets),
		T(watchdog_is_fed_while_nothing_can_land),
	};
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
