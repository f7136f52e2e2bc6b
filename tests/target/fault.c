/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The script: faults on command. One that stays (an opcode, a count) goes into the list,
 * oldest first; the others happen at once. `iscsi-target --help` has the words.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/align.h"
#include "base/parse.h"
#include "tests/target/target.h"

#define MAX_WORDS 8

bool fault_take(struct world *w, enum fault_kind kind, uint32_t opcode,
		struct fault *ret_fault)
{
	struct fault *f;

	TAILQ_FOREACH(f, &w->faults, link)
	if (f->kind == kind && (f->opcode == opcode || f->opcode == ANY_OPCODE))
		break;
	if (!f)
		return false;
	*ret_fault = *f;
	if (f->count != UINT32_MAX && --f->count == 0) {
		TAILQ_REMOVE(&w->faults, f, link);
		free(f);
	}
	return true;
}

bool fault_of_command(struct world *w, uint32_t opcode, struct fault *ret_fault)
{
	struct fault *f;

	TAILQ_FOREACH(f, &w->faults, link)
	if (f->kind <= FAULT_RESET && (f->opcode == opcode || f->opcode == ANY_OPCODE))
		return fault_take(w, f->kind, opcode, ret_fault);
	return false;
}

/* ---- words ---- */

struct line {
	struct world *w;
	char *word[MAX_WORDS];
	int count, at;
	struct buf *out;
};

static char *next(struct line *l)
{
	return l->at < l->count ? l->word[l->at++] : NULL;
}

static bool number(struct line *l, uint64_t max, uint64_t *ret_n)
{
	const char *text = next(l);

	return text && parse_u64(text, max, ret_n) == 0;
}

/* Hexadecimal, with or without 0x. */
static bool hex(const char *text, uint32_t max, uint32_t *ret_n)
{
	char *end;
	unsigned long n = text ? strtoul(text, &end, 16) : 0;

	if (!text || *end || end == text || n > max)
		return false;
	*ret_n = (uint32_t)n;
	return true;
}

static bool opcode(struct line *l, uint32_t *ret_opcode)
{
	const char *text = next(l);

	*ret_opcode = ANY_OPCODE;
	return text && (strcmp(text, "any") == 0 || hex(text, 255, ret_opcode));
}

/* The last word: how often; once if nothing is said. */
static bool times(struct line *l, uint32_t *ret_count)
{
	const char *text = next(l);
	uint64_t n = 1;

	if (text && strcmp(text, "always") == 0)
		n = UINT32_MAX;
	else if (text && (parse_u64(text, UINT32_MAX - 1, &n) < 0 || !n))
		return false;
	*ret_count = (uint32_t)n;
	return !next(l);
}

static bool on_off(struct line *l, bool *ret_is_on)
{
	const char *text = next(l);

	if (!text || (strcmp(text, "on") != 0 && strcmp(text, "off") != 0))
		return false;
	*ret_is_on = text[1] == 'n';
	return true;
}

static void add_fault(struct world *w, const struct fault *f)
{
	struct fault *copy = malloc(sizeof(*copy));

	if (!copy)
		abort();
	*copy = *f;
	TAILQ_INSERT_TAIL(&w->faults, copy, link);
}

/* ---- faults that stay ---- */

/* "5/25/00" in hexadecimal. */
static bool sense(const char *text, uint32_t *ret_sense)
{
	unsigned int key, asc, ascq;

	if (!text || sscanf(text, "%1x/%2x/%2x", &key, &asc, &ascq) != 3)
		return false;
	*ret_sense = key << 16 | asc << 8 | ascq;
	return true;
}

static bool status_args(struct line *l, struct fault *f)
{
	uint32_t status;

	if (!hex(next(l), 255, &status))
		return false;
	f->result = status << 24;
	if (l->at < l->count && strchr(l->word[l->at], '/')) {
		uint32_t s;
		if (!sense(next(l), &s))
			return false;
		f->result |= s;
	}
	return true;
}

static bool ignored_or_hex(struct line *l, uint32_t max, uint32_t ignored, uint32_t *ret)
{
	const char *text = next(l);

	*ret = ignored;
	return text && (strcmp(text, "ignore") == 0 || hex(text, max, ret));
}

