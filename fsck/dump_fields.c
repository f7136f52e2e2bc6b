/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structures as text. A table says what each field is; what no table names is printed
 * too, as bytes, unless it is zero: nothing on the disk is hidden.
 */
#include "fsck/dump_fields.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/align.h"
#include "base/uuid.h"
#include "fsck/read.h"

enum field_kind {
	FIELD_NUMBER,
	FIELD_HEX,
	FIELD_OCTAL,
	FIELD_ADDR, /* a block address */
	FIELD_UUID,
	FIELD_TEXT,
	FIELD_TIME_S,
	FIELD_TIME_US,
	FIELD_BYTES,
};

struct field {
	const char *name;
	uint16_t off, size;
	enum field_kind kind;
};

#define F(type, member, kind)                                                            \
	{                                                                                \
#member, offsetof(struct type, member),                                  \
			sizeof(((struct type *)0)->member), kind                         \
	}

#define DESCRIPTOR_FIELDS_5 23u /* of the FS descriptor, on VMFS-3/5 */
#define RESOURCE_FIELDS_5 8u /* of a resource header, on VMFS-3/5 */

/* ---- values ---- */

static uint64_t number_of(const uint8_t *p, uint16_t size)
{
	uint64_t n = 0;
	for (uint16_t i = 0; i < size && i < 8; i++)
		n |= (uint64_t)p[i] << (8 * i);
	return n;
}

static bool is_zero(const uint8_t *p, uint64_t size)
{
	for (uint64_t i = 0; i < size; i++)
		if (p[i])
			return false;
	return true;
}

static void print_text(const uint8_t *p, uint16_t size)
{
	putchar('\'');
	for (uint16_t i = 0; i < size && p[i]; i++)
		if (p[i] >= ' ' && p[i] != 0x7f && p[i] != '\'' && p[i] != '\\')
			putchar(p[i]);
		else
			printf("\\x%02x", p[i]);
	putchar('\'');
}

static void print_time(uint64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char text[32];
	if (seconds && seconds < 1ull << 40 && gmtime_r(&t, &tm) &&
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm))
		printf(" (%s)", text);
}

static void print_value(const struct field *f, const uint8_t *p)
{
	uint64_t n = number_of(p, f->size);
	struct uuid uuid;
	char text[48];
	switch (f->kind) {
	case FIELD_NUMBER:
		printf("%" PRIu64, n);
		break;
	case FIELD_HEX:
		printf("0x%" PRIx64, n);
		break;
	case FIELD_OCTAL:
		printf("0%" PRIo64, n);
		break;
	case FIELD_ADDR:
		printf("0x%08" PRIx64 " (%s)", n,
		       fsck_addr_text((vmfs_addr){ (uint32_t)n }, text));
		break;
	case FIELD_UUID:
		memcpy(uuid.b, p, sizeof(uuid.b));
		printf("%s", uuid_is_zero(&uuid) ? "0" : uuid_text(&uuid, text));
		break;
	case FIELD_TEXT:
		print_text(p, f->size);
		break;
	case FIELD_TIME_S:
		printf("%" PRIu64, n);
		print_time(n);
		break;
	case FIELD_TIME_US:
		printf("%" PRIu64, n);
		print_time(n / 1000000);
		break;
	case FIELD_BYTES:
		for (uint16_t i = 0; i < f->size; i++)
			printf("%02x", p[i]);
		break;
	}
}

static void print_gap(const uint8_t *data, uint64_t from, uint64_t to)
{
	if (to <= from || is_zero(data + from, to - from))
		return;
	printf("  0x%03" PRIx64 "  %-24s not zero:\n", from, "(unnamed)");
	dump_hex(data + from, to - from, from);
}

static void print_fields(const struct field *fields, size_t count, const void *data,
			 uint64_t size)
{
	const uint8_t *p = data;
	uint64_t next = 0;
	for (size_t i = 0; i < count; i++) {
		const struct field *f = &fields[i];
		print_gap(p, next, f->off);
		printf("  0x%03x  %-24s ", f->off, f->name);
		print_value(f, p + f->off);
		putchar('\n');
		next = f->off + f->size;
	}
	print_gap(p, next, size);
}

