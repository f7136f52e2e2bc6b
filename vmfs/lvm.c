/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The logical volume: extents read, checked and joined.
 *
 * Invariants of an open lvm:
 * 1. runs[] is in volume order and without gaps: run i + 1 begins where i ends, the first
 *    at 0, the last ends at size_bytes. An extent has one run; one more for each time
 *    that it became longer when a later extent was there.
 * 2. Within a region of an extent (there is one, but on devices over 16 TiB) and a run,
 *    volume and dev offsets go on side by side, and an extent's runs lie on its device in
 *    the order that they have in the volume: the PE table has been found to say just
 *    that. (Readers exist that use only the table, and others that know of one run for
 *    each extent: FORMAT.md 3.5. Any other table is refused.)
 *
 * How large the volume is, the volume descriptor of the first extent says alone: one
 * sector, written last when it grows (grow.h). So other headers may be AHEAD of it, when
 * growing was interrupted or is under way: a later extent knows of more PEs or extents,
 * has more PEs itself, or is of none of the volume's PEs at all. None may be behind. PEs
 * of a device between the count of its descriptor and that of its device metadata are
 * looked at by nobody.
 *
 * A device that was to become an extent and did not, because another took its place,
 * looks like one all the same. So who adds an extent writes its device UUID behind its
 * name on the first extent (LVM_NAME_UUID_AT; zero: unknown).
 */
#include "vmfs/lvm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "vmfs/lvmrun.h"
#include "vmfs/lvmtable.h"
#include "vmfs/verify.h"

#define AGAIN_FIRST_NS (2 * NS_PER_MS)
#define AGAIN_MAX_NS (320 * NS_PER_MS)

/* Reads and flushes can be repeated: what was not executed, or perhaps not. */
static int until_answered(struct bdev *bd, enum bdev_op op, uint32_t flags,
			  uint64_t dev_off, void *buf, uint64_t len)
{
	uint64_t deadline = clock_now() + LVM_PATIENCE_NS;

	for (uint64_t wait = AGAIN_FIRST_NS;; wait = min_u64(wait * 2, AGAIN_MAX_NS)) {
		int rc = bdev_rw(bd, op, flags, buf, len, dev_off, 0);
		if ((rc != -EBUSY && rc != -ETIMEDOUT) || clock_now() >= deadline)
			return rc;
		task_sleep_until(clock_now() + wait / 2 + random_u64() % wait);
	}
}

int lvm_read_device(struct bdev *bd, uint64_t dev_off, void *buf, uint64_t len)
{
	return until_answered(bd, BDEV_READ, 0, dev_off, buf, len);
}

int lvm_flush_device(struct bdev *bd)
{
	return until_answered(bd, BDEV_FLUSH, 0, 0, NULL, 0);
}

/* What cannot be opened here at all, said as what it is. */
static int check_kind(struct bdev *bd, struct reporter *r,
		      const struct vmfs_lvm_device_disk *devd)
{
	if (le32_get(devd->magic) != LVM_MAGIC)
		return report_error(r, -EMEDIUMTYPE,
				    "%s: no VMFS volume: LVM magic is 0x%08x, not 0x%08x",
				    bd->name, le32_get(devd->magic), LVM_MAGIC);
	uint32_t major = le32_get(devd->major);
	if (major < LVM3_MAJOR || major > LVM6_MAJOR)
		return report_error(r, -EOPNOTSUPP, "%s: LVM version %u is not known",
				    bd->name, major);
	return 0;
}

uint64_t lvm_name_off(uint32_t major, unsigned int i)
{
	return (major == LVM6_MAJOR ? LVM6_NAMES_OFF : LVM_NAMES_OFF) + i * LVM_NAME_SIZE;
}

uint64_t lvm_volume_off(uint32_t major)
{
	return major == LVM6_MAJOR ? LVM6_VOLUME_OFF : LVM_VOLUME_OFF;
}