static bool short_args(struct line *l, struct fault *f)
{
	uint64_t n;

	if (!number(l, UINT32_MAX, &n))
		return false;
	f->n = (uint32_t)n;
	const char *text = next(l);
	f->is_marked = text && strcmp(text, "marked") == 0;
	return text && (f->is_marked || strcmp(text, "silent") == 0);
}

static bool redirect_args(struct line *l, struct fault *f)
{
	const struct portal *p = &l->w->portals[0];
	const char *text = next(l);

	if (!text)
		return false;
	f->n = ISCSI_MOVED_FOR_A_TIME;
	if (strcmp(text, "self") == 0)
		(void)snprintf(f->text, sizeof(f->text), "%s:%u,%u", p->address, p->port,
			       p->tpg);
	else
		(void)snprintf(f->text, sizeof(f->text), "%s", text);
	if (l->at < l->count && strcmp(l->word[l->at], "permanent") == 0) {
		f->n = ISCSI_MOVED_FOR_GOOD;
		l->at++;
	}
	return true;
}

static bool wrong_args(struct line *l, struct fault *f)
{
	static const char *const fields[WRONG_COUNT] = { "itt",	    "ttt",    "statsn",
							 "datasn",  "offset", "length" };
	const char *text = next(l);

	for (uint32_t i = 0; text && i < WRONG_COUNT; i++)
		if (strcmp(fields[i], text) == 0) {
			f->opcode = i;
			return true;
		}
	return false;
}

static bool corrupt_args(struct line *l, struct fault *f)
{
	const char *text = next(l);

	f->kind = text && strcmp(text, "data") == 0 ? FAULT_CORRUPT_DATA
						    : FAULT_CORRUPT_HEADER;
	return text && (f->kind == FAULT_CORRUPT_DATA || strcmp(text, "header") == 0);
}

static bool fault_args(struct line *l, struct fault *f)
{
	uint64_t n;

	switch (f->kind) {
	case FAULT_DELAY:
	case FAULT_DELAY_RESPONSE:
		if (!number(l, 3600000, &n))
			return false;
		f->n = (uint32_t)n;
		return true;
	case FAULT_STATUS:
		return status_args(l, f);
	case FAULT_SHORT:
		return short_args(l, f);
	case FAULT_REJECT:
		return hex(next(l), 255, &f->n);
	case FAULT_TMF:
		return ignored_or_hex(l, 255, 256, &f->n);
	case FAULT_LOGIN:
		return ignored_or_hex(l, 0xffff, 0xffff, &f->n);
	case FAULT_REDIRECT:
		return redirect_args(l, f);
	case FAULT_CORRUPT_HEADER:
	case FAULT_CORRUPT_DATA:
		return corrupt_args(l, f);
	case FAULT_WRONG:
		return wrong_args(l, f);
	default:
		return true;
	}
}

static const struct {
	const char *word;
	enum fault_kind kind;
	bool has_opcode;
} kinds[] = {
	{ "delay", FAULT_DELAY, true },
	{ "delay-response", FAULT_DELAY_RESPONSE, true },
	{ "drop-response", FAULT_DROP_RESPONSE, true },
	{ "swallow-request", FAULT_SWALLOW, true },
	{ "status", FAULT_STATUS, true },
	{ "short", FAULT_SHORT, true },
	{ "reset-after", FAULT_THEN_RESET, true },
	{ "reset-before", FAULT_RESET, true },
	{ "reject", FAULT_REJECT, true },
	{ "tmf", FAULT_TMF, true },
	{ "login", FAULT_LOGIN, false },
	{ "redirect", FAULT_REDIRECT, false },
	{ "corrupt", FAULT_CORRUPT_HEADER, false },
	{ "wrong", FAULT_WRONG, false },
};

/* NULL, or why not; *ret_is_mine: it is one of these words. */
static const char *stay(struct line *l, const char *word, bool *ret_is_mine)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct fault f = { .kind = kinds[i].kind, .opcode = ANY_OPCODE };
		if (strcmp(kinds[i].word, word) != 0)
			continue;
		*ret_is_mine = true;
		if (kinds[i].has_opcode && !opcode(l, &f.opcode))
			return "no such opcode";
		if (!fault_args(l, &f) || !times(l, &f.count))
			return "not understood";
		add_fault(l->w, &f);
		return NULL;
	}
	*ret_is_mine = false;
	return NULL;
}

