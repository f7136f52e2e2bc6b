/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock protocol where the storage fences (LOCKING.md 4, 7, 8, 10.5): one lock record,
 * a slot, a registration and a journal per host, and an object of two sectors, xa and xb,
 * that must change together.
 *
 * There is no clock. Anybody may suspect anybody at any time; a command in flight takes
 * effect at any later time, or when its sender has long given it up; the answer of a
 * conditional write may be lost; a host may end at any step. A pause is a process that is
 * not scheduled. What holds here holds whatever the clocks do.
 *
 *	Host: LOOK -> ACQUIRE -> HOLD (journal, write, empty) -> RELEASE -> LOOK
 *	        '--> TAKEOVER (claim, fence, replay, empty, clear) -> LOOK
 *	Disk: carries out what is in flight, one command of its host at a time
 *
 * Checked: each write that takes effect is covered by the lock record of that moment
 * (I1); a holder that is not fenced finds the last committed state, whole (I6, I7); no
 * live host waits for ever (invalid end states); with -DNP no endless futile cycle.
 *
 * Size:	NH hosts, ROUNDS each, MAXCRASH deaths
 *		ACCURATE: only those are suspected that have stopped (for "nobody waits")
 *		CERTAIN: every answer arrives, no command is given up (a smaller model)
 *		GIVEUP: a caller may give an acquisition up
 *		HANDOVER: a holder may pass the lock to a live host
 *		TOKENONLY: the journal is not emptied, the token check alone protects
 *		REJOIN: a fenced host mounts again, once, as a new incarnation
 * Faults:	NOFENCE	a victim keeps its registration
 *		NOBARRIER what the target had accepted ends later (LIO does this)
 *		LATEFENCE fenced after its slot was cleared
 *		EARLYCLEAR slot cleared before the replay
 *		NOFLUSH	lock released before the writes in place have ended
 *		NOJOURNAL written in place alone
 *		NOTRIM	released with a full journal, replayed without looking at tokens
 *		KEEP	a lock is used on although its release was sent
 *		GHOST	an acquisition whose fate is unknown is forgotten
 *		REREGISTER a fenced host registers again and goes on as it was
 *		OLDLOCKS a fenced host mounts anew, but trusts what names its old generation
 *		OLDSESSION the same, and what its old session had sent counts as its own
 */
#ifndef NH
#define NH 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef MAXCRASH
#define MAXCRASH 1
#endif
#define NOBODY 9
#define DONE 1
#define DIFFERS 2
#if defined(TOKENONLY) || defined(NOTRIM)
#define NOEMPTY 1
#endif
#if defined(REREGISTER) || defined(OLDLOCKS) || defined(OLDSESSION)
#define REJOIN 1
#endif

/* ---- on the disk ---- */

byte token; bit is_held; byte owner = NOBODY; byte owner_gen;	/* the lock record */
bit slot_on[NH]; byte slot_gen[NH];
byte claimer[NH];	/* 0, or host + 1 */
byte claimer_gen[NH];
bit registered[NH];
byte xa, xb;
bit log_full[NH]; byte log_value[NH]; byte log_token[NH];

/* What the last durable record says xa and xb are, and the next value to write. */
byte committed, next_value;

/* ---- in flight ---- */

bit w_a[NH]; bit w_b[NH]; bit w_log[NH];
byte w_empty[NH];	/* whose log is being emptied, + 1 */
byte w_value[NH]; byte w_token[NH]; byte w_for[NH];
bit refused[NH];	/* told that its key is gone */
/* The conditional write on the lock record, and one that was given up. */
bit cas[NH]; byte cas_old[NH]; bit cas_held[NH]; byte cas_owner[NH]; byte answer[NH];
bit late[NH]; byte late_old[NH]; bit late_held[NH]; byte late_owner[NH];

#ifdef NOBARRIER
bit accepted_a[NH]; bit accepted_b[NH];
#define MAY_WRITE_A (registered[h] || accepted_a[h])
#define MAY_WRITE_B (registered[h] || accepted_b[h])
#define FORGET_A accepted_a[h] = 0;
#define FORGET_B accepted_b[h] = 0;
#else
#define MAY_WRITE_A registered[h]
#define MAY_WRITE_B registered[h]
#define FORGET_A
#define FORGET_B
#endif

