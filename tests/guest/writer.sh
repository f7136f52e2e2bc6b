# SPDX-License-Identifier: Apache-2.0
# The guest that build.sh makes with GUEST_INIT=writer.sh (behind begin.sh). Four writers
# share the partition 'data' as a plain area: writer w has the chunks 4 c + w of 64 KiB,
# c from 0 to 15. In pass n it writes each of them, past the page cache and with fsync,
# and after each reads another one back: it is what it wrote last, or the guest ends.
# tests/guest/written.py says what a chunk holds, and looks at the area from outside.
#
#   WROTE w n          pass n of writer w is on stable storage
area=$(find_data) || failed "no disk with a filesystem 'data'"

chunk() { # WRITER CHUNK PASS
	yes "writer $1 chunk $2 pass $3" | head -c 65536
}

write_all() { # WRITER
	local w=$1 n=0 c back last
	while :; do
		n=$((n + 1))
		c=0
		while [ $c -lt 16 ]; do
			chunk $w $c $n >/tmp/new.$w
			dd if=/tmp/new.$w of=$area bs=64k seek=$((4 * c + w)) \
				oflag=direct conv=notrunc,fsync 2>/tmp/said.$w ||
				failed "writer $w, chunk $c: $(tail -n 1 /tmp/said.$w)"
			back=$(((c * 7 + 3) % 16))
			last=$((back <= c ? n : n - 1))
			[ $last = 0 ] || {
				dd if=$area of=/tmp/got.$w bs=64k skip=$((4 * back + w)) \
					count=1 iflag=direct 2>/tmp/said.$w ||
					failed "chunk $back: $(tail -n 1 /tmp/said.$w)"
				chunk $w $back $last | cmp -s - /tmp/got.$w ||
					failed "$w's chunk $back is not of pass $last"
			}
			c=$((c + 1))
		done
		echo "WROTE $w $n"
	done
}

for writer in 0 1 2 3; do
	write_all $writer &
done
while :; do sleep 60; done
