/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Under KVM a guest sees what the processor has, and may use all of it: it can go only to
 * one that has as much. Under TCG all hosts show it the same one.
 */
#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "vmkernel/vmotion/passage.h"

/* Words of CPUID with one bit for each feature. */
static const struct {
	const char *name;
	unsigned int leaf, subleaf, reg; /* eax, ebx, ecx, edx */
} words[] = {
	{ "1.ecx", 1, 0, 2 }, { "1.edx", 1, 0, 3 }, { "7.ebx", 7, 0, 1 },
	{ "7.ecx", 7, 0, 2 }, { "7.edx", 7, 0, 3 }, { "7.1.eax", 7, 1, 0 },
	{ "80000001.ecx", 0x80000001, 0, 2 }, { "80000001.edx", 0x80000001, 0, 3 },
};

const char *vmotion_cpu_text(char *buf)
{
	unsigned int r[4] = { 0 };
	char vendor[13] = "";
	if (__get_cpuid_count(0, 0, &r[0], &r[1], &r[2], &r[3])) {
		memcpy(vendor, &r[1], 4);
		memcpy(vendor + 4, &r[3], 4);
		memcpy(vendor + 8, &r[2], 4);
	}
	size_t used = (size_t)snprintf(buf, VMOTION_CPU_SIZE, "%s", vendor);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		memset(r, 0, sizeof(r));
		(void)__get_cpuid_count(words[i].leaf, words[i].subleaf, &r[0], &r[1],
					&r[2], &r[3]); /* or none of them */
		/* Not features: that the OS saves registers, the number of the APIC. */
		uint32_t bits = r[words[i].reg] & ~(i == 0 ? 1u << 27 : 0u);
		used += (size_t)snprintf(buf + used, VMOTION_CPU_SIZE - used,
					 " %08" PRIx32, bits);
	}
	return buf;
}

int vmotion_cpu_check(const char *theirs, const char *ours, char *why)
{
	size_t vendor = strcspn(theirs, " ");
	if (strncmp(theirs, ours, vendor + 1) != 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "the processors are of different"
			       " makers: %.*s there, %.*s here", (int)vendor, theirs,
			       (int)strcspn(ours, " "), ours);
		return -EOPNOTSUPP;
	}
	const char *a = theirs + vendor, *b = ours + vendor;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		uint32_t has = 0, have = 0;
		if (sscanf(a, " %8" SCNx32, &has) != 1 ||
		    sscanf(b, " %8" SCNx32, &have) != 1) {
			(void)snprintf(why, PLAN_WHY_SIZE, "the other host's processor"
				       " is not described");
			return -EOPNOTSUPP;
		}
		if (has & ~have) {
			(void)snprintf(why, PLAN_WHY_SIZE, "the processor here lacks what"
				       " the guest may use: CPUID %s bits %08" PRIx32,
				       words[i].name, has & ~have);
			return -EOPNOTSUPP;
		}
		a += 9;
		b += 9;
	}
	return 0;
}
