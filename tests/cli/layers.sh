#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A folder cannot call one above it: a planted call from bdev to vmfs does not link,
# although the program as a whole has the function.

. "$(dirname "$0")/../lib/tap.sh"
need gcc make

tree=$T/tree
mkdir "$tree"
cp -r "$ROOT"/{Makefile,base,bdev,iscsi,tests} "$tree"

layer()
{
	env -u MAKEFLAGS -u MAKELEVEL -u V -u BIN make -C "$tree" -j2 "build/layers/$1"
}

ok "bdev links with what is below it" layer bdev
cat >"$tree/bdev/upward.c" <<'END'
/* SPDX-License-Identifier: Apache-2.0 */
int vmfs_volume_state(void *vol);
int bdev_upward(void *vol);
int bdev_upward(void *vol)
{
	return vmfs_volume_state(vol);
}
END
run layer bdev
ok "bdev with a call to vmfs does not" test $rc -ne 0
like "$out" "undefined reference to .vmfs_volume_state" "and the linker names the call"
ok "base is not concerned" layer base
