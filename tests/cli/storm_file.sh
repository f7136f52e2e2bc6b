#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Four hosts at work on one file image, killed and stopped at random: nothing is lost,
# nobody is in twice, fsck.vmfs finds nothing. tests/storm/storm_host.c says what each
# host must find when it gets a lock, tests/storm/storm_check.pl what the history must be.
. "$(dirname "$0")/../lib/tap.sh"
. "$ROOT/tests/lib/storm.sh"
storm file "$([ -z "${FULL:-}" ] && echo 40 || echo 300)"
