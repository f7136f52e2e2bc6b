/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several locks at a time (LOCKING.md 8, 10.1): LOCKS of them, in rank order of their
 * numbers. A transaction reads what it needs without a lock, then takes all its locks,
 * each only if it is as it was read; when one differs it lets go of all and reads again.
 * After TRIES it is patient: it waits for each lock in rank order and keeps those before.
 *
 * A transaction may find that it needs one more. Behind those that it has it waits for
 * it; before them it tries once, and if that fails lets go of all and begins anew.
 *
 * Locks stay with their host after use and are given back to who wants them. A dead
 * host's locks can be had once somebody has taken it over.
 *
 * Checked: what is in use is held; nobody waits for ever (invalid end states); with -DNP
 * somebody always finishes in the end.
 *
 * Size:	HOSTS, LOCKS (2 or 3), ROUNDS transactions each, DEATHS
 * Faults:	REVERSED one host takes its locks in falling rank
 *		STUBBORN waits for a lock out of order
 *		MISER	does not give back what it keeps while it waits itself
 *		HASTY	is never patient
 *		NOCOMPARE takes a lock that is not as it was read
 */
#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#if DEATHS > 0
#define UNLESS_DEAD unless { dead[me] }
#else
#define UNLESS_DEAD
#endif
#ifndef LOCKS
#define LOCKS 3
#endif
#define LAST (LOCKS - 1)
#define ALL (BIT(LOCKS) - 1)
#define TRIES 2
#define NOBODY 9
#define BIT(l) (1 << (l))
#define IN(set, l) (((set) >> (l)) & 1)

byte owner[LOCKS] = NOBODY;
byte token[LOCKS];
byte content[LOCKS];	/* changed at each use: what a reader would have read */
bit dead[HOSTS]; bit is_over[HOSTS];	/* is_over: taken over, its generation ended */
byte deaths;
byte wants[HOSTS];	/* 0, or lock + 1 */

#define IS_DEAD(l) (owner[l] != NOBODY && dead[owner[l]] && !is_over[owner[l]])
#define IS_FREE(l) (owner[l] == NOBODY || is_over[owner[l]])
#define IS_WANTED(l) (wants[0] == l + 1 || wants[1] == l + 1 || WANTED_BY_2(l))
#if HOSTS > 2
#define WANTED_BY_2(l) (wants[2] == l + 1)
#else
#define WANTED_BY_2(l) false
#endif
#define MAY_GIVE(l) (owner[l] == me && !IN(pinned, l) && IS_WANTED(l))

inline give(l)
{
	owner[l] = NOBODY;
	token[l] = token[l] + 1
}

inline take(l)
{
	if
	:: owner[l] != me -> owner[l] = me; token[l] = token[l] + 1
	:: else -> skip
	fi;
	pinned = pinned | BIT(l);
	wants[me] = 0
}

/* One step of the maintenance task of a host that waits. */
#ifdef MISER
#define GIVE_SOME_BACK
#elif LOCKS > 2
#define GIVE_SOME_BACK \
	:: atomic { MAY_GIVE(0) -> give(0) } \
	:: atomic { MAY_GIVE(1) -> give(1) } \
	:: atomic { MAY_GIVE(2) -> give(2) }
#else
#define GIVE_SOME_BACK \
	:: atomic { MAY_GIVE(0) -> give(0) } \
	:: atomic { MAY_GIVE(1) -> give(1) }
#endif

/* Until lock l is ours. */
inline wait_for(l)
{
	wants[me] = l + 1;
	do
	:: atomic { (owner[l] == me || IS_FREE(l)) -> take(l); break }
	:: atomic { IS_DEAD(l) -> is_over[owner[l]] = 1 }
	GIVE_SOME_BACK
	od
}

inline first_lock()
{
#ifdef REVERSED
	if
	:: me == 1 -> l = LOCKS - 1
	:: else -> l = 0
	fi
#else
	l = 0
#endif
}

inline next_lock()
{
#ifdef REVERSED
	if
	:: me == 1 && l == 0 -> l = LOCKS
	:: me == 1 && l > 0 -> l = l - 1
	:: else -> l = l + 1
	fi
#else
	l = l + 1
#endif
}

inline draw_need(least)
{
	if
	:: least <= 3 -> needed = 3
#if LOCKS > 2
	:: least <= 5 -> needed = 5
	:: least <= 6 -> needed = 6
	:: needed = 7
#else
	:: least <= 1 -> needed = 1
	:: least <= 2 -> needed = 2
#endif
	fi
}

/* What was read is of no use any more: fewer states. */
inline forget()
{
	l = 0;
	do
	:: l < LOCKS -> seen[l] = 0; was[l] = 0; l = l + 1
	:: else -> break
	od;
	l = 0
}

