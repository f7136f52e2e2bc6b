/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Releases that do not compare (LOCKING.md 8): processes of one kernel, one lock record in
 * a file. Who takes the lock has the range lock while he reads, compares and writes, three
 * steps; who releases it writes, in one step, and asks nobody. A process may die at any
 * step; what it has sent lands later, and its liveness lock falls after that. Who finds a
 * holder whose liveness lock is free ends its generation, and takes the lock.
 *
 * When a release lands, the record is as it was held: the compare would have passed.
 *
 *	ALIVE	a process that stands still is taken over, its liveness lock not asked
 *	EARLY	the liveness lock falls with the process, before what it has sent
 *	AGAIN	a release of unknown fate is sent again, without a compare
 */
#define NP 3
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define NOBODY 0

byte owner = NOBODY, token;	/* the record */
byte range = NOBODY;		/* who has the range lock */
bit lives[NP + 1];		/* its liveness lock is held */
bit killed[NP + 1];
bit over[NP + 1];		/* its generation has ended */
byte sent[NP + 1];		/* a release under way: its token; 0: none */
byte deaths;

/* What has been sent lands. */
inline land(p)
{
	assert(owner == p && token + 1 == sent[p]);
	owner = NOBODY;
	token = sent[p];
	sent[p] = 0
}

proctype Kernel()
{
end:	do
	:: atomic { sent[1] -> land(1) }
	:: atomic { sent[2] -> land(2) }
	:: atomic { sent[3] -> land(3) }
	od
}

proctype Process(byte p)
{
	byte from_owner, from_token, rounds;

	{
	skip;
look:	atomic { from_owner = owner; from_token = token };
	if
	:: from_owner == NOBODY || over[from_owner]
#ifdef ALIVE
	:: from_owner != NOBODY && from_owner != p -> over[from_owner] = 1
#else
	:: atomic { from_owner != NOBODY && !lives[from_owner] -> over[from_owner] = 1 }
#endif
	:: from_owner != NOBODY && owner != from_owner -> goto look
	fi;
	atomic { range == NOBODY -> range = p };
	if
	:: owner == from_owner && token == from_token
	:: else -> range = NOBODY; goto look
	fi;
	atomic { owner = p; token = from_token + 1 };
	range = NOBODY;
	sent[p] = from_token + 2;
#ifdef AGAIN
	if
	:: atomic { sent[p] == 0 -> sent[p] = from_token + 2 }
	:: skip
	fi;
#endif
	sent[p] == 0;
	rounds++;
	if
	:: rounds < ROUNDS -> goto look
	:: else
	fi
	} unless { killed[p] };
	if
	:: range == p -> range = NOBODY
	:: else
	fi
}

proctype Death(byte p)
{
	if
	:: atomic { deaths < DEATHS -> deaths++; killed[p] = 1 };
#ifndef EARLY
		atomic { sent[p] == 0 && range != p -> lives[p] = 0 }
#else
		lives[p] = 0
#endif
	:: skip
	fi
}

init
{
	atomic {
		lives[1] = 1;
		lives[2] = 1;
		lives[3] = 1;
		run Kernel();
		run Process(1);
		run Process(2);
		run Process(3);
		run Death(1);
		run Death(2);
		run Death(3)
	}
}
