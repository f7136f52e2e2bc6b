/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: whole, cut anywhere, and wrong; and the names of datastores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmkernel/msg/msg.h"
#include "vmkernel/msg/where.h"

static void message_comes_through_cut_anywhere(void **state)
{
	struct buf b = { 0 };
	struct msg m;
	(void)state;
	json_t *body = json_pack("{s:s, s:i}", "name", "demo", "id", 7);
	assert_int_equal(msg_encode(&b, MSG_VM_LIST, 42, body), 0);
	json_decref(body);
	for (size_t len = 0; len < b.len; len++)
		assert_int_equal(msg_decode((const uint8_t *)b.data, len, &m), 0);
	buf_add(&b, "more", 4);
	assert_int_equal(msg_decode((const uint8_t *)b.data, b.len, &m), b.len - 4);
	assert_int_equal(m.type, MSG_VM_LIST);
	assert_int_equal(m.tag, 42);
	assert_string_equal(json_string_value(json_object_get(m.body, "name")), "demo");
	json_decref(m.body);
	buf_done(&b);
}

static int decode_with(const char *json, uint32_t len, uint32_t magic, uint16_t zero)
{
	struct buf b = { 0 };
	struct msg m;
	struct msg_header_msg h = {
		.magic = le32_of(magic),
		.type = le16_of(MSG_VM_LIST),
		.zero = le16_of(zero),
		.len = le32_of(len),
	};
	buf_add(&b, &h, sizeof(h));
	buf_add(&b, json, strlen(json));
	int64_t rc = msg_decode((const uint8_t *)b.data, b.len, &m);
	if (rc > 0)
		json_decref(m.body);
	buf_done(&b);
	return (int)rc;
}

static void wrong_frames_end_the_connection(void **state)
{
	(void)state;
	assert_int_equal(decode_with("{}", 2, MSG_MAGIC, 0), 18);
	assert_int_equal(decode_with("{}", 2, MSG_MAGIC + 1, 0), -EPROTO);
	assert_int_equal(decode_with("{}", 2, MSG_MAGIC, 1), -EPROTO);
	assert_int_equal(decode_with("{}", MSG_PAYLOAD_MAX + 1, MSG_MAGIC, 0), -EPROTO);
	assert_int_equal(decode_with("{}", UINT32_MAX, MSG_MAGIC, 0), -EPROTO);
	assert_int_equal(decode_with("[]", 2, MSG_MAGIC, 0), -EPROTO);
	assert_int_equal(decode_with("{x", 2, MSG_MAGIC, 0), -EPROTO);
	assert_int_equal(decode_with("{}{}", 4, MSG_MAGIC, 0), -EPROTO);
	assert_int_equal(decode_with("", 0, MSG_MAGIC, 0), -EPROTO);
	assert_int_equal(decode_with("{\"a\":1,\"a\":2}", 13, MSG_MAGIC, 0), -EPROTO);
}

static void deep_json_is_refused_and_not_followed(void **state)
{
	struct buf b = { 0 };
	(void)state;
	buf_add(&b, "{\"a\":", 5);
	for (int i = 0; i < 100000; i++)
		buf_add(&b, "[", 1);
	assert_int_equal(decode_with(b.data, (uint32_t)b.len, MSG_MAGIC, 0), -EPROTO);
	buf_done(&b);
}

static void channels_talk_both_ways(void **state)
{
	int ends[2];
	struct channel a, b;
	struct msg m;
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	channel_init(&a, ends[0]);
	channel_init(&b, ends[1]);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(
			msg_send(&a, MSG_VM_STATE, i, json_pack("{s:i}", "id", i)), 0);
	assert_int_equal(msg_read(&b), 0);
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(msg_next(&b, &m), 1);
		assert_int_equal(m.tag, i);
		json_decref(m.body);
	}
	assert_int_equal(msg_next(&b, &m), 0);
	assert_int_equal(msg_reply(&b, 3, -ENOENT, "no such VM", NULL), 0);
	channel_done(&b);
	assert_int_equal(msg_read(&a), -ECONNRESET); /* and yet: */
	assert_int_equal(msg_next(&a, &m), 1);
	assert_int_equal(json_integer_value(json_object_get(m.body, "result")), -ENOENT);
	json_decref(m.body);
	channel_done(&a);
}

