/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm_host: one host of a storm, a member of the cluster in its own process, that is
 * killed, stopped and cut off by storm.sh while it works.
 *
 * Its work is on files that all hosts share. A file holds a counter, three times: in each
 * sector of a body of half a MiB, whose writes take so long that a host is stopped in the
 * middle of one; then, that being durable, in copy A at 0; then, A being durable, in copy
 * B at 1 MiB. Who has the file's lock exclusively counts on and writes his lock's token
 * beside the count. So whoever comes in knows what he must find, whatever became of the
 * one before:
 *
 *   A = B, or A = B + 1                      an increment is in A first
 *   A's token <= our token                   a higher one was never ours to follow
 *   A >= what anybody was told is durable    else an increment was lost
 *   each sector of the body = A, or A + 1    an older one is a write that came late
 *   nothing changes while we are inside      else somebody else is in
 *   the lock record names us, in our mode    else the table and the disk differ
 *
 * Readers hold the lock shared and check the same. Beside that, files and directories are
 * made, filled, renamed and removed, so that journals are not empty when hosts die; and
 * each host has a tree of its own, over all its lives, beside a model of it (tree.h).
 *
 * The log is the history: "TIME HOST EVENT FILE COUNT TOKEN", one write(2) a line, so
 * that what was logged before a SIGKILL is there. storm_check.pl judges it.
 *
 * Exit codes: 0 ended by SIGTERM, 1 usage, 2 a rule was broken or an error that must not
 * be, 3 the volume was lost (fenced, or no heartbeat in time).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <isa-l/crc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "bdev/guard.h"
#include "iscsi/open.h"
#include "tests/storm/inside.h"
#include "tests/storm/tree.h"
#include "vmfs/format.h"
#include "vmfs/vmfs.h"

#define COPY_B (1u << 20)
#define BODY (2u << 20)
#define BODY_SECTORS 1024u
#define RECORD_MAGIC 0x4D524F5453u /* "STORM" */
#define PATIENCE_NS (60 * NS_PER_S)
#define CHURN_BYTES (3u << 20)

struct record {
	uint64_t magic, count, token;
	char host[40];
	uint8_t filler[4096 - 3 * 8 - 40 - 4];
	uint32_t crc;
};
_Static_assert(sizeof(struct record) == 4096, "a record is a page");

struct sector {
	uint64_t magic, count, token;
	char host[40];
	uint8_t filler[512 - 3 * 8 - 40];
};
_Static_assert(sizeof(struct sector) == 512, "a sector of the body");

struct host {
	struct reporter reporter;
	const char *device, *name, *log_path, *inside_path;
	unsigned int files, trees;
	bool is_fast, no_liveness, is_guarded;
	uint64_t state; /* of chance */
	int log_fd;
	struct bdev *bd, *heartbeat;
	struct guard *guard;
	struct vmfs_volume *vol;
	struct uuid owner;
	struct inside *inside;
	struct sector *body, *again; /* BODY_SECTORS each */
	unsigned int made; /* names in /churn */
	struct tree *tree;
};

static volatile sig_atomic_t is_ending;

/* ---- the log ---- */