/* ---- what happens at once ---- */

static const char *each_session(struct line *l, const char *word)
{
	struct session *s;
	uint64_t only = 0;

	if (l->at < l->count && !number(l, UINT32_MAX, &only))
		return "not a number of a session";
	TAILQ_FOREACH(s, &l->w->sessions, link)
	{
		if (s->is_dead || (only && s->number != only))
			continue;
		if (strcmp(word, "reset") == 0)
			session_end(s, true);
		else if (strcmp(word, "close") == 0)
			session_end(s, false);
		else if (strcmp(word, "half-close") == 0)
			(void)shutdown(s->sock, SHUT_WR);
		else if (s->is_full_feature)
			session_ping(s);
		session_flush(s);
	}
	return NULL;
}

static const char *async(struct line *l)
{
	uint64_t event, n;
	uint32_t parameter[3] = { 0 };
	struct session *s;

	if (!number(l, 255, &event))
		return "not an event";
	for (int i = 0; i < 3 && l->at < l->count; i++) {
		if (!number(l, UINT16_MAX, &n))
			return "not a parameter";
		parameter[i] = (uint32_t)n;
	}
	TAILQ_FOREACH(s, &l->w->sessions, link)
	{
		if (s->is_dead || !s->is_full_feature)
			continue;
		session_async(s, (uint8_t)event, parameter);
		session_flush(s);
	}
	return NULL;
}

static const char *set_number(struct line *l, uint32_t *ret)
{
	struct session *s;
	uint64_t n;

	if (!number(l, 1u << 30, &n))
		return "not a number";
	*ret = (uint32_t)n;
	/* A ping tells the window. */
	TAILQ_FOREACH(s, &l->w->sessions, link)
	if (ret == &l->w->window && !s->is_dead && s->is_full_feature) {
		session_ping(s);
		session_flush(s);
	}
	return NULL;
}

static const char *black_hole(struct line *l)
{
	struct world *w = l->w;
	struct session *s;
	uint64_t port;
	bool is_on;

	if (!number(l, UINT16_MAX, &port) || !on_off(l, &is_on))
		return "PORT on|off";
	for (uint32_t i = 0; i < w->portal_count; i++) {
		struct portal *p = &w->portals[i];
		struct epoll_event e = { is_on ? 0 : EPOLLIN, { .ptr = p } };
		if (p->port != port)
			continue;
		p->is_black_hole = is_on;
		(void)epoll_ctl(w->epoll_fd, EPOLL_CTL_MOD, p->listener, &e);
	}
	TAILQ_FOREACH(s, &w->sessions, link)
	if (!s->is_dead && s->portal->port == port) {
		session_watch(s);
		session_flush(s);
	}
	return NULL;
}

static const char *alua(struct line *l)
{
	static const struct {
		const char *word;
		enum access_state state;
	} states[] = { { "optimized", ACCESS_OPTIMIZED },
		       { "non-optimized", ACCESS_NON_OPTIMIZED },
		       { "standby", ACCESS_STANDBY },
		       { "unavailable", ACCESS_UNAVAILABLE },
		       { "offline", ACCESS_OFFLINE },
		       { "transitioning", ACCESS_TRANSITIONING } };
	uint64_t tpg;
	struct group *g = NULL;

	if (number(l, UINT16_MAX, &tpg))
		g = group_of(l->w, (uint16_t)tpg);
	const char *text = g ? next(l) : NULL;
	if (!text)
		return "TPG STATE";
	if (strcmp(text, "preferred") == 0)
		return on_off(l, &g->is_preferred) ? NULL : "preferred on|off";
	for (uint32_t i = 0; i < ARRAY_SIZE(states); i++) {
		if (strcmp(text, states[i].word) != 0)
			continue;
		g->state = states[i].state;
		g->was_set = false;
		alua_changed(l->w, NULL);
		return NULL;
	}
	return "no such state";
}

/* ---- units ---- */

