/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD protocol without sockets, over a memory disk: what a client may say, and what
 * it may not. Bytes are fed in pieces of a given size, so that every message is also seen
 * cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "vdisk/nbd/conn.h"
#include "vdisk/nbd/proto.h"

#define DISK_SIZE (8u << 20)

struct fixture {
	struct bdev *bd;
	struct nbd_export export;
	struct nbd_done done;
	struct nbd_conn *conn;
	struct buf out; /* everything the server said */
	int error;	/* of nbd_conn_received */
};

static void wake(void *arg)
{
	(void)arg;
}

static void touched(struct nbd_conn *c, void *arg)
{
	(void)c;
	(void)arg;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	assert_int_equal(bdev_mem_new(DISK_SIZE, 512, NULL, &f->bd), 0);
	f->export = (struct nbd_export){ .name = "disk0", .bd = f->bd };
	nbd_done_init(&f->done, NULL, wake, NULL);
	f->conn = nbd_conn_new(&f->export, &f->done, NULL);
	assert_non_null(f->conn);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	nbd_conn_free(f->conn);
	nbd_done_done(&f->done);
	bdev_close(f->bd);
	buf_done(&f->out);
	free(f);
	return 0;
}

static void collect_output(struct fixture *f)
{
	struct iovec iov[NBD_OUTPUT_MAX];
	int count;
	nbd_done_take(&f->done, touched, NULL);
	while ((count = nbd_conn_output(f->conn, iov, NBD_OUTPUT_MAX)) > 0) {
		/* One byte at first: replies are cut anywhere. */
		buf_add(&f->out, iov[0].iov_base, 1);
		nbd_conn_sent(f->conn, 1);
		count = nbd_conn_output(f->conn, iov, NBD_OUTPUT_MAX);
		size_t total = 0;
		for (int i = 0; i < count; i++) {
			buf_add(&f->out, iov[i].iov_base, iov[i].iov_len);
			total += iov[i].iov_len;
		}
		nbd_conn_sent(f->conn, total);
	}
}

/* Feeds len bytes in pieces of at most piece bytes. */
static void feed(struct fixture *f, const void *data, size_t len, size_t piece)
{
	const uint8_t *at = data;
	while (len && f->error == 0) {
		struct iovec iov[2];
		int count = nbd_conn_space(f->conn, iov);
		if (count == 0)
			break;
		size_t n = len < piece ? len : piece;
		size_t first = n < iov[0].iov_len ? n : iov[0].iov_len;
		memcpy(iov[0].iov_base, at, first);
		if (first < n && count == 2) {
			size_t second = n - first;
			if (second > iov[1].iov_len)
				second = iov[1].iov_len;
			memcpy(iov[1].iov_base, at + first, second);
			n = first + second;
		} else {
			n = first;
		}
		at += n;
		len -= n;
		f->error = nbd_conn_received(f->conn, n);
		collect_output(f);
		size_t before = 0;
		while (nbd_conn_space(f->conn, iov) == 0 && f->error == 0 &&
		       f->out.len != before) {
			before = f->out.len;
			f->error = nbd_conn_received(f->conn, 0);
			collect_output(f);
		}
	}
}

static void feed_flags(struct fixture *f, uint32_t flags)
{
	be32 wire = be32_of(flags);
	feed(f, &wire, sizeof(wire), 1);
}

static void feed_option(struct fixture *f, uint32_t option, const void *data,
			uint32_t len)
{
	struct nbd_option_msg m = {
		.magic = be64_of(NBD_OPTION_MAGIC),
		.option = be32_of(option),
		.len = be32_of(len),
	};
	feed(f, &m, sizeof(m), 3);
	feed(f, data, len, 3);
}

