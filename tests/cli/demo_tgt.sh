#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo, from an empty LUN to a fail-over, on target tgt; it leaves nothing behind.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/demo.sh"
[ -n "${FULL:-}" ] || skip_all "the file and LIO demos tell the same story (FULL=1)"
need_root
demo_test tgt
