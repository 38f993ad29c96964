#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_mpi.sh PROGRAM MPI_PROGRAM MPIRUN - `lm` in several processes, started by this mpirun (Open MPI's or MPICH's):
# 1, 2 and 4 processes write the bytes of one process that accumulates; what is left after kill -9 and SIGTERM goes on
# to the same bytes; mistakes and a bad binding are said once. For `make check-mpi`; run from the project's root.
set -eu

one=$1 lm=$2 mpirun=$3
subject="mpi, $mpirun"
for file in "$one" "$lm"; do
    [ -x "$file" ] || { echo "FAIL  $subject: there is no program $file"; exit 1; }
done
command -v "$mpirun" >/dev/null || { echo "skip  $subject: there is no $mpirun"; exit 0; }
. tests/examples/checks.sh

# Open MPI: as root, in a container, with more processes than cores. MPICH needs no such words.
export OMP_WAIT_POLICY=passive OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
open_mpi=false
! "$mpirun" --version 2>/dev/null | grep -qi 'open.mpi' || open_mpi=true

head -c 20000 examples/data/pride_and_prejudice.txt >"$folder/text"
settings="--batch 8 --accumulate 4 --context 16 --layers 2 --heads 2 --emb 16 --dropout 0.2 --clip 0.5 --warmup 4"
settings="$settings --report 20 --sample 50"

train() { # number of processes (0: the program without MPI), folder, then options
    n=$1 out=$2
    shift 2
    begin=$one
    [ "$n" -eq 0 ] || begin="$mpirun -n $n $lm"
    # shellcheck disable=SC2086
    $begin train "$folder/text" $settings --out "$folder/$out" "$@" >"$folder/output" 2>"$folder/message"
}
same() { # folders
    for file in log.csv samples.txt config.json best.safetensors last.safetensors; do
        cmp "$folder/$1/$file" "$folder/$2/$file" || return 1
    done
}
other() { ! cmp -s "$folder/$1/last.safetensors" "$folder/$2/last.safetensors"; }
once() { # text: one process alone has said it
    [ "$(grep -cF -- "$1" "$folder/message")" -eq 1 ] || { cat "$folder/message"; return 1; }
}
silent() { ! grep -F -- "$1" "$folder/message"; }
refused() { # number of processes, text, then arguments
    n=$1 text=$2
    shift 2
    ! timeout 60 "$mpirun" -n "$n" "$lm" "$@" >"$folder/message" 2>&1 || return 1
    once "$text"
}

# ---- The same bytes ----

train 0 alone --steps 60
check "the program for one process accumulates" [ -s "$folder/alone/last.safetensors" ]
clips() { awk -F , 'NR > 1 && $4 > 0.5 { n++ } END { exit n == 0 }' "$folder/alone/log.csv"; }
check "gradients are clipped" clips
for n in 1 2 4; do
    train $n "by$n" --steps 60
    check "$n of 4 micro-batches at a time: the same bytes" same alone "by$n"
    check "one process has spoken" once 'wrote     '
done
train 0 whole --steps 60 --accumulate 1
check "without accumulation other ones" other alone whole
check "--threads changes none" train 2 threads --steps 60 --threads 2
check "so it is" same alone threads

# A text that only process 0 can read.
"$mpirun" -n 2 "$lm" train - --steps 10 --batch 4 --accumulate 2 --context 16 --layers 1 --heads 1 --emb 16 \
    --out "$folder/piped" <"$folder/text" >"$folder/output" 2>"$folder/message" || :
check "a text from standard input is everyone's" grep -q 'all steps made' "$folder/message"

# ---- What is stopped goes on ----