/* Through the negotiation, by EXPORT_NAME; what the server said is dropped. */
static void begin(struct fixture *f)
{
	feed_flags(f, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	feed_option(f, NBD_OPT_EXPORT_NAME, "disk0", 5);
	assert_int_equal(f->error, 0);
	buf_consume(&f->out, f->out.len);
}

static void add_request(struct buf *b, uint16_t type, uint16_t flags, uint64_t offset,
			uint32_t len, uint64_t cookie)
{
	struct nbd_request_msg m = {
		.magic = be32_of(NBD_REQUEST_MAGIC),
		.flags = be16_of(flags),
		.type = be16_of(type),
		.cookie = be64_of(cookie),
		.offset = be64_of(offset),
		.len = be32_of(len),
	};
	buf_add(b, &m, sizeof(m));
}

static void request(struct fixture *f, uint16_t type, uint16_t flags, uint64_t offset,
		    uint32_t len, uint64_t cookie)
{
	struct buf b = { 0 };
	add_request(&b, type, flags, offset, len, cookie);
	feed(f, b.data, b.len, 11);
	buf_done(&b);
}

/* Takes one reply off the output: its error; data_len bytes of data to ret_data. */
static uint32_t take_reply(struct fixture *f, uint64_t cookie, void *ret_data,
			   size_t data_len)
{
	struct nbd_simple_reply_msg m;
	assert_true(f->out.len >= sizeof(m) + data_len);
	memcpy(&m, f->out.data, sizeof(m));
	assert_int_equal(be32_get(m.magic), NBD_SIMPLE_REPLY_MAGIC);
	assert_int_equal(be64_get(m.cookie), cookie);
	if (data_len)
		memcpy(ret_data, f->out.data + sizeof(m), data_len);
	buf_consume(&f->out, sizeof(m) + data_len);
	return be32_get(m.error);
}

static void option_reply(struct fixture *f, uint32_t option, uint32_t type, uint32_t len)
{
	struct nbd_option_reply_msg m;
	assert_true(f->out.len >= sizeof(m));
	memcpy(&m, f->out.data, sizeof(m));
	assert_int_equal(be64_get(m.magic), NBD_OPTION_REPLY_MAGIC);
	assert_int_equal(be32_get(m.option), option);
	assert_int_equal(be32_get(m.type), type);
	assert_int_equal(be32_get(m.len), len);
	buf_consume(&f->out, sizeof(m));
}

/* ---- negotiation ---- */

static void greeting_is_fixed_newstyle(void **state)
{
	struct fixture *f = *state;
	struct nbd_greeting_msg m;
	collect_output(f);
	assert_int_equal(f->out.len, sizeof(m));
	memcpy(&m, f->out.data, sizeof(m));
	assert_true(be64_get(m.magic) == NBD_MAGIC);
	assert_true(be64_get(m.option_magic) == NBD_OPTION_MAGIC);
	assert_int_equal(be16_get(m.flags), 3);
}

static void unknown_client_flags_end_the_connection(void **state)
{
	struct fixture *f = *state;
	feed_flags(f, 1u << 7);
	assert_int_equal(f->error, -EPROTO);
}

static void go_tells_size_and_block_sizes(void **state)
{
	struct fixture *f = *state;
	static const uint8_t go[] = { 0,   0, 0, 5, 'd', 'i', 's', 'k',
				      '0', 0, 2, 0, 3,	 0,   3 };
	struct nbd_info_export_msg e;
	struct nbd_info_block_size_msg b;
	feed_flags(f, 3);
	buf_consume(&f->out, f->out.len);
	feed_option(f, NBD_OPT_GO, go, sizeof(go));
	option_reply(f, NBD_OPT_GO, NBD_REP_INFO, sizeof(e));
	memcpy(&e, f->out.data, sizeof(e));
	assert_int_equal(be64_get(e.size), DISK_SIZE);
	assert_true(be16_get(e.flags) & NBD_FLAG_SEND_FLUSH);
	assert_false(be16_get(e.flags) & NBD_FLAG_READ_ONLY);
	buf_consume(&f->out, sizeof(e));
	option_reply(f, NBD_OPT_GO, NBD_REP_INFO, sizeof(b));
	memcpy(&b, f->out.data, sizeof(b));
	assert_int_equal(be32_get(b.minimum), 512);
	assert_int_equal(be32_get(b.maximum), NBD_PAYLOAD_MAX);
	buf_consume(&f->out, sizeof(b));
	option_reply(f, NBD_OPT_GO, NBD_REP_ACK, 0);
	assert_int_equal(f->out.len, 0);
}

static void go_with_wrong_lengths_is_refused_and_talk_goes_on(void **state)
{
	struct fixture *f = *state;
	static const uint8_t long_name[] = { 0, 0, 0, 200, 'd', 0, 0 };
	static const uint8_t huge_name[] = { 0xff, 0xff, 0xff, 0xff, 'd', 0, 0 };
	static const uint8_t many_infos[] = { 0, 0, 0, 1, 'd', 0xff, 0xff, 0, 3 };
	feed_flags(f, 3);
	buf_consume(&f->out, f->out.len);
	feed_option(f, NBD_OPT_GO, long_name, sizeof(long_name));
	option_reply(f, NBD_OPT_GO, NBD_REP_ERR_INVALID, 0);
	feed_option(f, NBD_OPT_INFO, huge_name, sizeof(huge_name));
	option_reply(f, NBD_OPT_INFO, NBD_REP_ERR_INVALID, 0);
	feed_option(f, NBD_OPT_GO, many_infos, sizeof(many_infos));
	option_reply(f, NBD_OPT_GO, NBD_REP_ERR_INVALID, 0);
	feed_option(f, NBD_OPT_GO, NULL, 0);
	option_reply(f, NBD_OPT_GO, NBD_REP_ERR_INVALID, 0);
	feed_option(f, NBD_OPT_STARTTLS, NULL, 0);
	option_reply(f, NBD_OPT_STARTTLS, NBD_REP_ERR_UNSUP, 0);
	feed_option(f, NBD_OPT_LIST, NULL, 0);
	option_reply(f, NBD_OPT_LIST, NBD_REP_SERVER, 9);
	assert_int_equal(f->error, 0);
}

static void unknown_export_is_refused(void **state)
{
	struct fixture *f = *state;
	static const uint8_t go[] = { 0, 0, 0, 1, 'x', 0, 0 };
	feed_flags(f, 3);
	buf_consume(&f->out, f->out.len);
	feed_option(f, NBD_OPT_GO, go, sizeof(go));
	option_reply(f, NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, 0);
	feed_option(f, NBD_OPT_EXPORT_NAME, "x", 1);
	assert_true(nbd_conn_is_finished(f->conn));
}

static void option_longer_than_the_limit_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	struct nbd_option_msg m = {
		.magic = be64_of(NBD_OPTION_MAGIC),
		.option = be32_of(NBD_OPT_LIST),
		.len = be32_of(NBD_OPTION_MAX + 1),
	};
	feed_flags(f, 3);
	feed(f, &m, sizeof(m), sizeof(m));
	assert_int_equal(f->error, -EPROTO);
}

