#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mutants.sh FOLDER [only=WORD] [jobs=N] - plants the faults of tests/mutants.def, one at a time, in a copy of the
#     sources below FOLDER; each must be caught by the tests that it names, and explained by gradcheck where it says so.
#     Prints the kill table; a whole run in which all are caught writes it to docs/mutants.md.
# mutants.sh --check - only whether each fault's text stands in its file.
#
# The copy has the baseline and reference kernels only. Each of N workers (two more than there are cores) has one, and
# takes the next fault that none has taken: `make` recompiles what depends on its file (without optimisation, which is
# six times as fast for kernels) and links what its tests are; then all files are as in the base again. A test that runs
# into its time limit has failed: the table says "hangs". Exit status 1 when a fault survives or is explained wrongly,
# or when a test fails without a fault.
#
# A result is kept, under the fault's text and a sum over all sources: a run that was stopped goes on where it was.
set -eu

def=tests/mutants.def
document=docs/mutants.md
limit=240     # seconds for one suite or script
cpu_limit=120 # of processor, for one process

query() # mode, then assignments for mutants.awk
{
    mode=$1
    shift
    awk -v mode="$mode" "$@" -f tests/mutants.awk $def
}

field() { query field -v wanted="$1" -v key_wanted="$2"; } # mutant, key

build() # jobs, optimisation, targets
{
    jobs=$1 level=$2
    shift 2
    # Unquoted: words, if any.
    # shellcheck disable=SC2086
    make -j"$jobs" ${checked:-} ${unseen:-} config=scalar build=build CFLAGS=-w optimize="$level" \
        kernel_optimize="$level" "$@"
}

bounded() # command: after the limit it is ended, and when this script is
{
    # shellcheck disable=SC3045 # every sh that is used has -t
    (ulimit -t $cpu_limit; exec timeout $limit "$@") &
    echo $! >running
    ended=0
    wait $! || ended=$?
    rm -f running
    return $ended
}

end_running() { kill "$(cat running 2>/dev/null)" 2>/dev/null || :; } # it may have ended meanwhile

# Into the worker's copy of the base, as the base is.
enter() # folder, worker
{
    base=$1/base own=$1/worker.$2 checked='-o check-installed' # which the base has done
    trap 'end_running; exit 130' INT TERM HUP
    [ -d "$own" ] || cp -Rp "$base" "$own"
    cd "$own"
}

# Everything that has changed since `stamp` was made is the base's again, with its time.
restore()
{
    find . -type f -newer stamp | while read -r changed; do
        rm -f "$changed" # first: a program may still run
        [ ! -f "$base/$changed" ] || cp -p "$base/$changed" "$changed"
    done
}

# A stamp that is older than everything that is written from now on, whatever the clock's steps.
mark()
{
    touch stamp
    sleep 0.02
}

# ---- What tests and gradcheck say ----

# Runs a suite, a script, or gradcheck on all it has; prints what failed first, nothing when all passed.
first_failure()
{
    status=0 first=''
    case $1 in
    check_*.sh)
        tested=build/examples
        case $1 in check_lm*.sh | check_crash.sh) tested=$tested/lm ;; esac
        bounded sh "tests/examples/$1" $tested >tested 2>&1 || status=$?
        first=$(sed -n 's/^FAIL  //p' tested | sed -n 1p)
        ;;
    gradcheck--all)
        bounded build/examples/gradcheck --all >tested 2>&1 || status=$?
        ;;
    *)
        # Check writes a line to the pipe as each test ends. At the first failure it is ended, and with it the test
        # that it runs by then: a moment later, as it does not end a test that it is just beginning. A test that hangs
        # and is missed all the same ends at cpu_limit.
        unset CK_RUN_CASE
        case $1 in */*) export CK_RUN_CASE="${1#*/}" ;; esac
        line=$({
            CK_TAP_LOG_FILE_NAME=/dev/fd/3 bounded build/tests/check "${1%/*}" 3>&1 >tested 2>&1 || echo "status $?"
        } | { sed -n '/^not ok/{p;q;}; /^status/p'; sleep 0.05; end_running; })
        case $line in
        status*) status=${line#status } ;;
        ?*) status=1 first=$(printf '%s\n' "$line" | LC_ALL=C sed "s/^[^:]*:[^:]*:\([^:]*\):.*/${1%/*}: \1/") ;;
        esac
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

