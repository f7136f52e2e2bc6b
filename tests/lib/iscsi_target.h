/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_ISCSI_TARGET_H
#define TESTS_LIB_ISCSI_TARGET_H

/*
 * A small iSCSI target on loopback that misbehaves on demand: a disk of 128 blocks in
 * memory, one connection at a time, commands in order. It knows WRITE SAME and UNMAP if
 * it has page B2h, and EXTENDED COPY after target_set_copy(). A rule says what becomes of
 * the next commands of one opcode; without a rule they are executed and answered.
 *
 *	struct target *t = target_new();
 *	target_rule(t, SCSI_WRITE16, RULE_EXECUTE_THEN_CLOSE, 1);
 *	... device_open(target_url(t), ...) ...
 *	target_free(t);
 */
#include <stdbool.h>
#include <stdint.h>

#define TARGET_BLOCKS 128u
#define TARGET_BLOCK_SIZE 512u

enum target_action {
	RULE_STATUS,		 /* not executed, answered with status and sense */
	RULE_EXECUTE_IN_SILENCE, /* executed, never answered */
	RULE_IGNORE,		 /* neither */
	RULE_EXECUTE_THEN_CLOSE, /* executed, connection closed instead of an answer */
	RULE_CLOSE,		 /* not executed, connection closed */
	RULE_SHORT,		 /* a read: GOOD, but half of the data and no residual */
	RULE_STALL, /* nothing more is read from the connection, until target_resume() */
};

struct target;

/* NULL: no memory or no socket. */
struct target *target_new(void);
void target_free(struct target *t);
/* "iscsi://127.0.0.1:PORT/iqn.2026-01.org.example:made-up/0"; valid until free. */
const char *target_url(const struct target *t);
/* For the next `times` commands of this opcode. The newest rule of an opcode counts. */
void target_rule(struct target *t, uint8_t opcode, enum target_action action,
		 unsigned int times);
/* The same, RULE_STATUS with this status and sense key, ASC, ASCQ (0xkkaaqq). */
void target_rule_status(struct target *t, uint8_t opcode, uint8_t status, uint32_t sense,
			unsigned int times);
void target_resume(struct target *t);
/* Sends the next `times` logins on to address, "host:port,tag". */
void target_send_on(struct target *t, const char *address, bool is_for_good,
		    unsigned int times);
/* "127.0.0.1:PORT,1"; valid until free. */
const char *target_address(const struct target *t);
/* Another disk under the same name: its NAA id changes. */
void target_swap_disk(struct target *t);

/*
 * Has a VPD page from now on (at most 64 bytes, of which the first four are filled in);
 * is_thin: READ CAPACITY (16) says LBPME.
 */
void target_page(struct target *t, uint8_t page, const uint8_t *bytes, uint8_t len);
void target_set_thin(struct target *t, bool is_thin);

/* Copies at most so many blocks at once; what it says of it. 0: not at all. */
void target_set_copy(struct target *t, uint32_t max_blocks);

/*
 * It has persistent reservations enough for one session: the key that was registered
 * last. This takes it away, as another host would; is_restart: as a loss of power would.
 */
void target_take_key(struct target *t, bool is_restart);

/* How many commands of this opcode came, executed or not. */
unsigned int target_seen(struct target *t, uint8_t opcode);
/* Of those that were executed, READ, WRITE, WRITE SAME and UNMAP: the most blocks. */
uint32_t target_most_blocks(struct target *t, uint8_t opcode);
/* Logins to full feature; ABORT TASKs. */
unsigned int target_logins(struct target *t);
unsigned int target_aborts(struct target *t);
/* The ISID of login n (0, 1, ...). */
void target_isid(struct target *t, unsigned int n, uint8_t ret_isid[6]);
/* Bytes that came after target_resume() on the connection that was stalled. */
uint64_t target_bytes_after_stall(struct target *t);
/* A block as it is on the disk. */
void target_block(struct target *t, uint64_t lba, uint8_t ret_block[TARGET_BLOCK_SIZE]);

#endif
