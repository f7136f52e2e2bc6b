/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU is told of a disk that comes to a VM or goes from it, command by command, by
 * who answers in its place; an error at each step; and where no disk can come to.
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

#include "base/env.h"
#include "vmkernel/vmx/plug.h"

struct play {
	struct vm_hardware hw;
	struct channel channel;
	struct plug plug;
	int qemu; /* its end */
};

static void set_up(struct play *p)
{
	int ends[2];
	*p = (struct play){ .hw = { .controller_count = 2, .disk_count = 2 } };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	p->hw.controllers[0] = (struct vm_controller){ .type = CONTROLLER_LSILOGIC,
						       .prefix = "scsi", .number = 2 };
	p->hw.controllers[1] = (struct vm_controller){ .type = CONTROLLER_AHCI,
						       .prefix = "sata" };
	p->hw.disks[0] = (struct vm_disk){ .unit = 5, .path = "a.vmdk" };
	p->hw.disks[1] = (struct vm_disk){ .controller = 1, .path = "b.vmdk" };
	channel_init(&p->channel, ends[0]);
	p->qemu = ends[1];
	plug_init(&p->plug, &p->channel);
}

static void tear_down(struct play *p)
{
	assert_false(p->plug.is_busy);
	assert_true(p->plug.deadline == NO_DEADLINE);
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
	assert_true(id >= PLUG_QMP_FIRST && id < PLUG_QMP_END);
	json_decref(m);
	return id;
}

static void asks_nothing(struct play *p)
{
	char byte;
	assert_int_equal(channel_flush(&p->channel), 0);
	assert_int_equal(recv(p->qemu, &byte, 1, MSG_DONTWAIT), -1);
}

static enum plug_news answers(struct play *p, uint32_t id, const char *text,
			      const char *error)
{
	json_t *m = text ? json_pack("{s:s}", "return", text) :
			   json_pack("{s:{}}", "return");
	enum plug_news news = plug_answer(&p->plug, id, m, error);
	json_decref(m);
	return news;
}

static void begins_in(struct play *p)
{
	const char *why;
	assert_int_equal(plug_place(&p->hw, "scsi2:3", "c.vmdk", &p->plug.place, &why),
			 0);
	assert_int_equal(plug_in(&p->plug, &p->hw, 2, "token"), 0);
	assert_int_equal(plug_in(&p->plug, &p->hw, 2, "token"), -EBUSY);
	assert_int_equal(plug_out(&p->plug, &p->hw, 0), -EBUSY);
}

static void a_disk_comes_as_node_and_device(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	begins_in(&p);
	uint32_t id = asks(&p, "blockdev-add", "\"disk2-token\"");
	assert_int_equal(answers(&p, id, NULL, NULL), PLUG_GOES_ON);
	id = asks(&p, "device_add", "\"scsi2-3\"");
	assert_int_equal(answers(&p, id, NULL, NULL), PLUG_DONE);
	asks_nothing(&p);
	assert_int_equal(answers(&p, id, NULL, NULL), PLUG_GOES_ON);
	assert_string_equal(p.plug.place.path, "c.vmdk");
	tear_down(&p);
}

static void an_error_leaves_nothing_of_it(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	begins_in(&p);
	assert_int_equal(answers(&p, asks(&p, "blockdev-add", ""), NULL, "no"),
			 PLUG_FAILED);
	asks_nothing(&p);
	begins_in(&p);
	assert_int_equal(answers(&p, asks(&p, "blockdev-add", ""), NULL, NULL),
			 PLUG_GOES_ON);
	assert_int_equal(answers(&p, asks(&p, "device_add", ""), NULL, "not so"),
			 PLUG_GOES_ON);
	assert_int_equal(answers(&p, asks(&p, "blockdev-del", p.plug.node), NULL, NULL),
			 PLUG_FAILED);
	assert_string_equal(p.plug.why, "not so");
	asks_nothing(&p);
	tear_down(&p);
}

