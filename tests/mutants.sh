#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mutants.sh FOLDER [only=WORD] [update=1] [jobs=N] - plants the faults of tests/mutants.def, one at a time, in a copy
#     of the sources below FOLDER; each must be caught by the tests that it names, and explained by gradcheck where it
#     says so. Prints the kill table and compares it with docs/mutants.md (update=1: writes it).
# mutants.sh --check - only whether each fault's text stands in its file.
#
# The copy has the baseline and reference kernels only. A fault recompiles what `make` says depends on its file;
# kernels without optimisation, which compiles six times as fast. N faults at a time, as many as there are cores. A
# test that runs into its time limit has failed: the table says "hangs". Exit status 1 when a fault survives or is
# explained wrongly, or when a test fails without a fault.
set -eu

def=tests/mutants.def
document=docs/mutants.md
limit=240 # seconds for one suite or script

query() # mode, then assignments for mutants.awk
{
    mode=$1
    shift
    awk -v mode="$mode" "$@" -f tests/mutants.awk $def
}

field() { query field -v wanted="$1" -v key_wanted="$2"; } # mutant, key

build() # jobs, the kernels' optimisation, targets
{
    jobs=$1 kernels=$2
    shift 2
    make -j"$jobs" config=scalar build=build CFLAGS= optimize=-O1 kernel_optimize="$kernels" "$@"
}

bounded() # command: after the limit it is ended, and when this script is
{
    timeout $limit "$@" &
    echo $! >running
    wait $!
}

# In an own copy of the base, which goes when this script does.
enter() # folder, name
{
    own=$1/run.$2
    trap 'rm -rf "$own"' EXIT
    trap '[ ! -f running ] || kill "$(cat running)" 2>/dev/null || :; exit 130' INT TERM HUP
    cp -Rp "$1/base" "$own"
    cd "$own"
}

# ---- What tests and gradcheck say ----

# Runs a suite, a script, or gradcheck on all it has; prints what failed first, nothing when all passed.
first_failure()
{
    status=0 first=''
    case $1 in
    check_lm.sh | check_lm_model.sh | check_crash.sh | check_output.sh)
        tested=build/examples
        [ "$1" = check_output.sh ] || tested=$tested/lm
        bounded sh "tests/examples/$1" $tested >tested 2>&1 || status=$?
        first=$(sed -n 's/^FAIL  //p' tested | sed -n 1p)
        ;;
    gradcheck--all)
        bounded build/examples/gradcheck --all >tested 2>&1 || status=$?
        ;;
    *)
        bounded build/tests/check "$1" >tested 2>&1 || status=$?
        line=$(grep '^[^ ]*:[0-9]*:[FE]:' tested | sed -n 1p)
        first=$(printf '%s\n' "$line" | sed -n "s/^[^:]*:[0-9]*:[FE]:[^:]*:\([^:]*\):.*/$1: \1/p")
        case $line in
        *'Test timeout expired'*) first="$first hangs" ;;
        *'Received signal'*) first="$first crashes" ;;
        esac
        ;;
    esac
    case $status in
    0) ;;
    124) echo "$1: hangs" ;;
    *) echo "${first:-$1: ends with status $status}" ;;
    esac
}

# Runs gradcheck on "<case>: <cause>; <op>; <words>" and prints which of them it did not say.
unexplained()
{
    status=0
    bounded build/examples/gradcheck "${1%%:*}" >explained 2>&1 || status=$?
    [ $status -ne 0 ] || echo 'gradcheck passes'
    tr -s ' \n' '  ' <explained >line
    cause=$(part "$1" 1) op=$(part "$1" 2) words=$(part "$1" 3)
    if [ "$cause" = error ]; then
        grep -qF 'FAIL, stopped by an error' line || echo 'no error'
        grep -qF "error: $op:" line || echo "not '$op'"
        return
    fi
    grep -q "FAIL [0-9a-z.+-]* $cause " line || echo "not '$cause'"
    if [ "$op" = - ]; then
        grep -qF 'No op ' line || echo 'it blames an op'
    else
        grep -qF "First wrong op: '$op'" line || echo "not '$op'"
    fi
    grep -qF -- "$words" line || echo "not '$words'"
}

part() { printf '%s;;\n' "${1#*: }" | cut -d';' -f"$2" | sed 's/^ *//'; } # explain, which of its parts

# ---- One fault ----

judge() # name: prints "<verdict>|<caught by>|<explained as>"
{
    explain=$(field "$1" explain)
    if ! build 1 -O0 $targets >built 2>&1; then
        echo "DOES NOT BUILD|**does not build**|"
        return
    fi
    verdict=caught by='' said=
    for suite in $(field "$1" kill); do
        [ -n "$by" ] || by=$(first_failure "$suite")
    done
    [ -n "$by" ] || { verdict=SURVIVES by='**survives**'; }
    if [ -n "$explain" ]; then
        said="$(part "$explain" 1), $(part "$explain" 2 | sed 's/^-$/no single op/')"
        missing=$(unexplained "$explain" | tr '\n' ' ')
        [ -z "$missing" ] || { verdict="$verdict, EXPLAINED WRONGLY ($missing)" said='**wrong**'; }
    fi
    echo "$verdict|$by|$said"
}