/* A client that asks and never reads must not fill our memory. */
static void options_without_reading_are_throttled(void **state)
{
	struct fixture *f = *state;
	struct nbd_option_msg m = {
		.magic = be64_of(NBD_OPTION_MAGIC),
		.option = be32_of(NBD_OPT_LIST),
	};
	struct iovec iov[2];
	be32 flags = be32_of(3);
	unsigned int sent = 0;
	assert_true(nbd_conn_space(f->conn, iov) > 0);
	memcpy(iov[0].iov_base, &flags, sizeof(flags));
	assert_int_equal(nbd_conn_received(f->conn, sizeof(flags)), 0);
	while (nbd_conn_space(f->conn, iov) && sent < 100000) {
		memcpy(iov[0].iov_base, &m, sizeof(m));
		assert_int_equal(nbd_conn_received(f->conn, sizeof(m)), 0);
		sent++;
	}
	assert_in_range(sent, 100, 5000);
}

/* ---- requests ---- */

static void written_bytes_are_read_back(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[4096], seen[4096];
	struct buf b = { 0 };
	begin(f);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (size_t piece = 1; piece < 9000; piece = piece * 3 + 1) {
		data[0] = (uint8_t)piece;
		b.len = 0;
		add_request(&b, NBD_CMD_WRITE, 0, 12288, sizeof(data), piece);
		buf_add(&b, data, sizeof(data));
		add_request(&b, NBD_CMD_READ, 0, 12288, sizeof(data), piece + 1);
		feed(f, b.data, b.len, piece);
		assert_int_equal(take_reply(f, piece, NULL, 0), NBD_OK);
		assert_int_equal(take_reply(f, piece + 1, seen, sizeof(seen)), NBD_OK);
		assert_memory_equal(data, seen, sizeof(data));
	}
	buf_done(&b);
}

