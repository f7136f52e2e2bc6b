/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching heartbeats without being a member.
 *
 * One read of a slot says who took it, not whether he lives: a crashed host leaves it as
 * it was. So the slots are read again and again, and a host is called
 *   alive   when its stamp was seen to move (or its process holds the liveness lock),
 *   silent  when it has not moved for more than its interval,
 *   dead    when it has not moved for the time after which members take it over, or when
 *           the kernel says that its process is gone.
 * Nothing is written, no slot is taken, no lock is asked for: the liveness lock is only
 * looked at.
 */
#include "fsck/dump_hosts.h"

#include <errno.h>
#include <inttypes.h>
#include <isa-l/crc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "base/uuid.h"

#define POLL_NS (200 * NS_PER_MS)
#define FENCE_LIVENESS (1u << 3)

/* ---- one slot ---- */

static bool has_extension(const struct vmfs_heartbeat_disk *hb)
{
	return le32_get(hb->xmagic) == HEARTBEAT_XMAGIC;
}

/* LOCKING.md 14: T_hb : T_lease = 3 : 16. */
static uint64_t interval_ns(const struct vmfs_heartbeat_disk *hb)
{
	uint64_t lease_ms = has_extension(hb) ? le32_get(hb->lease_ms) : 16000;

	return lease_ms * 3 / 16 * NS_PER_MS;
}

static uint64_t dead_ns(const struct vmfs_heartbeat_disk *hb)
{
	return (has_extension(hb) ? le32_get(hb->dead_ms) : 24000) * NS_PER_MS;
}

static bool is_damaged(const struct fsck_volume *v, const struct vmfs_heartbeat_disk *hb,
		       uint32_t slot)
{
	struct vmfs_heartbeat_disk copy = *hb;
	uint32_t state = le32_get(hb->state);

	if (le64_get(hb->addr) !=
		    VMFS_HEARTBEATS_OFF + (uint64_t)slot * v->shape->heartbeat_size ||
	    (state != HEARTBEAT_FREE && state != HEARTBEAT_LIVE))
		return true;
	copy.xcrc = le32_of(0);
	return has_extension(hb) &&
	       le32_get(hb->xcrc) != ~crc32_iscsi((unsigned char *)&copy, sizeof(copy),
						  0xffffffffu);
}

static bool is_free(const struct vmfs_heartbeat_disk *hb)
{
	return le32_get(hb->state) == HEARTBEAT_FREE;
}

/* Does the process that took this slot exist? Only where a file's kernel can tell. */
static void look_at_process(const struct fsck_volume *v, struct dump_host *h)
{
	h->is_process_known = false;
	if (!has_extension(&h->image) || !(h->image.fence & FENCE_LIVENESS))
		return;
	/* The device is read-only: the lock is looked at, not taken. */
	int err = bdev_liveness(v->extents[0].bd, le64_get(h->image.addr), true);
	h->is_process_known = err == -EBUSY || err == -EROFS;
	h->has_process = err == -EBUSY;
}

static enum dump_life judge(const struct dump_host *h, uint64_t now)
{
	uint64_t still = now - h->last_moved;

	if (h->life == LIFE_LEFT || h->life == LIFE_DAMAGED)
		return h->life;
	if (h->is_process_known)
		return h->has_process ? LIFE_ALIVE : LIFE_DEAD;
	/* A stopped process with a liveness lock that we cannot see may still live. */
	bool may_die = !has_extension(&h->image) || !(h->image.fence & FENCE_LIVENESS);
	if (still >= dead_ns(&h->image) && may_die)
		return LIFE_DEAD;
	if (h->moves && still < 2 * interval_ns(&h->image))
		return LIFE_ALIVE;
	return still > interval_ns(&h->image) ? LIFE_SILENT : LIFE_UNKNOWN;
}

/* ---- all of them, again and again ---- */

static struct dump_host *find(const struct dump_hosts *hs, uint32_t slot)
{
	for (uint32_t i = 0; i < hs->count; i++)
		if (hs->hosts[i].slot == slot)
			return &hs->hosts[i];
	return NULL;
}

static int add(const struct fsck_volume *v, struct dump_hosts *hs, uint32_t slot,
	       const struct vmfs_heartbeat_disk *hb, uint64_t now)
{
	struct dump_host *grown =
		realloc(hs->hosts, (hs->count + 1) * sizeof(*hs->hosts));

	if (!grown)
		return -ENOMEM;
	hs->hosts = grown;
	hs->hosts[hs->count++] = (struct dump_host){
		.slot = slot,
		.life = is_damaged(v, hb, slot) ? LIFE_DAMAGED : LIFE_UNKNOWN,
		.image = *hb,
		.first_read = now,
		.last_moved = now,
	};
	return 0;
}

