#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A mount that loses what it stands on. Cut off from its target, it waits, and goes on
# when that is over; taken over by another meanwhile, every call fails and says so, one
# line tells it, and it unmounts; stopped for longer than its lease, it is killed. Who
# ends a mount without storage is not kept. Takes minutes: make check-full.

. "$(dirname "$0")/../lib/tap.sh"
[ -n "${FULL:-}" ] || skip_all "takes minutes: make check-full"
. "$ROOT/tests/lib/mounts.sh"
need mkfs.vmfs fsck.vmfs
rigs=$ROOT/tests/rigs
take_ports
a=$T/a b=$T/b
mount_folder "$a"
mount_folder "$b"
truncate -s 2G "$T/lun"
at_exit "$rigs/tgt.sh" down "$T" "$port"
url=$("$rigs/tgt.sh" up "$T" "$port" "$T/lun" 2>"$T/why") || skip_all "$(cat "$T/why")"
mkfs.vmfs -q -L lost "$url" 2>"$T/log" || skip_all "$(cat "$T/log")"
at_exit "$rigs/relay.sh" down "$T" $((port + 1))
"$rigs/relay.sh" up "$T" $((port + 1)) "$port" 2>"$T/why" || skip_all "$(cat "$T/why")"
own_way=${url/:$port/:$((port + 1))}

serve() { # FOLDER URL: mounts it, in the foreground, so that its words are seen
	vmfs-fuse -f -o rw "$2" "$1" >"$1.log" 2>&1 &
	served=$!
	at_exit kill -9 "$served"
	ok "a member" wait_for 60 mounted "$1"
}
ended() {
	! kill -0 "$1"
}
depth=$BIN/../tests/mount/mount_depth
[ -x "$depth" ] || skip_all "$depth is not built"
deep() { # FILE: many requests at a time are under way
	"$depth" "$1" 1 1000000 2>"$T/deep" &
	many=$!
	wait_for 30 test -s "$1"
	sleep 1
}
takes_over() {
	ok "$1" timeout 150 bash -c "echo mine >'$b/held'"
}

serve "$a" "$own_way"
pid_a=$served
serve "$b" "$url"
pid_b=$served

# ---- an outage that ends

echo one >"$a/one"
"$depth" "$a/deep" 2 40000 2>"$T/deep" &
many=$!
sleep 1
"$rigs/relay.sh" hang "$T" $((port + 1))
echo two >"$a/two" &
writer=$!
sleep 20
ok "an outage is waited for" kill -0 $writer
ok "by many requests at a time, too" kill -0 $many
"$rigs/relay.sh" thaw "$T" $((port + 1))
wait $writer
is "$?:$(cat "$a/one" "$a/two" | tr '\n' ' ')" "0:one two " "and over, with nothing lost"
wait $many
is "$?" 0 "of those neither" || diag "$(cat "$T/deep")"

# ---- one that does not, for the others

exec 9>"$a/held"
echo held >&9
deep "$a/deep"
"$rigs/relay.sh" hang "$T" $((port + 1))
takes_over "what one held who is cut off another gets"
"$rigs/relay.sh" thaw "$T" $((port + 1))
ok "who was cut off is told: a name" fails "Stale" timeout 60 touch "$a/new"
ok "a look" fails "Stale" stat "$a/one"
ok "a list" fails "Stale" ls "$a"
ok "an open file" fails "Stale" bash -c "echo more >&9"
wait $many
ok "many requests at a time" grep -q "Stale" "$T/deep" || diag "$(cat "$T/deep")"
ok "the space" fails "Stale" stat -f "$a"
exec 9>&-
is "$(sed -n '/lost by this host/,$p' "$a.log" | wc -l)" 1 "one line says it" ||
	diag "$(cat "$a.log")"
ok "it unmounts" fusermount3 -u "$a"
ok "and ends" wait_for 60 ended "$pid_a"
is "$(cat "$b/held" "$b/two" | tr '\n' ' ')" "mine two " "the other goes on"

# ---- one that is stopped

serve "$a" "$url"
pid_a=$served
exec 9>"$a/held"
echo held >&9
kill -STOP "$pid_a"
takes_over "what a stopped one held another gets"
ok "it does not come back" wait_for 60 ended "$pid_a"
is "$(grep -c "guard: .*killed" "$a.log")" 1 "one line says it" || diag "$(cat "$a.log")"
ok "calls say so" fails "not connected" stat "$a/one"
exec 9>&-
ok "it unmounts" fusermount3 -u "$a"

# ---- one that is told to end

deep "$b/deep"
"$rigs/tgt.sh" hang "$T" "$port"
touch "$b/three" 2>"$T/three" &
writer=$!
in_mount() { # PID: it waits for an answer
	grep -q request_wait "/proc/$1/wchan"
}
ok "one waits" wait_for 60 in_mount "$writer"
kill -TERM "$pid_b"
ok "who is told to end ends, without its storage" wait_for 90 ended "$pid_b"
wait "$writer"
like "$(cat "$T/three")" "not connected|abort" "who waited is told"
wait $many
like "$(cat "$T/deep")" "not connected|abort" "so are many"
ok "it is not mounted" wait_for 10 gone "$b"
is "$(ls -A "$b")" "" "nothing was made in the folder below it"
"$rigs/tgt.sh" thaw "$T" "$port"
"$rigs/tgt.sh" down "$T" "$port"
clean "$T/lun" "after all"
