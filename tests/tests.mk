# SPDX-License-Identifier: Apache-2.0
# Tests: how they are built and run. Included by the Makefile.
#
#   tests/unit/NAME.c   cmocka program, real environment (env_posix)
#   tests/sim/sim_*.c   cmocka program in the simulator; the other tests/sim/*.c are it
#   tests/crash/*.c     cmocka program in the simulator: crash-state enumeration
#   tests/lib/*.c       shared by all of them
#   tests/fuzz/*.c      libFuzzer targets; with driver/main.c also programs without it,
#                       that replay tests/fuzz/corpus/NAME
#   tests/cli/*.sh      shell, TAP (tests/lib/tap.sh)
#   tests/harm/*.sh     the same; tests/cli/harm_field.sh runs them side by side
#   tests/mount/*.c     programs that look at a mount from inside; tests/cli/fuse_*.sh
#   tests/storm/*       hosts that are killed at random; tests/cli/storm_*.sh run it
#   tests/target/*.c    an iSCSI target that is right, and wrong on command; its tests are
#                       tests/cli/iscsi_own.sh and tests/unit/iscsi_faults.c
#   tests/model/run.sh  spin over the models of the protocol
#   tests/rules.yml     which of them may run side by side
#
# Every test speaks TAP and is run by prove. One that cannot run says why ("1..0 # SKIP").

