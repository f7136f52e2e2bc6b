/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU is told of a disk that has grown, command by command, by who answers in its
 * place: the way through, and an error at each step.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmkernel/vmx/grow.h"

#define SIZE (3ull << 30)
#define OLD "disk1"
#define NEW "disk1-600000"

static const char *const commands[] = { "qom-get", "blockdev-add", "qom-set",
					"block_resize", "blockdev-del" };

struct play {
	struct vm_hardware hw;
	struct channel channel;
	struct grow grow;
	int qemu; /* its end */
};

static void set_up(struct play *p)
{
	int ends[2];
	*p = (struct play){ .hw = { .controller_count = 1, .disk_count = 2 } };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	p->hw.controllers[0] = (struct vm_controller){ .type = CONTROLLER_PVSCSI,
						       .prefix = "scsi", .number = 2 };
	p->hw.disks[1].unit = 5;
	channel_init(&p->channel, ends[0]);
	p->qemu = ends[1];
	p->grow.qmp = &p->channel;
	assert_int_equal(grow_start(&p->grow, &p->hw, 1, "token", SIZE), 0);
	assert_int_equal(grow_start(&p->grow, &p->hw, 1, "token", SIZE), -EBUSY);
}

static void tear_down(struct play *p)
{
	assert_false(p->grow.is_busy);
	channel_done(&p->channel);
	assert_int_equal(close(p->qemu), 0);
}

/* The next command, which is that one and has this in its arguments; its id. */
static uint32_t asks(struct play *p, const char *command, const char *has)
{
	char line[2048];
	assert_int_equal(channel_flush(&p->channel), 0);
	ssize_t n = recv(p->qemu, line, sizeof(line) - 1, MSG_DONTWAIT);
	if (n <= 0)
		fail_msg("no %s", command);
	line[n] = '\0';
	json_t *m = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
	assert_non_null(m);
	assert_string_equal(json_string_value(json_object_get(m, "execute")), command);
	if (!strstr(line, has))
		fail_msg("no '%s' in %s", has, line);
	uint32_t id = (uint32_t)json_integer_value(json_object_get(m, "id"));
	assert_true(id >= GROW_QMP_FIRST && id < GROW_QMP_END);
	json_decref(m);
	return id;
}

static void asks_nothing(struct play *p)
{
	char byte;
	assert_int_equal(channel_flush(&p->channel), 0);
	assert_int_equal(recv(p->qemu, &byte, 1, MSG_DONTWAIT), -1);
}

static enum grow_news answers(struct play *p, uint32_t id, const char *text,
			      const char *error)
{
	json_t *m = text ? json_pack("{s:s}", "return", text) :
			   json_pack("{s:{}}", "return");
	enum grow_news news = grow_answer(&p->grow, id, m, error);
	json_decref(m);
	return news;
}

/* The steps before `end`, each of which goes well; the id of that one. */
static uint32_t goes_to(struct play *p, unsigned int end)
{
	static const char *const has[] = { "/machine/peripheral/scsi2-5",
					   "\"disk1-token\"", "\"" NEW "\"",
					   "3221225472", "\"" OLD "\"" };
	for (unsigned int i = 0;; i++) {
		uint32_t id = asks(p, commands[i], has[i]);
		if (i == end)
			return id;
		assert_int_equal(answers(p, id, i ? NULL : OLD, NULL), GROW_GOES_ON);
	}
}

static void the_device_gets_the_new_node(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	assert_int_equal(answers(&p, goes_to(&p, 4), NULL, NULL), GROW_DONE);
	asks_nothing(&p);
	assert_int_equal(answers(&p, GROW_QMP_FIRST, NULL, NULL), GROW_GOES_ON);
	asks_nothing(&p); /* nobody waits for that */
	tear_down(&p);
}

static void asked_again_it_is_told_and_nothing_else(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	assert_int_equal(answers(&p, asks(&p, "qom-get", "scsi2-5"), NEW, NULL),
			 GROW_GOES_ON);
	assert_int_equal(answers(&p, asks(&p, "block_resize", NEW), NULL, NULL),
			 GROW_DONE);
	asks_nothing(&p);
	tear_down(&p);
}

/* Until the device has it the new node goes; after that the old one goes all the same. */
static void an_error_leaves_one_node(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		struct play p;
		set_up(&p);
		enum grow_news news = answers(&p, goes_to(&p, i), NULL, "no");
		if (i == 2)
			news = answers(&p, asks(&p, "blockdev-del", NEW), NULL, NULL);
		if (i == 3)
			news = answers(&p, asks(&p, "blockdev-del", OLD), NULL, NULL);
		assert_int_equal(news, GROW_FAILED);
		assert_string_equal(p.grow.why, "no");
		asks_nothing(&p);
		tear_down(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_device_gets_the_new_node),
		cmocka_unit_test(asked_again_it_is_told_and_nothing_else),
		cmocka_unit_test(an_error_leaves_one_node),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
