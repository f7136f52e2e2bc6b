/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iscsi_peer URL read|write DEPTH SECONDS [BYTES]
 *
 * What bdev_bench does, with libiscsi instead of our initiator: random 4 KiB I/O, or
 * sequential I/O of so many bytes, in libiscsi's own event loop. The same line of output.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "base/env.h"
#include "base/parse.h"

#define IO_SIZE 4096u
#define IO_SIZE_MAX (16u << 20)
#define MAX_DEPTH 128u
#define NAME "iqn.2026-01.org.openvmfs:peer"

struct peer {
	struct iscsi_context *iscsi;
	uint64_t io_size, seed, next, blocks, end, count;
	uint32_t block_size;
	int lun;
	bool is_sequential, is_write, has_failed;
	unsigned int pending;
};

struct peer_io {
	struct peer *p;
	struct scsi_iovec iov;
};

static void send_one(struct peer_io *io);

static void io_done(struct iscsi_context *iscsi, int status, void *data, void *context)
{
	struct peer_io *io = context;
	struct peer *p = io->p;

	(void)iscsi;
	scsi_free_scsi_task(data);
	p->pending--;
	p->has_failed |= status != SCSI_STATUS_GOOD;
	p->count++;
	if (!p->has_failed && clock_now() < p->end)
		send_one(io);
}

static uint64_t next_block(struct peer *p)
{
	uint64_t ios = p->blocks * p->block_size / p->io_size;

	p->seed ^= p->seed << 13;
	p->seed ^= p->seed >> 7;
	p->seed ^= p->seed << 17;
	return (p->is_sequential ? p->next++ : p->seed) % ios *
	       (p->io_size / p->block_size);
}

static void send_one(struct peer_io *io)
{
	struct peer *p = io->p;
	uint32_t len = (uint32_t)p->io_size;
	int block = (int)p->block_size;
	struct scsi_task *task =
		p->is_write ? iscsi_write16_iov_task(p->iscsi, p->lun, next_block(p),
						     NULL, len, block, 0, 0, 0, 0, 0,
						     io_done, io, &io->iov, 1)
			    : iscsi_read16_iov_task(p->iscsi, p->lun, next_block(p), len,
						    block, 0, 0, 0, 0, 0, io_done, io,
						    &io->iov, 1);

	p->has_failed |= !task;
	p->pending += task != NULL;
}

static double cpu_seconds(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int run(struct peer *p, struct peer_io *ios, unsigned int depth, uint64_t seconds)
{
	uint64_t then = clock_now();
	double cpu = cpu_seconds();

	p->end = then + seconds * NS_PER_S;
	for (unsigned int i = 0; i < depth; i++)
		send_one(&ios[i]);
	while (p->pending && !p->has_failed) {
		struct pollfd fd = { .fd = iscsi_get_fd(p->iscsi),
				     .events = (short)iscsi_which_events(p->iscsi) };
		if (poll(&fd, 1, 1000) >= 0 && iscsi_service(p->iscsi, fd.revents) < 0)
			p->has_failed = true;
	}
	double took = (double)(clock_now() - then) / 1e9;
	cpu = cpu_seconds() - cpu;
	if (p->has_failed)
		return 1;
	printf("iops=%.0f cpu_us_per_io=%.2f\n", (double)p->count / took,
	       cpu * 1e6 / (double)p->count);
	return 0;
}

static bool login(struct peer *p, const char *text)
{
	struct iscsi_url *url = iscsi_parse_full_url(p->iscsi, text);

	if (!url)
		return false;
	p->lun = url->lun;
	(void)iscsi_set_session_type(p->iscsi, ISCSI_SESSION_NORMAL);
	(void)iscsi_set_targetname(p->iscsi, url->target);
	int rc = iscsi_full_connect_sync(p->iscsi, url->portal, url->lun);
	iscsi_destroy_url(url);
	struct scsi_task *task =
		rc == 0 ? iscsi_readcapacity16_sync(p->iscsi, p->lun) : NULL;
	struct scsi_readcapacity16 *told = task ? scsi_datain_unmarshall(task) : NULL;
	if (told) {
		p->blocks = told->returned_lba + 1;
		p->block_size = told->block_length;
	}
	if (task)
		scsi_free_scsi_task(task);
	return p->block_size > 0;
}

int main(int argc, char **argv)
{
	uint64_t depth, seconds, size = IO_SIZE;

	if (argc < 5 || parse_u64(argv[3], MAX_DEPTH, &depth) < 0 || depth == 0 ||
	    parse_u64(argv[4], 3600, &seconds) < 0 ||
	    (argc > 5 && parse_u64(argv[5], IO_SIZE_MAX, &size) < 0) || size == 0) {
		fprintf(stderr, "usage: iscsi_peer URL read|write DEPTH SECONDS "
				"[BYTES]\n");
		return 2;
	}
	struct peer p = { .iscsi = iscsi_create_context(NAME),
			  .io_size = size,
			  .seed = 88172645463325252ull,
			  .is_write = strcmp(argv[2], "write") == 0,
			  .is_sequential = argc > 5 };
	if (!p.iscsi || !login(&p, argv[1])) {
		fprintf(stderr, "iscsi_peer: %s: %s\n", argv[1],
			p.iscsi ? iscsi_get_error(p.iscsi) : "no memory");
		return 1;
	}
	struct peer_io *ios = calloc(depth, sizeof(*ios));
	char *mem = malloc(depth * size);
	if (!ios || !mem)
		return 1;
	memset(mem, 0x5a, depth * size); /* memory of its own, not the page of zeros */
	for (unsigned int i = 0; i < depth; i++)
		ios[i] = (struct peer_io){ &p, { mem + i * size, size } };
	int rc = run(&p, ios, (unsigned int)depth, seconds);
	(void)iscsi_destroy_context(p.iscsi);
	free(mem);
	free(ios);
	return rc;
}
