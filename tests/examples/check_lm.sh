#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm.sh PROGRAM - what the runs of `lm` promise: the same losses for every thread count and from run to run, a
#     resumed run equal to one that never stopped, Ctrl-C that saves, samples that a seed repeats.
#     AG_SHORT=1: no terminals.
set -eu
. tests/examples/lm_checks.sh

same_run() { # the same files, byte for byte
    for file in log.csv samples.txt best.safetensors last.safetensors config.json; do
        cmp "$folder/$1/$file" "$folder/$2/$file" || return 1
    done
}

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

# A run that goes on from a checkpoint is the run that never stopped, byte for byte; check_crash.sh stops runs anywhere.
goes_on_as() { # the step of the checkpoint, then options
    half=$1
    shift
    train whole --steps 12 --schedule constant "$@"
    train part --steps "$half" --schedule constant "$@"
    check "$*: a run goes on" quiet "$lm" train --continue "$folder/part" --steps 12
    check "and is the run that never stopped" same_run whole part
}
goes_on_as 8 --optimizer adamw
goes_on_as 8 --accumulate 2
goes_on_as 8 --optimizer sgd --patience 2
goes_on_as 10 --sample 3 --report 5
rm "$folder/part/report.html"
check "a run that was stopped in its ending ends" quiet "$lm" train --continue "$folder/part"
check "with a report" test -s "$folder/part/report.html"
check "as the run that never stopped" same_run whole part
check "a run that has made all its steps" refused 1 'has made all its 12 steps; --steps N, more than that, trains' \
    train --continue "$folder/part"
check "another option is the run's own" refused 2 "lm train --continue: unknown option '--emb'" train \
    --continue "$folder/part" --emb 64
check "a run that is not there" refused 1 'there is no run to go on with' train --continue "$folder/none"
check "a run is not overwritten" refused 1 "$folder/part holds a run, which is not overwritten; give another --out" \
    train --out "$folder/part" --steps 3
check "which is said before a text is read" refused 1 "$folder/part holds a run" train no-such.txt --out "$folder/part"
cp "$folder/some.txt" "$folder/changing.txt"
train changed "$folder/changing.txt" --steps 8
echo more >>"$folder/changing.txt"
check "a text that has changed" refused 1 'the text has changed since' train --continue "$folder/changed" --steps 12
train plain-config --steps 12
rm -rf "$folder/from-config"
quiet "$lm" train --config "$folder/plain-config/config.json" --out "$folder/from-config"
check "a run's config.json makes the same run" same_run plain-config from-config
train from-config --config "$folder/plain-config/config.json" --seed 7
check "over which options go" other_losses plain-config from-config
printf '{"stpes": 5}' >"$folder/wrong.json"
check "a config with an unknown key" refused 2 "wrong.json: unknown option '--stpes'; did you mean --steps?" train \
    "$folder/some.txt" --config "$folder/wrong.json"
printf '{\n"steps": 5' >"$folder/wrong.json"
check "a config that is cut off" refused 2 'wrong.json: line 2: a comma is missing' train \
    "$folder/some.txt" --config "$folder/wrong.json"
printf '{"steps": 5, "seed": -1}' >"$folder/wrong.json"
check "a config with a wrong value" refused 2 "wrong.json: --seed is '-1', which is not" train \
    "$folder/some.txt" --config "$folder/wrong.json"
printf '{"steps": 1}\n{"steps": 2}' >"$folder/wrong.json"
check "a config with more behind it" refused 2 "wrong.json: line 2: there is more behind the object's }" train \
    "$folder/some.txt" --config "$folder/wrong.json"
printf '{"steps": 1}\000' >"$folder/wrong.json"
check "a NUL, too" refused 2 "wrong.json: line 1: there is more behind the object's }" train \
    "$folder/some.txt" --config "$folder/wrong.json"
check "a folder as config" refused 2 "$folder: Is a directory" train --config "$folder"
check "no config" refused 2 "no-such.json: No such file" train --config no-such.json
if (ulimit -v 300000 && "$lm" --help) >"$folder/message" 2>&1; then # not with sanitizers
    little_memory() (ulimit -v 300000 && refused 2 'lm train: /dev/zero: out of memory after ' train --config /dev/zero)
    check "a config that does not fit" little_memory
fi

# Numbered runs, the newest of them, from a folder of its own; what is printed is a command.
numbered() (
    program=$PWD/$lm name="it's a text"
    mkdir -p "$folder/away" && cd "$folder/away" && cp ../some.txt "$name"
    "$program" train "$name" --steps 3 --emb 16 --heads 2 --layers 1 --threads 1 "$@" >out 2>err
)
check "a run without --out" numbered
check "and a second one" numbered --seed 2
numbers() { [ -s "$folder/away/runs/1/best.safetensors" ] && [ -s "$folder/away/runs/2/best.safetensors" ]; }
check "are numbered" numbers
run_printed() ( cd "$folder/away" && eval "$(sed -n "$1" err)" )
check "the command that is printed at the end runs" quiet run_printed 's/^sample *//p'
away_sample() ( program=$PWD/$lm && cd "$folder/away" && "$program" sample --tokens 40 "$@" )
check "lm sample takes the newest run" [ "$(away_sample)" = "$(away_sample --model runs/2)" ]
check "which is not the older one" [ "$(away_sample)" != "$(away_sample --model runs/1)" ]

"$lm" train --batch 4 --context 32 --layers 2 --emb 32 --steps 1000000 --sample 0 --report 5 --out "$folder/it is" \
    >/dev/null 2>"$folder/message" &
process=$!
while [ ! -s "$folder/it is/log.csv" ] || [ "$(wc -l <"$folder/it is/log.csv")" -lt 2 ]; do sleep 0.1; done
refused_meanwhile() { # it would train for ever: when three lines are read, its output is closed
    ! "$lm" train --continue "$folder/it is" 2>&1 | sed 3q | grep -v 'is being trained by another program$'
}
check "a run is trained by one program" refused_meanwhile
kill -TERM $process
check "a stopped run ends well" wait $process
check "and says how to go on" says "$lm train --continue '$folder/it is'"
check "and why" says 'of 1000000 by SIGTERM, and saved'
steps=$(sed -n 's/^stopped after step \([0-9]*\) .*/\1/p' "$folder/message")
printed=$(sed -n 's/^    //p' "$folder/message")
goes_on() { eval "$printed --steps $((steps + 200))"; } # some steps more
check "by a command that runs" quiet goes_on
check "and goes on" says "step $((steps + 200))"

limited_time() (ulimit -S -t 1 && train limited --steps 1000000 --report 1000)
check "a run that has used its processor time ends well" limited_time
check "saved" grep -q 'by the limit of processor time, and saved; go on with:' "$folder/limited.err"
limited_size() (ulimit -f 1 && refused 1 'File too large' train "$folder/some.txt" --steps 2 --warmup 0 \
    --out "$folder/limited-size")
check "a file that may not grow is an error" limited_size

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
check "a prompt of unknown characters" refused 1 "has the character 'é' (U+00E9)" sample --model "$folder/changed" \
    --prompt 'café'
check "a prompt that is not UTF-8" refused 1 'the prompt: byte 1 is not UTF-8' sample --model "$folder/changed" \
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
