/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transitions of a lock record (LOCKING.md 3.2), byte for byte: each case is a
 * sector, what happens to it, and the bytes that differ then. Sectors are put together
 * here by offset, not by the struct under test; every byte that the format does not name
 * is junk, and has to stay.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "vmfs/lockimage.h"

#define SECTOR 512u
#define TOKEN 0x1122334455667788ull
#define NOW_S 0x0000000012345678ull
#define MIN_TOKEN 0x2000000000000000ull

/* Incarnations are letters: slot address, generation and owner follow from one. */
static uint64_t addr_of(char who)
{
	return 0x300000ull + 512ull * (unsigned char)who;
}

static uint64_t gen_of(char who)
{
	return 0x0100000000000000ull + (unsigned char)who;
}

static struct lock_holder holder_of(char who)
{
	struct lock_holder h = { .hb_addr = addr_of(who),
				 .hb_gen = gen_of(who),
				 .now_s = NOW_S };

	memset(h.owner.b, who, sizeof(h.owner.b));
	return h;
}

static void put32(uint8_t *sector, unsigned int at, uint32_t n)
{
	for (unsigned int i = 0; i < 4; i++)
		sector[at + i] = (uint8_t)(n >> 8 * i);
}

static void put64(uint8_t *sector, unsigned int at, uint64_t n)
{
	put32(sector, at, (uint32_t)n);
	put32(sector, at + 4, (uint32_t)(n >> 32));
}

/* Mode, the slot that stands in front, the owner ('\0': none), the list. */
struct shape {
	uint32_t mode;
	char slot, owner;
	const char *holders;
};

static void set_shape(uint8_t *sector, const struct shape *s)
{
	size_t count = strlen(s->holders);

	put64(sector, 0x0c, addr_of(s->slot));
	put64(sector, 0x14, gen_of(s->slot));
	put32(sector, 0x24, s->mode);
	memset(sector + 0x28, s->owner, 16);
	put32(sector, 0x40, (uint32_t)count);
	memset(sector + 0x44, 0, 8 * 32);
	for (unsigned int i = 0; i < count; i++) {
		put64(sector, 0x44 + 32 * i, addr_of(s->holders[i]));
		put64(sector, 0x44 + 32 * i + 8, gen_of(s->holders[i]));
		memset(sector + 0x44 + 32 * i + 16, s->holders[i], 16);
	}
}

/* A record that others than we may have written: junk wherever nothing is named. */
static void fresh(uint8_t *sector, const struct shape *s)
{
	for (unsigned int i = 0; i < SECTOR; i++)
		sector[i] = (uint8_t)(i * 7 + 3);
	put32(sector, 0x00, 0x10C00001);
	put64(sector, 0x04, 0x1234567800ull);
	put64(sector, 0x1c, TOKEN);
	put64(sector, 0x38, 77); /* mtime */
	memset(sector + 0x164, 0, 16);
	set_shape(sector, s);
}

enum what {
	TAKE,
	TAKE_NEW, /* with a smallest token */
	SHARE_RO,
	SHARE_MW,
	JOIN,
	LEAVE,
	RELEASE,
	UPGRADE,
	DOWNGRADE_RO,
	DOWNGRADE_MW,
	HAND_OVER, /* to 'b' */
	CONFIRM,
};

struct transition {
	const char *name;
	enum what what;
	unsigned int dead;
	struct shape from, to;
	bool sets_mtime;
	int err;
};

#define FREE { 0, 'z', '\0', "" }