void dump_hex(const void *data, uint64_t len, uint64_t first_off)
{
	const uint8_t *p = data;
	bool is_skipping = false;
	for (uint64_t at = 0; at < len; at += 16) {
		uint64_t n = len - at < 16 ? len - at : 16;
		/* Like hexdump: a run of lines that repeat is one star. */
		bool is_same = at && n == 16 && at + 16 < len &&
			       memcmp(p + at, p + at - 16, 16) == 0;
		if (is_same) {
			if (!is_skipping)
				puts("  *");
			is_skipping = true;
			continue;
		}
		is_skipping = false;
		printf("  %08" PRIx64 " ", first_off + at);
		for (uint64_t i = 0; i < 16; i++)
			if (i < n)
				printf(" %02x", p[at + i]);
			else
				printf("   ");
		printf("  |");
		for (uint64_t i = 0; i < n; i++)
			putchar(p[at + i] >= ' ' && p[at + i] < 0x7f ? p[at + i] : '.');
		puts("|");
	}
}

/* ---- tables ---- */

#define PRINT(table, d) print_fields(table, ARRAY_SIZE(table), d, sizeof(*(d)))

void dump_identity(const struct vmfs_disk_identity_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_disk_identity_disk, type, FIELD_NUMBER),
		F(vmfs_disk_identity_disk, len, FIELD_NUMBER),
		F(vmfs_disk_identity_disk, lun, FIELD_NUMBER),
		F(vmfs_disk_identity_disk, device_type, FIELD_NUMBER),
		F(vmfs_disk_identity_disk, scsi_level, FIELD_NUMBER),
		F(vmfs_disk_identity_disk, vendor, FIELD_TEXT),
		F(vmfs_disk_identity_disk, model, FIELD_TEXT),
		F(vmfs_disk_identity_disk, revision, FIELD_TEXT),
		F(vmfs_disk_identity_disk, id, FIELD_BYTES),
	};
	PRINT(fields, d);
}

void dump_lvm_device(const struct vmfs_lvm_device_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_lvm_device_disk, magic, FIELD_HEX),
		F(vmfs_lvm_device_disk, major, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, minor, FIELD_HEX),
		F(vmfs_lvm_device_disk, identity.type, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, identity.len, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, identity.lun, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, identity.device_type, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, identity.scsi_level, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, identity.vendor, FIELD_TEXT),
		F(vmfs_lvm_device_disk, identity.model, FIELD_TEXT),
		F(vmfs_lvm_device_disk, identity.revision, FIELD_TEXT),
		F(vmfs_lvm_device_disk, identity.id, FIELD_BYTES),
		F(vmfs_lvm_device_disk, block_size, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, total_bytes, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, volume_count, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, pe_count, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, pe_last, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, generation, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, data_off, FIELD_HEX),
		F(vmfs_lvm_device_disk, device_uuid, FIELD_UUID),
		F(vmfs_lvm_device_disk, init_time_us, FIELD_TIME_US),
		F(vmfs_lvm_device_disk, modified_time_us, FIELD_TIME_US),
		F(vmfs_lvm_device_disk, locked_by, FIELD_UUID),
		F(vmfs_lvm_device_disk, locked_when_us, FIELD_TIME_US),
		F(vmfs_lvm_device_disk, unknown_ba, FIELD_HEX),
		F(vmfs_lvm_device_disk, pe_map_count, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, extension_off, FIELD_HEX),
		F(vmfs_lvm_device_disk, metadata_align, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, pe_count6, FIELD_NUMBER),
		F(vmfs_lvm_device_disk, flags, FIELD_HEX),
	};
	PRINT(fields, d);
}

void dump_lvm_volume(const struct vmfs_lvm_volume_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_lvm_volume_disk, size, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, generation, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, state, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, name, FIELD_TEXT),
		F(vmfs_lvm_volume_disk, uuid, FIELD_UUID),
		F(vmfs_lvm_volume_disk, snapshot_id, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, created_us, FIELD_TIME_US),
		F(vmfs_lvm_volume_disk, index, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, pe_count, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, pe_first, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, pe_last, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, modified_us, FIELD_TIME_US),
		F(vmfs_lvm_volume_disk, extent_count, FIELD_NUMBER),
		F(vmfs_lvm_volume_disk, consumed_pes, FIELD_NUMBER),
	};
	PRINT(fields, d);
}

