#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# storm_check.pl FILES LOG [may-lose]: judges the history of a storm. One line per rule
# that was broken, then what was measured; exit 1 if a rule was broken. may-lose: paths
# fail and hosts lose the volume, that is what the storm is for; what they say then is no
# error.
#
#	TIME HOST intent FILE COUNT TOKEN    will be written
#	TIME HOST done FILE COUNT TOKEN      is durable
#	TIME last final FILE COUNT TOKEN     what the file holds in the end
#
# Each count is done once at most, and by one host: twice is an increment that was lost
# and made again. What is done is not above the final count; up to there each count was
# somebody's intent. Along the counts of a file tokens do not fall, and one token is one
# host's.

use strict;
use warnings;

my ($files, $log, $may_lose) = @ARGV;
my $broken = 0;
my (%done, %intent, %final, %inside, %dead, %asked, %disturbed);
my $all_disturbed = 0;
my (@takeovers, @waits, %events, @joins, @silence, @steps);
my $replayed = 0;

sub broken
{
	print "BROKEN: $_[0]\n";
	$broken++;
}

open my $in, '<', $log or die "storm_check: cannot read $log: $!\n";
while (my $line = <$in>) {
	chomp $line;
	my ($time, $host, $event, @rest) = split / /, $line;
	broken("half a line: $line"), next unless defined $event;
	$events{$event}++;
	if ($event eq 'intent') {
		$intent{$rest[0]}{$rest[1]}{$host} = $rest[2];
	} elsif ($event eq 'done') {
		push @{$done{$rest[0]}{$rest[1]}}, [ $host, $rest[2] ];
	} elsif ($event eq 'final') {
		$final{$rest[0]} = [ $rest[1], $rest[2] ];
	} elsif ($event eq 'ask') {
		$asked{$host} = $time;
	} elsif ($event eq 'enter') {
		my $file = $rest[0];
		push @waits, $time - $asked{$host} if $asked{$host};
		# Who died inside as a writer, and who had his lock next; if that one
		# waited for it, and nothing happened to him meanwhile.
		if (my $death = delete $dead{$file}) {
			my $asked = $asked{$host} // $time;
			my $since = $death - 10e6;
			push @takeovers, $time - $death
				unless $asked > $death + 3e6 || $all_disturbed > $since
				|| ($disturbed{$host} // 0) > $since;
		}
		$inside{$host} = [ $file, $rest[3] ];
	} elsif ($event eq 'leave') {
		delete $inside{$host};
	} elsif ($event eq 'stop' || $event eq 'cont') {
		$disturbed{$rest[0]} = $time;
	} elsif ($event eq 'fault') {
		$disturbed{$rest[1]} = $time;
		$all_disturbed = $time if $rest[0] =~ /hang|restart/;
	} elsif ($event eq 'join') {
		push @joins, $rest[1];
	} elsif ($event eq 'report-info') {
		my $text = "@rest";
		push @silence, $1 * 1e6 if $text =~ /is dead, no heartbeat for ([\d.]+)/;
		next unless $text =~ /took over .*: (\d+) transactions replayed; (.*)/;
		my ($records, $times, $took) = ($1, $2, 0);
		$took += $1 while $times =~ /([\d.]+) s/g;
		push @steps, $took * 1e6;
		$replayed += $records > 0;
	} elsif ($event eq 'kill') {
		my $in = delete $inside{$rest[0]};
		$dead{$in->[0]} = $time if $in && $in->[1];
	} elsif ($event eq 'BROKEN' || $event eq 'report-error') {
		broken("$host: $event @rest") unless $may_lose && $event ne 'BROKEN';
	}
}

for my $file (0 .. $files - 1) {
	my $end = $final{$file};
	broken("file $file: no final count"), next unless $end;
	for my $count (sort { $a <=> $b } keys %{$done{$file}}) {
		my @by = @{$done{$file}{$count}};
		broken("file $file: $count done by " . join(' and ', map { $_->[0] } @by))
			if @by > 1;
		broken("file $file: $count done by $by[0][0], final is $end->[0]")
			if $count > $end->[0];
	}
	my ($token, $host) = (0, '');
	for my $count (1 .. $end->[0]) {
		my $by = $intent{$file}{$count};
		broken("file $file: $count is nobody's"), next unless $by;
		my $d = $done{$file}{$count};
		next unless $d;
		my ($h, $t) = @{$d->[0]};
		broken("file $file: $count by $h with token $t after $token by $host")
			if $t < $token || ($t == $token && $h ne $host);
		($token, $host) = ($t, $h);
	}
}

sub seconds
{
	my (@us) = sort { $a <=> $b } @_;
	return 'none' unless @us;
	return sprintf 'median %.2f s, longest %.2f s, of %d', $us[@us / 2] / 1e6,
		$us[-1] / 1e6, scalar @us;
}

my $increments = 0;
$increments += $_->[0] for values %final;
printf "storm: %d increments, %d visits, %d joins, %d hosts lost the volume, %d busy\n",
	$increments, $events{enter} // 0, $events{join} // 0, $events{lost} // 0,
	$events{busy} // 0;
print 'storm: wait for a lock: ', seconds(@waits), "\n";
print 'storm: join: ', seconds(@joins), "\n";
print 'storm: killed inside to the next one inside: ', seconds(@takeovers), "\n";
print 'storm: silence before a take-over: ', seconds(@silence), "\n" if @silence;
print 'storm: take-over, claim to clear: ', seconds(@steps),
	", $replayed with transactions to replay\n";
broken('nothing was done') unless $increments;
exit($broken ? 1 : 0);
