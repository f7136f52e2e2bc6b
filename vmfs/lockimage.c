/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The images of lock transitions: see lockimage.h.
 *
 *              take                    upgrade
 *      free ----------> EX(me) <-------------------- RO/MW(me)
 *       ^  \              | | \     downgrade          ^  |
 *       |   '-- share ----|-|--\----------------------'   | join, leave
 *       '----- release ---' |   '--------------------> RO/MW(me, others)
 *                           '-- hand over --> EX(b)
 *
 * Every arrow is token + 1; a stale record is taken or shared as if it were free.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/lockimage.h"

static_assert(sizeof(struct vmfs_lock_disk) == VMFS_SECTOR_SIZE, "lock is a sector");

static bool is_shared(const struct vmfs_lock_disk *lockd)
{
	uint32_t mode = le32_get(lockd->mode);

	return mode == LOCK_READ_ONLY || mode == LOCK_MULTI_WRITER;
}

bool lock_is_holder(const struct vmfs_lock_holder_disk *holderd,
		    const struct lock_holder *who)
{
	return le64_get(holderd->hb_addr) == who->hb_addr &&
	       le64_get(holderd->hb_gen) == who->hb_gen &&
	       !memcmp(holderd->owner, who->owner.b, sizeof(holderd->owner));
}

unsigned int lock_holders_of(const struct vmfs_lock_disk *lockd,
			     struct vmfs_lock_holder_disk ret[VMFS_LOCK_HOLDERS_MAX])
{
	if (is_shared(lockd)) {
		uint32_t count = le32_get(lockd->holder_count);

		if (count > VMFS_LOCK_HOLDERS_MAX) /* only read: lock_verify() */
			return 0;
		memcpy(ret, lockd->holders, count * sizeof(ret[0]));
		return count;
	}
	if (le32_get(lockd->mode) != LOCK_EXCLUSIVE)
		return 0;
	ret[0].hb_addr = lockd->hb_addr;
	ret[0].hb_gen = lockd->hb_gen;
	memcpy(ret[0].owner, lockd->owner, sizeof(ret[0].owner));
	return 1;
}

/* The place of a holder; the number of holders: it is none. */
static unsigned int place_of(const struct vmfs_lock_disk *lockd,
			     const struct lock_holder *who, unsigned int *ret_count)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	unsigned int at = 0;

	*ret_count = lock_holders_of(lockd, holders);
	while (at < *ret_count && !lock_is_holder(&holders[at], who))
		at++;
	return at;
}

bool lock_names(const struct vmfs_lock_disk *lockd, const struct lock_holder *who)
{
	unsigned int count;

	return place_of(lockd, who, &count) < count;
}

/* ---- pieces of images ---- */

/* The next token, and nobody holds it. */
static void set_free(const struct vmfs_lock_disk *from, struct vmfs_lock_disk *ret_image)
{
	struct vmfs_lock_disk image = *from;

	image.token = le64_of(le64_get(from->token) + 1);
	image.mode = le32_of(LOCK_FREE);
	memset(image.owner, 0, sizeof(image.owner));
	memset(image.holders, 0, sizeof(image.holders));
	image.holder_count = le32_of(0);
	*ret_image = image;
}

static void set_slot(struct vmfs_lock_disk *image, const struct lock_holder *who)
{
	image->hb_addr = le64_of(who->hb_addr);
	image->hb_gen = le64_of(who->hb_gen);
}

static void set_exclusive(struct vmfs_lock_disk *image, const struct lock_holder *who)
{
	set_slot(image, who);
	image->mode = le32_of(LOCK_EXCLUSIVE);
	memcpy(image->owner, who->owner.b, sizeof(image->owner));
}

static void add_holder(struct vmfs_lock_disk *image,
		       const struct vmfs_lock_holder_disk *holderd)
{
	uint32_t count = le32_get(image->holder_count);

	assert(count < VMFS_LOCK_HOLDERS_MAX);
	image->holders[count] = *holderd;
	image->holder_count = le32_of(count + 1);
}

