/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of 512 bytes that stays: about once a second it adds one to the number in
 * sector 2, writes it, and says so on the first serial port, "BEAT 0007". The first it
 * says is the number that it has found, "UP 0007". With POUND (pound.S) it never waits,
 * and says every 256th number.
 */
#include "boot.S"

	.equ	SECTOR, 0x8000		/* sector 2 */
	.equ	TICKS, 0x46c		/* of the BIOS, 18.2 a second */

	movb	%dl, drive

	movb	$0x42, %ah		/* extended read */
	call	disk
	jc	fail
	movw	$up, %si
	call	say
beat:
#ifndef POUND
	movw	TICKS, %cx
1:	sti
	hlt
	movw	TICKS, %ax
	subw	%cx, %ax
	cmpw	$18, %ax
	jb	1b
#endif

	incw	SECTOR
	movw	$0x4300, %ax		/* extended write */
	call	disk
	jc	fail
#ifdef POUND
	cmpb	$0, SECTOR
	jne	beat
#endif
	movw	$beaten, %si
	call	say
	jmp	beat

fail:
	movw	$failed, %si
	call	say
2:	hlt
	jmp	2b

/* Sector 2, function ah; carry if it failed. */
disk:
	movb	drive, %dl
	movw	$packet, %si
	int	$0x13
	ret

/* The text at si up to its NUL, and the number. */
say:
	call	print
	movl	SECTOR - 2, %ebp	/* in its upper half */
	movw	$4, %cx
	call	digits
	jmp	line

#include "serial.S"

up:	.asciz	"UP "
beaten:	.asciz	"BEAT "
failed:	.asciz	"FAILED "

	.balign	4
packet:	.byte	16, 0
	.word	1
	.word	SECTOR, 0
	.quad	2
drive:	.byte	0

	.org	510
	.word	0xaa55
