/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_LUN_IMPL_H
#define ISCSI_LUN_IMPL_H

/*
 * The inside of a LUN, for lun.c (the device), command.c (what becomes of a command),
 * request.c (I/O to CDBs), probe.c (what is it, is it still the same), and those further
 * down; and for the device of several paths (multipath_impl.h).
 */
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/env.h"
#include "bdev/bdev.h"
#include "iscsi/depth.h"
#include "iscsi/initiator.h"
#include "iscsi/limits.h"
#include "iscsi/lun.h"
#include "iscsi/path.h"
#include "iscsi/scsi.h"
#include "iscsi/session.h"
#include "iscsi/transport.h"

#define RECOVERY_TIME_NS (30 * NS_PER_S) /* of an I/O without a deadline of its own */
#define MAX_CHUNK (4u << 20)	   /* bytes in one READ or WRITE */
#define READ_PART (256u << 10)	   /* a longer read is several commands at once */
#define READ_PARTS 16u		   /* at most */
#define MAX_ZERO_CHUNK (64u << 20) /* in one WRITE SAME */
#define MAX_UNMAP_CHUNK (1u << 30) /* in one UNMAP; never 4 GiB: limits.c */
#define ZEROS_SIZE 65536u
#define ZEROS_PIECES (MAX_CHUNK / ZEROS_SIZE)
#define VPD_SIZE 1024u
#define KEYS_ASKED 512u /* reservation keys looked at when a conflict is explained */

enum step { STEP_MAIN, STEP_FLUSH };

/* How an I/O ended on a path, beside its result: in io->priv.word[1]. */
enum lun_fate {
	LUN_ENDED,     /* the result is the unit's, or time was over before it was sent */
	LUN_NOT_SENT,  /* not executed: no session */
	LUN_REFUSED,   /* not executed: this path takes none now (ALUA, no key) */
	LUN_GONE,      /* not executed: there is no such unit behind this path */
	LUN_SETTLED,   /* may have executed; will not any more */
	LUN_UNSETTLED, /* may have executed, and may still */
};

/*
 * Of a device with several paths (multipath.c): each LUN tells it what has happened, and
 * gives back I/O that it cannot do now instead of waiting for its next session. Called
 * in the transport's task, with no lock held; never blocks, calls nothing of the LUN.
 */
enum lun_news {
	LUN_NEWS_SESSION, /* login done: what earlier sessions sent is settled */
	LUN_NEWS_READY,	  /* checked: I/O may go */
	LUN_NEWS_DOWN,	  /* the session is over, and its commands have ended */
	LUN_NEWS_SETTLED, /* commands that were given back as LUN_UNSETTLED are settled */
	LUN_NEWS_ACCESS,  /* what the path may do has changed (ALUA) */
	LUN_NEWS_FENCED,
	LUN_NEWS_GONE, /* there is no such unit behind this path, or another one */
};

struct lun_watch {
	void (*news)(struct lun_watch *w, enum lun_news news);
	/* Could another path take what this one has under way? */
	bool (*is_spare)(struct lun_watch *w);
};

/* Work for the unit: an I/O, perhaps of several SCSI commands, or one plain command. */
struct command {
	struct iscsi_task task;
	struct lun *lun;
	struct bdev_io *io; /* NULL: a plain command, with ended() */
	void (*ended)(struct command *c, int error);
	void *context;
	bool may_repeat; /* harmless if executed twice */
	bool is_probe;	 /* goes before all others, on a session that is being checked */
	bool fails_on_conflict; /* a reservation of another is an answer */
	bool is_for_lun0;	/* REPORT LUNS */
	bool is_choosy; /* a path in standby is an answer */
	bool is_awaited;	/* once sent, without a deadline */
	bool is_busy;		/* with the session */
	enum lun_fate fate;
	uint64_t deadline;	/* ns */
	uint64_t not_before;	/* ns; 0: at once */
	int last_error;		/* why it has not ended yet */
	uint32_t attentions, delays;
	uint32_t round; /* of the queue depth, when it was sent */
	enum step step;
	/* Bytes of the I/O that are done, that are under way; behind the last of it. */
	uint64_t pos, chunk, end;
	struct command *lead; /* of the parts of an I/O the first; it ends last */
	uint32_t parts;	      /* lead: that have not ended */
	int result;	      /* lead: of the worst, with its fate */
	enum lun_fate result_fate;
	uint8_t list[24];    /* UNMAP */
	struct iovec iov;
	TAILQ_ENTRY(command) link;
};