/* The node that it has by now goes; and only when the device is gone. */
static void a_disk_goes_when_its_event_comes(void **state)
{
	(void)state;
	for (int is_early = 0; is_early < 2; is_early++) {
		struct play p;
		enum plug_news news;
		set_up(&p);
		assert_int_equal(plug_out(&p.plug, &p.hw, 0), 0);
		assert_false(p.plug.deadline == NO_DEADLINE);
		assert_int_equal(answers(&p, asks(&p, "qom-get", "/scsi2-5"), "grown",
					 NULL), PLUG_GOES_ON);
		uint32_t id = asks(&p, "device_del", "\"scsi2-5\"");
		assert_int_equal(plug_deleted(&p.plug, "scsi2-6"), PLUG_GOES_ON);
		assert_int_equal(plug_deleted(&p.plug, NULL), PLUG_GOES_ON);
		news = is_early ? plug_deleted(&p.plug, "scsi2-5") :
				  answers(&p, id, NULL, NULL);
		assert_int_equal(news, PLUG_GOES_ON);
		asks_nothing(&p);
		news = is_early ? answers(&p, id, NULL, NULL) :
				  plug_deleted(&p.plug, "scsi2-5");
		assert_int_equal(news, PLUG_GOES_ON);
		id = asks(&p, "blockdev-del", "\"grown\"");
		assert_int_equal(answers(&p, id, NULL, "in use"), PLUG_DONE);
		asks_nothing(&p);
		tear_down(&p);
	}
}

static void one_that_does_not_go_stays(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	assert_int_equal(plug_out(&p.plug, &p.hw, 0), 0);
	assert_int_equal(answers(&p, asks(&p, "qom-get", ""), NULL, "no device"),
			 PLUG_FAILED);
	assert_int_equal(plug_out(&p.plug, &p.hw, 0), 0);
	assert_int_equal(answers(&p, asks(&p, "qom-get", ""), "disk0", NULL),
			 PLUG_GOES_ON);
	assert_int_equal(answers(&p, asks(&p, "device_del", ""), NULL, "busy"),
			 PLUG_FAILED);
	assert_string_equal(p.plug.why, "busy");
	assert_int_equal(plug_out(&p.plug, &p.hw, 0), 0);
	(void)asks(&p, "qom-get", "");
	assert_int_equal(plug_late(&p.plug), PLUG_FAILED);
	assert_string_equal(p.plug.why, "QEMU does not let go of it");
	asks_nothing(&p);
	tear_down(&p);
}

static void not_everywhere_can_a_disk_come(void **state)
{
	static const struct {
		const char *where, *path, *why;
	} bad[] = {
		{ "scsi2:5", "c.vmdk", "already" },
		{ "scsi2:7", "c.vmdk", "no such unit" },
		{ "scsi1:0", "c.vmdk", "without this controller" },
		{ "sata0:1", "c.vmdk", "SCSI controllers alone" },
		{ "scsi2:3x", "c.vmdk", "without this controller" },
		{ "scsi2", "c.vmdk", "without this controller" },
		{ "", "c.vmdk", "without this controller" },
		{ "scsi2:3", "", "name of its file" },
	};
	struct play p;
	const char *why;
	(void)state;
	set_up(&p);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(plug_place(&p.hw, bad[i].where, bad[i].path,
					    &p.plug.place, &why), -EINVAL);
		if (!strstr(why, bad[i].why))
			fail_msg("%s: %s", bad[i].where, why);
	}
	assert_null(plug_out_why_not(&p.hw, 0));
	assert_non_null(plug_out_why_not(&p.hw, 1));
	assert_non_null(plug_out_why_not(&p.hw, 2));
	p.hw.disks[0].path[0] = '\0'; /* it was removed: there is room again */
	assert_non_null(plug_out_why_not(&p.hw, 0));
	assert_int_equal(plug_place(&p.hw, "scsi2:5", "c.vmdk", &p.plug.place, &why), 0);
	tear_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_comes_as_node_and_device),
		cmocka_unit_test(an_error_leaves_nothing_of_it),
		cmocka_unit_test(a_disk_goes_when_its_event_comes),
		cmocka_unit_test(one_that_does_not_go_stays),
		cmocka_unit_test(not_everywhere_can_a_disk_come),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
