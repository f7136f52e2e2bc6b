/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest without an agent is never reset. One that was reset has to be heard of again
 * within the time that it has to come up, else it is reset once more.
 */
#include "vmkernel/ha/monitor.h"

void monitor_beat(struct monitor *m, uint64_t now)
{
	m->beat_at = now;
	m->is_given_up = false;
}

static uint32_t resets_since(const struct monitor *m, uint64_t since)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < m->reset_count && i < MONITOR_RESETS_MAX; i++)
		count += m->resets[i] >= since;
	return count;
}

enum monitor_says monitor_look(struct monitor *m, const struct monitor_rules *rules,
			       uint64_t io_count, uint64_t now)
{
	if (!m->up_at)
		m->up_at = now;
	if (!m->io_at || io_count != m->io_count)
		m->io_at = now;
	m->io_count = io_count;
	if (!m->beat_at || now - m->up_at < rules->uptime_ns ||
	    now - m->beat_at < rules->failure_ns || now - m->io_at < rules->io_ns)
		return MONITOR_FINE;
	uint64_t since = now > rules->window_ns ? now - rules->window_ns : 0;
	if (resets_since(m, since) >= rules->failures) {
		bool is_news = !m->is_given_up;
		m->is_given_up = true;
		return is_news ? MONITOR_GIVE_UP : MONITOR_FINE;
	}
	m->resets[m->reset_count++ % MONITOR_RESETS_MAX] = now;
	m->up_at = m->beat_at = now;
	return MONITOR_RESET;
}
