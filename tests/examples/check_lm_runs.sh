#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm_runs.sh PROGRAM - the runs of `lm` on the disk: none is overwritten or trained twice at once, a config.json
#     makes its run, numbered folders, limits, and a resumed run equal to one that never stopped.
set -eu
. tests/examples/lm_checks.sh

cp "$folder/some.txt" "$folder/changing.txt"
train changed "$folder/changing.txt" --steps 8
check "a run is not overwritten" refused 1 "$folder/changed holds a run, which is not overwritten; give another --out" \
    train --out "$folder/changed" --steps 3
check "which is said before a text is read" refused 1 "$folder/changed holds a run" train no-such.txt \
    --out "$folder/changed"
check "another option is the run's own" refused 2 "lm train --continue: unknown option '--emb'" train \
    --continue "$folder/changed" --emb 64
check "a run that is not there" refused 1 'there is no run to go on with' train --continue "$folder/none"
echo more >>"$folder/changing.txt"
check "a text that has changed" refused 1 'the text has changed since' train --continue "$folder/changed" --steps 12

# Configurations.
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
exit $failed
