# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# A storm on Debian's tgtd: RESERVE brackets, fenced by time alone.

RIG=$ROOT/tests/rigs/tgt.sh
# shellcheck source=/dev/null
. "$ROOT/tests/storm/on_net.sh"
