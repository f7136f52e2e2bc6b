# SPDX-License-Identifier: Apache-2.0
#
# demo.sh TARGET: the whole demo as a test. Sourced by tests/cli/demo_*.sh after tap.sh.

demo_test()
{
	local target=$1

	TMPDIR=$T run "$ROOT/tests/demo.sh" "$target"
	[ "$rc" != 77 ] || skip_all "$(tail -n 1 <<<"$out")"
	is "$rc" 0 "the demo passes on $target"
	like "$out" "^DEMO PASSED" "and says so"
	diag "$(sed -n '/^DEMO PASSED/,$p' <<<"$out")"
	# Other tests mount too, beside this one; what the demo mounts lies in its folder.
	is "$(awk -v dir="$T/" 'index($2, dir) == 1 { print $2 }' /proc/mounts)" "" \
		"it leaves no mount behind"
	is "$(pgrep -f "$T/openvmfs-demo" | grep -vx $$ | xargs)" "" \
		"it leaves no process behind"
	is "$(ls "$T")" "" "it leaves no file behind"
}
