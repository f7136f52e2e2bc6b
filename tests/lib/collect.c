/* SPDX-License-Identifier: Apache-2.0 */
/* A reporter that keeps what it is told. */
#include "tests/lib/collect.h"

#include <assert.h>
#include <string.h>

static void collect_tell(struct reporter *base, enum report_level level, const char *text)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	struct collect *c = (struct collect *)base;
	mutex_lock(&c->m);
	buf_printf(&c->text, "%s: %s\n", names[level], text);
	assert(!c->text.error);
	c->count[level]++;
	mutex_unlock(&c->m);
}

struct reporter *collect_init(struct collect *c)
{
	memset(c, 0, sizeof(*c));
	c->base.tell = collect_tell;
	mutex_init(&c->m);
	return &c->base;
}

void collect_done(struct collect *c)
{
	buf_done(&c->text);
	mutex_done(&c->m);
}

void collect_clear(struct collect *c)
{
	mutex_lock(&c->m);
	buf_done(&c->text);
	memset(c->count, 0, sizeof(c->count));
	mutex_unlock(&c->m);
}

const char *collect_text(struct collect *c)
{
	mutex_lock(&c->m);
	const char *text = c->text.data ? c->text.data : "";
	mutex_unlock(&c->m);
	return text;
}

bool collect_has(struct collect *c, const char *part)
{
	mutex_lock(&c->m);
	bool is_there = c->text.data && strstr(c->text.data, part);
	mutex_unlock(&c->m);
	return is_there;
}

unsigned int collect_count(struct collect *c, enum report_level level)
{
	mutex_lock(&c->m);
	unsigned int count = c->count[level];
	mutex_unlock(&c->m);
	return count;
}
