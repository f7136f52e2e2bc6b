/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared modes (LOCKING.md 3.2): one lock record with a list of ROOM holders, hosts that
 * join, leave, upgrade and downgrade, that die, are taken over and mount again.
 *
 * A holder is (host, generation). The slot of a dead host, or of one that somebody took
 * for dead, is ended in one step here (fence, replay, clear: fence.pml): its generation
 * grows. Who finds its own generation over mounts again with a later one, and has lost
 * what it held. A join drops the stale holders that it finds.
 *
 * A conditional write compares the whole record. Its answer may be lost, or it may be
 * given up and take effect later; then the host reads and decides (rule R): a list that
 * shows its own generation makes it a holder, whoever has joined since.
 *
 * The object is two sectors. Under EXCLUSIVE both are written, one after the other;
 * under SHARED both are read. Under MULTI nothing is read or written here.
 *
 * Checked: who believes that it holds the lock, and was not fenced, stands in the record
 * (I12); EXCLUSIVE with nobody, SHARED with SHARED, MULTI with MULTI; the list has no
 * duplicates, is as long as it says and not longer than its room (I3); a reader sees one
 * state; nobody waits for ever (L4: invalid end states).
 *
 * Size:	HOSTS, ROUNDS acquisitions each, DEATHS, SUSPICIONS (takings over of live
 *		hosts), LATE (commands that may be given up or lose their answer, each host)
 *		FEW_MODES: no MULTI
 * Faults:	OVERFILL joins a full list
 *		NOCOMPACT leaves a list without moving the last holder into the gap
 *		MIXED	SHARED joins MULTI
 *		PUSHY	upgrades although others are in the list
 *		PATIENT	waits for the others to leave, to upgrade
 *		DIRTY	downgrades before the second sector is written
 *		SLOTFIRST looks at slots, then at the record, and takes any other generation
 *			for a later one
 *		LISTGHOST forgets a join when it reads a record that is not its own image
 */
#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef SUSPICIONS
#define SUSPICIONS 0
#endif
#ifndef LATE
#define LATE 1
#endif
#if DEATHS > 0
#define UNLESS_DEAD unless { dead[me] }
#else
#define UNLESS_DEAD
#endif
#define ROOM 2
#define FREE 0
#define EXCLUSIVE 1
#define SHARED 2
#define MULTI 3

/* A holder in a byte; 0: none. */
#define HOLDER(h, g) (((h) + 1) * 16 + (g))
#define HOST(e) ((e) / 16 - 1)
#define GEN(e) ((e) % 16)

/* ---- on the disk ---- */

byte token, mode, count, list0, list1;
byte gen[HOSTS] = 1;
bit is_on[HOSTS] = 1;
bit x, y;

/* A conditional write that was given up, whole as it was sent. */
bit late[HOSTS];
byte old_token[HOSTS], old_mode[HOSTS], old_count[HOSTS], old0[HOSTS], old1[HOSTS];
byte new_mode[HOSTS], new_count[HOSTS], new0[HOSTS], new1[HOSTS];

/* ---- what hosts believe ---- */

byte has[HOSTS];	/* a mode */
byte my_gen[HOSTS] = 1;
bit dead[HOSTS], over[HOSTS];
byte deaths, suspicions;

#define IS_FENCED(h) (gen[h] != my_gen[h] || !is_on[h])
#define LISTS(h) (list0 == HOLDER(h, my_gen[h]) || list1 == HOLDER(h, my_gen[h]))

inline check_record()
{
	assert(count <= ROOM);
	assert((mode == FREE) == (count == 0));
	assert(mode != EXCLUSIVE || count == 1);
	assert(count < 1 || list0 != 0);
	assert(count < 2 || (list1 != 0 && list1 != list0));
	assert(token < 200)
}