void dump_lvm_pe(const struct vmfs_lvm_pe_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_lvm_pe_disk, used, FIELD_NUMBER),
		F(vmfs_lvm_pe_disk, number, FIELD_NUMBER),
		F(vmfs_lvm_pe_disk, volume_index, FIELD_NUMBER),
		F(vmfs_lvm_pe_disk, dev_off, FIELD_HEX),
		F(vmfs_lvm_pe_disk, vol_off, FIELD_HEX),
		F(vmfs_lvm_pe_disk, length, FIELD_HEX),
		F(vmfs_lvm_pe_disk, version, FIELD_NUMBER),
	};
	PRINT(fields, d);
}

#define F6(member, kind)                                                                 \
	{                                                                                \
#member,                                                                         \
			VMFS6_DESCRIPTOR_AT +                                            \
				offsetof(struct vmfs6_descriptor_disk, member),          \
			sizeof(((struct vmfs6_descriptor_disk *)0)->member), kind        \
	}

void dump_descriptor(const struct vmfs_descriptor_disk *d, bool is_6)
{
	static const struct field fields[] = {
		F(vmfs_descriptor_disk, magic, FIELD_HEX),
		F(vmfs_descriptor_disk, major, FIELD_NUMBER),
		F(vmfs_descriptor_disk, minor, FIELD_NUMBER),
		F(vmfs_descriptor_disk, uuid, FIELD_UUID),
		F(vmfs_descriptor_disk, config, FIELD_HEX),
		F(vmfs_descriptor_disk, label, FIELD_TEXT),
		F(vmfs_descriptor_disk, disk_block_size, FIELD_NUMBER),
		F(vmfs_descriptor_disk, block_size, FIELD_NUMBER),
		F(vmfs_descriptor_disk, created_s, FIELD_TIME_S),
		F(vmfs_descriptor_disk, snapshot_id, FIELD_NUMBER),
		F(vmfs_descriptor_disk, lv_uuid, FIELD_UUID),
		F(vmfs_descriptor_disk, lv_snapshot_id, FIELD_NUMBER),
		F(vmfs_descriptor_disk, fdc_group_off, FIELD_HEX),
		F(vmfs_descriptor_disk, fdc_clusters_per_group, FIELD_NUMBER),
		F(vmfs_descriptor_disk, sub_block_size, FIELD_NUMBER),
		F(vmfs_descriptor_disk, max_journal_slots, FIELD_NUMBER),
		F(vmfs_descriptor_disk, pb2_fd_off, FIELD_HEX),
		F(vmfs_descriptor_disk, pb2_fd_addr, FIELD_ADDR),
		F(vmfs_descriptor_disk, formatter, FIELD_UUID),
		F(vmfs_descriptor_disk, global_generation, FIELD_NUMBER),
		F(vmfs_descriptor_disk, sdd_fd_off, FIELD_HEX),
		F(vmfs_descriptor_disk, sdd_fd_addr, FIELD_ADDR),
		F(vmfs_descriptor_disk, checksum_type, FIELD_NUMBER),
		/* VMFS-6 */
		F6(checksum, FIELD_BYTES),
		F6(physical_block_size, FIELD_NUMBER),
		F6(metadata_align, FIELD_NUMBER),
		F6(lfb_shift, FIELD_NUMBER),
		F6(unknown13a, FIELD_HEX),
		F6(pb_shift, FIELD_NUMBER),
		F6(sfb_bits, FIELD_NUMBER),
		F6(unknown142, FIELD_HEX),
		F6(tbz_granularity, FIELD_NUMBER),
		F6(journal_block_size, FIELD_NUMBER),
		F6(lease_ms, FIELD_NUMBER),
		F6(reclaim_ms, FIELD_NUMBER),
	};
	print_fields(fields, is_6 ? ARRAY_SIZE(fields) : DESCRIPTOR_FIELDS_5, d,
		     sizeof(*d));
}

