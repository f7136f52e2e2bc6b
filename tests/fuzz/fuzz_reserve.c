/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a target answers to PERSISTENT RESERVE IN, any bytes of any length (iscsi/
 * reserve.c, registrant.c): never more keys than there are bytes or places for, no memory
 * but the answer's own, and "our key is gone" only if it is not there.
 *
 * Byte 0: bit 0 our key is 0x0102030405060708, else the first of the answer; bit 1 the
 * length that the answer tells is right; bits 2-5: what the command ends with. Then the
 * answer. The linker gives lun_command() to us (tests.mk).
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/lun_impl.h"
#include "tests/fuzz/target.h"

#define OUR_KEY 0x0102030405060708ull

static const uint8_t *answer;
static size_t answer_len;
static int answer_error;

int __wrap_lun_command(struct lun *lun, struct plain_command *p);
int __wrap_lun_command(struct lun *lun, struct plain_command *p)
{
	(void)lun;
	p->ret_len = (uint32_t)min_u64(answer_len, p->len);
	memcpy(p->data, answer, p->ret_len);
	return answer_error;
}

static bool is_in_answer(uint64_t key, size_t len)
{
	for (size_t at = sizeof(struct scsi_pr_in_pdu); at + sizeof(be64) <= len;
	     at += sizeof(be64)) {
		be64 k;
		memcpy(&k, answer + at, sizeof(k));
		if (be64_get(k) == key)
			return true;
	}
	return false;
}

static void look_at_state(struct lun *lun)
{
	static struct bdev_pr_state state;
	memset(&state, 0xee, sizeof(state));
	int err = lun_pr_read(&lun->bd, &state);
	demand(err <= 0);
	if (err)
		return;
	size_t room = (answer_len - sizeof(struct scsi_pr_in_pdu)) / sizeof(be64);
	demand(state.key_count <= BDEV_PR_KEYS_MAX && state.key_count <= room);
	for (uint32_t i = 0; i < state.key_count; i++)
		demand(is_in_answer(state.keys[i], answer_len));
	demand(state.is_reserved || !state.type);
}

/* The answer to the question that a conflict brings up. */
static void look_at_own_key(struct lun *lun)
{
	struct command c = { .lun = lun };
	size_t len = min_u64(answer_len, sizeof(lun->keys_told));
	memset(lun->keys_told, 0, sizeof(lun->keys_told));
	memcpy(lun->keys_told, answer, len);
	c.task.transferred = (uint32_t)len;
	if (lun_is_key_taken(lun, &c))
		demand(len >= sizeof(struct scsi_pr_in_pdu) && be32_get(((const struct
			scsi_pr_in_pdu *)answer)->more_len) <= len);
}

/* Who is registered: no more than there are bytes for, and names that can be printed. */
static void look_at_registrants(void)
{
	enum { MOST = 4 };
	static struct bdev_registrant found[MOST + 1];

	memset(found, 0x5a, sizeof(found));
	unsigned int n = lun_take_registrants(answer, (uint32_t)answer_len, found, MOST);
	demand(n * 24ull + sizeof(struct scsi_pr_in_pdu) <= answer_len || n == 0);
	for (unsigned int i = 0; i < MOST; i++) {
		if (i >= n)
			continue;
		const char *name = found[i].initiator;
		demand(memchr(name, '\0', sizeof(found[i].initiator)) != NULL);
		for (; *name; name++)
			demand(*name >= ' ' && *name <= '~');
	}
	/* Behind the last place nothing is written. */
	for (size_t i = 0; i < sizeof(found[MOST]); i++)
		demand(((const uint8_t *)&found[MOST])[i] == 0x5a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int errors[16] = { [13] = -ETIMEDOUT, [14] = -ESTALE, [15] = -EIO };
	static struct lun lun;
	static uint8_t room[sizeof(struct scsi_pr_in_pdu) +
			    sizeof(be64) * (BDEV_PR_KEYS_MAX + 8)];
	if (size < 1)
		return 0;
	answer_len = min_u64(size - 1, sizeof(room));
	answer_error = errors[data[0] >> 2 & 15];
	answer = room;
	memset(room, 0, sizeof(room));
	memcpy(room, data + 1, answer_len);
	if (data[0] & 2 && answer_len >= sizeof(struct scsi_pr_in_pdu))
		((struct scsi_pr_in_pdu *)room)->more_len = be32_of(
			(uint32_t)(answer_len - sizeof(struct scsi_pr_in_pdu)));
	lun.pr_generation = 5;
	lun.pr_key = OUR_KEY;
	if (!(data[0] & 1) &&
	    answer_len >= sizeof(struct scsi_pr_in_pdu) + sizeof(be64)) {
		be64 first;
		memcpy(&first, room + sizeof(struct scsi_pr_in_pdu), sizeof(first));
		lun.pr_key = be64_get(first);
	}
	look_at_own_key(&lun);
	look_at_state(&lun);
	look_at_registrants();
	return 0;
}
