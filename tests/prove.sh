#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# prove.sh ARGUMENT...: prove, and behind its summary what the tests that failed have said
# (tests/run.sh keeps it in $FAILED): who sees but the end of a log sees why.
rm -f "$FAILED"
prove "$@" && exit
rc=$?
[ ! -s "$FAILED" ] || cat "$FAILED"
exit $rc
