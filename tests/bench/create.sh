# SPDX-License-Identifier: Apache-2.0
#
# Files made in ONE directory of a volume in a file: by 8 processes, each a member of the
# cluster of its own, 1,000 each; beside one process that makes all 8,000. The lock of
# the directory passes from host to host; what is measured is that this costs little.

create_turn() # NAME HOSTS COUNT
{
	local image=$work/create.img what number

	rm -f "$image"
	truncate -s 64G "$image"
	"$bin/mkfs.vmfs" -L bench "$image" >"$work/log" 2>&1 &&
		"$bench_bin/create_bench" "$image" "$2" "$3" >"$work/create" \
			2>"$work/log" || return 1
	while read -r what number; do
		sample "create.$1.$what" "$number"
	done <"$work/create"
}

bench_create()
{
	local round turns=$(((rounds + 1) / 2))

	[ -x "$bench_bin/create_bench" ] ||
		{ missing create "create_bench is not built"; return; }
	for ((round = 0; round < turns; round++)); do
		create_turn crowd 8 1000 && create_turn alone 1 8000 ||
			{ missing create "$(tail -n 1 "$work/log")"; return; }
	done
	line create-8-hosts-vs-1-host speed create.crowd.rate create.alone.rate \
		">=0.5" files/s
	line create-8-hosts-longest-wait time create.crowd.longest - "<=8000" ms
	rm -f "$work/create.img"
}
