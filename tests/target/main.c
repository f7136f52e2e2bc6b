/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iscsi-target: a scripted iSCSI target for tests. It is right (RFC 7143 at
 * ErrorRecoveryLevel 0, SPC-4, SBC-3) until it is told to be wrong, and tells how often
 * it was asked what. Never installed. `manual` below says all of it.
 *
 * Invariants:
 * 1. One thread. A command is executed whole, at one moment: COMPARE AND WRITE, XCOPY and
 *    PERSISTENT RESERVE OUT are atomic against everything.
 * 2. A session that has ended takes no effect any more, nor has one whose login was
 *    reinstated by another.
 * 3. What was answered GOOD is in the backing file (in the kernel): SIGKILL loses
 *    nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"
#include "tests/target/target.h"

#define BACKLOG 4096 /* thousands come back at a time after a reset */
#define DEFAULT_IQN "iqn.2026-01.org.openvmfs:own"

static const char manual[] =
	"usage: iscsi-target -p [ADDRESS:]PORT[:TPG]... [-t IQN] -l LUN=WHAT...\n"
	"       iscsi-target --ctl SOCKET COMMAND...\n"
	"A scripted iSCSI target for tests.\n\n"
	"  -p, --portal [ADDRESS:]PORT[:TPG]  listens there (127.0.0.1, 1); repeat.\n"
	"                       PORT 0: any free one. \"portal ADDRESS:PORT,TPG\" is\n"
	"                       printed for each, then \"ready\"\n"
	"  -t, --target IQN     the LUNs that follow are of this target; repeat\n"
	"  -l, --lun LUN=WHAT[,block=4096][,id=HEX]  WHAT: a file, or null:SIZE, which\n"
	"                       reads zeros at no cost; repeat. A file in two targets\n"
	"                       is one unit\n"
	"  -c, --control SOCKET  commands are taken there\n"
	"  -s, --state DIR      APTPL reservations are kept there (else refused)\n"
	"  -u, --chap USER%SECRET  asks for it\n"
	"      --chap-discovery  also in sessions for discovery\n"
	"  -m, --mutual USER%SECRET  proves itself with it\n"
	"  -k, --key NAME=VALUE  our wish in the negotiation (InitialR2T=Yes,\n"
	"                       HeaderDigest=CRC32C, MaxBurstLength=65536 ...)\n"
	"  -w, --window N       commands in flight (128)\n"
	"      --tpgs N         ALUA: 0 none, 1 implicit, 2 explicit, 3 both; else 3\n"
	"                       with more than one group, 0 with one\n"
	"      --no-attentions  no unit attentions, also after login\n"
	"  -v, --verbose        violations of initiators to stderr\n\n"
	"Commands. OP is a SCSI opcode in hex or \"any\"; those with OP, and login,\n"
	"redirect, corrupt, wrong, end with a COUNT (1), or \"always\".\n"
	"  delay OP MS, delay-response OP MS     executed after, before the delay\n"
	"  drop-response OP, swallow-request OP  executed, not answered; neither\n"
	"  reset-after OP, reset-before OP       the connection is reset instead\n"
	"  status OP STATUS [K/ASC/ASCQ]  not executed; hex: status any 2 3/11/00\n"
	"  short OP BYTES marked|silent   a read lacks them, with U bit or without\n"
	"  reject OP REASON; tmf FUNCTION RESPONSE|ignore   hex\n"
	"  login STATUS|ignore; redirect ADDRESS|self [permanent]   login 0201\n"
	"  corrupt header|data; wrong itt|ttt|statsn|datasn|offset|length\n"
	"  clear                          forgets the faults above\n"
	"  reset, close, half-close, nop-in [SESSION]; async EVENT [P1 P2 P3]\n"
	"  window N; split BYTES (of a send); pieces BYTES (of a Data-In)\n"
	"  black-hole PORT on|off; alua TPG STATE; alua TPG preferred on|off; tpgs N\n"
	"    STATE: optimized non-optimized standby unavailable offline transitioning\n"
	"  lun-add LUN WHAT [BLOCK], lun-remove LUN, resize LUN SIZE, lun-reset LUN\n"
	"  space-full LUN on|off; medium-error LUN LBA COUNT (0: none)\n"
	"  deny LUN LBA COUNT: of these GET LBA STATUS says that they are not mapped\n"
	"  attention LUN ASCASCQ; name LUN naa|t10|none [ID]; descriptor-sense on|off\n"
	"    LUN: of the first target, or TARGET.LUN, counted from 0\n"
	"  limit NAME N: transfer caw unmap unmap-ranges unmap-grain write-same\n"
	"    copy-segments copy-bytes ndob wsnz\n"
	"  stats; stats-reset; stat NAME: a counter, sessions, held (commands that a\n"
	"    fault delays), 89, executed-89 (opcodes in hex)\n"
	"  quit\n\n"
	"Example:\n"
	"  iscsi-target -p 3300:1 -p 3301:2 -l 1=/tmp/lun -c /tmp/ctl &\n"
	"  iscsi-target --ctl /tmp/ctl drop-response 89\n";

