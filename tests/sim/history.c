/* SPDX-License-Identifier: Apache-2.0 */
/* Histories of one object each: see history.h. */
#include "tests/sim/history.h"

#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "tests/sim/oracle.h"

void history_init(struct history *h, const char *name, uint64_t value)
{
	memset(h, 0, sizeof(*h));
	(void)snprintf(h->name, sizeof(h->name), "%s", name);
	h->writes[0].value = value;
	h->writes[0].is_sure = true;
	h->count = 1;
}

unsigned int history_begin(struct history *h, uint64_t value)
{
	if (h->count == HISTORY_WRITES_MAX)
		sim_fail("%s: a history too long for this test", h->name);
	h->writes[h->count] = (struct history_write){
		.value = value,
		.begun = sim_time(),
		.ended = UINT64_MAX,
		.host = sim_host_self(),
	};
	return h->count++;
}

void history_end(struct history *h, unsigned int i)
{
	h->writes[i].ended = min_u64(h->writes[i].ended, sim_time());
	h->writes[i].is_sure = true;
}

void history_void(struct history *h, unsigned int i)
{
	h->writes[i].is_void = true;
}

static bool is_overwritten(const struct history *h, const struct history_write *w,
			   uint64_t begun)
{
	for (unsigned int i = 0; i < h->count; i++) {
		const struct history_write *other = &h->writes[i];

		if (other->is_sure && other->begun > w->ended && other->ended < begun)
			return true;
	}
	return false;
}

static bool explains(const struct history *h, const struct history_write *w,
		     uint64_t value, uint64_t begun)
{
	if (w->is_void || is_overwritten(h, w, begun))
		return false;
	return value == HISTORY_ANY ? w->value != HISTORY_NOTHING : w->value == value;
}

static void note_takeovers(struct history *h, const struct oracle *o)
{
	for (unsigned int i = 0; i < h->count; i++) {
		struct history_write *w = &h->writes[i];
		uint64_t over = w->host ? oracle_over_since(o, w->host) : 0;

		if (over && over > w->begun)
			w->ended = min_u64(w->ended, over);
	}
}

static void tell(const struct history *h)
{
	for (unsigned int i = h->count > 12 ? h->count - 12 : 0; i < h->count; i++)
		sim_trace("%s: %s writes %llu from %llu to %llu us%s", h->name,
			  h->writes[i].host ? sim_host_name(h->writes[i].host) : "mkfs",
			  (unsigned long long)h->writes[i].value,
			  (unsigned long long)(h->writes[i].begun / NS_PER_US),
			  (unsigned long long)(h->writes[i].ended / NS_PER_US),
			  h->writes[i].is_void ? " (void)" : "");
}

void history_read(struct history *h, const struct oracle *o, uint64_t value,
		  uint64_t begun)
{
	unsigned int count = 0, last = 0;

	note_takeovers(h, o);
	for (unsigned int i = 0; i < h->count; i++) {
		if (explains(h, &h->writes[i], value, begun)) {
			count++;
			last = i;
		}
	}
	if (!count) {
		tell(h);
		sim_fail("O2: %s reads %lld from %llu us on: nothing explains it",
			 h->name, (long long)value,
			 (unsigned long long)(begun / NS_PER_US));
	}
	if (count == 1)
		history_end(h, last);
}
