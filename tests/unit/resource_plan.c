/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VMs get of a host (vmkernel/resource/): what .vmx files say, what is admitted, how
 * processors and memory are divided, and what the kernel is told, in a folder that looks
 * like its control groups.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "vmkernel/resource/cgroup.h"
#include "vmkernel/resource/plan.h"
#include "vmkernel/resource/usage.h"

/* ---- words ---- */

static int read_wish(const char *text, struct resource_wish *ret, char *bad)
{
	struct vmxfile *f;
	assert_int_equal(vmxfile_parse(text, strlen(text), "t", NULL, &f), 0);
	int rc = resource_wish_read(f, ret, bad);
	vmxfile_free(f);
	return rc;
}

static void words_of_vmware_are_understood(void **state)
{
	struct resource_wish w;
	char bad[WISH_BAD_SIZE] = "";
	(void)state;
	assert_int_equal(read_wish("memSize = \"1000\"\n", &w, bad), 0);
	assert_int_equal(w.cpus, 1);
	assert_int_equal(w.cpu_shares, 1000);
	assert_int_equal(w.memory_shares, 10000);
	assert_int_equal(w.cpu_min_mhz, 0);
	assert_int_equal(w.cpu_max_mhz, WISH_NO_LIMIT);
	assert_int_equal(w.memory_max_mb, WISH_NO_LIMIT);
	assert_int_equal(w.balloon_max_mb, 650);
	assert_int_equal(read_wish("numvcpus = \"4\"\nmemSize = \"1000\"\n"
				   "sched.cpu.min = \"500\"\nsched.cpu.max = \"2000\"\n"
				   "sched.cpu.units = \"mhz\"\n"
				   "sched.cpu.shares = \"high\"\n"
				   "sched.mem.min = \"800\"\nsched.mem.max = \"900\"\n"
				   "sched.mem.shares = \"77\"\n",
				   &w, bad),
			 0);
	assert_int_equal(w.cpu_shares, 8000);
	assert_int_equal(w.cpu_min_mhz, 500);
	assert_int_equal(w.cpu_max_mhz, 2000);
	assert_int_equal(w.memory_min_mb, 800);
	assert_int_equal(w.memory_max_mb, 900);
	assert_int_equal(w.memory_shares, 77);
	assert_int_equal(w.balloon_max_mb, 200); /* what is not reserved */
	assert_int_equal(read_wish("memSize = \"64\"\nsched.mem.pin = \"TRUE\"\n"
				   "sched.mem.max = \"unlimited\"\n"
				   "sched.cpu.max = \"-1\"\nsched.cpu.shares = \"low\"\n",
				   &w, bad),
			 0);
	assert_int_equal(w.memory_min_mb, 64);
	assert_int_equal(w.balloon_max_mb, 0);
	assert_int_equal(w.cpu_shares, 500);
	assert_int_equal(read_wish("sched.mem.maxmemctl = \"0\"\n", &w, bad), 0);
	assert_int_equal(w.balloon_max_mb, 0);
}

