#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A storm on LIO in a guest: hosts in network namespaces are killed, stopped and cut off,
# answers are lost, the target is restarted. See storm_file.sh; part of make check-full.
. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/storm.sh"
[ -n "${FULL:-}" ] || skip_all "takes minutes: make check-full"
storm lio 300
