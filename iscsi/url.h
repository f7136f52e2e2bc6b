/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_URL_H
#define ISCSI_URL_H

/*
 * iscsi://[user[%password]@]host[:port]/target-iqn/lun[?key=value[&key=value...]], as
 * QEMU and libiscsi write it. The keys:
 *
 *   target_user, target_password   what the target has to prove itself with (mutual
 *                                  CHAP); wants a user and password of ours, not the same
 *   header_digest, data_digest     prohibited, discouraged (if nothing is said),
 *                                  preferred, required: CRC32C
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "iscsi/session.h"

#define ISCSI_HOST_SIZE 256u

struct iscsi_url {
	char user[256], password[256]; /* "": none */
	char host[ISCSI_HOST_SIZE];    /* name or address, IPv6 without brackets */
	uint16_t port, lun;
	char target[224];
	char target_user[256], target_password[256]; /* "": it need not */
	enum iscsi_digest header_digest, data_digest;
	char text[256]; /* the URL without password and keys, for reports */
};

/*
 * [from, to) as host[:port] or [address][:port]; the port is 3260 if none is given.
 * false: it is none.
 */
bool iscsi_portal_parse(const char *from, const char *to, char ret_host[ISCSI_HOST_SIZE],
			uint16_t *ret_port) __attribute__((warn_unused_result));
/* 0, or -EINVAL with a report that names the URL and the part that is wrong. */
int iscsi_url_parse(const char *text, struct reporter *r, struct iscsi_url *ret_url)
	__attribute__((warn_unused_result));

#endif