/* Device metadata and, whose place depends on their version, the volume descriptor. */
static int read_headers(struct bdev *bd, struct reporter *r,
			struct vmfs_lvm_device_disk *ret_dev,
			struct vmfs_lvm_volume_disk *ret_vol, struct lvm_extent *e)
{
	struct verify why;
	int rc = lvm_read_device(bd, LVM_HEADER_OFF, ret_dev, sizeof(*ret_dev));
	if (rc == -ESTALE) /* cut: whoever did that has told it */
		return rc;
	if (rc < 0)
		return report_error(r, rc, "%s: cannot read the LVM header", bd->name);
	rc = check_kind(bd, r, ret_dev);
	if (rc < 0)
		return rc;
	rc = verify_lvm_device(ret_dev, bd->size, &why);
	if (rc < 0)
		return report_error(r, rc, "%s: LVM header: %s", bd->name, why.text);
	if (rc == VERIFY_ODD)
		lvm_note_odd(e, "LVM header: %s", why.text);
	rc = lvm_read_device(bd, lvm_volume_off(le32_get(ret_dev->major)), ret_vol,
			     sizeof(*ret_vol));
	if (rc < 0)
		return report_error(r, rc, "%s: cannot read the LVM header", bd->name);
	rc = verify_lvm_volume(ret_vol, ret_dev, &why);
	if (rc < 0)
		return report_error(r, rc, "%s: LVM volume descriptor: %s", bd->name,
				    why.text);
	return 0;
}

static void extent_from(struct lvm_extent *e, struct bdev *bd,
			const struct vmfs_lvm_device_disk *devd,
			const struct vmfs_lvm_volume_disk *vold)
{
	e->bd = bd;
	e->pe_first = le64_get(vold->pe_first);
	e->pe_count = le32_get(vold->pe_count);
	e->identity = devd->identity;
	(void)memcpy(e->device_uuid.b, devd->device_uuid, sizeof(e->device_uuid.b));
	(void)memcpy(e->lv_uuid.b, vold->uuid, sizeof(e->lv_uuid.b));
	e->said_bytes = le64_get(vold->size);
	e->said_extents = le32_get(vold->extent_count);
}

int lvm_device_read(struct bdev *bd, struct reporter *r,
		    struct vmfs_lvm_device_disk *ret_dev,
		    struct vmfs_lvm_volume_disk *ret_vol, struct lvm_extent *ret_extent)
{
	if (bd->block_size != VMFS_SECTOR_SIZE)
		return report_error(r, -EOPNOTSUPP,
				    "%s: sectors of %u bytes: it can only be opened "
				    "read-only",
				    bd->name, bd->block_size);
	if (bd->size < LVM_VOLUME_OFF + VMFS_SECTOR_SIZE)
		return report_error(r, -EMEDIUMTYPE,
				    "%s: no VMFS volume: only %llu bytes", bd->name,
				    (unsigned long long)bd->size);
	ret_extent->odd[0] = 0;
	int rc = read_headers(bd, r, ret_dev, ret_vol, ret_extent);
	if (rc == 0)
		rc = lvm_table_read(bd, r, ret_dev, ret_vol, ret_extent);
	if (rc == 0)
		extent_from(ret_extent, bd, ret_dev, ret_vol);
	return rc;
}

/* ---- joining ---- */

static void lvm_from(struct lvm *lvm, struct reporter *r,
		     const struct vmfs_lvm_device_disk *devd,
		     const struct vmfs_lvm_volume_disk *vold)
{
	lvm->reporter = r;
	lvm->major = le32_get(devd->major);
	lvm->minor = le32_get(devd->minor);
	(void)memcpy(lvm->uuid.b, vold->uuid, sizeof(lvm->uuid.b));
	(void)memcpy(lvm->name, vold->name, sizeof(vold->name));
	lvm->name[sizeof(vold->name)] = 0;
	lvm->size_bytes = le64_get(vold->size);
	lvm->snapshot_id = le32_get(vold->snapshot_id);
	lvm->state = le32_get(vold->state);
	lvm->is_resigning = verify_is_resigning(vold);
	lvm->resignature = vold->resignature;
}

bool lvm_is_coming(const struct lvm *lvm, const uint8_t lv_uuid[16])
{
	return lvm->is_resigning &&
	       !memcmp(lvm->resignature.lv_uuid, lv_uuid,
		       sizeof(lvm->resignature.lv_uuid));
}

static int check_same_volume(const struct lvm *lvm, const struct lvm_extent *e,
			     struct reporter *r)
{
	char text[UUID_TEXT_SIZE];

	if (uuid_equal(&e->lv_uuid, &lvm->uuid) || lvm_is_coming(lvm, e->lv_uuid.b))
		return 0;
	return report_error(r, -EINVAL, "%s: belongs to another volume, %s, than %s",
			    e->bd->name, uuid_text(&e->lv_uuid, text),
			    lvm->extents[0].bd->name);
}

