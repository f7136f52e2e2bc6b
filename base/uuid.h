/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

/*
 * UUIDs in VMware's form: u32 seconds, u32 counter, u16 random (little-endian), 6 bytes
 * MAC; text "61137dd5-df6bc2c8-f0e7-000c29801686" (FORMAT.md, UUIDs).
 */
#include <stdbool.h>
#include <stdint.h>

#define UUID_TEXT_SIZE 36 /* 35 characters and NUL */

struct uuid { uint8_t b[16]; };

/*
 * A new one: now, chance, and the machine's MAC (random, locally administered, if none).
 */
struct uuid uuid_new(void);
/* Writes the text form into buf and returns buf. */
const char *uuid_text(const struct uuid *u, char buf[static UUID_TEXT_SIZE]);
/* 0 or -EINVAL. The whole string must be a UUID. */
int uuid_parse(const char *text, struct uuid *ret_uuid)
	__attribute__((warn_unused_result));
bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_is_zero(const struct uuid *u);

#endif
