# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Whether a process has given up all it had, its sockets too: each of its threads is gone
# or waits for its parent. (That it has no command line any more is earlier.)
has_ended() { # PID
	local task
	for task in /proc/"$1"/task/*/stat; do
		case $(cat "$task" 2>/dev/null) in
		'' | *') '[ZX]' '*) ;;
		*) return 1 ;;
		esac
	done
}