static int by_first_pe(const void *a, const void *b)
{
	const struct lvm_extent *x = a;
	const struct lvm_extent *y = b;
	return x->pe_first < y->pe_first ? -1 : x->pe_first > y->pe_first;
}

/* Those that are ahead of the first one (see above) are cut to what it says. */
static int cut_to_first(struct lvm *lvm, struct reporter *r)
{
	const struct lvm_extent *first = &lvm->extents[0];
	uint64_t total = first->said_bytes / LVM_PE_SIZE;

	for (unsigned int i = 1; i < lvm->extent_count; i++) {
		struct lvm_extent *e = &lvm->extents[i];

		if (e->said_bytes < first->said_bytes ||
		    e->said_extents < first->said_extents)
			return report_error(
				r, -EUCLEAN,
				"%s: says %llu bytes in %u extents, but %s says %llu in "
				"%u",
				e->bd->name, (unsigned long long)e->said_bytes,
				e->said_extents, first->bd->name,
				(unsigned long long)first->said_bytes,
				first->said_extents);
		if (e->pe_first >= total)
			return report_error(
				r, -EINVAL,
				"%s: is no extent of volume %s: adding it was not "
				"finished",
				e->bd->name, lvm->name);
		lvm_extent_cut(e, first->said_bytes);
	}
	return 0;
}

/* Name (NUL-terminated in ret_name), and device UUID or zero, of extent i. */
static int read_name(const struct lvm *lvm, unsigned int i, char ret_name[LVM_NAME_SIZE],
		     struct uuid *ret_uuid)
{
	uint8_t sector[VMFS_SECTOR_SIZE];
	uint64_t off = lvm_name_off(lvm->major, i);
	uint64_t skip = off % VMFS_SECTOR_SIZE;
	int rc = lvm_read_device(lvm->extents[0].bd, off - skip, sector, sizeof(sector));

	if (rc < 0)
		return report_error(lvm->reporter, rc,
				    "%s: cannot read the names of its extents",
				    lvm->extents[0].bd->name);
	(void)memcpy(ret_name, sector + skip, LVM_NAME_SIZE);
	(void)memcpy(ret_uuid->b, ret_name + LVM_NAME_UUID_AT, sizeof(ret_uuid->b));
	ret_name[LVM_NAME_UUID_AT] = 0;
	return 0;
}

/* Says that the extent at place i is missing, by PEs and, if it is known, by name. */
static int report_missing(const struct lvm *lvm, unsigned int i, uint64_t pe_first,
			  uint64_t pe_end)
{
	char name[LVM_NAME_SIZE] = "";
	struct uuid uuid;
	if (i > 0 && lvm->major >= 5 && read_name(lvm, i, name, &uuid) < 0)
		name[0] = 0;
	report(lvm->reporter, REPORT_ERROR,
	       "volume %s: extent %u of %u, with PEs %llu to %llu, is missing%s%s%s",
	       lvm->name, i + 1, lvm->extents[0].said_extents,
	       (unsigned long long)pe_first, (unsigned long long)pe_end - 1,
	       name[0] ? " (when it was added: " : "", name, name[0] ? ")" : "");
	return -ENODEV;
}

/* A place in the volume for what is missing before extent i, with no device. */
static void insert_missing(struct lvm *lvm, unsigned int i, uint64_t pe_first,
			   uint64_t pe_end)
{
	(void)memmove(&lvm->extents[i + 1], &lvm->extents[i],
		      (lvm->extent_count - i) * sizeof(lvm->extents[0]));
	lvm->extents[i] = (struct lvm_extent){
		.pe_first = pe_first,
		.pe_count = pe_end - pe_first,
		.piece_count = 1,
		.pieces[0] = { .vol_off = pe_first * LVM_PE_SIZE,
			       .size_bytes = (pe_end - pe_first) * LVM_PE_SIZE },
		.said_bytes = lvm->size_bytes,
	};
	lvm->extent_count++;
	lvm->is_degraded = true;
}

/*
 * The runs, and extents that are not there: -ENODEV, or, degraded, without a device (one
 * for each gap).
 */
static int join_runs(struct lvm *lvm, bool may_miss)
{
	uint64_t from, to;

	for (;;) {
		unsigned int i = 0;
		int rc = lvm_runs_make(lvm);
		if (rc < 0 || !lvm_runs_gap(lvm, &from, &to))
			return rc;
		while (i < lvm->extent_count && lvm->extents[i].pe_first < from)
			i++;
		rc = report_missing(lvm, i, from, to);
		if (i == 0 || !may_miss || lvm->extent_count == LVM_EXTENTS_MAX)
			return rc;
		insert_missing(lvm, i, from, to);
	}
}

