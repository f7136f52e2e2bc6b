/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkfstools --snapshots and --resignature: which devices hold copies of volumes, and a
 * copy becomes a volume of its own (vmfs/resign.c).
 *
 * A volume is listed if one of its devices is another disk than its header names, if the
 * new signature of it was not finished, or if the same part of it is on two of the
 * devices given: of plain files nobody can say which one is the copy.
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "iscsi/open.h"
#include "vmfs/resign.h"

struct found {
	const char *device;
	struct vmfs_signature s;
	bool is_shown;
};

static bool is_same_volume(const struct found *a, const struct found *b)
{
	return uuid_equal(&a->s.lv_uuid, &b->s.lv_uuid);
}

/* Another device with the same part of the same volume. */
static const struct found *twin_of(const struct found *all, unsigned int count,
				   const struct found *one)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct found *f = &all[i];

		if (f != one && is_same_volume(f, one) &&
		    f->s.pe_first == one->s.pe_first)
			return f;
	}
	return NULL;
}

static bool is_unresolved(const struct found *all, unsigned int count,
			  const struct found *one)
{
	return one->s.verdict == SIGNATURE_COPY || one->s.is_resigning ||
	       (one->s.verdict == SIGNATURE_UNKNOWN && twin_of(all, count, one));
}

static void print_extent(const struct found *all, unsigned int count,
			 const struct found *f)
{
	const struct found *twin = twin_of(all, count, f);

	(void)printf("   Extent: %s  range: %" PRIu64 " - %" PRIu64 " (MB)\n", f->device,
		     f->s.pe_first * 256, (f->s.pe_first + f->s.pe_count) * 256 - 1);
	if (f->s.verdict == SIGNATURE_COPY)
		(void)printf("      made on %s, this is %s\n", f->s.made_on, f->s.disk);
	if (twin)
		(void)printf("      the same is on %s\n", twin->device);
}

/* What the devices given have of a volume. */
struct volume {
	const struct found *head; /* its first extent, or any */
	uint64_t pes;
	unsigned int extents, devices; /* an extent may be on several */
	bool has_original;
};

static struct volume join(const struct found *all, unsigned int count,
			  const struct found *one)
{
	struct volume v = { .head = one };

	for (unsigned int i = 0; i < count; i++) {
		const struct found *f = &all[i];
		bool is_new = true;

		if (!is_same_volume(f, one))
			continue;
		v.has_original |= f->s.verdict == SIGNATURE_OWN;
		if (!is_unresolved(all, count, f))
			continue;
		for (unsigned int k = 0; k < i; k++)
			is_new &= !is_same_volume(&all[k], one) ||
				  !is_unresolved(all, count, &all[k]) ||
				  all[k].s.pe_first != f->s.pe_first;
		v.pes += is_new ? f->s.pe_count : 0;
		v.extents += is_new;
		v.devices++;
		if (f->s.pe_first == 0 && v.head->s.pe_first)
			v.head = f;
	}
	return v;
}

static const char *why_not_mounted(const struct volume *v)
{
	if (v->head->s.is_resigning)
		return "its resignature was not finished";
	if (v->extents < v->head->s.extent_count)
		return "some extents missing";
	if (v->has_original)
		return "the original volume is still online";
	return v->devices > v->extents ? "duplicate extents found" : NULL;
}

static void print_verdict(const char *can, const char *reason_for, const char *why)
{
	(void)printf("   Can %s: %s\n", can, why ? "false" : "true");
	(void)printf("   Reason for %s: %s\n", reason_for, why ? why : "");
}

/* As esxcli has it; then where it is. */
static void print_volume(struct found *all, unsigned int count, const struct found *one)
{
	const struct volume v = join(all, count, one);
	const struct vmfs_signature *s = &v.head->s;
	bool has_head = s->pe_first == 0;
	char text[UUID_TEXT_SIZE];

	(void)printf("%s\n", uuid_text(has_head ? &s->uuid : &s->lv_uuid, text));
	(void)printf("   Volume Name: %s\n", has_head ? s->label : "");
	(void)printf("   VMFS UUID: %s\n", has_head ? text : "");
	print_verdict("mount", "un-mountability", why_not_mounted(&v));
	print_verdict("resignature", "non-resignaturability",
		      v.extents < s->extent_count ? "some extents missing" : NULL);
	(void)printf("   Unresolved Extent Count: %u\n", v.devices);
	(void)printf("   Size: %" PRIu64 " MB\n", v.pes * 256);
	for (unsigned int i = 0; i < count; i++) {
		if (!is_same_volume(&all[i], one) || !is_unresolved(all, count, &all[i]))
			continue;
		print_extent(all, count, &all[i]);
		all[i].is_shown = true;
	}
}

static int look(struct teller *t, const char *device, struct found *ret)
{
	struct bdev *bd;
	int rc = device_open(device, BDEV_OPEN_READ_ONLY, NULL, &t->base, &bd);

	ret->device = device;
	if (rc < 0)
		return rc;
	rc = vmfs_signature_read(bd, &t->base, &ret->s);
	bdev_close(bd);
	return rc;
}

int list_snapshots(struct teller *t, char *const *devices)
{
	unsigned int count = 0, given = 0;
	int first = 0;

	while (devices[given])
		given++;
	struct found *all = calloc(given, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (unsigned int i = 0; i < given; i++) {
		int rc = look(t, devices[i], &all[count]);
		if (rc == 0)
			count++;
		else if (first == 0)
			first = rc;
	}
	for (unsigned int i = 0; i < count; i++)
		if (!all[i].is_shown && is_unresolved(all, count, &all[i]))
			print_volume(all, count, &all[i]);
	free(all);
	return first;
}

/* ---- --resignature ---- */

struct waiting {
	const struct job *j;
	bool is_told;
};

static bool tell(void *arg, const struct vmfs_break_seen *seen)
{
	struct waiting *w = arg;

	if (seen->phase == VMFS_BREAK_WATCHING && !w->is_told) {
		(void)printf("%s: a host had the original mounted: watching its heartbeat"
			     " for %.0f s\n", w->j->what,
			     (double)(seen->need_ns / NS_PER_MS) / 1000);
		(void)fflush(stdout);
		w->is_told = true;
	}
	return !*w->j->is_interrupted;
}

int do_resign(struct job *j)
{
	struct waiting w = { .j = j };
	const struct vmfs_resign_options options = { .is_forced = j->rq->is_forced,
						     .tell = tell,
						     .arg = &w };
	struct vmfs_resigned now;
	char former[UUID_TEXT_SIZE], uuid[UUID_TEXT_SIZE];
	int rc = vmfs_volume_resign(j->m.vol, &options, &now);

	if (rc == 0)
		(void)printf("%s: %s, %s (was %s)%s\n", j->what, now.label,
			     uuid_text(&now.uuid, uuid),
			     uuid_text(&now.former_uuid, former),
			     now.was_begun ? ", finished" : "");
	return rc;
}
