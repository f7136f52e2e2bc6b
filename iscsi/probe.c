/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a logical unit is, at open; and whether it still is the same, at each new session.
 *
 * The check of a new session runs in the transport's task while I/O waits: TEST UNIT
 * READY until its unit attentions are told, then VPD page 83h, whose name must be the
 * one seen at open, then, if we have a reservation key, whether it is still there. Only
 * then is_ready. A name that differs makes the device gone for good: its data are
 * somebody else's; a key that another host took away makes it fenced.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "iscsi/lun_impl.h"

#define LUNS_SIZE (8u + 8u * ISCSI_LUNS_MAX)
#define TYPE_DISK 0u

static int ask(struct lun *lun, struct plain_command *p, void *data, uint32_t len)
{
	p->data = data;
	p->len = len;
	memset(data, 0, len);
	return lun_command(lun, p);
}

static int ask_vpd(struct lun *lun, uint8_t page, void *data, uint32_t len,
		   uint32_t *ret_len)
{
	struct plain_command p = { 0 };
	const uint8_t *bytes = data;

	scsi_cdb_inquiry(p.cdb, page, (uint16_t)len);
	int error = ask(lun, &p, data, len);
	if (error == 0 && (p.ret_len < 4 || bytes[1] != page))
		return -EPROTO;
	*ret_len = p.ret_len;
	return error;
}

/* ---- identity (FORMAT.md, disk identity) ---- */

/* From VPD 83h: the binary name and six characters of the model. */
static void identity_from_page(struct bdev_identity *id, const uint8_t *page,
			       uint32_t len)
{
	uint8_t name[32];
	bool is_binary = false;
	uint32_t name_len = scsi_vpd83_name(page, len, name, &is_binary);

	if (name_len == 0)
		return;
	id->type = is_binary ? 2 : 1;
	memcpy(id->id, name, name_len);
	memcpy(id->id + name_len, id->model, 6);
	id->len = (uint8_t)(name_len + 6);
}

/* From VPD 80h: the serial number and six characters of the model. */
static void identity_from_serial(struct lun *lun, struct bdev_identity *id)
{
	uint8_t page[256];
	uint32_t len;

	if (ask_vpd(lun, 0x80, page, sizeof(page), &len) < 0 || len <= 4)
		return;
	uint32_t serial_len = (uint32_t)min_u64(min_u64(page[3], len - 4), 20);
	if (serial_len == 0)
		return;
	id->type = 1;
	memset(id->id, ' ', 20);
	memcpy(id->id, page + 4, serial_len);
	memcpy(id->id + 20, id->model, 6);
	id->len = 26;
}

static void probe_identity(struct lun *lun, const struct scsi_inquiry_pdu *inquiry)
{
	struct bdev_identity *id = &lun->bd.identity;
	uint8_t page[VPD_SIZE];
	uint32_t len;

	id->lun = lun->url.lun;
	id->device_type = inquiry->device & 0x1f;
	id->scsi_level = inquiry->version;
	memcpy(id->vendor, inquiry->vendor, sizeof(id->vendor));
	memcpy(id->model, inquiry->model, sizeof(id->model));
	memcpy(id->revision, inquiry->revision, sizeof(id->revision));
	lun->tpgs = inquiry->flags[0] >> 4 & 3;
	if (ask_vpd(lun, 0x83, page, sizeof(page), &len) == 0) {
		identity_from_page(id, page, len);
		lun->is_named = id->len > 0;
		lun->port_group = scsi_vpd83_group(page, len);
	}
	if (id->len == 0)
		identity_from_serial(lun, id);
}

/* ---- is it there, is it a disk ---- */

int lun_report_luns(struct lun *lun, uint16_t *ret_luns, unsigned int max)
{
	uint8_t list[LUNS_SIZE];
	struct plain_command p = { .is_for_lun0 = true };
	unsigned int count = 0;

	scsi_cdb_report_luns(p.cdb, sizeof(list));
	int error = ask(lun, &p, list, sizeof(list));
	if (error || p.ret_len < 8)
		return error ? error : -EPROTO;
	uint32_t end =
		(uint32_t)min_u64(p.ret_len, 8ull + ((uint32_t)list[2] << 8 | list[3]));
	for (uint32_t at = 8; at + 8 <= end && count < max; at += 8)
		ret_luns[count++] = (uint16_t)((list[at] & 0x3f) << 8 | list[at + 1]);
	return (int)count;
}