/* Invariant 1. */
static int check_joined(const struct lvm *lvm, struct reporter *r)
{
	uint32_t extent_count = lvm->extents[0].said_extents;
	uint64_t next = 0;
	for (unsigned int i = 0; i < lvm->run_count; i++) {
		const struct lvm_run *run = &lvm->runs[i];
		if (run->vol_off < next)
			return report_error(
				r, -EUCLEAN, "%s: PE %llu is on %s as well",
				lvm->extents[run->extent].bd->name,
				(unsigned long long)(run->vol_off / LVM_PE_SIZE),
				lvm->extents[lvm->runs[i - 1].extent].bd->name);
		next += run->size_bytes;
	}
	if (next > lvm->size_bytes ||
	    (lvm->extent_count != extent_count && !lvm->is_degraded))
		return report_error(
			r, -EUCLEAN,
			"volume %s: %u extents with %llu PEs, but %u with "
				    "%llu expected",
			lvm->name, lvm->extent_count,
			(unsigned long long)(next / LVM_PE_SIZE), extent_count,
			(unsigned long long)(lvm->size_bytes / LVM_PE_SIZE));
	return 0;
}

/* Is a later extent the one that was added, as far as the first one knows? */
static int check_added(const struct lvm *lvm, unsigned int i)
{
	char name[LVM_NAME_SIZE];
	struct uuid uuid;
	bool is_known = lvm->major >= 5 && lvm->extents[i].bd && !lvm->is_degraded;
	int rc = is_known ? read_name(lvm, i, name, &uuid) : 0;

	if (rc < 0 || !is_known || lvm->is_resigning || uuid_is_zero(&uuid) ||
	    uuid_equal(&uuid, &lvm->extents[i].device_uuid))
		return rc;
	return report_error(lvm->reporter, -EINVAL,
			    "%s: is no extent of volume %s: %s took its place",
			    lvm->extents[i].bd->name, lvm->name, name);
}

/* The headers of all devices, in volume order. */
static int read_devices(struct bdev **devices, unsigned int count, struct reporter *r,
			struct lvm *lvm)
{
	if (count == 0 || count > LVM_EXTENTS_MAX)
		return report_error(r, -EINVAL, "%u devices given, 1 to %u expected",
				    count, LVM_EXTENTS_MAX);
	for (unsigned int i = 0; i < count; i++) {
		struct vmfs_lvm_device_disk devd;
		struct vmfs_lvm_volume_disk vold;
		int rc = lvm_device_read(devices[i], r, &devd, &vold, &lvm->extents[i]);
		if (rc < 0)
			return rc;
		lvm->extent_count = i + 1;
		/* Of the first one, if it knows of a resignature. */
		if (i == 0 || verify_is_resigning(&vold))
			lvm_from(lvm, r, &devd, &vold);
	}
	for (unsigned int i = 0; i < count; i++) {
		int rc = check_same_volume(lvm, &lvm->extents[i], r);
		if (rc < 0)
			return rc;
	}
	qsort(lvm->extents, lvm->extent_count, sizeof(lvm->extents[0]), by_first_pe);
	lvm->size_bytes = lvm->extents[0].said_bytes;
	return 0;
}

static int open_joined(struct bdev **devices, unsigned int count, struct reporter *r,
		       bool may_miss, struct lvm *ret_lvm)
{
	*ret_lvm = (struct lvm){ .reporter = r };
	int rc = read_devices(devices, count, r, ret_lvm);
	if (rc == 0)
		rc = cut_to_first(ret_lvm, r);
	if (rc == 0)
		rc = join_runs(ret_lvm, may_miss);
	if (rc == 0)
		rc = check_joined(ret_lvm, r);
	for (unsigned int i = 1; rc == 0 && i < ret_lvm->extent_count; i++)
		rc = check_added(ret_lvm, i);
	ret_lvm->whole_bytes = ret_lvm->size_bytes;
	return rc;
}

int lvm_open(struct bdev **devices, unsigned int count, struct reporter *r,
	     struct lvm *ret_lvm)
{
	return open_joined(devices, count, r, false, ret_lvm);
}