/* "LUN" of the first target, or "TARGET.LUN". */
static struct unit **lun_slot(struct line *l)
{
	unsigned int target = 0, lun;
	const char *text = next(l);

	if (!text || (sscanf(text, "%u.%u", &target, &lun) != 2 &&
		      (target = 0, sscanf(text, "%u", &lun) != 1)))
		return NULL;
	if (target >= l->w->target_count || lun >= MAX_LUNS)
		return NULL;
	return &l->w->targets[target].lun[lun];
}

static const char *lun_add(struct line *l, struct unit **slot)
{
	const char *path = next(l);
	uint64_t block = 512;

	if (!path || *slot)
		return "a LUN that is free, and a path";
	if (l->at < l->count && !number(l, 4096, &block))
		return "not a block size";
	*slot = unit_open(l->w, path, (uint32_t)block, NULL);
	if (!*slot)
		return "cannot be opened";
	unit_attention(l->w, NULL, UA_LUNS_CHANGED, NULL);
	return NULL;
}

static const char *lun_remove(struct line *l, struct unit **slot)
{
	struct session *s;

	requests_abort(l->w, *slot, NULL);
	unit_put(l->w, *slot);
	*slot = NULL;
	unit_attention(l->w, NULL, UA_LUNS_CHANGED, NULL);
	TAILQ_FOREACH(s, &l->w->sessions, link)
	session_flush(s);
	return NULL;
}

static const char *medium_error(struct line *l, struct unit *u)
{
	uint64_t lba, count;

	if (!number(l, UINT64_MAX, &lba) || !number(l, UINT64_MAX, &count))
		return "LUN LBA COUNT";
	if (!count)
		memset(u->bad, 0, sizeof(u->bad));
	for (uint32_t i = 0; count && i < MAX_BAD; i++) {
		if (u->bad[i].count)
			continue;
		u->bad[i].lba = lba;
		u->bad[i].count = count;
		return NULL;
	}
	return count ? "too many" : NULL;
}

/* GET LBA STATUS says that these are not mapped, whatever is there. */
static const char *deny(struct line *l, struct unit *u)
{
	return number(l, UINT64_MAX, &u->denied.lba) &&
			       number(l, UINT64_MAX, &u->denied.count)
		       ? NULL
		       : "LUN LBA COUNT";
}

/* What it calls itself from now on; id: other hexadecimal digits of its name. */
static const char *lun_name(struct line *l, struct unit *u)
{
	static const char *const names[] = {
		[NAME_NAA] = "naa", [NAME_T10] = "t10", [NAME_NONE] = "none"
	};
	const char *kind = next(l), *id = l->at < l->count ? next(l) : NULL;

	for (uint32_t i = 0; kind && i < ARRAY_SIZE(names); i++) {
		if (strcmp(kind, names[i]) != 0)
			continue;
		u->told = (enum unit_name)i;
		return unit_rename(u, id) ? NULL : "not hexadecimal";
	}
	return "LUN naa|t10|none [ID]";
}

static const char *lun_command(struct line *l, const char *word)
{
	struct unit **slot = lun_slot(l);
	uint64_t size;
	uint32_t code;

	if (!slot)
		return "no such LUN";
	if (strcmp(word, "lun-add") == 0)
		return lun_add(l, slot);
	if (!*slot)
		return "no such LUN";
	if (strcmp(word, "lun-remove") == 0)
		return lun_remove(l, slot);
	if (strcmp(word, "medium-error") == 0)
		return medium_error(l, *slot);
	if (strcmp(word, "deny") == 0)
		return deny(l, *slot);
	if (strcmp(word, "name") == 0)
		return lun_name(l, *slot);
	if (strcmp(word, "space-full") == 0)
		return on_off(l, &(*slot)->is_full) ? NULL : "LUN on|off";
	if (strcmp(word, "lun-reset") == 0) {
		unit_reset(l->w, *slot);
		return NULL;
	}
	if (strcmp(word, "attention") == 0) {
		if (!hex(next(l), 0xffff, &code))
			return "LUN ASCASCQ";
		unit_attention(l->w, *slot, (uint16_t)code, NULL);
		return NULL;
	}
	const char *text = next(l);
	return text && parse_size(text, &size) == 0 && unit_resize(l->w, *slot, size)
		       ? NULL
		       : "not a size";
}

