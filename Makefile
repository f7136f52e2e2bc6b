# SPDX-License-Identifier: Apache-2.0
# OpenVMFS: the only Makefile. `make help` lists the targets.
#
# A layer is an archive; a program links only its own objects and the layers below it, so
# that an upward call does not link (`make layers` proves it for every object). V picks a
# variant with its own folder: V=asan|tsan|clang|release.

SHELL := /bin/bash
V ?=
B := build$(if $(V),/$(V))
O := $(B)/obj
BIN := $(B)/bin
PREFIX ?= /usr/local
DESTDIR ?=

CC_clang := clang
CC_fuzz := clang
CC := $(or $(CC_$(V)),gcc)
OPT_ := -O2 -g
OPT_release := -O2
OPT_clang := -O1 -g
OPT_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=undefined
OPT_tsan := -O1 -g -fsanitize=thread
OPT_pic := -O2 -g -fPIC
OPT_fuzz := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link \
	-fno-sanitize-recover=undefined
OPT := $(OPT_$(V))
WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wcast-qual -Wformat=2 -Wimplicit-fallthrough -Wundef -Werror
WARN += $(if $(filter asan tsan fuzz,$(V)),,-Wframe-larger-than=8192)
CFLAGS := -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. $(OPT) $(WARN) \
	-MMD -MP -pthread
LDFLAGS := $(OPT) -pthread

# Without -j, every core is used; inside another make, that one's jobs.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
SUBMAKE = +@$(MAKE) --no-print-directory $(JOBS)

# ---- layers: folder, archive, what it stands on ----
LAYERS := base bdev nbd iscsi vmfs vdisk
LIB_base := $(B)/libbase.a
LIB_bdev := $(B)/libbdev.a
LIB_nbd := $(B)/libnbd-vmk.a
LIB_iscsi := $(B)/libiscsi-vmk.a
LIB_vmfs := $(B)/libvmfs.a
LIB_vdisk := $(B)/libvdisk.a
ENV_POSIX := $(O)/base/env_posix.o

