/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long reads in waves.
 *
 * A virtual disk tells of what it has done when nothing more is left to do. Who sends it
 * each read of the kernel's reading ahead as it comes finds all of them ended at once:
 * then the disk stands still while they are answered and their reader takes them, and he
 * stands still while the disk reads the next ones. So, when enough is at the device, the
 * next reads wait until one has ended, and then all go at once, before that one is
 * answered: the disk has something to do meanwhile.
 *
 *	at the device   AAAAAAAA          BBBBBBBB          CCCCCCCC
 *	waiting             BBBB| A ends      CCCC| B ends
 *	answered                 AAAAAAA           BBBBBBB
 *
 * A device that tells of each end by itself holds nobody up for longer than two of its
 * ends are apart.
 *
 * Invariant: somebody is at the device while somebody waits. So whoever waits goes on
 * when the device answers, and waits no longer than one that was sent.
 */
#include "fuse/wave.h"

void wave_init(struct wave *w, uint64_t max)
{
	*w = (struct wave){ .max = max };
	mutex_init(&w->m);
	cond_init(&w->c);
}

void wave_done(struct wave *w)
{
	cond_done(&w->c);
	mutex_done(&w->m);
}

void wave_begin(struct wave *w, uint64_t len)
{
	mutex_lock(&w->m);
	uint64_t ends = w->ends;
	w->waiting++;
	while (w->at_device >= w->max && w->ends == ends)
		cond_wait(&w->c, &w->m);
	w->waiting--;
	w->at_device += len;
	mutex_unlock(&w->m);
}

void wave_end(struct wave *w, uint64_t len)
{
	mutex_lock(&w->m);
	w->at_device -= len;
	w->ends++;
	if (w->waiting)
		cond_broadcast(&w->c);
	mutex_unlock(&w->m);
}