static void many_requests_of_one_read_are_all_answered(void **state)
{
	struct fixture *f = *state;
	struct buf b = { 0 };
	uint8_t seen[512];
	begin(f);
	for (uint64_t i = 0; i < 1000; i++)
		add_request(&b, NBD_CMD_READ, 0, i * 512, 512, i);
	feed(f, b.data, b.len, b.len);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(take_reply(f, i, seen, sizeof(seen)), NBD_OK);
	buf_done(&b);
}

static void wrong_requests_are_answered_with_errors(void **state)
{
	static const struct {
		uint16_t type, flags;
		uint64_t offset;
		uint32_t len, error;
	} cases[] = {
		{ NBD_CMD_READ, 0, DISK_SIZE, 512, NBD_EINVAL },
		{ NBD_CMD_READ, 0, DISK_SIZE - 512, 1024, NBD_EINVAL },
		{ NBD_CMD_READ, 0, UINT64_MAX - 511, 512, NBD_EINVAL },
		{ NBD_CMD_READ, 0, UINT64_MAX, 1, NBD_EINVAL },
		{ NBD_CMD_READ, 0, 1, 512, NBD_EINVAL },
		{ NBD_CMD_READ, 0, 0, 511, NBD_EINVAL },
		{ NBD_CMD_READ, 0, 0, NBD_PAYLOAD_MAX + 512, NBD_EOVERFLOW },
		{ NBD_CMD_READ, 0, 0, UINT32_MAX, NBD_EOVERFLOW },
		{ NBD_CMD_READ, 1u << 2, 0, 512, NBD_EINVAL },
		{ NBD_CMD_TRIM, 0, DISK_SIZE - 512, 1024, NBD_EINVAL },
		{ NBD_CMD_TRIM, 0, 0, UINT32_MAX - 511, NBD_EINVAL },
		{ NBD_CMD_WRITE_ZEROES, 0, DISK_SIZE, 512, NBD_ENOSPC },
		{ NBD_CMD_WRITE_ZEROES, 1u << 4, 0, 512, NBD_EINVAL },
		{ NBD_CMD_FLUSH, 0, 512, 0, NBD_EINVAL },
		{ 5, 0, 0, 512, NBD_EINVAL },
		{ 7, 0, 0, 512, NBD_EINVAL },
		{ 0xffff, 0xffff, 0, 512, NBD_EINVAL },
	};
	struct fixture *f = *state;
	begin(f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		request(f, cases[i].type, cases[i].flags, cases[i].offset, cases[i].len,
			i);
		assert_int_equal(take_reply(f, i, NULL, 0), cases[i].error);
		assert_int_equal(f->error, 0);
		assert_int_equal(f->out.len, 0);
	}
}

/* The payload of a refused WRITE must not be taken for requests. */
static void refused_write_swallows_its_payload(void **state)
{
	struct fixture *f = *state;
	uint8_t data[1024];
	uint8_t seen[512];
	struct buf b = { 0 };
	memset(data, 0xee, sizeof(data));
	begin(f);
	add_request(&b, NBD_CMD_WRITE, 0, DISK_SIZE - 512, sizeof(data), 1);
	buf_add(&b, data, sizeof(data));
	add_request(&b, NBD_CMD_READ, 0, DISK_SIZE - 512, 512, 2);
	feed(f, b.data, b.len, 100);
	assert_int_equal(take_reply(f, 1, NULL, 0), NBD_ENOSPC);
	assert_int_equal(take_reply(f, 2, seen, sizeof(seen)), NBD_OK);
	assert_int_equal(seen[0], 0);
	buf_done(&b);
}