/* "LUNs 0, 1, 2" for the report. */
static void list_luns(struct lun *lun, struct buf *out)
{
	uint16_t luns[ISCSI_LUNS_MAX];
	int count = lun_report_luns(lun, luns, ISCSI_LUNS_MAX);

	for (int i = 0; i < count; i++)
		buf_printf(out, "%s %u", i == 0 ? "; it has LUN" : ",", luns[i]);
}

static int not_there(struct lun *lun)
{
	struct buf luns = { 0 };

	list_luns(lun, &luns);
	report(lun->bd.reporter, REPORT_ERROR, "%s: the target has no LUN %u%s",
	       lun->url.text, lun->url.lun, luns.data ? luns.data : "");
	buf_done(&luns);
	return -ENODEV;
}

static int probe_inquiry(struct lun *lun, struct scsi_inquiry_pdu *ret_inquiry)
{
	struct plain_command p = { 0 };
	struct scsi_inquiry_pdu inquiry;

	scsi_cdb_inquiry(p.cdb, SCSI_STANDARD_INQUIRY, sizeof(inquiry));
	int error = ask(lun, &p, &inquiry, sizeof(inquiry));
	if (error == -ENODEV)
		return not_there(lun);
	if (error || p.ret_len < sizeof(inquiry))
		return report_error(lun->bd.reporter, error ? error : -EPROTO,
				    "%s: INQUIRY failed: %s", lun->url.text,
				    error ? strerror(-error) : "too short");
	if (inquiry.device >> 5)
		return not_there(lun);
	if ((inquiry.device & 0x1f) != TYPE_DISK)
		return report_error(lun->bd.reporter, -EMEDIUMTYPE,
				    "%s: LUN %u is no disk (device type %02xh)",
				    lun->url.text, lun->url.lun, inquiry.device & 0x1f);
	*ret_inquiry = inquiry;
	return 0;
}

static int probe_ready(struct lun *lun)
{
	bool has_others = lun->url.portals[0] || strcmp(lun->url.paths, "all") == 0;
	struct plain_command p = { .is_choosy = has_others };

	scsi_cdb_plain(p.cdb, SCSI_TEST_UNIT_READY);
	int error = lun_command(lun, &p);
	char codes[SCSI_CODES_SIZE];
	if (error)
		return report_error(lun->bd.reporter, error,
				    "%s: LUN %u is not ready: %s (%s)", lun->url.text,
				    lun->url.lun, scsi_sense_text(p.ret_sense),
				    scsi_sense_codes(p.ret_sense, codes));
	return 0;
}

/* ---- size and limits ---- */

static int ask_capacity(struct lun *lun, uint64_t *ret_blocks, uint32_t *ret_block_size)
{
	struct plain_command p = { 0 }, old = { 0 };
	struct scsi_capacity16_pdu c;
	struct {
		be32 last_lba, block_size;
	} c10;

	scsi_cdb_read_capacity16(p.cdb, sizeof(c));
	int error = ask(lun, &p, &c, sizeof(c));
	if (error == 0 && p.ret_len >= 12) {
		*ret_block_size = be32_get(c.block_size);
		lun->is_thin = p.ret_len >= 15 && c.thin & 0x80;
		lun->reads_zeros = p.ret_len >= 15 && c.thin & 0x40;
		return checked_add(be64_get(c.last_lba), 1, ret_blocks) ? 0 : -EPROTO;
	}
	scsi_cdb_plain(old.cdb, SCSI_READ_CAPACITY10);
	error = ask(lun, &old, &c10, sizeof(c10));
	if (error == 0 && old.ret_len < sizeof(c10))
		error = -EPROTO;
	if (error == 0) {
		*ret_blocks = (uint64_t)be32_get(c10.last_lba) + 1;
		*ret_block_size = be32_get(c10.block_size);
	}
	return error;
}