static const struct transition transitions[] = {
	{ "free to EX", TAKE, 0, FREE, { 1, 'a', 'a', "" }, true, 0 },
	{ "free to EX, new object", TAKE_NEW, 0, FREE, { 1, 'a', 'a', "" }, true, 0 },
	{ "free to RO", SHARE_RO, 0, FREE, { 2, 'a', '\0', "a" }, true, 0 },
	{ "free to MW", SHARE_MW, 0, FREE, { 3, 'a', '\0', "a" }, true, 0 },
	{ "RO join", JOIN, 0, { 2, 'c', '\0', "bc" }, { 2, 'a', '\0', "bca" }, true, 0 },
	{ "MW join", JOIN, 0, { 3, 'c', '\0', "c" }, { 3, 'a', '\0', "ca" }, true, 0 },
	{ "join drops the dead",
	  JOIN,
	  1u << 0 | 1u << 2,
	  { 2, 'e', '\0', "bcde" },
	  { 2, 'a', '\0', "cea" },
	  true,
	  0 },
	{ "eighth reader",
	  JOIN,
	  0,
	  { 2, 'b', '\0', "bcdefgh" },
	  { 2, 'a', '\0', "bcdefgha" },
	  true,
	  0 },
	{ "ninth reader", JOIN, 0, { 2, 'b', '\0', "bcdefghi" }, FREE, false, -EBUSY },
	{ "ninth reader, one dead",
	  JOIN,
	  1u << 7,
	  { 2, 'b', '\0', "bcdefghi" },
	  { 2, 'a', '\0', "bcdefgha" },
	  true,
	  0 },
	{ "leave, the last moves in",
	  LEAVE,
	  0,
	  { 2, 'd', '\0', "abcd" },
	  { 2, 'd', '\0', "dbc" },
	  false,
	  0 },
	{ "leave from the middle",
	  LEAVE,
	  0,
	  { 3, 'a', '\0', "bacd" },
	  { 3, 'a', '\0', "bdc" },
	  false,
	  0 },
	{ "leave as the last entry",
	  LEAVE,
	  0,
	  { 2, 'a', '\0', "bca" },
	  { 2, 'a', '\0', "bc" },
	  false,
	  0 },
	{ "leave as the only one",
	  LEAVE,
	  0,
	  { 2, 'a', '\0', "a" },
	  { 0, 'a', '\0', "" },
	  false,
	  0 },
	{ "release EX", RELEASE, 0, { 1, 'a', 'a', "" }, { 0, 'a', '\0', "" }, false, 0 },
	{ "release MW",
	  RELEASE,
	  0,
	  { 3, 'a', '\0', "a" },
	  { 0, 'a', '\0', "" },
	  false,
	  0 },
	{ "upgrade RO", UPGRADE, 0, { 2, 'c', '\0', "a" }, { 1, 'a', 'a', "" }, true, 0 },
	{ "upgrade MW", UPGRADE, 0, { 3, 'a', '\0', "a" }, { 1, 'a', 'a', "" }, true, 0 },
	{ "upgrade, the others dead",
	  UPGRADE,
	  1u << 0 | 1u << 2,
	  { 2, 'c', '\0', "bac" },
	  { 1, 'a', 'a', "" },
	  true,
	  0 },
	{ "upgrade, another lives",
	  UPGRADE,
	  1u << 2,
	  { 2, 'c', '\0', "bac" },
	  FREE,
	  false,
	  -EBUSY },
	{ "downgrade to RO",
	  DOWNGRADE_RO,
	  0,
	  { 1, 'a', 'a', "" },
	  { 2, 'a', '\0', "a" },
	  true,
	  0 },
	{ "downgrade to MW",
	  DOWNGRADE_MW,
	  0,
	  { 1, 'a', 'a', "" },
	  { 3, 'a', '\0', "a" },
	  true,
	  0 },
	{ "hand-over", HAND_OVER, 0, { 1, 'a', 'a', "" }, { 1, 'b', 'b', "" }, false, 0 },
	{ "taken back", CONFIRM, 0, { 1, 'a', 'a', "" }, { 1, 'a', 'a', "" }, false, 0 },
	{ "steal EX", TAKE, 0, { 1, 'v', 'v', "" }, { 1, 'a', 'a', "" }, true, 0 },
	{ "steal EX for RO",
	  SHARE_RO,
	  0,
	  { 1, 'v', 'v', "" },
	  { 2, 'a', '\0', "a" },
	  true,
	  0 },
	{ "steal RO for EX",
	  TAKE,
	  0,
	  { 2, 'v', '\0', "uvw" },
	  { 1, 'a', 'a', "" },
	  true,
	  0 },
	{ "steal RO for MW",
	  SHARE_MW,
	  0,
	  { 2, 'v', '\0', "uvw" },
	  { 3, 'a', '\0', "a" },
	  true,
	  0 },
};

static int apply(const struct transition *t, const struct vmfs_lock_disk *from,
		 struct vmfs_lock_disk *to)
{
	const struct lock_holder a = holder_of('a'), b = holder_of('b');