/* What a later read shows of a host that was there before. */
static void compare(const struct fsck_volume *v, struct dump_host *h,
		    const struct vmfs_heartbeat_disk *hb, uint64_t now)
{
	bool is_same_life = le64_get(hb->generation) == le64_get(h->image.generation) &&
			    !memcmp(hb->owner, h->image.owner, sizeof(hb->owner));

	if (h->life == LIFE_LEFT)
		return;
	if (h->life == LIFE_DAMAGED || is_damaged(v, hb, h->slot)) {
		h->life = LIFE_DAMAGED;
		h->image = *hb;
		return;
	}
	if (is_free(hb) || !is_same_life) {
		h->life = LIFE_LEFT;
		return;
	}
	if (le64_get(hb->stamp_us) != le64_get(h->image.stamp_us)) {
		h->last_moved = now;
		h->moves++;
	}
	h->image = *hb; /* perhaps it was claimed */
}

static uint64_t region_size(const struct fsck_volume *v)
{
	return (uint64_t)v->shape->heartbeat_count * v->shape->heartbeat_size;
}

static int look(const struct fsck_volume *v, struct dump_hosts *hs, uint8_t *region)
{
	const struct vmfs_shape *shape = v->shape;
	int err = fsck_read(v, VMFS_HEARTBEATS_OFF, region, region_size(v));
	uint64_t now = clock_now();

	for (uint32_t i = 0; !err && i < shape->heartbeat_count; i++) {
		struct dump_host *h = find(hs, i);
		struct vmfs_heartbeat_disk hb;

		memcpy(&hb, region + (uint64_t)i * shape->heartbeat_size, sizeof(hb));
		if (h)
			compare(v, h, &hb, now);
		else if (!is_free(&hb) || is_damaged(v, &hb, i))
			err = add(v, hs, i, &hb, now);
	}
	for (uint32_t i = 0; !err && i < hs->count; i++) {
		look_at_process(v, &hs->hosts[i]);
		hs->hosts[i].life = judge(&hs->hosts[i], now);
	}
	return err;
}

static int look_once(const struct fsck_volume *v, struct dump_hosts *hs)
{
	uint8_t *region = malloc(region_size(v));
	int err = region ? look(v, hs, region) : -ENOMEM;

	free(region);
	return err;
}

/* Nothing more would be learned by the end of each host's interval. */
static bool is_settled(const struct dump_hosts *hs)
{
	for (uint32_t i = 0; i < hs->count; i++)
		if (hs->hosts[i].life == LIFE_UNKNOWN)
			return false;
	return true;
}

int dump_hosts_watch(const struct fsck_volume *v, uint64_t watch_ns,
		     struct dump_hosts *ret_hosts)
{
	struct dump_hosts *hs = ret_hosts;
	uint64_t start = clock_now();

	*hs = (struct dump_hosts){ .volume = v };
	for (;;) {
		int err = look_once(v, hs);
		uint64_t now = clock_now();

		hs->watched_ns = now - start;
		if (err || hs->watched_ns >= watch_ns)
			return err;
		if (watch_ns == DUMP_WATCH_LEAST && is_settled(hs))
			return 0;
		task_sleep_until(min_u64(now + POLL_NS, watch_ns == DUMP_WATCH_LEAST ?
								UINT64_MAX :
								start + watch_ns));
	}
}

int dump_hosts_refresh(const struct fsck_volume *v, struct dump_hosts *hs)
{
	return look_once(v, hs);
}

void dump_hosts_done(struct dump_hosts *hs)
{
	free(hs->hosts);
	*hs = (struct dump_hosts){ .count = 0 };
}

const struct dump_host *dump_hosts_at(const struct dump_hosts *hs, uint64_t hb_addr)
{
	uint32_t slot;

	/* Without a volume, nobody was watched. */
	return hs->volume && fsck_slot_of(hs->volume, hb_addr, &slot) ? find(hs, slot)
								      : NULL;
}

/* ---- as text ---- */

const char *dump_life_name(enum dump_life life)
{
	switch (life) {
	case LIFE_ALIVE:
		return "alive";
	case LIFE_SILENT:
		return "silent";
	case LIFE_DEAD:
		return "dead";
	case LIFE_LEFT:
		return "left";
	case LIFE_DAMAGED:
		return "damaged";
	default:
		return "unknown";
	}
}

