#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [-n] [quick|all]: spin over the models of the protocol (docs/LOCKING.md 18). Each
# line of the table is one search: a correct variant must be searched to the end without
# an error, a variant with a fault must show one, and of the stated kind. TAP; a comment
# behind each line has states, seconds and memory. quick (the default) takes about four
# minutes on one core and 1 GB, all about an hour and 6 GB. -n only names the runs.
# MODEL_ONLY=NAME runs one.

. "$(dirname "$0")/../lib/tap.sh"

only_names=no
if [ "${1:-}" = -n ]; then
	only_names=yes
	shift
fi
which=${1:-quick}
case $which in
quick | all) ;;
*)
	echo "usage: run.sh [-n] [quick|all]" >&2
	exit 2
	;;
esac

F="fence -DROUNDS=1"
Q="$F -DNH=2 -DMAXCRASH=0 -DCERTAIN"
S="shared -DLATE=0"
# set	name	expect	kind of search	model and defines
table="
quick	rounds2		clean safety fence -DNH=2 -DROUNDS=2 -DMAXCRASH=1 -DCERTAIN
quick	giveup2		clean safety $F -DNH=2 -DMAXCRASH=0 -DACCURATE -DGIVEUP
quick	base2		clean safety $F -DNH=2 -DMAXCRASH=1
quick	tokens2		clean safety $F -DNH=2 -DMAXCRASH=1 -DTOKENONLY
all	handover2	clean safety $F -DNH=2 -DMAXCRASH=1 -DACCURATE -DHANDOVER
all	dead3		clean safety $F -DNH=3 -DMAXCRASH=1 -DACCURATE -DCERTAIN
all	dead3x2		clean safety $F -DNH=3 -DMAXCRASH=2 -DACCURATE -DCERTAIN
all	suspect3	clean safety $F -DNH=3 -DMAXCRASH=0 -DCERTAIN
all	suspect3x1	clean bits $F -DNH=3 -DMAXCRASH=1 -DCERTAIN
all	live2		clean cycles $F -DNH=2 -DMAXCRASH=1 -DACCURATE
quick	rejoin2		clean safety $Q -DREJOIN
all	rejoin2x1	clean safety $F -DNH=2 -DMAXCRASH=1 -DCERTAIN -DREJOIN
quick	NOFENCE		write safety $F -DNH=2 -DNOFENCE
quick	NOBARRIER	write safety $F -DNH=2 -DNOBARRIER
quick	LATEFENCE	write safety $F -DNH=2 -DLATEFENCE
quick	NOFLUSH		write safety $F -DNH=2 -DNOFLUSH
quick	NOTRIM		write safety $F -DNH=2 -DNOTRIM
quick	NOJOURNAL	half safety $F -DNH=2 -DNOJOURNAL
quick	EARLYCLEAR	write safety $F -DNH=3 -DACCURATE -DCERTAIN -DEARLYCLEAR
quick	KEEP		write safety fence -DNH=2 -DROUNDS=2 -DMAXCRASH=0 -DKEEP
quick	GHOST		stuck safety $F -DNH=2 -DMAXCRASH=0 -DACCURATE -DGHOST
quick	REREGISTER	write safety $Q -DREREGISTER
quick	OLDLOCKS	write safety $Q -DOLDLOCKS
quick	OLDSESSION	write safety $Q -DOLDSESSION
quick	timed_31_6	clean safety timed -DDEAD=6
quick	timed_31_5	clean safety timed -DDEAD=5
quick	timed_31_4	late safety timed -DDEAD=4
quick	timed_31_3	late safety timed -DDEAD=3
quick	timed_42_8	clean safety timed -DSTOP=3 -DCUT=4 -DRES=2 -DDEAD=8
quick	timed_42_7	clean safety timed -DSTOP=3 -DCUT=4 -DRES=2 -DDEAD=7
quick	timed_42_6	late safety timed -DSTOP=3 -DCUT=4 -DRES=2 -DDEAD=6
quick	timed_42_5	late safety timed -DSTOP=3 -DCUT=4 -DRES=2 -DDEAD=5
quick	NOGUARD		late safety timed -DNOGUARD
quick	COMPLETION	late safety timed -DCOMPLETION
quick	OBSISSUE	late safety timed -DOBSISSUE
quick	PLAINRECLAIM	late safety timed -DPLAINRECLAIM
quick	PLAINCLAIM	late safety timed -DPLAINCLAIM
quick	revoke_trim	clean safety revoke -DTRIM=1
quick	revoke_late	given safety revoke -DTRIM=0
quick	plain3		clean safety plain -DROUNDS=1
quick	ALIVE		plain safety plain -DALIVE
quick	EARLY		plain safety plain -DEARLY
quick	AGAIN		plain safety plain -DAGAIN
quick	rank2		clean safety rank -DHOSTS=2 -DROUNDS=1
quick	rank2_dead	clean safety rank -DHOSTS=2 -DROUNDS=1 -DDEATHS=1
all	rank2_twice	clean safety rank -DHOSTS=2 -DROUNDS=2
quick	rank3_two	clean safety rank -DHOSTS=3 -DLOCKS=2 -DROUNDS=1
quick	rank3		clean safety rank -DHOSTS=3 -DROUNDS=1
quick	rank2_live	clean cycles rank -DHOSTS=2 -DROUNDS=1
quick	REVERSED	stuck safety rank -DHOSTS=2 -DROUNDS=2 -DREVERSED
quick	STUBBORN	stuck safety rank -DHOSTS=2 -DROUNDS=2 -DSTUBBORN
quick	MISER		stuck safety rank -DHOSTS=2 -DROUNDS=2 -DMISER
quick	NOCOMPARE	read safety rank -DHOSTS=2 -DROUNDS=2 -DNOCOMPARE
quick	HASTY		endless cycles rank -DHOSTS=2 -DROUNDS=1 -DHASTY
quick	shared2		clean safety $S -DHOSTS=2 -DDEATHS=1 -DSUSPICIONS=1
quick	shared2_late	clean safety shared -DHOSTS=2
all	shared2_twice	clean safety $S -DHOSTS=2 -DROUNDS=2
quick	shared3		clean safety $S -DHOSTS=3
quick	OVERFILL	list safety $S -DHOSTS=3 -DFEW_MODES -DOVERFILL
quick	NOCOMPACT	lost safety $S -DHOSTS=3 -DNOCOMPACT
quick	MIXED		belief safety $S -DHOSTS=3 -DMIXED
quick	PUSHY		belief safety $S -DHOSTS=3 -DPUSHY
quick	PATIENT		stuck safety $S -DHOSTS=3 -DPATIENT
quick	DIRTY		torn safety $S -DHOSTS=3 -DDIRTY
quick	SLOTFIRST	belief safety $S -DHOSTS=2 -DROUNDS=2 -DSUSPICIONS=1 -DSLOTFIRST
quick	LISTGHOST	stuck safety shared -DHOSTS=2 -DROUNDS=2 -DLISTGHOST
"