static int probe_capacity(struct lun *lun)
{
	struct reporter *r = lun->bd.reporter;
	uint64_t blocks = 0;
	uint32_t block_size = 0;
	int error = ask_capacity(lun, &blocks, &block_size);

	if (error)
		return report_error(r, error, "%s: READ CAPACITY failed: %s",
				    lun->url.text, strerror(-error));
	if (block_size != 512 && block_size != 4096)
		return report_error(r, -EINVAL,
				    "%s: blocks of %u bytes, only 512 and 4096 work",
				    lun->url.text, block_size);
	if (!checked_mul(blocks, block_size, &lun->bd.size))
		return report_error(r, -EINVAL, "%s: a size of %llu blocks of %u bytes",
				    lun->url.text, (unsigned long long)blocks,
				    block_size);
	lun->bd.block_size = block_size;
	return 0;
}

/* Only ever larger: what is in flight was checked against what it was. */
int lun_rescan(struct bdev *bd)
{
	struct lun *lun = (struct lun *)bd;
	uint64_t blocks, size;
	uint32_t block_size;
	int error = ask_capacity(lun, &blocks, &block_size);

	if (error)
		return report_error(bd->reporter, error,
				    "%s: READ CAPACITY failed: %s", bd->name,
				    strerror(-error));
	if (block_size == bd->block_size && checked_mul(blocks, block_size, &size) &&
	    size > bd->size)
		__atomic_store_n(&bd->size, size, __ATOMIC_RELAXED);
	return 0;
}

static void probe_limits(struct lun *lun)
{
	uint8_t b0[64], b1[64], b2[64];
	struct limits_pages pages = { .b0 = b0, .b1 = b1, .b2 = b2 };

	if (ask_vpd(lun, 0xb0, b0, sizeof(b0), &pages.b0_len) < 0)
		pages.b0_len = 0;
	if (ask_vpd(lun, 0xb1, b1, sizeof(b1), &pages.b1_len) < 0)
		pages.b1_len = 0;
	if (ask_vpd(lun, 0xb2, b2, sizeof(b2), &pages.b2_len) < 0)
		pages.b2_len = 0;
	lun->limits = limits_read(&pages, lun->bd.block_size);
	lun_trials_init(lun);
	lun->bd.has_unmap = !lun_is_refused(&lun->delete);
	lun->bd.has_write_zeroes = true;
	lun->bd.max_io = lun->limits.max_transfer;
	lun->bd.caw = BDEV_CAW_ATS;
}

/* Mode page 08h: is there a volatile cache? A unit that does not tell has one. */
static void probe_cache(struct lun *lun)
{
	struct plain_command p = { 0 };
	uint8_t mode[64];

	lun->bd.has_write_cache = true;
	scsi_cdb_mode_sense6(p.cdb, 0x08, sizeof(mode));
	if (ask(lun, &p, mode, sizeof(mode)) < 0 || p.ret_len < 4)
		return;
	lun->has_fua = mode[2] & 0x10;
	if (mode[2] & 0x80)
		lun->bd.is_read_only = true;
	uint32_t at = 4u + mode[3];
	if (at + 3 <= p.ret_len && at + 3 <= sizeof(mode) && (mode[at] & 0x3f) == 0x08)
		lun->bd.has_write_cache = mode[at + 2] & 0x04;
}

int lun_probe(struct lun *lun)
{
	struct scsi_inquiry_pdu inquiry;
	int error = probe_inquiry(lun, &inquiry);

	if (error == 0)
		error = probe_ready(lun);
	if (error == 0)
		error = probe_capacity(lun);
	if (error)
		return error;
	probe_identity(lun, &inquiry);
	probe_limits(lun);
	lun_probe_copy(lun);
	probe_cache(lun);
	return 0;
}

void lun_probed_as(struct lun *lun, const struct lun *like)
{
	struct bdev *bd = &lun->bd;

	bd->size = like->bd.size;
	bd->block_size = like->bd.block_size;
	bd->max_io = like->bd.max_io;
	bd->is_read_only = like->bd.is_read_only;
	bd->has_write_cache = like->bd.has_write_cache;
	bd->has_unmap = like->bd.has_unmap;
	bd->has_write_zeroes = like->bd.has_write_zeroes;
	bd->caw = like->bd.caw;
	bd->identity = like->bd.identity;
	lun->is_named = like->is_named;
	lun->tpgs = like->tpgs;
	lun->has_fua = like->has_fua;
	lun->limits = like->limits;
	lun->is_thin = like->is_thin;
	lun->reads_zeros = like->reads_zeros;
	lun_trials_init(lun);
	lun_copy_probed_as(lun, like);
}