# What must be built for suites and scripts.
targets_of()
{
    for test in "$@"; do
        case $test in
        check_lm_model.sh) echo build/examples/lm build/examples/generate ;;
        check_lm*.sh | check_crash.sh) echo build/examples/lm ;;
        check_generate.sh) echo build/examples/generate build/examples/encode ;;
        check_finetune.sh) echo build/examples/lm build/examples/finetune build/examples/generate build/tests/logits ;;
        check_output.sh) echo examples ;;
        gradcheck--all) echo build/examples/gradcheck ;;
        *) echo build/tests/check ;;
        esac
    done | sort -u
}

judge() # name: prints "<verdict>|<caught by>|<explained as>"
{
    explain=$(field "$1" explain)
    kill=$(field "$1" kill)
    unseen=''
    case $(field "$1" in) in # headers whose names are in 130 files, and what a fault can change in few
    */unary.def | */binary.def)
        unseen="-o $(field "$1" in)"
        touch tensor/kernels/kernels.c autograd/op_unary.c autograd/op_binary.c
        ;;
    */attention_mask.h)
        unseen="-o $(field "$1" in)"
        touch tensor/kernels/kernels.c autograd/mask.c autograd/watch/mask_view.c
        ;;
    esac
    # Unquoted: words.
    # shellcheck disable=SC2046,SC2086
    if ! build 1 -O0 $(targets_of $kill ${explain:+gradcheck--all}) >built 2>&1; then
        echo "DOES NOT BUILD|**does not build**|"
        return
    fi
    verdict=caught by='' said=
    for suite in $kill; do
        [ -n "$by" ] || by=$(first_failure "$suite")
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

# The sum under which a fault's result is kept.
key() # folder, name
{
    { cat "$1/sources"; query entry -v wanted="$2"; } | cksum | tr ' ' '.'
}