void dump_heartbeat(const struct vmfs_heartbeat_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_heartbeat_disk, state, FIELD_HEX),
		F(vmfs_heartbeat_disk, addr, FIELD_HEX),
		F(vmfs_heartbeat_disk, generation, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, stamp_us, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, owner, FIELD_UUID),
		F(vmfs_heartbeat_disk, journal_addr, FIELD_ADDR),
		F(vmfs_heartbeat_disk, drive_major, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, drive_minor, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, lock_impl, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, ip, FIELD_TEXT),
		F(vmfs_heartbeat_disk, journal_vol_off, FIELD_HEX),
		F(vmfs_heartbeat_disk, replay_host, FIELD_UUID),
		F(vmfs_heartbeat_disk, replay_hb, FIELD_HEX),
		F(vmfs_heartbeat_disk, replay_hb_gen, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, xmagic, FIELD_HEX),
		F(vmfs_heartbeat_disk, xcrc, FIELD_HEX),
		F(vmfs_heartbeat_disk, pr_key, FIELD_HEX),
		F(vmfs_heartbeat_disk, isid, FIELD_BYTES),
		F(vmfs_heartbeat_disk, paths, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, tpgt, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, initiator, FIELD_TEXT),
		F(vmfs_heartbeat_disk, lease_ms, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, dead_ms, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, want[0], FIELD_HEX),
		F(vmfs_heartbeat_disk, want[1], FIELD_HEX),
		F(vmfs_heartbeat_disk, want[2], FIELD_HEX),
		F(vmfs_heartbeat_disk, want[3], FIELD_HEX),
		F(vmfs_heartbeat_disk, storage_class, FIELD_NUMBER),
		F(vmfs_heartbeat_disk, fence, FIELD_HEX),
		F(vmfs_heartbeat_disk, machine, FIELD_UUID),
		F(vmfs_heartbeat_disk, boot, FIELD_UUID),
	};
	PRINT(fields, d);
}

void dump_lock(const struct vmfs_lock_disk *d)
{
	static const struct field head[] = {
		F(vmfs_lock_disk, type, FIELD_HEX),
		F(vmfs_lock_disk, addr, FIELD_HEX),
		F(vmfs_lock_disk, hb_addr, FIELD_HEX),
		F(vmfs_lock_disk, hb_gen, FIELD_NUMBER),
		F(vmfs_lock_disk, token, FIELD_NUMBER),
		F(vmfs_lock_disk, mode, FIELD_NUMBER),
		F(vmfs_lock_disk, owner, FIELD_UUID),
		F(vmfs_lock_disk, mtime, FIELD_NUMBER),
		F(vmfs_lock_disk, holder_count, FIELD_NUMBER),
	};
	static const struct field holder[] = {
		F(vmfs_lock_holder_disk, hb_addr, FIELD_HEX),
		F(vmfs_lock_holder_disk, hb_gen, FIELD_NUMBER),
		F(vmfs_lock_holder_disk, owner, FIELD_UUID),
	};
	static const struct field tail[] = {
		F(vmfs_lock_disk, global_holders, FIELD_NUMBER),
		F(vmfs_lock_disk, global_generation, FIELD_NUMBER),
		F(vmfs_lock_disk, global_break, FIELD_NUMBER),
	};
	uint64_t holders_off = offsetof(struct vmfs_lock_disk, holders);
	uint64_t tail_off = offsetof(struct vmfs_lock_disk, unknown144);
	print_fields(head, ARRAY_SIZE(head), d, holders_off);
	for (unsigned int i = 0; i < VMFS_LOCK_HOLDERS_MAX; i++) {
		const struct vmfs_lock_holder_disk *h = &d->holders[i];
		if (is_zero((const uint8_t *)h, sizeof(*h)))
			continue;
		printf("  holder %u\n", i);
		PRINT(holder, h);
	}
	if (is_zero((const uint8_t *)d + tail_off, sizeof(*d) - tail_off))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(tail); i++) {
		printf("  0x%03x  %-24s ", tail[i].off, tail[i].name);
		print_value(&tail[i], (const uint8_t *)d + tail[i].off);
		putchar('\n');
	}
	print_gap((const uint8_t *)d, tail_off, tail[0].off);
	print_gap((const uint8_t *)d, offsetof(struct vmfs_lock_disk, pad), sizeof(*d));
}

