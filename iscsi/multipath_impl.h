/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_MULTIPATH_IMPL_H
#define ISCSI_MULTIPATH_IMPL_H

/*
 * The inside of a device with several paths, for multipath.c (I/O), ways.c (how it is
 * opened), path.c (what is known of each path), settle.c (when may it be sent again?),
 * pathcopy.c (copies made by the unit) and pathfence.c (fence.h over all paths).
 */
#include "iscsi/alua.h"
#include "iscsi/lun_impl.h"
#include "iscsi/multipath.h"
#include "iscsi/path.h"

#define GHOSTS_MAX 64u
#define RESIDUE_NS (6 * NS_PER_S) /* T_tgt of LOCKING.md A5 */
#define DEFAULT_IOPS 1000u

struct multipath;

struct mp_path {
	struct lun_watch watch; /* first */
	struct multipath *mp;
	struct lun *lun;
	unsigned int index;
	char name[PATH_NAME_SIZE]; /* as in path_info */
	/* Under the device's mutex. */
	bool has_session, is_ready; /* logged in; checked */
	bool is_gone;		    /* the unit is not there */
	bool is_off;		    /* by the administrator */
	bool lacks_key;		    /* this session is to be registered yet */
	bool has_tpgt;		    /* has logged in once */
	uint16_t tpgt;
	enum path_state access; /* as ALUA tells */
	uint64_t refused_until; /* ns; it did not want I/O just now */
	uint64_t better_at;	/* ns; when it came up, or its access became better */
	uint32_t busy;
	struct path_stats stats;
	/* Settling. */
	uint32_t epoch;	   /* + 1: all that was sent here before is settled */
	uint32_t sessions; /* so many logins */
	bool is_dirty;	   /* something was sent since the last settling */
	uint64_t down_at;  /* ns; when the last session ended */
	struct task *settler;
	struct mp_path *via; /* its way */
	bool has_settler_ended;
	uint32_t settler_session;
	int settle_error;
	uint64_t settle_at;
};

/* A write that was given up before it was settled. */
struct ghost {
	uint64_t offset, len;
	unsigned int path;
	uint32_t epoch;
	bool is_caw;
};

struct multipath {
	struct bdev bd; /* first */
	unsigned int count;
	struct mp_path path[ISCSI_PATHS_MAX];
	struct task *task;
	uint8_t tpgs;
	uint64_t failback_ns;
	uint8_t isid[6];
	struct mutex m;
	struct cond c;
	/* Under the mutex. */
	struct path_choice choice;
	struct bdev_io *first, **last; /* waiting */
	uint32_t io_count;	       /* submitted and not done */
	struct ghost ghosts[GHOSTS_MAX];
	unsigned int ghost_count;
	bool is_cut, is_fenced, is_stopping;
	bool is_complaining; /* of an I/O; nothing has worked since */
	bool is_apd, is_apd_over; /* no path takes I/O; for too long */
	uint64_t apd_at, up_at;	  /* ns; when that began, ended */
	struct mp_path *bracket; /* where RESERVE was done */
	bool is_bracket_broken;
	uint64_t pr_key;
	uint32_t events;
	/* ALUA and probes. */
	bool wants_report, is_asking, is_changing;
	uint64_t report_at, activate_at, probe_at;
	unsigned int asked; /* the path asked last */
	struct command ask;
	uint8_t answer[ALUA_ANSWER_SIZE], list[ALUA_LIST_SIZE];
};

/* ---- path.c; with the mutex held ---- */

/* As path_info has it: with the interface only if there are more. Needs no mutex. */
void path_name(char ret_name[PATH_NAME_SIZE], const struct lun_way *way, bool has_nics);
enum path_state path_state(const struct mp_path *p, uint64_t now);
static inline bool path_is_usable(const struct mp_path *p, uint64_t now)
{
	enum path_state s = path_state(p, now);
	return s == PATH_ACTIVE || s == PATH_UNOPTIMIZED;
}
/* The way of the next I/O; NULL: there is none now. */
struct mp_path *path_next(struct multipath *mp, uint64_t now);
/* All that are not off say that there is no such unit (PDL). */
bool paths_all_gone(const struct multipath *mp);
void path_ended(struct mp_path *p, const struct bdev_io *io, enum lun_fate fate,
		uint64_t now);
/* Asks about ports, activates them, looks again at what does not work. */
void paths_tend(struct multipath *mp, uint64_t now);
/* News of a path: lun_impl.h. Takes the mutex. */
void path_news(struct lun_watch *w, enum lun_news news);
/* Does another one take I/O? Takes the mutex. */
bool path_is_spare(struct lun_watch *w);

/* ---- settle.c; with the mutex held ---- */

void ghost_add(struct multipath *mp, const struct bdev_io *io, const struct mp_path *p,
	       uint32_t epoch);
/* Must this one wait for a ghost? */
bool ghost_is_near(struct multipath *mp, const struct bdev_io *io);
/* All that was sent on p is settled. */
void path_settled(struct mp_path *p);
/* Can it be done by a login, soon? */
bool path_can_reinstate(const struct mp_path *p, uint64_t now);
/* Starts and ends what settles. Releases the mutex meanwhile. */
void paths_settle(struct multipath *mp, uint64_t now);
/* Waits for the tasks that settle. The mutex is free. */
void settlers_join(struct multipath *mp);

/* ---- pathfence.c: ops ---- */

void mp_cut(struct bdev *bd);
int mp_mend(struct bdev *bd, uint64_t deadline);
int mp_guard(struct bdev *bd, struct guard_lease *lease);
int mp_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key, uint64_t what);
int mp_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state);
int mp_registrants(struct bdev *bd, struct bdev_registrant *ret, unsigned int max);
uint32_t mp_events(struct bdev *bd);
int mp_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus);
int mp_reinstate(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline);
int mp_reset(struct bdev *bd, uint64_t deadline);
int mp_reserve(struct bdev *bd, bool is_wanted);
int mp_rescan(struct bdev *bd);
uint32_t mp_notices(struct bdev *bd);
int mp_offloads(struct bdev *bd, struct bdev_offloads *ret_offloads);
void mp_piece(struct bdev *bd, uint64_t offset, uint64_t *ret_len, bool *ret_is_data);

/* ---- pathcopy.c: ops ---- */

int mp_copy(struct bdev *to_bd, uint64_t to_offset, struct bdev *from_bd,
	    uint64_t from_offset, uint64_t len);

/* ---- multipath.c ---- */

/* NULL: bd is no such device. */
struct multipath *multipath_of(struct bdev *bd);
/* Takes lun, which is the first path, or returns NULL: no memory. */
struct multipath *mp_new(struct lun *lun);
/* A way that is a path already, or no room: not an error. Blocks for name lookup. */
void mp_add_path(struct multipath *mp, const struct lun_way *way);
/* All paths are there. On failure mp is freed. */
int mp_start(struct multipath *mp, struct bdev **ret_bd)
	__attribute__((warn_unused_result));

#endif