# What the searcher says of each kind of error.
declare -A sentence=(
	[write]='assertion violated .*(is_held&&|w_for)'
	[half]='assertion violated .*committed'
	[late]='assertion violated .owner==0'
	[given]='assertion violated .*is_given'
	[plain]='assertion violated .*token.1.==sent'
	[read]='assertion violated .*content.*was'
	[list]='assertion violated .count<=2'
	[belief]='assertion violated .*(has\[|list0==)'
	[lost]='assertion violated .*(has\[|list0==|token<200)'
	[torn]='assertion violated .*half==y'
	[stuck]='invalid end state'
	[endless]='non-progress cycle'
)

# search NAME KIND MODEL [DEFINE...]: the report of the searcher in $out, $took.
search()
{
	local name=$1 kind=$2 model=$3 start dir=$T/$1 how flags
	shift 3
	case $kind in
	safety) how="-DSAFETY -DCOLLAPSE" flags="-m600000" ;;
	bits) how="-DSAFETY -DBITSTATE" flags="-m600000 -w34 -k3" ;;
	cycles) how="-DNP -DNFAIR=3 -DCOLLAPSE" flags="-l -f -m600000" ;;
	esac
	mkdir "$dir"
	out=$(cd "$dir" && spin -a "$@" "$ROOT/tests/model/$model.pml" 2>&1 &&
		gcc -O2 -w $how -DMEMLIM=9000 -o pan pan.c 2>&1) || return
	start=$EPOCHREALTIME
	out=$(cd "$dir" && nice ./pan $flags 2>&1)
	took=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $start }")
	rm -r "$dir"
}

field()
{
	sed -n "s/^ *\\([0-9.e+]*\\)[^0-9.]* *$1.*/\\1/p" <<<"$out" | head -n 1
}

judge()
{
	local name=$1 expect=$2
	if grep -Eq 'Search not completed|search depth too small|out of memory' \
		<<<"$out" && [ "$expect" = clean ]; then
		fail "$name: searched to the end"
	elif [ "$expect" = clean ]; then
		like "$out" 'errors: 0$' "$name: no error"
	else
		like "$out" "^pan:.*${sentence[$expect]}" "$name: found ($expect)"
	fi
	echo "# $name: $(field 'states, stored') states, $took s," \
		"$(field 'total actual memory') MB"
}

runs=$(awk -v only="${MODEL_ONLY:-}" -v which="$which" '
	NF && (only ? $2 == only : which == "all" || $1 == "quick")' <<<"$table")
if [ $only_names = yes ]; then
	awk '{ print $2, "(" $3 ")" }' <<<"$runs"
	plan 0
	exit
fi
need spin gcc
plan "$(wc -l <<<"$runs")"
while read -r _ name expect kind model; do
	search "$name" "$kind" $model
	judge "$name" "$expect"
done <<<"$runs"