void dump_resource_header(const struct vmfs6_resource_header_disk *d, bool is_6)
{
	static const struct field fields[] = {
		F(vmfs_resource_geometry_disk, per_cluster, FIELD_NUMBER),
		F(vmfs_resource_geometry_disk, clusters_per_group, FIELD_NUMBER),
		F(vmfs_resource_geometry_disk, group_off, FIELD_HEX),
		F(vmfs_resource_geometry_disk, resource_size, FIELD_NUMBER),
		F(vmfs_resource_geometry_disk, group_size, FIELD_HEX),
		F(vmfs_resource_geometry_disk, count_low, FIELD_NUMBER),
		F(vmfs_resource_geometry_disk, group_count, FIELD_NUMBER),
		F(vmfs_resource_geometry_disk, count_high, FIELD_NUMBER),
		/* VMFS-6 */
		F(vmfs6_resource_header_disk, signature, FIELD_HEX),
		F(vmfs6_resource_header_disk, version, FIELD_NUMBER),
		F(vmfs6_resource_header_disk, flags, FIELD_HEX),
		F(vmfs6_resource_header_disk, owners_per_cluster, FIELD_NUMBER),
		F(vmfs6_resource_header_disk, owners_per_resource, FIELD_NUMBER),
		F(vmfs6_resource_header_disk, bits_per_resource, FIELD_NUMBER),
		F(vmfs6_resource_header_disk, child_off, FIELD_HEX),
		F(vmfs6_resource_header_disk, parent_per_cluster, FIELD_NUMBER),
		F(vmfs6_resource_header_disk, parent_clusters_per_group, FIELD_NUMBER),
		F(vmfs6_resource_header_disk, parent_group_size, FIELD_HEX),
		F(vmfs6_resource_header_disk, converted, FIELD_NUMBER),
	};
	print_fields(fields, is_6 ? ARRAY_SIZE(fields) : RESOURCE_FIELDS_5, d,
		     sizeof(*d));
}

void dump_cluster6(const struct vmfs6_cluster_disk *d)
{
	static const struct field fields[] = {
		F(vmfs6_cluster_disk, checksum, FIELD_BYTES),
		F(vmfs6_cluster_disk, signature, FIELD_HEX),
		F(vmfs6_cluster_disk, priority, FIELD_NUMBER),
		F(vmfs6_cluster_disk, number, FIELD_NUMBER),
		F(vmfs6_cluster_disk, total, FIELD_NUMBER),
		F(vmfs6_cluster_disk, free, FIELD_NUMBER),
		F(vmfs6_cluster_disk, unknown24, FIELD_HEX),
		F(vmfs6_cluster_disk, owner_count, FIELD_NUMBER),
		F(vmfs6_cluster_disk, unknown28, FIELD_HEX),
		F(vmfs6_cluster_disk, unknown2a, FIELD_HEX),
		F(vmfs6_cluster_disk, unknown2c, FIELD_HEX),
		F(vmfs6_cluster_disk, unknown30, FIELD_HEX),
		F(vmfs6_cluster_disk, changes, FIELD_NUMBER),
		F(vmfs6_cluster_disk, mac, FIELD_BYTES),
		F(vmfs6_cluster_disk, changed_s, FIELD_TIME_S),
		F(vmfs6_cluster_disk, fd_generation, FIELD_NUMBER),
		F(vmfs6_cluster_disk, hint, FIELD_NUMBER),
	};
	PRINT(fields, d); /* states and owners: as bytes */
}

void dump_cluster(const struct vmfs_cluster_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_cluster_disk, number, FIELD_NUMBER),
		F(vmfs_cluster_disk, total, FIELD_NUMBER),
		F(vmfs_cluster_disk, free, FIELD_NUMBER),
		F(vmfs_cluster_disk, hint, FIELD_NUMBER),
		F(vmfs_cluster_disk, bitmap, FIELD_BYTES),
		F(vmfs_cluster_disk, fd_generation, FIELD_NUMBER),
		F(vmfs_cluster_disk, priority, FIELD_NUMBER),
	};
	PRINT(fields, d);
}

