/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of 512 bytes that says on the first serial port what its processor is, "CPU
 * GenuineIntel 000206a1 1fba2203": CPUID's maker, leaf 1's eax and ecx; and stays.
 */
#include "boot.S"

	xorl	%eax, %eax
	cpuid
	movl	%ebx, maker
	movl	%edx, maker + 4
	movl	%ecx, maker + 8
	movw	$text, %si
	call	print
	movl	$1, %eax
	cpuid
	movl	%ecx, %edi
	movl	%eax, %ebp
	call	hex
	movb	$' ', %al
	call	put
	movl	%edi, %ebp
	call	hex
	call	line
1:	sti
	hlt
	jmp	1b

#include "serial.S"

text:	.ascii	"CPU "
maker:	.asciz	"............ "

	.org	510
	.word	0xaa55