/* However it is cut: here so that all but 12 bytes of it make more than the payload. */
static void largest_message_is_read_to_its_end(void **state)
{
	int ends[2];
	struct channel ch;
	struct msg m;
	size_t len = sizeof(struct msg_header_msg) + MSG_PAYLOAD_MAX;
	char *frame = malloc(len);
	struct msg_header_msg h = {
		.magic = le32_of(MSG_MAGIC),
		.type = le16_of(MSG_VM_LIST),
		.len = le32_of(MSG_PAYLOAD_MAX),
	};
	(void)state;
	assert_non_null(frame);
	memset(frame, ' ', len);
	memcpy(frame, &h, sizeof(h));
	memcpy(frame + sizeof(h), "{}", 2);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	channel_init(&ch, ends[0]);
	for (size_t at = 0, step = 4; at < len; at += step) {
		if (at)
			step = len - at < 4096 ? len - at : 4096;
		assert_int_equal(msg_next(&ch, &m), 0);
		assert_int_equal(send(ends[1], frame + at, step, 0), step);
		assert_int_equal(msg_read(&ch), 0);
	}
	assert_int_equal(msg_next(&ch, &m), 1);
	json_decref(m.body);
	channel_done(&ch);
	(void)close(ends[1]);
	free(frame);
}

static void nobody_listening_is_told_apart(void **state)
{
	char device[64];
	json_t *reply;
	(void)state;
	assert_int_equal(
		msg_call("/nonexistent/vmkernel.sock", MSG_VM_LIST, NULL, 1, &reply),
		-ECONNREFUSED);
	assert_int_equal(setenv("VMKERNEL_SOCKET", "/nonexistent/vmkernel.sock", 1), 0);
	assert_int_equal(where_datastore("demo", NULL, device, sizeof(device)),
			 -ECONNREFUSED);
}

static void datastore_names_are_split(void **state)
{
	static const struct {
		const char *text, *name, *path;
	} cases[] = {
		{ "[demo] vm1/vm1.vmx", "demo", "/vm1/vm1.vmx" },
		{ "[demo]vm1/vm1.vmx", "demo", "/vm1/vm1.vmx" },
		{ "[my store] a b/c.vmx", "my store", "/a b/c.vmx" },
		{ "/vmfs/volumes/demo/vm1/vm1.vmx", "demo", "/vm1/vm1.vmx" },
		{ "/vmfs/volumes/demo", "demo", "/" },
		{ "[demo]", "demo", "/" },
		{ "demo/vm1", NULL, NULL },
		{ "[demo vm1", NULL, NULL },
		{ "[] vm1", NULL, NULL },
		{ "/vmfs/volumes//x", NULL, NULL },
		{ "", NULL, NULL },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *name, *path;
		int rc = where_split(cases[i].text, &name, &path);
		assert_int_equal(rc, cases[i].name ? 0 : -EINVAL);
		if (rc == 0) {
			assert_string_equal(name, cases[i].name);
			assert_string_equal(path, cases[i].path);
			free(name);
			free(path);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(message_comes_through_cut_anywhere),
		cmocka_unit_test(wrong_frames_end_the_connection),
		cmocka_unit_test(deep_json_is_refused_and_not_followed),
		cmocka_unit_test(channels_talk_both_ways),
		cmocka_unit_test(largest_message_is_read_to_its_end),
		cmocka_unit_test(nobody_listening_is_told_apart),
		cmocka_unit_test(datastore_names_are_split),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
