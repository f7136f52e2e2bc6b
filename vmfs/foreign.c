/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nobody outside VMware knows all of VMFS-6 (FORMAT.md 20.7): how a free block looks
 * that ESXi freed, what its journal holds, what it keeps in fields without a name. So
 * what others made is written only on demand, and never while they may have something in
 * a journal:
 *
 *	mark of mkfs behind the FS descriptor: made here; else only if forced
 *	each block of .jbc.sf that is in use: begins with the header of a journal of ours,
 *	of a living or a dead member
 *
 * A member writes the header before it takes the block and clears it after it has given
 * the block back, so a block that is in use without one is another system's, or was given
 * back while we looked: the bit is read again.
 */
#include "vmfs/foreign.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stddef.h>
#include <string.h>

#include "vmfs/cluster.h"
#include "vmfs/gate.h"
#include "vmfs/journal.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

static uint32_t maker_crc(const struct vmfs6_maker_disk *d)
{
	struct vmfs6_maker_disk copy = *d;

	return ~crc32_iscsi((unsigned char *)&copy,
			    (int)offsetof(struct vmfs6_maker_disk, crc), 0xffffffffu);
}

struct vmfs6_maker_disk vmfs6_maker_make(void)
{
	struct vmfs6_maker_disk d = { .magic = VMFS6_MAKER_MAGIC,
				      .version = le32_of(1) };

	d.crc = le32_of(maker_crc(&d));
	return d;
}

static int read_maker(struct vmfs_volume *vol, bool *ret_is_ours)
{
	const struct vmfs6_maker_disk ours = vmfs6_maker_make();
	struct vmfs6_maker_disk d;
	int err = vmfs_gate_read(vol, VMFS6_MAKER_OFF, &d, sizeof(d));

	*ret_is_ours = !err && memcmp(d.magic, ours.magic, sizeof(d.magic)) == 0;
	return *ret_is_ours && le32_get(d.crc) != maker_crc(&d) ? -EUCLEAN : err;
}

int vmfs6_check_ours(struct vmfs_volume *vol, const char *what)
{
	bool is_ours;
	int err = read_maker(vol, &is_ours);

	if (err || is_ours)
		return err;
	return report_error(vol->reporter, -EOPNOTSUPP,
			    "volume %s: %s: another system made this VMFS-6 volume",
			    vol->label, what);
}

static int check_maker(struct vmfs_volume *vol, bool is_forced)
{
	bool is_ours;
	int err = read_maker(vol, &is_ours);

	if (err || is_ours)
		return err;
	if (!is_forced)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "%s: another system made this VMFS-6 volume: it is "
				    "opened read-only, unless the option force-vmfs6 is "
				    "given (the format is not fully known: keep a copy)",
				    vol->label);
	report(vol->reporter, REPORT_WARN,
	       "%s: writing a VMFS-6 volume that another system made, as told",
	       vol->label);
	return 0;
}

/* Is block `index` in use and not a journal of ours? */
static int is_foreign(struct vmfs_volume *vol, const struct cluster *c, uint32_t index,
		      bool *ret_is_foreign)
{
	bool is_ours = false;
	vmfs_addr addr = addr_of(ADDR_JB, c->number, index);
	int err = 0;

	if (!cluster_is_free(c, index))
		err = journal_is_any_of_ours(vol, addr, &is_ours);
	*ret_is_foreign = !cluster_is_free(c, index) && !is_ours;
	return err;
}

static int read_cluster(struct vmfs_volume *vol, uint32_t number, uint8_t *page,
			struct cluster *ret)
{
	uint64_t off;
	struct verify why;
	int err = resource_cluster_off(vol, RESOURCE_JBC, number, &off);

	if (!err)
		err = vmfs_gate_read(vol, off + vol->shape->cluster_meta_off, page,
				     vol->shape->cluster_meta_size);
	*ret = cluster_of(vol, RESOURCE_JBC, number, page);
	if (!err && cluster_verify(ret, &why) < 0)
		err = vmfs_corrupt(vol, ".jbc.sf: cluster %u: %s", number, why.text);
	return err;
}

static int check_cluster(struct vmfs_volume *vol, uint32_t number)
{
	uint8_t page[VMFS6_PAGE];
	struct cluster c;
	int err = read_cluster(vol, number, page, &c);

	for (uint32_t i = 0; !err && i < c.total; i++) {
		bool is_in_use;

		err = is_foreign(vol, &c, i, &is_in_use);
		if (err || !is_in_use)
			continue;
		err = read_cluster(vol, number, page, &c);
		if (!err && !cluster_is_free(&c, i))
			err = report_error(
				vol->reporter, -EBUSY,
				"%s: journal block %u.%u is in use by another system: "
				"the volume is not written (let that host unmount it)",
				vol->label, number, i);
	}
	return err;
}

int vmfs6_foreign_check(struct vmfs_volume *vol, bool is_forced)
{
	const struct vmfs_resource *jbc = &vol->resources[RESOURCE_JBC];
	int err = check_maker(vol, is_forced);

	if (!err && !jbc->is_present)
		err = report_error(vol->reporter, -EOPNOTSUPP,
				   "%s: it has no blocks for journals (.jbc.sf)",
				   vol->label);
	for (uint32_t i = 0; !err && i < jbc->cluster_count; i++)
		err = check_cluster(vol, i);
	return err;
}
