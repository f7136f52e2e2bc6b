/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers. On x86-64 a switch saves the six registers that a called function must keep,
 * and the stack pointer; swapcontext() would also make a system call for the signal mask,
 * which costs more than everything else. Other machines use swapcontext().
 *
 * Stacks are mapped with a guard page below and kept in a pool. The sanitizers are told
 * of each switch: AddressSanitizer keeps a shadow of the current stack, ThreadSanitizer
 * one state per fiber.
 */
#include "tests/sim/fiber.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define HAS_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define HAS_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define HAS_TSAN 0
#endif
#if !defined(__x86_64__)
#include <stdlib.h>
#include <ucontext.h>
#endif

#define GUARD_SIZE 16384u

/* Free stacks, linked through their first word. */
static uint8_t *pool;

static uint8_t *stack_new(void)
{
	uint8_t *stack = pool;
	if (stack) {
		memcpy(&pool, stack, sizeof(pool));
		return stack;
	}
	uint8_t *map = mmap(NULL, GUARD_SIZE + FIBER_STACK_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	int rc = mprotect(map, GUARD_SIZE, PROT_NONE);
	assert(rc == 0);
	(void)rc;
	return map + GUARD_SIZE;
}

void fiber_pool_free(void)
{
	while (pool) {
		uint8_t *stack = pool;
		memcpy(&pool, stack, sizeof(pool));
		(void)munmap(stack - GUARD_SIZE, GUARD_SIZE + FIBER_STACK_SIZE);
	}
}

bool fiber_is_guard(const struct fiber *f, const void *address)
{
	const uint8_t *at = address;
	return f->stack && at < f->stack && at >= f->stack - GUARD_SIZE;
}

#if defined(__x86_64__)

/*
 * Saves the callee's registers and sp of the caller into *save_sp, loads those of
 * load_sp.
 */
void fiber_swap(void **save_sp, void *load_sp);
__asm__(".text\n"
	".globl fiber_swap\n"
	".type fiber_swap, @function\n"
	"fiber_swap:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size fiber_swap, .-fiber_swap\n");

static bool machine_init(struct fiber *f)
{
	/* From the top: return address 0 (where backtraces end), so that entry() sees the
	 * stack aligned as after a call; the entry for `ret`; six registers. */
	uint64_t *top = (uint64_t *)(f->stack + FIBER_STACK_SIZE);
	*--top = 0;
	*--top = (uint64_t)f->entry;
	for (int i = 0; i < 6; i++)
		*--top = 0;
	f->sp = top;
	return true;
}

static void machine_done(struct fiber *f)
{
	(void)f;
}

static void machine_switch(struct fiber *from, struct fiber *to)
{
	fiber_swap(&from->sp, to->sp);
}

#else

static bool machine_init(struct fiber *f)
{
	ucontext_t *context = calloc(1, sizeof(*context));
	if (!context)
		return false;
	(void)getcontext(context);
	if (f->stack) {
		context->uc_stack.ss_sp = f->stack;
		context->uc_stack.ss_size = FIBER_STACK_SIZE;
		makecontext(context, f->entry, 0);
	}
	f->sp = context;
	return true;
}

static void machine_done(struct fiber *f)
{
	free(f->sp);
	f->sp = NULL;
}

static void machine_switch(struct fiber *from, struct fiber *to)
{
	int rc = swapcontext(from->sp, to->sp);
	assert(rc == 0);
	(void)rc;
}

#endif

#if HAS_ASAN
/* The stack of the thread itself, learnt at the first switch away from it. */
static const void *thread_bottom;
static size_t thread_size;
static bool is_thread_known;
#endif

void fiber_init_thread(struct fiber *f)
{
	memset(f, 0, sizeof(*f));
#if !defined(__x86_64__)
	(void)machine_init(f);
#endif
#if HAS_TSAN
	f->sanitizer = __tsan_get_current_fiber();
#endif
}

bool fiber_init(struct fiber *f, void (*entry)(void))
{
	memset(f, 0, sizeof(*f));
	f->stack = stack_new();
	f->entry = entry;
	if (!f->stack || !machine_init(f))
		return false;
#if HAS_TSAN
	f->sanitizer = __tsan_create_fiber(0);
#endif
	return true;
}

void fiber_done(struct fiber *f)
{
	machine_done(f);
#if HAS_TSAN
	if (f->stack)
		__tsan_destroy_fiber(f->sanitizer);
#endif
	if (!f->stack)
		return;
#if HAS_ASAN
	__asan_unpoison_memory_region(f->stack, FIBER_STACK_SIZE);
#endif
	memcpy(f->stack, &pool, sizeof(pool));
	pool = f->stack;
	f->stack = NULL;
}

static void before_switch(struct fiber *from, struct fiber *to, bool is_last)
{
#if HAS_ASAN
	const void *bottom = to->stack ? to->stack : thread_bottom;
	size_t size = to->stack ? FIBER_STACK_SIZE : thread_size;
	__sanitizer_start_switch_fiber(is_last ? NULL : &from->sanitizer, bottom, size);
#elif HAS_TSAN
	__tsan_switch_to_fiber(to->sanitizer, 0);
#endif
	(void)from;
	(void)to;
	(void)is_last;
}

static void after_switch(struct fiber *self)
{
#if HAS_ASAN
	const void *bottom;
	size_t size;
	__sanitizer_finish_switch_fiber(self ? self->sanitizer : NULL, &bottom, &size);
	if (!is_thread_known) {
		/* The first switch ever comes from the thread's own stack. */
		thread_bottom = bottom;
		thread_size = size;
		is_thread_known = true;
	}
#endif
	(void)self;
}

void fiber_entered(void)
{
	after_switch(NULL);
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
	before_switch(from, to, false);
	machine_switch(from, to);
	after_switch(from);
}

void fiber_leave(struct fiber *from, struct fiber *to)
{
	before_switch(from, to, true);
	machine_switch(from, to);
	assert(!"a fiber that had left went on");
}
