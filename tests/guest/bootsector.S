/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of 512 bytes: the cheapest test of a VM from firmware to disk. Through the BIOS
 * it reads sector 1, shows the text in it on the first serial port, writes it to sector
 * 2, reads that back, compares, says "SAME" or what went wrong, and powers off (ACPI of
 * QEMU's q35 and pc machines: port 0x604, 0xb004).
 */
#include "boot.S"

	.equ	FIRST, 0x8000		/* sector 1 as read */
	.equ	SECOND, 0x8200		/* sector 2 as read back */

	movb	%dl, drive

	movw	$FIRST, %bx
	movw	$1, %cx
	movb	$0x42, %ah		/* extended read */
	call	disk
	movw	$read_failed, %si
	jc	say
	movw	$FIRST, %si
	call	print

	movw	$FIRST, %bx
	movw	$2, %cx
	movw	$0x4300, %ax		/* extended write */
	call	disk
	movw	$write_failed, %si
	jc	say

	movw	$SECOND, %bx
	movw	$2, %cx
	movb	$0x42, %ah
	call	disk
	movw	$read_failed, %si
	jc	say

	movw	$FIRST, %si
	movw	$SECOND, %di
	movw	$256, %cx
	repe	cmpsw
	movw	$same, %si
	je	say
	movw	$different, %si
say:
	call	print
	movw	$0x2000, %ax
	movw	$0x604, %dx
	outw	%ax, %dx
	movw	$0xb004, %dx
	outw	%ax, %dx
stop:
	hlt
	jmp	stop

/* One sector, function ah, buffer bx, sector cx; carry if it failed. */
disk:
	movw	%bx, packet_buffer
	movw	%cx, packet_sector
	movb	drive, %dl
	movw	$packet, %si
	int	$0x13
	ret

#include "serial.S"

same:		.asciz	"SAME\r\n"
different:	.asciz	"DIFFERENT\r\n"
read_failed:	.asciz	"READ-FAILED\r\n"
write_failed:	.asciz	"WRITE-FAILED\r\n"

	.balign	4
packet:		.byte	16, 0
		.word	1
packet_buffer:	.word	0, 0
packet_sector:	.word	0, 0, 0, 0
drive:		.byte	0

	.org	510
	.word	0xaa55
