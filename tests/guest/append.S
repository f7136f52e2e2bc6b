/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of three sectors that appends records to its disk, one a sector, about two a
 * second, each behind FLUSH CACHE before it is told of ("ACK"). It needs an IDE disk at
 * the old ports (virtualHW.version 7), for the BIOS has no call that flushes.
 *
 *	0x000  "REC1"
 *	0x004  its number, from 1
 *	0x008  the machine's UUID, all 16 bytes: who writes; asked anew for each record
 *	0x018  the check of the record before, 0 of the first
 *	0x01c  nothing
 *	0x1fc  check: of the 127 words before, c = 33 * c + word, from 5381
 *
 * Record n is in sector FIRST + n. At its beginning it looks for the last one by halves
 * and goes on behind it: "UP number check"; then "ACK number check" of each, in hex. A
 * disk that fails is told of ("FAILED") and tried again.
 */
#include "boot.S"

	.equ	RECORD, 0x8400		/* behind the code */
	.equ	CHECK, RECORD + 508
	.equ	TICKS, 0x46c		/* of the BIOS, 18.2 a second */
	.equ	FIRST, 63
	.equ	LAST, 0x8000		/* more records are not on a disk of 32 MiB */

	movw	$0x0202, %ax		/* what follows: sectors 1 and 2 */
	movw	$0x0002, %cx
	xorb	%dh, %dh
	movw	$more, %bx
	int	$0x13
	jc	start
	jmp	more

	.org	510
	.word	0xaa55

more:
	movb	$0x02, %al		/* no interrupts of the disk: it is asked */
	movw	$0x3f6, %dx
	outb	%al, %dx

/* The last record: low has one (or is 0), high has none. */
	xorl	%esi, %esi
	movl	$LAST, %edi
1:	leal	1(%esi), %eax
	cmpl	%edi, %eax
	jae	2f
	leal	(%esi, %edi), %ebx
	shrl	$1, %ebx
	call	load
	jnc	3f
	movl	%ebx, %edi
	jmp	1b
3:	movl	%ebx, %esi
	jmp	1b
2:	movl	%esi, number
	movl	$0, last
	testl	%esi, %esi
	jz	4f
	movl	%esi, %ebx
	call	load
	movl	CHECK, %eax
	movl	%eax, last
4:	movw	$up, %si
	call	say

append:
	movw	TICKS, %cx
5:	sti
	hlt
	movw	TICKS, %ax
	subw	%cx, %ax
	cmpw	$9, %ax
	jb	5b

	movl	number, %ebx
	incl	%ebx
	movw	$RECORD, %di
	movw	$256, %cx
	xorw	%ax, %ax
	rep	stosw
	movl	$0x31434552, RECORD	/* "REC1" */
	movl	%ebx, RECORD + 4
	movl	last, %eax
	movl	%eax, RECORD + 24
	movw	$0x0002, %ax		/* of fw_cfg: the UUID */
	movw	$0x510, %dx
	outw	%ax, %dx
	incw	%dx
	movw	$RECORD + 8, %di
	movw	$16, %cx
	rep	insb
	call	sum
	movl	%eax, CHECK

6:	movb	$0x30, %al		/* WRITE SECTORS */
	call	command
	jc	7f
	movw	$RECORD, %si
	movw	$256, %cx
	movw	$0x1f0, %dx
	rep	outsw
	call	settled
	jc	7f
	movb	$0xe7, %al		/* FLUSH CACHE */
	movw	$0x1f7, %dx
	outb	%al, %dx
	call	settled
	jc	7f
	movl	%ebx, number
	movl	CHECK, %eax
	movl	%eax, last
	movw	$ack, %si
	call	say
	jmp	append
7:	movw	$failed, %si
	call	say
	jmp	6b

/* Record ebx into RECORD; carry: there is none. */
load:
	movb	$0x20, %al		/* READ SECTORS */
	call	command
	jc	load
	movw	$RECORD, %di
	pushl	%edi
	movw	$256, %cx
	movw	$0x1f0, %dx
	rep	insw
	popl	%edi
	call	sum
	cmpl	%eax, CHECK
	jne	8f
	cmpl	%ebx, RECORD + 4
	jne	8f
	cmpl	$0x31434552, RECORD
	jne	8f
	clc
	ret
8:	stc
	ret

/* Command al for record ebx; returns when it is the data's turn; carry: error. */
command:
	movb	%al, %ch
	call	settled			/* it may still be busy; an old error is gone */
	leal	FIRST(%ebx), %eax
	movw	$0x1f3, %dx
	outb	%al, %dx
	shrl	$8, %eax
	incw	%dx
	outb	%al, %dx
	shrl	$8, %eax
	incw	%dx
	outb	%al, %dx
	movb	$0xe0, %al		/* the first disk, LBA */
	incw	%dx
	outb	%al, %dx
	movb	$1, %al
	movw	$0x1f2, %dx
	outb	%al, %dx
	movb	%ch, %al
	movw	$0x1f7, %dx
	outb	%al, %dx

/* Waits until the disk is not busy; carry: it tells an error. */
settled:
	movw	$0x1f7, %dx
9:	inb	%dx, %al
	testb	$0x80, %al
	jz	10f
	sti				/* not a processor for nothing */
	hlt
	jmp	9b
10:	testb	$0x21, %al
	jz	11f
	stc
11:	ret

/* eax: the check of RECORD. */
sum:
	pushw	%si
	movl	$5381, %edx
	movw	$RECORD, %si
	movw	$127, %cx
12:	imull	$33, %edx
	lodsl
	addl	%eax, %edx
	loop	12b
	movl	%edx, %eax
	popw	%si
	ret

/* The text at si up to its NUL, number and last. */
say:
	call	print
	movl	number, %ebp
	call	hex
	movb	$' ', %al
	call	put
	movl	last, %ebp
	call	hex
	jmp	line

#include "serial.S"

up:	.asciz	"UP "
ack:	.asciz	"ACK "
failed:	.asciz	"FAILED "

	.balign	4
number:	.long	0
last:	.long	0

	.org	1536
