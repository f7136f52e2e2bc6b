#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two members on Debian's tgt, which has neither COMPARE AND WRITE nor keys that last:
# RESERVE(6) brackets and timed mode. tests/unit/fence_live.c says what is shown; the
# take-over time is printed.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes a minute (FULL=1)"
. "$ROOT/tests/lib/fence.sh"
take_ports

fence_volume
fence_up tgt "$port"
story kill "a killed host is taken over"
like "$(cat "$T/said")" "each lock reserves the whole LUN" "the price is told at mount"
fence_down tgt "$port"
