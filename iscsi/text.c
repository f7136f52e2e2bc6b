/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Negotiation as one table: each key has a kind (how two wishes become one result), the
 * protocol's default, our wish and its limits.
 *
 * Invariants:
 * 1. value[] always holds a legal result: the default until something was agreed.
 * 2. Every key that the target offers is answered exactly once; declarations are not.
 */
#include "iscsi/text.h"

#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/parse.h"

enum kind {
	KIND_MIN,     /* the smaller number */
	KIND_MAX,     /* the larger number */
	KIND_AND,     /* Yes only if both want it */
	KIND_OR,      /* Yes if one wants it */
	KIND_DECLARE, /* each for itself */
	KIND_DIGEST,  /* list, first that both know */
};

struct rule {
	const char *name;
	enum kind kind;
	uint32_t default_value, ours, min, max;
};

static const struct rule rules[KEY_COUNT] = {
	[KEY_HEADER_DIGEST] = { "HeaderDigest", KIND_DIGEST, 0, 0, 0, 1 },
	[KEY_DATA_DIGEST] = { "DataDigest", KIND_DIGEST, 0, 0, 0, 1 },
	[KEY_MAX_RECV] = { "MaxRecvDataSegmentLength", KIND_DECLARE, 8192, 0, 512,
			   0xffffff },
	[KEY_MAX_BURST] = { "MaxBurstLength", KIND_MIN, 262144, 0, 512, 0xffffff },
	[KEY_FIRST_BURST] = { "FirstBurstLength", KIND_MIN, 65536, 0, 512, 0xffffff },
	[KEY_MAX_R2T] = { "MaxOutstandingR2T", KIND_MIN, 1, 0, 1, 65535 },
	[KEY_MAX_CONNECTIONS] = { "MaxConnections", KIND_MIN, 1, 1, 1, 65535 },
	[KEY_ERROR_RECOVERY] = { "ErrorRecoveryLevel", KIND_MIN, 0, 0, 0, 2 },
	[KEY_TIME2WAIT] = { "DefaultTime2Wait", KIND_MAX, 2, 0, 0, 3600 },
	[KEY_TIME2RETAIN] = { "DefaultTime2Retain", KIND_MIN, 20, 0, 0, 3600 },
	[KEY_INITIAL_R2T] = { "InitialR2T", KIND_OR, 1, 0, 0, 1 },
	[KEY_IMMEDIATE_DATA] = { "ImmediateData", KIND_AND, 1, 0, 0, 1 },
	[KEY_PDU_IN_ORDER] = { "DataPDUInOrder", KIND_OR, 1, 1, 0, 1 },
	[KEY_SEQUENCE_IN_ORDER] = { "DataSequenceInOrder", KIND_OR, 1, 1, 0, 1 },
};

/*
 * Our wishes that the user may choose (iscsi/settings.c has what holds if he does not).
 */
static const struct {
	enum iscsi_key key;
	enum iscsi_setting setting;
} chosen[] = {
	{ KEY_MAX_RECV, ISCSI_MAX_RECV_LENGTH },
	{ KEY_MAX_BURST, ISCSI_MAX_BURST_LENGTH },
	{ KEY_FIRST_BURST, ISCSI_FIRST_BURST_LENGTH },
	{ KEY_MAX_R2T, ISCSI_MAX_OUTSTANDING_R2T },
	{ KEY_INITIAL_R2T, ISCSI_INITIAL_R2T },
	{ KEY_IMMEDIATE_DATA, ISCSI_IMMEDIATE_DATA },
};

/* Statements of a target that need no answer. */
static const char *const declarations[] = { "TargetAlias", "TargetAddress",
					    "TargetPortalGroupTag", "TargetName" };

void iscsi_keys_init(struct iscsi_keys *keys, const struct iscsi_settings *settings,
		     bool is_discovery, enum iscsi_digest header_digest,
		     enum iscsi_digest data_digest)
{
	memset(keys, 0, sizeof(*keys));
	keys->is_discovery = is_discovery;
	for (int k = 0; k < KEY_COUNT; k++) {
		keys->ours[k] = rules[k].ours;
		keys->value[k] = rules[k].default_value;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(chosen); i++)
		keys->ours[chosen[i].key] = iscsi_setting(settings, chosen[i].setting);
	keys->ours[KEY_FIRST_BURST] = (uint32_t)min_u64(keys->ours[KEY_FIRST_BURST],
							keys->ours[KEY_MAX_BURST]);
	keys->digest[KEY_HEADER_DIGEST] = header_digest;
	keys->digest[KEY_DATA_DIGEST] = data_digest;
	for (int k = KEY_HEADER_DIGEST; k <= KEY_DATA_DIGEST; k++)
		keys->ours[k] = keys->digest[k] != ISCSI_DIGEST_PROHIBITED;
}

const char *iscsi_keys_missing(const struct iscsi_keys *keys)
{
	for (int k = KEY_HEADER_DIGEST; k <= KEY_DATA_DIGEST; k++) {
		if (keys->digest[k] == ISCSI_DIGEST_REQUIRED && !keys->value[k])
			return rules[k].name;
	}
	return NULL;
}

void iscsi_text_add(struct buf *out, const char *key, const char *value)
{
	buf_add(out, key, strlen(key));
	buf_add(out, "=", 1);
	buf_add(out, value, strlen(value) + 1);
}