comma := ,
TEST_LIB := $(call objs,$(wildcard tests/lib/*.c))
SIM_LIB := $(call objs,$(filter-out tests/sim/sim_%.c tests/sim/faults.c,\
	$(wildcard tests/sim/*.c)))
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/*.c))
SIM := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/sim/sim_*.c tests/crash/*.c))
CLI := $(sort $(wildcard tests/cli/*.sh))

# What the programs are made of, without WITH_MAIN: tests may link any of it.
PARTS := $(B)/libparts.a
$(PARTS): $(call objs,$(sort $(filter-out $(WITH_MAIN) fuse/%,\
		$(foreach p,$(PROGRAMS),$(wildcard $(SRC_$(p)))))))
	@mkdir -p $(@D)
	@rm -f $@
	@ar qcs $@ $^
TEST_LIBS := $(PARTS) $(LIBS_all) -lcmocka -ljansson -lz -lssl $(SYS)

# What a program puts between callers and a library, as below.
WRAP_unit/bdev_file := preadv64v2
WRAP_unit/fsck_repair := random_u64 random_bytes
WRAP_unit/fsck_memory := malloc calloc realloc reallocarray aligned_alloc free
WRAP_unit/iscsi_ways := task_start
WRAP_unit/vmfs_look := sleeplock_release
WRAP_unit/bdev_guard := syscall clock_gettime timerfd_create timerfd_settime poll
wraps = $(addprefix -Wl$(comma)--wrap=,$(WRAP_$(1)))

$(UNIT): $(B)/tests/unit/%: $(O)/tests/unit/%.o $(TEST_LIB) $(ENV_POSIX) $(PARTS) \
		$(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) $(call wraps,unit/$*) -o $@ $(filter %.o,$^) $(TEST_LIBS)

# Those that need a program's own parts, and its library.
$(O)/tests/unit/fuse_loop.o: CFLAGS += $(FUSE_CFLAGS)
$(B)/tests/unit/fuse_loop: $(O)/fuse/loop.o
$(B)/tests/unit/fuse_loop: TEST_LIBS += $(EXTRA_vmfs-fuse)
$(B)/tests/unit/fuse_wave: $(O)/fuse/wave.o

# What a program replaces in the library; a call within one file is not replaced.
WRAPPED := journal_commit journal_replay journal_empty lock_release_idle \
	lock_image_leave lock_image_release lock_image_join lock_judge_all lease_renewed \
	vmfs_cas lease_enter vmfs_gate_zero bdev_cut vmfs_gate_check_read \
	vmfs_gate_trust lock_judge watch_look watch_poll watch_scan watch_newcomers \
	bdev_liveness fence_victim fence_barrier vmfs_takeover lock_image_upgrade \
	lock_image_hand_over \
	vmfs_lock_compare journal_create random_u64 vmfs_gate_read lease_die \
	journal_look journal_wipe vmfs_gate_write_all \
	heartbeat_start claim_is_ours claim_is_over lock_is_ours_alone \
	bdev_pr bdev_rw sim_host_pause sim_host_resume sim_host_clock \
	sim_host_time_of
WRAP_sim/sim_controls := $(WRAPPED)
WRAP_sim/sim_fence := $(WRAPPED)
$(B)/tests/sim/sim_controls $(B)/tests/sim/sim_fence: $(O)/tests/sim/faults.o
WRAP_sim/sim_twin := uuid_new
WRAP_sim/sim_passage := passage_enter lock_table_lose
WRAP_crash/crash_faults := vmfs_gate_write vmfs_gate_flush journal_commit journal_empty \
	journal_replay journal_lock_stands file_commit filemap_quiesce filemap_resume \
	crc32_iscsi

WRAP_crash/crash_track := vdisk_draw_cid ctk_distrust

# The library with memory of another name (tests/sim/memfault.h).
ALLOCATES := malloc calloc realloc reallocarray aligned_alloc free
FAULTY := $(LIB_vmfs:$(B)/%=$(B)/faulty/%) $(LIB_bdev:$(B)/%=$(B)/faulty/%) \
	$(LIB_base:$(B)/%=$(B)/faulty/%)
$(B)/faulty/%.a: $(B)/%.a
	@mkdir -p $(@D)
	@objcopy $(foreach f,$(ALLOCATES),--redefine-sym $(f)=faulty_$(f)) $< $@
FIRST_sim/sim_alloc_faults := $(FAULTY)
FIRST_sim/sim_model_faults := $(FAULTY)
$(B)/tests/sim/sim_alloc_faults $(B)/tests/sim/sim_model_faults: $(FAULTY)

$(SIM): $(B)/tests/%: $(O)/tests/%.o $(SIM_LIB) $(TEST_LIB) $(PARTS) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) $(call wraps,$*) -o $@ $(filter %.o,$^) $(FIRST_$*) $(TEST_LIBS)

# Fuzz targets that answer calls of what they try, or need a program's main().
WRAP_fuzz_reserve := lun_command
WRAP_fuzz_dump := device_open
WRAP_fuzz_rescue := device_open bdev_file_open
WRAP_fuzz_guard := clock_now poll pidfd_send_signal
WRAP_fuzz_repair := clock_now task_sleep_until
PARTS_fuzz_dump := $(O)/tests/fuzz/dump_main.o
$(PARTS_fuzz_dump): $(O)/fsck/dump.o
	@mkdir -p $(@D)
	@objcopy --redefine-sym main=vmfs_dump_main $< $@

# Fuzz targets as plain programs: known inputs, no libFuzzer.
REPLAY := $(patsubst tests/fuzz/%.c,$(B)/tests/replay/%,$(wildcard tests/fuzz/*.c))
$(REPLAY): $(B)/tests/replay/%: $(O)/tests/fuzz/%.o $(O)/tests/fuzz/driver/main.o \
		$(TEST_LIB) $(ENV_POSIX) $(PARTS) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) $(call wraps,$*) -o $@ $(filter %.o,$^) $(TEST_LIBS)
$(B)/tests/replay/fuzz_dump $(B)/tests/fuzz/fuzz_dump: $(PARTS_fuzz_dump)

# Only what runs in the simulator has small stacks.
$(O)/tests/unit/%.o $(O)/tests/bench/%.o $(O)/tests/fuzz/%.o $(O)/tests/storm/%.o: \
	CFLAGS += -Wno-frame-larger-than

# A host for storms (tests/storm/storm.sh kills it).
STORM := $(B)/tests/storm/storm_host
$(STORM): $(call objs,$(wildcard tests/storm/*.c) tests/lib/model.c tests/lib/script.c) \
		$(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_all) -lz $(SYS)

# What a mount must be, from inside of it (tests/cli/fuse_*.sh).
MOUNT := $(patsubst tests/mount/%.c,$(B)/tests/mount/%,$(wildcard tests/mount/*.c))
$(MOUNT): $(B)/tests/%: $(O)/tests/%.o $(ENV_POSIX)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $^ -laio

# vmfs-rescue on a disk with bad sectors (tests/cli/vmfs_rescue.sh).
BAD := $(B)/tests/rigs/vmfs-rescue
$(BAD): $(O)/tests/rigs/badsectors.o $(call objs,$(SRC_vmfs-rescue)) $(ENV_POSIX) \
		$(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -Wl,--wrap=preadv64v2 -o $@ $(filter %.o,$^) $(LIBS_all) $(SYS)

# Makes a disk on another (tests/cli/fuse_vdisks.sh).
SNAPSHOT := $(B)/tests/rigs/snapshot
$(SNAPSHOT): $(O)/tests/rigs/snapshot.o $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_all) -lz $(SYS)

# vmfs-fuse that keeps what it writes (tests/cli/fuse_power.sh).
LOGGED := $(B)/tests/rigs/vmfs-fuse
$(LOGGED): $(O)/tests/rigs/logged.o $(O)/tests/lib/writelog.o \
		$(call objs,$(SRC_vmfs-fuse)) $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -Wl,--wrap=device_open -o $@ $(filter %.o,$^) $(LIBS_all) -lz \
		$(SYS) $(EXTRA_vmfs-fuse)

# vmkernel that dies while it takes VMs back (tests/cli/vmkernel_lapse.sh).
MORTAL := $(B)/tests/rigs/vmkernel
MORTAL_AT := fopen64 pwrite64 pwritev64v2 rename unlink
$(MORTAL): $(O)/tests/rigs/mortal.o $(call objs,$(SRC_vmkernel)) $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) $(MORTAL_AT:%=-Wl,--wrap=%) -o $@ $(filter %.o,$^) $(LIBS_all) \
		$(SYS) $(EXTRA_vmkernel)

# Serves a disk by vhost-user (tests/cli/vhost_qemu.sh, tests/bench/vhost.sh).
VHOST := $(call objs,$(wildcard vmkernel/vhost/*.c vmkernel/msg/*.c))
VHOST_SERVE := $(B)/tests/rigs/vhost-serve
$(VHOST_SERVE): $(O)/tests/rigs/vhost_serve.o $(VHOST) $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_all) -ljansson -lz $(SYS)

# Control groups, with processes in the place of VMs (tests/cli/guest_cgroup.sh).
CGROUP_TRY := $(B)/tests/rigs/cgroup-try
$(CGROUP_TRY): $(O)/tests/rigs/cgroup_try.o $(O)/vmkernel/resource/cgroup.o $(ENV_POSIX) \
		$(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_all) $(SYS)

# Runs code that it reads from a disk, in a guest (tests/cli/guest_stale.sh).
STALE := $(B)/tests/rigs/stale
$(STALE): $(O)/tests/rigs/stale.o $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_all) $(SYS)

# The scripted iSCSI target (tests/target/main.c); never installed.
TARGET_BIN := $(B)/tests/target/iscsi-target
$(TARGET_BIN): $(call objs,$(wildcard tests/target/*.c)) $(ENV_POSIX) $(LIBS_iscsi)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_iscsi) $(SYS)

.SECONDARY:
tests: $(UNIT) $(SIM) $(REPLAY) $(STORM) $(MOUNT) $(BAD) $(SNAPSHOT) $(LOGGED) \
	$(MORTAL) $(VHOST_SERVE) $(CGROUP_TRY) $(STALE) $(TARGET_BIN)

# Tests fork while threads run; ThreadSanitizer would rather die.
export TSAN_OPTIONS ?= die_after_fork=0
PROVE = HARNESS_RULESFILE=tests/rules.yml BIN=$(BIN) V=$(V) \
	FAILED=$(abspath $(B))/failed tests/prove.sh --timer --exec tests/run.sh
# The lanes of tests/rules.yml and, beside them, a test in virtual time for each core.
PROVE_JOBS ?= -j6
PROVE_ALL = ASIDE=1 $(PROVE) $(PROVE_JOBS)

## check        builds all and runs every test under prove (under 10 minutes on 2 cores)
check:
	@scripts/deps check
	$(SUBMAKE) all tests
	@$(PROVE_ALL) $(UNIT) $(REPLAY) $(SIM) $(CLI)

## check-full   check at length, under both sanitizers and clang too, and all three demos
check-full:
	@scripts/deps all
	$(SUBMAKE) all tests
	@FULL=1 SIM_COUNT=1000 $(PROVE_ALL) $(UNIT) $(REPLAY) $(SIM) $(CLI)
	@$(PROVE) tests/model/run.sh
	$(SUBMAKE) asan
	$(SUBMAKE) tsan
	$(SUBMAKE) V=clang all tests
	$(SUBMAKE) fuzz
	@for target in file tgt lio; do tests/demo.sh $$target || exit 1; done

## asan         unit, simulator and mount tests under AddressSanitizer and UBSan
## tsan         unit and mount tests under ThreadSanitizer
asan tsan:
	@scripts/deps check
	$(SUBMAKE) V=$@ tests-run
tests-run: all tests
	@$(PROVE_ALL) $(UNIT) $(REPLAY) $(if $(filter tsan,$(V)),,$(SIM)) \
		$(wildcard tests/cli/fuse_*.sh)

FUZZ := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/*.c))
$(FUZZ): $(B)/tests/fuzz/%: $(O)/tests/fuzz/%.o $(ENV_POSIX) $(PARTS) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) $(call wraps,$*) -fsanitize=fuzzer -o $@ $(filter %.o,$^) \
		$(TEST_LIBS)

FUZZ_LIB := $(call objs,$(patsubst %,tests/lib/%.c,changed collect handmade handmade3 \
	handmade6 mutate overlay))
$(FUZZ): $(FUZZ_LIB)

FUZZ_SECONDS ?= $(or $(T),20)
FUZZ_LIMITS := -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=4096 \
	-len_control=0
## fuzz         each libFuzzer target for T seconds (20)
fuzz:
	@scripts/deps all
	$(SUBMAKE) V=fuzz fuzz-run
fuzz-run: $(FUZZ)
	@for target in $(FUZZ); do echo "  FUZZ    $$target"; \
		corpus=tests/fuzz/corpus/$$(basename $$target); \
		mkdir -p $$target.found; \
		$$target -max_total_time=$(FUZZ_SECONDS) -verbosity=0 $(FUZZ_LIMITS) \
			-print_final_stats=1 -artifact_prefix=$(B)/tests/fuzz/ \
			$$target.found $$([ -d $$corpus ] && echo $$corpus) || \
			exit 1; \
	done

## sim          simulator tests alone; S=n replays one seed with its trace, CASE=name of
##              one case; COUNT=n seeds of each
sim:
	@scripts/deps check
	$(SUBMAKE) $(SIM)
	@$(if $(S),SIM_SEED=$(S) SIM_TRACE=1) $(if $(CASE),SIM_CASE=$(CASE)) \
		$(if $(COUNT),SIM_COUNT=$(COUNT)) \
		$(PROVE) $(if $(S),-v) $(SIM)

SOAK_SEEDS ?= 20000
SOAK_FIRST ?= 1000000
## soak         a night: soak-crash, soak-sim (SOAK_SEEDS seeds of any weather from
##              SOAK_FIRST on, and a part of it of each other case), then soak-storm
##              (real processes, SOAK_HOURS; SOAK_TRANSPORTS="file ...") and soak-chaos
##              (hosts with HA and their VMs; CHAOS_SECONDS=1800, CHAOS_SEED)
soak: soak-crash
	$(MAKE) soak-sim
	$(MAKE) soak-storm
	$(MAKE) soak-chaos
soak-chaos:
	@scripts/deps demo
	$(SUBMAKE) all
	@FULL=1 CHAOS_SECONDS=$(or $(CHAOS_SECONDS),1800) $(PROVE) -v \
		tests/cli/vmkernel_chaos.sh
soak-crash:
	@scripts/deps check
	$(SUBMAKE) $(SIM)
	@NIGHT=1 FULL=1 $(PROVE) -v $(PROVE_JOBS) $(filter $(B)/tests/crash/%,$(SIM))
## soak-pairs   every pair of operations, at every moment of the second, in parts that are
##              kept in build/pairs: stopped, it goes on; LIMIT=seconds (20 minutes)
soak-pairs:
	@scripts/deps check
	$(SUBMAKE) $(B)/tests/crash/crash_ace
	@tests/crash/pairs.sh $(B)/pairs
soak-sim:
	@scripts/deps check
	$(SUBMAKE) $(SIM)
	@half=$$(($(SOAK_SEEDS) / 2)); \
	for first in $(SOAK_FIRST) $$(($(SOAK_FIRST) + half)); do \
		SIM_CASE=any_weather SIM_FIRST=$$first SIM_COUNT=$$half \
			$(B)/tests/sim/sim_storm & \
		all="$$all $$!"; \
	done; bad=0; for one in $$all; do wait $$one || bad=1; done; exit $$bad
	@SIM_COUNT=$$(($(SOAK_SEEDS) / 20)) $(B)/tests/sim/sim_cluster
soak-storm:
	@scripts/deps check
	$(SUBMAKE) all $(STORM)
	@BIN=$(abspath $(BIN)) tests/storm/soak.sh

## model        the protocol's models, all of them (an hour); ONLY=rejoin2
model:
	@scripts/deps model
	@MODEL_ONLY=$(ONLY) tests/model/run.sh all

BENCH := $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/*_bench.c))
## bench        ours beside its peers, one line each;
##              ONLY=mkfs|fsck|lock|create|names|data|chain|vdisk|fuse|nbd|vhost|
##              sched|iscsi|paths|boot|gap
bench:
	@scripts/deps bench
	$(SUBMAKE) all $(BENCH) $(TARGET_BIN) $(VHOST_SERVE) $(SNAPSHOT)
	-$(SUBMAKE) $(B)/tests/bench/sanlock_peer $(B)/tests/bench/iscsi_peer
	@BIN=$(BIN) BENCH_BIN=$(B)/tests/bench tests/bench/run.sh $(ONLY)

$(B)/tests/bench/sanlock_peer: SYS += -lsanlock_client
$(B)/tests/bench/iscsi_peer: SYS += -liscsi
$(B)/tests/bench/vhost_bench: SYS += -ljansson
$(B)/tests/bench/sched_bench: $(call objs,$(wildcard vmkernel/sched/*.c))
$(B)/tests/bench/vhost_bench: $(VHOST) $(O)/tests/lib/vhost_front.o
$(B)/tests/bench/chain_bench: $(O)/tests/lib/scattered.o
$(B)/tests/bench/%: $(O)/tests/bench/%.o $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_all) $(SYS)

.PHONY: tests tests-run check check-full asan tsan sim model soak \
	soak-crash soak-pairs soak-sim soak-storm soak-chaos fuzz fuzz-run bench
