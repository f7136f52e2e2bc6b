/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scene.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct scene *scene_new(uint64_t seed)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->random = seed;
	for (unsigned int i = 0; i < SCENE_NAMES; i++)
		(void)snprintf(s->names[i].text, sizeof(s->names[i].text), "name-%u", i);
	return s;
}

uint32_t scene_below(struct scene *s, uint32_t n)
{
	s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(s->random >> 33) % n;
}

static void path_of(const struct scene *s, unsigned int name, char path[64])
{
	(void)snprintf(path, 64, "/d/%s", s->names[name].text);
}

void scene_look(struct scene *s, unsigned int name)
{
	struct vmfs_stat st;
	char path[64];

	path_of(s, name, path);
	assert_int_equal(vmfs_stat(s->tv.vol, path, &st),
			 s->names[name].is_there ? 0 : -ENOENT);
	if (s->names[name].is_there)
		assert_true(st.addr.raw == s->names[name].addr);
}

void scene_look_at_all(struct scene *s)
{
	for (unsigned int i = 0; i < SCENE_NAMES; i++)
		scene_look(s, i);
}

void scene_add(struct scene *s, unsigned int name)
{
	bool was_there = s->names[name].is_there;
	struct vmfs_stat st;
	char path[64];

	path_of(s, name, path);
	assert_int_equal(vmfs_symlink(s->tv.vol, "x", path), was_there ? -EEXIST : 0);
	assert_int_equal(vmfs_stat(s->tv.vol, path, &st), 0);
	s->count += !was_there;
	s->names[name].is_there = true;
	s->names[name].addr = st.addr.raw;
}

void scene_take(struct scene *s, unsigned int name)
{
	bool was_there = s->names[name].is_there;
	char path[64];

	path_of(s, name, path);
	assert_int_equal(vmfs_unlink(s->tv.vol, path), was_there ? 0 : -ENOENT);
	s->count -= was_there;
	s->names[name].is_there = false;
}

void scene_move(struct scene *s, unsigned int from, unsigned int to, uint32_t flags)
{
	bool is_exchange = flags & VMFS_RENAME_EXCHANGE;
	bool can = s->names[from].is_there && (s->names[to].is_there || !is_exchange);
	uint64_t was = s->names[to].addr;
	char path[2][64];

	path_of(s, from, path[0]);
	path_of(s, to, path[1]);
	assert_int_equal(vmfs_rename_flags(s->tv.vol, path[0], path[1], flags),
			 can ? 0 : -ENOENT);
	if (!can || from == to)
		return;
	s->count -= s->names[to].is_there && !is_exchange;
	s->names[to].is_there = true;
	s->names[to].addr = s->names[from].addr;
	s->names[from].is_there = is_exchange;
	s->names[from].addr = was;
}

void scene_step(struct scene *s, unsigned int a, unsigned int b)
{
	switch (scene_below(s, 7)) {
	case 0:
	case 1:
		scene_take(s, a);
		break;
	case 2:
		scene_move(s, a, b, 0);
		break;
	case 3:
		scene_move(s, a, b, VMFS_RENAME_EXCHANGE);
		break;
	case 4:
		scene_look(s, a);
		break;
	default:
		scene_add(s, a);
		break;
	}
}