/* The beliefs of a and b do not clash, and each stands in the record. */
inline check_pair(a, b)
{
	if
	:: has[a] != FREE && !IS_FENCED(a) && !dead[a] ->
		assert(LISTS(a) && mode == has[a]);
		assert(has[b] == FREE || IS_FENCED(b) || dead[b] ||
		       (has[b] == has[a] && has[a] != EXCLUSIVE))
	:: else -> skip
	fi
}

inline check_beliefs()
{
	check_record();
	check_pair(0, 1);
	check_pair(1, 0);
#if HOSTS > 2
	check_pair(0, 2);
	check_pair(2, 0);
	check_pair(1, 2);
	check_pair(2, 1);
#endif
}

inline write_record(a_mode, a_count, first, second)
{
	token = token + 1;
	mode = a_mode;
	count = a_count;
	list0 = first;
	list1 = second;
	check_beliefs()
}

proctype Disk(byte h)
{
end:	do
	:: atomic { late[h] ->
		if
		:: !IS_FENCED(h) && token == old_token[h] && mode == old_mode[h] &&
		   count == old_count[h] && list0 == old0[h] && list1 == old1[h] ->
			write_record(new_mode[h], new_count[h], new0[h], new1[h])
		:: else -> skip
		fi;
		late[h] = 0 }
	od
}

/* The slot of h ends. What it was writing is replayed, or never happened. */
inline end_slot(h)
{
	if
	:: is_on[h] ->
		is_on[h] = 0;
		gen[h] = gen[h] + 1;
		late[h] = 0;
		y = x
	:: else -> skip
	fi
}

/* e is stale: its slot has a later generation. */
#ifdef SLOTFIRST
#define STALE(e) ((e) != 0 && slot[HOST(e)] != GEN(e))
#else
#define STALE(e) ((e) != 0 && gen[HOST(e)] > GEN(e))
#endif

inline read_record()
{
#ifdef SLOTFIRST
	atomic {
		slot[0] = gen[0];
		slot[1] = gen[1];
#if HOSTS > 2
		slot[2] = gen[2];
#endif
	};
#endif
	atomic { t = token; m = mode; n = count; e0 = list0; e1 = list1 };
	/* Later; generations only grow, and the record is compared when it is written. */
	atomic {
		is_live0 = n > 0 && !STALE(e0);
		is_live1 = n > 1 && !STALE(e1)
	}
}

/*
 * Compare with what was read, write (m_new, n_new, f0, f1). outcome: 1 it is written,
 * 2 it differs, 3 nobody knows.
 */
inline cas(m_new, n_new, f0, f1)
{
	if
	:: atomic {
		if
		:: IS_FENCED(me) -> outcome = 2
		:: !IS_FENCED(me) && token == t && mode == m && count == n &&
		   list0 == e0 && list1 == e1 ->
			write_record(m_new, n_new, f0, f1);
			outcome = 1
		:: else -> outcome = 2
		fi }
	:: atomic { unknowns < LATE && !late[me] ->
		unknowns = unknowns + 1;
		outcome = 3;
		if
		:: !IS_FENCED(me) && token == t && mode == m && count == n &&
		   list0 == e0 && list1 == e1 ->
			write_record(m_new, n_new, f0, f1)
		:: skip ->
			late[me] = 1;
			old_token[me] = t;
			old_mode[me] = m;
			old_count[me] = n;
			old0[me] = e0;
			old1[me] = e1;
			new_mode[me] = m_new;
			new_count[me] = n_new;
			new0[me] = f0;
			new1[me] = f1
		fi }
	fi
}

#define ENDED(was_live, e) (was_live && gen[HOST(e)] != GEN(e))

/* Takes over a dead holder, or sees that something has changed. */
inline wait_for_change()
{
	if
	:: atomic { (token != t || IS_FENCED(me) || ENDED(is_live0, e0) ||
		     ENDED(is_live1, e1)) -> skip }
	:: atomic { e0 != 0 && dead[HOST(e0)] && gen[HOST(e0)] == GEN(e0) ->
		end_slot(HOST(e0)) }
	:: atomic { e1 != 0 && dead[HOST(e1)] && gen[HOST(e1)] == GEN(e1) ->
		end_slot(HOST(e1)) }
	fi
}

