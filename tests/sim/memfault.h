/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_MEMFAULT_H
#define TESTS_SIM_MEMFAULT_H

/*
 * The memory of the library in programs that are linked with copies of its archives in
 * which malloc and its kind have other names (tests.mk, FAULTY): the n-th allocation
 * fails. The memory of the simulator and of the tests is not touched.
 */
#include <stdbool.h>
#include <stdint.h>

struct memfault {
	bool is_armed;
	bool is_for_ever;	 /* all from that one on fail */
	uint64_t count, fail_at; /* since it was armed; fail_at 0: none fails */
	int64_t live;		 /* pieces that were not given back */
};
extern struct memfault memfault;

/* Counts from now on. */
void memfault_arm(uint64_t fail_at, bool is_for_ever);
void memfault_disarm(void);

#endif
