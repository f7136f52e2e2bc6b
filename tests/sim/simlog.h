/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMLOG_H
#define TESTS_SIM_SIMLOG_H

/* What simdisk.c tells the recorder; programs use simdisk.h. */
#include "tests/sim/simdisk.h"

/* Keeps a copy of base. */
struct simdisk_log *simlog_new(const struct image *base);
void simlog_add(struct simdisk_log *log, const struct simdisk_effect *e);

#endif
