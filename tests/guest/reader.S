/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of 512 bytes that reads sector 1 through the BIOS, over and over, ten times a
 * second, and tells the first serial port each time: '.' or, if it failed, 'E'.
 */
#include "boot.S"

	.equ	BUFFER, 0x8000
	.equ	PAUSE_US, 100000

	movb	%dl, drive
again:
	movw	$1, packet_count	/* the BIOS leaves what it has read */
	movw	$BUFFER, packet_buffer
	movw	$1, packet_sector
	movb	drive, %dl
	movw	$packet, %si
	movb	$0x42, %ah		/* extended read */
	int	$0x13
	movb	$'.', %al
	jnc	1f
	movb	$'E', %al
1:	movw	$SERIAL, %dx
	outb	%al, %dx
	movw	$(PAUSE_US >> 16), %cx
	movw	$(PAUSE_US & 0xffff), %dx
	movb	$0x86, %ah		/* wait */
	int	$0x15
	jmp	again

	.balign	4
packet:		.byte	16, 0
packet_count:	.word	1
packet_buffer:	.word	0, 0
packet_sector:	.word	0, 0, 0, 0
drive:		.byte	0

	.org	510
	.word	0xaa55
