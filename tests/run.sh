#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh TEST [ARG...]: what prove runs each test by. cmocka 1.1 says "not ok 3 # SKIP
# name" of a test that was skipped, which prove counts as failed; TAP wants "ok 3 - name #
# SKIP". The exit code is the test's.
set -o pipefail
"$@" 2>&1 | sed -u 's/^not ok \([0-9]*\) # SKIP \(.*\)$/ok \1 - \2 # SKIP/'
