#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two members on the scripted target, with reservation keys: one stops, and the login that
# ends its session gets no answer for a long time. tests/unit/fence_live.c says what is
# shown.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes two minutes (FULL=1)"
. "$ROOT/tests/lib/fence.sh"
take_ports

fence_volume
mkdir "$T/state"
OWN_STATE=$T/state fence_up own "$port"
script="$rig do $T $port"
story mute "no login is answered: nothing is taken over until one is let in" \
	FENCE_DELAY_S=40 FENCE_MUTE="$script login ignore always" \
	FENCE_SPEAK="$script clear"
ended=$($script stat reinstatements)
like "$(head -n 1 <<<"$ended")" "^[1-9]" "which ends the dead host's session"
fence_down own "$port"
ok "the volume is sound" fsck.vmfs -n "$T/disk"
