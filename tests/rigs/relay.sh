#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# relay.sh: a TCP relay on loopback: one host's way to a target, which can fail for that
# host alone.
#
#   relay.sh up DIR PORT TARGET-PORT   starts it
#   relay.sh hang|thaw DIR PORT        freezes it: connections stay, nothing passes
#   relay.sh down DIR PORT             kills it; its connections are reset
#
# DIR must exist; its pid lies in DIR/relay-PORT. Exit: 0, 1 (one line says why).
set -u
die() { echo "relay.sh: $*" >&2; exit 1; }

[ $# -ge 3 ] || die "usage: relay.sh up DIR PORT TARGET-PORT | hang|thaw|down DIR PORT"
verb=$1 dir=$2 port=$3
file=$dir/relay-$port

relay='
	use IO::Socket::INET;
	use IO::Select;
	my ($port, $target) = @ARGV;
	$SIG{PIPE} = "IGNORE";
	my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $port,
		Listen => 16, ReuseAddr => 1) or die "port $port: $!\n";
	my $all = IO::Select->new($listener);
	my %peer;
	sub end {
		for (grep { $_ } $_[0], delete $peer{$_[0]}) {
			delete $peer{$_};
			$all->remove($_);
			close($_);
		}
	}
	while (1) {
		for my $s ($all->can_read) {
			if ($s == $listener) {
				my $in = $listener->accept or next;
				my $out = IO::Socket::INET->new(
					PeerAddr => "127.0.0.1", PeerPort => $target);
				if (!$out) { close($in); next; }
				@peer{$in, $out} = ($out, $in);
				$all->add($in, $out);
				next;
			}
			my $to = $peer{$s} or next;
			my $n = sysread($s, my $data, 262144);
			if (!$n) { end($s); next; }
			for (my $done = 0; $done < $n; ) {
				my $k = syswrite($to, $data, $n - $done, $done);
				if (!$k) { end($s); last; }
				$done += $k;
			}
		}
	}'

signal() { # NAME
	kill "-$1" "$(cat "$file")" 2>/dev/null || die "port $port: not up in $dir"
}

case $verb in
up)
	[ $# = 4 ] || die "up needs DIR PORT TARGET-PORT"
	setsid perl -e "$relay" "$port" "$4" </dev/null >"$file.log" 2>&1 &
	disown
	echo $! >"$file"
	for ((i = 0; i < 100; i++)); do
		(: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && exit 0
		kill -0 $! 2>/dev/null || die "$(head -n 1 "$file.log")"
		sleep 0.05
	done
	die "port $port: does not listen"
	;;
hang) signal STOP ;;
thaw) signal CONT ;;
down) signal KILL && rm -f "$file" ;;
*) die "$verb: not up, hang, thaw or down" ;;
esac
