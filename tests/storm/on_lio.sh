# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# A storm on LIO in a QEMU guest: COMPARE AND WRITE, persistent reservations.

RIG=$ROOT/tests/rigs/lio.sh
# shellcheck source=/dev/null
. "$ROOT/tests/storm/on_net.sh"
