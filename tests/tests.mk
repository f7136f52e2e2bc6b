# SPDX-License-Identifier: Apache-2.0
# Tests: how they are built and run. Included by the Makefile.
#
#   tests/unit/NAME.c   cmocka program, real environment (env_posix)
#   tests/sim/sim_*.c   cmocka program in the simulator; the other tests/sim/*.c are the simulator
#   tests/crash/*.c     cmocka program in the simulator: crash-state enumeration
#   tests/lib/*.c       shared by all of them
#   tests/cli/*.sh      shell, TAP, exit 77 = skip (tests/lib/tap.sh)

TEST_LIB := $(call objs,$(wildcard tests/lib/*.c))
SIM_LIB := $(call objs,$(filter-out $(wildcard tests/sim/sim_*.c),$(wildcard tests/sim/*.c)))
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/*.c))
SIM := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/sim/sim_*.c tests/crash/*.c))
TEST_LIBS := $(LIBS_all) -lcmocka -ljansson -lz $(SYS)

$(B)/tests/unit/%: $(O)/tests/unit/%.o $(TEST_LIB) $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(TEST_LIBS)

$(B)/tests/sim/% $(B)/tests/crash/%: $(O)/tests/%.o
$(SIM): $(B)/tests/%: $(O)/tests/%.o $(SIM_LIB) $(TEST_LIB) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(TEST_LIBS)

.SECONDARY:
tests: $(UNIT) $(SIM)
.PHONY: tests
