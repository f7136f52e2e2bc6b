# SPDX-License-Identifier: Apache-2.0
# OpenVMFS: the only Makefile. `make help` lists the targets.
#
# A layer is an archive; a program links only its own objects and the layers below it, so an
# upward call does not link. V=asan|tsan|clang|release picks a variant with its own folder.

SHELL := /bin/bash
V ?=
B := build$(if $(V),/$(V))
O := $(B)/obj
BIN := $(B)/bin

CC_clang := clang
CC := $(or $(CC_$(V)),gcc)
OPT_ := -O2 -g
OPT_release := -O2
OPT_clang := -O1 -g
OPT_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
OPT_tsan := -O1 -g -fsanitize=thread
OPT := $(OPT_$(V))
WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual \
	-Wformat=2 -Wimplicit-fallthrough -Wundef -Werror
WARN += $(if $(filter asan tsan,$(V)),,-Wframe-larger-than=8192)
CFLAGS := -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. $(OPT) $(WARN) -MMD -MP -pthread
LDFLAGS := $(OPT) -pthread

# ---- layers: folder, archive, what it stands on ----
LAYERS := base bdev iscsi vmfs vdisk
LIB_base := $(B)/libbase.a
LIB_bdev := $(B)/libbdev.a
LIB_iscsi := $(B)/libiscsi-vmk.a
LIB_vmfs := $(B)/libvmfs.a
LIB_vdisk := $(B)/libvdisk.a
ENV_POSIX := $(O)/base/env_posix.o

# Sources that are not part of their folder's archive: the environment, and programs.
NOT_IN_LIB := base/env_posix.c vdisk/vmkfstools.c
objs = $(patsubst %.c,$(O)/%.o,$(1))
src_lib = $(filter-out $(NOT_IN_LIB),$(wildcard $(1)/*.c))

LIBS_base :=
LIBS_bdev := $(LIB_bdev) $(LIB_base)
LIBS_iscsi := $(LIB_iscsi) $(LIBS_bdev)
LIBS_vmfs := $(LIB_vmfs) $(LIBS_bdev)
LIBS_tool := $(LIB_vmfs) $(LIB_iscsi) $(LIBS_bdev)
LIBS_all := $(LIB_vdisk) $(LIBS_tool)
SYS := -laio -lblkid -lisal -lcrypto -lxxhash

# ---- programs: name, objects, libraries ----
PROGRAMS := mkfs.vmfs fsck.vmfs vmfs-dump vmfs-fuse vmkfstools vmkernel vmx vim-cmd esxcli
VMK_SHARED := $(wildcard vmkernel/msg/*.c)
SRC_mkfs.vmfs := $(wildcard mkfs/*.c)
SRC_fsck.vmfs := $(filter-out fsck/dump.c,$(wildcard fsck/*.c))
SRC_vmfs-dump := $(wildcard fsck/dump.c)
SRC_vmfs-fuse := $(wildcard fuse/*.c)
SRC_vmkfstools := $(wildcard vdisk/vmkfstools.c) vmkernel/msg/where.c
SRC_vmkernel := $(wildcard vmkernel/*.c vmkernel/disk/*.c vmkernel/nbd/*.c vmkernel/sched/*.c) $(VMK_SHARED)
SRC_vmx := $(wildcard vmkernel/vmx/*.c) $(VMK_SHARED)
SRC_vim-cmd := $(wildcard vmkernel/cli/vim_cmd.c vmkernel/cli/client.c) $(VMK_SHARED)
SRC_esxcli := $(wildcard vmkernel/cli/esxcli.c vmkernel/cli/client.c) $(VMK_SHARED)
EXTRA_vmfs-fuse := $(shell pkg-config --libs fuse3 2>/dev/null)
EXTRA_vmkernel := -ljansson -lz
EXTRA_vmx := -ljansson
EXTRA_vim-cmd := -ljansson
EXTRA_esxcli := -ljansson
EXTRA_vmkfstools := -ljansson -lz
$(O)/fuse/%.o: CFLAGS += $(shell pkg-config --cflags fuse3 2>/dev/null)

all: $(foreach p,$(PROGRAMS),$(if $(wildcard $(firstword $(SRC_$(p)))),$(BIN)/$(p)))

$(O)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(CFLAGS) -c -o $@ $<

define layer
$(LIB_$(1)): $(call objs,$(call src_lib,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer,$(l))))

define program
$(BIN)/$(1): $(call objs,$(SRC_$(1))) $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $$(@D)
	@echo "  LD      $$@"
	@$(CC) $(LDFLAGS) -o $$@ $$(filter %.o,$$^) $(if $(filter vmkfstools vmkernel,$(1)),$(LIBS_all),$(LIBS_tool)) $(SYS) $(EXTRA_$(1))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

include tests/tests.mk

help:
	@sed -n 's/^## //p' Makefile tests/tests.mk
clean:
	rm -rf build

.PHONY: all help clean deps check check-full demo bench tidy asan tsan install format
.DEFAULT_GOAL := all
-include $(shell find $(O) -name '*.d' 2>/dev/null)