one() # folder, name
{
    began=$(date +%s)
    enter "$1" "$2"
    file=$(field "$2" in)
    query apply -v wanted="$2" >mutated
    cat mutated >"$file"
    judge "$2" >"$1/results/$2"
    result=$(cat "$1/results/$2")
    rest=${result#*|}
    printf '%-36s %s: %s (%d s)\n' "$2" "${result%%|*}" "${rest%%|*}" $(($(date +%s) - began))
}

# ---- No fault ----

# What the named mutants need, and with whose kernels, one a line: "<-O1 or -O0> <suite>".
needs()
{
    for name in "$@"; do
        case $(field "$name" in) in tensor/kernels/*) kernels=-O0 ;; *) kernels=-O1 ;; esac
        field "$name" kill | tr ' ' '\n' | sed "s/^/$kernels /"
        field "$name" explain | sed "s/.*/$kernels gradcheck--all/"
    done | sort -u
}

# The sources as they are, compiled.
make_base() # jobs
{
    mkdir -p "$folder/base" "$folder/results"
    cp -Rp Makefile attngrad.h tools tensor autograd nn "$folder/base"
    tar cf - --exclude=tests/fixtures --exclude=examples/data tests examples | tar xf - -C "$folder/base"
    ln -s "$PWD/tests/fixtures" "$folder/base/tests/fixtures"
    ln -s "$PWD/examples/data" "$folder/base/examples/data"
    (cd "$folder/base" && build "$1" -O1 $targets >built 2>&1) || { cat "$folder/base/built"; return 1; }
}

# Without a fault everything passes: else the table would say nothing.
passes() # folder, "<kernels> <suite>"
{
    enter "$1" "none.$(echo "$2" | tr ' ' '.')"
    kernels=${2%% *}
    [ "$kernels" = -O1 ] || touch tensor/kernels/kernels.c
    build 1 "$kernels" $targets >built 2>&1 || { cat built; exit 1; }
    fault=$(first_failure "${2#* }")
    [ -z "$fault" ] || { cat tested; echo "mutants: without a fault $fault fails"; exit 1; }
}

# ---- All ----

table() # the whole document
{
    cat <<END
# Mutants

What \`make mutants\` prints: each fault is planted alone in a copy of the sources, and a test must fail. "Caught by" is
the first test that does, behind the name of its suite. A fault in a gradient must also be explained: the last column
has the cause and the op that \`gradcheck\` must find. \`make mutants update=1\` writes this file.
END
    query table -v results="$folder/results"
}

each() # command for each line of the input, $jobs at a time
{
    xargs -P "$jobs" -I '{}' sh tests/mutants.sh "$1" "$folder" '{}'
}

case ${1:-} in
--check) query check; exit ;;
--one) one "$2" "$3"; exit ;;
--passes) passes "$2" "$3"; exit ;;
'') echo 'usage: mutants.sh FOLDER [only=WORD] [update=1] [jobs=N] | --check' >&2; exit 2 ;;
esac

folder=$1/mutants only='' update='' jobs=''
shift
for option in "$@"; do
    case $option in
    only=*) only=${option#only=} ;;
    update=*) update=${option#update=} ;;
    jobs=*) jobs=${option#jobs=} ;;
    *) echo "mutants.sh: what is $option?" >&2; exit 2 ;;
    esac
done
[ -n "$jobs" ] || jobs=$(nproc 2>/dev/null || echo 2)
unset AG_ISA MAKEFLAGS MAKELEVEL MFLAGS GNUMAKEFLAGS
# The faults share the cores; a thread that waits must not spin on another's.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

query check
names=$(query list -v only="$only")
[ -n "$names" ] || { echo "mutants: none has '$only' in its name or group" >&2; exit 2; }
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
trap 'exit 130' INT TERM HUP
# Unquoted: words.
# shellcheck disable=SC2086
needs $names >"$folder/needs"
targets=build/tests/check
grep -q check_output "$folder/needs" && targets="$targets examples"
grep -q -e check_lm -e check_crash "$folder/needs" && targets="$targets build/examples/lm"
grep -q gradcheck--all "$folder/needs" && targets="$targets build/examples/gradcheck"
export targets
make_base "$jobs"
each --passes <"$folder/needs"
echo "mutants: without a fault all tests pass"
printf '%s\n' "$names" | each --one || true

total=$(printf '%s\n' "$names" | wc -l)
caught=$(cat "$folder"/results/* | grep -c '^caught|' || true)
explained=$(cat "$folder"/results/* | grep -c '^caught|.*|..*' || true)
table >"$folder/table.md"
cat "$folder/table.md"
printf '\nmutants: %d planted, %d caught, %d of them with their explanation\n' "$total" "$caught" "$explained"
if [ "$caught" -ne "$total" ]; then
    (cd "$folder/results" && grep -v '^caught|' -- *) >&2 || true
    exit 1
fi
[ -z "$only" ] || exit 0
if [ -n "$update" ]; then
    cp "$folder/table.md" $document
elif ! diff -u $document "$folder/table.md"; then
    echo "mutants: $document says something else; make mutants update=1 writes it anew" >&2
    exit 1
fi
