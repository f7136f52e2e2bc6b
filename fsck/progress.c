/* SPDX-License-Identifier: Apache-2.0 */
/* Told at most once in a tenth of a second, and once at each pass's beginning. */
#include "fsck/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"

#define PERIOD_NS (100 * NS_PER_MS)
#define PATIENCE_NS (NS_PER_S / 2)
#define BAR_COLUMNS 50u
#define PASSES 5u

void progress_init(struct progress *p, int fd, bool is_patient)
{
	*p = (struct progress){ .fd = fd,
				.is_patient = is_patient,
				.began = clock_now(),
				.pass = PASSES,
				.permille = -1 };
}

static void draw(struct progress *p)
{
	char bar[BAR_COLUMNS + 1];
	unsigned int full = (unsigned int)p->permille * BAR_COLUMNS / 1000;
	memset(bar, ' ', BAR_COLUMNS);
	memset(bar, '=', full);
	bar[BAR_COLUMNS] = '\0';
	(void)fprintf(stderr, "\rpass %u of %u |%s| %3d.%d%%", p->pass, PASSES - 1, bar,
		      p->permille / 10, p->permille % 10);
	(void)fflush(stderr);
	p->is_shown = true;
}

/* Who reads it may have gone: then there is nobody to tell. */
static void tell_line(struct progress *p, uint64_t done, uint64_t all)
{
	char line[80];
	int len = snprintf(line, sizeof(line), "%u %llu %llu\n", p->pass,
			   (unsigned long long)done, (unsigned long long)all);
	if (write(p->fd, line, (size_t)len) != len)
		p->fd = PROGRESS_NONE;
}

void progress_tell(struct progress *p, unsigned int pass, uint64_t done, uint64_t all)
{
	uint64_t now;
	int permille = all ? (int)(min_u64(done, all) * 1000 / all) : 0;
	if (p->fd == PROGRESS_NONE || (pass == p->pass && permille == p->permille))
		return;
	now = clock_now();
	bool is_soon = now - p->last < PERIOD_NS;
	if ((is_soon && (p->fd == 0 || pass == p->pass)) ||
	    (p->is_patient && now - p->began < PATIENCE_NS))
		return;
	p->pass = pass;
	p->permille = permille;
	p->last = now;
	if (p->fd == 0)
		draw(p);
	else
		tell_line(p, done, all);
}

void progress_clear(struct progress *p)
{
	if (p->is_shown)
		(void)fprintf(stderr, "\r%*s\r", (int)BAR_COLUMNS + 24, "");
	(void)fflush(stderr);
	p->is_shown = false;
}
