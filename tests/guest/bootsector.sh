#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# bootsector.sh OUT TEXT: a bootable raw disk of 1 MiB with bootsector.S in sector 0 and
# TEXT in sector 1, which the guest shows and copies to sector 2. CODE=reader: with
# reader.S instead. Needs gcc (as, ld) alone.
set -eu
[ $# = 2 ] || { echo "usage: bootsector.sh OUT TEXT" >&2; exit 1; }
if [ ${#2} -gt 499 ]; then
	echo "bootsector.sh: TEXT has ${#2} characters, at most 499" >&2
	exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gcc -m32 -c -o "$work/code.o" "$(dirname "$0")/${CODE:-bootsector}.S"
ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$work/code" "$work/code.o"
rm -f "$1"
truncate -s 1M "$1"
dd if="$work/code" of="$1" conv=notrunc status=none
printf '%s\r\n\0' "$2" | dd of="$1" bs=512 seek=1 conv=notrunc status=none
