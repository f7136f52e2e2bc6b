/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/iscsi_target.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "base/endian.h"
#include "base/env.h"
#include "iscsi/proto.h"
#include "iscsi/scsi.h"
#include "iscsi/xcopy.h"

#define MAX_DATA 65536u
#define MAX_LOGINS 16u
#define POLL_MS 20

struct rule {
	enum target_action action;
	unsigned int times;
	uint8_t status;
	uint32_t sense;
};

struct target {
	struct task *task;
	int listener;
	char url[128], address[64];
	struct mutex m; /* over all that follows */
	bool is_stopping, is_stalled, was_stalled;
	struct rule rules[256];
	unsigned int seen[256], logins, aborts;
	uint32_t most_blocks[256];
	struct {
		uint8_t bytes[64], len;
	} pages[256];
	bool is_thin;
	uint32_t max_copy; /* blocks */
	char next[128]; /* address that logins are sent on to, so often */
	unsigned int moves;
	bool moves_for_good;
	uint8_t isid[MAX_LOGINS][6];
	uint8_t disk_number;
	be64 pr_key; /* 0: none */
	uint32_t pr_generation;
	uint64_t bytes_after_stall;
	uint8_t disk[TARGET_BLOCKS * TARGET_BLOCK_SIZE];
};

/* A connection, and the request that came last on it. */
struct link {
	struct target *t;
	int sock;
	uint32_t stat_sn, exp_cmd_sn;
	bool is_full;
	union {
		uint8_t bytes[ISCSI_BHS_SIZE];
		struct iscsi_initiator_pdu i;
		struct iscsi_command_pdu c;
		struct iscsi_login_request_pdu login;
	} head;
	uint32_t len;
	uint8_t data[MAX_DATA];
	uint8_t answer[MAX_DATA];
};

static bool is_stopping(struct target *t)
{
	mutex_lock(&t->m);
	bool is = t->is_stopping;
	mutex_unlock(&t->m);
	return is;
}

/* Waits until sock can be read; false: the end. */
static bool wait_readable(struct target *t, int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };

	while (!is_stopping(t))
		if (poll(&p, 1, POLL_MS) > 0)
			return true;
	return false;
}