TAILQ_HEAD(command_list, command);

/* A command that the unit may refuse: limits.c. */
struct lun_trial {
	const char *name, *instead; /* half sentences */
	_Atomic enum bdev_offload state;
	_Atomic uint64_t most; /* bytes in one */
};

struct lun {
	struct bdev bd; /* first */
	struct iscsi_owner owner;
	struct iscsi_url url;
	char initiator_name[ISCSI_NAME_SIZE];
	struct iscsi_params params;
	struct iscsi_transport *transport;
	uint64_t command_ns;

	/* What the unit can do; set by probe.c before the device is given out. */
	uint8_t lun_bytes[8];
	struct limits limits;
	struct lun_trial zero, delete, clone;
	struct lun_trial clone_across; /* from another unit */
	struct lun_trial status;       /* GET LBA STATUS */
	atomic_bool is_thin;	       /* LBPME */
	atomic_bool reads_zeros;       /* LBPRZ: where it has no blocks */
	bool has_fua;
	bool is_named; /* by VPD page 83h: what the check of a session goes by */
	uint8_t *zeros;	     /* ZEROS_SIZE bytes */
	struct iovec zeros_iov[ZEROS_PIECES];

	struct mutex m;
	struct cond c;
	/* Under the mutex. */
	struct bdev_io *first_io, **last_io; /* submitted, not yet seen by the task */
	struct command_list plain;	     /* likewise */
	uint32_t io_count;		     /* submitted and not done */
	struct path_stats stats; /* of the only path; of several: in multipath_impl.h */
	const struct task *reserve_owner;    /* who has RESERVEd and not RELEASEd */
	bool is_cut, is_open, has_failed;
	bool is_up; /* is_ready, for other tasks */
	int open_error;
	char open_why[256];
	uint64_t pr_key; /* our reservation key, as registered; 0: none */
	/* PRGENERATION as last read; a target's restart resets it */
	uint32_t pr_generation;
	uint16_t tpgt;	 /* of the portal, told at login */

	atomic_uint events; /* new sessions, resets, changed reservations */
	atomic_uint notices; /* enum bdev_notice */
	_Atomic(struct lun_watch *) watch; /* NULL: this path is the device */
	atomic_uint port_group; /* ALUA: of the port we have logged in at; 0: not told */
	uint8_t tpgs;		/* ALUA: bits of INQUIRY; set by the probe */
	atomic_bool wants_check; /* lun_check_again() */

	/* The transport's task alone. */
	struct command_list queue, delayed, spare;
	bool is_ready;	     /* the session is checked: I/O may go */
	atomic_bool is_gone; /* another disk answers under this name */
	bool is_lost;	     /* the loss of the connection was reported */
	bool is_complaining; /* a failure was reported, nothing has worked since */
	atomic_bool is_caw_proved; /* a COMPARE AND WRITE was executed or miscompared */
	bool has_late; /* the session aborts commands that were given back */
	bool is_reserved, is_reserve_lost;
	uint32_t busy;	     /* commands with the session */
	struct depth depth;  /* commands at once, but for what is urgent */
	/* condition.c */
	atomic_bool is_pdl; /* it has said that it is no more */
	uint64_t pdl_check_at;
	bool is_full;		  /* thin, and out of space */
	bool is_apd, is_apd_over; /* nobody has answered for long, for too long */
	uint64_t down_since;
	char down_why[256]; /* written under the mutex, for path.c */
	atomic_bool is_fenced; /* reserve.c */
	bool is_asking;
	struct command ask;
	uint8_t keys_told[sizeof(struct scsi_pr_in_pdu) + KEYS_ASKED * sizeof(be64)];
	struct command check; /* of a new session */
	uint8_t check_page[VPD_SIZE];
};