inline draw_want(least)
{
	if
	:: least <= EXCLUSIVE -> want = EXCLUSIVE
	:: least <= SHARED -> want = SHARED
#ifndef FEW_MODES
	:: want = MULTI
#endif
	fi
}

proctype Host(byte me; byte want)
{
	byte t, m, n, e0, e1, outcome, unknowns, round, half;
	bit is_live0, is_live1;
#ifdef SLOTFIRST
	byte slot[HOSTS];
#endif
	{
	skip;
NEXT:	if
	:: round >= ROUNDS -> goto LEAVE
	:: else -> round = round + 1
	fi;
	if
	:: round == 1 -> skip
	:: round > 1 -> draw_want(FREE)
	fi;

LOOK:	if
	:: IS_FENCED(me) -> goto FENCED
	:: else -> skip
	fi;
	read_record();
	if
	:: m != FREE && (e0 == HOLDER(me, my_gen[me]) || e1 == HOLDER(me, my_gen[me])) ->
		/* Ours without our knowledge: used if it is what we want. */
		if
		:: m == want -> goto GOT
		:: else -> goto DROP
		fi
	:: else -> skip
	fi;
	if
	:: !is_live0 && !is_live1 ->		/* free, or stale */
		cas(want, 1, HOLDER(me, my_gen[me]), 0)
#ifdef MIXED
	:: (is_live0 || is_live1) && (m == want || (m == MULTI && want == SHARED)) &&
	   want != EXCLUSIVE && !(is_live0 && is_live1) ->
#else
	:: (is_live0 || is_live1) && m == want && want != EXCLUSIVE &&
	   !(is_live0 && is_live1) ->
#endif
		if
		:: is_live0 -> cas(want, 2, e0, HOLDER(me, my_gen[me]))
		:: else -> cas(want, 2, e1, HOLDER(me, my_gen[me]))
		fi
#ifdef OVERFILL
	:: is_live0 && is_live1 && m == want && want != EXCLUSIVE ->
		cas(want, 3, e0, e1)
#endif
	:: else -> wait_for_change(); goto LOOK
	fi;
	if
	:: outcome == 1 -> goto GOT
	:: outcome == 2 -> goto LOOK
	:: outcome == 3 ->
#ifdef LISTGHOST
		/* Not the image that was sent: somebody else has won. */
		if
		:: atomic { LISTS(me) && count == 1 -> skip }; goto GOT
		:: atomic { !(LISTS(me) && count == 1) -> skip }; goto NEXT
		fi
#else
		goto LOOK
#endif
	fi;

GOT:	atomic {
		if
		:: IS_FENCED(me) || !LISTS(me) -> skip
		:: else -> has[me] = want; check_beliefs()
		fi
	};
	if
	:: has[me] == FREE -> goto LOOK
	:: has[me] == EXCLUSIVE -> goto WRITE
	:: has[me] == SHARED -> goto READ
	:: has[me] == MULTI -> goto RELEASE
	fi;

WRITE:	if
	:: atomic { !IS_FENCED(me) -> half = 1 - x; x = half }
	:: atomic { IS_FENCED(me) -> skip }; goto FENCED
	fi;
#ifdef DIRTY
	read_record();
	has[me] = FREE;
	cas(SHARED, 1, e0, 0);
#endif
	if
	:: atomic { !IS_FENCED(me) -> y = half }
	:: atomic { IS_FENCED(me) -> skip }; goto FENCED
	fi;
	/* Downgrade, or release. */
	if
	:: has[me] == EXCLUSIVE ->
		if
		:: goto RELEASE
		:: skip
		fi
	:: else -> goto RELEASE
	fi;
	read_record();
	if
	:: m != EXCLUSIVE || e0 != HOLDER(me, my_gen[me]) -> goto RELEASE
	:: else ->
		has[me] = FREE;	/* R1: not used while its fate is unknown */
		cas(SHARED, 1, e0, 0)
	fi;
	if
	:: atomic { outcome == 1 ->
		if
		:: IS_FENCED(me) -> skip
		:: else -> has[me] = SHARED; check_beliefs()
		fi }
	:: else -> goto RELEASE
	fi;

READ:	half = x;
	/* Believed only if the host was not fenced meanwhile. */
	assert(IS_FENCED(me) || half == y);
	if
	:: want == SHARED -> skip
	:: else -> goto RELEASE
	fi;
	if
	:: goto RELEASE
	:: skip
	fi;
	/* Upgrade: tried once; two that wait for one another would wait for ever. */
UPGRADE: read_record();
	if
	:: m != SHARED || !(e0 == HOLDER(me, my_gen[me]) || e1 == HOLDER(me, my_gen[me]))
		-> goto RELEASE
	:: else -> skip
	fi;
	if
#ifdef PUSHY
	:: true ->
		has[me] = FREE;
		cas(EXCLUSIVE, 1, HOLDER(me, my_gen[me]), 0)
#else
	:: (!is_live0 || e0 == HOLDER(me, my_gen[me])) &&
	   (!is_live1 || e1 == HOLDER(me, my_gen[me])) ->
		has[me] = FREE;
		cas(EXCLUSIVE, 1, HOLDER(me, my_gen[me]), 0)
#endif
	:: else ->
#ifdef PATIENT
		wait_for_change();
		goto UPGRADE
#else
		goto RELEASE
#endif
	fi;
	if
	:: atomic { outcome == 1 && !IS_FENCED(me) ->
		has[me] = EXCLUSIVE;
		want = EXCLUSIVE;
		check_beliefs() };
		goto WRITE
	:: else -> skip
	fi;

RELEASE: has[me] = FREE;
DROP:	if
	:: IS_FENCED(me) -> goto FENCED
	:: else -> skip
	fi;
	read_record();
	if
	:: e0 == HOLDER(me, my_gen[me]) && n == 1 -> cas(FREE, 0, 0, 0)
#ifdef NOCOMPACT
	:: e0 == HOLDER(me, my_gen[me]) && n == 2 -> cas(m, 1, e0, 0)
#else
	:: e0 == HOLDER(me, my_gen[me]) && n == 2 -> cas(m, 1, e1, 0)
#endif
	:: e1 == HOLDER(me, my_gen[me]) -> cas(m, 1, e0, 0)
	:: else -> goto NEXT
	fi;
	goto DROP;

FENCED:	/* A new incarnation; nothing of the old one is believed. */
	atomic {
		!is_on[me] ->
		is_on[me] = 1;
		gen[me] = gen[me] + 1;
		my_gen[me] = gen[me];
		has[me] = FREE
	};
	goto NEXT;

LEAVE:	over[me] = 1;
#ifndef LISTGHOST
end:	atomic { LISTS(me) && !IS_FENCED(me) -> skip };
	goto DROP;
#endif
	skip
	} UNLESS_DEAD;
	over[me] = 1
}

proctype Fate()
{
	byte who;

	do
	:: deaths < DEATHS || suspicions < SUSPICIONS ->
		if
		:: who = 0
		:: who = 1
#if HOSTS > 2
		:: who = 2
#endif
		fi;
		if
		:: atomic { deaths < DEATHS && !dead[who] ->
			dead[who] = 1;
			deaths = deaths + 1 }
		:: atomic { suspicions < SUSPICIONS && is_on[who] ->
			end_slot(who);
			suspicions = suspicions + 1 }
		:: else -> break
		fi
	:: break
	od
}

init
{
	byte i, want;

	/* Hosts are alike: what they want at first is in the order of their numbers. */
	atomic {
		do
		:: i < HOSTS ->
#if LATE > 0
			run Disk(i);
#endif
			draw_want(want);
			run Host(i, want);
			i = i + 1
		:: else -> break
		od;
#if DEATHS > 0 || SUSPICIONS > 0
		run Fate()
#endif
	}
}
