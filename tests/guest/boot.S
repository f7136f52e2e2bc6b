/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest of this folder begins with: the BIOS has loaded its first sector to
 * 0x7c00 and jumped there, the disk's number in dl. Data and stack are in segment 0, the
 * stack is below the code, and strings go upward. The guest's own code follows.
 */
	.code16
	.globl	_start

	.equ	SERIAL, 0x3f8		/* the first serial port */

_start:
	ljmp	$0, $start
start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$_start, %sp
	cld