/* lun.c */
/* A plain command: blocks until it ends. cdb and memory are borrowed. 0 or -errno. */
struct plain_command {
	uint8_t cdb[16];
	void *data;
	uint32_t len;
	bool is_write;
	bool is_unique;		/* must not be executed twice */
	bool fails_on_conflict; /* else a foreign reservation is waited out */
	bool is_for_lun0;
	bool is_choosy; /* another path may be better: -EBUSY at once if in standby */
	bool is_awaited; /* once it is sent, whatever it takes */
	uint32_t ret_len; /* bytes read */
	bool ret_is_settled; /* the unit works on it no more */
	struct scsi_sense ret_sense;
};
int lun_command(struct lun *lun, struct plain_command *p)
	__attribute__((warn_unused_result));

/*
 * A plain command that its caller keeps until ended(), which is called in the transport's
 * task and calls nothing of the LUN. c is filled but for lun. -ESTALE: it is cut.
 */
int lun_command_start(struct lun *lun, struct command *c)
	__attribute__((warn_unused_result));
/* A portal, and the interface or address to start from ("": any). */
struct lun_way {
	char host[ISCSI_HOST_SIZE];
	uint16_t port;
	char nic[ISCSI_BIND_SIZE];
	unsigned int session; /* of those that go this way; 0: the first */
};
void lun_way_of(const struct iscsi_url *url, struct lun_way *ret_way);
/* The URL leads this way now; its text says so, with the interface if there are more. */
void lun_url_turn(struct iscsi_url *url, const struct lun_way *way);
/*
 * A further path to the unit of `like`, which has been probed: logs in there with this
 * ISID, again and again until close, and lets no I/O through before it is sure that it is
 * the same unit. *ret_lun: the path, set before there is any news of it; or NULL: no
 * memory, no such host (reported). Blocks for name lookup.
 */
void lun_new_path(const struct lun *like, const struct lun_way *way,
		  const uint8_t isid[6], struct lun_watch *watch, struct lun **ret_lun);
/* NULL: bd is no LUN. */
struct lun *lun_of_bdev(struct bdev *bd);
/* Is the unit there again? LUN_NEWS_READY or LUN_NEWS_GONE. Any task, never blocks. */
void lun_check_again(struct lun *lun);
/* As bdev_mend(), but does not wait for the new session. */
int lun_mend_start(struct lun *lun, uint64_t deadline)
	__attribute__((warn_unused_result));

/* In the transport's task: I/O may go, or may not. */
void lun_set_ready(struct lun *lun, bool is_ready);
void lun_tell(struct lun *lun, enum lun_news news);

/* "write" and so on; NULL: "command". */
const char *lun_io_name(const struct bdev_io *io);
/* command.c; all in the transport's task */
void lun_task_done(struct iscsi_task *task);
/* Completes its I/O, after which it is spare, or calls ended(). */
void lun_command_end(struct command *c, int error);
/* A RESERVE or write inside of a bracket that may be broken. */
bool lun_is_unguarded(const struct command *c);
/* Its deadline has passed while it waited. */
void lun_time_over(struct command *c);
/* Takes all that wait, also those that wait for their time, out of lun into *ret_all. */
void lun_take_waiting(struct lun *lun, struct command_list *ret_all);
/* Ends all that wait: with this error. */
void lun_end_waiting(struct lun *lun, int error);
/* One path of several, and it is down: gives all that wait back, but for probes. */
void lun_give_back(struct lun *lun);

/* condition.c; all but notices and lun_say_apd_over() in the transport's task */
uint32_t lun_notices(struct bdev *bd);
/* A unit attention: reports it, and does what it asks for. */
void lun_attention(struct lun *lun, struct scsi_sense s);
void lun_out_of_space(struct lun *lun);
void lun_has_space(struct lun *lun);
/* The unit has said, to this command, that it is no more. */
void lun_pdl(struct lun *lun, const struct command *c);
/* The deadline of this I/O is over, but it is not its own: it waits for a path. */
bool lun_may_outlast(const struct lun *lun, const struct command *c);
/* Of any device of ours: nothing answers, for so many ns by now, and I/O fails. */
void lun_say_apd_over(const struct bdev *bd, uint64_t took);
/* What is due; returns when it wants to be called again, ns. */
uint64_t lun_condition_tick(struct lun *lun, bool has_session, uint64_t now);
/* It is in service again. */
void lun_condition_back(struct lun *lun);

