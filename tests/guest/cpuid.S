/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of 512 bytes that says on the first serial port what its processor is, "CPU
 * GenuineIntel 000206a1 1fba2203": CPUID's maker, leaf 1's eax and ecx; and stays.
 */
	.code16
	.globl	_start

	.equ	SERIAL, 0x3f8

_start:
	ljmp	$0, $start
start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$_start, %sp
	cld
	xorl	%eax, %eax
	cpuid
	movl	%ebx, maker
	movl	%edx, maker + 4
	movl	%ecx, maker + 8
	movw	$text, %si
1:	lodsb
	testb	%al, %al
	jz	2f
	call	put
	jmp	1b
2:	movl	$1, %eax
	cpuid
	movl	%ecx, %edi
	movl	%eax, %ebp
	call	hex
	movb	$' ', %al
	call	put
	movl	%edi, %ebp
	call	hex
	movb	$13, %al
	call	put
	movb	$10, %al
	call	put
3:	sti
	hlt
	jmp	3b

hex:
	movw	$8, %cx
4:	roll	$4, %ebp
	movw	%bp, %ax
	andb	$15, %al
	addb	$'0', %al
	cmpb	$'9', %al
	jbe	5f
	addb	$'a' - '0' - 10, %al
5:	call	put
	loop	4b
	ret

/* The byte al. */
put:
	movb	%al, %ah
	movw	$SERIAL + 5, %dx
6:	inb	%dx, %al		/* wait for room */
	testb	$0x20, %al
	jz	6b
	movb	%ah, %al
	movw	$SERIAL, %dx
	outb	%al, %dx
	ret

text:	.ascii	"CPU "
maker:	.asciz	"............ "

	.org	510
	.word	0xaa55
