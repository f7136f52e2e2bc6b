#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# scripts/format breaks the lines that tidy finds too wide, keeps lists and tables in
# comments, changes no other line, and changes nothing the second time.

. "$(dirname "$0")/../lib/tap.sh"
need clang-format perl

wide="word word word word word word word word word word word word word word word word"
cat >"$T/a.c" <<END
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * $wide words
 * end.
 *
 *  - $wide item
 *    and so on
 *  - next item
 *  -EIO        $wide
 *  -EINVAL     short
 */
int  odd( int a );
/* $wide words words words */
int b;
int c; /* $wide */
int long_function(int first_argument, int second_argument, int third_argument, int last);
END
cp "$T/a.c" "$T/before.c"
ok "formats a file" "$ROOT/scripts/format" "$T/a.c"
ok "no line is wider than 90 columns" eval "! expand '$T/a.c' | grep -E '.{91}'"
is "$(grep -c 'odd( int a )' "$T/a.c")" 1 "a line that fits is left alone, however odd"
like "$(cat "$T/a.c")" '^ \*  - next item$' "a list stays a list"
like "$(cat "$T/a.c")" '^ \*  -EINVAL     short$' "a table stays a table"
words() { tr -d '*/' <"$1" | xargs -n 1 | sort; }
is "$(words "$T/a.c")" "$(words "$T/before.c")" "no word is lost"
cp "$T/a.c" "$T/once.c"
ok "formats it again" "$ROOT/scripts/format" "$T/a.c"
ok "which changes nothing" cmp "$T/once.c" "$T/a.c"