static void log_line(struct host *h, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void log_line(struct host *h, const char *fmt, ...)
{
	char line[512];
	va_list args;
	uint64_t now = clock_now() / NS_PER_US;
	int n = snprintf(line, sizeof(line), "%" PRIu64 " %s ", now, h->name);

	va_start(args, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);
	va_end(args);
	n = n > (int)sizeof(line) - 2 ? (int)sizeof(line) - 2 : n;
	line[n++] = '\n';
	if (write(h->log_fd, line, (size_t)n) != n)
		_exit(2);
}

static void teller(struct reporter *r, enum report_level level, const char *text)
{
	static const char *const levels[] = { "report-error", "report-warn",
					      "report-info", "report-debug" };
	log_line((struct host *)r, "%s %s", levels[level], text);
}

static void lost(struct host *h, const char *what) __attribute__((noreturn));
static void lost(struct host *h, const char *what)
{
	log_line(h, "lost %s", what);
	_exit(3);
}

/* A rule is broken. Nothing is tidied up: what is on the disk is the evidence. */
static void broken(struct host *h, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
static void broken(struct host *h, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_line(h, "BROKEN %s", text);
	_exit(2);
}

/* Any error: the volume may be lost, all else must not be. */
static void check(struct host *h, int64_t rc, const char *what)
{
	if (rc >= 0)
		return;
	if (rc == -ESTALE || rc == -ENODEV || vmfs_volume_state(h->vol))
		lost(h, what);
	broken(h, "%s: %s", what, strerrorname_np((int)-rc));
}

/* ---- chance ---- */

/* splitmix64 */
static uint64_t chance(struct host *h, uint64_t below)
{
	uint64_t z = h->state += 0x9E3779B97F4A7C15ull;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
	return (z ^ (z >> 31)) % below;
}

static void pause_for(struct host *h, uint64_t below_ms)
{
	task_sleep_until(clock_now() + chance(h, below_ms + 1) * NS_PER_MS);
}

/* ---- records ---- */

static uint32_t record_crc(const struct record *r)
{
	struct record copy = *r;

	return crc32_iscsi((unsigned char *)&copy, offsetof(struct record, crc), 0);
}

static void read_record(struct host *h, struct vmfs_file *file, uint64_t off,
			struct record *ret)
{
	int64_t n = vmfs_file_read(file, ret, sizeof(*ret), off);

	check(h, n, "read");
	if (n != sizeof(*ret))
		broken(h, "short read at %" PRIu64, off);
	if (ret->magic != RECORD_MAGIC || ret->crc != record_crc(ret))
		broken(h, "torn record at %" PRIu64, off);
}

static void write_record(struct host *h, struct vmfs_file *file, uint64_t off,
			 struct record *r)
{
	r->magic = RECORD_MAGIC;
	(void)snprintf(r->host, sizeof(r->host), "%s", h->name);
	memset(r->filler, (int)(r->count & 0xff), sizeof(r->filler));
	r->crc = record_crc(r);
	check(h, vmfs_file_write(file, r, sizeof(*r), off), "write");
	check(h, vmfs_file_sync(file), "sync");
}

static void read_body(struct host *h, struct vmfs_file *file, struct sector *ret)
{
	int64_t n = vmfs_file_read(file, ret, BODY_SECTORS * sizeof(*ret), BODY);

	check(h, n, "read of the body");
	if (n != (int64_t)(BODY_SECTORS * sizeof(*ret)))
		broken(h, "short read of the body");
}

static void write_body(struct host *h, struct vmfs_file *file, uint64_t count,
		       uint64_t token)
{
	for (unsigned int i = 0; i < BODY_SECTORS; i++) {
		struct sector *s = &h->body[i];

		s->magic = RECORD_MAGIC;
		s->count = count;
		s->token = token;
		(void)snprintf(s->host, sizeof(s->host), "%s", h->name);
		memset(s->filler, (int)(count & 0xff), sizeof(s->filler));
	}
	check(h, vmfs_file_write(file, h->body, BODY_SECTORS * sizeof(*h->body), BODY),
	      "write of the body");
	check(h, vmfs_file_sync(file), "sync of the body");
}

static void path_of(unsigned int n, char path[static 32])
{
	(void)snprintf(path, 32, "/storm/f%u", n);
}

/* ---- one visit to a file ---- */

struct visit {
	unsigned int n;
	bool is_writer;
	char path[32];
	struct vmfs_file *file;
	uint64_t token, durable;
	struct record a, b;
};

/* What the record on the disk says of us; the token. */
static void check_lock(struct host *h, struct visit *v)
{
	struct vmfs_lock_info info;
	bool is_listed = false;

	check(h, vmfs_lock_info(h->vol, v->path, &info), "lock info");
	for (unsigned int i = 0; i < info.holder_count; i++)
		is_listed |= uuid_equal(&info.holders[i].owner, &h->owner);
	if (vmfs_volume_state(h->vol))
		lost(h, v->path);
	if (info.mode != (v->is_writer ? LOCK_EXCLUSIVE : LOCK_READ_ONLY) || !is_listed)
		broken(h, "%s: the record shows mode %u, %u holders, us %s", v->path,
		       info.mode, info.holder_count, is_listed ? "too" : "not");
	v->token = info.token;
}

/* Whoever died here may have begun the next count; nobody older may show. */
static void check_body(struct host *h, const struct visit *v)
{
	read_body(h, v->file, h->body);
	for (unsigned int i = 0; i < BODY_SECTORS; i++) {
		const struct sector *s = &h->body[i];

		if (s->magic != RECORD_MAGIC || s->token > v->token ||
		    (s->count != v->a.count && s->count != v->a.count + 1))
			broken(h, "%s: sector %u of the body shows %" PRIu64 " by %s with"
				  " token %" PRIu64 "; A shows %" PRIu64 " by %s, our"
				  " token is %" PRIu64, v->path, i, s->count, s->host,
			       s->token, v->a.count, v->a.host, v->token);
	}
}

static bool enter(struct host *h, struct visit *v)
{
	const struct vmfs_file_options o = {
		.flags = v->is_writer ? VMFS_WRITE : VMFS_READ_LOCKED,
		.deadline = clock_now() + PATIENCE_NS,
	};
	struct vmfs_holder holder = { .mode = 0 };

	path_of(v->n, v->path);
	log_line(h, "ask %u %d", v->n, v->is_writer);
	int rc = vmfs_file_open(h->vol, v->path, &o, &v->file, &holder);
	if (rc == -EBUSY && !vmfs_volume_state(h->vol)) {
		log_line(h, "busy %u %s", v->n, holder.host_name);
		return false;
	}
	check(h, rc, "open");
	int other = h->no_liveness ? 0 : inside_enter(h->inside, v->n, v->is_writer);
	if (other)
		broken(h, "%s: process %d is inside as well", v->path, other);
	check_lock(h, v);
	v->durable = inside_durable(h->inside, v->n);
	read_record(h, v->file, 0, &v->a);
	read_record(h, v->file, COPY_B, &v->b);
	log_line(h, "enter %u %" PRIu64 " %" PRIu64 " %d", v->n, v->a.count, v->token,
		 v->is_writer);
	if (v->a.count != v->b.count && v->a.count != v->b.count + 1)
		broken(h, "%s: copies show %" PRIu64 " and %" PRIu64, v->path, v->a.count,
		       v->b.count);
	if (v->a.count < v->durable)
		broken(h, "%s: %" PRIu64 " was durable, found %" PRIu64 " by %s", v->path,
		       v->durable, v->a.count, v->a.host);
	if (v->a.token > v->token)
		broken(h, "%s: token %" PRIu64 " by %s, ours is %" PRIu64, v->path,
		       v->a.token, v->a.host, v->token);
	check_body(h, v);
	return true;
}

/* Nothing may have changed since we came in, but by us. */
static void leave(struct host *h, struct visit *v)
{
	struct record a, b;

	read_record(h, v->file, 0, &a);
	read_record(h, v->file, COPY_B, &b);
	if (memcmp(&a, &v->a, sizeof(a)) || memcmp(&b, &v->b, sizeof(b)))
		broken(h, "%s: changed under us: %" PRIu64 "/%" PRIu64 " by %s", v->path,
		       a.count, b.count, a.host);
	read_body(h, v->file, h->again);
	for (unsigned int i = 0; i < BODY_SECTORS; i++)
		if (memcmp(&h->body[i], &h->again[i], sizeof(h->body[i])))
			broken(h, "%s: sector %u of the body changed under us: %" PRIu64
				  " by %s", v->path, i, h->again[i].count,
			       h->again[i].host);
	log_line(h, "leave %u", v->n);
	if (!h->no_liveness)
		inside_leave(h->inside, v->n, v->is_writer);
	check(h, vmfs_file_close(v->file), "close");
}

static void increment(struct host *h, struct visit *v)
{
	v->a.count++;
	v->a.token = v->token;
	log_line(h, "intent %u %" PRIu64 " %" PRIu64, v->n, v->a.count, v->token);
	write_body(h, v->file, v->a.count, v->token);
	write_record(h, v->file, 0, &v->a);
	v->b = v->a;
	write_record(h, v->file, COPY_B, &v->b);
	inside_set_durable(h->inside, v->n, v->a.count);
	log_line(h, "done %u %" PRIu64 " %" PRIu64, v->n, v->a.count, v->token);
}

static void visit_file(struct host *h, bool is_writer)
{
	struct visit v = { .n = (unsigned int)chance(h, h->files),
			   .is_writer = is_writer };

	if (!enter(h, &v))
		return;
	for (uint64_t i = chance(h, 8); is_writer && i < 8; i++) {
		increment(h, &v);
		pause_for(h, 20);
	}
	if (chance(h, 4) == 0)
		pause_for(h, 400);
	leave(h, &v);
}

/* ---- metadata ---- */

/* -ENOENT and the like: another host was faster. */
static bool is_race(int rc)
{
	return rc == -EBUSY || rc == -ENOENT || rc == -EEXIST || rc == -ENOTEMPTY;
}

static void expect(struct host *h, int rc, const char *what)
{
	if (!is_race(rc))
		check(h, rc, what);
}

static void make_file(struct host *h, const char *path)
{
	const struct vmfs_file_options o = {
		.flags = VMFS_WRITE | VMFS_CREATE | VMFS_EXCL,
		.mode = 0600,
		.deadline = clock_now() + PATIENCE_NS,
	};
	struct vmfs_file *file;
	uint32_t len = (uint32_t)chance(h, CHURN_BYTES);
	void *buf = calloc(1, len + 1);
	int rc = buf ? vmfs_file_open(h->vol, path, &o, &file, NULL) : -ENOMEM;

	if (is_race(rc)) {
		free(buf);
		return;
	}
	check(h, rc, "create");
	memset(buf, (int)(h->state & 0xff), len);
	check(h, vmfs_file_write(file, buf, len, chance(h, CHURN_BYTES)), "fill");
	if (chance(h, 2))
		check(h, vmfs_file_truncate(file, chance(h, CHURN_BYTES)), "truncate");
	if (chance(h, 2))
		check(h, vmfs_file_sync(file), "sync");
	check(h, vmfs_file_close(file), "close");
	free(buf);
}

/* In one directory for all hosts, or in one of the host's own. */
static void churn(struct host *h)
{
	char dir[64] = "/churn", path[128], to[128];

	if (chance(h, 3) == 0) {
		(void)snprintf(dir, sizeof(dir), "/churn-%s", h->name);
		expect(h, vmfs_mkdir(h->vol, dir, 0700), "mkdir");
	}
	(void)snprintf(path, sizeof(path), "%s/%s-%u", dir, h->name, h->made);
	(void)snprintf(to, sizeof(to), "/churn/%s-%u.renamed", h->name, h->made++);
	make_file(h, path);
	if (chance(h, 2)) {
		expect(h, vmfs_rename(h->vol, path, to), "rename");
		(void)snprintf(path, sizeof(path), "%s", to);
	}
	expect(h, vmfs_unlink(h->vol, path), "unlink");
	if (strcmp(dir, "/churn") != 0)
		expect(h, vmfs_rmdir(h->vol, dir), "rmdir");
}

/* ---- a tree ---- */

/* "h3.12" is life 12 of host 3. */
static void open_tree(struct host *h, unsigned int number)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s.tree-%u", h->inside_path, number);
	h->tree = tree_open(path, number, chance(h, UINT32_MAX));
	if (!h->tree)
		broken(h, "%s: %s", path, strerrorname_np(errno));
}

static void resume_tree(struct host *h)
{
	const char *why;
	int rc = tree_resume(h->tree, h->vol, &why);

	if (rc == -EPROTO)
		broken(h, "the tree after %" PRIu64 " operations: %s",
		       tree_done(h->tree), why);
	check(h, rc, "the tree");
	log_line(h, "tree %" PRIu64, tree_done(h->tree));
}

/* ---- life ---- */

static void open_device(struct host *h)
{
	int rc = device_open(h->device, 0, NULL, &h->reporter, &h->bd);

	if (rc == 0 && device_is_iscsi_url(h->device))
		rc = device_open(h->device, 0, NULL, &h->reporter, &h->heartbeat);
	if (rc < 0) {
		log_line(h, "lost the device cannot be opened: %s",
			 strerrorname_np(-rc));
		exit(3);
	}
}

/* Before any task is started. */
static void start_guard(struct host *h)
{
	const struct guard_options o = { .log_fd = h->log_fd, .reporter = &h->reporter };

	if (h->is_guarded && guard_start(&o, &h->guard) < 0)
		exit(2); /* reported */
}

static void join(struct host *h)
{
	start_guard(h);
	open_device(h);
	struct vmfs_open_options o = {
		.devices = &h->bd,
		.device_count = 1,
		.host_name = h->name,
		.reporter = &h->reporter,
		.heartbeat_device = h->heartbeat,
		.no_liveness_lock = h->no_liveness,
		.lease_profile = h->is_fast ? VMFS_LEASE_FAST : VMFS_LEASE_NORMAL,
		.guard = h->guard,
		.keeps_locks = chance(h, 3) == 0,
	};
	uint64_t start = clock_now();
	uint32_t slot;
	int rc = vmfs_volume_open(&o, &h->vol);
	if (rc < 0) {
		log_line(h, "lost cannot join: %s", strerrorname_np(-rc));
		exit(rc == -EUCLEAN || rc == -EBADMSG ? 2 : 3);
	}
	check(h, vmfs_volume_identity(h->vol, &h->owner, &slot), "identity");
	uint64_t took = (clock_now() - start) / NS_PER_US;
	log_line(h, "join %u %" PRIu64 " %d", slot, took, getpid());
}

static int part(struct host *h)
{
	int rc = vmfs_volume_close(h->vol);

	if (rc < 0 && rc != -ESTALE && rc != -ENODEV)
		broken(h, "leaving: %s", strerrorname_np(-rc));
	log_line(h, rc ? "lost when leaving" : "part");
	bdev_close(h->heartbeat);
	bdev_close(h->bd);
	guard_stop(h->guard);
	return rc ? 3 : 0;
}

static void work(struct host *h)
{
	unsigned int number;

	if (sscanf(h->name, "h%u.", &number) != 1)
		broken(h, "a host has a number");
	open_tree(h, number);
	resume_tree(h);
	while (!is_ending) {
		if (vmfs_volume_state(h->vol))
			lost(h, "at work");
		uint64_t what = chance(h, 100);
		if (what < 50)
			visit_file(h, true);
		else if (what < 65)
			visit_file(h, false);
		else if (what < 75)
			churn(h);
		else
			check(h, tree_step(h->tree, h->vol), "a step in the tree");
		pause_for(h, 20);
	}
}

/* --make: the shared files, before the storm. */
static void make(struct host *h)
{
	const struct vmfs_file_options o = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0600 };

	check(h, vmfs_mkdir(h->vol, "/storm", 0755), "mkdir");
	check(h, vmfs_mkdir(h->vol, "/churn", 0755), "mkdir");
	check(h, vmfs_mkdir(h->vol, TREE_SHARED, 0755), "mkdir");
	for (unsigned int i = 0; i < h->files; i++) {
		struct record r = { .count = 0 };
		struct vmfs_file *file;
		char path[32];

		path_of(i, path);
		check(h, vmfs_file_open(h->vol, path, &o, &file, NULL), path);
		write_body(h, file, 0, 0);
		write_record(h, file, 0, &r);
		write_record(h, file, COPY_B, &r);
		check(h, vmfs_file_close(file), path);
	}
}

