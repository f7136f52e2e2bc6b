#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo, from an empty LUN to a fail-over, on target file; it leaves nothing behind.

. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/demo.sh"
need_root
demo_test file

# A demo that fails names the step and leaves nothing either: here, mkfs.vmfs fails.
mkdir "$T/bin"
cp -s "$BIN"/* "$T/bin"
rm "$T/bin/mkfs.vmfs"
printf '#!/bin/sh\necho "no such luck" >&2\nexit 3\n' >"$T/bin/mkfs.vmfs"
chmod +x "$T/bin/mkfs.vmfs"
BIN=$T/bin TMPDIR=$T run "$ROOT/tests/demo.sh" file
is "$rc" 1 "a demo with a broken mkfs.vmfs exits with 1"
like "$out" "^DEMO FAILED at step 2" "and names the step"
is "$(ls "$T")" bin "and leaves no file behind"