const char *dump_mac_text(const uint8_t uuid[16], char buf[static 18])
{
	(void)snprintf(buf, 18, "%02x:%02x:%02x:%02x:%02x:%02x", uuid[10], uuid[11],
		       uuid[12], uuid[13], uuid[14], uuid[15]);
	return buf;
}

const char *dump_host_name(const struct dump_host *h, char buf[static 47])
{
	unsigned int n = 0;

	for (; n < sizeof(h->image.ip) && h->image.ip[n]; n++) {
		uint8_t c = h->image.ip[n];
		buf[n] = (char)(c < ' ' || c >= 0x7f ? '?' : c);
	}
	buf[n] = '\0';
	return buf;
}

static const char *class_name(const struct vmfs_heartbeat_disk *hb)
{
	switch (has_extension(hb) ? hb->storage_class : 0) {
	case 1:
		return "COMPARE AND WRITE";
	case 2:
		return "file locks";
	case 3:
		return "SCSI reservations";
	default:
		return "not said";
	}
}

static double seconds(uint64_t ns)
{
	return (double)(ns / NS_PER_MS) / 1000;
}

/* Why we say so, in one clause. */
static const char *evidence(const struct dump_host *h, char *buf, size_t size)
{
	uint64_t now = clock_now();
	double still = seconds(now - h->last_moved);

	if (h->life == LIFE_DAMAGED)
		(void)snprintf(buf, size, "own address, state or checksum is wrong: not "
					  "used and never broken");
	else if (h->life == LIFE_LEFT)
		(void)snprintf(buf, size, "the slot was given up while it was watched");
	else if (h->is_process_known && h->has_process &&
		 now - h->last_moved > 2 * interval_ns(&h->image))
		(void)snprintf(buf, size, "its process exists (it holds the liveness "
					  "lock), but its stamp did not move for %.1f s: "
					  "stopped?", still);
	else if (h->is_process_known && h->has_process)
		(void)snprintf(buf, size, "its process exists (it holds the liveness "
					  "lock); stamp moved %u times in %.1f s",
			       h->moves, seconds(now - h->first_read));
	else if (h->is_process_known)
		(void)snprintf(buf, size, "its process is gone (liveness lock free): who "
					  "meets its locks takes over");
	else if (h->life == LIFE_ALIVE)
		(void)snprintf(buf, size, "stamp moved %u times in %.1f s, last %.1f s "
					  "ago", h->moves, seconds(now - h->first_read),
			       still);
	else if (h->life == LIFE_DEAD)
		(void)snprintf(buf, size, "stamp did not move for %.1f s: who meets its "
					  "locks takes over", still);
	else
		(void)snprintf(buf, size, "stamp did not move for %.1f s; dead after "
					  "%.0f s (--watch %.0f)", still,
			       seconds(dead_ns(&h->image)),
			       seconds(dead_ns(&h->image)) + 1);
	return buf;
}

static void print_fence(const struct vmfs_heartbeat_disk *hb)
{
	static const char *const names[] = { "persistent reservations", "guard",
					     "watchdog", "liveness lock" };
	bool is_any = false;

	for (unsigned int i = 0; has_extension(hb) && i < ARRAY_SIZE(names); i++)
		if (hb->fence & 1u << i) {
			printf("%s%s", is_any ? ", " : "", names[i]);
			is_any = true;
		}
	fputs(is_any ? "" : "time alone", stdout);
}

static bool is_claimed(const struct vmfs_heartbeat_disk *hb)
{
	struct uuid u;

	memcpy(u.b, hb->replay_host, sizeof(u.b));
	return !uuid_is_zero(&u);
}

static void print_claim(const struct dump_hosts *hs, const struct vmfs_heartbeat_disk *hb)
{
	const struct dump_host *by = dump_hosts_at(hs, le64_get(hb->replay_hb));
	uint32_t slot = 0;
	char name[47];

	/* 0 says enough */
	(void)fsck_slot_of(hs->volume, le64_get(hb->replay_hb), &slot);
	printf("    being taken over by slot %u", slot);
	if (by && le64_get(by->image.generation) == le64_get(hb->replay_hb_gen))
		printf(", host %s (%s)", dump_host_name(by, name),
		       dump_life_name(by->life));
	else
		fputs(", whose host is gone: the next one begins anew", stdout);
	putchar('\n');
}

