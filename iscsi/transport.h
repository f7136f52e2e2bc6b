/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_TRANSPORT_H
#define ISCSI_TRANSPORT_H

/*
 * One task per path: it connects, pumps the session's bytes, and connects again when the
 * connection is lost, with the same parameters and so the same ISID. The only file of
 * this folder that knows sockets.
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"
#include "bdev/guard.h"
#include "iscsi/session.h"

/* Who uses a transport. All are called from its task, with no lock held. */
struct iscsi_owner {
	/* Login is done. */
	void (*up)(struct iscsi_owner *o, struct iscsi_session *s);
	/*
	 * An attempt or a session has ended, and all its commands. true: try again,
	 * after a back-off that grows with attempts in a row; false: stay down until
	 * stop().
	 */
	bool (*down)(struct iscsi_owner *o, int error, const char *why, bool was_up);
	/*
	 * Called after each event: hands work to s, which is NULL while no session is
	 * FULL. Returns when it wants to be called again at the latest, ns.
	 */
	uint64_t (*pump)(struct iscsi_owner *o, struct iscsi_session *s, uint64_t now);
	/*
	 * Commands are under way, and the other side's kernel does not even acknowledge
	 * their bytes: the network is cut. true: the session ends; false, or NULL: pings
	 * decide. Called again and again.
	 */
	bool (*unheard)(struct iscsi_owner *o);
};

struct iscsi_transport;

/*
 * Resolves host and starts the task. params is kept (with its strings) until stop().
 * Blocks for name lookup. 0 or -errno: -EHOSTUNREACH: no such host (*ret_why says
 * more), -ENOMEM.
 */
int iscsi_transport_start(const char *host, uint16_t port,
			  const struct iscsi_params *params, struct iscsi_owner *owner,
			  struct iscsi_transport **ret_transport, const char **ret_why)
	__attribute__((warn_unused_result));
/* Makes the task call pump() soon. Any task, never blocks. */
void iscsi_transport_wake(struct iscsi_transport *t);
/*
 * The calling task has brought work, and if ch is its own channel drives the session by
 * itself from there: true. false: wake() is wanted. ch may be NULL. Never blocks.
 */
bool iscsi_transport_channel(struct iscsi_transport *t, struct bdev_channel *ch)
	__attribute__((warn_unused_result));
/*
 * Sends nothing more: when it returns, the connection is reset and what still stood in
 * the socket's buffer is thrown away (LOCKING.md 1.3). Any task, never blocks,
 * idempotent.
 */
void iscsi_transport_cut(struct iscsi_transport *t);
/*
 * After a cut: waits until the old session has ended, then connects again. 0 or
 * -ETIMEDOUT (still cut). Blocks until deadline.
 */
int iscsi_transport_mend(struct iscsi_transport *t, uint64_t deadline)
	__attribute__((warn_unused_result));
/*
 * Every socket, now and later, is put under lease before it is used; NULL ends that. 0,
 * or -errno: the present one could not be, and is reset. Blocks.
 */
int iscsi_transport_guard(struct iscsi_transport *t, struct guard_lease *lease)
	__attribute__((warn_unused_result));
/* Logs out (at most 1 s), ends the task, frees. NULL is allowed. Blocks. */
void iscsi_transport_stop(struct iscsi_transport *t);

#endif
