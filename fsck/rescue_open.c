/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a volume whose headers may be gone.
 *
 * What is guessed, in this order, and only where the volume itself says nothing usable:
 *   1. The LVM header of a volume given as one device: all that follows the place where
 *      data begin is one extent (FORMAT.md 3.1).
 *   2. The FS descriptor, and the header of a resource file (readguess.c).
 * Each guess is told. What would have to be believed without a proof is not guessed.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/parse.h"
#include "fsck/readguess.h"
#include "fsck/readruns.h"
#include "fsck/rescue.h"
#include "iscsi/open.h"

/* ---- devices ---- */

/* Where "@OFFSET" begins; NULL: there is none. */
static const char *offset_in(const char *text)
{
	const char *at = strrchr(text, '@');
	if (!at || !isdigit((unsigned char)at[1]) || access(text, F_OK) == 0)
		return NULL;
	return strchr(at, '/') ? NULL : at;
}

static int open_at(const char *text, const char *at, bool is_whole, struct reporter *r,
		   struct bdev **ret_bd)
{
	uint64_t off = 0;
	struct bdev *bd;
	char name[4096];
	if (at && parse_u64(at + 1, UINT64_MAX, &off) != 0 && parse_size(at + 1, &off))
		return report_error(r, -EINVAL, "%s: is no offset", at + 1);
	int len = at ? (int)(at - text) : (int)strlen(text);
	if (snprintf(name, sizeof(name), "%.*s", len, text) >= (int)sizeof(name))
		return report_error(r, -ENAMETOOLONG, "%.40s...: too long", text);
	int err = (at || is_whole) && !device_is_iscsi_url(name)
			  ? bdev_file_open(name, BDEV_OPEN_READ_ONLY, r, &bd)
			  : device_open(name, BDEV_OPEN_READ_ONLY, NULL, r, &bd);
	if (err == -EIO && !device_is_iscsi_url(name)) {
		report(r, REPORT_WARN, "%s: taken as a whole, without partition table",
		       name);
		err = bdev_file_open(name, BDEV_OPEN_READ_ONLY, r, &bd);
	}
	if (err || !at) {
		if (!err)
			*ret_bd = bd;
		return err;
	}
	err = off % bd->block_size || off >= bd->size
		      ? report_error(r, -EINVAL,
				     "%s: offset %llu is no sector of %llu bytes", name,
				     (unsigned long long)off,
				     (unsigned long long)bd->size)
		      : bdev_range_new(bd, off, bd->size - off, ret_bd);
	if (err)
		bdev_close(bd);
	return err;
}

int rescue_device_open(const char *text, bool is_whole, struct reporter *r,
		       struct bdev **ret_bd)
{
	return open_at(text, offset_in(text), is_whole, r, ret_bd);
}

/* ---- guesses ---- */

