#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm.sh PROGRAM - what the runs of `lm` promise: the same losses for every thread count and from run to run,
#     samples that a seed repeats, help, and what a terminal shows. AG_SHORT=1: no terminals.
set -eu
. tests/examples/lm_checks.sh

train one --steps 12 --threads 1
train two --steps 12 --threads 2
train again --steps 12 --threads 2
check "1 and 2 threads write the same losses" same_losses one two
check "and the same model" same_model one two
check "model.safetensors is the best model" cmp -s "$folder/one/model.safetensors" "$folder/one/best.safetensors"
check "--data is a text" refused 1 "$folder/none.txt" train --data "$folder/none.txt" --out "$folder/none"
check "beside none that is a word" refused 2 'are both texts' train --data a b
check "two runs write the same losses" same_losses two again
train other --steps 12 --seed 2
check "another seed writes other losses" other_losses one other
train decayed --steps 12 --weight-decay 0.9
check "so does another weight decay" other_losses one decayed
train lean --steps 12 --recompute
check "recomputation writes the same losses" same_losses one lean
check "and the same model" same_model one lean
train parts --steps 12 --accumulate 4 --threads 1
train parts_again --steps 12 --accumulate 4 --threads 2
check "a step in parts: the same run for 1 and 2 threads" same_run parts parts_again
check "of other windows" other_losses one parts
first_norm() { sed -n 2p "$folder/$1/log.csv" | cut -d , -f 4; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b / 1.7 && a < b * 1.7) }'; }
check "and a gradient as large as the whole batch's" near "$(first_norm parts)" "$(first_norm one)"
train one_window --steps 12 --batch 1
check "each part has windows of its own" other_losses one_window parts
check "parts that do not divide the batch" refused 1 'lm train: --accumulate 3: must divide --batch 4: 1, 2, 4' train \
    --batch 4 --accumulate 3 --out "$folder/none"
train profiled --steps 12 --profile
check "a profile changes no losses" same_losses one profiled
profile_is_shown()
{
    grep -q 'a step, over 12 steps' "$folder/profiled.err" && grep -q '^optimizer  *1  ' "$folder/profiled.err" &&
        grep -q '^blocks.0..1 ' "$folder/profiled.err" &&
        grep -q '^linear,blocks.1.ff.up,12,' "$folder/profiled/profile.csv"
}
check "and is shown by op and by module, and written" profile_is_shown
check "the log has a line per report" [ "$(wc -l <"$folder/one/log.csv")" -eq 4 ]
check "the baselines are printed" grep -q 'uniform 6.931  unigram 5.879  bigram 4.718' "$folder/one.err"
check "a sample is on stdout" grep -q 'sample after step 12' "$folder/one.txt"

model=$folder/one
sample() { "$lm" sample --model "$model" --tokens 60 --prompt 'Mr. ' "$@"; }
check "the same seed writes the same text" [ "$(sample --seed 5)" = "$(sample --seed 5)" ]
check "another seed writes another" [ "$(sample --seed 5)" != "$(sample --seed 6)" ]
check "temperature 0 needs no seed" [ "$(sample --temperature 0 --seed 5)" = "$(sample --temperature 0 --seed 6)" ]
check "top-k 1 is temperature 0" [ "$(sample --top-k 1)" = "$(sample --temperature 0)" ]
check "so is a tiny top-p" [ "$(sample --top-p 1e-9)" = "$(sample --temperature 0)" ]
check "top-p 1 keeps all" [ "$(sample --top-p 1)" = "$(sample)" ]
check "top-p 0.5 does not" [ "$(sample --top-p 0.5)" != "$(sample)" ]
check "the text begins with the prompt" [ "$(sample | head -c 4)" = "Mr. " ]
check "more threads than a machine bears" refused 1 'lm sample: --threads is 257, must be at most 256' sample \
    --model "$model" --threads 257

check "no command" refused 2 'usage: lm COMMAND'
check "unknown command" refused 2 "lm: unknown command 'tarin'; did you mean lm train?" tarin
check "one that none resembles" refused 2 "lm: unknown command 'learn'; try lm --help" learn
check "help" quiet "$lm" help
flags_are_tried() { # every flag of every command stands in a test
    for command in train 'train --continue' finetune sample eval inspect tokenize export; do
        # shellcheck disable=SC2086
        "$lm" $command --help >"$folder/help"
        for flag in $(grep -o '^  --[a-z-]*' "$folder/help"); do
            grep -qE -- "$flag([^a-z-]|\$)" tests/examples/check_lm*.sh tests/examples/check_crash.sh ||
                { echo "lm $command $flag is in no test"; return 1; }
        done
        awk 'length > 79 { print; long = 1 } END { exit long }' "$folder/help" || return 1
    done
}
check "every flag has a test, and help fits 79 columns" flags_are_tried
check "no such model" refused 1 'no-such-model' sample --model no-such-model
train characters "$folder/some.txt" --steps 4
check "a prompt of unknown characters" refused 1 "has the character 'é' (U+00E9)" sample --model "$folder/characters" \
    --prompt 'café'
check "a prompt that is not UTF-8" refused 1 'the prompt: byte 1 is not UTF-8' sample --model "$folder/characters" \
    --prompt "$(printf 'a\377')"
check "more tokens than fit" refused 2 '--tokens is 1000000001, must be 0 to 1000000000' sample --tokens 1000000001
if [ -n "${AG_SHORT:-}" ]; then
    echo "skip  lm: terminals: AG_SHORT"
elif python3 -c 'import pty' 2>/dev/null; then
    python3 tests/examples/check_terminal.py "$lm" "$folder/some.txt" "$folder/terminals" || failed=1
else
    echo "skip  lm: terminals: there is no python3"
fi
exit $failed
