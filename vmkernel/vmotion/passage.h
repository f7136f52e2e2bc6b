/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VMOTION_PASSAGE_H
#define VMKERNEL_VMOTION_PASSAGE_H

/*
 * One VM's way, on one of its two sides: a job of its own that carries out the plan, and
 * asks the loop for what is the loop's. Inside the folder only.
 */
#include "base/env.h"
#include "vmkernel/ha/roster.h"
#include "vmkernel/vm.h"
#include "vmkernel/vmotion/heard.h"
#include "vmkernel/vmotion/notice.h"
#include "vmkernel/vmotion/plan.h"
#include "vmkernel/vmotion/tls.h"
#include "vmkernel/vmotion/vmotion.h"

#define PASSAGE_TOKEN_SIZE OFFER_TOKEN_SIZE
#define PASSAGE_TAG 0x1000u /* of what vmx is asked; counts from here */

struct passage {
	TAILQ_ENTRY(passage) link;
	struct host *host;
	struct datastore *ds; /* in use until the end */
	struct vm *vm;	      /* busy until the end; target: NULL at first */
	bool is_out, is_cold;
	uint32_t number;
	struct requester who;
	char token[PASSAGE_TOKEN_SIZE]; /* of this passage; the stream is known by it */
	char vm_name[128], peer_name[NOTICE_NAME_SIZE];
	struct notice peer;
	struct tls *tls;
	struct buf in; /* read from it */
	uint64_t began_at, ended_at, stopped_at, resumed_at, settle_ns, lock_ns;
	enum vmotion_end end;
	char why[PLAN_WHY_SIZE];

	/* The loop's. */
	const char *phase; /* for lists */
	uint64_t total, remaining, transferred;
	bool is_cancelled, is_over;
	bool tells_still; /* source: the other side wants to hear it; target: it will */
	bool is_new;	   /* target: the VM was not registered here before */
	bool has_lock;	   /* target: and has not given it back: it is registered here */
	bool holds;	   /* it has set vm->has_job */
	bool is_switching; /* source: it is too late for a cancel */
	bool is_asked_end; /* somebody wants the VM to end */

	/* Of the target, the job's. */
	struct vmfs_incarnation source;
	uint64_t lock_token; /* of the .vmx file, as the source has it */
	char path[HA_PATH_SIZE];
	uint32_t taken; /* disks below were taken */

	struct mutex m; /* of what follows */
	struct cond c;
	uint32_t asked; /* tag of what vmx was asked last; 0: has answered */
	int answer;
	char answer_why[PLAN_WHY_SIZE];
	bool is_vmx_gone;
	bool is_still; /* source: the guest has stopped */
	int data_sock; /* target: the stream, -1: not yet */
};

/* NULL without memory. */
struct passage *passage_new(struct host *h, bool is_out);
/* Frees one that is over. */
void passage_free(struct passage *p);

/* Calls fn on the loop's task and waits for it: what it returned. From the job. */
int passage_on_loop(struct passage *p, int (*fn)(struct passage *p, void *arg),
		    void *arg);
/*
 * Sends vmx a request (body is taken; sock too, -1: none) and waits for its answer: 0, or
 * -errno with why. -ECONNRESET: it is gone. From the job.
 */
int passage_ask(struct passage *p, enum msg_type type, json_t *body, int sock, char *why);
/* Its two halves; the second one also waits for what the loop has asked vmx. */
int passage_request(struct passage *p, enum msg_type type, json_t *body, int sock,
		    char *why);
int passage_await(struct passage *p, char *why);
/* Waits until the guest has stopped, or vmx has answered. */
void passage_await_still(struct passage *p);
/* Whatever vmx was asked, it will not be done. */
bool passage_has_failed(struct passage *p);
/* The body of MSG_VMX_SEND or _RECEIVE: a certificate made for it, and the peer's. */
json_t *passage_stream_body(struct passage *p);
/* For lists; on the loop. */
int passage_set_phase(struct passage *p, void *phase);

/* The connection: of struct vmotion_talk. */
int passage_say(void *arg, enum vmotion_word word, json_t *body);
int passage_hear(void *arg, enum vmotion_word *ret_word, json_t **ret_body);
/* Likewise, until deadline: -ETIMEDOUT, and it can be asked again. */
int passage_hear_until(struct passage *p, uint64_t deadline, enum vmotion_word *ret_word,
		       json_t **ret_body);

/* A socket to the peer, on which the preface was sent: sock or -errno with why. */
int passage_connect(struct passage *p, enum preface_kind kind, char *why);
/* TLS on a connected socket, which is taken: 0 or -errno with why. */
int passage_secure(struct passage *p, int sock, char *why);

/*
 * Nobody else has the VM's files from here on, and its end waits: 0; -ESRCH: it has
 * ended, or is about to; -ECANCELED: somebody wants it to stay, if minds_cancel. Blocks
 * until others' jobs with it are over.
 */
int passage_hold(struct passage *p, bool minds_cancel);
void passage_release(struct passage *p);

/* What a guest sees of the processors under KVM, as a text (cpu.c). */
#define VMOTION_CPU_SIZE 160u
const char *vmotion_cpu_text(char *buf);
/* Can what runs on `theirs` go on here? 0, or -EOPNOTSUPP with why. */
int vmotion_cpu_check(const char *theirs, const char *ours, char *why)
	__attribute__((warn_unused_result));

/* Is its storage there? 0; -ESTALE, -EHOSTDOWN with why. Never blocks. */
int vmotion_check_storage(const struct datastore *ds, char *why)
	__attribute__((warn_unused_result));

/* Sides: jobs. */
void passage_go(struct passage *p);   /* going.c */
void passage_come(struct passage *p); /* coming.c */
/* Certificates of this host. */
const struct tls_identity *vmotion_authority(const struct host *h);

#endif