# Sources that are not part of their folder's archive: the environment, and programs.
NOT_IN_LIB := base/env_posix.c vdisk/vmkfstools.c
objs = $(patsubst %.c,$(O)/%.o,$(1))
DIR_nbd := vdisk/nbd
src_lib = $(filter-out $(NOT_IN_LIB),$(wildcard $(or $(DIR_$(1)),$(1))/*.c))

LIBS_base := $(LIB_base)
LIBS_bdev := $(LIB_bdev) $(LIBS_base)
LIBS_nbd := $(LIB_nbd) $(LIBS_bdev)
LIBS_iscsi := $(LIB_iscsi) $(LIBS_bdev)
LIBS_vmfs := $(LIB_vmfs) $(LIBS_bdev)
LIBS_vdisk := $(LIB_vdisk) $(LIBS_vmfs)
LIBS_tool := $(LIB_vmfs) $(LIB_iscsi) $(LIBS_bdev)
LIBS_all := $(LIB_vdisk) $(LIB_nbd) $(LIBS_tool)
SYS := -laio -lblkid -lisal -lcrypto -lxxhash -lz

# ---- programs: name, objects, libraries ----
PROGRAMS := mkfs.vmfs fsck.vmfs vmfs-dump vmfsctl vmfs-rescue vmfs-fuse vmkfstools \
	vdisk-nbd vmkernel vmx vim-cmd esxcli
VMK_SHARED := $(wildcard vmkernel/msg/*.c)
SRC_mkfs.vmfs := $(wildcard mkfs/*.c)
SRC_fsck.vmfs := $(filter-out fsck/dump%.c fsck/ctl%.c fsck/rescue%.c,\
	$(wildcard fsck/*.c))
SRC_vmfs-dump := $(wildcard fsck/dump*.c fsck/read*.c)
SRC_vmfs-rescue := $(wildcard fsck/rescue*.c fsck/read*.c fsck/dump_find.c)
SRC_vmfsctl := $(wildcard fsck/ctl*.c)
SRC_vmfs-fuse := $(wildcard fuse/*.c)
SRC_vmkfstools := $(wildcard vdisk/vmkfstools.c vdisk/tool/*.c) $(VMK_SHARED)
SRC_vdisk-nbd := $(wildcard vdisk/export/*.c vdisk/tool/place.c) $(VMK_SHARED)
SRC_vmkernel := $(wildcard vmkernel/*.c vmkernel/adapter/*.c vmkernel/disk/*.c \
	vmkernel/ha/*.c vmkernel/resource/*.c vmkernel/sched/*.c vmkernel/vhost/*.c \
	vmkernel/vmotion/*.c vmkernel/vmx/vmxfile.c vmkernel/vmx/vnc.c \
	vmkernel/vmx/log.c vmkernel/vmx/cpu.c) $(VMK_SHARED)
SRC_vmx := $(wildcard vmkernel/vmx/*.c vmkernel/vmotion/tls.c) $(VMK_SHARED)
SRC_vim-cmd := $(wildcard vmkernel/cli/vim_*.c vmkernel/cli/client.c) $(VMK_SHARED)
SRC_esxcli := $(wildcard vmkernel/cli/esxcli.c vmkernel/cli/client.c \
	vmkernel/cli/output.c vmkernel/cli/commands*.c) $(VMK_SHARED)

# pkg-config is asked when a recipe runs, never while this file is read: `make deps` must
# work where it is not installed yet.
FUSE_CFLAGS = $(shell pkg-config --cflags fuse3)
EXTRA_vmfs-fuse = $(shell pkg-config --libs fuse3)
EXTRA_fsck.vmfs := -ljansson
EXTRA_vmfs-dump := -ljansson
EXTRA_vmkernel := -ljansson -lz -lssl
EXTRA_vmx := -ljansson -lssl
EXTRA_vim-cmd := -ljansson
EXTRA_esxcli := -ljansson
EXTRA_vmkfstools := -ljansson -lz
EXTRA_vdisk-nbd := -ljansson -lz
LIBS_for = $(if $(filter vmkfstools vdisk-nbd vmkernel vmfs-rescue vmfs-fuse,$(1)),\
	$(LIBS_all),$(LIBS_tool))

# The sources with a main(). A program whose main() exists is built.
WITH_MAIN := mkfs/main.c fsck/main.c fsck/dump.c fsck/ctl.c fsck/rescue.c fuse/main.c \
	vdisk/vmkfstools.c vdisk/export/main.c vmkernel/main.c vmkernel/vmx/main.c \
	vmkernel/cli/vim_cmd.c \
	vmkernel/cli/esxcli.c
READY := $(foreach p,$(PROGRAMS),$(if $(filter $(WITH_MAIN),$(SRC_$(p))),$(BIN)/$(p)))

## all          the programs, in build/bin (the default)
all: $(READY)

$(O)/fuse/%.o: CFLAGS += $(FUSE_CFLAGS)
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
	@$$(CC) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) $$(call LIBS_for,$(1)) $$(SYS) \
		$$(EXTRA_$(1))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

# What is loaded into fio: its own names before fio's. Not warnings of fio's headers.
FIO_ENGINE := $(BIN)/vdisk-fio.so
SRC_fio := $(wildcard vdisk/fio/*.c vdisk/tool/place.c) $(VMK_SHARED)
$(O)/vdisk/fio/engine.o: CFLAGS += -isystem $(FIO) -include $(FIO)/config-host.h
$(FIO_ENGINE): $(call objs,$(SRC_fio)) $(ENV_POSIX) $(LIBS_all)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -shared -Wl,-Bsymbolic -o $@ $(filter %.o,$^) $(LIBS_all) \
		$(SYS) -ljansson

## fio-engine   build/pic/bin/vdisk-fio.so; FIO=the configured source of your fio
fio-engine:
	@[ -e "$(FIO)/config-host.h" ] || { \
		echo "FIO=DIR: the configured source of the fio that is to load it"; \
		exit 1; }
	$(SUBMAKE) V=pic FIO=$(abspath $(FIO)) build/pic/bin/vdisk-fio.so

include tests/tests.mk

## deps         installs the Debian packages that are missing (as root)
deps:
	@scripts/deps all

## demo         the story from an empty LUN to a fail-over; TARGET=file|lio|tgt
demo:
	@scripts/deps demo
	$(SUBMAKE) all
	@tests/demo.sh $(or $(TARGET),file)

## demo-ha      three hosts, twelve VMs: the host that runs them dies, the others start
##              them; TARGET=file|lio|tgt
demo-ha:
	@scripts/deps demo
	$(SUBMAKE) all
	@DEMO_STORY=ha tests/demo.sh $(or $(TARGET),file)

## demo-vmotion a VM that counts and answers pings moves between two hosts; beside it
##              plain QEMU with a raw file; TARGET=file|lio|tgt
demo-vmotion:
	@scripts/deps demo
	$(SUBMAKE) all
	@DEMO_STORY=vmotion tests/demo.sh $(or $(TARGET),file)

## layers       links each layer whole with those below it alone: no upward calls
layers: $(foreach l,$(LAYERS),$(B)/layers/$(l))
define layer_proof
$(B)/layers/$(1): $(LIBS_$(1)) $(ENV_POSIX)
	@mkdir -p $$(@D)
	@echo 'int main(void) { return 0; }' >$$@.c
	@$$(CC) $$(LDFLAGS) -o $$@ $$@.c $(ENV_POSIX) -Wl,--whole-archive \
		$(LIB_$(1)) -Wl,--no-whole-archive $(wordlist 2,9,$(LIBS_$(1))) \
		$$(SYS) -lz
endef
$(foreach l,$(LAYERS),$(eval $(call layer_proof,$(l))))

## tidy         the checkable part of docs/STYLE.md, and `layers`
tidy:
	@scripts/deps check
	$(SUBMAKE) layers
	@scripts/tidy

FORMATTED = '*.[chS]' '*.sh' '*.mk' Makefile 'scripts/*'
## format       breaks lines that are too wide, in all files or FILES=...
format:
	@command -v clang-format >/dev/null || scripts/deps all
	@scripts/format $(or $(FILES),$(shell git ls-files $(FORMATTED)))

## findings     the manual page of what fsck.vmfs can find, from its table
findings: $(BIN)/fsck.vmfs
	@BIN=$(BIN) scripts/findings >docs/man/vmfs-fsck-findings.8

MAN := $(wildcard docs/man/*.[1-8])
## install      programs, man pages and completion, below DESTDIR and PREFIX (/usr/local)
install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	install $(filter %/mkfs.vmfs %/fsck.vmfs %/vmfs-dump %/vmfsctl %/vmfs-rescue \
		%/vmkernel,$(READY)) \
		$(DESTDIR)$(PREFIX)/sbin
	install $(filter %/vmfs-fuse %/vmkfstools %/vdisk-nbd %/vmx %/vim-cmd %/esxcli,\
		$(READY)) \
		$(DESTDIR)$(PREFIX)/bin
	install -D -m 644 vmkernel/cli/esxcli.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/esxcli
	install -D -m 644 vmkernel/cli/vim-cmd.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/vim-cmd
	install -D -m 644 vdisk/export/vdisk-nbd.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/vdisk-nbd
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@SBIN@|$(PREFIX)/sbin|' vmkernel/vmkernel.service \
		>$(DESTDIR)$(PREFIX)/lib/systemd/system/vmkernel.service
	man=$(DESTDIR)$(PREFIX)/share/man; for page in $(MAN); do \
		install -D -m 644 $$page $$man/man$${page##*.}/$${page##*/} || exit 1; \
	done

## help         this list
help:
	@sed -n 's/^## //p' Makefile tests/tests.mk | sort
	@echo "Variants with their own folders: V=asan, V=tsan, V=clang, V=release."

## clean        removes build/
clean:
	rm -rf build

.PHONY: all fio-engine help clean deps demo demo-ha demo-vmotion \
	layers tidy install format findings
.DEFAULT_GOAL := all
-include $(shell find $(O) -name '*.d' 2>/dev/null)
