/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest of this folder says on the first serial port (boot.S). Each routine
 * returns with ax, dx and what it is given lost.
 */

/* The text at si up to its NUL. */
print:
	lodsb
	testb	%al, %al
	jz	1f
	call	put
	jmp	print
1:	ret

/* The end of a line. */
line:
	movb	$13, %al
	call	put
	movb	$10, %al
	jmp	put

/* ebp in hex; at digits: its first cx digits. */
hex:
	movw	$8, %cx
digits:
	roll	$4, %ebp
	movw	%bp, %ax
	andb	$15, %al
	addb	$'0', %al
	cmpb	$'9', %al
	jbe	1f
	addb	$'a' - '0' - 10, %al
1:	call	put
	loop	digits
	ret

/* The byte al. */
put:
	movb	%al, %ah
	movw	$SERIAL + 5, %dx
1:	inb	%dx, %al		/* wait for room */
	testb	$0x20, %al
	jz	1b
	movb	%ah, %al
	movw	$SERIAL, %dx
	outb	%al, %dx
	ret