/* ---- options ---- */

static void init(struct world *w)
{
	static const uint32_t keys[KEY_COUNT] = {
		[KEY_MAX_RECV] = MAX_RECV,     [KEY_MAX_BURST] = 1u << 20,
		[KEY_FIRST_BURST] = 256u << 10, [KEY_MAX_R2T] = MAX_R2T,
		[KEY_MAX_CONNECTIONS] = 1,     [KEY_TIME2WAIT] = 0,
		[KEY_TIME2RETAIN] = 0,	       [KEY_IMMEDIATE_DATA] = 1,
		[KEY_PDU_IN_ORDER] = 1,	       [KEY_SEQUENCE_IN_ORDER] = 1,
	};
	static const uint64_t limit[LIMIT_COUNT] = {
		[LIMIT_TRANSFER] = 65536,	[LIMIT_CAW] = 128,
		[LIMIT_UNMAP] = 1u << 20,	[LIMIT_UNMAP_RANGES] = 32,
		[LIMIT_UNMAP_GRAIN] = 1,	[LIMIT_WRITE_SAME] = 1u << 22,
		[LIMIT_COPY_SEGMENTS] = 8,	[LIMIT_COPY_BYTES] = 16u << 20,
		[LIMIT_NDOB] = 1,
	};

	memcpy(w->key, keys, sizeof(keys));
	memcpy(w->limit, limit, sizeof(limit));
	w->window = 128;
	w->tpgs = UINT8_MAX;
	w->has_attentions = true;
	w->control = -1;
	TAILQ_INIT(&w->units);
	TAILQ_INIT(&w->sessions);
	TAILQ_INIT(&w->held);
	TAILQ_INIT(&w->faults);
}

static int die(const char *what, const char *why)
{
	(void)fprintf(stderr, "iscsi-target: %s: %s\n", what, why);
	return 1;
}

static bool add_portal(struct world *w, char *text)
{
	struct portal *p = &w->portals[w->portal_count];
	const char *address = "127.0.0.1", *first = strsep(&text, ":");
	uint64_t port, tpg = 1;

	if (w->portal_count == MAX_PORTALS)
		return false;
	if (strchr(first, '.')) {
		address = first;
		first = strsep(&text, ":");
	}
	if (!first || parse_u64(first, UINT16_MAX, &port) < 0 ||
	    (text && (parse_u64(text, UINT16_MAX, &tpg) < 0 || !tpg)))
		return false;
	(void)snprintf(p->address, sizeof(p->address), "%s", address);
	p->port = (uint16_t)port;
	p->tpg = (uint16_t)tpg;
	p->number = (uint16_t)++w->portal_count;
	if (!group_of(w, p->tpg))
		w->groups[w->group_count++] = (struct group){ .tpg = p->tpg };
	return true;
}

static struct exported *add_target(struct world *w, const char *name)
{
	if (w->target_count == MAX_TARGETS || strlen(name) > ISCSI_NAME_MAX)
		return NULL;
	struct exported *t = &w->targets[w->target_count++];
	(void)snprintf(t->name, sizeof(t->name), "%s", name);
	return t;
}