/* --final: what the files hold in the end: "final FILE COUNT TOKEN"; and all trees. */
static void final(struct host *h)
{
	for (unsigned int i = 0; i < h->files; i++) {
		struct visit v = { .n = i };

		if (!enter(h, &v))
			broken(h, "%s: still held", v.path);
		log_line(h, "final %u %" PRIu64 " %" PRIu64, i, v.a.count, v.a.token);
		leave(h, &v);
	}
	for (unsigned int i = 1; i <= h->trees; i++) {
		open_tree(h, i);
		resume_tree(h);
		tree_close(h->tree);
	}
}

static void on_signal(int number)
{
	(void)number;
	is_ending = 1;
}

static const char usage[] =
	"usage: storm_host -d DEVICE -n NAME -t TABLE -l LOG [-f FILES] [-s SEED]\n"
	"       [--fast] [--lease] [--guard] [--make | --final HOSTS]\n"
	"  --fast   the fast lease profile\n"
	"  --lease  a stopped host may lawfully be replaced\n"
	"  --guard  with a guard process\n";

static bool parse(struct host *h, int argc, char **argv, int *ret_what)
{
	static const struct option options[] = {
		{ "make", no_argument, NULL, 'M' },
		{ "final", required_argument, NULL, 'E' },
		{ "fast", no_argument, NULL, 'F' },
		{ "lease", no_argument, NULL, 'L' },
		{ "guard", no_argument, NULL, 'G' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "d:n:t:l:f:s:", options, NULL)) != -1) {
		switch (c) {
		case 'd': h->device = optarg; break;
		case 'n': h->name = optarg; break;
		case 't': h->inside_path = optarg; break;
		case 'l': h->log_path = optarg; break;
		case 'f': h->files = (unsigned int)strtoul(optarg, NULL, 0); break;
		case 's': h->state = strtoull(optarg, NULL, 0); break;
		case 'F': h->is_fast = true; break;
		case 'L': h->no_liveness = true; break;
		case 'G': h->is_guarded = true; break;
		case 'E': h->trees = (unsigned int)strtoul(optarg, NULL, 0);
			  __attribute__((fallthrough));
		case 'M': *ret_what = c; break;
		default: return false;
		}
	}
	return h->device && h->name && h->log_path && h->inside_path && h->files &&
	       h->files <= INSIDE_FILES_MAX;
}

int main(int argc, char **argv)
{
	struct host h = { .reporter = { teller }, .files = 6 };
	struct sigaction action = { .sa_handler = on_signal };
	int what = 0;

	if (!parse(&h, argc, argv, &what)) {
		(void)fputs(usage, stderr);
		return 1;
	}
	h.log_fd = open(h.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	h.inside = inside_open(h.inside_path);
	h.body = calloc(BODY_SECTORS, sizeof(*h.body));
	h.again = calloc(BODY_SECTORS, sizeof(*h.again));
	if (h.log_fd < 0 || !h.inside || !h.body || !h.again) {
		perror("storm_host");
		return 1;
	}
	(void)sigaction(SIGTERM, &action, NULL); /* cannot fail for this */
	join(&h);
	if (what == 'M')
		make(&h);
	else if (what == 'E')
		final(&h);
	else
		work(&h);
	return part(&h);
}
