/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URLs: what is written is what is read, whatever bytes a secret holds; what is shown
 * holds no secret; where a portal is reached.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iscsi/open.h"
#include "iscsi/route.h"
#include "iscsi/url.h"

#define TARGET "iqn.2026-01.org.openvmfs:t"

static void what_is_written_is_what_is_read(void **state)
{
	struct iscsi_url u, again;
	struct buf text = { 0 };
	(void)state;

	assert_int_equal(iscsi_url_parse("iscsi://[::1]:3261/" TARGET "/7", NULL, &u), 0);
	assert_null(iscsi_url_set(&u, "user", "a user,with/all?of&them%"));
	assert_null(iscsi_url_set(&u, "password", "s@cret=:/%41,\xff"));
	assert_null(iscsi_url_set(&u, "target_user", "disk"));
	assert_null(iscsi_url_set(&u, "target_password", "other secret"));
	assert_null(iscsi_url_set(&u, "data_digest", "required"));
	assert_null(iscsi_url_set(&u, "bind", "192.0.2.7"));
	assert_null(iscsi_url_set(&u, "bind", "eth1"));
	assert_null(iscsi_url_set(&u, "bind", "fd00::7"));
	assert_null(iscsi_url_set(&u, "reach", "10.0.0.1>192.0.2.1:3261"));
	assert_null(iscsi_url_set(&u, "reach", "[fd00::1]:99>192.0.2.1"));
	assert_null(iscsi_url_set(&u, "portal", "192.0.2.8"));
	assert_null(iscsi_url_set(&u, "portal", "[fd00::2]:3262"));
	assert_null(iscsi_url_set(&u, "paths", "all"));
	assert_null(iscsi_url_set(&u, "policy", "rr"));
	assert_null(iscsi_url_set(&u, "iops", "1"));
	iscsi_url_write(&u, &text);
	assert_null(strchr(text.data, ',')); /* a list of devices has commas between */
	assert_int_equal(iscsi_url_parse(text.data, NULL, &again), 0);
	memcpy(again.text, u.text, sizeof(u.text));
	assert_memory_equal(&u, &again, sizeof(u));
	assert_string_equal(again.bind, "192.0.2.7");
	assert_string_equal(again.binds, "eth1,fd00::7");
	buf_done(&text);
}

static void what_is_shown_holds_no_secret(void **state)
{
	char *shown = device_shown("iscsi://me%sec@h/" TARGET "/1?password=x,/dev/sdz,"
				   "iscsi://h/" TARGET "/2?target_password=y");
	(void)state;

	assert_string_equal(shown, "iscsi://me@h/" TARGET "/1,/dev/sdz,"
				   "iscsi://h/" TARGET "/2");
	free(shown);
}

static void a_wrong_key_is_refused(void **state)
{
	static const char *const wrong[] = {
		"colour=red",	  "user=%4",	 "password=%00", "user=%zz",
		"reach=a",	  "reach=a>b:0", "data_digest",	 "bind=",
		"user=x&&user=y", "user=%",	 "reach=>b",	 "portal=:1",
		"portal=a,b",	  "paths=two",	 "policy=best",	 "iops=0",
		"sessions=0",	  "sessions=9",	 "sessions=",
		"bind=a%2Cb",	  "bind=a&bind="
	};
	struct iscsi_url u;
	char text[256];
	(void)state;

	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		(void)snprintf(text, sizeof(text), "iscsi://h/" TARGET "/1?%s", wrong[i]);
		assert_int_equal(iscsi_url_parse(text, NULL, &u), -EINVAL);
	}
}

static uint32_t address_of(const struct iscsi_route *route, uint16_t *ret_port)
{
	const struct addrinfo *a = iscsi_route_addresses(route);
	const struct sockaddr_in *in =
		(const struct sockaddr_in *)(const void *)a->ai_addr;
	assert_int_equal(a->ai_family, AF_INET);
	*ret_port = ntohs(in->sin_port);
	return ntohl(in->sin_addr.s_addr);
}

static void a_portal_is_reached_where_the_user_says(void **state)
{
	static const char reach[] = "10.0.0.1:3260>127.0.0.1:17,10.0.0.2>127.0.0.2:18";
	struct iscsi_route *route;
	const char *why;
	uint16_t port;
	(void)state;

	assert_int_equal(iscsi_route_new("10.0.0.1", 3260, reach, &route, &why), 0);
	assert_int_equal(address_of(route, &port), 0x7f000001);
	assert_int_equal(port, 17);
	/* Where a login is sent on to, too. */
	assert_int_equal(iscsi_route_move(route, "10.0.0.2:3260,1", false), 0);
	assert_int_equal(address_of(route, &port), 0x7f000002);
	assert_int_equal(port, 18);
	/* Another port is another portal. */
	assert_int_equal(iscsi_route_move(route, "10.0.0.1:3261,1", false), 0);
	assert_int_equal(address_of(route, &port), 0x0a000001);
	assert_int_equal(port, 3261);
	iscsi_route_free(route);
}

int main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(what_is_written_is_what_is_read),
		cmocka_unit_test(what_is_shown_holds_no_secret),
		cmocka_unit_test(a_wrong_key_is_refused),
		cmocka_unit_test(a_portal_is_reached_where_the_user_says),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(all, NULL, NULL);
}