static bool add_lun(struct world *w, char *text)
{
	const char *id = NULL;
	uint64_t lun, block = 512;
	char *what = strchr(text, '='), *option;

	if (!w->target_count && !add_target(w, DEFAULT_IQN))
		return false;
	struct exported *t = &w->targets[w->target_count - 1];
	if (!what)
		return false;
	*what++ = '\0';
	if (parse_u64(text, MAX_LUNS - 1, &lun) < 0 || t->lun[lun])
		return false;
	char *rest = what;
	(void)strsep(&rest, ",");
	while ((option = strsep(&rest, ",")) != NULL) {
		if (strncmp(option, "id=", 3) == 0)
			id = option + 3;
		else if (strcmp(option, "block=4096") == 0)
			block = 4096;
		else if (strcmp(option, "block=512") != 0)
			return false;
	}
	t->lun[lun] = unit_open(w, what, (uint32_t)block, id);
	return t->lun[lun];
}

static bool split_account(const char *text, char *ret_user, char *ret_secret)
{
	const char *percent = strchr(text, '%');

	if (!percent || percent == text || strlen(text) > 255)
		return false;
	(void)snprintf(ret_user, 256, "%.*s", (int)(percent - text), text);
	(void)snprintf(ret_secret, 256, "%s", percent + 1);
	return true;
}

enum { OPTION_TPGS = 256, OPTION_QUIET, OPTION_CHAP_DISCOVERY, OPTION_HELP };

static const struct option options[] = {
	{ "portal", required_argument, NULL, 'p' },
	{ "target", required_argument, NULL, 't' },
	{ "lun", required_argument, NULL, 'l' },
	{ "control", required_argument, NULL, 'c' },
	{ "state", required_argument, NULL, 's' },
	{ "chap", required_argument, NULL, 'u' },
	{ "mutual", required_argument, NULL, 'm' },
	{ "key", required_argument, NULL, 'k' },
	{ "window", required_argument, NULL, 'w' },
	{ "tpgs", required_argument, NULL, OPTION_TPGS },
	{ "no-attentions", no_argument, NULL, OPTION_QUIET },
	{ "chap-discovery", no_argument, NULL, OPTION_CHAP_DISCOVERY },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static bool take_option(struct world *w, int option, char *text,
			const char **ret_control)
{
	uint64_t n = 0;

	switch (option) {
	case 'p':
		return add_portal(w, text);
	case 't':
		return add_target(w, text);
	case 'l':
		return add_lun(w, text);
	case 'c':
		*ret_control = text;
		return true;
	case 's':
		(void)snprintf(w->state_dir, sizeof(w->state_dir), "%s", text);
		return true;
	case 'u':
		return split_account(text, w->user, w->secret);
	case 'm':
		return split_account(text, w->own_user, w->own_secret);
	case 'k':
		return login_set_key(w, text);
	case 'w':
		if (parse_u64(text, 65535, &n) < 0)
			return false;
		w->window = (uint32_t)n;
		return true;
	case OPTION_TPGS:
		if (parse_u64(text, 3, &n) < 0)
			return false;
		w->tpgs = (uint8_t)n;
		return true;
	case OPTION_QUIET:
		w->has_attentions = false;
		return true;
	case OPTION_CHAP_DISCOVERY:
		w->guards_discovery = true;
		return true;
	default:
		w->is_verbose = true;
		return option == 'v';
	}
}

/* ---- the loop ---- */

static bool listen_on(struct world *w, struct portal *p)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(p->port) };
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = p };
	const int yes = 1;
	socklen_t len = sizeof(a);

	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	errno = EINVAL;
	if (inet_pton(AF_INET, p->address, &a.sin_addr) != 1 || p->listener < 0 ||
	    setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
	    bind(p->listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(p->listener, BACKLOG) < 0 ||
	    getsockname(p->listener, (struct sockaddr *)&a, &len) < 0 ||
	    epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, p->listener, &e) < 0)
		return false;
	p->port = ntohs(a.sin_port);
	(void)printf("portal %s:%u,%u\n", p->address, p->port, p->tpg);
	return true;
}

static void accept_one(struct world *w, struct portal *p)
{
	const int yes = 1;
	int sock = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);

	if (sock < 0)
		return;
	(void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	session_new(w, sock, p);
}

static bool is_portal(const struct world *w, const void *p)
{
	return p >= (const void *)w->portals &&
	       p < (const void *)(w->portals + MAX_PORTALS);
}

