/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why the journal is emptied before any lock is released (LOCKING.md 10.5).
 *
 * The first host holds file F and bitmap cluster C. Its first transaction writes block B,
 * which is F's and covered by F's lock; its second frees B: F and C change. Then it
 * releases C and keeps F. The second host locks C, takes B for a file of its own and
 * writes it. The first may end after any step; the second then replays its log, with the
 * token check, and what it held is free.
 *
 *	TRIM 1	emptied before the first release: B stays the second host's
 *	TRIM 0	emptied later, the token check alone: B is destroyed
 */
#ifndef TRIM
#define TRIM 1
#endif
byte content;			/* of B: 0 free, 1 first host's, 2 second host's */
bit is_free;			/* the bitmap says so */
bit is_given;			/* to the second host's file */
byte token_f = 1, token_c = 1;
bit held_f = 1, held_c = 1;	/* by the first host */
bit log1, log2;
bit has_ended, is_replayed;

proctype First()
{
	{
	skip;
	atomic { log1 = 1 };
	atomic { content = 1 };
	atomic { log2 = 1 };
	atomic { is_free = 1 };
#if TRIM == 1
	atomic { log1 = 0; log2 = 0 };
#endif
	atomic { held_c = 0; token_c = token_c + 1 };
#if TRIM == 0
	atomic { log1 = 0; log2 = 0 };
#endif
	skip
	} unless { has_ended }
}

inline replay()
{
	if
	:: log1 && held_f && token_f == 1 -> content = 1
	:: else -> skip
	fi;
	if
	:: log2 && held_c && token_c == 1 -> is_free = 1
	:: else -> skip
	fi;
	log1 = 0;
	log2 = 0;
	is_replayed = 1;
	if
	:: held_f -> held_f = 0; token_f = token_f + 1
	:: else -> skip
	fi;
	if
	:: held_c -> held_c = 0; token_c = token_c + 1
	:: else -> skip
	fi
}

proctype Second()
{
	bit has_it;

end:	do
	:: atomic { !held_c && is_free && !has_it ->
		is_free = 0;
		is_given = 1;
		content = 2;
		has_it = 1 }
	:: atomic { has_ended && !is_replayed -> replay() }
	:: assert(!(is_given && content != 2))
	od
}

proctype Death()
{
	if
	:: has_ended = 1
	:: skip
	fi
}

init
{
	atomic {
		run First();
		run Second();
		run Death()
	}
}
