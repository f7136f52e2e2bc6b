# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What bash completes behind vim-cmd: its own list of commands, and the ids of VMs.

_vim_cmd() {
	local word=${COMP_WORDS[COMP_CWORD]} at=1 known host=()
	[ "${COMP_WORDS[1]}" != -s ] || { host=(-s "${COMP_WORDS[2]}") at=3; }
	COMPREPLY=()
	if [ "$COMP_CWORD" = "$at" ]; then
		known=$("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n 's/^  \([^ ]*\).*/\1/p')
	elif [ "$COMP_CWORD" = $((at + 1)) ] && [[ ${COMP_WORDS[at]} == vmsvc/* ]]; then
		known=$("${COMP_WORDS[0]}" "${host[@]}" vmsvc/getallvms 2>/dev/null |
			sed -n 's/^\([0-9][0-9]*\) .*/\1/p')
	fi
	for known in $known; do
		[[ $known != "$word"* ]] || COMPREPLY+=("$known")
	done
}
complete -F _vim_cmd vim-cmd
