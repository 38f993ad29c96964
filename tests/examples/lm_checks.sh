# SPDX-License-Identifier: MIT
#
# lm_checks.sh - sourced by scripts that check the training of `lm`, whose first argument is the program: checks.sh, a
# text, small runs, and what is said of a run. Run from the project's root.
lm=$1
[ -x "$lm" ] || { echo "FAIL  lm: there is no program $lm"; exit 1; }
subject=lm
. tests/examples/checks.sh

train() { # folder, then options
    out=$1
    shift
    rm -rf "${folder:?}/$out"
    "$lm" train --batch 4 --context 32 --layers 2 --heads 4 --emb 32 --report 4 --sample 0 --dropout 0.1 --warmup 2 \
        --out "$folder/$out" "$@" >"$folder/$out.txt" 2>"$folder/$out.err"
}
losses() { cat "$folder/$1/log.csv"; }
same_losses() { [ "$(losses "$1")" = "$(losses "$2")" ]; }
other_losses() { ! same_losses "$1" "$2"; }
same_run() { # the same files, byte for byte
    for file in log.csv samples.txt best.safetensors last.safetensors config.json; do
        cmp "$folder/$1/$file" "$folder/$2/$file" || return 1
    done
}
same_model() { cmp -s "$folder/$1/best.safetensors" "$folder/$2/best.safetensors"; }
quiet() { "$@" >"$folder/message" 2>&1; }
refused() { # status, text, then arguments
    status=$1 text=$2
    shift 2
    got=0
    "$lm" "$@" >"$folder/message" 2>&1 || got=$?
    [ "$got" -eq "$status" ] && says "$text"
}
introduces() { # text, options: what `lm train` says before it measures the machine, which it need not do here
    wanted=$1
    shift
    "$lm" train "$@" --dry-run >"$folder/message" 2>&1 &
    process=$!
    until grep -q -- "$wanted" "$folder/message"; do
        kill -0 $process 2>/dev/null || { grep -q -- "$wanted" "$folder/message"; return; }
        sleep 0.05
    done
    kill $process 2>/dev/null
    wait $process 2>/dev/null
    process=''
}
introduces_small() {
    introduces "$@" --layers 1 --heads 1 --emb 8
}
head -c 20000 examples/data/pride_and_prejudice.txt >"$folder/some.txt"
