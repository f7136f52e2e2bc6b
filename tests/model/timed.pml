/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timed mode (LOCKING.md 6, 7.1, 14): the storage does not help; what protects is the
 * lease, the guard, and the bound on what lives on at the target.
 *
 * Time is a tick at which every age grows by one. A tick does not come while something is
 * due: the guard's cut, or the end of a command whose session was cut. The victim holds
 * the lock and writes; the observer watches its slot and takes over. The victim may stop
 * for any time at any step, also between the look at its lease and the write.
 *
 *	STOP	lease age from which nothing more is written	(T_stop)
 *	CUT	lease age at which the guard cuts its sessions	(T_cut)
 *	RES	life of a command at the target after the cut	(T_tgt)
 *	DEAD	how long the observer sees one image		(T_dead)
 *
 * The lease is counted from the submission of the last heartbeat known to have run.
 * Checked: no write of the victim takes effect once the lock is the observer's.
 *
 * Faults: DEAD below CUT + RES + 1; NOGUARD; COMPLETION (the lease counts from the
 * answer); OBSISSUE (the observer counts from the start of its read); PLAINRECLAIM,
 * PLAINCLAIM (a plain write in place of the conditional one).
 */
#ifndef STOP
#define STOP 2
#endif
#ifndef CUT
#define CUT 3
#endif
#ifndef RES
#define RES 1
#endif
#ifndef DEAD
#define DEAD (CUT + RES + 1)
#endif
#ifndef BEATS
#define BEATS 3
#endif
#ifndef WRITES
#define WRITES 3
#endif
#define FOREVER 12

/* ---- on the disk ---- */
byte stamp = 1;
bit is_claimed;
byte owner = 0;

/* ---- the victim ---- */
byte age;		/* of the lease */
bit is_cut;
bit is_gone;		/* killed, or it knows that it was claimed */
bit beat; byte beat_age; byte beat_old; byte beat_answer;
byte beats;
bit wr; byte since_cut; bit wr_cut;
byte writes;

/* ---- the observer ---- */
byte watched; bit is_watching;

inline older(x)
{
	if
	:: x < FOREVER -> x = x + 1
	:: else -> skip
	fi
}

proctype Clock()
{
end:	do
	:: atomic {
#ifndef NOGUARD
		!(age >= CUT && !is_cut && !is_gone) &&
#endif
		!(wr && wr_cut && since_cut >= RES) &&
		!(owner == 1 && watched >= FOREVER) &&
		(age < FOREVER || watched < FOREVER) ->
		older(age);
		if
		:: beat || beat_answer != 0 -> older(beat_age)
		:: else -> skip
		fi;
		if
		:: wr && wr_cut -> older(since_cut)
		:: else -> skip
		fi;
		if
		:: is_watching -> older(watched)
		:: else -> skip
		fi }
	od
}

#ifndef NOGUARD
/* Another process: it runs while the victim's main one is stopped. */
proctype Guard()
{
end:	do
	:: atomic { age >= CUT && !is_cut && !is_gone ->
		is_cut = 1;
		if
		:: wr -> wr_cut = 1; since_cut = 0
		:: else -> skip
		fi }
	od
}
#endif

proctype Target()
{
end:	do
	:: atomic { wr -> assert(owner == 0); wr = 0; wr_cut = 0 }
	:: atomic { wr && wr_cut -> wr = 0; wr_cut = 0 }
	:: atomic { beat ->
#ifdef PLAINRECLAIM
		if
		:: is_cut -> stamp = beat_old + 1; is_claimed = 0; beat_answer = 1
		:: else ->
			if
			:: stamp == beat_old && !is_claimed ->
				stamp = stamp + 1; beat_answer = 1
			:: else -> beat_answer = 2
			fi
		fi;
#else
		if
		:: stamp == beat_old && !is_claimed -> stamp = stamp + 1; beat_answer = 1
		:: else -> beat_answer = 2
		fi;
#endif
		beat = 0 }
	od
}

proctype Victim()
{
	byte known = 1;

end:	do
	:: atomic { !beat && beat_answer == 0 && beats < BEATS && !is_gone ->
		beat = 1;
		beat_age = 0;
		beat_old = known;
		beats = beats + 1 }
	:: atomic { beat_answer == 1 ->
		beat_answer = 0;
		known = beat_old + 1;
#ifdef COMPLETION
		age = 0;
#else
		age = beat_age;
#endif
		beat_age = 0;
		if
		:: age < CUT && is_cut -> is_cut = 0	/* reclaimed: new sessions */
		:: else -> skip
		fi }
	:: atomic { beat_answer == 2 -> beat_answer = 0; beat_age = 0; is_gone = 1 }
	:: atomic { !wr && writes < WRITES && !is_gone && !is_cut && age < STOP -> skip };
		/* the gate is open; it may sleep here */
		atomic {
			if
			:: !is_cut && !is_gone -> wr = 1; wr_cut = 0; writes = writes + 1
			:: else -> skip
			fi
		}
	od
}

proctype Observer()
{
	byte image;
again:
#ifdef OBSISSUE
	atomic { watched = 0; is_watching = 1 };
	image = stamp;
#else
	is_watching = 0;
	atomic { image = stamp; watched = 0; is_watching = 1 };
#endif
end:	if
	:: atomic { watched >= DEAD -> skip }
	:: atomic { stamp != image -> skip }; goto again
	fi;
#ifdef PLAINCLAIM
	if
	:: stamp == image -> skip
	:: else -> goto again
	fi;
	is_claimed = 1;
#else
	atomic {
		if
		:: stamp == image -> is_claimed = 1
		:: else -> goto again
		fi
	};
#endif
	owner = 1
}

init
{
	atomic {
		run Clock();
		run Target();
		run Victim();
		run Observer();
#ifndef NOGUARD
		run Guard()
#endif
	}
}