/* ---- the rest ---- */

static const char *const limits[LIMIT_COUNT] = {
	[LIMIT_TRANSFER] = "transfer",
	[LIMIT_CAW] = "caw",
	[LIMIT_UNMAP] = "unmap",
	[LIMIT_UNMAP_RANGES] = "unmap-ranges",
	[LIMIT_UNMAP_GRAIN] = "unmap-grain",
	[LIMIT_WRITE_SAME] = "write-same",
	[LIMIT_COPY_SEGMENTS] = "copy-segments",
	[LIMIT_COPY_BYTES] = "copy-bytes",
	[LIMIT_NDOB] = "ndob",
	[LIMIT_WRITE_ZERO] = "wsnz",
};

static const char *set_limit(struct line *l)
{
	const char *text = next(l);

	for (uint32_t i = 0; text && i < LIMIT_COUNT; i++)
		if (strcmp(text, limits[i]) == 0)
			return number(l, UINT32_MAX, &l->w->limit[i]) ? NULL
								      : "not a number";
	return "no such limit";
}

static const char *clear(struct world *w)
{
	struct fault *f;

	while ((f = TAILQ_FIRST(&w->faults)) != NULL) {
		TAILQ_REMOVE(&w->faults, f, link);
		free(f);
	}
	w->split = w->piece = 0;
	return NULL;
}

static const char *stat_one(struct line *l)
{
	const char *text = next(l);
	uint64_t n;

	if (!text || !stats_one(l->w, text, &n))
		return "no such counter";
	buf_printf(l->out, "%llu\n", (unsigned long long)n);
	return NULL;
}

static bool is_one_of(const char *word, const char *list)
{
	return iscsi_text_has(list, word);
}

static const char *at_once(struct line *l, const char *word)
{
	struct world *w = l->w;
	uint64_t n;

	if (is_one_of(word, "reset,close,half-close,nop-in"))
		return each_session(l, word);
	if (is_one_of(word, "lun-add,lun-remove,resize,space-full,medium-error,lun-reset,"
			    "attention,name,deny"))
		return lun_command(l, word);
	if (strcmp(word, "async") == 0)
		return async(l);
	if (strcmp(word, "window") == 0)
		return set_number(l, &w->window);
	if (strcmp(word, "split") == 0)
		return set_number(l, &w->split);
	if (strcmp(word, "pieces") == 0)
		return set_number(l, &w->piece);
	if (strcmp(word, "black-hole") == 0)
		return black_hole(l);
	if (strcmp(word, "alua") == 0)
		return alua(l);
	if (strcmp(word, "limit") == 0)
		return set_limit(l);
	if (strcmp(word, "clear") == 0)
		return clear(w);
	if (strcmp(word, "stat") == 0)
		return stat_one(l);
	if (strcmp(word, "descriptor-sense") == 0)
		return on_off(l, &w->has_descriptor_sense) ? NULL : "on|off";
	if (strcmp(word, "tpgs") == 0) {
		if (!number(l, 3, &n))
			return "0 to 3";
		w->tpgs = (uint8_t)n;
		return NULL;
	}
	if (strcmp(word, "stats") == 0) {
		stats_print(w, l->out);
		return NULL;
	}
	if (strcmp(word, "stats-reset") == 0) {
		memset(&w->counters, 0, sizeof(w->counters));
		return NULL;
	}
	if (strcmp(word, "quit") == 0) {
		w->is_ending = true;
		return NULL;
	}
	return "no such command";
}

const char *fault_command(struct world *w, char *line, struct buf *out)
{
	struct line l = { .w = w, .out = out };
	char *save = NULL;
	bool is_mine;

	for (char *p = strtok_r(line, " \t\r\n", &save); p && l.count < MAX_WORDS;
	     p = strtok_r(NULL, " \t\r\n", &save))
		l.word[l.count++] = p;
	const char *word = next(&l);
	if (!word)
		return "no command";
	const char *why = stay(&l, word, &is_mine);
	return is_mine ? why : at_once(&l, word);
}