static void print_host(const struct dump_hosts *hs, const struct dump_host *h)
{
	const struct vmfs_heartbeat_disk *hb = &h->image;
	char text[256], name[47], uuid[UUID_TEXT_SIZE], mac[18];
	struct uuid owner;

	memcpy(owner.b, hb->owner, sizeof(owner.b));
	printf("slot %u: host %s, %s: %s\n", h->slot, dump_host_name(h, name),
	       dump_life_name(h->life), evidence(h, text, sizeof(text)));
	if (h->life == LIFE_DAMAGED)
		return;
	printf("    owner %s, MAC %s, generation %" PRIu64 ", stamp %" PRIu64 " us\n",
	       uuid_text(&owner, uuid), dump_mac_text(hb->owner, mac),
	       le64_get(hb->generation), le64_get(hb->stamp_us));
	printf("    locks by %s, fenced by ", class_name(hb));
	print_fence(hb);
	printf(", dead after %.1f s", seconds(dead_ns(hb)));
	if (le32_get(hb->journal_addr))
		printf(", journal %s",
		       fsck_addr_text((vmfs_addr){ le32_get(hb->journal_addr) }, text));
	putchar('\n');
	for (unsigned int i = 0; has_extension(hb) && i < HEARTBEAT_WANT_COUNT; i++)
		if (le64_get(hb->want[i]))
			printf("    waits for the lock at 0x%" PRIx64 "\n",
			       le64_get(hb->want[i]));
	if (is_claimed(hb))
		print_claim(hs, hb);
}

void dump_hosts_print(const struct fsck_volume *v, const struct dump_hosts *hs)
{
	unsigned int counts[LIFE_DAMAGED + 1] = { 0 };

	printf("volume %.*s: heartbeats, watched for %.1f s\n", (int)VMFS_LABEL_SIZE,
	       (const char *)v->descriptor.label, seconds(hs->watched_ns));
	for (uint32_t i = 0; i < hs->count; i++) {
		print_host(hs, &hs->hosts[i]);
		counts[hs->hosts[i].life]++;
	}
	printf("%u of %u slots in use", hs->count - counts[LIFE_LEFT],
	       v->shape->heartbeat_count);
	for (unsigned int i = 0; i < ARRAY_SIZE(counts); i++)
		if (counts[i])
			printf(", %u %s", counts[i], dump_life_name((enum dump_life)i));
	putchar('\n');
}

/* ---- for programs ---- */

static json_t *want_json(const struct vmfs_heartbeat_disk *hb)
{
	json_t *list = json_array();

	for (unsigned int i = 0; has_extension(hb) && i < HEARTBEAT_WANT_COUNT; i++)
		if (le64_get(hb->want[i]))
			json_array_append_new(
				list, json_integer((json_int_t)le64_get(hb->want[i])));
	return list;
}

static json_t *claim_json(const struct dump_hosts *hs,
			  const struct vmfs_heartbeat_disk *hb)
{
	char uuid[UUID_TEXT_SIZE];
	struct uuid by;
	uint32_t slot = 0;

	if (!is_claimed(hb))
		return json_null();
	memcpy(by.b, hb->replay_host, sizeof(by.b));
	(void)fsck_slot_of(hs->volume, le64_get(hb->replay_hb), &slot);
	return json_pack("{si ss sI}", "slot", (int)slot, "owner", uuid_text(&by, uuid),
			 "generation", (json_int_t)le64_get(hb->replay_hb_gen));
}

static json_t *host_json(const struct dump_hosts *hs, const struct dump_host *h)
{
	const struct vmfs_heartbeat_disk *hb = &h->image;
	char text[256], name[47], uuid[UUID_TEXT_SIZE], mac[18];
	struct uuid owner;

	memcpy(owner.b, hb->owner, sizeof(owner.b));
	return json_pack(
		"{si ss ss ss ss ss sI sI si sf sf ss si sI so so}", "slot",
		(int)h->slot, "host", dump_host_name(h, name), "state",
		dump_life_name(h->life), "evidence", evidence(h, text, sizeof(text)),
		"owner", uuid_text(&owner, uuid), "mac", dump_mac_text(hb->owner, mac),
		"generation", (json_int_t)le64_get(hb->generation), "stamp_us",
		(json_int_t)le64_get(hb->stamp_us), "moves", (int)h->moves,
		"unmoved_seconds", seconds(clock_now() - h->last_moved),
		"dead_after_seconds", seconds(dead_ns(hb)), "class", class_name(hb),
		"fence", has_extension(hb) ? (int)hb->fence : 0, "journal_offset",
		(json_int_t)le64_get(hb->journal_vol_off), "wants", want_json(hb),
		"claimed_by", claim_json(hs, hb));
}

json_t *dump_hosts_json(const struct dump_hosts *hs)
{
	json_t *list = json_array();

	for (uint32_t i = 0; list && i < hs->count; i++)
		json_array_append_new(list, host_json(hs, &hs->hosts[i]));
	return list;
}