static void oversize_write_and_bad_magic_end_the_connection(void **state)
{
	struct fixture *f = *state;
	uint8_t junk[28] = { 1, 2, 3 };
	begin(f);
	request(f, NBD_CMD_WRITE, 0, 0, NBD_PAYLOAD_MAX + 512, 1);
	assert_int_equal(f->error, -EPROTO);
	f->error = 0;
	nbd_conn_free(f->conn);
	f->conn = nbd_conn_new(&f->export, &f->done, NULL);
	assert_non_null(f->conn);
	begin(f);
	feed(f, junk, sizeof(junk), sizeof(junk));
	assert_int_equal(f->error, -EPROTO);
}

static void disconnect_in_the_middle_of_a_payload_frees_all(void **state)
{
	struct fixture *f = *state;
	uint8_t half[4096] = { 0xaa };
	begin(f);
	request(f, NBD_CMD_WRITE, 0, 0, 8192, 1);
	feed(f, half, sizeof(half), 1000);
	nbd_conn_abandon(f->conn);
	assert_int_equal(nbd_conn_in_flight(f->conn), 0);
	uint8_t seen[512];
	assert_int_equal(bdev_read(f->bd, seen, sizeof(seen), 0), 0);
	assert_int_equal(seen[0], 0); /* half a payload is not written */
}

static void zeroes_and_trim_work_and_zero_length_is_nothing(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[4096], seen[4096];
	begin(f);
	memset(data, 0x55, sizeof(data));
	assert_int_equal(bdev_write(f->bd, data, sizeof(data), 4096), 0);
	request(f, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 4096, 4096, 1);
	assert_int_equal(take_reply(f, 1, NULL, 0), NBD_OK);
	assert_int_equal(bdev_read(f->bd, seen, sizeof(seen), 4096), 0);
	assert_int_equal(seen[0], 0);
	assert_int_equal(seen[4095], 0);
	request(f, NBD_CMD_TRIM, 0, 0, DISK_SIZE, 2);
	assert_int_equal(take_reply(f, 2, NULL, 0), NBD_OK);
	request(f, NBD_CMD_READ, 0, 0, 0, 3);
	assert_int_equal(take_reply(f, 3, NULL, 0), NBD_OK);
	request(f, NBD_CMD_FLUSH, 0, 0, 0, 4);
	assert_int_equal(take_reply(f, 4, NULL, 0), NBD_OK);
	request(f, NBD_CMD_DISC, 0, 0, 0, 5);
	assert_true(nbd_conn_is_finished(f->conn));
}

static void read_only_export_refuses_changes(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512] = { 1 };
	f->export.is_read_only = true;
	begin(f);
	request(f, NBD_CMD_WRITE, 0, 0, sizeof(data), 1);
	feed(f, data, sizeof(data), sizeof(data));
	assert_int_equal(take_reply(f, 1, NULL, 0), NBD_EPERM);
	request(f, NBD_CMD_WRITE_ZEROES, 0, 0, 512, 2);
	assert_int_equal(take_reply(f, 2, NULL, 0), NBD_EPERM);
	request(f, NBD_CMD_TRIM, 0, 0, 512, 3);
	assert_int_equal(take_reply(f, 3, NULL, 0), NBD_EPERM);
}

/* ---- structured replies, contexts ---- */

/* Of the test's contexts: every 64 KiB is a piece, each third a hole in "base:alloc". */
#define PIECE (64u << 10)

static const char *context_name(void *arg, unsigned int i)
{
	static const char *const names[] = { "base:alloc", "own:all", NULL };
	(void)arg;
	return names[i];
}

static int context_choose(void *arg, const char *name, uint64_t *ret_key)
{
	(void)arg;
	*ret_key = strcmp(name, "own:all") == 0 ? 7 : 3;
	return *ret_key == 7 || strcmp(name, "base:alloc") == 0 ? 0 : -ENOENT;
}

static int context_find(void *arg, uint64_t key, uint64_t offset, uint64_t *ret_len,
			uint32_t *ret_flags)
{
	const uint64_t *bad = arg;
	assert_true(offset < DISK_SIZE && (key == 3 || key == 7));
	if (bad && *bad <= offset)
		return -EIO;
	*ret_len = PIECE - offset % PIECE;
	*ret_flags = key == 7 ? 1 : offset / PIECE % 3 == 0 ? 3 : 0;
	return 0;
}

static const struct nbd_contexts contexts = { .name = context_name,
					      .choose = context_choose,
					      .find = context_find };

