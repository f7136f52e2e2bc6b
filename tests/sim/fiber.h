/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_FIBER_H
#define TESTS_SIM_FIBER_H

/* A stack and a place to go on: what the simulator's tasks are made of. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIBER_STACK_SIZE (256u << 10)

struct fiber {
	void *sp;	 /* saved stack pointer, or the ucontext_t */
	uint8_t *stack;	 /* lowest usable byte; NULL: the thread's own stack */
	void (*entry)(void);
	void *sanitizer; /* ASan's fake stack, TSan's fiber */
};

/* The calling thread's own stack, to switch away from. */
void fiber_init_thread(struct fiber *f);
/* A stack on which entry() will run; it must never return. false: no memory. */
bool fiber_init(struct fiber *f, void (*entry)(void));
/* Gives the stack back to the pool. Not of the running fiber. */
void fiber_done(struct fiber *f);
/* Goes on in `to`; returns when somebody switches to `from`. */
void fiber_switch(struct fiber *from, struct fiber *to);
/* The same, and `from` will never go on. */
void fiber_leave(struct fiber *from, struct fiber *to);
/* First thing in entry(): bookkeeping of the sanitizers. */
void fiber_entered(void);
/* true if address lies in the guard below f's stack. */
bool fiber_is_guard(const struct fiber *f, const void *address);
/* Gives pooled stacks back to the system. */
void fiber_pool_free(void);

#endif
