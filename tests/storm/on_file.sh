# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A storm on a plain file: hosts are processes of one kernel, and a stopped one keeps what
# it has.

rig_up() {
	truncate -s 2G "$IMAGE" && "$BIN/mkfs.vmfs" -q -L storm "$IMAGE"
}

device_of() {
	echo "$IMAGE"
}