/* An option about contexts: export "disk0" and queries, joined by blanks. */
static void ask_contexts(struct fixture *f, uint32_t option, const char *queries)
{
	struct buf b = { 0 };
	be32 len = be32_of(5);
	buf_add(&b, &len, sizeof(len));
	buf_add(&b, "disk0", 5);
	uint32_t count = *queries != 0;
	for (const char *c = queries; *c; c++)
		count += *c == ' ';
	len = be32_of(count);
	buf_add(&b, &len, sizeof(len));
	while (count--) {
		uint32_t n = (uint32_t)strcspn(queries, " ");
		len = be32_of(n);
		buf_add(&b, &len, sizeof(len));
		buf_add(&b, queries, n);
		queries += n + 1;
	}
	feed_option(f, option, b.data, (uint32_t)b.len);
	buf_done(&b);
}

/* Takes one context off the output; "": the list is over. */
static void expect_context(struct fixture *f, uint32_t option, uint32_t id,
			   const char *name)
{
	uint32_t len = (uint32_t)strlen(name);
	be32 wire;
	if (!len)
		return option_reply(f, option, NBD_REP_ACK, 0);
	option_reply(f, option, NBD_REP_META_CONTEXT, 4 + len);
	memcpy(&wire, f->out.data, sizeof(wire));
	assert_int_equal(be32_get(wire), id);
	assert_memory_equal(f->out.data + 4, name, len);
	buf_consume(&f->out, 4 + len);
}