int lvm_open_degraded(struct bdev **devices, unsigned int count, struct reporter *r,
		      struct lvm *ret_lvm)
{
	return open_joined(devices, count, r, true, ret_lvm);
}

/* ---- growing ---- */

/* What is new of the volume, of which so many bytes are known, on extent i: 1; 0: no. */
static int lengthen(struct lvm *lvm, unsigned int i, uint64_t whole)
{
	struct lvm_extent *e = &lvm->extents[i], now;
	struct vmfs_lvm_device_disk devd;
	struct vmfs_lvm_volume_disk vold;
	int rc = e->bd ? bdev_rescan(e->bd) : -ENODEV;

	if (rc == 0)
		rc = lvm_device_read(e->bd, lvm->reporter, &devd, &vold, &now);
	if (rc < 0)
		return rc;
	if (now.pe_first != e->pe_first ||
	    !uuid_equal(&now.device_uuid, &e->device_uuid))
		return report_error(lvm->reporter, -EUCLEAN,
				    "%s: is another extent than it was", e->bd->name);
	lvm_extent_cut(&now, whole);
	return lvm_runs_add(lvm, i, &now);
}

static int attach_next(struct lvm *lvm, uint64_t whole, const struct lvm_opener *opener)
{
	unsigned int i = lvm->extent_count;
	struct lvm_extent *e = &lvm->extents[i];
	struct vmfs_lvm_device_disk devd;
	struct vmfs_lvm_volume_disk vold;
	char name[LVM_NAME_SIZE];
	struct uuid uuid;
	struct bdev *bd;
	int rc = read_name(lvm, i, name, &uuid);

	if (rc == 0)
		rc = opener ? opener->open(opener->arg, i, name, &bd) : -ENODEV;
	if (rc < 0)
		return rc;
	rc = lvm_device_read(bd, lvm->reporter, &devd, &vold, e);
	if (rc == 0)
		rc = check_same_volume(lvm, e, lvm->reporter);
	if (rc == 0 && e->pe_first != lvm->size_bytes / LVM_PE_SIZE)
		rc = -EUCLEAN;
	if (rc == 0)
		rc = check_added(lvm, i);
	if (rc == 0 && opener->join)
		rc = opener->join(opener->arg, i, bd);
	if (rc < 0)
		return rc;
	lvm_extent_cut(e, whole);
	__atomic_store_n(&lvm->extent_count, i + 1, __ATOMIC_RELEASE);
	return lvm_runs_add(lvm, i, e);
}

/* The next piece of what is new: 1; 0: there is none to be had; or -errno. */
static int attach_more(struct lvm *lvm, uint64_t whole, uint32_t said_extents,
		       const struct lvm_opener *opener)
{
	int rc = 0;

	for (unsigned int i = lvm->extent_count; rc == 0 && i-- > 0;)
		rc = lengthen(lvm, i, whole);
	if (rc == 0 && lvm->extent_count < min_u64(said_extents, LVM_EXTENTS_MAX))
		rc = attach_next(lvm, whole, opener);
	return rc;
}

int lvm_refresh(struct lvm *lvm, const struct lvm_opener *opener)
{
	struct vmfs_lvm_device_disk devd;
	struct vmfs_lvm_volume_disk vold;
	struct lvm_extent now;
	uint64_t before = lvm->size_bytes;
	int rc = lvm->extents[0].bd ? read_headers(lvm->extents[0].bd, lvm->reporter,
						   &devd, &vold, &now)
				    : -ENODEV;
	if (rc < 0)
		return rc;
	uint64_t whole = le64_get(vold.size);
	bool is_new = whole > lvm->whole_bytes;
	if (whole <= before || lvm->is_degraded)
		return 0;
	__atomic_store_n(&lvm->whole_bytes, whole, __ATOMIC_RELEASE);
	do
		rc = attach_more(lvm, whole, le32_get(vold.extent_count), opener);
	while (rc > 0 && lvm->size_bytes < whole);
	if (lvm->size_bytes < whole && is_new)
		report(lvm->reporter, REPORT_WARN,
		       "volume %s: has grown to %llu bytes; those from %llu on are not "
		       "attached here",
		       lvm->name, (unsigned long long)whole,
		       (unsigned long long)lvm->size_bytes);
	return lvm->size_bytes > before;
}

/* ---- using it ---- */

