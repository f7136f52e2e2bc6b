/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A state comes out as it went in; one that was cut off, or of which a byte has changed,
 * does not pass for whole.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/testvol.h"
#include "vmkernel/memoryfile.h"

#define PATH "/vm.vmss"
#define HEAD (64u << 10)
#define LEN (40u << 10) /* what a socket takes without a reader */

static unsigned char *stream_bytes(void)
{
	unsigned char *bytes = malloc(LEN);
	for (unsigned int i = 0; bytes && i < LEN; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 251);
	return bytes;
}

/* Fills it, up to its end but for the head. */
static struct memoryfile *fill(struct testvol *tv)
{
	struct memoryfile *f;
	unsigned char *bytes = stream_bytes();
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(send(pair[0], bytes, LEN, 0), LEN);
	assert_int_equal(close(pair[0]), 0);
	assert_int_equal(memoryfile_create(tv->vol, PATH, &f), 0);
	assert_int_equal(memoryfile_fill(f, pair[1]), 0);
	assert_int_equal(close(pair[1]), 0);
	free(bytes);
	return f;
}

static void make(struct testvol *tv)
{
	json_t *facts = json_pack("{s:i}", "answer", 42);
	testvol_new(tv, 2);
	struct memoryfile *f = fill(tv);
	assert_int_equal(memoryfile_finish(f, facts), 0);
	memoryfile_close(f);
	json_decref(facts);
}

static void change(struct testvol *tv, uint64_t at, uint64_t new_size)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	unsigned char byte;
	assert_int_equal(vmfs_file_open(tv->vol, PATH, &how, &file, NULL), 0);
	if (new_size) {
		assert_int_equal(vmfs_file_truncate(file, new_size), 0);
	} else {
		assert_int_equal(vmfs_file_read(file, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(vmfs_file_write(file, &byte, 1, at), 0);
	}
	assert_int_equal(vmfs_file_close(file), 0);
}

/* Opens and sends it: what came of it, and what came out. */
static int take(struct testvol *tv, unsigned char ret_bytes[static LEN])
{
	struct memoryfile *f;
	json_t *facts;
	int pair[2];
	int rc = memoryfile_open(tv->vol, PATH, &f, &facts);
	if (rc < 0)
		return rc;
	assert_int_equal(json_integer_value(json_object_get(facts, "answer")), 42);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	rc = memoryfile_send(f, pair[0]);
	assert_int_equal(close(pair[0]), 0);
	ssize_t got = recv(pair[1], ret_bytes, LEN, MSG_WAITALL);
	assert_true(rc < 0 || got == LEN);
	assert_int_equal(close(pair[1]), 0);
	memoryfile_close(f);
	json_decref(facts);
	return rc;
}

static void what_goes_in_comes_out(void **state)
{
	struct testvol tv;
	unsigned char *bytes = stream_bytes(), *got = malloc(LEN);
	(void)state;
	make(&tv);
	assert_int_equal(take(&tv, got), 0);
	assert_memory_equal(got, bytes, LEN);
	testvol_free(&tv);
	free(bytes);
	free(got);
}

static void one_that_is_not_finished_is_none(void **state)
{
	struct testvol tv;
	unsigned char *got = malloc(LEN);
	(void)state;
	make(&tv);
	memoryfile_close(fill(&tv)); /* over one that was whole */
	assert_int_equal(take(&tv, got), -EMEDIUMTYPE);
	testvol_free(&tv);
	free(got);
}

static void one_that_is_not_as_it_was_is_refused(void **state)
{
	static const struct {
		uint64_t at, size;
		int rc;
	} cases[] = {
		{ 0, 0, -EMEDIUMTYPE },		 /* its name */
		{ 16, 0, -EUCLEAN },		 /* its length */
		{ 50, 0, -EUCLEAN },		 /* a fact */
		{ HEAD - 1, 0, -EUCLEAN },	 /* the head's end */
		{ HEAD, 0, -EUCLEAN },		 /* the stream */
		{ HEAD + LEN - 1, 0, -EUCLEAN }, /* its last byte */
		{ 0, HEAD + LEN - 1, -EUCLEAN }, /* which is missing */
		{ 0, HEAD, -EUCLEAN },
		{ 0, 100, -EMEDIUMTYPE },
	};
	unsigned char *got = malloc(LEN);
	(void)state;
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct testvol tv;
		make(&tv);
		change(&tv, cases[i].at, cases[i].size);
		if (take(&tv, got) != cases[i].rc)
			fail_msg("case %u", i);
		testvol_free(&tv);
	}
	free(got);
}

/* Who was being sent to has gone: that is said, and not that the file is damaged. */
static void a_reader_that_goes_is_not_damage(void **state)
{
	struct testvol tv;
	struct memoryfile *f;
	json_t *facts;
	int pair[2];
	(void)state;
	make(&tv);
	assert_int_equal(memoryfile_open(tv.vol, PATH, &f, &facts), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(close(pair[1]), 0);
	assert_int_equal(memoryfile_send(f, pair[0]), -EPIPE);
	assert_int_equal(close(pair[0]), 0);
	memoryfile_close(f);
	json_decref(facts);
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_in_comes_out),
		cmocka_unit_test(one_that_is_not_finished_is_none),
		cmocka_unit_test(one_that_is_not_as_it_was_is_refused),
		cmocka_unit_test(a_reader_that_goes_is_not_damage),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
