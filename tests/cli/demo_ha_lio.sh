#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo of HA on an iSCSI target with COMPARE AND WRITE and reservation keys: the host
# that dies is fenced by its key before its VMs are started. With both lease profiles.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/demo.sh"
[ -n "${FULL:-}" ] || skip_all "13 guests and a target under TCG, twice (FULL=1)"
need_root
export DEMO_STORY=ha DEMO_PROFILE
for DEMO_PROFILE in normal fast; do
	demo_test lio
	like "$out" "death known after +[0-9.]+ s$" \
		"profile $DEMO_PROFILE: it tells when the death was known"
	like "$out" "all 12 restarts issued +[0-9.]+ s later" "and when others took over"
	diag "$(grep -E 'death known|restarts issued|guests? counts?  ' <<<"$out")"
done
