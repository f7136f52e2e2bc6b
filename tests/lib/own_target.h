/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_OWN_TARGET_H
#define TESTS_LIB_OWN_TARGET_H

/*
 * The scripted target (tests/target/main.c) for C tests: a process of its own, on a free
 * port, with files of its own. All of it asserts, in the manner of cmocka.
 *
 *	struct own_target *t = own_start("-p 0:1 -p 0:2 -l 1=FILE");
 *	own_do(t, "drop-response 89");
 *	... device_open(own_url(t, 1, "")) ...
 *	assert_int_equal(own_stat(t, "executed-89"), 1);
 *	own_free(t);
 */
#include <stdint.h>

struct own_target;

/*
 * options: words of the program; a FILE in them becomes a sparse file of 64 MiB, the same
 * one each time, FOLDER the folder it is in. Kept until own_free().
 */
struct own_target *own_start(const char *options);
void own_free(struct own_target *t);
/* SIGKILL, as a loss of power; and again, on the same ports, with the same files. */
void own_kill(struct own_target *t);
void own_again(struct own_target *t);

/* "iscsi://127.0.0.1:PORT/IQN/lun" of the first portal and more; valid until the next. */
const char *own_url(struct own_target *t, unsigned int lun, const char *more);
uint16_t own_port(const struct own_target *t, unsigned int portal);
const char *own_file(const struct own_target *t);
/* A command of the script; it must be answered "ok". */
void own_do(struct own_target *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* One of its counters. */
uint64_t own_stat(struct own_target *t, const char *name);
/* Descriptors that its process has open. */
unsigned int own_descriptors(const struct own_target *t);
/* The same of this one. */
unsigned int own_descriptors_here(void);
/* Waits until the counter is at least n; fails after 30 s. */
void own_wait(struct own_target *t, const char *name, uint64_t n);

#endif
