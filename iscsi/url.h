/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_URL_H
#define ISCSI_URL_H

/*
 * iscsi://[user[%password]@]host[:port]/target-iqn/lun[?key=value[&key=value...]], as
 * QEMU and libiscsi write it. The keys:
 *
 *   user, password                 ours (CHAP), as before '@', but of any bytes
 *   target_user, target_password   what the target has to prove itself with (mutual
 *                                  CHAP); wants a user and password of ours, not the same
 *   header_digest, data_digest     prohibited, discouraged (if nothing is said),
 *                                  preferred, required: CRC32C
 *   bind                           the address or interface that connections start
 *                                  from; repeated: a path from each to each portal
 *   portal                         another way to the target, host[:port]; may be
 *                                  repeated
 *   paths                          all: also what SendTargets tells; one: only this
 *                                  portal
 *   policy, iops                   of several paths: fixed, mru, rr, latency; I/Os before
 *                                  rr takes the next path (1000)
 *   sessions                       how many go each of these ways, 1 to 8
 *   reach                          A>B: portal A is reached at B (behind a NAT); may be
 *                                  repeated; also where a login is sent on to
 *   noop_interval and so on        the settings of iscsi/settings.h
 *
 * In a value %XX is a byte.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/report.h"
#include "iscsi/session.h"

#define ISCSI_HOST_SIZE 256u
#define ISCSI_REACH_SIZE 1024u
#define ISCSI_BIND_SIZE 64u

struct iscsi_url {
	char user[256], password[256]; /* "": none */
	char host[ISCSI_HOST_SIZE];    /* name or address, IPv6 without brackets */
	uint16_t port, lun;
	char target[224];
	char target_user[256], target_password[256]; /* "": it need not */
	enum iscsi_digest header_digest, data_digest;
	struct iscsi_settings settings;
	char bind[ISCSI_BIND_SIZE];   /* "": anywhere */
	char binds[ISCSI_REACH_SIZE]; /* further ones, "A,A..." */
	char reach[ISCSI_REACH_SIZE]; /* "A>B,A>B..." */
	char portals[ISCSI_REACH_SIZE]; /* "A,A..." */
	char paths[8], policy[16], iops[12], sessions[4]; /* "": not said */
	char text[256]; /* the URL without password and keys, for reports */
};

/*
 * [from, to) as host[:port] or [address][:port]; the port is 3260 if none is given.
 * false: it is none.
 */
bool iscsi_portal_parse(const char *from, const char *to, char ret_host[ISCSI_HOST_SIZE],
			uint16_t *ret_port) __attribute__((warn_unused_result));
/*
 * The i-th portal, 0: its own; the i-th interface or address to start from, 0: bind,
 * which may be "". false: there are not so many.
 */
bool iscsi_url_portal(const struct iscsi_url *u, unsigned int i,
		      char ret_host[ISCSI_HOST_SIZE], uint16_t *ret_port);
bool iscsi_url_nic(const struct iscsi_url *u, unsigned int i,
		   char ret_nic[ISCSI_BIND_SIZE]);
/* 0, or -EINVAL with a report that names the URL and the part that is wrong. */
int iscsi_url_parse(const char *text, struct reporter *r, struct iscsi_url *ret_url)
	__attribute__((warn_unused_result));

/* What a key says; several may be wrong only together: NULL, or what is wrong. */
const char *iscsi_url_set(struct iscsi_url *u, const char *key, const char *value)
	__attribute__((warn_unused_result));
const char *iscsi_url_wrong(const struct iscsi_url *u)
	__attribute__((warn_unused_result));
/*
 * The i-th key that is a parameter of sessions (no name, secret or place), NULL: there
 * are not so many; its value in u as the key takes it, returns text.
 */
const char *iscsi_url_parameter(unsigned int i);
const char *iscsi_url_parameter_text(const struct iscsi_url *u, unsigned int i,
				     char text[static 32]);
/* A session to its target as it wants it, without a name of ours. Keeps u's strings. */
struct iscsi_params iscsi_url_params(const struct iscsi_url *u);
/* Adds the URL without user, password and keys. */
void iscsi_url_write_place(const struct iscsi_url *u, struct buf *out);
/* Adds the URL, with its secrets, such that parsing gives the same again. */
void iscsi_url_write(const struct iscsi_url *u, struct buf *out);
/* Adds host:port, an IPv6 address in brackets. */
void iscsi_portal_write(struct buf *out, const char *host, uint16_t port);
/* A text that may be a URL, as it may be shown: without password and keys. */
void iscsi_url_show(const char *text, char *out, size_t size);

#endif
