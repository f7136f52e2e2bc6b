/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain_bench IMAGE SIZE_MIB DEPTH vmfssparse|sesparse
 *
 * Makes a disk of which each 4 KiB lies in another layer, by chance, of DEPTH deltas and
 * the base: /cDEPTH.vmdk on the volume in IMAGE.
 *
 * chain_bench IMAGE scattered DEPTH vmfssparse|sesparse
 * chain_bench IMAGE memory DEPTH vmfssparse|sesparse
 *
 * The first makes a disk of 1 TiB (tests/lib/scattered.h), the second reads it all over
 * and compares; prints by how much this process has grown for it, and what of that is the
 * map of the chain.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "base/buf.h"
#include "base/parse.h"
#include "tests/lib/scattered.h"
#include "vdisk/chain.h"

#define PIECE 4096u
#define RUNS 9000000u /* of eight bytes: 69 MiB */

struct making {
	struct vmfs_volume *vol;
	struct reporter *r;
	uint64_t size, depth; /* size 0: the one of 1 TiB */
	bool is_measured;     /* and not made */
	uint16_t *layer; /* by piece */
	enum vdisk_delta_kind kind;
	char *buf;
};

static void name(const struct making *m, uint64_t layer, char path[static 64])
{
	if (layer == m->depth)
		(void)snprintf(path, 64, "/c%" PRIu64 ".vmdk", m->depth);
	else
		(void)snprintf(path, 64, "/c%" PRIu64 "-%06" PRIu64 ".vmdk", m->depth,
			       layer);
}

static int write_layer(struct making *m, uint64_t layer)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE, .reporter = m->r };
	char path[64], parent[64];
	struct vdisk *disk;
	name(m, layer, path);
	name(m, layer ? layer - 1 : 0, parent);
	/* Whole grains are written: nothing under it is needed. */
	int rc = vdisk_open_above(m->vol, path, parent, &how, &disk, NULL);
	if (rc < 0)
		return rc;
	for (uint64_t i = 0; i < m->size / PIECE && rc == 0; i++) {
		if (m->layer[i] == layer)
			rc = bdev_write(vdisk_bdev(disk), m->buf, PIECE, i * PIECE);
	}
	int err = vdisk_close(disk);
	return rc ? rc : err;
}

static int make_all(struct making *m)
{
	const struct vdisk_create_options base = { .capacity_bytes = m->size,
						   .format = VDISK_EAGERZEROEDTHICK,
						   .reporter = m->r };
	const struct vdisk_snapshot_options how = { .kind = m->kind,
						    .reporter = m->r };
	char path[64], parent[64], lowest[64];
	name(m, 0, lowest);
	int rc = vdisk_create(m->vol, lowest, &base);
	/* A host answers for blocks that it only zeroed without reading them. */
	if (rc == 0)
		rc = write_layer(m, 0);
	/* Each is made on the base and moved: no chain has to be opened for it. */
	for (uint64_t i = 1; i <= m->depth && rc == 0; i++) {
		name(m, i - 1, parent);
		name(m, i, path);
		rc = vdisk_snapshot(m->vol, lowest, path, &how, NULL);
		if (rc == 0)
			rc = vdisk_relink(m->vol, path, parent, m->r);
		if (rc == 0)
			rc = write_layer(m, i);
	}
	return rc;
}

/* Pages that this process has, in bytes. */
static uint64_t resident(void)
{
	unsigned long long all = 0, now = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f || fscanf(f, "%llu %llu", &all, &now) != 2)
		now = 0;
	if (f)
		(void)fclose(f);
	return now * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int show_memory(const struct making *m, const struct scattered *s)
{
	const struct vdisk_open_options how = { .flags = VDISK_READ_LOCKED,
						.reporter = m->r };
	uint64_t count = scattered_count(s), before = resident();
	struct vdisk *disk;
	int rc = vdisk_open(m->vol, SCATTERED_TOP, &how, &disk, NULL);
	if (rc < 0)
		return rc;
	for (uint64_t i = 0; i < count + count / 2; i++)
		scattered_read(s, disk, scattered_walk(s, i));
	printf("bytes=%" PRIu64 " map_bytes=%" PRIu64 " all_would_be=%" PRIu64 "\n",
	       resident() - before, chainmap_bytes(disk->chain->map),
	       scattered_demand(s));
	return vdisk_close(disk);
}

static int run_scattered(const struct making *m)
{
	const struct scattered s = { .vol = m->vol,
				     .reporter = m->r,
				     .kind = m->kind,
				     .depth = (unsigned int)m->depth,
				     .piece = PIECE / DELTA_SECTOR,
				     .runs = RUNS };
	if (m->is_measured)
		return show_memory(m, &s);
	scattered_make(&s);
	return 0;
}

static int run(struct making *m, const char *image)
{
	struct bdev *bd;
	struct vmfs_open_options options = { .devices = &bd, .device_count = 1,
					     .reporter = m->r };
	int rc = bdev_file_open(image, 0, m->r, &bd);
	if (rc == 0)
		rc = vmfs_volume_open(&options, &m->vol);
	if (rc == 0)
		rc = m->size ? make_all(m) : run_scattered(m);
	int err = vmfs_volume_close(m->vol);
	return rc ? rc : err;
}

static bool read_size(const char *text, struct making *m)
{
	m->is_measured = strcmp(text, "memory") == 0;
	if (m->is_measured || strcmp(text, "scattered") == 0)
		return true;
	return parse_u64(text, 1 << 20, &m->size) == 0 && m->size;
}

int main(int argc, char **argv)
{
	struct reporter_stderr told;
	struct making m = { .depth = 0 };
	if (argc != 5 || !read_size(argv[2], &m) ||
	    parse_u64(argv[3], 255, &m.depth) < 0 || !m.depth) {
		fprintf(stderr, "usage: chain_bench IMAGE SIZE_MIB|scattered|memory"
				" DEPTH KIND\n");
		return 2;
	}
	m.r = reporter_stderr_init(&told, "chain_bench", REPORT_WARN);
	m.kind = strcmp(argv[4], "sesparse") == 0 ? VDISK_DELTA_SESPARSE :
						   VDISK_DELTA_VMFSSPARSE;
	m.size <<= 20;
	m.layer = calloc(m.size / PIECE, sizeof(*m.layer));
	m.buf = io_alloc(PIECE);
	if (!m.layer || !m.buf)
		return 1;
	for (uint64_t i = 0; i < m.size / PIECE; i++)
		m.layer[i] = (uint16_t)(random_u64() % (m.depth + 1));
	memset(m.buf, 'c', PIECE);
	int rc = run(&m, argv[1]);
	if (rc < 0)
		fprintf(stderr, "chain_bench: %s: %s\n", argv[1], strerror(-rc));
	return rc < 0;
}
