/* SPDX-License-Identifier: Apache-2.0 */
#include "vmkernel/vmotion/heard.h"

#include <errno.h>
#include <string.h>

int preface_check(struct preface_msg *pre, int64_t len)
{
	pre->host[sizeof(pre->host) - 1] = '\0';
	pre->token[sizeof(pre->token) - 1] = '\0';
	uint32_t kind = le32_get(pre->kind);
	return len == (int64_t)sizeof(*pre) && memcmp(pre->magic, "VMOTION1", 8) == 0 &&
			       (kind == PREFACE_CONTROL || kind == PREFACE_STREAM) ?
		       0 : -EPROTO;
}

int offer_read(const json_t *body, size_t path_size, struct offer *ret)
{
	const char *owner;
	int is_kvm, taps;
	json_int_t lock_token, slot, generation;
	json_t *locks;
	json_t *b = json_incref((json_t *)(uintptr_t)body);
	*ret = (struct offer){ 0 };
	int bad = json_unpack(
		b, "{s:s, s:i, s:s, s:s, s:b, s:s, s?s, s:I, s:I, s:I, s:s, s:o}", "path",
		&ret->path, "taps", &taps, "name", &ret->name, "token", &ret->token,
		"is_kvm", &is_kvm, "cpu", &ret->cpu, "model", &ret->model, "lock_token",
		&lock_token, "slot", &slot, "generation", &generation, "owner", &owner,
		"locks", &locks);
	json_decref(b);
	if (bad < 0 || *ret->path != '/' || strlen(ret->path) >= path_size ||
	    strlen(ret->token) != OFFER_TOKEN_SIZE - 1 || !json_is_array(locks) ||
	    slot < 0 || slot > UINT32_MAX || uuid_parse(owner, &ret->source.owner) < 0)
		return -EPROTO;
	ret->is_kvm = is_kvm;
	ret->taps = (uint32_t)taps;
	ret->lock_token = (uint64_t)lock_token;
	ret->source.slot = (uint32_t)slot;
	ret->source.generation = (uint64_t)generation;
	ret->locks = locks;
	ret->tells_still = json_is_true(json_object_get(body, "tells_still"));
	return 0;
}