/* Structured replies, queries chosen, into transmission; the output is dropped. */
static void begin_structured(struct fixture *f, const char *queries)
{
	feed_flags(f, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	feed_option(f, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	if (*queries)
		ask_contexts(f, NBD_OPT_SET_META_CONTEXT, queries);
	feed_option(f, NBD_OPT_EXPORT_NAME, "disk0", 5);
	assert_int_equal(f->error, 0);
	buf_consume(&f->out, f->out.len);
}

/* Takes the head of a chunk off the output; its length. */
static uint32_t take_chunk(struct fixture *f, uint64_t cookie, uint16_t type,
			   uint16_t flags)
{
	struct nbd_chunk_msg m;
	assert_true(f->out.len >= sizeof(m));
	memcpy(&m, f->out.data, sizeof(m));
	assert_int_equal(be32_get(m.magic), NBD_STRUCTURED_REPLY_MAGIC);
	assert_int_equal(be64_get(m.cookie), cookie);
	assert_int_equal(be16_get(m.type), type);
	assert_int_equal(be16_get(m.flags), flags);
	buf_consume(&f->out, sizeof(m));
	assert_true(f->out.len >= be32_get(m.len));
	return be32_get(m.len);
}

static void expect_error_chunk(struct fixture *f, uint64_t cookie, uint32_t error)
{
	struct nbd_chunk_error_msg m;
	assert_int_equal(take_chunk(f, cookie, NBD_CHUNK_ERROR, NBD_CHUNK_DONE),
			 sizeof(m));
	memcpy(&m, f->out.data, sizeof(m));
	assert_int_equal(be32_get(m.error), error);
	buf_consume(&f->out, sizeof(m));
}

static void expect_extents(struct fixture *f, uint32_t id, const uint32_t *want,
			   uint32_t count, uint32_t len)
{
	be32 wire;
	struct nbd_extent_msg m;
	memcpy(&wire, f->out.data, sizeof(wire));
	assert_int_equal(be32_get(wire), id);
	assert_int_equal(len, sizeof(wire) + count * sizeof(m));
	for (uint32_t i = 0; i < count; i++) {
		memcpy(&m, f->out.data + sizeof(wire) + i * sizeof(m), sizeof(m));
		assert_int_equal(be32_get(m.len), want[2 * i]);
		assert_int_equal(be32_get(m.flags), want[2 * i + 1]);
	}
	buf_consume(&f->out, len);
}

static void contexts_are_listed_and_chosen_by_name(void **state)
{
	struct fixture *f = *state;
	const uint32_t list = NBD_OPT_LIST_META_CONTEXT, set = NBD_OPT_SET_META_CONTEXT;
	f->export.contexts = &contexts;
	feed_flags(f, 3);
	buf_consume(&f->out, f->out.len);
	ask_contexts(f, list, ""); /* before structured replies */
	option_reply(f, list, NBD_REP_ERR_INVALID, 0);
	feed_option(f, NBD_OPT_STRUCTURED_REPLY, "x", 1);
	option_reply(f, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, 0);
	feed_option(f, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	option_reply(f, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, 0);
	ask_contexts(f, list, "");
	expect_context(f, list, 0, "base:alloc");
	expect_context(f, list, 0, "own:all");
	expect_context(f, list, 0, "");
	ask_contexts(f, list, "own: nothing:here base:alloc");
	expect_context(f, list, 0, "own:all");
	expect_context(f, list, 0, "base:alloc");
	expect_context(f, list, 0, "");
	ask_contexts(f, set, "own: own:all base:alloc");
	expect_context(f, set, 1, "own:all"); /* a namespace alone chooses nothing */
	expect_context(f, set, 2, "base:alloc");
	expect_context(f, set, 0, "");
	assert_int_equal(f->out.len, 0);
}

static void contexts_with_wrong_lengths_are_refused_and_none_is_chosen(void **state)
{
	struct fixture *f = *state;
	const uint32_t set = NBD_OPT_SET_META_CONTEXT;
	static const uint8_t wrong[][17] = {
		{ 0, 0, 0, 5, 'd', 'i', 's', 'k', '0', 0, 0, 0, 1, 0, 0, 0, 9 },
		{ 0, 0, 0, 5, 'd', 'i', 's', 'k', '0', 255, 255, 255, 255, 0, 0, 0, 0 },
		{ 0, 0, 0, 10, 'd', 'i', 's', 'k', '0', 0, 0, 0, 0, 0, 0, 0, 0 },
		{ 255, 255, 255, 255, 'd', 'i', 's', 'k', '0', 0, 0, 0, 0, 0, 0, 0, 0 },
	};
	f->export.contexts = &contexts;
	feed_flags(f, 3);
	feed_option(f, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	ask_contexts(f, set, "own:all");
	for (unsigned int i = 0; i < 4; i++) {
		buf_consume(&f->out, f->out.len);
		feed_option(f, set, wrong[i], sizeof(wrong[i]));
		option_reply(f, set, NBD_REP_ERR_INVALID, 0);
	}
	feed_option(f, NBD_OPT_EXPORT_NAME, NULL, 0);
	buf_consume(&f->out, f->out.len);
	request(f, NBD_CMD_BLOCK_STATUS, 0, 0, 512, 1);
	expect_error_chunk(f, 1, NBD_EINVAL);
	assert_int_equal(f->error, 0);
}

static void structured_reads_come_with_their_place(void **state)
{
	struct fixture *f = *state;
	uint8_t data[1024];
	be64 offset;
	memset(data, 0x33, sizeof(data));
	assert_int_equal(bdev_write(f->bd, data, sizeof(data), 4096), 0);
	begin_structured(f, "");
	request(f, NBD_CMD_READ, NBD_CMD_FLAG_DF, 4096, 1024, 5);
	assert_int_equal(take_chunk(f, 5, NBD_CHUNK_OFFSET_DATA, NBD_CHUNK_DONE),
			 8 + 1024);
	memcpy(&offset, f->out.data, sizeof(offset));
	assert_int_equal(be64_get(offset), 4096);
	assert_memory_equal(f->out.data + 8, data, sizeof(data));
	buf_consume(&f->out, 8 + 1024);
	request(f, NBD_CMD_READ, 0, 0, 0, 6);
	assert_int_equal(take_chunk(f, 6, NBD_CHUNK_NONE, NBD_CHUNK_DONE), 0);
	request(f, NBD_CMD_READ, 0, DISK_SIZE, 512, 7);
	expect_error_chunk(f, 7, NBD_EINVAL);
	request(f, NBD_CMD_FLUSH, 0, 0, 0, 8);
	assert_int_equal(take_reply(f, 8, NULL, 0), NBD_OK);
	request(f, NBD_CMD_BLOCK_STATUS, 0, 0, 512, 9); /* no context was chosen */
	expect_error_chunk(f, 9, NBD_EINVAL);
}

static void block_status_tells_the_pieces_of_each_context(void **state)
{
	struct fixture *f = *state;
	static const uint32_t alloc[] = { PIECE - 512, 3, 2 * PIECE, 0, 1024, 3 };
	static const uint32_t all[] = { 3 * PIECE + 512, 1 };
	f->export.contexts = &contexts;
	begin_structured(f, "base:alloc own:all");
	request(f, NBD_CMD_BLOCK_STATUS, 0, 512, 3 * PIECE + 512, 1);
	uint32_t len = take_chunk(f, 1, NBD_CHUNK_BLOCK_STATUS, 0);
	expect_extents(f, 1, alloc, 3, len);
	len = take_chunk(f, 1, NBD_CHUNK_BLOCK_STATUS, NBD_CHUNK_DONE);
	expect_extents(f, 2, all, 1, len);
	request(f, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 512, 3 * PIECE, 2);
	len = take_chunk(f, 2, NBD_CHUNK_BLOCK_STATUS, 0);
	expect_extents(f, 1, alloc, 1, len);
	(void)take_chunk(f, 2, NBD_CHUNK_BLOCK_STATUS, NBD_CHUNK_DONE);
	buf_consume(&f->out, f->out.len);
	request(f, NBD_CMD_BLOCK_STATUS, 0, 0, 0, 3);
	expect_error_chunk(f, 3, NBD_EINVAL);
	request(f, NBD_CMD_BLOCK_STATUS, 0, DISK_SIZE - 512, 1024, 4);
	expect_error_chunk(f, 4, NBD_EINVAL);
	request(f, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_DF, 0, 512, 5);
	expect_error_chunk(f, 5, NBD_EINVAL);
}

/* What is known in front of the bad place is told, and the bad place is an error. */
static void block_status_that_fails_tells_what_it_can(void **state)
{
	struct fixture *f = *state;
	uint64_t bad = PIECE;
	struct nbd_contexts failing = contexts;
	static const uint32_t first[] = { PIECE, 3 };
	failing.arg = &bad;
	f->export.contexts = &failing;
	begin_structured(f, "base:alloc");
	request(f, NBD_CMD_BLOCK_STATUS, 0, 0, 4 * PIECE, 1);
	uint32_t len = take_chunk(f, 1, NBD_CHUNK_BLOCK_STATUS, NBD_CHUNK_DONE);
	expect_extents(f, 1, first, 1, len);
	request(f, NBD_CMD_BLOCK_STATUS, 0, PIECE, 512, 2);
	expect_error_chunk(f, 2, NBD_EIO);
	/* Its room is given back: many of them do not stop the connection. */
	for (uint64_t i = 0; i < 3 * NBD_MAX_REQUESTS; i++) {
		request(f, NBD_CMD_BLOCK_STATUS, 0, 0, PIECE, i);
		len = take_chunk(f, i, NBD_CHUNK_BLOCK_STATUS, NBD_CHUNK_DONE);
		expect_extents(f, 1, first, 1, len);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(greeting_is_fixed_newstyle),
		T(unknown_client_flags_end_the_connection),
		T(go_tells_size_and_block_sizes),
		T(go_with_wrong_lengths_is_refused_and_talk_goes_on),
		T(unknown_export_is_refused),
		T(option_longer_than_the_limit_ends_the_connection),
		T(options_without_reading_are_throttled),
		T(written_bytes_are_read_back),
		T(many_requests_of_one_read_are_all_answered),
		T(wrong_requests_are_answered_with_errors),
		T(refused_write_swallows_its_payload),
		T(oversize_write_and_bad_magic_end_the_connection),
		T(disconnect_in_the_middle_of_a_payload_frees_all),
		T(zeroes_and_trim_work_and_zero_length_is_nothing),
		T(read_only_export_refuses_changes),
		T(contexts_are_listed_and_chosen_by_name),
		T(contexts_with_wrong_lengths_are_refused_and_none_is_chosen),
		T(structured_reads_come_with_their_place),
		T(block_status_tells_the_pieces_of_each_context),
		T(block_status_that_fails_tells_what_it_can),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
