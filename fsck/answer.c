/* SPDX-License-Identifier: Apache-2.0 */
#include "fsck/answer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>
#include <xxhash.h>

/* A finding that was met before, by the hash of its code and sentence. */
struct answer {
	uint64_t key;
	bool is_asked, is_yes;
	UT_hash_handle hh;
};

struct answers {
	enum answer_mode mode;
	struct answer *all;
	bool is_yes_to_all, is_canceled;
};

struct answers *answers_new(enum answer_mode mode)
{
	struct answers *a = calloc(1, sizeof(*a));
	if (!a)
		abort();
	a->mode = mode;
	return a;
}

void answers_free(struct answers *a)
{
	struct answer *one, *next;
	if (!a)
		return;
	HASH_ITER(hh, a->all, one, next)
	{
		HASH_DEL(a->all, one);
		free(one);
	}
	free(a);
}

bool answers_can_ask(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static struct answer *answer_of(struct answers *a, enum fsck_problem problem,
				const char *text, bool *ret_is_new)
{
	uint64_t key = XXH3_64bits_withSeed(text, strlen(text), (XXH64_hash_t)problem);
	struct answer *one;
	HASH_FIND(hh, a->all, &key, sizeof(key), one);
	*ret_is_new = !one;
	if (one)
		return one;
	one = calloc(1, sizeof(*one));
	if (!one)
		abort();
	one->key = key;
	HASH_ADD(hh, a->all, key, sizeof(one->key), one);
	return one;
}

bool answers_is_new(struct answers *a, enum fsck_problem problem, const char *text)
{
	bool is_new;
	(void)answer_of(a, problem, text, &is_new);
	return is_new;
}

/* e2fsck's: y, n, a for yes to all that follow. */
static bool ask(struct answers *a, enum fsck_problem problem)
{
	char line[64];
	for (;;) {
		printf("  %s: repair (y, n, a = yes to all)? ",
		       fsck_problem(problem)->repair);
		(void)fflush(stdout);
		if (!fgets(line, sizeof(line), stdin)) {
			putchar('\n');
			a->is_canceled = true;
			return false;
		}
		switch (line[0]) {
		case 'a':
		case 'A':
			a->is_yes_to_all = true;
			return true;
		case 'y':
		case 'Y':
			return true;
		case 'n':
		case 'N':
			return false;
		default:
			break;
		}
	}
}

bool answers_get(struct answers *a, enum fsck_problem problem, const char *text)
{
	bool is_new;
	switch (a->mode) {
	case ANSWER_NO:
		return false;
	case ANSWER_SAFE:
		return fsck_problem(problem)->how == REPAIR_SAFE;
	case ANSWER_YES:
		return true;
	case ANSWER_ASK:
		break;
	}
	struct answer *one = answer_of(a, problem, text, &is_new);
	if (!one->is_asked)
		one->is_yes = a->is_yes_to_all || (!a->is_canceled && ask(a, problem));
	one->is_asked = true;
	return one->is_yes && !a->is_canceled;
}

bool answers_is_canceled(const struct answers *a)
{
	return a->is_canceled;
}