/* The target takes the first that it can. */
static const char *const digest_offers[] = {
	[ISCSI_DIGEST_DISCOURAGED] = "None,CRC32C",
	[ISCSI_DIGEST_PREFERRED] = "CRC32C,None",
	[ISCSI_DIGEST_REQUIRED] = "CRC32C",
	[ISCSI_DIGEST_PROHIBITED] = "None",
};

static void add_value(struct buf *out, enum iscsi_key k, uint32_t value)
{
	switch (rules[k].kind) {
	case KIND_AND:
	case KIND_OR:
		iscsi_text_add(out, rules[k].name, value ? "Yes" : "No");
		return;
	case KIND_DIGEST:
		iscsi_text_add(out, rules[k].name, value ? "CRC32C" : "None");
		return;
	default:
		buf_printf(out, "%s=%u", rules[k].name, value);
		buf_add(out, "", 1);
	}
}

static bool is_for_discovery(enum iscsi_key k)
{
	return k == KEY_HEADER_DIGEST || k == KEY_DATA_DIGEST || k == KEY_MAX_RECV ||
	       k == KEY_ERROR_RECOVERY || k == KEY_TIME2WAIT || k == KEY_TIME2RETAIN;
}

void iscsi_keys_offer(struct iscsi_keys *keys, struct buf *out)
{
	for (int k = 0; k < KEY_COUNT; k++) {
		if (keys->is_discovery && !is_for_discovery(k))
			continue;
		if (keys->is_agreed[k] && rules[k].kind != KIND_DECLARE)
			continue; /* the target was first */
		if (rules[k].kind == KIND_DIGEST)
			iscsi_text_add(out, rules[k].name,
				       digest_offers[keys->digest[k]]);
		else
			add_value(out, k, keys->ours[k]);
		keys->is_offered[k] = true;
	}
}

bool iscsi_text_has(const char *list, const char *item)
{
	size_t len = strlen(item);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, item, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return false;
}

/* The target's value as a number; a digest list as "we can take CRC32C from it". */
static int read_value(const struct rule *rule, const char *text, uint32_t *ret_value)
{
	uint64_t n;

	switch (rule->kind) {
	case KIND_AND:
	case KIND_OR:
		if (strcmp(text, "Yes") != 0 && strcmp(text, "No") != 0)
			return -EPROTO;
		*ret_value = text[0] == 'Y';
		return 0;
	case KIND_DIGEST:
		if (!iscsi_text_has(text, "CRC32C") && !iscsi_text_has(text, "None"))
			return -EPROTO;
		*ret_value = iscsi_text_has(text, "CRC32C");
		return 0;
	default:
		if (parse_u64(text, rule->max, &n) < 0 || n < rule->min)
			return -EPROTO;
		*ret_value = (uint32_t)n;
		return 0;
	}
}

static uint32_t decide(enum kind kind, uint32_t ours, uint32_t theirs)
{
	switch (kind) {
	case KIND_MAX:
	case KIND_OR:
		return ours > theirs ? ours : theirs;
	case KIND_DECLARE:
		return theirs;
	default:
		return ours < theirs ? ours : theirs;
	}
}

static int take_known(struct iscsi_keys *keys, enum iscsi_key k, const char *text,
		      struct buf *out)
{
	const struct rule *rule = &rules[k];
	uint32_t theirs;

	bool is_offer = !keys->is_offered[k] && rule->kind != KIND_DECLARE;
	if (keys->is_agreed[k] && rule->kind != KIND_DECLARE)
		return -EPROTO; /* RFC 7143 6.2: once per login */
	keys->is_agreed[k] = true;
	if (strcmp(text, "Irrelevant") == 0 || strcmp(text, "NotUnderstood") == 0 ||
	    strcmp(text, "Reject") == 0)
		return 0; /* the default holds */
	if (is_offer && keys->is_discovery && !is_for_discovery(k)) {
		iscsi_text_add(out, rule->name, "Irrelevant");
		return 0;
	}
	if (read_value(rule, text, &theirs) < 0) {
		if (is_offer)
			iscsi_text_add(out, rule->name, "Reject");
		return is_offer ? 0 : -EPROTO;
	}
	uint32_t result = decide(rule->kind, keys->ours[k], theirs);
	if (!is_offer && rule->kind != KIND_DECLARE && result != theirs)
		return -EPROTO; /* an answer outside of our offer */
	if (is_offer)
		add_value(out, k, result);
	keys->value[k] = result;
	return 0;
}

int iscsi_keys_take(struct iscsi_keys *keys, const char *key, const char *value,
		    struct buf *out)
{
	for (int k = 0; k < KEY_COUNT; k++)
		if (strcmp(key, rules[k].name) == 0)
			return take_known(keys, k, value, out);
	for (unsigned int i = 0; i < ARRAY_SIZE(declarations); i++)
		if (strcmp(key, declarations[i]) == 0)
			return 0;
	if (strcmp(value, "NotUnderstood") != 0)
		iscsi_text_add(out, key, "NotUnderstood");
	return 0;
}

int iscsi_text_next(char *text, uint32_t len, uint32_t *pos, char **ret_key,
		    char **ret_value)
{
	while (*pos < len && text[*pos] == '\0')
		(*pos)++; /* padding that was counted as data */
	if (*pos == len)
		return 0;
	char *key = text + *pos;
	char *end = memchr(key, '\0', len - *pos);
	char *equals = end ? strchr(key, '=') : NULL;
	if (!equals || equals == key || equals - key > 63)
		return -EPROTO;
	*equals = '\0';
	*pos = (uint32_t)(end - text) + 1;
	*ret_key = key;
	*ret_value = equals + 1;
	return 1;
}