proctype Host(byte me; byte needed)
{
	byte pinned, l, tries, round, extra;
	byte seen[LOCKS], was[LOCKS];
	bit is_alike;
	{
	skip;
NEXT:	if
	:: round >= ROUNDS -> goto LEAVE
	:: else -> round = round + 1
	fi;
	tries = 0;
	if
	:: round == 1 -> skip
	:: round > 1 -> draw_need(0)
	fi;

READ:	if
#ifndef HASTY
	:: tries >= TRIES -> goto PATIENT
#endif
	:: else -> tries = tries + 1
	fi;
	atomic {
		l = 0;
		extra = LOCKS;
		do
		:: l < LOCKS ->
			if
			:: IN(needed, l) -> seen[l] = token[l]; was[l] = content[l]
			:: else -> skip
			fi;
			if
			:: IN(needed, l) && owner[l] != me && !IS_FREE(l) -> extra = l
			:: else -> skip
			fi;
			l = l + 1
		:: else -> break
		od;
		l = 0;
		if
		:: extra == LOCKS -> skip
		:: else -> forget()
		fi
	};
	if
	:: extra == LOCKS -> skip
	:: else ->
		/* Somebody has it: waits without any. */
		wait_for(extra);
		pinned = 0;
		goto READ
	fi;

	first_lock();
	do
	:: l < LOCKS ->
		atomic {
			is_alike = 1;
			if
			:: !IN(needed, l) -> skip
#ifdef NOCOMPARE
			:: IN(needed, l) && (owner[l] == me || IS_FREE(l)) -> take(l)
			:: IN(needed, l) && owner[l] != me && !IS_FREE(l) -> is_alike = 0
#else
			:: IN(needed, l) && token[l] == seen[l] &&
			   (owner[l] == me || IS_FREE(l)) -> take(l)
			:: IN(needed, l) && !(token[l] == seen[l] &&
			   (owner[l] == me || IS_FREE(l))) -> is_alike = 0
#endif
			fi
		};
		if
		:: is_alike -> next_lock()
		:: else -> atomic { pinned = 0; forget() }; goto READ
		fi
	:: else -> break
	od;
	goto USE;

PATIENT: first_lock();
	do
	:: l < LOCKS ->
		if
		:: IN(needed, l) -> wait_for(l); was[l] = content[l]
		:: else -> skip
		fi;
		next_lock()
	:: else -> break
	od;

USE:	/* One more? */
	extra = LOCKS;
	if
#if LOCKS > 2
	:: needed == 3 -> extra = 2
	:: needed == 5 -> extra = 1
	:: needed == 6 -> extra = 0
#else
	:: needed == 1 -> extra = 1
	:: needed == 2 -> extra = 0
#endif
	:: skip
	fi;
	if
	:: extra == LOCKS -> skip
#ifdef STUBBORN
	:: extra < LOCKS -> wait_for(extra); needed = ALL
#else
	:: extra == LAST -> wait_for(LAST); needed = ALL
	:: extra < LAST ->
		needed = ALL;
		atomic {
			if
			:: owner[extra] == me || IS_FREE(extra) -> take(extra)
			:: else -> pinned = 0; tries = TRIES; forget()
			fi
		};
		if
		:: pinned == 0 -> goto READ
		:: else -> skip
		fi
#endif
	fi;
	l = 0;
	atomic {
		do
		:: l < LOCKS ->
			if
			:: IN(needed, l) ->
				assert(owner[l] == me && !is_over[me]);
				/* What was read is what is there, but for the late one. */
				assert(l == extra || content[l] == was[l]);
				content[l] = content[l] + 1
			:: else -> skip
			fi;
			l = l + 1
		:: else -> break
		od;
		forget()
	};
progress:
	pinned = 0;
	goto NEXT;
LEAVE:
end:	do
	:: atomic { owner[0] == me -> give(0) }
	:: atomic { owner[1] == me -> give(1) }
#if LOCKS > 2
	:: atomic { owner[2] == me -> give(2) }
#endif
	od
	} UNLESS_DEAD;
	skip
}

proctype Death()
{
	do
	:: deaths < DEATHS ->
		if
		:: atomic { !dead[0] -> dead[0] = 1; wants[0] = 0 }
		:: atomic { !dead[1] -> dead[1] = 1; wants[1] = 0 }
		:: break
		fi;
		deaths = deaths + 1
	:: else -> break
	od
}

init
{
	byte i, needed;

	/* Hosts are alike: what they need at first is in the order of their numbers. */
	atomic {
		do
		:: i < HOSTS ->
#ifdef REVERSED
			draw_need(0);
#else
			draw_need(needed);
#endif
			run Host(i, needed);
			i = i + 1
		:: else -> break
		od;
#if DEATHS > 0
		run Death()
#endif
	}
}
