#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# scripts/tidy sees each thing it is there for: a tree that is clean, then one fault
# planted at a time.

. "$(dirname "$0")/../lib/tap.sh"

spdx='/* SPDX-License-Identifier: Apache-2.0 */'
tree=$T/tree
mkdir -p "$tree"

# A small tree without a fault.
fresh()
{
	rm -rf "$tree"
	mkdir -p "$tree/base" "$tree/vmfs" "$tree/fuse" "$tree/scripts"
	cat >"$tree/vmfs/lock.h" <<END
$spdx
#ifndef VMFS_LOCK_H
#define VMFS_LOCK_H

#include "bdev/bdev.h"

struct lock { int state; };
int lock_acquire(struct lock *l);

#endif
END
	cat >"$tree/vmfs/lock.c" <<END
$spdx
#include "vmfs/lock.h"

/* It does not exit() nor time(), and "http://x" is not a comment. */
static const char *const names[] = { "printf(", "// no", "abort()" };
static int (*const table[])(struct lock *) = { lock_acquire };
static const struct lock initial = { .state = 1 };

enum state { FREE, HELD };

int lock_acquire(struct lock *l)
{
	static const int held = HELD;

	l->state = names[0] && table[0] ? held : initial.state;
	return 0;
}
END
	printf '#!/bin/sh\n%s\ntrue\n' '# SPDX-License-Identifier: Apache-2.0' \
		>"$tree/scripts/x"
	chmod +x "$tree/scripts/x"
}

tidy()
{
	"$ROOT/scripts/tidy" --root "$tree"
}

# catches RULE FILE DESCRIPTION: tidy fails and names rule and file.
catches()
{
	local out

	if out=$(tidy); then
		fail "$3"
		diag "$out"
	else
		like "$out" "^$2:[0-9]+: $1: " "$3"
	fi
	fresh
}

add()
{
	printf '%s\n' "$2" >>"$tree/$1"
}

fresh
ok "a clean tree passes" tidy

sed -i 1d "$tree/vmfs/lock.c"
catches spdx vmfs/lock.c "a source without license line"
sed -i 2d "$tree/scripts/x"
catches spdx scripts/x "a script without license line"

sed -i 's,bdev/bdev.h,vdisk/vdisk.h,' "$tree/vmfs/lock.h"
catches layer vmfs/lock.h "an include of a folder above"
printf '%s\n#include "iscsi/session.h"\n' "$spdx" >"$tree/fuse/main.c"
catches layer fuse/main.c "a tool that includes more than iscsi/open.h of iscsi"
printf '%s\n#include "iscsi/open.h"\n' "$spdx" >"$tree/fuse/main.c"
ok "a tool that includes iscsi/open.h passes" tidy
fresh
sed -i 's,vmfs/lock.h,lock.h,' "$tree/vmfs/lock.c"
catches include vmfs/lock.c "an include without its folder"

add vmfs/lock.c 'int a; // note'
catches comment vmfs/lock.c "a // comment"

{
	printf 'int long_one(void)\n{\n'
	for i in $(seq 71); do printf '\tcall(%d);\n' "$i"; done
	printf '}\n'
} >>"$tree/vmfs/lock.c"
catches function vmfs/lock.c "a function of 71 lines"
{
	printf 'int long_one(void)\n{\n\t/* tidy: table */\n'
	for i in $(seq 71); do printf '\tcall(%d);\n' "$i"; done
	printf '}\n'
} >>"$tree/vmfs/lock.c"
ok "a flat table may be longer" tidy
fresh
{
	printf 'int short_one(void)\n{\n'
	for i in $(seq 70); do printf '\tcall(%d);\n' "$i"; done
	printf '}\n'
} >>"$tree/vmfs/lock.c"
ok "a function of 70 lines passes" tidy
fresh
for i in $(seq 800); do echo "#define N$i $i"; done >>"$tree/vmfs/lock.c"
like "$(tidy)" '^vmfs/lock.c:1: warning: size' "a file over 800 lines is a warning"
ok "a warning does not fail" tidy
fresh

add vmfs/lock.c "$(printf '\t\t\t/* %067d */' 0)"
ok "a line of 97 columns fails" test "$(tidy | grep -c ': columns: 97 ')" = 1
fresh
add vmfs/lock.c "$(printf '\t\t\t/* %060d */' 0)"
ok "a line of 90 columns passes" tidy
fresh
add vmfs/lock.c 'int a(void); '
catches blanks vmfs/lock.c "a blank at the end of a line"
printf 'int a(void);' >>"$tree/vmfs/lock.c"
catches newline vmfs/lock.c "no newline at the end of a file"

for call in pthread_create clock_gettime time usleep rand getrandom; do
	add vmfs/lock.c "void g(void) { (void)$call(0); }"
	catches env vmfs/lock.c "$call in a library"
done
printf '%s\nvoid g(void) { usleep(0); }\n' "$spdx" >"$tree/base/env_posix.c"
ok "usleep in base/env_posix.c passes" tidy
fresh
for call in exit abort printf perror getenv; do
	add vmfs/lock.c "void g(void) { $call(\"\"); }"
	catches library vmfs/lock.c "$call in a library"
done
add vmfs/lock.c 'void g(void) { fprintf(stderr, ""); }'
catches library vmfs/lock.c "fprintf to stderr in a library"
printf '%s\nint main(void) { printf(""); return 0; }\n' "$spdx" >"$tree/fuse/main.c"
ok "printf in a program passes" tidy
fresh

add vmfs/lock.c 'static int count;'
catches static vmfs/lock.c "a writable static"
add vmfs/lock.c 'static const char *names2[] = { "a" };'
catches static vmfs/lock.c "a writable array of constant strings"
add vmfs/lock.c 'int global = 3;'
catches static vmfs/lock.c "a writable global"
add vmfs/lock.c 'struct lock the_lock;'
catches static vmfs/lock.c "a writable global struct"
add vmfs/lock.c 'static int (*hook)(void) = 0;'
catches static vmfs/lock.c "a writable function pointer"
add vmfs/lock.c "$(printf 'void f(void)\n{\n\tstatic int calls;\n\n\tcalls++;\n}')"
catches static vmfs/lock.c "a writable static in a function"

sed -i 's/VMFS_LOCK_H/_LOCK_H/' "$tree/vmfs/lock.h"
catches guard vmfs/lock.h "an include guard of another form"

add vmfs/lock.c "/* TO""DO: later */"
catches todo vmfs/lock.c "a to-do without issue number"
add vmfs/lock.c "/* TO""DO(#12): later */"
ok "a to-do with issue number passes" tidy
fresh

add vmfs/lock.c '#ifdef NDE''BUG'
catches ndebug vmfs/lock.c "code for a build without assertions"
printf '# SPDX-License-Identifier: Apache-2.0\nCFLAGS = -DNDE''BUG\n' >"$tree/Makefile"
catches ndebug Makefile "a build without assertions"

chmod -x "$tree/scripts/x"
catches mode scripts/x "a script that cannot be executed"

echo "See /wor""k/notes." >"$tree/NOTES.md"
catches words NOTES.md "a path of somebody's machine"
echo "curl https://pypi.or""g/simple" >"$tree/NOTES.md"
catches words NOTES.md "a package registry"

refused "an unknown option is refused" 'usage' "$ROOT/scripts/tidy" --frob