/* request.c */
/* Fills the task for the next part of the command's I/O. 0, or what to end it with. */
int lun_fill_request(struct command *c);
/* A part is done. true: there is more to do. */
bool lun_request_goes_on(struct command *c);
/* The unit does not know the command. true: it is done in another way now. */
bool lun_request_falls_back(struct command *c, struct scsi_sense s);

/* limits.c; none blocks */
int lun_offloads(struct bdev *bd, struct bdev_offloads *ret_offloads);
/* At the end of the probe. */
void lun_trials_init(struct lun *lun);
/* Of the command that is under way; NULL: it is one that every unit has. */
struct lun_trial *lun_trial_of(struct command *c);
bool lun_is_refused(const struct lun_trial *t);
/* It has done it; has not answered in time; has refused it, with chunk bytes. */
void lun_trial_done(struct lun_trial *t);
void lun_trial_late(struct lun_trial *t, uint64_t chunk);
void lun_trial_refused(struct lun *lun, struct lun_trial *t, uint64_t chunk,
		       struct scsi_sense s);

/* xcopy.c; both block */
int lun_copy(struct bdev *to_bd, uint64_t to_offset, struct bdev *from_bd,
	     uint64_t from_offset, uint64_t len);
/* Of the probe: lun->clone, lun->clone_across. */
void lun_probe_copy(struct lun *lun);
/* The same unit by another path: its trials are its own. Does not block. */
void lun_copy_probed_as(struct lun *lun, const struct lun *like);

/* holes.c: as bdev_piece() */
void lun_piece(struct bdev *bd, uint64_t offset, uint64_t *ret_len, bool *ret_is_data);

/* reserve.c: ops of the device */
int lun_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key, uint64_t what);
int lun_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state);
uint32_t lun_events(struct bdev *bd);
int lun_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus);
/* Our key is (not: 0) registered, and this generation was read: on another path. */
void lun_note_key(struct lun *lun, uint64_t key);
void lun_note_generation(struct lun *lun, uint32_t generation);
/* reserve.c, in the transport's task */
bool lun_has_key(struct lun *lun);
/* Is our key still there? If not: lun_fenced(). */
void lun_ask_keys(struct lun *lun);
/*
 * A new session, before any I/O: READ KEYS into lun->keys_told, then: was our key taken
 * away? A target that was restarted may have lost it: that is not the same.
 */
void lun_fill_read_keys(struct lun *lun, struct command *c);
bool lun_is_key_taken(struct lun *lun, const struct command *c);
/* Everything ends with -ESTALE from now on. */
void lun_fenced(struct lun *lun);

/* registrant.c */
int lun_registrants(struct bdev *bd, struct bdev_registrant *ret, unsigned int max);
/* Of an answer of len bytes: up to max are filled; how many there are. */
unsigned int lun_take_registrants(const uint8_t *data, uint32_t len,
				  struct bdev_registrant *ret, unsigned int max);

/* reinstate.c */
int lun_reinstate(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline);
int lun_reset(struct bdev *bd, uint64_t deadline);

/* probe.c */
int lun_probe(struct lun *lun) __attribute__((warn_unused_result));
int lun_rescan(struct bdev *bd);
/* The same unit by another path: what was asked there holds here. */
void lun_probed_as(struct lun *lun, const struct lun *like);
/* The units of the target: how many of ret_luns are filled, or -errno. */
int lun_report_luns(struct lun *lun, uint16_t *ret_luns, unsigned int max)
	__attribute__((warn_unused_result));
/* Starts the check of a new session; sets is_ready at its end. */
void lun_check_start(struct lun *lun);

#endif
