# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What bash completes behind esxcli: its own list of commands, so nothing is said twice.

_esxcli() {
	local word=${COMP_WORDS[COMP_CWORD]} path='' line next i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-s | --formatter) [ -n "$path" ] || i=$((i + 1)) ;;
		-* | =) ;;
		*) path+="${COMP_WORDS[i]} " ;;
		esac
	done
	COMPREPLY=()
	while read -r line; do
		if [ "${line%% --*}" = "${path% }" ]; then
			next=--${line#* --} # of this command: its options
			[ "$line" != "${path% }" ] || next=
		elif [[ $line == "$path"* && $line != "${path% } --"* ]]; then
			next=${line#"$path"}
			next=${next%% *}
		else
			continue
		fi
		for next in $next; do
			[[ $next != "$word"* || " ${COMPREPLY[*]} " == *" $next "* ]] ||
				COMPREPLY+=("$next")
		done
	done < <("${COMP_WORDS[0]}" esxcli command list 2>/dev/null)
}
complete -F _esxcli esxcli
