# SPDX-License-Identifier: Apache-2.0
#
# What a guest that writes without a pause says on its console
# (tests/guest/bootsector.sh with CODE=pound): UP and a number that it has found, and BEAT
# and each that it has written, of 16 bits, in hex.

# The number that it said last.
said() { # WORD FILE
	tr -d '\r' <"$2" 2>/dev/null | sed -n "s/^$1 \([0-9a-f]\{4\}\)$/\1/p" |
		tail -n 1
}

lines() { # FILE
	wc -l <"$1" 2>/dev/null || echo 0
}

writes_on() { # FILE LINES
	[ "$(lines "$1")" -gt "$2" ]
}

# The later of two numbers of 16 bits, in hex, is not the first.
is_behind() { # FOUND TOLD
	[ $(((16#${1:-0} - 16#${2:-0}) & 0xffff)) -ge 32768 ]
}