static void add_me(struct vmfs_lock_disk *image, const struct lock_holder *me)
{
	struct vmfs_lock_holder_disk holderd = { .hb_addr = le64_of(me->hb_addr),
						 .hb_gen = le64_of(me->hb_gen) };

	memcpy(holderd.owner, me->owner.b, sizeof(holderd.owner));
	add_holder(image, &holderd);
	set_slot(image, me);
	image->mtime = le64_of(me->now_s);
}

/* ---- transitions ---- */

void lock_image_take(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		     uint64_t min_token, struct vmfs_lock_disk *ret_image)
{
	set_free(from, ret_image);
	ret_image->token = le64_of(max_u64(le64_get(ret_image->token), min_token));
	set_exclusive(ret_image, me);
	ret_image->mtime = le64_of(me->now_s);
}

void lock_image_share(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		      enum vmfs_lock_mode mode, struct vmfs_lock_disk *ret_image)
{
	assert(mode == LOCK_READ_ONLY || mode == LOCK_MULTI_WRITER);
	set_free(from, ret_image);
	ret_image->mode = le32_of(mode);
	add_me(ret_image, me);
}

int lock_image_join(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		    unsigned int dead, struct vmfs_lock_disk *ret_image)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	struct vmfs_lock_disk image;
	unsigned int count = lock_holders_of(from, holders);

	assert(is_shared(from) && !lock_names(from, me));
	set_free(from, &image);
	image.mode = from->mode;
	for (unsigned int i = 0; i < count; i++)
		if (!(dead >> i & 1))
			add_holder(&image, &holders[i]);
	if (le32_get(image.holder_count) == VMFS_LOCK_HOLDERS_MAX)
		return -EBUSY;
	add_me(&image, me);
	*ret_image = image;
	return 0;
}

void lock_image_leave(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		      struct vmfs_lock_disk *ret_image)
{
	struct vmfs_lock_disk image = *from;
	unsigned int count, at = place_of(from, me, &count);

	assert(is_shared(from) && at < count);
	if (count == 1) {
		lock_image_release(from, ret_image);
		return;
	}
	image.token = le64_of(le64_get(from->token) + 1);
	image.holders[at] = from->holders[count - 1];
	memset(&image.holders[count - 1], 0, sizeof(image.holders[0]));
	image.holder_count = le32_of(count - 1);
	*ret_image = image;
}

void lock_image_release(const struct vmfs_lock_disk *from,
			struct vmfs_lock_disk *ret_image)
{
	assert(le32_get(from->mode) == LOCK_EXCLUSIVE ||
	       (is_shared(from) && le32_get(from->holder_count) == 1));
	set_free(from, ret_image);
}

int lock_image_upgrade(const struct vmfs_lock_disk *from, const struct lock_holder *me,
		       unsigned int dead, struct vmfs_lock_disk *ret_image)
{
	unsigned int count, at = place_of(from, me, &count);

	assert(is_shared(from) && at < count);
	for (unsigned int i = 0; i < count; i++)
		if (i != at && !(dead >> i & 1))
			return -EBUSY;
	lock_image_take(from, me, 0, ret_image);
	return 0;
}

void lock_image_downgrade(const struct vmfs_lock_disk *from, const struct lock_holder *me,
			  enum vmfs_lock_mode mode, struct vmfs_lock_disk *ret_image)
{
	assert(le32_get(from->mode) == LOCK_EXCLUSIVE && lock_names(from, me));
	lock_image_share(from, me, mode, ret_image);
}

void lock_image_hand_over(const struct vmfs_lock_disk *from, const struct lock_holder *me,
			  const struct lock_holder *to,
			  struct vmfs_lock_disk *ret_image)
{
	assert(le32_get(from->mode) == LOCK_EXCLUSIVE && lock_names(from, me));
	set_free(from, ret_image);
	set_exclusive(ret_image, to);
}

void lock_image_confirm(const struct vmfs_lock_disk *from, const struct lock_holder *me,
			struct vmfs_lock_disk *ret_image)
{
	lock_image_hand_over(from, me, me, ret_image);
}