static void event(struct world *w, const struct epoll_event *e)
{
	struct session *s = e->data.ptr;

	if (!s) {
		w->is_ending = true;
	} else if (is_portal(w, s)) {
		accept_one(w, e->data.ptr);
	} else if (control_is(w, s)) {
		control_ready(w, s);
	} else if (!s->is_dead && !s->portal->is_black_hole) {
		if (e->events & EPOLLOUT)
			session_flush(s);
		if (!s->is_dead && (e->events & ~(uint32_t)EPOLLOUT))
			session_readable(s);
	} else if (!s->is_dead && (e->events & (EPOLLERR | EPOLLHUP))) {
		/* Who sits in a black hole hears of no reset; what came before it is read
		   when the hole is closed. It cannot be silenced but so. */
		(void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, s->sock, NULL);
	}
}

static int timeout_of(const struct world *w)
{
	uint64_t now = clock_now(), due = UINT64_MAX;
	const struct request *q;

	TAILQ_FOREACH(q, &w->held, held)
	due = min_u64(due, q->due);
	if (due == UINT64_MAX)
		return -1;
	return due <= now ? 0 : (int)min_u64(div_up(due - now, NS_PER_MS), 60000);
}

static void loop(struct world *w)
{
	struct epoll_event events[64];

	while (!w->is_ending) {
		int n = epoll_wait(w->epoll_fd, events, 64, timeout_of(w));
		for (int i = 0; i < n; i++)
			event(w, &events[i]);
		requests_due(w, clock_now());
		session_reap(w);
	}
}

static bool watch_signals(struct world *w, int *ret_fd)
{
	struct epoll_event e = { .events = EPOLLIN };
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	*ret_fd = signalfd(-1, &set, SFD_CLOEXEC);
	return *ret_fd >= 0 && epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, *ret_fd, &e) == 0;
}

static void done(struct world *w)
{
	struct session *s;

	TAILQ_FOREACH(s, &w->sessions, link)
	session_end(s, true);
	session_reap(w);
	control_close(w);
	for (uint32_t i = 0; i < w->target_count; i++)
		for (uint32_t lun = 0; lun < MAX_LUNS; lun++)
			if (w->targets[i].lun[lun])
				unit_put(w, w->targets[i].lun[lun]);
	for (uint32_t i = 0; i < w->portal_count; i++)
		(void)close(w->portals[i].listener);
	char all[] = "clear";
	(void)fault_command(w, all, NULL);
	(void)close(w->epoll_fd);
}

static int serve(struct world *w, const char *control)
{
	int signals;

	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll_fd < 0 || !watch_signals(w, &signals))
		return die("epoll", strerror(errno));
	if (control && !control_open(w, control))
		return die(control, strerror(errno));
	for (uint32_t i = 0; i < w->portal_count; i++)
		if (!listen_on(w, &w->portals[i]))
			return die(w->portals[i].address, strerror(errno));
	if (w->tpgs == UINT8_MAX)
		w->tpgs = w->group_count > 1 ? 3 : 0;
	(void)puts("ready");
	(void)fflush(stdout);
	loop(w);
	done(w);
	(void)close(signals);
	return 0;
}

int main(int argc, char **argv)
{
	const char *control = NULL;
	int option;

	if (argc > 3 && strcmp(argv[1], "--ctl") == 0)
		return control_ask(argv[2], argv + 3);
	struct world *w = calloc(1, sizeof(*w));
	if (!w)
		return die("memory", strerror(ENOMEM));
	init(w);
	/* A MiB of memory mapped anew for each write costs more than its bytes. */
	(void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
	/* The state is wanted when units are opened: a look at it first. */
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], "-s") == 0 || strcmp(argv[i], "--state") == 0)
			(void)take_option(w, 's', argv[i + 1], &control);
	while ((option = getopt_long(argc, argv, "p:t:l:c:s:u:m:k:w:vh", options,
				     NULL)) != -1) {
		if (option == 'h') {
			(void)fputs(manual, stdout);
			free(w);
			return 0;
		}
		if (!take_option(w, option, optarg, &control)) {
			if (optarg)
				(void)die(optarg, "not understood");
			return die("usage", "--help tells it");
		}
	}
	if (!w->portal_count || !w->target_count)
		return die("usage", "a portal and a LUN are needed; --help tells more");
	int status = serve(w, control);
	free(w);
	return status;
}
