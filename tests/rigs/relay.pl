#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# relay.pl ADDRESS PORT TARGET-PORT: a TCP relay in front of an iSCSI target on loopback.
# It knows where PDUs begin (no digests), so it can lose one answer and nothing else:
#
#	SIGUSR1   the answer to the next conditional write is not delivered
#	SIGUSR2   nor that one, and both connections are closed in its place
#
# Conditional writes are COMPARE AND WRITE, and, where there is none, the WRITE (16) in a
# RESERVE (6) bracket: the target has executed it. Says what it lost on standard output.

use strict;
use warnings;
use IO::Socket::INET;
use IO::Select;

my ($address, $port, $target) = @ARGV;
my %LOSES = map { $_ => 1 } (0x89, 0x8a, 0x2a, 0x16);
my ($TCP, $TCP_USER_TIMEOUT) = (6, 18);
my ($swallow, $drop) = (0, 0);

$| = 1;
$SIG{PIPE} = 'IGNORE';
$SIG{USR1} = sub { $swallow++ };
$SIG{USR2} = sub { $drop++ };
my $listener = IO::Socket::INET->new(LocalAddr => $address, LocalPort => $port,
	Listen => 16, ReuseAddr => 1) or die "port $port: $!\n";
my $all = IO::Select->new($listener);
my (%peer, %is_target, %buffer, %opcodes); # by socket; opcodes: of the initiator's

sub end
{
	my ($s) = @_;
	my $other = delete $peer{$s};
	for my $one (grep { $_ } $s, $other) {
		delete $peer{$one};
		delete $buffer{$one};
		delete $opcodes{$one};
		delete $is_target{$one};
		$all->remove($one);
		close($one);
	}
}

sub begin
{
	my $in = $listener->accept or return;
	my $out = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $target);
	if (!$out) {
		close($in);
		return;
	}
	# A host that is cut off must not block its own next connection.
	setsockopt($_, $TCP, $TCP_USER_TIMEOUT, pack('i', 5000)) for $in, $out;
	@peer{$in, $out} = ($out, $in);
	@buffer{$in, $out} = ('', '');
	$is_target{$out} = 1;
	$opcodes{$in} = {};
	$all->add($in, $out);
}

# The next whole PDU of a stream, or undef.
sub next_pdu
{
	my ($s) = @_;
	return undef if length $buffer{$s} < 48;
	my ($ahs, $hi, $lo) = unpack 'x4 C C n', $buffer{$s};
	my $data = $hi << 16 | $lo;
	my $size = 48 + 4 * $ahs + ($data + 3 & ~3);
	return undef if length $buffer{$s} < $size;
	return substr $buffer{$s}, 0, $size, '';
}

sub give
{
	my ($to, $data) = @_;
	for (my $done = 0; $done < length $data;) {
		my $n = syswrite $to, $data, length($data) - $done, $done;
		return 0 unless $n;
		$done += $n;
	}
	return 1;
}

# 'give', 'swallow' or 'drop' this PDU of the target?
sub fate
{
	my ($initiator, $pdu) = @_;
	my ($op, $flags) = unpack 'C C', $pdu;
	my $is_status = ($op & 0x3f) == 0x21 || (($op & 0x3f) == 0x25 && $flags & 1);
	return 'give' unless $is_status;
	my $cdb = delete $opcodes{$initiator}{substr $pdu, 16, 4};
	return 'give' unless defined $cdb && $LOSES{$cdb} && ($swallow || $drop);
	my $what = $drop ? 'drop' : 'swallow';
	printf "%s: the answer to command %02x\n", $what, $cdb;
	$drop-- if $what eq 'drop';
	$swallow-- if $what eq 'swallow';
	return $what;
}

while (1) {
	for my $s ($all->can_read) {
		if ($s == $listener) {
			begin();
			next;
		}
		my $to = $peer{$s} or next;
		my $n = sysread $s, $buffer{$s}, 262144, length $buffer{$s};
		next if !defined $n && $!{EINTR};
		if (!$n) {
			end($s);
			next;
		}
		while (defined(my $pdu = next_pdu($s))) {
			my $what = 'give';
			if ($is_target{$s}) {
				$what = fate($to, $pdu);
			} elsif ((unpack('C', $pdu) & 0x3f) == 0x01) {
				$opcodes{$s}{substr $pdu, 16, 4} = unpack 'x32 C', $pdu;
			}
			next if $what eq 'swallow';
			if ($what eq 'drop' || !give($to, $pdu)) {
				end($s);
				last;
			}
		}
	}
}