/* ---- the check of a new session ---- */

static void send_check(struct lun *lun, void (*ended)(struct command *c, int error))
{
	struct command *c = &lun->check;

	c->lun = lun;
	c->ended = ended;
	c->may_repeat = true;
	c->is_probe = true;
	c->fails_on_conflict = true;
	c->attentions = c->delays = 0;
	c->deadline = NO_DEADLINE;
	c->task.may_be_short = true;
	c->task.is_write = false;
	c->task.iov = &c->iov;
	c->task.iovcnt = 1;
	c->task.len = (uint32_t)c->iov.iov_len;
	TAILQ_INSERT_HEAD(&lun->queue, c, link);
}

static void back_in_service(struct lun *lun)
{
	lun_set_ready(lun, true);
	lun_condition_back(lun);
	if (!lun->is_lost)
		return;
	lun->is_lost = false;
	report(lun->bd.reporter, REPORT_INFO, "%s: connected again after %llu ms",
	       lun->url.text,
	       (unsigned long long)((clock_now() - lun->down_since) / NS_PER_MS));
}

static void check_keys_ended(struct command *c, int error)
{
	struct lun *lun = c->lun;

	if (!error && lun_is_key_taken(lun, c))
		lun_fenced(lun);
	back_in_service(lun);
}

static void check_name_ended(struct command *c, int error)
{
	struct lun *lun = c->lun;
	struct bdev_identity id = lun->bd.identity;

	if (error == 0)
		lun->port_group =
			scsi_vpd83_group(lun->check_page, c->task.transferred);
	if (lun->is_named) {
		memset(id.id, 0, sizeof(id.id));
		id.len = 0;
	}
	if (error == 0 && lun->is_named)
		identity_from_page(&id, lun->check_page, c->task.transferred);
	/* One path of several carries nothing before its unit has said who it is. */
	if (!id.len && atomic_load(&lun->watch)) {
		lun_set_ready(lun, false);
		lun_tell(lun, LUN_NEWS_GONE);
		return;
	}
	if (error == 0 && lun->is_named) {
		if (id.type != lun->bd.identity.type ||
		    id.len != lun->bd.identity.len ||
		    memcmp(id.id, lun->bd.identity.id, id.len) != 0) {
			lun->is_gone = true;
			report(lun->bd.reporter, REPORT_ERROR,
			       "%s: another disk answers under this URL now",
			       lun->url.text);
			lun_set_ready(lun, false);
			lun_tell(lun, LUN_NEWS_GONE);
			return;
		}
	}
	/* A unit that is gone says so to the I/O that waits. */
	if (!lun_has_key(lun) || lun->is_asking) {
		back_in_service(lun);
		return;
	}
	lun_fill_read_keys(lun, c);
	send_check(lun, check_keys_ended);
}

static void check_ready_ended(struct command *c, int error)
{
	struct lun *lun = c->lun;

	if (error == -ENODEV) {
		lun_pdl(lun, c);
		return;
	}
	/* Whatever else it is, I/O will meet it too. */
	scsi_cdb_inquiry(c->task.cdb, 0x83, sizeof(lun->check_page));
	c->iov = (struct iovec){ lun->check_page, sizeof(lun->check_page) };
	send_check(lun, check_name_ended);
}

static void forget(struct command_list *list, struct command *c)
{
	struct command *q;

	TAILQ_FOREACH(q, list, link)
	if (q == c)
		break;
	if (q)
		TAILQ_REMOVE(list, c, link);
}

void lun_check_start(struct lun *lun)
{
	struct command *c = &lun->check;

	/* The one of the last session may still wait. */
	forget(&lun->queue, c);
	forget(&lun->delayed, c);
	memset(c, 0, sizeof(*c));
	scsi_cdb_plain(c->task.cdb, SCSI_TEST_UNIT_READY);
	send_check(lun, check_ready_ended);
}
