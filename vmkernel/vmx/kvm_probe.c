/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Some hosts have a /dev/kvm that emulates kernel-mode code instruction by instruction
 * (2 us each, seen on a host with paravirtualised KVM): an operating system does not get
 * through its boot loader there, while a 64-bit user-mode loop would run at full speed.
 * So the probe is a loop in 64-bit CPL 0: identity-mapped pages, flat segments,
 *
 *	mov ecx, LOOPS; 1: dec ecx; jnz 1b; hlt
 *
 * and more than 100 ns per iteration count as "no KVM".
 */
#include "vmkernel/vmx/kvm_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/env.h"

#define LOOPS 50000u
#define LIMIT_NS 100u /* per iteration */
#define TIME_LIMIT_US 200000
#define MEMORY_SIZE (64u << 10)
#define CODE_AT 0x1000u
#define PML4_AT 0x2000u
#define PDPT_AT 0x3000u
#define PD_AT 0x4000u

#define CR0_BITS 0x80050033ull /* PG AM WP NE ET MP PE */
#define CR4_PAE 0x20ull
#define EFER_LMA_LME 0x500ull
#define PAGE_PRESENT_WRITE 3u
#define PAGE_LARGE 0x80u

struct guest {
	int kvm, vm, vcpu;
	uint8_t *memory;
	struct kvm_run *run;
	size_t run_size;
};

static void on_alarm(int signal)
{
	(void)signal; /* it interrupts KVM_RUN */
}

static void put64(uint8_t *at, uint64_t n)
{
	le64 wire = le64_of(n);
	memcpy(at, &wire, sizeof(wire));
}

static void fill_memory(uint8_t *m)
{
	/* mov ecx, imm32; dec ecx; jnz -4; hlt */
	static const uint8_t code[] = { 0xb9, 0, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4 };
	le32 loops = le32_of(LOOPS);
	memcpy(m + CODE_AT, code, sizeof(code));
	memcpy(m + CODE_AT + 1, &loops, sizeof(loops));
	put64(m + PML4_AT, PDPT_AT | PAGE_PRESENT_WRITE);
	put64(m + PDPT_AT, PD_AT | PAGE_PRESENT_WRITE);
	put64(m + PD_AT, PAGE_LARGE | PAGE_PRESENT_WRITE);
}

static int set_long_mode(int vcpu)
{
	struct kvm_sregs s;
	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		return -errno;
	struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = 8,
		.type = 11,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	struct kvm_segment data = code;
	data.type = 3;
	data.selector = 16;
	data.l = 0;
	data.db = 1;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr3 = PML4_AT;
	s.cr4 = CR4_PAE;
	s.cr0 = CR0_BITS;
	s.efer = EFER_LMA_LME;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0)
		return -errno;
	struct kvm_regs r = { .rip = CODE_AT, .rflags = 2 };
	return ioctl(vcpu, KVM_SET_REGS, &r) < 0 ? -errno : 0;
}

static int guest_open(struct guest *g)
{
	g->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (g->kvm < 0)
		return -errno;
	g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
	if (g->vm < 0)
		return -errno;
	g->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->memory == MAP_FAILED)
		return -errno;
	fill_memory(g->memory);
	struct kvm_userspace_memory_region region = {
		.memory_size = MEMORY_SIZE,
		.userspace_addr = (uintptr_t)g->memory,
	};
	if (ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	g->vcpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
	int size = ioctl(g->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (g->vcpu < 0 || size < 0)
		return -errno;
	g->run_size = (size_t)size;
	g->run = mmap(NULL, g->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu, 0);
	return g->run == MAP_FAILED ? -errno : set_long_mode(g->vcpu);
}

static void guest_close(struct guest *g)
{
	if (g->run && g->run != MAP_FAILED)
		(void)munmap(g->run, g->run_size);
	if (g->vcpu >= 0)
		(void)close(g->vcpu);
	if (g->vm >= 0)
		(void)close(g->vm);
	if (g->kvm >= 0)
		(void)close(g->kvm);
	if (g->memory && g->memory != MAP_FAILED)
		(void)munmap(g->memory, MEMORY_SIZE);
}

static bool judge(struct guest *g, char *ret_why, size_t size)
{
	uint64_t start = clock_now();
	int rc = ioctl(g->vcpu, KVM_RUN, 0);
	int error = errno;
	uint64_t each_ns = (clock_now() - start) / LOOPS;
	if (rc < 0) {
		(void)snprintf(ret_why, size, "no KVM: %s",
			       error == EINTR ? "kernel-mode code is far too slow here" :
						strerror(error));
		return false;
	}
	if (g->run->exit_reason != KVM_EXIT_HLT) {
		(void)snprintf(ret_why, size,
			       "no KVM: kernel-mode code ends with exit %u",
			       g->run->exit_reason);
		return false;
	}
	(void)snprintf(ret_why, size, "%s: %llu ns per loop of kernel-mode code",
		       each_ns > LIMIT_NS ? "no KVM" : "KVM",
		       (unsigned long long)each_ns);
	return each_ns <= LIMIT_NS;
}

bool kvm_probe(char *ret_why, size_t size)
{
	struct guest g = { .kvm = -1, .vm = -1, .vcpu = -1 };
	struct sigaction action = { .sa_handler = on_alarm }, before;
	struct itimerval limit = { .it_value.tv_usec = TIME_LIMIT_US }, off = { 0 };
	sigset_t alarm_set, mask;
	bool is_good = false;
	int rc = guest_open(&g);
	if (rc < 0) {
		(void)snprintf(ret_why, size, "no KVM: /dev/kvm: %s", strerror(-rc));
	} else if (sigaction(SIGALRM, &action, &before) == 0) {
		(void)sigemptyset(&alarm_set);
		(void)sigaddset(&alarm_set, SIGALRM);
		(void)sigprocmask(SIG_UNBLOCK, &alarm_set, &mask);
		(void)setitimer(ITIMER_REAL, &limit, NULL);
		is_good = judge(&g, ret_why, size);
		(void)setitimer(ITIMER_REAL, &off, NULL);
		(void)sigprocmask(SIG_SETMASK, &mask, NULL);
		(void)sigaction(SIGALRM, &before, NULL);
	}
	guest_close(&g);
	return is_good;
}