/* ---- hosts, as a bystander sees them ---- */

bit dead[NH]; byte deaths; bit fenced[NH];
bit over[NH];		/* unmounted, ended or fenced */
#ifdef REJOIN
bit rejoined[NH];
#endif

/* I1: by the holder that the record names, or a replay for it by its claimer. */
inline check_covered(h)
{
	if
	:: w_for[h] == h ->
		assert(is_held && owner == h && token == w_token[h])
	:: else ->
		assert(is_held && owner == w_for[h] && token == w_token[h] &&
		       claimer[w_for[h]] == h + 1)
	fi
}

inline carry_out_cas(h, old, held, who)
{
	if
	:: !registered[h] ->
		refused[h] = 1;
		answer[h] = DIFFERS
	:: registered[h] && token == old ->
		token = token + 1;
		is_held = held;
		owner = who;
		if
		:: held -> owner_gen = slot_gen[who]
		:: else -> skip
		fi;
	:: else -> skip
	fi
}

proctype Disk(byte h)
{
end:	do
	:: atomic { w_a[h] ->
		if
		:: MAY_WRITE_A -> check_covered(h); xa = w_value[h]
		:: else -> refused[h] = 1
		fi;
		FORGET_A
		w_a[h] = 0 }
	:: atomic { w_b[h] ->
		if
		:: MAY_WRITE_B -> check_covered(h); xb = w_value[h]
		:: else -> refused[h] = 1
		fi;
		FORGET_B
		w_b[h] = 0 }
	:: atomic { w_log[h] ->
		if
		:: registered[h] ->
			assert(is_held && owner == h && token == w_token[h]);
			log_full[h] = 1;
			log_value[h] = w_value[h];
			log_token[h] = w_token[h];
			committed = w_value[h]
		:: else -> refused[h] = 1
		fi;
		w_log[h] = 0 }
	:: atomic { w_empty[h] != 0 ->
		if
		:: registered[h] -> log_full[w_empty[h] - 1] = 0
		:: else -> refused[h] = 1
		fi;
		w_empty[h] = 0 }
	:: atomic { cas[h] ->
		if
		:: registered[h] && token == cas_old[h] ->
			carry_out_cas(h, cas_old[h], cas_held[h], cas_owner[h]);
			answer[h] = DONE
		:: registered[h] && token != cas_old[h] -> answer[h] = DIFFERS
		:: !registered[h] -> refused[h] = 1; answer[h] = DIFFERS
		fi;
		cas[h] = 0 }
	:: atomic { late[h] ->
		if
		:: registered[h] ->
			carry_out_cas(h, late_old[h], late_held[h], late_owner[h])
		:: else -> skip
		fi;
		late[h] = 0 }
	od
}

/*
 * PREEMPT AND ABORT and the barrier behind it, as one step: what stands between the two
 * (a login that is neither let in nor refused, however long, and the claim that is tried
 * again) is not here, but in NOBARRIER, what it would be not to wait for it.
 */
inline fence(o)
{
	atomic {
		if
		:: !registered[me] -> refused[me] = 1
		:: else ->
			registered[o] = 0;
			refused[o] = 1;
			w_log[o] = 0;
			w_empty[o] = 0;
			cas[o] = 0;
			late[o] = 0;
#ifdef NOBARRIER
			accepted_a[o] = w_a[o];
			accepted_b[o] = w_b[o]
#else
			w_a[o] = 0;
			w_b[o] = 0
#endif
		fi
	}
}

inline leave_if_refused()
{
	if
	:: refused[me] -> goto FENCED
	:: else -> skip
	fi
}

/* Until it has ended. A host that mounts anew does not wait for what it had sent. */
#ifdef REJOIN
inline await(ended)
{
	if
	:: ended -> leave_if_refused()
	:: refused[me] -> goto FENCED
	fi
}
#else
inline await(ended)
{
	ended;
	leave_if_refused()
}
#endif

