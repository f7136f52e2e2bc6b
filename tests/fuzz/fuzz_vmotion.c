/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any words from the other host of a move (vmkernel/vmotion/source.c, target.c, talk.c),
 * at any time, with any JSON in them, and any step of ours that fails: the VM goes on
 * here only with its lock, and what is told of the end is what became of it.
 *
 * Byte 0: bit 0 we are the target, bit 1 what is heard has good headers. Byte 1: a bit
 * for each step that fails. Then messages, or, with good headers, for each a byte with
 * its word, a byte with the length of its JSON, the JSON.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/align.h"
#include "tests/fuzz/target.h"
#include "vmkernel/msg/msg.h"
#include "vmkernel/vmotion/plan.h"

enum step { PREPARE, RECEIVE, TAKE, RUN, GIVE_BACK, STEPS_OF_TARGET,
	    SEND = 0, SETTLE, HAND_OVER, KEEP_LOCK, TAKE_BACK, GO_ON };

struct other {
	const uint8_t *at;
	size_t left;
	bool is_framed;
	uint8_t fails;
	unsigned int looks;
	bool has_lock;	  /* we have it */
	bool was_loaded;  /* target: said so; source: heard so */
	bool runs;	  /* here */
};

static int result(const struct other *o, enum step step)
{
	return o->fails >> step & 1 ? -EIO : 0;
}

static int hear(void *arg, enum vmotion_word *ret_word, json_t **ret_body)
{
	struct other *o = arg;
	struct buf framed = { 0 };
	struct msg m;
	int64_t used;
	if (o->is_framed) {
		if (o->left < 2)
			return -ECONNRESET;
		size_t len = min_u64(o->at[1], o->left - 2);
		const struct msg_header_msg head = { .magic = le32_of(MSG_MAGIC),
						     .type = le16_of(o->at[0]),
						     .len = le32_of((uint32_t)len) };
		buf_add(&framed, &head, sizeof(head));
		buf_add(&framed, o->at + 2, len);
		o->at += 2 + len;
		o->left -= 2 + len;
		demand(framed.error == 0);
		used = msg_decode((const uint8_t *)framed.data, framed.len, &m);
		buf_done(&framed);
	} else {
		used = msg_decode(o->at, o->left, &m);
		if (used > 0) {
			o->at += used;
			o->left -= (size_t)used;
		}
	}
	if (used <= 0)
		return used ? (int)used : -ECONNRESET;
	o->was_loaded |= (enum vmotion_word)m.type == VMOTION_LOADED;
	*ret_word = (enum vmotion_word)m.type;
	*ret_body = m.body;
	return 0;
}

static int say(void *arg, enum vmotion_word word, json_t *body)
{
	struct other *o = arg;
	json_decref(body);
	o->was_loaded |= word == VMOTION_LOADED;
	return 0;
}

/* ---- the target's steps ---- */

static int prepare(void *arg, const json_t *offer, json_t **ret_ready, char *why)
{
	(void)offer;
	(void)why;
	*ret_ready = json_object();
	int rc = result(arg, PREPARE);
	if (rc < 0) {
		json_decref(*ret_ready);
		*ret_ready = NULL;
	}
	return rc;
}

static int receive(void *arg, char *why)
{
	(void)why;
	return result(arg, RECEIVE);
}

static int look(void *arg)
{
	struct other *o = arg;
	demand(o->was_loaded);
	if (o->looks++ < 2)
		return 0;
	o->has_lock = (o->fails >> STEPS_OF_TARGET & 1) == 0;
	return o->has_lock ? 1 : -ESTALE;
}

static void pause_a_little(void *arg)
{
	(void)arg;
}

static int take(void *arg, char *why)
{
	const struct other *o = arg;
	(void)why;
	demand(o->has_lock);
	return result(o, TAKE);
}

static int run(void *arg, char *why)
{
	struct other *o = arg;
	(void)why;
	demand(o->has_lock && result(o, TAKE) == 0 && !o->runs);
	o->runs = result(o, RUN) == 0;
	return result(o, RUN);
}

static int give_back(void *arg)
{
	struct other *o = arg;
	demand(o->has_lock && !o->runs);
	o->has_lock = false;
	return result(o, GIVE_BACK);
}

static const struct vmotion_target_ops target_ops = {
	{ say, hear }, prepare, receive, look, pause_a_little, take, run, give_back,
};

/* ---- the source's ---- */

static json_t *offer_it(void *arg)
{
	(void)arg;
	return json_object();
}

static int send_it(void *arg, const json_t *ready, struct vmfs_incarnation *ret_to,
		   char *why)
{
	struct other *o = arg;
	(void)ready;
	(void)why;
	*ret_to = (struct vmfs_incarnation){ 0 };
	o->runs = result(o, SEND) < 0;
	return result(o, SEND);
}

static int settle(void *arg, char *why)
{
	(void)why;
	return result(arg, SETTLE);
}

static int hand_over(void *arg, const struct vmfs_incarnation *to, char *why)
{
	struct other *o = arg;
	(void)to;
	(void)why;
	demand(o->was_loaded && !o->runs && o->has_lock);
	if (result(o, HAND_OVER) < 0)
		return -ECANCELED;
	o->has_lock = false;
	return 0;
}

static void give_disks(void *arg, const struct vmfs_incarnation *to)
{
	const struct other *o = arg;
	(void)to;
	demand(!o->has_lock);
}

static int keep_lock(void *arg)
{
	const struct other *o = arg;
	demand(o->has_lock);
	return result(o, KEEP_LOCK);
}

static int take_back(void *arg, char *why)
{
	struct other *o = arg;
	(void)why;
	demand(!o->has_lock);
	o->has_lock = result(o, TAKE_BACK) == 0;
	return result(o, TAKE_BACK);
}

static int go_on(void *arg, char *why)
{
	struct other *o = arg;
	(void)why;
	demand(o->has_lock);
	o->runs = result(o, GO_ON) == 0;
	return result(o, GO_ON);
}

static const struct vmotion_source_ops source_ops = {
	{ say, hear }, offer_it, send_it, settle, hand_over, give_disks,
	keep_lock,     take_back, go_on,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[PLAN_WHY_SIZE];
	if (size < 2)
		return 0;
	bool is_target = data[0] & 1;
	struct other o = { .at = data + 2, .left = size - 2, .fails = data[1],
			   .is_framed = data[0] & 2, .has_lock = !is_target,
			   .runs = !is_target };
	enum vmotion_end end = is_target ? vmotion_target(&target_ops, &o, why)
					 : vmotion_source(&source_ops, &o, why);
	demand(memchr(why, '\0', sizeof(why)) != NULL);
	if (is_target)
		demand(end != VMOTION_LOST && o.runs == (end == VMOTION_MOVED));
	else if (end == VMOTION_MOVED)
		demand(!o.runs && !o.has_lock);
	else if (end == VMOTION_KEPT)
		demand(o.runs && o.has_lock);
	return 0;
}