static bool receive(struct link *l, void *data, size_t len)
{
	char *at = data;

	while (len) {
		if (!wait_readable(l->t, l->sock))
			return false;
		ssize_t n = recv(l->sock, at, len, 0);
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* Sends a PDU of the target; h is filled up with length and counters. */
static bool send_pdu(struct link *l, struct iscsi_target_pdu *h, const void *data,
		     uint32_t len, bool has_status)
{
	uint8_t pad[4] = { 0 };
	struct iovec iov[3] = { { h, sizeof(*h) },
				{ (void *)(uintptr_t)data, len },
				{ pad, (4 - len % 4) % 4 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

	h->data_len = be24_of(len);
	h->stat_sn = be32_of(has_status ? l->stat_sn++ : l->stat_sn);
	h->exp_cmd_sn = be32_of(l->exp_cmd_sn);
	h->max_cmd_sn = be32_of(l->exp_cmd_sn + 31);
	return sendmsg(l->sock, &msg, MSG_NOSIGNAL) >= 0;
}

/* ---- login, and what is no command ---- */

/* true: this login is for another address, and has been told so. */
static bool sends_on(struct link *l)
{
	struct iscsi_login_response_pdu h = { .opcode = ISCSI_LOGIN_RESPONSE,
					      .itt = l->head.i.itt,
					      .status_class = 1,
					      .status_detail = 1 };
	char text[160];

	mutex_lock(&l->t->m);
	bool is_moved = l->t->moves > 0;
	if (is_moved)
		l->t->moves--;
	h.status_detail += l->t->moves_for_good;
	int len = snprintf(text, sizeof(text), "TargetAddress=%s", l->t->next) + 1;
	mutex_unlock(&l->t->m);
	return is_moved &&
	       send_pdu(l, (struct iscsi_target_pdu *)&h, text, (uint32_t)len, true);
}

static bool answer_login(struct link *l)
{
	static const char keys[] =
		"TargetPortalGroupTag=1\0InitialR2T=No\0"
		"MaxRecvDataSegmentLength=65536\0FirstBurstLength=65536";
	struct iscsi_target_pdu h = { .opcode = ISCSI_LOGIN_RESPONSE,
				      .flags = l->head.i.flags,
				      .itt = l->head.i.itt };
	bool is_last = (l->head.i.flags & 3) == ISCSI_STAGE_FULL;

	if (sends_on(l))
		return false;
	l->exp_cmd_sn = be32_get(l->head.i.cmd_sn);
	memcpy(h.lun, l->head.login.isid, 6);
	h.lun[7] = 1; /* TSIH */
	if (is_last) {
		mutex_lock(&l->t->m);
		memcpy(l->t->isid[l->t->logins % MAX_LOGINS], l->head.login.isid, 6);
		l->t->logins++;
		mutex_unlock(&l->t->m);
		l->is_full = true;
	}
	return send_pdu(l, &h, keys, is_last ? sizeof(keys) : 0, true);
}

static bool answer_other(struct link *l, uint8_t opcode)
{
	struct iscsi_target_pdu h = { .flags = ISCSI_FINAL, .itt = l->head.i.itt };

	switch (opcode) {
	case ISCSI_NOP_OUT:
		if (be32_get(l->head.i.itt) == ISCSI_TAG_NONE)
			return true;
		h.opcode = ISCSI_NOP_IN;
		h.ttt = be32_of(ISCSI_TAG_NONE);
		return send_pdu(l, &h, NULL, 0, true);
	case ISCSI_TASK_REQUEST:
		mutex_lock(&l->t->m);
		l->t->aborts++;
		mutex_unlock(&l->t->m);
		h.opcode = ISCSI_TASK_RESPONSE;
		return send_pdu(l, &h, NULL, 0, true);
	case ISCSI_LOGOUT_REQUEST:
		h.opcode = ISCSI_LOGOUT_RESPONSE;
		(void)send_pdu(l, &h, NULL, 0, true);
		return false;
	default:
		return false;
	}
}

/* ---- commands ---- */

static uint32_t inquiry(struct target *t, const uint8_t *cdb, uint8_t *out)
{
	struct scsi_inquiry_pdu standard = { .version = 6, .format = 2, .more_len = 31 };

	if (!(cdb[1] & 1)) {
		memcpy(standard.vendor, "EXAMPLE ", 8);
		memcpy(standard.model, "MADE-UP DISK    ", 16);
		memcpy(standard.revision, "1.0 ", 4);
		memcpy(out, &standard, sizeof(standard));
		return sizeof(standard);
	}
	if (t->pages[cdb[2]].len) {
		memcpy(out, t->pages[cdb[2]].bytes, t->pages[cdb[2]].len);
		return t->pages[cdb[2]].len;
	}
	if (cdb[2] != 0x83)
		return 0;
	memcpy(out, (const uint8_t[]){ 0, 0x83, 0, 20, 1, 3, 0, 16, 0x60 }, 9);
	out[23] = t->disk_number;
	return 24;
}

/* The answer to a command without data out; 0 bytes are fine. -1: invalid. */
static int pr_in(struct target *t, const uint8_t *cdb, uint8_t *out)
{
	struct scsi_pr_in_pdu head = { .generation = be32_of(t->pr_generation) };
	bool has_key = cdb[1] == SCSI_PR_READ_KEYS && be64_get(t->pr_key);

	head.more_len = be32_of(has_key ? sizeof(t->pr_key) : 0);
	memcpy(out, &head, sizeof(head));
	memcpy(out + sizeof(head), &t->pr_key, sizeof(t->pr_key));
	return (int)(sizeof(head) + (has_key ? sizeof(t->pr_key) : 0));
}

static void pr_out(struct target *t, const uint8_t *cdb, const void *data)
{
	const struct scsi_pr_out_pdu *list = data;

	if (cdb[1] != SCSI_PR_REGISTER_IGNORE)
		return;
	t->pr_key = list->action_key;
	t->pr_generation++;
}

/* OPERATING PARAMETERS; -1: it has no EXTENDED COPY. */
static int copy_parameters(struct target *t, uint8_t *out)
{
	struct xcopy_parameters_pdu p = {
		.max_units = be16_of(2),
		.max_segments = be16_of(1),
		.max_segment_size = be32_of(t->max_copy * TARGET_BLOCK_SIZE),
		.types_len = 2,
	};

	memcpy(out, &p, sizeof(p));
	out[sizeof(p)] = 0x02;
	out[sizeof(p) + 1] = 0xe4;
	return t->max_copy ? (int)sizeof(p) + 2 : -1;
}

static int execute_in(struct target *t, const uint8_t *cdb, uint8_t *out, uint64_t lba,
		      uint32_t blocks)
{
	struct scsi_capacity16_pdu capacity = {
		.last_lba = be64_of(TARGET_BLOCKS - 1),
		.block_size = be32_of(TARGET_BLOCK_SIZE),
		.thin = t->is_thin ? 0x80 : 0,
	};

	switch (cdb[0]) {
	case SCSI_TEST_UNIT_READY:
	case SCSI_SYNC_CACHE16:
	case SCSI_RESERVE6:
	case SCSI_RELEASE6:
		return 0;
	case SCSI_INQUIRY:
		return (int)inquiry(t, cdb, out) ?: -1;
	case SCSI_MODE_SENSE6:
		memcpy(out, (const uint8_t[]){ 6, 0, 0x10, 0, 8, 10, 4 }, 7);
		return 7;
	case SCSI_SERVICE_IN16:
		memcpy(out, &capacity, sizeof(capacity));
		return sizeof(capacity);
	case SCSI_PR_IN:
		return pr_in(t, cdb, out);
	case SCSI_COPY_RESULTS:
		return copy_parameters(t, out);
	case SCSI_READ16:
		memcpy(out, t->disk + lba * TARGET_BLOCK_SIZE,
		       blocks * TARGET_BLOCK_SIZE);
		return (int)(blocks * TARGET_BLOCK_SIZE);
	default:
		return -1;
	}
}

/* Zeros, or one block many times. Sense as 0xkkaaqq. */
static uint32_t write_same(struct link *l, uint64_t lba, uint32_t blocks,
			   const uint8_t *block)
{
	struct target *t = l->t;
	uint8_t opcode = l->head.c.cdb[0];

	if (!t->pages[0xb2].len)
		return 0x052000;
	if (lba >= TARGET_BLOCKS || blocks > TARGET_BLOCKS - lba)
		return 0x052100;
	for (uint32_t i = 0; i < blocks; i++)
		memcpy(t->disk + (lba + i) * TARGET_BLOCK_SIZE, block, TARGET_BLOCK_SIZE);
	t->most_blocks[opcode] = (uint32_t)max_u64(t->most_blocks[opcode], blocks);
	return 0;
}

static uint32_t extended_copy(struct link *l)
{
	struct target *t = l->t;
	struct xcopy_list_pdu list;

	if (!t->max_copy)
		return 0x052000;
	memcpy(&list, l->data, sizeof(list));
	uint64_t from = be64_get(list.segment.from_lba),
		 to = be64_get(list.segment.to_lba);
	uint32_t blocks = be16_get(list.segment.blocks);
	if (l->len != sizeof(list) || blocks > t->max_copy)
		return 0x052600;
	if (list.from.name[0] != 0x60 || list.from.name[15] != t->disk_number ||
	    memcmp(list.from.name, list.to.name, sizeof(list.to.name)) != 0)
		return 0x0a0d02; /* not to be reached */
	if (from > TARGET_BLOCKS - blocks || to > TARGET_BLOCKS - blocks)
		return 0x052100;
	memmove(t->disk + to * TARGET_BLOCK_SIZE, t->disk + from * TARGET_BLOCK_SIZE,
		blocks * TARGET_BLOCK_SIZE);
	t->most_blocks[SCSI_EXTENDED_COPY] =
		(uint32_t)max_u64(t->most_blocks[SCSI_EXTENDED_COPY], blocks);
	return 0;
}

/* A list of one descriptor. */
static uint32_t unmap(struct link *l)
{
	static const uint8_t zeros[TARGET_BLOCK_SIZE];
	be64 lba;
	be32 count;

	if (l->len != 24 || l->data[3] != 16)
		return 0x052600;
	memcpy(lba.b, l->data + 8, 8);
	memcpy(count.b, l->data + 16, 4);
	return write_same(l, be64_get(lba), be32_get(count), zeros);
}

/* Sense as 0xkkaaqq; 0: GOOD. */
static uint32_t execute(struct link *l, const uint8_t *cdb, uint32_t *ret_out_len)
{
	struct target *t = l->t;
	be64 lba_field;
	be32 count_field;
	uint64_t lba = 0;
	uint32_t blocks = 0;

	*ret_out_len = 0;
	if (cdb[0] == SCSI_UNMAP)
		return unmap(l);
	if (cdb[0] == SCSI_EXTENDED_COPY)
		return extended_copy(l);
	if (cdb[0] == SCSI_READ16 || cdb[0] == SCSI_WRITE16 ||
	    cdb[0] == SCSI_WRITE_SAME16 ||
	    cdb[0] == SCSI_COMPARE_AND_WRITE) {
		memcpy(lba_field.b, cdb + 2, 8);
		memcpy(count_field.b, cdb + 10, 4);
		lba = be64_get(lba_field);
		blocks = cdb[0] == SCSI_COMPARE_AND_WRITE ? cdb[13]
							  : be32_get(count_field);
		if (lba >= TARGET_BLOCKS || blocks > TARGET_BLOCKS - lba)
			return 0x052100;
	}
	if (cdb[0] == SCSI_WRITE_SAME16)
		return write_same(l, lba, blocks, l->data);
	t->most_blocks[cdb[0]] = (uint32_t)max_u64(t->most_blocks[cdb[0]], blocks);
	uint8_t *place = t->disk + lba * TARGET_BLOCK_SIZE;
	if (cdb[0] == SCSI_WRITE16) {
		memcpy(place, l->data, blocks * TARGET_BLOCK_SIZE);
		return 0;
	}
	if (cdb[0] == SCSI_PR_OUT) {
		pr_out(t, cdb, l->data);
		return 0;
	}
	if (cdb[0] == SCSI_COMPARE_AND_WRITE) {
		if (memcmp(place, l->data, TARGET_BLOCK_SIZE) != 0)
			return 0x0e1d00;
		memcpy(place, l->data + TARGET_BLOCK_SIZE, TARGET_BLOCK_SIZE);
		return 0;
	}
	memset(l->answer, 0, sizeof(l->answer));
	int len = execute_in(t, cdb, l->answer, lba, blocks);
	if (len < 0)
		return 0x052000;
	*ret_out_len = (uint32_t)len;
	return 0;
}

static bool answer_command(struct link *l, uint8_t status, uint32_t sense, uint32_t len,
			   bool is_short)
{
	struct iscsi_target_pdu h = { .opcode = ISCSI_SCSI_RESPONSE,
				      .flags = ISCSI_FINAL,
				      .status = status,
				      .itt = l->head.i.itt };
	uint32_t expected = be32_get(l->head.c.expected_len);
	uint8_t fixed[20] = { 0, 18, 0x70, 0, (uint8_t)(sense >> 16), 0, 0, 0, 0, 10 };

	fixed[14] = (uint8_t)(sense >> 8);
	fixed[15] = (uint8_t)sense;
	if (sense >> 16 == 3) { /* a medium error tells its block */
		fixed[2] |= 0x80;
		memcpy(fixed + 5, l->head.c.cdb + 6, 4);
	}
	if (!(l->head.c.flags & ISCSI_CMD_READ) || status)
		return send_pdu(l, &h, fixed, status == 2 ? sizeof(fixed) : 0, true);
	len = (uint32_t)min_u64(len, expected);
	h.opcode = ISCSI_DATA_IN;
	h.flags |= ISCSI_DATA_STATUS;
	if (is_short) {
		len /= 2;
	} else if (len < expected) {
		h.flags |= ISCSI_UNDERFLOW;
		h.length = be32_of(expected - len);
	}
	return send_pdu(l, &h, l->answer, len, true);
}

static bool stall(struct link *l)
{
	uint8_t bytes[4096];
	bool is_stalled = true;
	ssize_t n;

	while (is_stalled && !is_stopping(l->t)) {
		task_sleep_until(clock_now() + 5 * NS_PER_MS);
		mutex_lock(&l->t->m);
		is_stalled = l->t->is_stalled;
		mutex_unlock(&l->t->m);
	}
	while ((n = recv(l->sock, bytes, sizeof(bytes), 0)) > 0) {
		mutex_lock(&l->t->m);
		l->t->bytes_after_stall += (uint64_t)n;
		mutex_unlock(&l->t->m);
	}
	return false;
}

/* false: the connection is to be closed. */
static bool command(struct link *l)
{
	const uint8_t *cdb = l->head.c.cdb;
	struct rule rule = { .action = RULE_STATUS };
	uint32_t out_len = 0, sense = 0;

	l->exp_cmd_sn++;
	mutex_lock(&l->t->m);
	l->t->seen[cdb[0]]++;
	bool has_rule = l->t->rules[cdb[0]].times > 0;
	if (has_rule) {
		l->t->rules[cdb[0]].times--;
		rule = l->t->rules[cdb[0]];
	}
	bool is_executed = !has_rule || rule.action == RULE_EXECUTE_IN_SILENCE ||
			   rule.action == RULE_EXECUTE_THEN_CLOSE ||
			   rule.action == RULE_SHORT;
	if (is_executed)
		sense = execute(l, cdb, &out_len);
	l->t->is_stalled |= has_rule && rule.action == RULE_STALL;
	mutex_unlock(&l->t->m);
	if (!has_rule || rule.action == RULE_SHORT)
		return answer_command(l, sense ? 2 : 0, sense, out_len, has_rule);
	switch (rule.action) {
	case RULE_STATUS:
		return answer_command(l, rule.status, rule.sense, 0, false);
	case RULE_EXECUTE_IN_SILENCE:
	case RULE_IGNORE:
		return true;
	case RULE_STALL:
		return stall(l);
	default:
		return false;
	}
}

static bool request(struct link *l)
{
	uint8_t pad[4], opcode;

	if (!receive(l, l->head.bytes, ISCSI_BHS_SIZE))
		return false;
	l->len = be24_get(l->head.i.data_len);
	if (l->len > MAX_DATA || !receive(l, l->data, l->len) ||
	    !receive(l, pad, (4 - l->len % 4) % 4))
		return false;
	opcode = l->head.i.opcode & ISCSI_OPCODE_MASK;
	if (!l->is_full)
		return opcode == ISCSI_LOGIN_REQUEST && answer_login(l);
	if (opcode == ISCSI_SCSI_COMMAND)
		return command(l);
	return answer_other(l, opcode);
}

static void run(void *arg)
{
	struct target *t = arg;
	struct link *l = malloc(sizeof(*l));

	while (l && wait_readable(t, t->listener)) {
		l->t = t;
		l->sock = accept(t->listener, NULL, NULL);
		l->stat_sn = 1;
		l->is_full = false;
		while (l->sock >= 0 && request(l))
			;
		if (l->sock >= 0)
			(void)close(l->sock);
	}
	free(l);
}

/* ---- for tests ---- */

struct target *target_new(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	struct target *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->listener < 0 || bind(t->listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(t->listener, 8) < 0 ||
	    getsockname(t->listener, (struct sockaddr *)&a, &len) < 0) {
		free(t);
		return NULL;
	}
	(void)snprintf(t->url, sizeof(t->url),
		       "iscsi://127.0.0.1:%u/iqn.2026-01.org.example:made-up/0",
		       ntohs(a.sin_port));
	(void)snprintf(t->address, sizeof(t->address), "127.0.0.1:%u,1",
		       ntohs(a.sin_port));
	mutex_init(&t->m);
	t->task = task_start("target", run, t);
	return t;
}

void target_free(struct target *t)
{
	mutex_lock(&t->m);
	t->is_stopping = true;
	mutex_unlock(&t->m);
	task_join(t->task);
	(void)close(t->listener);
	mutex_done(&t->m);
	free(t);
}

const char *target_address(const struct target *t)
{
	return t->address;
}

void target_send_on(struct target *t, const char *address, bool is_for_good,
		    unsigned int times)
{
	mutex_lock(&t->m);
	(void)snprintf(t->next, sizeof(t->next), "%s", address);
	t->moves_for_good = is_for_good;
	t->moves = times;
	mutex_unlock(&t->m);
}

const char *target_url(const struct target *t)
{
	return t->url;
}

static void set_rule(struct target *t, uint8_t opcode, struct rule rule)
{
	mutex_lock(&t->m);
	t->rules[opcode] = rule;
	mutex_unlock(&t->m);
}

void target_rule(struct target *t, uint8_t opcode, enum target_action action,
		 unsigned int times)
{
	set_rule(t, opcode, (struct rule){ .action = action, .times = times });
}

void target_rule_status(struct target *t, uint8_t opcode, uint8_t status, uint32_t sense,
			unsigned int times)
{
	set_rule(t, opcode, (struct rule){ RULE_STATUS, times, status, sense });
}

void target_take_key(struct target *t, bool is_restart)
{
	mutex_lock(&t->m);
	t->pr_key = be64_of(0);
	t->pr_generation = is_restart ? 0 : t->pr_generation + 1;
	mutex_unlock(&t->m);
}

void target_page(struct target *t, uint8_t page, const uint8_t *bytes, uint8_t len)
{
	mutex_lock(&t->m);
	memcpy(t->pages[page].bytes, bytes, len);
	t->pages[page].bytes[1] = page;
	t->pages[page].bytes[3] = (uint8_t)(len - 4);
	t->pages[page].len = len;
	mutex_unlock(&t->m);
}

void target_set_thin(struct target *t, bool is_thin)
{
	mutex_lock(&t->m);
	t->is_thin = is_thin;
	mutex_unlock(&t->m);
}

void target_set_copy(struct target *t, uint32_t max_blocks)
{
	mutex_lock(&t->m);
	t->max_copy = max_blocks;
	mutex_unlock(&t->m);
}

uint32_t target_most_blocks(struct target *t, uint8_t opcode)
{
	mutex_lock(&t->m);
	uint32_t n = t->most_blocks[opcode];
	mutex_unlock(&t->m);
	return n;
}

void target_resume(struct target *t)
{
	mutex_lock(&t->m);
	t->is_stalled = false;
	mutex_unlock(&t->m);
}

void target_swap_disk(struct target *t)
{
	mutex_lock(&t->m);
	t->disk_number++;
	mutex_unlock(&t->m);
}

unsigned int target_seen(struct target *t, uint8_t opcode)
{
	mutex_lock(&t->m);
	unsigned int n = t->seen[opcode];
	mutex_unlock(&t->m);
	return n;
}

unsigned int target_logins(struct target *t)
{
	mutex_lock(&t->m);
	unsigned int n = t->logins;
	mutex_unlock(&t->m);
	return n;
}

unsigned int target_aborts(struct target *t)
{
	mutex_lock(&t->m);
	unsigned int n = t->aborts;
	mutex_unlock(&t->m);
	return n;
}

void target_isid(struct target *t, unsigned int n, uint8_t ret_isid[6])
{
	mutex_lock(&t->m);
	memcpy(ret_isid, t->isid[n % MAX_LOGINS], 6);
	mutex_unlock(&t->m);
}

uint64_t target_bytes_after_stall(struct target *t)
{
	mutex_lock(&t->m);
	uint64_t n = t->bytes_after_stall;
	mutex_unlock(&t->m);
	return n;
}

void target_block(struct target *t, uint64_t lba, uint8_t ret_block[TARGET_BLOCK_SIZE])
{
	mutex_lock(&t->m);
	memcpy(ret_block, t->disk + lba * TARGET_BLOCK_SIZE, TARGET_BLOCK_SIZE);
	mutex_unlock(&t->m);
}
