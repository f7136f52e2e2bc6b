/* SPDX-License-Identifier: Apache-2.0 */
/* Maps of what was copied, held against one character for each byte; and as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "fsck/rescue_map.h"

#define SIZE 64u

static void demand_same(const struct rescue_map *m, const char *model)
{
	uint64_t end = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		assert_int_equal(m->ranges[i].pos, end);
		assert_true(m->ranges[i].len > 0);
		assert_true(i == 0 || m->ranges[i].status != m->ranges[i - 1].status);
		end += m->ranges[i].len;
	}
	assert_int_equal(end, SIZE);
	for (uint64_t i = 0; i < SIZE; i++) {
		struct map_range r = map_at(m, i);
		assert_int_equal(r.status, model[i]);
		assert_int_equal(r.pos, i);
		for (uint64_t k = i; k < i + r.len; k++)
			assert_int_equal(model[k], r.status);
		assert_true(i + r.len == SIZE || model[i + r.len] != model[i]);
	}
}

static void set_is_like_the_model(void **state)
{
	static const char statuses[] = "?*/-+";
	struct rescue_map m;
	char model[SIZE];
	(void)state;
	srand(1);
	for (int round = 0; round < 50; round++) {
		assert_int_equal(map_init(&m, SIZE), 0);
		memset(model, '?', SIZE);
		for (int i = 0; i < 100; i++) {
			uint64_t pos = (uint64_t)rand() % (SIZE + 4);
			uint64_t len = (uint64_t)rand() % 20;
			char status = statuses[(unsigned int)rand() % 5];
			assert_int_equal(map_set(&m, pos, len, (enum map_status)status),
					 0);
			for (uint64_t k = pos; k < min_u64(pos + len, SIZE); k++)
				model[k] = status;
			demand_same(&m, model);
		}
		uint64_t sum = 0;
		for (const char *s = statuses; *s; s++)
			sum += map_bytes(&m, (enum map_status)*s);
		assert_int_equal(sum, SIZE);
		map_done(&m);
	}
}

static void what_is_saved_is_loaded(void **state)
{
	struct rescue_map m, again;
	char path[] = "/tmp/vmfs-test-map.XXXXXX";
	int file_fd = mkstemp(path);
	(void)state;
	assert_true(file_fd >= 0);
	(void)close(file_fd);
	assert_int_equal(map_init(&m, 1ull << 46), 0);
	assert_int_equal(map_set(&m, 512, 1ull << 40, MAP_DONE), 0);
	assert_int_equal(map_set(&m, 4096, 512, MAP_BAD), 0);
	assert_int_equal(map_save(&m, path, "a note", NULL), 0);
	assert_int_equal(map_init(&again, 1ull << 46), 0);
	assert_int_equal(map_load(&again, path, NULL), 0);
	assert_int_equal(again.count, m.count);
	for (uint32_t i = 0; i < m.count; i++) {
		assert_int_equal(again.ranges[i].pos, m.ranges[i].pos);
		assert_int_equal(again.ranges[i].len, m.ranges[i].len);
		assert_int_equal(again.ranges[i].status, m.ranges[i].status);
	}
	map_done(&again);
	assert_int_equal(map_init(&again, 1ull << 30), 0);
	assert_int_equal(map_load(&again, path, NULL), -EUCLEAN); /* a larger file's */
	map_done(&again);
	map_done(&m);
	(void)unlink(path);
	assert_int_equal(map_init(&m, 1), 0);
	assert_int_equal(map_load(&m, path, NULL), -ENOENT);
	map_done(&m);
}

/* Texts for a file of 4096 bytes; done: how many of them are then; -1: refused. */
static const struct {
	const char *text;
	int done;
} texts[] = {
	{ "", -1 },
	{ "# only a comment\n", -1 },
	{ "0x0 ? 1\n", 0 },
	{ "0x0 ?\n", 0 }, /* as older versions write it */
	{ "# c\n0x0 ? 1\n0x0 0x1000 +\n", 4096 },
	{ "0 + 1\n\n  \n0 512 +\n512 512 -\n1024 3072 +", 3584 },
	{ "0 ? 1\n0 4097 +\n", -1 },
	{ "0 ? 1\n0xFFFFFFFFFFFFFFFF 2 +\n", -1 },
	{ "0 ? 1\n0 512 x\n", -1 },
	{ "0 ? 1\n0 512\n", -1 },
	{ "0 ? 1\n-1 512 +\n", -1 },
	{ "0 ? 1\n0 512 + more\n", -1 },
};

static void texts_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct rescue_map m;
		assert_int_equal(map_init(&m, 4096), 0);
		int rc = map_parse(&m, texts[i].text);
		assert_int_equal(rc, texts[i].done < 0 ? -EUCLEAN : 0);
		if (rc == 0)
			assert_int_equal(map_bytes(&m, MAP_DONE), texts[i].done);
		map_done(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_is_like_the_model),
		cmocka_unit_test(what_is_saved_is_loaded),
		cmocka_unit_test(texts_are_read),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
