/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_URL_H
#define ISCSI_URL_H

/* iscsi://[user[%password]@]host[:port]/target-iqn/lun, as QEMU and libiscsi write it. */
#include <stdint.h>

#include "base/report.h"

struct iscsi_url {
	char user[256], password[256]; /* "": none */
	char host[256];		       /* name or address, IPv6 without brackets */
	uint16_t port, lun;
	char target[224];
	char text[256]; /* the URL without its password, for reports */
};

/* 0, or -EINVAL with a report that names the URL and the part that is wrong. */
int iscsi_url_parse(const char *text, struct reporter *r, struct iscsi_url *ret_url)
	__attribute__((warn_unused_result));

#endif