/* Invariant 2; every region but the last has 16 TiB. */
static void map_in_extent(const struct lvm_extent *e, uint64_t size, uint64_t off,
			  uint64_t *ret_dev_off, uint64_t *ret_len)
{
	const uint64_t region_size = LVM_PE_PER_REGION * LVM_PE_SIZE;
	uint64_t i = e->region_count > 1 ? off / region_size : 0;

	*ret_dev_off = e->regions[i].data_off + (off - i * region_size);
	*ret_len = min_u64(size,
			   i + 1 < e->region_count ? (i + 1) * region_size : UINT64_MAX) -
		   off;
}

int lvm_map(const struct lvm *lvm, uint64_t vol_off, struct bdev **ret_bd,
	    uint64_t *ret_dev_off, uint64_t *ret_len)
{
	unsigned int count = __atomic_load_n(&lvm->run_count, __ATOMIC_ACQUIRE);

	for (unsigned int i = 0; i < count; i++) {
		const struct lvm_run *run = &lvm->runs[i];
		uint64_t size = __atomic_load_n(&run->size_bytes, __ATOMIC_ACQUIRE);
		if (vol_off < run->vol_off || vol_off - run->vol_off >= size)
			continue;
		const struct lvm_extent *e = &lvm->extents[run->extent];
		if (!e->bd)
			return -ENODEV;
		*ret_bd = e->bd;
		map_in_extent(e, run->extent_off + size,
			      run->extent_off + (vol_off - run->vol_off), ret_dev_off,
			      ret_len);
		return 0;
	}
	return vol_off < __atomic_load_n(&lvm->whole_bytes, __ATOMIC_ACQUIRE) ? -ENODEV
									      : -EINVAL;
}

/* Whole sectors, on as many extents as it takes. */
static int each_extent(const struct lvm *lvm, enum bdev_op op, uint32_t flags,
		       uint64_t vol_off, uint8_t *buf, uint64_t len)
{
	while (len) {
		struct bdev *bd;
		uint64_t dev_off, run;
		int rc = lvm_map(lvm, vol_off, &bd, &dev_off, &run);
		if (rc < 0)
			return rc;
		run = min_u64(run, len);
		rc = op == BDEV_READ
			     ? until_answered(bd, op, flags, dev_off, buf, run)
			     : bdev_rw(bd, op, flags, buf, run, dev_off, 0);
		if (rc < 0)
			return rc;
		vol_off += run;
		buf += run;
		len -= run;
	}
	return 0;
}

/* A piece of one sector. */
static int read_in_sector(const struct lvm *lvm, uint64_t vol_off, uint8_t *buf,
			  uint64_t len)
{
	uint8_t sector[VMFS_SECTOR_SIZE];
	uint64_t skip = vol_off % VMFS_SECTOR_SIZE;
	int rc = each_extent(lvm, BDEV_READ, 0, vol_off - skip, sector, sizeof(sector));
	if (rc == 0)
		(void)memcpy(buf, sector + skip, len);
	return rc;
}

int lvm_read(const struct lvm *lvm, uint64_t vol_off, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	uint64_t skip = vol_off % VMFS_SECTOR_SIZE;
	if (skip) {
		uint64_t head = min_u64(len, VMFS_SECTOR_SIZE - skip);
		int rc = read_in_sector(lvm, vol_off, to, head);
		if (rc < 0)
			return rc;
		vol_off += head;
		to += head;
		len -= head;
	}
	uint64_t tail = len % VMFS_SECTOR_SIZE;
	int rc = each_extent(lvm, BDEV_READ, 0, vol_off, to, len - tail);
	if (rc == 0 && tail)
		rc = read_in_sector(lvm, vol_off + len - tail, to + len - tail, tail);
	return rc;
}

int lvm_read_cached(const struct lvm *lvm, uint64_t vol_off, void *buf, uint64_t len)
{
	return each_extent(lvm, BDEV_READ, BDEV_CACHED, vol_off, buf, len);
}

int lvm_write(const struct lvm *lvm, uint64_t vol_off, const void *buf, uint64_t len,
	      uint32_t flags)
{
	/* A write does not touch the memory that bdev_rw takes as void *. */
	return each_extent(lvm, BDEV_WRITE, flags, vol_off, (uint8_t *)(uintptr_t)buf,
			   len);
}

int lvm_flush(const struct lvm *lvm)
{
	for (unsigned int i = 0; i < lvm->extent_count; i++) {
		int rc = lvm->extents[i].bd ? bdev_flush(lvm->extents[i].bd) : -ENODEV;
		if (rc < 0)
			return rc;
	}
	return 0;
}
