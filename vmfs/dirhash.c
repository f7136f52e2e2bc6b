/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A public 64-bit hash over a key of 256 bytes: the name, and behind it, as far as names
 * can reach, a fixed filling. All sums are modulo 2^64.
 */
#include "vmfs/dirhash.h"

#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "vmfs/format.h"

#define KEY_WORDS 32u
#define FILLING 0x739a75c28e61b017ull
#define START 42u
#define GOLDEN 0x9e3779b97f4a7c13ull

struct state {
	uint64_t a, b, c;
};

static void pass(struct state *s, unsigned int p, unsigned int q, unsigned int r)
{
	s->a -= s->b;
	s->a -= s->c;
	s->a ^= s->c >> p;
	s->b -= s->c;
	s->b -= s->a;
	s->b ^= s->a << q;
	s->c -= s->a;
	s->c -= s->b;
	s->c ^= s->b >> r;
}

static void mix(struct state *s)
{
	pass(s, 43, 9, 8);
	pass(s, 38, 23, 5);
	pass(s, 35, 49, 11);
	pass(s, 12, 18, 22);
}

uint64_t vmfs_dirhash(const char *name)
{
	le64 key[KEY_WORDS] = { 0 };
	struct state s = { START, START, GOLDEN };
	size_t len = strnlen(name, VMFS_NAME_MAX);

	memcpy(key, name, len);
	for (size_t at = round_down(len + 8, 8); at < VMFS_NAME_MAX; at += 8)
		key[at / 8] = le64_of(FILLING);
	for (unsigned int i = 0; i + 3 <= KEY_WORDS; i += 3) {
		s.a += le64_get(key[i]);
		s.b += le64_get(key[i + 1]);
		s.c += le64_get(key[i + 2]);
		mix(&s);
	}
	s.c += KEY_WORDS;
	s.a += le64_get(key[KEY_WORDS - 2]);
	s.b += le64_get(key[KEY_WORDS - 1]);
	mix(&s);
	return s.c;
}