inline send_cas(old, held, who)
{
	atomic {
		cas_old[me] = old;
		cas_held[me] = held;
		cas_owner[me] = who;
		answer[me] = 0;
		cas[me] = 1
	}
}

/* Time is up: the command may still take effect. */
inline give_up_cas()
{
	late[me] = 1;
	late_old[me] = cas_old[me];
	late_held[me] = cas_held[me];
	late_owner[me] = cas_owner[me];
	cas[me] = 0
}

#ifdef REJOIN
#define NAMES_ME (owner == me && owner_gen == my_gen)
#define MAY_LEAVE true
#else
#define MAY_LEAVE !cas[me]
#define NAMES_ME (owner == me)
#endif

proctype Host(byte me)
{
	byte round, seen_token, seen_owner, seen_gen, my_token, value;
	bit seen_held, is_needed;
#ifdef REJOIN
	byte my_gen = 1;
#endif
	{
	skip;	/* mounted: slot and key are there from the start */
LOOK:	atomic {
		seen_token = token;
		seen_held = is_held;
		seen_owner = owner;
		seen_gen = owner_gen;
		is_needed = 0
	};
	if
#if !defined(REJOIN) || defined(REREGISTER) || defined(OLDLOCKS)
	/* A ghost, or handed over to us: ours. */
	:: seen_held && seen_owner == me -> my_token = seen_token; goto HOLD
#else
	:: seen_held && seen_owner == me && seen_gen == my_gen ->
		my_token = seen_token; goto HOLD
#endif
	:: else -> skip
	fi;
	if
	:: round >= ROUNDS -> goto LEAVE
	:: else -> skip
	fi;
	if
	:: !seen_held -> goto ACQUIRE
	:: seen_held && (!slot_on[seen_owner] || slot_gen[seen_owner] != seen_gen) ->
		goto ACQUIRE			/* stale: its generation is over */
	:: seen_held && slot_on[seen_owner] && slot_gen[seen_owner] == seen_gen ->
		if
		:: (token != seen_token || slot_gen[seen_owner] != seen_gen) -> goto LOOK
#ifdef ACCURATE
		:: (dead[seen_owner] || (over[seen_owner] && fenced[seen_owner])) ->
			goto TAKEOVER
#else
		:: goto TAKEOVER
#endif
		fi
	fi;

ACQUIRE: send_cas(seen_token, 1, me);
	if
	:: atomic { refused[me] && MAY_LEAVE -> answer[me] = 0 }; goto FENCED
	:: atomic { answer[me] == DONE -> answer[me] = 0; my_token = seen_token + 1 };
		goto HOLD
	:: atomic { answer[me] == DIFFERS -> answer[me] = 0 };
		leave_if_refused();
		goto LOOK
#ifndef CERTAIN
	:: atomic { answer[me] != 0 -> answer[me] = 0 };	/* the answer is lost */
		leave_if_refused();
#ifdef GHOST
		round = ROUNDS;
		goto LEAVE
#else
		goto LOOK
#endif
	:: atomic { cas[me] && !late[me] -> give_up_cas() };
#ifdef GIVEUP
		if
		:: goto LOOK
		:: round = ROUNDS; goto LEAVE
		fi
#else
		goto LOOK
#endif
#endif
	fi;

HOLD:	/* What a host reads that was fenced meanwhile may be anything. */
	assert(!(registered[me] && is_held && NAMES_ME && token == my_token) ||
	       (xa == xb && xa == committed));
	if
	:: round >= ROUNDS -> seen_owner = NOBODY; goto RELEASE	/* not wanted any more */
	:: else -> round = round + 1
	fi;
	assert(token < 100);	/* a byte of the model must not wrap */
	atomic { next_value = next_value + 1; value = next_value };
#ifndef NOJOURNAL
	atomic {
		w_value[me] = value;
		w_token[me] = my_token;
		w_for[me] = me;
		w_log[me] = 1
	};
	await(!w_log[me]);
#else
	atomic {
		w_value[me] = value;
		w_token[me] = my_token;
		w_for[me] = me;
		committed = value
	};
#endif
	atomic { w_a[me] = 1; w_b[me] = 1 };
#ifndef NOFLUSH
	await((!w_a[me] && !w_b[me]));
#endif
#ifndef NOEMPTY
	w_empty[me] = me + 1;
	await(w_empty[me] == 0);
#endif
	seen_owner = NOBODY;
#ifdef HANDOVER
	if
	:: me != 0 && !over[0] -> seen_owner = 0
	:: me != 1 && !over[1] -> seen_owner = 1
	:: skip
	fi;
#endif

RELEASE: send_cas(my_token, (seen_owner != NOBODY), seen_owner);
	if
	:: atomic { refused[me] && MAY_LEAVE -> answer[me] = 0 }; goto FENCED
	:: atomic { answer[me] == DONE -> answer[me] = 0 }; goto LOOK
	:: atomic { answer[me] == DIFFERS -> answer[me] = 0 };
		leave_if_refused();
		goto UNSURE
#ifndef CERTAIN
	:: atomic { answer[me] != 0 -> answer[me] = 0 };
		leave_if_refused();
		goto UNSURE
	:: atomic { cas[me] && !late[me] -> give_up_cas() }; goto UNSURE
#endif
	fi;
UNSURE:	/* rule R: the sector itself tells */
	if
	:: token == my_token ->
#ifdef KEEP
		if
		:: round < ROUNDS -> goto HOLD
		:: else -> goto RELEASE
		fi
#else
		goto RELEASE
#endif
	:: token != my_token -> goto LOOK
	fi;

TAKEOVER: /* of seen_owner's slot in generation seen_gen */
	atomic {
		is_needed = 0;
		if
		:: !registered[me] -> refused[me] = 1
		:: registered[me] &&
		   (!slot_on[seen_owner] || slot_gen[seen_owner] != seen_gen) -> skip
		:: registered[me] &&
		   slot_on[seen_owner] && slot_gen[seen_owner] == seen_gen ->
			if
			:: claimer[seen_owner] == 0 ->
				claimer[seen_owner] = me + 1;
				claimer_gen[seen_owner] = slot_gen[me];
				is_needed = 1
			:: claimer[seen_owner] == me + 1 ->
#ifdef REJOIN
				claimer_gen[seen_owner] = slot_gen[me];
#endif
				is_needed = 1
			:: else ->
				if
				:: (!slot_on[claimer[seen_owner] - 1] ||
				    slot_gen[claimer[seen_owner] - 1] !=
				    claimer_gen[seen_owner]) ->
					claimer[seen_owner] = me + 1;
					claimer_gen[seen_owner] = slot_gen[me];
					is_needed = 1
				:: else ->
					is_needed = 0;
					seen_held = 0;
					seen_token = claimer[seen_owner] - 1
				fi
			fi
		fi
	};
	leave_if_refused();
	if
	:: is_needed -> skip
	:: !is_needed && seen_held -> goto LOOK
	:: !is_needed && !seen_held ->	/* seen_token is the host that replays for it */
		if
		:: (claimer[seen_owner] != seen_token + 1 ||
		    slot_gen[seen_owner] != seen_gen) -> seen_held = 1; goto LOOK
#ifdef ACCURATE
		:: (dead[seen_token] || (over[seen_token] && fenced[seen_token])) ->
			atomic {
				seen_owner = seen_token;
				seen_gen = slot_gen[seen_token];
				seen_held = 1
			};
			goto TAKEOVER
#else
		:: seen_token != me ->
			atomic {
				seen_owner = seen_token;
				seen_gen = slot_gen[seen_token];
				seen_held = 1
			};
			goto TAKEOVER
#endif
		fi
	fi;
#if !defined(NOFENCE) && !defined(LATEFENCE)
	fence(seen_owner);
	leave_if_refused();
#endif
#ifdef EARLYCLEAR
	atomic {
		if
		:: registered[me] && claimer[seen_owner] == me + 1 &&
		   slot_gen[seen_owner] == seen_gen ->
			slot_gen[seen_owner] = seen_gen + 1;
			slot_on[seen_owner] = 0
		:: else -> skip
		fi
	};
#endif
	/* Replay, if the lock is as it was when the record was written. */
	atomic {
		is_needed = 0;
		if
#ifdef NOTRIM
		:: log_full[seen_owner] -> is_needed = 1
#else
		:: log_full[seen_owner] && is_held && owner == seen_owner &&
		   token == log_token[seen_owner] -> is_needed = 1
#endif
		:: else -> skip
		fi;
		if
		:: is_needed ->
			w_value[me] = log_value[seen_owner];
			w_token[me] = log_token[seen_owner];
			w_for[me] = seen_owner
		:: else -> skip
		fi
	};
	if
	:: is_needed ->
		atomic { w_a[me] = 1; w_b[me] = 1 };
		await((!w_a[me] && !w_b[me]))
	:: else -> skip
	fi;
	w_empty[me] = seen_owner + 1;
	await(w_empty[me] == 0);
	/* From here on every lock that names this generation is stale. */
	atomic {
		if
		:: !registered[me] -> refused[me] = 1
		:: registered[me] && claimer[seen_owner] == me + 1 &&
		   slot_gen[seen_owner] == seen_gen && slot_on[seen_owner] ->
			slot_gen[seen_owner] = seen_gen + 1;
			slot_on[seen_owner] = 0;
			claimer[seen_owner] = 0
		:: else -> skip
		fi
	};
	leave_if_refused();
#ifdef LATEFENCE
	fence(seen_owner);
	leave_if_refused();
#endif
	goto LOOK;

FENCED:	fenced[me] = 1;
	over[me] = 1;
#ifdef REJOIN
	if
	:: rejoined[me] -> goto OUT
	:: else -> rejoined[me] = 1
	fi;
#ifdef REREGISTER
	atomic {
		registered[me] = 1;
		refused[me] = 0;
		fenced[me] = 0;
		over[me] = 0
	};
	goto LOOK;
#else
	/*
	 * A new incarnation: its own old slot is taken again when it is free (a real host
	 * would take any), with a later generation, and a session that knows nothing of
	 * what the old one has sent.
	 */
end_rejoin:
	atomic {
		!slot_on[me] ->
		slot_on[me] = 1;
		slot_gen[me] = slot_gen[me] + 1;
		my_gen = slot_gen[me];
		registered[me] = 1;
		refused[me] = 0;
		fenced[me] = 0;
		over[me] = 0;
		round = 0;
#ifndef OLDSESSION
		w_a[me] = 0;
		w_b[me] = 0;
		w_log[me] = 0;
		w_empty[me] = 0;
		cas[me] = 0;
		late[me] = 0;
#endif
		answer[me] = 0
	};
	goto LOOK;
#endif
#else
	goto OUT;
#endif
LEAVE:	over[me] = 1;
#ifndef GHOST
end:	/* A lock that is ours without our knowledge is given back. */
	atomic {
		(is_held && NAMES_ME && owner_gen == slot_gen[me] && slot_on[me] &&
		 !cas[me]) ->
		my_token = token;
		over[me] = 0;
		seen_owner = NOBODY
	};
	goto RELEASE;
#endif
OUT:	skip
	} unless { dead[me] };
	over[me] = 1
}

proctype Death()
{
	byte who;

	do
	:: deaths < MAXCRASH ->
		if
		:: who = 0
		:: who = 1
#if NH > 2
		:: who = 2
#endif
		fi;
		if
		:: atomic { !dead[who] && !over[who] ->
			dead[who] = 1;
			deaths = deaths + 1 }
		:: else -> break
		fi
	:: break
	od
}

init
{
	byte i;

	atomic {
		do
		:: i < NH ->
			slot_on[i] = 1;
			slot_gen[i] = 1;
			registered[i] = 1;
			run Disk(i);
			run Host(i);
			i = i + 1
		:: else -> break
		od;
		run Death()
	}
}
