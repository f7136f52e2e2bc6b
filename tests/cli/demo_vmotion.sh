#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo of vMotion as a test: a Linux guest that counts and answers pings moves between
# two hosts, on a file; plain QEMU beside it.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/demo.sh"
[ -n "${FULL:-}" ] || skip_all "guests under TCG, pings (FULL=1)"
need_root
export DEMO_STORY=vmotion
demo_test file
# What they are is the machine's: told, not judged.
like "$out" "gap at 10 ms +vMotion [0-9]+ ms, plain QEMU [0-9]+ ms" "it tells the gaps"
like "$out" "1 s pings lost +vMotion [0-9]+, plain QEMU [0-9]+" "and what was lost"