void dump_fd_meta(const struct vmfs_fd_meta_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_fd_meta_disk, addr, FIELD_ADDR),
		F(vmfs_fd_meta_disk, generation, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, links, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, type, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, flags, FIELD_HEX),
		F(vmfs_fd_meta_disk, length, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, block_size, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, block_count, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, mtime_s, FIELD_TIME_S),
		F(vmfs_fd_meta_disk, ctime_s, FIELD_TIME_S),
		F(vmfs_fd_meta_disk, atime_s, FIELD_TIME_S),
		F(vmfs_fd_meta_disk, uid, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, gid, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, mode, FIELD_OCTAL),
		F(vmfs_fd_meta_disk, zla, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, tbz_low, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, cow_low, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, new_low, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, tbz_high, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, cow_high, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, pb_count, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, new_high, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, signature, FIELD_HEX),
		F(vmfs_fd_meta_disk, affinity, FIELD_ADDR),
		F(vmfs_fd_meta_disk, tbz_shift, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, parent, FIELD_ADDR),
		F(vmfs_fd_meta_disk, unknown88, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, block_shift, FIELD_NUMBER),
		F(vmfs_fd_meta_disk, lfb_count, FIELD_NUMBER),
	};
	PRINT(fields, d);
}

void dump_journal_state(const struct vmfs_journal_state_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_journal_state_disk, magic, FIELD_HEX),
		F(vmfs_journal_state_disk, nonce, FIELD_HEX),
		F(vmfs_journal_state_disk, first_seq, FIELD_NUMBER),
		F(vmfs_journal_state_disk, crc, FIELD_HEX),
	};
	PRINT(fields, d);
}

void dump_journal_header(const struct vmfs_journal_header_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_journal_header_disk, magic, FIELD_HEX),
		F(vmfs_journal_header_disk, version, FIELD_NUMBER),
		F(vmfs_journal_header_disk, volume_uuid, FIELD_UUID),
		F(vmfs_journal_header_disk, owner, FIELD_UUID),
		F(vmfs_journal_header_disk, hb_addr, FIELD_HEX),
		F(vmfs_journal_header_disk, hb_gen, FIELD_NUMBER),
		F(vmfs_journal_header_disk, nonce_low, FIELD_HEX),
		F(vmfs_journal_header_disk, nonce_high, FIELD_HEX),
		F(vmfs_journal_header_disk, crc, FIELD_HEX),
	};
	PRINT(fields, d);
}

void dump_journal_desc(const struct vmfs_journal_desc_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_journal_desc_disk, magic, FIELD_HEX),
		F(vmfs_journal_desc_disk, nonce, FIELD_HEX),
		F(vmfs_journal_desc_disk, seq, FIELD_NUMBER),
		F(vmfs_journal_desc_disk, target_count, FIELD_NUMBER),
		F(vmfs_journal_desc_disk, payload_sectors, FIELD_NUMBER),
		F(vmfs_journal_desc_disk, desc_sectors, FIELD_NUMBER),
	};
	PRINT(fields, d);
}

void dump_journal_target(const struct vmfs_journal_target_disk *d)
{
	printf("    to 0x%010" PRIx64 ", %u sectors, lock 0x%010" PRIx64 " token %" PRIu64
	       ", flags 0x%x\n",
	       le64_get(d->vol_off), le16_get(d->sectors), le64_get(d->lock_off),
	       le64_get(d->token), le16_get(d->flags));
}

void dump_journal_commit(const struct vmfs_journal_commit_disk *d)
{
	static const struct field fields[] = {
		F(vmfs_journal_commit_disk, magic, FIELD_HEX),
		F(vmfs_journal_commit_disk, nonce, FIELD_HEX),
		F(vmfs_journal_commit_disk, seq, FIELD_NUMBER),
		F(vmfs_journal_commit_disk, sectors, FIELD_NUMBER),
		F(vmfs_journal_commit_disk, crc, FIELD_HEX),
	};
	PRINT(fields, d);
}
