/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_MOVE_H
#define VMX_MOVE_H

/*
 * A VM on its way to another host, or from one: what QEMU is told, and where it is. For
 * the task of the VM; never blocks but in move_done().
 */
#include <jansson.h>
#include <stdbool.h>

#include "base/report.h"
#include "vmkernel/msg/channel.h"
#include "vmkernel/vmx/stream.h"

#define MOVE_QMP_FIRST 64u /* ids of commands from here on are ours */
#define MOVE_WHY_SIZE 512u

enum move_state {
	MOVE_NONE,
	MOVE_SENDING,	 /* the guest runs, as a rule */
	MOVE_SENT,	 /* it stands still, and all of it is gone */
	MOVE_KEEPING,	 /* it is to go on here: QEMU cancels, or starts it again */
	MOVE_RECEIVING,
	MOVE_RECEIVED,	 /* all is here, and stands still */
};

/* What has come about; each is told once. */
enum move_news { MOVE_NOTHING, MOVE_NEWS_STILL, MOVE_NEWS_SENT, MOVE_NEWS_FAILED,
		 MOVE_NEWS_KEPT, MOVE_NEWS_RECEIVED };

struct move {
	struct channel *qmp;
	struct reporter *reporter;
	enum move_state state;
	struct stream *stream;
	bool is_cold;	       /* stopped by us before it was sent */
	bool is_switching;     /* QEMU was told to send the last of it */
	bool is_qemu_done;     /* QEMU has sent all */
	bool is_kept;	       /* somebody asked for it: MOVE_NEWS_KEPT, else _FAILED */
	uint64_t ask_at;       /* for its progress; NO_DEADLINE: not */
	uint64_t total, remaining, transferred; /* bytes, as told last */
	char why[MOVE_WHY_SIZE];
};

void move_init(struct move *m, struct channel *qmp, struct reporter *r);
void move_done(struct move *m);
/*
 * Of one in MOVE_NONE. body: of MSG_VMX_SEND or MSG_VMX_RECEIVE; sock is taken. 0 or
 * -errno, with m->why.
 */
int move_send(struct move *m, const json_t *body, int sock)
	__attribute__((warn_unused_result));
int move_receive(struct move *m, const json_t *body, int sock)
	__attribute__((warn_unused_result));
/* The VM is to go on here: MOVE_NEWS_KEPT will come, or is the answer. */
enum move_news move_keep(struct move *m);
/* vmkernel is gone: what is not sent yet is kept. */
void move_left_alone(struct move *m);
/* QEMU's MIGRATION event. */
enum move_news move_event(struct move *m, const char *status);
/* QEMU's answer to a command with an id of ours; error: its sentence, or NULL. */
enum move_news move_answer(struct move *m, uint32_t id, const json_t *answer,
			   const char *error);
/* To be polled, -1: nothing; then move_stream_over(). */
int move_event_fd(const struct move *m);
enum move_news move_stream_over(struct move *m);
/* At ask_at. */
void move_ask(struct move *m);

#endif
