#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo of HA as a test: three hosts, twelve VMs, and the death of the host that runs
# them all, on a file.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/demo.sh"
[ -n "${FULL:-}" ] || skip_all "13 guests under TCG (FULL=1)"
need_root
export DEMO_STORY=ha
demo_test file
like "$out" "death known after +[0-9.]+ s$" "it tells when the death was known"
like "$out" "all 12 restarts issued +[0-9.]+ s later" "and when the restarts were issued"
