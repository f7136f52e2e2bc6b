# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What bash completes behind vdisk-nbd: its options, from its own help, and files.

_vdisk_nbd() {
	local word=${COMP_WORDS[COMP_CWORD]}
	COMPREPLY=()
	case $word in
	-*)
		mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" --help |
			grep -oE -- '(^|[ ,])--?[a-z-]+' | tr -d ' ,')" -- "$word")
		;;
	*) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
	esac
}
complete -o filenames -F _vdisk_nbd vdisk-nbd
