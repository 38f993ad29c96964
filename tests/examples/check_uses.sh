#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_uses.sh FOLDER - what translate, forecast and classify promise: they learn, the same seed gives the same output,
# exit statuses tell the truth, and a wrong line is answered before any training. Runs are short: enough to see that
# the loss falls, not for the accuracies that a whole run reaches. FOLDER holds the built programs. AG_SHORT=1: only two
# steps of each, for builds whose every step takes long.

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: sh tests/examples/check_uses.sh FOLDER" >&2
    exit 2
fi
programs=$(cd "$1" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0
awk() { LC_ALL=C command awk "$@"; } # it reads numbers as the locale writes them

check() { # name, then a command that must succeed
    name=$1
    shift
    if "$@"; then echo "ok    uses: $name"; else echo "FAIL  uses: $name"; failed=1; fi
}

# run STATUS NAME PROGRAM ARG...: output into NAME.out and NAME.err.
run() {
    wanted=$1 into=$2 program=$3
    shift 3
    status=0
    "$programs/$program" "$@" >"$into.out" 2>"$into.err" || status=$?
    [ $status -eq "$wanted" ] || { echo "$program $*: exit status $status, wanted $wanted"; head -n 3 "$into.err"; }
    [ $status -eq "$wanted" ]
}

has() { # file, text
    grep -qF -- "$2" "$1" || { head -n 5 "$1"; return 1; }
}

refused() { # text, program, arguments: status 1 or 2, the text, and no training first
    text=$1 program=$2
    shift 2
    status=0
    "$programs/$program" "$@" >refused.out 2>refused.err || status=$?
    [ $status -ne 0 ] && has refused.err "$text" && ! grep -q 'step [0-9]' refused.err && [ ! -s refused.out ]
}

helps() { # program: --help explains, and no line has a text that is not there
    "$programs/$1" --help >help.out && grep -q "^usage: $1" help.out && has help.out '--steps N' &&
        ! grep -q '(null)' help.out
}

# falls NAME FACTOR: the last loss of a run is below FACTOR times the first.
falls() {
    awk -v factor="$2" '
        match($0, /loss [0-9.]+/) { loss = substr($0, RSTART + 5, RLENGTH - 5) + 0; if (!n++) first = loss }
        END { if (!(n >= 5 && loss < factor * first)) { print "loss " first " -> " loss; exit 1 } }' "$1.err"
}

same() { # the two runs' outputs are equal but for the time they took
    sed 's/[0-9]* s in all//' "$1.out" >1 && sed 's/[0-9]* s in all//' "$2.out" >2 && cmp -s 1 2
}
other() { ! same "$@"; }

svg() { grep -q '^<svg ' "$1" && [ "$(tail -n 1 "$1")" = '</svg>' ]; }

for program in translate forecast classify; do
    check "$program: help" helps $program
    check "$program: unknown option" refused "unknown option '--foo'; try --help" $program --foo
    check "$program: zero steps" refused '--steps is 0, must be 1 to 1000000' $program --steps 0
    check "$program: steps that are no number" refused "--steps is 'many'" $program --steps many
    if [ -n "${AG_SHORT:-}" ]; then
        check "$program: two steps" run 0 one $program --steps 2
        continue
    fi
    run 0 one $program --steps 10
    OMP_NUM_THREADS=1 run 0 two $program --steps 10
    run 0 seed $program --steps 10 --seed 2
    check "$program: the same seed, the same output, for every thread count" same one two
    check "$program: another seed, another output" other one seed
done
for program in translate classify; do
    check "$program: a picture that can not be written" refused 'no-folder/a.svg' $program --steps 1 \
        --out no-folder/a.svg
    check "$program: a picture of the attention" svg $program.svg
done
[ -z "${AG_SHORT:-}" ] || exit $failed

check "translate: runs" run 1 translate translate --steps 80 --least 100 --out t.svg 'MAY 3, 1999' 3.5.1999
check "translate: learns" falls translate 0.6
check "translate: too few right are an exit status" has translate.err 'translate: fewer than 100 % are right'
check "translate: says how many are right" has translate.out 'of 2000 held-out dates right in every character'
check "translate: translates what is asked for" \
    grep -q '^MAY 3, 1999 -> [0-9]\{4\}-[0-9][0-9]-[0-9][0-9]$' translate.out
check "translate: and the second" grep -q '^3.5.1999 -> ' translate.out
check "translate: a picture" svg t.svg
check "translate: too long a date" refused 'has 33 characters, must have 1 to 32' translate \
    123456789012345678901234567890123
check "translate: an empty one" refused 'has 0 characters' translate ''
check "translate: other characters" refused "'3 août' has other characters than" translate '3 août'

check "forecast: runs" run 0 forecast forecast --steps 80 --most 0.7
check "forecast: learns" falls forecast 0.3
check "forecast: names both naive ones" sh -c 'grep -q "the last value stays" forecast.out &&
    grep -q "the most similar window" forecast.out'
check "forecast: an error above the bound is an exit status" run 1 bound forecast --steps 2 --most 0.001
check "forecast: and is said" has bound.err 'forecast: the error is above 0.001'
check "forecast: takes no words" refused "unknown argument 'today'" forecast today

check "classify: runs" run 1 classify classify --steps 240 --least 100 --out c.svg '([]{})' '([)]'
check "classify: learns" falls classify 0.8
check "classify: too few right are an exit status" has classify.err 'classify: fewer than 100 % are right'
check "classify: and is right more often than chance" \
    awk '/^the model  / { good = $4 > 65 } END { exit !good }' classify.out
check "classify: is measured beside rules that count" grep -q '^a running count of each kind  *2000 ' classify.out
check "classify: judges what is asked for" \
    grep -q '^(\[\]{}) *[a-z-]* (well-formed with probability [01]\.' classify.out
check "classify: and the second" grep -q '^(\[)\] *[a-z-]* (well-formed with probability [01]\.' classify.out
check "classify: a picture" svg c.svg
check "classify: too long a string" refused 'characters, must have 1 to' classify "$(printf '%0100d' 0 | tr 0 '(')"
check "classify: an empty one" refused 'has 0 characters' classify ''
check "classify: other characters" refused "'(a)' has other characters than ()[]{}" classify '(a)'
exit $failed
