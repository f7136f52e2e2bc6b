/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protocol events as sentences. A line stands alone: it names the volume, the other host
 * by name, UUID and slot, and the numbers that explain what was done. INFO is what an
 * operator wants in a log of months; DEBUG what only a hunt needs.
 */
#include "vmfs/event.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "vmfs/fence.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define LONG_WAIT_NS (2 * NS_PER_S)

static void __attribute__((format(printf, 3, 0)))
tell(struct vmfs_volume *vol, enum report_level level, const char *fmt, va_list args)
{
	char text[1536];

	(void)vsnprintf(text, sizeof(text), fmt, args);
	report(vol->reporter, level, "volume %s: %s", vol->label, text);
}

void event_tell(struct vmfs_volume *vol, enum report_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	tell(vol, level, fmt, args);
	va_end(args);
}

int event_error(struct vmfs_volume *vol, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	tell(vol, REPORT_ERROR, fmt, args);
	va_end(args);
	return err;
}

static double seconds(uint64_t ns)
{
	return (double)(ns / NS_PER_US) / 1000000;
}

/* ---- waiting for a lock ---- */

static const char *type_name(uint32_t type)
{
	switch (type) {
	case VMFS_LOCK_FD:
		return "file descriptor";
	case VMFS_LOCK_FBB:
		return "cluster of file blocks";
	case VMFS_LOCK_LFB:
		return "cluster of large blocks";
	case VMFS_LOCK_SBC:
		return "cluster of sub-blocks";
	case VMFS_LOCK_PBC:
	case VMFS_LOCK_PB2:
		return "cluster of pointer blocks";
	case VMFS_LOCK_FDC:
		return "cluster of file descriptors";
	default:
		return "unknown type";
	}
}

void event_waits(struct event_wait *w, struct vmfs_volume *vol,
		 const struct vmfs_lock_id *id, const struct vmfs_holder *who)
{
	char text[VMFS_HOLDER_TEXT_SIZE];
	uint64_t now = clock_now();

	if (!w->since || w->vol_off != id->vol_off) {
		event_waited(w, vol, 0);
		*w = (struct event_wait){ .vol_off = id->vol_off,
					  .since = now,
					  .type = id->type };
	}
	if (w->is_told || now - w->since < LONG_WAIT_NS)
		return;
	w->is_told = true;
	event_tell(vol, REPORT_INFO, "waits for the lock at 0x%llx (%s) for %.1f s: %s",
		   (unsigned long long)id->vol_off, type_name(id->type),
		   seconds(now - w->since), vmfs_holder_text(who, text));
}

void event_waited(struct event_wait *w, struct vmfs_volume *vol, int err)
{
	if (w->is_told)
		event_tell(vol, REPORT_INFO, "%s the lock at 0x%llx (%s) after %.1f s",
			   err ? "gave up on" : "has",
			   (unsigned long long)w->vol_off, type_name(w->type),
			   seconds(clock_now() - w->since));
	*w = (struct event_wait){ .since = 0 };
}

/* ---- taking over ---- */

static const char *owner_text(const struct vmfs_heartbeat_disk *slotd,
			      char buf[static UUID_TEXT_SIZE])
{
	struct uuid owner;

	memcpy(owner.b, slotd->owner, sizeof(owner.b));
	return uuid_text(&owner, buf);
}

void event_takes_over(struct vmfs_volume *vol, uint32_t slot,
		      const struct vmfs_heartbeat_disk *victim, uint64_t unchanged_ns)
{
	char uuid[UUID_TEXT_SIZE], why[64] = "its process is gone";

	if (unchanged_ns)
		(void)snprintf(why, sizeof(why), "no heartbeat for %.1f s",
			       seconds(unchanged_ns));
	event_tell(vol, REPORT_INFO,
		   "host %.46s (%s, slot %u, generation %llu) is dead, %s: taking over",
		   (const char *)victim->ip, owner_text(victim, uuid), slot,
		   (unsigned long long)le64_get(victim->generation), why);
}

void event_took_over(struct vmfs_volume *vol, uint32_t slot,
		     const struct vmfs_heartbeat_disk *victim,
		     const struct event_takeover *t)
{
	char uuid[UUID_TEXT_SIZE];

	event_tell(vol, REPORT_INFO,
		   "took over dead host %.46s (%s, slot %u): %u transactions replayed; "
		   "claim %.3f s, fence %.3f s, barrier %.3f s, replay %.3f s, "
		   "clear %.3f s",
		   (const char *)victim->ip, owner_text(victim, uuid), slot, t->records,
		   seconds(t->claimed - t->began), seconds(t->fenced - t->claimed),
		   seconds(t->quiet - t->fenced), seconds(t->replayed - t->quiet),
		   seconds(t->cleared - t->replayed));
}

/* ---- coming and going ---- */

static const char *class_name(const struct vmfs_caw *caw)
{
	switch (caw->mechanism) {
	case BDEV_CAW_ATS:
		return "COMPARE AND WRITE";
	case BDEV_CAW_FILE:
		return "file locks";
	default:
		return "SCSI reservations";
	}
}

void event_joined(struct vmfs_volume *vol, uint64_t took_ns)
{
	const struct vmfs_heartbeat *hb = &vol->member->hb;
	uint8_t fence = hb->fence;
	char uuid[UUID_TEXT_SIZE];

	event_tell(vol, REPORT_INFO,
		   "joined in %.2f s: slot %u, host %.46s (%s), generation %llu; locks "
		   "by %s, fenced by %s%s%s, lease %.1f s",
		   seconds(took_ns), hb->slot, hb->host_name,
		   uuid_text(&hb->owner, uuid), (unsigned long long)hb->generation,
		   class_name(&hb->caw),
		   fence & FENCE_LIVENESS ? "a liveness lock" :
		   fence & FENCE_PR	  ? "reservation keys" :
					    "time",
		   fence & FENCE_GUARD ? " and a guard" : "",
		   fence & FENCE_WATCHDOG ? " and a watchdog" : "",
		   seconds(hb->timing.lease_ns));
}

void event_left(struct vmfs_volume *vol, uint32_t slot, int err)
{
	if (!err)
		event_tell(vol, REPORT_INFO, "left: slot %u is free", slot);
	else
		event_tell(vol, REPORT_WARN,
			   "left without giving slot %u back (%s): others take over "
			   "what it held", slot, strerrordesc_np(-err));
}