static void words_that_are_none_are_named(void **state)
{
	static const struct {
		const char *text, *bad;
	} cases[] = {
		{ "sched.cpu.min = \"fast\"\n", "sched.cpu.min = \"fast\"" },
		{ "sched.cpu.min = \"-5\"\n", "sched.cpu.min = \"-5\"" },
		{ "sched.cpu.shares = \"0\"\n", "sched.cpu.shares = \"0\"" },
		{ "sched.mem.shares = \"much\"\n", "sched.mem.shares = \"much\"" },
		{ "sched.cpu.units = \"percent\"\n", "sched.cpu.units = \"percent\"" },
		{ "sched.cpu.min = \"9\"\nsched.cpu.max = \"8\"\n",
		  "sched.cpu.max = \"less than sched.cpu.min\"" },
		{ "memSize = \"64\"\nsched.mem.min = \"32\"\nsched.mem.max = \"16\"\n",
		  "sched.mem.max = \"less than sched.mem.min\"" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct resource_wish w;
		char bad[WISH_BAD_SIZE] = "";
		assert_int_equal(read_wish(cases[i].text, &w, bad), -EINVAL);
		assert_string_equal(bad, cases[i].bad);
	}
}

/* ---- admission ---- */

static struct resource_wish wish(uint32_t shares, uint32_t min, uint32_t max)
{
	return (struct resource_wish){ .cpus = 1, .memory_mb = 640, .cpu_shares = shares,
				       .cpu_min_mhz = min, .cpu_max_mhz = max,
				       .memory_shares = 6400,
				       .memory_max_mb = WISH_NO_LIMIT,
				       .balloon_max_mb = 400 };
}

static void no_more_is_reserved_than_there_is(void **state)
{
	const struct resource_host host = { 4000, 1000 };
	struct resource_wish run[2] = { wish(1000, 2000, WISH_NO_LIMIT),
					wish(1000, 1000, WISH_NO_LIMIT) };
	struct resource_wish vm = wish(1000, 1000, WISH_NO_LIMIT);
	char why[256] = "";
	(void)state;
	assert_int_equal(resource_admit(&host, run, 2, &vm, why, sizeof(why)), 0);
	vm.cpu_min_mhz = 1001;
	assert_int_equal(resource_admit(&host, run, 2, &vm, why, sizeof(why)), -ENOSPC);
	assert_string_equal(why,
			    "admission control: it reserves 1001 MHz (sched.cpu.min), and"
			    " of the host's 4000 MHz 2 VMs have reserved 3000");
	/* 64 MB and a part of its memory for each QEMU: 74 each */
	vm.cpu_min_mhz = 0;
	vm.memory_min_mb = 640;
	run[0].memory_min_mb = 138;
	assert_int_equal(resource_admit(&host, run, 2, &vm, why, sizeof(why)), 0);
	run[0].memory_min_mb = 139;
	assert_int_equal(resource_admit(&host, run, 2, &vm, why, sizeof(why)), -ENOSPC);
	assert_string_equal(why, "admission control: it reserves 640 MB (sched.mem.min) "
				 "and 74 MB for itself, and of the host's 1000 MB 2 VMs "
				 "have reserved 287");
	const struct resource_host unknown = { 0, 0 };
	vm.cpu_min_mhz = 1u << 30;
	assert_int_equal(resource_admit(&unknown, run, 2, &vm, why, sizeof(why)), 0);
}

/* ---- division ---- */

static void near(uint32_t got, uint32_t want)
{
	if (got > want + 1 || got + 1 < want)
		fail_msg("%u MHz, not %u", got, want);
}

static void processors_go_by_shares_within_reservation_and_limit(void **state)
{
	struct resource_wish vms[3] = { wish(1000, 0, WISH_NO_LIMIT),
					wish(2000, 0, WISH_NO_LIMIT),
					wish(1000, 0, WISH_NO_LIMIT) };
	uint32_t mhz[3];
	(void)state;
	resource_divide(4000, vms, 3, mhz);
	near(mhz[0], 1000);
	near(mhz[1], 2000);
	near(mhz[2], 1000);
	vms[0].cpu_min_mhz = 2500; /* the rest for the others, by their shares */
	resource_divide(4000, vms, 3, mhz);
	near(mhz[0], 2500);
	near(mhz[1], 1000);
	near(mhz[2], 500);
	vms[0].cpu_min_mhz = 0;
	vms[1].cpu_max_mhz = 1000; /* what it may not have is the others' */
	resource_divide(4000, vms, 3, mhz);
	near(mhz[0], 1500);
	near(mhz[1], 1000);
	near(mhz[2], 1500);
	vms[0].cpu_max_mhz = vms[2].cpu_max_mhz = 500; /* nobody wants all */
	resource_divide(4000, vms, 3, mhz);
	near(mhz[0], 500);
	near(mhz[1], 1000);
	resource_divide(4000, vms, 0, mhz);
}

/* ---- balloons ---- */

static void memory_is_taken_where_it_is_cheapest(void **state)
{
	const struct resource_host host = { 0, 10000 };
	struct resource_memory vms[3] = { { wish(1, 0, 1), 0 }, { wish(1, 0, 1), 0 },
					  { wish(1, 0, 1), 0 } };
	uint32_t mb[3];
	(void)state;
	resource_balloon(&host, 500, vms, 3, mb); /* between low and high: as it is */
	assert_int_equal(mb[0] + mb[1] + mb[2], 0);
	resource_balloon(&host, 300, vms, 3, mb); /* 3 % free: up to 6 % */
	assert_int_equal(mb[0] + mb[1] + mb[2], 300);
	assert_in_range(mb[0], 96, 104); /* all alike */
	assert_in_range(mb[1], 96, 104);
	vms[2].wish.memory_shares = 12800; /* twice as dear: not below 640 to 320 */
	resource_balloon(&host, 300, vms, 3, mb);
	assert_int_equal(mb[2], 0);
	assert_int_equal(mb[0] + mb[1], 300);
	vms[0].wish.balloon_max_mb = 20; /* no more than it has to give */
	resource_balloon(&host, 300, vms, 3, mb);
	assert_int_equal(mb[0], 20);
	assert_int_equal(mb[0] + mb[1] + mb[2], 300);
	vms[1].balloon_mb = 280; /* enough is free now: that is kept */
	vms[0].balloon_mb = 20;
	resource_balloon(&host, 550, vms, 3, mb);
	assert_int_equal(mb[0] + mb[1] + mb[2], 300);
	resource_balloon(&host, 700, vms, 3, mb); /* and what is to spare goes back */
	assert_int_equal(mb[0] + mb[1] + mb[2], 200);
	resource_balloon(&host, 9000, vms, 3, mb);
	assert_int_equal(mb[0] + mb[1] + mb[2], 0);
	resource_balloon(&host, 0, vms, 3, mb); /* there is no more: it ends */
	assert_int_equal(mb[0] + mb[1] + mb[2], 20 + 400 + 400);
}

static void a_limit_is_kept_whatever_is_free(void **state)
{
	const struct resource_host host = { 0, 10000 };
	struct resource_memory vm = { wish(1, 0, 1), 0 };
	uint32_t mb;
	(void)state;
	vm.wish.memory_max_mb = 500;
	resource_balloon(&host, 9000, &vm, 1, &mb);
	assert_int_equal(mb, 140);
	vm.wish.memory_max_mb = 100; /* its guest keeps what its balloon may not have */
	resource_balloon(&host, 9000, &vm, 1, &mb);
	assert_int_equal(mb, 400);
}

/* ---- control groups ---- */

static char root[64];

static char *at(const char *path)
{
	static char text[256];
	(void)snprintf(text, sizeof(text), "%s/%s", root, path);
	return text;
}

static void put(const char *path, const char *content)
{
	FILE *f = fopen(at(path), "we");
	assert_non_null(f);
	assert_true(fputs(content, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void holds(const char *path, const char *content)
{
	char text[128] = "";
	FILE *f = fopen(at(path), "re");
	assert_non_null(f);
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	assert_int_equal(fclose(f), 0);
	text[n] = '\0';
	assert_string_equal(text, content);
}

static void make(const char *path)
{
	assert_int_equal(mkdir(at(path), 0755), 0);
}

static int make_root(void **state)
{
	(void)state;
	strcpy(root, "/tmp/vmfs-cgroup.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[96];
	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static const struct cgroup_limits limits = { .cpu_weight = 250, .cpu_max_mhz = 1250,
					     .mhz_of_one = 2500, .memory_min_mb = 64,
					     .memory_max_mb = 128 };

static void groups_of_version_1(void **state)
{
	struct cgroups g;
	struct sysinfo info;
	char why[256];
	(void)state;
	make("cpu");
	make("memory");
	cgroups_open(&g, root, "host", why, sizeof(why));
	assert_int_equal(g.version, 1);
	make("cpu/vmkernel/host/vm-3");
	make("memory/vmkernel/host/vm-3");
	static const char *const files[] = { "cpu/vmkernel/host/vm-3/cgroup.procs",
		"memory/vmkernel/host/vm-3/cgroup.procs",
		"cpu/vmkernel/host/vm-3/cpu.shares",
		"cpu/vmkernel/host/vm-3/cpu.cfs_period_us",
		"cpu/vmkernel/host/vm-3/cpu.cfs_quota_us",
		"memory/vmkernel/host/vm-3/memory.soft_limit_in_bytes",
		"memory/vmkernel/host/vm-3/memory.limit_in_bytes" };
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		put(files[i], "");
	assert_int_equal(cgroup_enter(&g, 3, 4711), 0);
	holds(files[0], "4711");
	holds(files[1], "4711");
	assert_int_equal(cgroup_set(&g, 3, &limits), 0);
	holds(files[2], "250");
	holds(files[3], "100000");
	holds(files[4], "50000"); /* half of one processor */
	holds(files[5], "67108864");
	/* Without swap the kernel would kill: it is the balloon's then. */
	assert_int_equal(sysinfo(&info), 0);
	holds(files[6], info.totalswap ? "134217728" : "-1");
	struct cgroup_limits none = limits;
	none.cpu_max_mhz = none.memory_max_mb = WISH_NO_LIMIT;
	assert_int_equal(cgroup_set(&g, 3, &none), 0);
	holds(files[4], "-1");
	holds(files[6], "-1");
	assert_int_equal(unlink(at(files[4])), 0);
	assert_int_equal(cgroup_set(&g, 3, &limits), -ENOENT);
}

static void groups_of_version_2(void **state)
{
	struct cgroups g;
	char why[256];
	(void)state;
	put("cgroup.controllers", "cpuset cpu io memory pids\n");
	put("cgroup.subtree_control", "");
	make("vmkernel");
	make("vmkernel/host");
	put("vmkernel/cgroup.subtree_control", "");
	put("vmkernel/host/cgroup.subtree_control", "");
	cgroups_open(&g, root, "host", why, sizeof(why));
	assert_int_equal(g.version, 2);
	holds("cgroup.subtree_control", "+cpu +memory");
	holds("vmkernel/cgroup.subtree_control", "+cpu +memory");
	holds("vmkernel/host/cgroup.subtree_control", "+cpu +memory");
	make("vmkernel/host/vm-3");
	static const char *const files[] = { "vmkernel/host/vm-3/cgroup.procs",
		"vmkernel/host/vm-3/cpu.weight", "vmkernel/host/vm-3/cpu.max",
		"vmkernel/host/vm-3/memory.min", "vmkernel/host/vm-3/memory.high" };
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		put(files[i], "");
	assert_int_equal(cgroup_enter(&g, 3, 4711), 0);
	holds(files[0], "4711");
	assert_int_equal(cgroup_set(&g, 3, &limits), 0);
	holds(files[1], "250");
	holds(files[2], "50000 100000");
	holds(files[3], "67108864");
	holds(files[4], "134217728");
	struct cgroup_limits none = limits;
	none.cpu_weight = 0;
	none.cpu_max_mhz = none.memory_max_mb = WISH_NO_LIMIT;
	assert_int_equal(cgroup_set(&g, 3, &none), 0);
	holds(files[1], "1");
	holds(files[2], "max 100000");
	holds(files[4], "max");
}

static void no_groups_are_no_error(void **state)
{
	struct cgroups g;
	char why[256] = "";
	(void)state;
	put("cgroup.controllers", "cpuset io\n");
	cgroups_open(&g, root, "host", why, sizeof(why));
	assert_int_equal(g.version, 0);
	assert_non_null(strstr(why, "no controllers cpu and memory there"));
	put("cgroup.controllers", "memory cpu\n");
	cgroups_open(&g, root, "host", why, sizeof(why)); /* no cgroup.subtree_control */
	assert_int_equal(g.version, 0);
	assert_non_null(strstr(why, "No such file"));
	cgroups_close(&g);
}

/* ---- what is used ---- */

static void what_a_process_uses_is_read(void **state)
{
	struct usage u;
	struct usage_machine m;
	(void)state;
	assert_int_equal(usage_read(getpid(), &u), 0);
	assert_true(u.used_ns > 0);
	assert_int_equal(u.guest_ns, 0); /* no thread of ours is a guest's processor */
	assert_int_equal(usage_read(0x7fffffff, &u), -ENOENT);
	usage_machine(&m);
	assert_true(m.cpus > 0 && m.memory_mb > 0 && m.free_mb <= m.memory_mb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_vmware_are_understood),
		cmocka_unit_test(words_that_are_none_are_named),
		cmocka_unit_test(no_more_is_reserved_than_there_is),
		cmocka_unit_test(processors_go_by_shares_within_reservation_and_limit),
		cmocka_unit_test(memory_is_taken_where_it_is_cheapest),
		cmocka_unit_test(a_limit_is_kept_whatever_is_free),
		cmocka_unit_test_setup_teardown(groups_of_version_1, make_root,
						remove_root),
		cmocka_unit_test_setup_teardown(groups_of_version_2, make_root,
						remove_root),
		cmocka_unit_test_setup_teardown(no_groups_are_no_error, make_root,
						remove_root),
		cmocka_unit_test(what_a_process_uses_is_read),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
