/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names on the left are VMware's: EVC modes, and features as in featMask.vm.cpuid.AVX2.
 * Of those masks that a file may have, the ones count that take a known feature away;
 * "Val:1" and "Min:1" say what the processor had where the file comes from.
 *
 * Under KVM a baseline that the processor does not have is an error of QEMU's (enforce);
 * under TCG it leaves out what it cannot do, and says so in vmware.log.
 */
#include "vmkernel/vmx/cpu.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"

struct pair {
	const char *name, *qemu;
};

static const struct pair baselines[] = {
	{ "intel-merom", "Conroe" },
	{ "intel-penryn", "Penryn" },
	{ "intel-nehalem", "Nehalem" },
	{ "intel-westmere", "Westmere" },
	{ "intel-sandybridge", "SandyBridge" },
	{ "intel-ivybridge", "IvyBridge" },
	{ "intel-haswell", "Haswell-noTSX" },
	{ "intel-broadwell", "Broadwell-noTSX" },
	{ "intel-skylake", "Skylake-Server-noTSX-IBRS" },
	{ "intel-cascadelake", "Cascadelake-Server-noTSX" },
	{ "intel-icelake", "Icelake-Server-noTSX" },
	{ "amd-rev-e", "Opteron_G1" },
	{ "amd-rev-f", "Opteron_G2" },
	{ "amd-greyhound", "Opteron_G3" },
	{ "amd-bulldozer", "Opteron_G4" },
	{ "amd-piledriver", "Opteron_G5" },
	{ "amd-zen", "EPYC" },
	{ "amd-zen2", "EPYC-Rome" },
	{ "amd-zen3", "EPYC-Milan" },
};

static const struct pair features[] = {
	{ "SSE3", "sse3" },	       { "PCLMULQDQ", "pclmulqdq" },
	{ "SSSE3", "ssse3" },	       { "FMA", "fma" },
	{ "CMPXCHG16B", "cx16" },      { "PCID", "pcid" },
	{ "SSE41", "sse4.1" },	       { "SSE42", "sse4.2" },
	{ "MOVBE", "movbe" },	       { "POPCNT", "popcnt" },
	{ "AES", "aes" },	       { "XSAVE", "xsave" },
	{ "AVX", "avx" },	       { "F16C", "f16c" },
	{ "RDRAND", "rdrand" },	       { "VMX", "vmx" },
	{ "FSGSBASE", "fsgsbase" },    { "BMI1", "bmi1" },
	{ "HLE", "hle" },	       { "AVX2", "avx2" },
	{ "SMEP", "smep" },	       { "BMI2", "bmi2" },
	{ "ENFSTRG", "erms" },	       { "INVPCID", "invpcid" },
	{ "RTM", "rtm" },	       { "MPX", "mpx" },
	{ "AVX512F", "avx512f" },      { "AVX512DQ", "avx512dq" },
	{ "AVX512CD", "avx512cd" },    { "AVX512BW", "avx512bw" },
	{ "AVX512VL", "avx512vl" },    { "RDSEED", "rdseed" },
	{ "ADX", "adx" },	       { "SMAP", "smap" },
	{ "CLFLUSHOPT", "clflushopt" },{ "CLWB", "clwb" },
	{ "SHA", "sha-ni" },	       { "PKU", "pku" },
	{ "IBRS", "spec-ctrl" },       { "STIBP", "stibp" },
	{ "SSBD", "ssbd" },	       { "RDPID", "rdpid" },
	{ "GFNI", "gfni" },	       { "VAES", "vaes" },
	{ "XSAVEOPT", "xsaveopt" },    { "XSAVEC", "xsavec" },
	{ "XGETBV_ECX1", "xgetbv1" },  { "XSAVES", "xsaves" },
	{ "LAHF64", "lahf_lm" },       { "SVM", "svm" },
	{ "ABM", "abm" },	       { "SSE4A", "sse4a" },
	{ "3DNPREFETCH", "3dnowprefetch" },
	{ "XOP", "xop" },	       { "FMA4", "fma4" },
	{ "TBM", "tbm" },	       { "NX", "nx" },
	{ "FFXSR", "fxsr_opt" },       { "PDPE1GB", "pdpe1gb" },
	{ "RDTSCP", "rdtscp" },	       { "LM", "lm" },
	{ "3DNOW", "3dnow" },	       { "3DNOWPLUS", "3dnowext" },
};

const char *cpu_baseline_model(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(baselines); i++)
		if (strcasecmp(baselines[i].name, name) == 0)
			return baselines[i].qemu;
	return NULL;
}

static bool is_masked(const struct vmxfile *f, const char *feature)
{
	static const char *const whose[] = { "vm", "evc" };
	for (size_t i = 0; i < ARRAY_SIZE(whose); i++) {
		char key[64];
		(void)snprintf(key, sizeof(key), "featMask.%s.cpuid.%s", whose[i],
			       feature);
		const char *value = vmxfile_get_or(f, key, "");
		if (strcasecmp(value, "Val:0") == 0 || strcasecmp(value, "Max:0") == 0)
			return true;
	}
	return false;
}

void cpu_text(const struct vmxfile *f, const char *baseline, bool is_kvm,
	      char ret[static CPU_TEXT_SIZE])
{
	const char *model = cpu_baseline_model(baseline);
	/* x86-64-v2 is what distributions ask for today. */
	int used = snprintf(ret, CPU_TEXT_SIZE, "%s%s",
			    model    ? model
			    : is_kvm ? "host"
				     : "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt",
			    model && is_kvm ? ",enforce" : "");
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (is_masked(f, features[i].name))
			used += snprintf(ret + used, CPU_TEXT_SIZE - (size_t)used, ",-%s",
					 features[i].qemu);
}