	switch (t->what) {
	case TAKE:
		lock_image_take(from, &a, 0, to);
		return 0;
	case TAKE_NEW:
		lock_image_take(from, &a, MIN_TOKEN, to);
		return 0;
	case SHARE_RO:
		lock_image_share(from, &a, LOCK_READ_ONLY, to);
		return 0;
	case SHARE_MW:
		lock_image_share(from, &a, LOCK_MULTI_WRITER, to);
		return 0;
	case JOIN:
		return lock_image_join(from, &a, t->dead, to);
	case LEAVE:
		lock_image_leave(from, &a, to);
		return 0;
	case RELEASE:
		lock_image_release(from, to);
		return 0;
	case UPGRADE:
		return lock_image_upgrade(from, &a, t->dead, to);
	case DOWNGRADE_RO:
		lock_image_downgrade(from, &a, LOCK_READ_ONLY, to);
		return 0;
	case DOWNGRADE_MW:
		lock_image_downgrade(from, &a, LOCK_MULTI_WRITER, to);
		return 0;
	case HAND_OVER:
		lock_image_hand_over(from, &a, &b, to);
		return 0;
	case CONFIRM:
		lock_image_confirm(from, &a, to);
		return 0;
	}
	return -EINVAL;
}

static void each_transition_writes_these_bytes(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(transitions); i++) {
		const struct transition *t = &transitions[i];
		uint8_t before[SECTOR], want[SECTOR], got[SECTOR];
		struct vmfs_lock_disk from, to;

		fresh(before, &t->from);
		memcpy(&from, before, SECTOR);
		memset(&to, 0xee, SECTOR);
		memset(want, 0xee, SECTOR);
		if (!t->err) {
			memcpy(want, before, SECTOR);
			set_shape(want, &t->to);
			put64(want, 0x1c, t->what == TAKE_NEW ? MIN_TOKEN : TOKEN + 1);
			if (t->sets_mtime)
				put64(want, 0x38, NOW_S);
		}
		int err = apply(t, &from, &to);
		memcpy(got, &to, SECTOR);
		if (err != t->err)
			fail_msg("%s: %d, not %d", t->name, err, t->err);
		for (unsigned int at = 0; at < SECTOR; at++)
			if (got[at] != want[at])
				fail_msg("%s: byte 0x%x is 0x%02x, not 0x%02x", t->name,
					 at, got[at], want[at]);
		assert_memory_equal(&from, before, SECTOR);
	}
}

/* A new object that was there before keeps a token greater than the smallest. */
static void smallest_token_does_not_lower_one(void **state)
{
	const struct lock_holder a = holder_of('a');
	struct vmfs_lock_disk from = { .token = le64_of(9) }, to;

	(void)state;
	lock_image_take(&from, &a, 5, &to);
	assert_int_equal(le64_get(to.token), 10);
	lock_image_take(&from, &a, 11, &to);
	assert_int_equal(le64_get(to.token), 11);
}

/* One letter differs in slot, generation or owner: somebody else. */
static void holder_is_all_three(void **state)
{
	const struct lock_holder a = holder_of('a');
	uint8_t sector[SECTOR];
	struct vmfs_lock_disk lockd;
	static const struct shape exclusive = { 1, 'a', 'a', "" },
				  shared = { 2, 'b', '\0', "cab" };

	(void)state;
	fresh(sector, &exclusive);
	memcpy(&lockd, sector, SECTOR);
	assert_true(lock_names(&lockd, &a));
	for (unsigned int at = 0x0c; at < 0x1c; at++) {
		memcpy(&lockd, sector, SECTOR);
		((uint8_t *)&lockd)[at] ^= 1;
		assert_false(lock_names(&lockd, &a));
	}
	for (unsigned int at = 0x28; at < 0x38; at++) {
		memcpy(&lockd, sector, SECTOR);
		((uint8_t *)&lockd)[at] ^= 1;
		assert_false(lock_names(&lockd, &a));
	}
	fresh(sector, &shared);
	memcpy(&lockd, sector, SECTOR);
	assert_true(lock_names(&lockd, &a));
	for (unsigned int at = 0x44 + 32; at < 0x44 + 64; at++) {
		memcpy(&lockd, sector, SECTOR);
		((uint8_t *)&lockd)[at] ^= 1;
		assert_false(lock_names(&lockd, &a));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_transition_writes_these_bytes),
		cmocka_unit_test(smallest_token_does_not_lower_one),
		cmocka_unit_test(holder_is_all_three),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
