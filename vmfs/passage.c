/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A word that says how many are inside and why nobody may enter: in front of the devices
 * (lease.c) and of the blocks of a file (filemap.c).
 *
 *	 who comes                           who closes, under his mutex
 *	   look: a flag is up? -> go away      flag up        <- the number grows no more
 *	   |                                   wait on his condition until the number is 0
 *	   v                                   |
 *	 one more, if the word is still        v
 *	 what was looked at; else look again  nobody is inside, nobody comes
 *	   ... what he came for ...            |
 *	 one less, if the word is still what   v
 *	 was looked at and no flag is up;    flag down, and wakes who waits to enter
 *	 if one is: one less under that
 *	 mutex, and the last one wakes
 *
 * Invariants:
 *  1 flag and number are one word, and every change of it is one step: so there is a
 *    moment at which somebody entered and no flag was up. Who looks and then adds without
 *    comparing may be overtaken by a flag between the two, and by a wait that saw nobody;
 *  2 a flag only goes up or down under the mutex of the closer, and while it is up the
 *    number falls only there, too: so the waiter, who looks at the number under it, sees
 *    it fall or sleeps, and is woken. And who has left touches nothing any more: either
 *    the change of the word was the last that he did, or the waiter has his mutex back
 *    only behind him. So what holds the word may be freed when the waiter has seen 0;
 *  3 who has entered sees all that was done before the flag fell (acquire of the word
 *    that passage_flag() released), and the waiter sees all that was done inside (acquire
 *    of what who left released).
 *
 * The number cannot overflow: it is of I/O that has memory.
 */
#include <assert.h>

#include "base/env.h"
#include "vmfs/passage.h"

bool passage_enter(struct passage *in, uint64_t closing)
{
	uint64_t word = passage_look(in);

	do {
		if (word & closing)
			return false;
		task_step();
	} while (!atomic_compare_exchange_weak_explicit(
		&in->word, &word, word + 1, memory_order_acq_rel, memory_order_acquire));
	return true;
}

bool passage_leave(struct passage *in, uint64_t closing)
{
	uint64_t word = passage_look(in);

	do {
		assert(word & PASSAGE_COUNT);
		if (word & closing)
			return false;
		task_step();
	} while (!atomic_compare_exchange_weak_explicit(
		&in->word, &word, word - 1, memory_order_acq_rel, memory_order_acquire));
	return true;
}

bool passage_leave_shut(struct passage *in)
{
	uint64_t word = atomic_fetch_sub_explicit(&in->word, 1, memory_order_acq_rel);

	assert(word & PASSAGE_COUNT);
	return (word & PASSAGE_COUNT) == 1;
}

void passage_flag(struct passage *in, uint64_t flag, bool is_up)
{
	assert(!(flag & PASSAGE_COUNT));
	if (is_up)
		(void)atomic_fetch_or_explicit(&in->word, flag, memory_order_acq_rel);
	else
		(void)atomic_fetch_and_explicit(&in->word, ~flag, memory_order_acq_rel);
}
