/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_CHANNEL_H
#define BDEV_CHANNEL_H

/*
 * For leaves outside of this folder: to be driven by the task of a channel (bdev.h)
 * instead of by a task of their own. Such a leaf has a socket, and all its work is to
 * send what was submitted and to take what has come.
 */
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/env.h"
#include "bdev/bdev.h"

struct file_channel;

/* What a task does while it waits awake (bdev_channel_gather); call: NULL is nothing. */
struct channel_look {
	void (*call)(void *arg);
	void *arg;
};

/* Embedded in the leaf. */
struct channel_leaf {
	/* Sends what was submitted, as far as that is possible now. Never blocks. */
	void (*send)(struct channel_leaf *leaf);
	/*
	 * Takes what has come to the socket, and sends what it had no room for; how many
	 * pieces came. *ret_has_more: not all. Never blocks.
	 */
	unsigned int (*reap)(struct channel_leaf *leaf, bool *ret_has_more);
	/*
	 * Before a sleep: if much is on its way, waits until a good part of it has come,
	 * at most 0.2 ms, or for the first of a few that come at once, and reaps that.
	 * 0: sleep. May wait awake, and then calls look, which may submit.
	 */
	unsigned int (*gather)(struct channel_leaf *leaf, struct channel_look look,
			       bool *ret_has_more);
	/* channel.c's */
	struct mutex m;
	_Atomic(struct bdev_channel *) channel; /* watches the socket; counted */
	int sock;				/* -1: none */
	TAILQ_ENTRY(channel_leaf) link;
	bool is_listed; /* under the channel's mutex */
};

/* The three functions are set by the caller. */
void channel_leaf_init(struct channel_leaf *leaf);
/* Nobody is in one of its functions afterwards, nor will be. May wait for that. */
void channel_leaf_done(struct channel_leaf *leaf);
/* Another socket from now on, or none (-1); before the old one is closed. */
void channel_leaf_socket(struct channel_leaf *leaf, int sock);
/* Is the channel's own task calling? Only it drives. */
bool channel_is_mine(const struct bdev_channel *ch);
/*
 * In the channel's own task, with I/O at the leaf: send() is called at the channel's next
 * sending.
 */
void channel_hold(struct bdev_channel *ch, struct channel_leaf *leaf);
/*
 * Likewise: the channel becomes ready, and calls reap(), when something has come to the
 * leaf's socket, or it has room again. One channel at a time watches a leaf; another one
 * is put off.
 */
void channel_watch(struct bdev_channel *ch, struct channel_leaf *leaf);
/* Is it this one that watches it? */
static inline bool channel_is_watching(const struct channel_leaf *leaf,
				       const struct bdev_channel *ch)
{
	return atomic_load_explicit(&leaf->channel, memory_order_relaxed) == ch;
}

/* The part of files (file_channel.c). */
struct file_channel *channel_files(struct bdev_channel *ch);

#endif