one() # folder, name; in a worker's copy
{
    began=$(date +%s)
    mark
    query apply -v wanted="$2" >mutated
    cat mutated >"$(field "$2" in)"
    judge "$2" >judged
    result=$(cat judged)
    rest=${result#*|}
    restore
    printf '%s\n' "$result" >"$1/results/$2"
    key "$1" "$2" >"$1/results/$2.key"
    printf '%-36s %s: %s (%d s)\n' "$2" "${result%%|*}" "${rest%%|*}" $(($(date +%s) - began))
}

# Takes faults that no worker has taken yet.
work() # folder, worker
{
    enter "$1" "$2"
    while read -r name <&3; do
        ! mkdir "$1/taken/$name" 2>/dev/null || one "$1" "$name"
    done 3<"$1/names"
}

# ---- No fault ----

# The sources as they are, compiled.
make_base() # jobs
{
    mkdir -p "$folder/base"
    cp -Rp Makefile attngrad.h tools tensor autograd nn "$folder/base"
    tar cf - --exclude=tests/fixtures --exclude=examples/data tests examples | tar xf - -C "$folder/base"
    ln -s "$PWD/tests/fixtures" "$folder/base/tests/fixtures"
    ln -s "$PWD/examples/data" "$folder/base/examples/data"
    (cd "$folder/base" && build "$1" -O1 $targets >built 2>&1) || { cat "$folder/base/built"; return 1; }
}

# Without a fault everything passes: else the table would say nothing.
passes() # folder, worker
{
    enter "$1" "$2"
    mark
    built_for=-O1
    while read -r kernels test <&3; do
        mkdir "$1/taken/none$kernels.${test%/*}.${test#*/}" 2>/dev/null || continue
        [ "$kernels" = "$built_for" ] || restore
        [ "$kernels" = "$built_for" ] || [ "$kernels" = -O1 ] || touch tensor/kernels/kernels.c
        built_for=$kernels
        # shellcheck disable=SC2046
        build 1 "$kernels" $(targets_of "$test") >built 2>&1 || { cat built; exit 1; }
        fault=$(first_failure "$test")
        [ -z "$fault" ] || { cat tested; echo "mutants: without a fault $fault fails"; exit 1; }
    done 3<"$1/needs"
    restore
}

# ---- All ----

table() # the whole document
{
    cat <<END
# Mutants

What \`make mutants\` prints: each fault is planted alone in a copy of the sources, and a test must fail. "Caught by" is
the first test that does, behind the name of its suite. A fault in a gradient must also be explained: the last column
has the cause and the op that \`gradcheck\` must find. \`make mutants\` writes this file.
END
    query table -v results="$folder/asked"
}

# A worker's command in every worker at once; fails when one does.
workers() # command
{
    failed=0 started=''
    for worker in $(seq "$jobs"); do
        sh tests/mutants.sh "$1" "$folder" "$worker" &
        started="$started $!"
    done
    for pid in $started; do
        wait "$pid" || failed=1
    done
    return $failed
}

# What was not caught goes, and so do the results of another state of the sources or of the fault.
forget_old()
{
    find tensor autograd nn tests examples Makefile attngrad.h -type f ! -name mutants.def ! -name '*.md' |
        LC_ALL=C sort | xargs cat | cksum >"$folder/sources"
    for name in $names; do
        kept=$folder/results/$name
        [ -f "$kept" ] && grep -q '^caught|' "$kept" && [ "$(cat "$kept.key")" = "$(key "$folder" "$name")" ] ||
            rm -f "$kept" "$kept.key"
    done
}

case ${1:-} in
--check) query check; exit ;;
--work) work "$2" "$3"; exit ;;
--passes) passes "$2" "$3"; exit ;;
'') echo 'usage: mutants.sh FOLDER [only=WORD] [jobs=N] | --check' >&2; exit 2 ;;
esac

folder=$1/mutants only='' jobs=''
shift
for option in "$@"; do
    case $option in
    only=*) only=${option#only=} ;;
    jobs=*) jobs=${option#jobs=} ;;
    *) echo "mutants.sh: what is $option?" >&2; exit 2 ;;
    esac
done
[ -n "$jobs" ] || jobs=$(($(nproc 2>/dev/null || echo 2) + 2)) # some tests wait
unset AG_ISA MAKEFLAGS MAKELEVEL MFLAGS GNUMAKEFLAGS
# The faults share the cores; a thread that waits must not spin on another's. A fault that hangs shall not hang for
# minutes: the limits of the tests have room for machines that are busy with other work.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive AG_FIRST=1
export CK_DEFAULT_TIMEOUT="${CK_DEFAULT_TIMEOUT:-64}" CK_TIMEOUT_MULTIPLIER="${CK_TIMEOUT_MULTIPLIER:-0.125}"

query check
names=$(query list -v only="$only")
[ -n "$names" ] || { echo "mutants: none has '$only' in its name or group" >&2; exit 2; }
mkdir -p "$folder/results"
folder=$(cd "$folder" && pwd)
trap 'exit 130' INT TERM HUP
forget_old
for name in $names; do
    [ -f "$folder/results/$name" ] || echo "$name"
done >"$folder/names"
rm -rf "$folder"/base "$folder"/worker.* "$folder/taken"
mkdir "$folder/taken"
if [ -s "$folder/names" ]; then
    query needs -v asked="$folder/names" | sort -u >"$folder/needs"
    # shellcheck disable=SC2046
    targets=$(targets_of $(cut -d' ' -f2 "$folder/needs"))
    make_base "$jobs"
    workers --passes
    echo "mutants: without a fault all tests pass"
    workers --work
fi

rm -rf "$folder/asked"
mkdir "$folder/asked"
for name in $names; do
    cp "$folder/results/$name" "$folder/asked"
done
total=$(printf '%s\n' "$names" | wc -l)
caught=$(cat "$folder"/asked/* | grep -c '^caught|' || true)
explained=$(cat "$folder"/asked/* | grep -c '^caught|.*|..*' || true)
table >"$folder/table.md"
cat "$folder/table.md"
printf '\nmutants: %d planted, %d caught, %d of them with their explanation\n' "$total" "$caught" "$explained"
if [ "$caught" -ne "$total" ]; then
    (cd "$folder/asked" && grep -v '^caught|' -- *) >&2 || true
    exit 1
fi
[ -n "$only" ] || cp "$folder/table.md" $document