static void guessed(struct rescue *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void guessed(struct rescue *s, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->is_guessed = true;
	report(&s->r->base, REPORT_WARN, "%s", text);
}

/* One extent, of all that there is. */
static int guess_extent(struct rescue *s)
{
	struct fsck_volume *v = &s->v;
	struct fsck_extent *e = &v->extents[0];
	struct bdev *bd = s->devices[0];
	if (s->device_count != 1 || bd->block_size != VMFS_SECTOR_SIZE ||
	    bd->size < LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF)
		return -EMEDIUMTYPE;
	uint32_t pes = (uint32_t)min_u64(
		div_up(bd->size - LVM_DATA_OFF, LVM_PE_SIZE), UINT32_MAX >> 4);
	*v = (struct fsck_volume){ .extent_count = 1 };
	e->bd = bd;
	e->device.magic = le32_of(LVM_MAGIC);
	e->device.major = le32_of(5);
	e->volume.pe_count = le32_of(pes);
	e->size_bytes = pes * LVM_PE_SIZE;
	fsck_runs_row(v);
	e->regions[0] = (struct fsck_region){ .map_off = LVM_PE_MAP_OFF,
					      .data_off = LVM_DATA_OFF,
					      .pe_count = pes };
	e->region_count = 1;
	guessed(s, "%s: no usable LVM header: taken for the only extent, %u PEs from "
		   "0x%llx on", s->names[0], pes, (unsigned long long)LVM_DATA_OFF);
	return 0;
}

static int guess_descriptor(struct rescue *s, const struct fsck_why *why)
{
	struct fsck_volume *v = &s->v;
	struct fsck_why unused;
	if (!fsck_guess_descriptor(v, &v->descriptor))
		return report_error(
			&s->r->base, -EUCLEAN,
			"%s: FS descriptor: %s; and the first file descriptor "
			"is nowhere where it could be",
			s->names[0], why->text);
	int err = fsck_volume_sizes(v, &unused);
	if (err)
		return report_error(&s->r->base, err,
				    "%s: FS descriptor: %s; guessed: %s", s->names[0],
				    why->text, unused.text);
	guessed(s,
		"%s: FS descriptor: %s: taken for VMFS-%u with blocks of %u KiB by its "
		"first file descriptor",
		s->names[0], why->text, v->shape->version, v->block_size >> 10);
	return 0;
}

/* ---- opening ---- */

static int find_volume(struct rescue *s)
{
	struct fsck_why why = { "" };
	s->r->is_quiet = true;
	int err = fsck_volume_join(&s->v, s->devices, s->device_count, &s->r->base);
	s->r->is_quiet = false;
	if (err == -ENODEV && s->v.size_bytes) {
		guessed(s, "%s: not all extents are given: what lies on the others is "
			   "missing", s->names[s->device_count - 1]);
		err = 0;
	}
	if (err && guess_extent(s) != 0) {
		fsck_volume_done(&s->v);
		return fsck_volume_join(&s->v, s->devices, s->device_count, &s->r->base);
	}
	err = fsck_volume_descriptor(&s->v, &why);
	/* An LVM header may be there and wrong. */
	struct vmfs_descriptor_disk unused;
	if (err && !s->is_guessed && !fsck_guess_descriptor(&s->v, &unused) &&
	    guess_extent(s) == 0)
		err = fsck_volume_descriptor(&s->v, &why);
	if (err && !why.text[0])
		(void)snprintf(why.text, sizeof(why.text), "%s", strerror(-err));
	return err ? guess_descriptor(s, &why) : 0;
}

/* Those that cannot be used are told, and only .fdc.sf is indispensable. */
static int find_resources(struct rescue *s)
{
	s->v.guess = fsck_guess_header;
	for (size_t k = 0; k < FSCK_RESOURCE_COUNT; k++) {
		enum fsck_resource_index i = fsck_resource_order[k];
		struct fsck_why why = { "" };
		int err = fsck_volume_resource(&s->v, i, &why);
		const char *name = s->v.resources[i].name;
		if (!err && why.text[0])
			guessed(s, "%s: %s: its geometry is guessed", name, why.text);
		if (err && err != -ENOENT)
			(void)report_error(&s->r->base, err, "%s: %s", name,
					   why.text[0] ? why.text : strerror(-err));
		if (err && i == FSCK_FDC)
			return err;
	}
	return 0;
}

int rescue_open(struct rescue *s)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < s->device_count; i++)
		err = rescue_device_open(s->names[i], false, &s->r->base,
					 &s->devices[i]);
	if (!err)
		err = find_volume(s);
	return err ? err : find_resources(s);
}

void rescue_close(struct rescue *s)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		free(s->free[i]);
		free(s->claimed[i]);
	}
	for (uint32_t i = 0; i < s->entry_count; i++)
		free(s->entries[i].name);
	free(s->entries);
	free(s->deleted);
	fsck_volume_done(&s->v);
	for (unsigned int i = 0; i < s->device_count; i++)
		bdev_close(s->devices[i]);
}