running() { # folder: the ids of its processes, mpirun's first
    ps -e -o pid= -o args= | awk -v name="$folder/$1" 'index($0, name) && !/awk/ { print $1 }'
}
rank_of() { tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n 's/^\(OMPI_COMM_WORLD_RANK\|PMI_RANK\)=//p'; }
process() { # folder, rank
    for pid in $(running "$1"); do
        [ "$(rank_of "$pid")" != "$2" ] || { echo "$pid"; return; }
    done
}
await_step() { # folder: until its log has a report
    for _ in $(seq 600); do
        [ "$(cat "$folder/$1/log.csv" 2>/dev/null | wc -l)" -lt 3 ] || return 0
        sleep 0.05
    done
    return 1
}
begin_long() { # folder; its mpirun is $started
    # shellcheck disable=SC2086
    "$mpirun" -n 2 "$lm" train "$folder/text" $settings --steps 1500 --checkpoint 0.2 --out "$folder/$1" \
        >"$folder/output" 2>"$folder/message" &
    started=$!
    await_step "$1"
}
ends() { # whether mpirun ends within 20 seconds
    for _ in $(seq 200); do
        kill -0 $started 2>/dev/null || break
        sleep 0.1
    done
    ! kill -9 $started 2>/dev/null || return 1
    wait $started 2>/dev/null && ended=0 || ended=$?
}
none_left() { [ -z "$(running "$1")" ]; }
goes_on() { # folder
    "$one" train --continue "$folder/$1" >"$folder/output" 2>"$folder/message" && same long "$1"
}
train 2 long --steps 1500 --checkpoint 0.2
for rank in 1 0; do
    begin_long "killed$rank"
    victim=$(process "killed$rank" $rank)
    check "process $rank is there" [ -n "$victim" ]
    kill -9 "$victim"
    check "after kill -9 of process $rank the others end" ends
    check "with an error" [ "$ended" -ne 0 ]
    check "and says so" grep -qE 'signal 9|KILLED BY SIGNAL: 9' "$folder/output" "$folder/message"
    grep -hE 'signal 9|KILLED BY SIGNAL|^lm train: another' "$folder/output" "$folder/message" | sed 's/^/      /'
    check "none is left" none_left "killed$rank"
    check "its checkpoint goes on to the same bytes, in one process" goes_on "killed$rank"
done
begin_long stopped
kill -TERM $started
check "SIGTERM for mpirun ends all" ends
check "none is left" none_left stopped
check "its checkpoint goes on to the same bytes, in one process" goes_on stopped

# ---- Mistakes ----

check "3 processes for 4 micro-batches" refused 3 'lm train: mpirun -n 3: must divide --accumulate 4: 1, 2, 4' \
    train "$folder/text" --accumulate 4 --out "$folder/none"
check "parts that do not divide the batch" refused 2 'lm train: --accumulate 3: must divide --batch 8: 1, 2, 4, 8' \
    train "$folder/text" --accumulate 3 --out "$folder/none"
check "a plan" refused 2 'lm train: --dry-run measures one process' train "$folder/text" --accumulate 2 --dry-run
check "minutes" refused 2 'lm train: --minutes measures one process' train "$folder/text" --accumulate 2 --minutes 1
check "an unknown option" refused 2 "unknown option '--stpes'" train --stpes 4
check "no text" refused 2 "$folder/gone" train "$folder/gone" --accumulate 2 --out "$folder/none"
check "a loss that is not finite" refused 2 'is not finite' train "$folder/text" --batch 4 --accumulate 2 --context 16 \
    --layers 1 --heads 1 --emb 16 --steps 40 --warmup 0 --lr 1e30 --clip 0 --weight-decay 0 --out "$folder/infinite"
"$mpirun" -n 2 "$lm" --help >"$folder/message" 2>&1
check "the help comes once" once 'usage: lm COMMAND'

# ---- Binding ----

if $open_mpi; then
    bound="--bind-to core:overload-allowed"
else
    bound="-bind-to core"
fi
bound() { # options of mpirun, options of lm
    # shellcheck disable=SC2086
    "$mpirun" -n 2 $1 "$lm" train "$folder/text" $settings --steps 8 --out "$folder/bound" $2 >"$folder/output" \
        2>"$folder/message" || { cat "$folder/message"; return 1; }
    rm -rf "$folder/bound"
}
if [ "$(nproc)" -ge 2 ]; then
    bound "$bound" "--threads 2"
    check "threads that share a bound processor" once 'give mpirun --bind-to none or --threads 1'
    bound "--bind-to none" ""
    check "without a binding there is nothing to say" silent '--bind-to'
    check "and each process has its share of the processors" grep -qF "2 processes with $(($(nproc) / 2)) thread" \
        "$folder/message"
    if [ "$(nproc)" -ge 4 ]; then
        bound "$bound" ""
        check "processors that a binding leaves idle" once 'the others are idle; give mpirun --bind-to none'
    fi
fi
exit $failed
