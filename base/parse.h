/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

/* Numbers in text, strictly: the whole string or an error. */
#include <stdint.h>

/* The value of one hexadecimal digit of either case, or -1. */
int parse_hex_digit(char c);

/* Decimal or 0x hex. 0, -EINVAL (not a number), -ERANGE (over max). */
int parse_u64(const char *text, uint64_t max, uint64_t *ret_n)
	__attribute__((warn_unused_result));
/*
 * A size in bytes with an optional unit as vmkfstools takes it: s (512), k, m, g, t in
 * either case, each also with a trailing "b" or "ib" (powers of 1024). 0, -EINVAL,
 * -ERANGE.
 */
int parse_size(const char *text, uint64_t *ret_bytes) __attribute__((warn_unused_result));
/* "1.5 GiB" and the like into buf; returns buf. */
const char *size_text(uint64_t bytes, char buf[static 32]);

#endif
