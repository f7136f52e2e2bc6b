/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fixed newstyle negotiation (doc/proto.md, "Fixed newstyle negotiation", "Option
 * types").
 *
 *	FLAGS --client flags--> OPTIONS --GO, EXPORT_NAME--> DONE
 *				   |---ABORT, EXPORT_NAME of an unknown name--> CLOSE
 *
 * 1. A message is used only when all of it is there; every length in it is compared with
 *    the length of the option before it is used.
 * 2. TLS and whatever comes later are refused with ERR_UNSUP, which a client must accept.
 * 3. Contexts are chosen whole: an option that chooses them forgets what an earlier one
 *    chose, also if it is refused.
 */
#include "vdisk/nbd/haggle.h"

#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vdisk/nbd/proto.h"

#define PREFERRED_BLOCK_SIZE 4096u

/*
 * enum nbd_transmission_flags. All connections go to one device by one task: what one
 * flushes or reads is what another has written, so several are always right.
 */
static uint16_t export_flags(const struct haggle *h, const struct nbd_export *e)
{
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
			 NBD_FLAG_CAN_MULTI_CONN;
	flags |= h->is_structured ? NBD_FLAG_SEND_DF : 0;
	if (e->is_read_only || (e->bd->is_read_only && !e->is_standby))
		return flags | NBD_FLAG_READ_ONLY;
	return flags | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;
}

void haggle_start(struct haggle *h, struct buf *out)
{
	*h = (struct haggle){ .state = HAGGLE_FLAGS };
	struct nbd_greeting_msg m = {
		.magic = be64_of(NBD_MAGIC),
		.option_magic = be64_of(NBD_OPTION_MAGIC),
		.flags = be16_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
	};
	buf_add(out, &m, sizeof(m));
}

static int64_t take_flags(struct haggle *h, const uint8_t *in, size_t len)
{
	be32 wire;
	if (len < sizeof(wire))
		return 0;
	memcpy(&wire, in, sizeof(wire));
	uint32_t flags = be32_get(wire);
	if (flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
		return -EPROTO;
	h->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
	h->state = HAGGLE_OPTIONS;
	return sizeof(wire);
}

static void reply(struct buf *out, uint32_t option, uint32_t type, const void *data,
		  uint32_t len)
{
	struct nbd_option_reply_msg m = {
		.magic = be64_of(NBD_OPTION_REPLY_MAGIC),
		.option = be32_of(option),
		.type = be32_of(type),
		.len = be32_of(len),
	};
	buf_add(out, &m, sizeof(m));
	buf_add(out, data, len);
}

static bool is_our_name(const struct nbd_export *e, const uint8_t *name, uint32_t len)
{
	return len == 0 || (len == strlen(e->name) && memcmp(name, e->name, len) == 0);
}

static void take_export_name(struct haggle *h, const struct nbd_export *e,
			     const uint8_t *data, uint32_t len, struct buf *out)
{
	static const uint8_t zeros[NBD_EXPORT_NAME_PAD];
	if (!is_our_name(e, data, len)) {
		h->state = HAGGLE_CLOSE; /* this option has no error reply */
		return;
	}
	struct nbd_export_msg m = {
		.size = be64_of(e->bd->size),
		.flags = be16_of(export_flags(h, e)),
	};
	buf_add(out, &m, sizeof(m));
	if (!h->no_zeroes)
		buf_add(out, zeros, sizeof(zeros));
	h->state = HAGGLE_DONE;
}

static void take_list(const struct nbd_export *e, uint32_t len, struct buf *out)
{
	uint32_t name_len = (uint32_t)strlen(e->name);
	be32 wire = be32_of(name_len);
	struct buf b = { 0 };
	if (len) {
		reply(out, NBD_OPT_LIST, NBD_REP_ERR_INVALID, NULL, 0);
		return;
	}
	buf_add(&b, &wire, sizeof(wire));
	buf_add(&b, e->name, name_len);
	if (b.error)
		out->error = b.error;
	else
		reply(out, NBD_OPT_LIST, NBD_REP_SERVER, b.data, (uint32_t)b.len);
	buf_done(&b);
	reply(out, NBD_OPT_LIST, NBD_REP_ACK, NULL, 0);
}

static void reply_info_name(const struct nbd_export *e, uint32_t option, struct buf *out)
{
	be16 type = be16_of(NBD_INFO_NAME);
	struct buf b = { 0 };
	buf_add(&b, &type, sizeof(type));
	buf_add(&b, e->name, strlen(e->name));
	if (b.error)
		out->error = b.error;
	else
		reply(out, option, NBD_REP_INFO, b.data, (uint32_t)b.len);
	buf_done(&b);
}

static void reply_info(const struct nbd_export *e, uint32_t option, uint16_t type,
		       struct buf *out)
{
	if (type == NBD_INFO_BLOCK_SIZE) {
		uint32_t minimum = e->bd->block_size;
		struct nbd_info_block_size_msg m = {
			.type = be16_of(type),
			.minimum = be32_of(minimum),
			.preferred =
				be32_of((uint32_t)max_u64(minimum, PREFERRED_BLOCK_SIZE)),
			.maximum = be32_of(NBD_PAYLOAD_MAX),
		};
		reply(out, option, NBD_REP_INFO, &m, sizeof(m));
	} else if (type == NBD_INFO_NAME) {
		reply_info_name(e, option, out);
	}
}

/* INFO and GO: be32 name length, name, be16 count, count be16 of what is asked for. */
static void take_go(struct haggle *h, const struct nbd_export *e, uint32_t option,
		    const uint8_t *data, uint32_t len, struct buf *out)
{
	be32 wire_len;
	be16 wire;
	if (len < sizeof(wire_len) + sizeof(wire))
		return reply(out, option, NBD_REP_ERR_INVALID, NULL, 0);
	memcpy(&wire_len, data, sizeof(wire_len));
	uint32_t name_len = be32_get(wire_len);
	if (name_len > len - sizeof(wire_len) - sizeof(wire) || name_len > NBD_NAME_MAX)
		return reply(out, option, NBD_REP_ERR_INVALID, NULL, 0);
	const uint8_t *name = data + sizeof(wire_len);
	const uint8_t *asked = name + name_len + sizeof(wire);
	memcpy(&wire, name + name_len, sizeof(wire));
	uint32_t count = be16_get(wire);
	if (count * sizeof(wire) != len - sizeof(wire_len) - name_len - sizeof(wire))
		return reply(out, option, NBD_REP_ERR_INVALID, NULL, 0);
	if (!is_our_name(e, name, name_len))
		return reply(out, option, NBD_REP_ERR_UNKNOWN, NULL, 0);
	struct nbd_info_export_msg m = {
		.type = be16_of(NBD_INFO_EXPORT),
		.size = be64_of(e->bd->size),
		.flags = be16_of(export_flags(h, e)),
	};
	reply(out, option, NBD_REP_INFO, &m, sizeof(m));
	uint32_t seen = 0; /* each once, however often it is asked for */
	for (uint32_t i = 0; i < count; i++) {
		memcpy(&wire, asked + i * sizeof(wire), sizeof(wire));
		uint16_t type = be16_get(wire);
		if (type < 32 && !(seen & 1u << type))
			reply_info(e, option, type, out);
		seen |= type < 32 ? 1u << type : 0;
	}
	reply(out, option, NBD_REP_ACK, NULL, 0);
	if (option == NBD_OPT_GO)
		h->state = HAGGLE_DONE;
}

/* ---- metadata contexts ---- */

/* Tells name, which is context number id (0 in a list). */
static void reply_context(struct buf *out, uint32_t option, uint32_t id, const char *name)
{
	be32 wire = be32_of(id);
	struct buf b = { 0 };
	buf_add(&b, &wire, sizeof(wire));
	buf_add(&b, name, strlen(name));
	if (b.error)
		out->error = b.error;
	else
		reply(out, option, NBD_REP_META_CONTEXT, b.data, (uint32_t)b.len);
	buf_done(&b);
}

/* All names that begin with the len bytes at prefix. */
static void list_contexts(const struct nbd_contexts *contexts, const uint8_t *prefix,
			  uint32_t len, struct buf *out)
{
	const char *name;
	for (unsigned int i = 0; (name = contexts->name(contexts->arg, i)); i++) {
		if (strlen(name) >= len && memcmp(name, prefix, len) == 0)
			reply_context(out, NBD_OPT_LIST_META_CONTEXT, 0, name);
	}
}

/* One query: a name; of a list also a name's beginning, up to a ':'. */
static void take_query(struct haggle *h, const struct nbd_contexts *contexts,
		       uint32_t option, const uint8_t *query, uint32_t len,
		       struct buf *out)
{
	char name[NBD_NAME_MAX + 1];
	uint64_t key;
	bool is_list = option == NBD_OPT_LIST_META_CONTEXT;
	if (is_list && len && query[len - 1] == ':')
		return list_contexts(contexts, query, len, out);
	if (memchr(query, 0, len) || h->context_count == NBD_CONTEXTS_MAX)
		return;
	memcpy(name, query, len);
	memcpy(name + len, "", 1);
	if (contexts->choose(contexts->arg, name, &key) < 0)
		return;
	if (!is_list)
		h->context_key[h->context_count++] = key;
	reply_context(out, option, is_list ? 0 : h->context_count, name);
}

/*
 * A string at *at of the len bytes at data: be32 length, bytes. false: it is not there.
 */
static bool next_string(const uint8_t *data, uint32_t len, uint32_t *at,
			const uint8_t **ret_text, uint32_t *ret_len)
{
	be32 wire;
	if (len - *at < sizeof(wire))
		return false;
	memcpy(&wire, data + *at, sizeof(wire));
	uint32_t text_len = be32_get(wire);
	if (text_len > NBD_NAME_MAX || text_len > len - *at - sizeof(wire))
		return false;
	*ret_text = data + *at + sizeof(wire);
	*ret_len = text_len;
	*at += (uint32_t)sizeof(wire) + text_len;
	return true;
}

/* Export name, be32 count, count queries; nothing behind them. */
static bool is_well_formed(const uint8_t *data, uint32_t len)
{
	const uint8_t *text;
	uint32_t at = 0, text_len;
	be32 wire;
	if (!next_string(data, len, &at, &text, &text_len) || len - at < sizeof(wire))
		return false;
	memcpy(&wire, data + at, sizeof(wire));
	at += (uint32_t)sizeof(wire);
	for (uint32_t n = be32_get(wire); n > 0; n--) {
		if (!next_string(data, len, &at, &text, &text_len))
			return false;
	}
	return at == len;
}

static void take_contexts(struct haggle *h, const struct nbd_export *e, uint32_t option,
			  const uint8_t *data, uint32_t len, struct buf *out)
{
	const uint8_t *text;
	uint32_t at = 0, text_len;
	be32 wire;
	if (option == NBD_OPT_SET_META_CONTEXT)
		h->context_count = 0;
	if (!h->is_structured || !is_well_formed(data, len))
		return reply(out, option, NBD_REP_ERR_INVALID, NULL, 0);
	(void)next_string(data, len, &at, &text, &text_len); /* it is well formed */
	if (!is_our_name(e, text, text_len))
		return reply(out, option, NBD_REP_ERR_UNKNOWN, NULL, 0);
	memcpy(&wire, data + at, sizeof(wire));
	at += (uint32_t)sizeof(wire);
	if (e->contexts && at == len && option == NBD_OPT_LIST_META_CONTEXT)
		list_contexts(e->contexts, data, 0, out);
	while (e->contexts && next_string(data, len, &at, &text, &text_len))
		take_query(h, e->contexts, option, text, text_len, out);
	reply(out, option, NBD_REP_ACK, NULL, 0);
}

static void take_structured(struct haggle *h, uint32_t len, struct buf *out)
{
	h->is_structured |= len == 0;
	reply(out, NBD_OPT_STRUCTURED_REPLY, len ? NBD_REP_ERR_INVALID : NBD_REP_ACK,
	      NULL, 0);
}

static int64_t take_option(struct haggle *h, const struct nbd_export *e,
			   const uint8_t *in, size_t len, struct buf *out)
{
	struct nbd_option_msg m;
	if (len < sizeof(m))
		return 0;
	memcpy(&m, in, sizeof(m));
	uint32_t option = be32_get(m.option);
	uint32_t data_len = be32_get(m.len);
	if (be64_get(m.magic) != NBD_OPTION_MAGIC || data_len > NBD_OPTION_MAX)
		return -EPROTO;
	if (len - sizeof(m) < data_len)
		return 0;
	const uint8_t *data = in + sizeof(m);
	switch (option) {
	case NBD_OPT_EXPORT_NAME:
		take_export_name(h, e, data, data_len, out);
		break;
	case NBD_OPT_ABORT:
		reply(out, option, NBD_REP_ACK, NULL, 0);
		h->state = HAGGLE_CLOSE;
		break;
	case NBD_OPT_LIST:
		take_list(e, data_len, out);
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		take_go(h, e, option, data, data_len, out);
		break;
	case NBD_OPT_STRUCTURED_REPLY:
		take_structured(h, data_len, out);
		break;
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		take_contexts(h, e, option, data, data_len, out);
		break;
	default:
		reply(out, option, NBD_REP_ERR_UNSUP, NULL, 0);
		break;
	}
	return (int64_t)(sizeof(m) + data_len);
}

int64_t haggle_input(struct haggle *h, const struct nbd_export *e, const uint8_t *in,
		     size_t len, struct buf *out)
{
	switch (h->state) {
	case HAGGLE_FLAGS:
		return take_flags(h, in, len);
	case HAGGLE_OPTIONS:
		return take_option(h, e, in, len, out);
	case HAGGLE_DONE:
	case HAGGLE_CLOSE:
		break;
	}
	return 0;
}
