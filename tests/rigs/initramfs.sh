#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# initramfs.sh OUT INIT KERNEL_VERSION MODULE...: a small initramfs of Debian's busybox,
# the named modules with all they need, /modules (their names) and INIT as /init.
# PROGRAMS: paths of more programs to take along, with their libraries.
# Needs busybox-static, cpio, kmod. Exit 0, or 1 with one line.
set -euo pipefail
[ $# -ge 3 ] || {
	echo "usage: initramfs.sh OUT INIT KERNEL_VERSION MODULE..." >&2
	exit 1
}
out=$1 init=$2 version=$3
shift 3
PATH=$PATH:/usr/sbin:/sbin
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,etc,lib/modules/"$version",proc,run,sys,tmp,var}
ln -s bin "$root/sbin"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
	[ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
done
for program in ${PROGRAMS:-}; do
	cp "$program" "$root/bin/"
	ldd "$program" | grep -o '/[^ ]*' | while read -r file; do
		mkdir -p "$root/$(dirname "$file")"
		cp -L "$file" "$root/$file"
	done
done
for module; do
	echo "$module" >>"$root/modules"
	modprobe -S "$version" --show-depends "$module" 2>/dev/null |
		awk '$1 == "insmod" { print $2 }'
done | sort -u | while read -r file; do
	mkdir -p "$root/$(dirname "$file")"
	cp "$file" "$root/$file"
done
cp /lib/modules/"$version"/modules.{order,builtin,builtin.modinfo} \
	"$root/lib/modules/$version/"
depmod -b "$root" "$version"
install -m 755 "$init" "$root/init"
(cd "$root" && find . -print0 | cpio -0 -o -H newc --quiet | gzip -1) >"$out"
